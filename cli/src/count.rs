//! `bwtree count`: how many entries a tree has.

use crate::failure::Outcome;
use crate::out::{self, Format};
use crate::store::{self, Place};
use serde_json::json;

/// Count the entries of a tree
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (_db, tree) = store::tree_to_read(&args.place)?;
    let mut entries = 0_u64;
    for entry in &tree {
        entry?;
        entries += 1;
    }
    out::answer(args.format, &json!({ "entries": entries }), || entries.to_string())
}
