//! `bwtree load`: fills trees from lines of text.

use crate::failure::{Context, Failure, Kind, Outcome};
use crate::numbers::{self, count};
use crate::out::{self, Format, Unit};
use crate::record::{self, Line, Lines};
use crate::store;
use bwtree::{Bytes, Db, Error, Tree};
use indicatif::ProgressBar;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Instant;

/// Most bytes of a line: of a key and a value that are as long as they may be, with each byte
/// written as an escape of JSON, and what stands around them.
const MAX_LINE_BYTES: u64 = 6 * ((64 << 20) + (4 << 10)) + 1024;

/// Bytes of input between two syncs, so that a failure can tell how far it is safe to skip.
const SYNC_BYTES: u64 = 2 << 20;

/// Put the lines of a file into a tree; makes the store and the tree if they are missing
///
/// What stands under a key already is replaced, so loading a file again does no harm. A line that
/// makes no sense stops the load with its number; the lines before it stay loaded, and --skip goes
/// on behind them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    /// The file to read, - for stdin
    #[arg(default_value = "-")]
    file: String,
    /// The tree for lines that no line before them names a tree for (default: default)
    #[arg(long, value_name = "NAME", value_parser = store::parse_tree)]
    tree: Option<String>,
    /// The form of the lines
    #[arg(long, value_enum, default_value = "tsv")]
    format: Lines,
    /// Pass over the first N lines, which an earlier load has taken
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u64,
    /// Memory for pages and values (k, m, g for binary units)
    #[arg(long, value_name = "BYTES", value_parser = numbers::parse_bytes)]
    memory_budget: Option<u64>,
    #[command(flatten)]
    output: Format,
}

impl Args {
    /// The tree for lines that no line before them names one for.
    fn default_tree(&self) -> &str {
        self.tree.as_deref().unwrap_or(store::DEFAULT_TREE)
    }

    /// Name of the input in messages.
    fn input(&self) -> &str {
        if self.file == "-" { "stdin" } else { &self.file }
    }
}

/// How far a load has come.
#[derive(Debug, Default)]
struct Reached {
    /// Lines taken or skipped.
    lines: u64,
    /// Of these lines, those that are durable.
    synced: u64,
    /// Entries put.
    entries: u64,
    /// The next line makes no sense, or no store takes it.
    is_bad: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (input, length): (Box<dyn BufRead>, Option<u64>) = if args.file == "-" {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file).context(format_args!("cannot read {}", args.file))?;
        // A pipe or a device has no length to come to.
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        (Box::new(BufReader::with_capacity(1 << 20, file)), length)
    };
    let start = Instant::now();
    let mut builder = Db::builder(&args.dir);
    if let Some(budget) = args.memory_budget {
        builder = builder.memory_budget_bytes(budget);
    }
    let db = store::open(builder, &args.dir)?;
    let bar = out::progress(length, "loading", Unit::Bytes);
    let mut reached = Reached::default();
    let filled = fill(args, &db, input, &bar, &mut reached);
    bar.finish_and_clear();
    // Closing syncs, also behind a bad line.
    let closed = db.close();
    if closed.is_ok() {
        reached.synced = reached.lines;
    }
    let ended = filled.and_then(|()| Ok(closed?));
    if ended.is_ok() && reached.lines < args.skip {
        return Err(too_short(args, reached.lines));
    }
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "ok": ended.is_ok(),
        "loaded": reached.entries,
        "lines": reached.lines,
        "synced_lines": reached.synced,
        "seconds": seconds,
    });
    let Err(failure) = ended else {
        return out::answer(args.output, &value, || {
            let rate = count(numbers::rate(reached.entries, seconds) as u64);
            let took = numbers::seconds(seconds);
            let entries = numbers::of_many(reached.entries, "entry", "entries");
            format!("loaded {entries} in {took}, {rate} a second")
        });
    };
    if args.output.json {
        out::answer(args.output, &value, String::new)?;
    }
    Err(failure.map_text(|text| {
        let Reached { lines, synced, is_bad, .. } = reached;
        let of = count(synced);
        let loaded = numbers::of_many(lines, "line is", "lines are");
        let go_on = if is_bad && lines == synced {
            format!(
                "mend it and go on with --skip {lines}, or leave it out with --skip {}",
                lines + 1
            )
        } else {
            format!("go on with --skip {synced}")
        };
        format!("{text} ({loaded} loaded, {of} of them synced: {go_on})")
    }))
}

fn fill(
    args: &Args,
    db: &Db,
    mut input: impl BufRead,
    bar: &ProgressBar,
    reached: &mut Reached,
) -> Outcome {
    // Not made before it is known that it is meant.
    let mut tree = None;
    let mut line = Vec::new();
    let mut unsynced = 0;
    loop {
        let read = read_line(&mut input, &mut line, MAX_LINE_BYTES).context(format_args!(
            "cannot read {} after line {}",
            args.input(),
            reached.lines
        ))?;
        if read == 0 {
            if tree.is_none() {
                db.tree(args.default_tree())?;
            }
            return Ok(db.sync()?);
        }
        let number = reached.lines + 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        take(args, db, &mut tree, text, number, reached).map_err(|failure| {
            failure.map_text(|what| format!("{}, line {number}: {what}", args.input()))
        })?;
        reached.lines = number;
        bar.inc(read);
        unsynced += read;
        if unsynced >= SYNC_BYTES {
            db.sync()?;
            (reached.synced, unsynced) = (number, 0);
        }
    }
}

/// Reads a line; of one that has more than `most` bytes, that many and one more. Returns how many
/// bytes it takes.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, most: u64) -> io::Result<u64> {
    line.clear();
    let mut read = input.by_ref().take(most + 1).read_until(b'\n', line)? as u64;
    if read > most && !line.ends_with(b"\n") {
        read += input.skip_until(b'\n')? as u64;
    }
    Ok(read)
}

/// More lines are to be passed over than there are: it is another input than the one meant.
fn too_short(args: &Args, lines: u64) -> Failure {
    let (input, lines, skip) = (args.input(), count(lines), count(args.skip));
    let what = format!("{input} ends at line {lines}, and --skip passes over {skip}");
    Failure::of(Kind::Usage, what)
}

/// Takes one line: puts its entry into `tree`, or changes `tree` to the one that the line names.
fn take(
    args: &Args,
    db: &Db,
    tree: &mut Option<Tree>,
    text: &[u8],
    number: u64,
    reached: &mut Reached,
) -> Outcome {
    let skipped = number <= args.skip;
    let parsed = if text.len() as u64 > MAX_LINE_BYTES {
        Err(format!("the line has more than {} bytes", count(MAX_LINE_BYTES)))
    } else {
        record::parse(args.format, text)
    };
    match parsed {
        Ok(Line::Tree(name)) => {
            if args.tree.is_some() {
                let what = "the file names its trees itself; leave out --tree";
                return Err(Failure::new(what));
            }
            *tree = Some(db.tree(&name)?);
        }
        Ok(Line::Entry(key, value)) if !skipped => {
            let tree = match tree {
                Some(tree) => tree,
                None => tree.insert(db.tree(args.default_tree())?),
            };
            tree.put(&key, Bytes::from(value)).inspect_err(|error| {
                // It would be refused again.
                reached.is_bad =
                    matches!(error, Error::KeyTooLong { .. } | Error::ValueTooLong { .. });
            })?;
            reached.entries += 1;
        }
        Err(what) if !skipped => {
            reached.is_bad = true;
            return Err(Failure::new(what));
        }
        Ok(Line::Entry(..)) | Err(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_whole() {
        let mut input = &b"four\nfive5\nsix666\n\nlast"[..];
        let mut line = Vec::new();
        for (read, text) in [
            (5, &b"four\n"[..]),
            (6, b"five5\n"),
            (7, b"six666"),
            (1, b"\n"),
            (4, b"last"),
            (0, b""),
        ] {
            assert_eq!(read_line(&mut input, &mut line, 5).unwrap(), read);
            assert_eq!(line, text);
        }
    }
}
