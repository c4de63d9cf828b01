//! `bwtree put`: one entry, durable when the program ends.

use crate::failure::Outcome;
use crate::out::{self, Format};
use crate::store::{self, Place};
use bwtree::{Bytes, Db};
use serde_json::json;

/// Store a value under a key; makes the store and the tree if they are missing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The key; \\ \t \n \r \xNN stand for bytes
    #[arg(value_parser = store::parse_key)]
    key: Bytes,
    /// The value, with the same escapes
    #[arg(value_parser = store::parse_key)]
    value: Bytes,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open(Db::builder(&args.place.dir), &args.place.dir)?;
    let tree = db.tree(&args.place.tree)?;
    tree.put(&args.key, args.value.clone())?;
    db.sync()?;
    drop(tree);
    db.close()?;
    out::answer(args.format, &json!({ "put": true }), String::new)
}
