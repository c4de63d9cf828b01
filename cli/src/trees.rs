//! `bwtree trees`: the names of a store's trees.

use crate::escape::escape;
use crate::failure::Outcome;
use crate::out::{self, Format};
use crate::store;
use serde_json::json;
use std::path::PathBuf;

/// List the trees of a store, as --tree takes them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let names = store::open_to_read(&args.dir)?.tree_names()?;
    out::answer(args.format, &json!({ "trees": names }), || {
        names.iter().map(|name| escape(name.as_bytes())).collect::<Vec<_>>().join("\n")
    })
}
