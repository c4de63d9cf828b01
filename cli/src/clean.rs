//! `bwtree clean`: gives back the disk space of what was overwritten and deleted.

use crate::failure::Outcome;
use crate::numbers;
use crate::out::{self, Format, Unit};
use crate::process;
use crate::store;
use bwtree::{CleanEnd, CleanOptions, CleanReport, Db};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Clean the log now, as far as the target or the budget allows
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    /// Move at most this many bytes (k, m, g for binary units)
    #[arg(long, value_name = "BYTES", value_parser = numbers::parse_bytes)]
    budget: Option<u64>,
    /// Stop when the disk takes this many times the live bytes
    #[arg(long, value_name = "TIMES", default_value_t = DEFAULT_TARGET)]
    target_ratio: f64,
    #[command(flatten)]
    format: Format,
}

/// What a cleaning by hand aims at.
pub(crate) const DEFAULT_TARGET: f64 = 1.1;

/// Cleans `db` with a progress bar on a terminal.
pub(crate) fn clean(db: &Db, budget_bytes: Option<u64>, target_ratio: f64) -> Outcome<CleanReport> {
    let bar = out::progress(None, "cleaning", Unit::Bytes);
    let mut progress = |now: &bwtree::CleanProgress| {
        bar.set_position(now.moved_bytes);
        bar.set_message(format!("freed {}", numbers::bytes(now.freed_bytes)));
        true
    };
    let options = CleanOptions { budget_bytes, target_ratio, progress: Some(&mut progress) };
    let report = db.clean(options);
    bar.finish_and_clear();
    Ok(report?)
}

/// Why it ended, and how it is called in JSON.
fn end_of(report: &CleanReport) -> (&'static str, &'static str) {
    match report.end {
        CleanEnd::Reached => ("reached", "the target is reached"),
        CleanEnd::Budget => ("budget", "the budget is used up"),
        CleanEnd::NothingToGain => ("nothing to gain", "nothing more is to be gained"),
        _ => ("stopped", "it was stopped"),
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let before = process::disk_bytes(&args.dir);
    let db = store::open_to_change(&args.dir)?;
    let report = clean(&db, args.budget, args.target_ratio)?;
    let (held, reserve) = (report.held_bytes, report.reserve_bytes);
    let (end, why) = end_of(&report);
    db.close()?;
    let after = process::disk_bytes(&args.dir);
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "disk_bytes_before": before,
        "disk_bytes_after": after,
        "live_bytes": report.live_bytes,
        "held_bytes": held,
        "reserve_bytes": reserve,
        "end": end,
        "seconds": seconds,
    });
    out::answer(args.format, &value, || {
        let done = format!(
            "{} on disk, {} before, in {}: {why}, with {} live and {} kept for a full disk",
            numbers::bytes(after),
            numbers::bytes(before),
            numbers::seconds(seconds),
            numbers::bytes(report.live_bytes),
            numbers::bytes(reserve)
        );
        match held {
            0 => done,
            held => format!("{done}; {} are held for readers", numbers::bytes(held)),
        }
    })
}
