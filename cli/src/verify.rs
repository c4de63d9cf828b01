//! `bwtree verify`: reads everything and checks every checksum and invariant.

use crate::escape::{escape, printable};
use crate::failure::{Context, Outcome};
use crate::numbers::{self, bytes, count};
use crate::out::{self, Format, Unit};
use crate::store;
use bwtree::Damage;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Check every checksum and every invariant of a store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let db = store::open_to_read(&args.dir)?;
    let bar = out::progress(None, "verifying", Unit::Of("pages"));
    let verified = db.verify();
    bar.finish_and_clear();
    if let Err(bwtree::Error::Damaged { found }) = &verified {
        tell(args.format, found)?;
    }
    let report = verified.context(format_args!("{} fails the check", args.dir.display()))?;
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "ok": true,
        "trees": report.trees,
        "pages": report.pages,
        "entries": report.entries,
        "catalog_pages": report.catalog_pages,
        "dropped_pages": report.dropped_pages,
        "depth": report.depth,
        "part_bytes": report.part_bytes,
        "seconds": seconds,
    });
    out::answer(args.format, &value, || {
        let trees = match report.trees {
            1 => "1 tree".to_owned(),
            several => format!("{several} trees"),
        };
        format!(
            "ok: {trees} and the catalog, {} entries in {} pages, {} read, in {}",
            count(report.entries),
            count(report.pages),
            bytes(report.part_bytes),
            numbers::seconds(seconds)
        )
    })
}

/// All that is wrong, a line each; that the check fails is the failure of the verb.
fn tell(format: Format, found: &[Damage]) -> Outcome {
    let key = |key: Option<&Vec<u8>>| key.map(|key| escape(key));
    let to_json = |damage: &Damage| {
        let first = damage.keys.as_ref().map(|keys| &keys.first);
        let end = damage.keys.as_ref().and_then(|keys| keys.end.as_ref());
        json!({ "tree": escape(damage.tree.as_bytes()), "first": key(first), "end": key(end),
        "file": damage.file, "offset": damage.offset,
        "what": damage.what })
    };
    let all: Vec<_> = found.iter().map(to_json).collect();
    out::answer(format, &json!({ "ok": false, "damage": all }), || {
        let lines = found.iter().map(|damage| printable(damage.to_string().as_bytes()));
        lines.collect::<Vec<_>>().join("\n")
    })
}
