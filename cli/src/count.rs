//! `bwtree count`: how many entries a tree, or a range of it, has.

use crate::failure::Outcome;
use crate::out::{self, Format};
use crate::store::{self, Place, Within};
use serde_json::json;

/// Count the entries of a tree, or of a range of it
///
/// A range is read for it. Of a tree only those pages are read that were written to without being
/// read before, as `put` does where memory is short.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    within: Within,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let bounds = args.within.bounds();
    let (_db, tree) = store::tree_to_read(&args.place)?;
    let entries = if args.within.is_everything() {
        tree.len()
    } else if store::is_empty(&bounds) {
        0
    } else {
        let mut entries = 0_u64;
        for entry in tree.range(bounds) {
            entry?;
            entries += 1;
        }
        entries
    };
    out::answer(args.format, &json!({ "entries": entries }), || entries.to_string())
}
