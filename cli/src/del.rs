//! `bwtree del`: removes one entry, or those of a range, durably when the program ends.

use crate::failure::Outcome;
use crate::numbers::count;
use crate::out::{self, Format};
use crate::store::{self, Place, Within};
use bwtree::Bytes;
use serde_json::json;

/// Remove a key, or a range of them; it is no error if they are not there
///
/// A range over all keys of a damaged page, as bwtree verify names them, gives these up without
/// reading them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The key; \\ \t \n \r \xNN stand for bytes
    #[arg(
        value_parser = store::parse_key,
        required_unless_present_any = ["from", "to", "prefix"],
        conflicts_with_all = ["from", "to", "prefix"]
    )]
    key: Option<Bytes>,
    #[command(flatten)]
    within: Within,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open_to_change(&args.place.dir)?;
    let tree = store::find_tree(&db, &args.place.dir, &args.place.tree)?;
    let removed = match &args.key {
        Some(key) => u64::from(tree.delete(key)?),
        None if store::is_empty(&args.within.bounds()) => 0,
        None => tree.remove_range(args.within.bounds())?,
    };
    db.sync()?;
    drop(tree);
    db.close()?;
    let value = match &args.key {
        Some(_) => json!({ "removed": removed > 0 }),
        None => json!({ "removed": removed }),
    };
    out::answer(args.format, &value, || match (&args.key, removed) {
        (None, _) => format!("removed {}", count(removed)),
        (Some(_), 0) => "was not there".to_owned(),
        (Some(_), _) => "removed".to_owned(),
    })
}
