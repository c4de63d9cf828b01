//! `bwtree verify`: reads everything and checks every checksum and invariant.

use crate::failure::{Failure, Outcome};
use crate::numbers;
use crate::out::{self, Format};
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
    let bar = out::progress(None, "verifying");
    let verified = db.verify();
    bar.finish_and_clear();
    let report = verified.map_err(|error| {
        Failure::new(format!("{} is damaged: {error}; restore a copy", args.dir.display()))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "ok": true,
        "trees": report.trees,
        "pages": report.pages,
        "entries": report.entries,
        "depth": report.depth,
        "part_bytes": report.part_bytes,
        "seconds": seconds,
    });
    out::answer(args.format, &value, || {
        format!(
            "ok: {} entries in {} pages, in {}",
            numbers::count(report.entries),
            numbers::count(report.pages),
            numbers::seconds(seconds)
        )
    })
}
