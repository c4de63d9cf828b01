//! `bwtree scan`: the entries of a range, in order.

use crate::failure::Outcome;
use crate::out::{Format, Out};
use crate::record::{self, Lines};
use crate::store::{self, Place, Within};

/// Print the entries of a range of keys as TSV, or one JSON object a line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    within: Within,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Stop after this many entries
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    limit: Option<u64>,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let bounds = args.within.bounds();
    let (_db, tree) = store::tree_to_read(&args.place)?;
    let mut out = Out::new();
    if store::is_empty(&bounds) {
        return out.finish();
    }
    let lines = if args.format.json { Lines::Ndjson } else { Lines::Tsv };
    let mut range = tree.range(bounds);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0
        && let Some(entry) = if args.reverse { range.next_back() } else { range.next() }
    {
        let (key, value) = entry?;
        record::write(&mut out, lines, &key, &value)?;
        left -= 1;
    }
    out.finish()
}
