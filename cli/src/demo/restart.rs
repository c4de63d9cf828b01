//! The child that restarts one side in a fresh process: opens it, reads everything, then gets
//! single entries at random, and tells how long it took and how much memory.

use super::child;
use super::side::{Store, Which};
use super::stored::{self, Entry};
use crate::baseline;
use crate::failure::{Context, Failure, Outcome};
use crate::latency::Histogram;
use crate::out::{self, Format};
use crate::process;
use crate::random::Random;
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

/// Gets after a restart.
const GETS: u64 = 200_000;

/// What a restart took, and what it found.
#[derive(Debug, Clone)]
pub(crate) struct Restart {
    pub(crate) seconds: f64,
    /// Gets of single entries, one thread, and how long all of them took.
    pub(crate) gets: Histogram,
    pub(crate) get_seconds: f64,
    /// Nothing where the system does not tell.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) live: Digest,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    match args.side {
        Which::Store => {
            let store = Store::open(&args.dir)?;
            let (live, keys) = read(store.tree.iter().map(|entry| Ok(entry?)))?;
            let read = Read { live, keys, seconds: start.elapsed().as_secs_f64() };
            read.get(|key| Ok(store.tree.get(key)?.is_some()))?;
            store.close()
        }
        Which::Log => {
            let content = baseline::recover(&args.dir)?;
            let mut live = Digest::default();
            for (key, value) in &content {
                live.add(key[0], &key[1..], value);
            }
            let keys = content.keys().cloned().collect();
            let read = Read { live, keys, seconds: start.elapsed().as_secs_f64() };
            // From the map in memory, as the engine does.
            read.get(|key| Ok(content.get(key).cloned().is_some()))
        }
        #[cfg(feature = "peers")]
        Which::Redb => {
            let redb = super::peers::Redb::open(&args.dir)?;
            let (live, keys) = read(redb.entries()?.into_iter().map(Ok))?;
            let read = Read { live, keys, seconds: start.elapsed().as_secs_f64() };
            let reader = redb.reader()?;
            read.get(|key| super::peers::Redb::get(&reader, key))
        }
        #[cfg(feature = "peers")]
        Which::Sqlite => {
            let sqlite = super::peers::Sqlite::open(&args.dir)?;
            let (live, keys) = read(sqlite.entries()?.into_iter().map(Ok))?;
            let read = Read { live, keys, seconds: start.elapsed().as_secs_f64() };
            read.get(|key| sqlite.get(key))
        }
    }
}

/// What was read of a side.
struct Read {
    live: Digest,
    keys: Vec<Vec<u8>>,
    seconds: f64,
}

impl Read {
    /// Gets entries at random, and tells everything as one line of JSON.
    fn get(&self, get: impl Fn(&[u8]) -> Outcome<bool>) -> Outcome {
        let mut random = Random::new(1);
        let mut gets = Histogram::default();
        let start = Instant::now();
        for _ in 0..if self.keys.is_empty() { 0 } else { GETS } {
            let key = &self.keys[random.below(self.keys.len() as u64) as usize];
            let start = Instant::now();
            let found = get(key)?;
            gets.record(start.elapsed());
            if !found {
                return Err(Failure::new("an entry that was just read is not found"));
            }
        }
        let value = json!({
            "seconds": self.seconds,
            "peak_memory_bytes": process::peak_memory_bytes(),
            "keys": self.live.keys,
            "bytes": self.live.bytes,
            "sum": self.live.sum,
            "gets": gets.to_text(),
            "get_seconds": start.elapsed().as_secs_f64(),
        });
        out::answer(Format { json: true }, &value, String::new)
    }
}

/// The digest and the keys of entries as the demo stores them, positions left out.
fn read<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    entries: impl Iterator<Item = Outcome<(K, V)>>,
) -> Outcome<(Digest, Vec<Vec<u8>>)> {
    let (mut live, mut keys) = (Digest::default(), Vec::new());
    for entry in entries {
        let (stored_key, stored) = entry?;
        match stored::read(stored_key.as_ref(), stored.as_ref()) {
            Some(Entry::Put { map, key, value, .. }) => live.add(map, key, value),
            Some(Entry::Position { .. }) => continue,
            None => return Err(Failure::new("the store holds what the demo has not written")),
        }
        keys.push(stored_key.as_ref().to_vec());
    }
    Ok((live, keys))
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
    let gets = value.get("gets").and_then(Value::as_str).and_then(Histogram::from_text);
    match (seconds, gets, number("keys"), number("bytes"), number("sum")) {
        (Some(seconds), Some(gets), Some(keys), Some(bytes), Some(sum)) => Ok(Restart {
            seconds,
            gets,
            get_seconds: value.get("get_seconds").and_then(Value::as_f64).unwrap_or(0.0),
            peak_memory_bytes: number("peak_memory_bytes"),
            live: Digest { keys, bytes, sum },
        }),
        _ => Err(Failure::new(format!("restarting the {} failed; see above", side.name()))),
    }
}
