//! `bwtree put`: one entry, durable when the program ends.

use crate::escape;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::out::{self, Format};
use crate::store::{self, Place};
use crate::trace::MAX_VALUE_BYTES;
use bwtree::{Bytes, Db};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Store a value under a key; makes the store and the tree if they are missing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The key; \\ \t \n \r \xNN stand for bytes. A key that begins with - goes behind --
    #[arg(value_parser = store::parse_key)]
    key: Bytes,
    /// The value, with the same escapes; - reads its bytes from stdin (\x2d is a value of one dash)
    #[arg(required_unless_present = "value_file")]
    value: Option<String>,
    /// Read the value's bytes from this file
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    value_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // Before the store is made: a value that cannot be had leaves nothing behind.
    let value = value(args)?;
    let db = store::open(Db::builder(&args.place.dir), &args.place.dir)?;
    let tree = db.tree(&args.place.tree)?;
    tree.put(&args.key, value)?;
    db.sync()?;
    drop(tree);
    db.close()?;
    out::answer(args.format, &json!({ "put": true }), String::new)
}

fn value(args: &Args) -> Outcome<Bytes> {
    match (args.value.as_deref(), args.value_file.as_deref()) {
        (_, Some(path)) => read_file(path),
        (Some("-"), None) => read(io::stdin().lock(), "stdin"),
        (text, None) => {
            let bytes = escape::unescape(text.unwrap_or_default());
            bytes
                .map(Bytes::from)
                .map_err(|what| Failure::of(Kind::Usage, format!("value: {what}")))
        }
    }
}

fn read_file(path: &Path) -> Outcome<Bytes> {
    let shown = path.display().to_string();
    let file = File::open(path).context(format_args!("cannot read {shown}"))?;
    read(file, &shown)
}

/// All of `input`. What is longer than values can be is not read to its end.
fn read(input: impl Read, name: &str) -> Outcome<Bytes> {
    let most = u64::from(MAX_VALUE_BYTES) + 1024;
    let mut bytes = Vec::new();
    input.take(most).read_to_end(&mut bytes).context(format_args!("cannot read {name}"))?;
    Ok(bytes.into())
}
