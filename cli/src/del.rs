//! `bwtree del`: removes one entry, durably when the program ends.

use crate::failure::Outcome;
use crate::out::{self, Format};
use crate::store::{self, Place};
use bwtree::Bytes;
use serde_json::json;

/// Remove a key; it is no error if it is not there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The key; \\ \t \n \r \xNN stand for bytes
    #[arg(value_parser = store::parse_key)]
    key: Bytes,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open_to_change(&args.place.dir)?;
    let tree = store::find_tree(&db, &args.place.dir, &args.place.tree)?;
    let removed = tree.delete(&args.key)?;
    db.sync()?;
    drop(tree);
    db.close()?;
    out::answer(args.format, &json!({ "removed": removed }), || {
        if removed { "removed".to_owned() } else { "was not there".to_owned() }
    })
}
