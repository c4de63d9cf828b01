//! `bwtree dump`: a whole tree as text that `bwtree load` takes.

use crate::failure::Outcome;
use crate::out::{self, Format, Out};
use crate::record::{self, Lines};
use crate::store::{self, Place};
use std::io::{self, IsTerminal};

/// Print a whole tree, in the order of its keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The form of the lines (default: tsv, with --json ndjson)
    #[arg(long, value_enum)]
    format: Option<Lines>,
    #[command(flatten)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let default = if args.output.json { Lines::Ndjson } else { Lines::Tsv };
    let lines = args.format.unwrap_or(default);
    let (_db, tree) = store::tree_to_read(&args.place)?;
    let mut out = Out::new();
    // On a terminal the lines themselves are the progress.
    let watched = !io::stdout().is_terminal();
    let bar = watched.then(|| out::progress(None, "dumping"));
    for entry in &tree {
        let (key, value) = entry?;
        record::write(&mut out, lines, &key, &value)?;
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    out.finish()
}
