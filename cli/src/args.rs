//! The command line: verbs, and errors of usage as one line.

use crate::failure::{EXIT_CODES, Failure, Kind};
use crate::{
    bench, checkpoint, clean, count, del, demo, dump, get, load, put, replay, scan, stat, trace,
    trees, verify,
};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// A latch-free ordered index and embedded log-structured store
#[derive(Debug, Parser)]
#[command(name = "bwtree", version, propagate_version = true, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Args),
    Get(get::Args),
    Put(put::Args),
    Del(del::Args),
    Scan(scan::Args),
    Count(count::Args),
    Trees(trees::Args),
    Load(load::Args),
    Dump(dump::Args),
    Stat(stat::Args),
    Verify(verify::Args),
    Clean(clean::Args),
    Checkpoint(checkpoint::Args),
    Trace(Box<trace::verb::Args>),
    Replay(replay::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    DemoWriter(demo::writer::Args),
    #[command(hide = true)]
    DemoReader(demo::restart::Args),
}

/// Runs the program with these arguments, the program's name first.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let verb = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.verb,
        Err(error) => return refuse(&error),
    };
    let outcome = match &verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Get(args) => get::run(args),
        Verb::Put(args) => put::run(args),
        Verb::Del(args) => del::run(args),
        Verb::Scan(args) => scan::run(args),
        Verb::Count(args) => count::run(args),
        Verb::Trees(args) => trees::run(args),
        Verb::Load(args) => load::run(args),
        Verb::Dump(args) => dump::run(args),
        Verb::Stat(args) => stat::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Clean(args) => clean::run(args),
        Verb::Checkpoint(args) => checkpoint::run(args),
        Verb::Trace(args) => trace::verb::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::DemoWriter(args) => demo::writer::run(args),
        Verb::DemoReader(args) => demo::restart::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Prints help and the version as they are, and everything else as one line.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed stdout ends the program quietly.
            drop(error.print());
            ExitCode::SUCCESS
        }
        _ => Failure::of(Kind::Usage, usage_line(error)).report(),
    }
}

fn usage_line(error: &clap::Error) -> String {
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "no verb given".to_owned()
        }
        ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(names)) => format!("missing {}", names.join(" ")),
            _ => first_paragraph(error),
        },
        _ => first_paragraph(error),
    };
    format!("{what}{}; see bwtree --help, or --help after a verb", dash_hint(error))
}

/// Advice for a key or a value that was taken for an option.
fn dash_hint(error: &clap::Error) -> &'static str {
    let is_option = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(name)) if name.starts_with('-')
    );
    if error.kind() == ErrorKind::UnknownArgument && is_option {
        "; a key or value that begins with - goes behind --, as in bwtree put DIR -- KEY -5"
    } else {
        ""
    }
}

/// The text up to the first empty line, where clap's usage begins.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    text.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refused(arguments: &str) -> String {
        let all = std::iter::once("bwtree").chain(arguments.split_whitespace());
        usage_line(&CommandLine::try_parse_from(all).unwrap_err())
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_value_taken_for_an_option_is_explained() {
        let line = refused("put d k -5");
        assert!(line.contains("'-5'") && line.contains("put DIR -- KEY -5"), "{line}");
        let parse = |arguments: &str| {
            let all = std::iter::once("bwtree").chain(arguments.split_whitespace());
            CommandLine::try_parse_from(all).is_ok()
        };
        assert!(parse("put d -- k -5") && parse("get d -- -k"));
        assert!(parse("put d k -") && parse("put d k --value-file f"));
        assert!(!parse("put d k") && !parse("put d k v --value-file f"));
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        for (arguments, part) in [
            ("", "no verb"),
            ("fly", "'fly'"),
            ("get", "missing <DIR> <KEY>"),
            ("get d k --colour", "--colour"),
            ("scan d --limit many", "many"),
            ("scan d --limit -1", "invalid value '-1'"),
            ("trace --ops 5", "--output"),
            ("trace -o f --profile v9", "v9"),
            ("replay t", "--dir"),
            ("replay t --dir d --sync-every 5 --sync-ms 5", "--sync-ms"),
            ("load d --format xml", "xml"),
            ("clean d --budget 12q", "12q"),
            ("demo --threads 0", "0"),
        ] {
            let line = refused(arguments);
            assert!(line.contains(part), "{arguments}: {line}");
            assert!(line.contains("--help"), "{arguments}: {line}");
        }
    }
}
