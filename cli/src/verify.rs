//! `bwtree verify`: reads everything and checks every checksum and invariant.

use crate::failure::{Context, Outcome};
use crate::numbers::{self, bytes, count};
use crate::out::{self, Format, Unit};
use crate::store;
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
    let report = verified.context(format_args!("{} fails the check", args.dir.display()))?;
    // The library checks the catalog of the trees as well, and counts it with them.
    let trees = db.stats().trees;
    let entries: u64 = trees.iter().map(|tree| tree.entries).sum();
    let pages: u64 = trees.iter().map(|tree| tree.pages).sum();
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "ok": true,
        "trees": trees.len(),
        "pages": pages,
        "entries": entries,
        "catalog_pages": report.pages.saturating_sub(pages),
        "depth": report.depth,
        "part_bytes": report.part_bytes,
        "seconds": seconds,
    });
    out::answer(args.format, &value, || {
        let trees = match trees.len() {
            1 => "1 tree".to_owned(),
            several => format!("{several} trees"),
        };
        format!(
            "ok: {trees} and the catalog, {} entries in {} pages, {} read, in {}",
            count(entries),
            count(pages),
            bytes(report.part_bytes),
            numbers::seconds(seconds)
        )
    })
}
