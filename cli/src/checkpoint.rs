//! `bwtree checkpoint`: writes a checkpoint, so that the next start has little to recover.

use crate::failure::Outcome;
use crate::numbers;
use crate::out::{self, Format};
use crate::store;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Write a checkpoint now
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open_to_change(&args.dir)?;
    let start = Instant::now();
    db.checkpoint()?;
    let seconds = start.elapsed().as_secs_f64();
    let version = db.durable_version();
    db.close()?;
    let value = json!({ "seconds": seconds, "durable_version": version });
    out::answer(args.format, &value, || {
        format!("checkpoint at version {version} in {}", numbers::seconds(seconds))
    })
}
