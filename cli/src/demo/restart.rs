//! The child that restarts one side in a fresh process: opens it, reads everything, and tells how
//! long it took and how much memory.

use super::child;
use super::side::{Store, Which};
use super::stored::{self, Entry};
use crate::baseline;
use crate::failure::{Context, Failure, Outcome};
use crate::out::{self, Format};
use crate::process;
use crate::trace::Digest;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// Open one side of the demo and read all of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_enum)]
    side: Which,
}

/// What a restart took, and what it found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restart {
    pub(crate) seconds: f64,
    /// Nothing where the system does not tell.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) live: Digest,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let live = match args.side {
        Which::Store => read_store(&args.dir)?,
        Which::Log => read_log(&args.dir)?,
    };
    let value = json!({
        "seconds": start.elapsed().as_secs_f64(),
        "peak_memory_bytes": process::peak_memory_bytes(),
        "keys": live.keys,
        "bytes": live.bytes,
        "sum": live.sum,
    });
    out::answer(Format { json: true }, &value, String::new)
}

fn read_log(dir: &Path) -> Outcome<Digest> {
    let mut live = Digest::default();
    for ((map, key), value) in &baseline::recover(dir)? {
        live.add(*map, key, value);
    }
    Ok(live)
}

fn read_store(dir: &Path) -> Outcome<Digest> {
    let store = Store::open(dir)?;
    let mut live = Digest::default();
    for entry in &store.tree {
        let (key, value) = entry?;
        match stored::read(&key, &value) {
            Some(Entry::Put { map, key, value, .. }) => live.add(map, key, value),
            Some(Entry::Position { .. }) => {}
            None => return Err(Failure::new("the store holds what the demo has not written")),
        }
    }
    store.close()?;
    Ok(live)
}

/// Restarts one side in a fresh process.
pub(crate) fn measure(dir: &Path, side: Which) -> Outcome<Restart> {
    let output = child::program("demo-reader")?
        .arg("--dir")
        .arg(dir)
        .args(["--side", side.name()])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the process that reads")?;
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let seconds = value.get("seconds").and_then(Value::as_f64);
    match (seconds, number("keys"), number("bytes"), number("sum")) {
        (Some(seconds), Some(keys), Some(bytes), Some(sum)) => Ok(Restart {
            seconds,
            peak_memory_bytes: number("peak_memory_bytes"),
            live: Digest { keys, bytes, sum },
        }),
        _ => Err(Failure::new(format!("restarting the {} failed; see above", side.name()))),
    }
}
