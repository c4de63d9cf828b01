//! `bwtree get`: one value.

use crate::escape;
use crate::failure::{Failure, Kind, Outcome};
use crate::out::{Format, Out};
use crate::record;
use crate::store::{self, Place};
use bwtree::Bytes;

/// Print the value of a key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The key; \\ \t \n \r \xNN stand for bytes
    #[arg(value_parser = store::parse_key)]
    key: Bytes,
    /// Print the value's bytes as they are, without a newline, for a pipe or a file (a terminal
    /// still gets control bytes as \xNN)
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (_db, tree) = store::tree_to_read(&args.place)?;
    let Some(value) = tree.get(&args.key)? else {
        let (key, tree) = (escape::shown(&args.key), &args.place.tree);
        let text = format!("no key {key} in tree {tree}; bwtree scan lists keys");
        return Err(Failure::of(Kind::NotFound, text));
    };
    let mut out = Out::new();
    if args.format.json {
        out.json(&record::to_json(&args.key, &value))?;
    } else if args.raw {
        out.bytes(&value)?;
    } else {
        out.line(&escape::escape(&value))?;
    }
    out.finish()
}
