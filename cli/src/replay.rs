//! `bwtree replay`: a trace through the store, from several threads, checked against the trace's
//! footer: before the store is closed, and after it is opened again.
//!
//! Key: the map's id, then the key. Value: the expiry time (ms, 8 bytes little endian, 0 for none),
//! then the value.

use crate::failure::{Context, Failure, Outcome};
use crate::lanes::{self, Batches, Numbered};
use crate::latency::Histogram;
use crate::numbers::{self, bytes, count};
use crate::out::{self, Format, Unit};
use crate::process;
use crate::sampler::{self, Observed, Sampler};
use crate::store;
use crate::trace::{Change, Digest, Ledger, open, verb};
use bwtree::{Bytes, Db, SyncPolicy, Tree};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Replay a trace into a store and check the result against the trace's footer
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trace (see bwtree trace), - for stdin
    trace: String,
    /// The folder of the store; made if missing
    #[arg(long)]
    dir: PathBuf,
    /// The tree to fill; it must be empty
    #[arg(long, default_value = "default")]
    tree: String,
    /// Sync after every so many operations of all threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sync_every: Option<u32>,
    /// Sync every so many milliseconds (the default, with 100)
    #[arg(long, value_name = "N", conflicts_with = "sync_every",
          value_parser = clap::value_parser!(u64).range(1..))]
    sync_ms: Option<u64>,
    /// Threads; each key keeps to one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Memory for pages and values (k, m, g for binary units)
    #[arg(long, value_name = "BYTES", value_parser = numbers::parse_bytes)]
    memory_budget: Option<u64>,
    /// Fail if the disk ever takes more than twice the live bytes and 64 MiB
    #[arg(long)]
    check_disk_bound: bool,
    #[command(flatten)]
    format: Format,
}

/// What a replay measured.
struct Measured {
    ops: u64,
    puts: Histogram,
    seconds: f64,
    found: Digest,
    /// What the store holds after it was closed and opened again.
    reopened: Digest,
    wanted: Digest,
    bytes_written: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let live = Arc::new(AtomicU64::new(0));
    let sampler = Sampler::start(&args.dir, Arc::clone(&live));
    let measured = replay(args, &live);
    // Behind the closing, whose checkpoint takes space as well: the end is one of the samples.
    let disk = sampler.finish();
    let measured = measured?;
    out::answer(args.format, &to_json(&measured, &disk), || text(&measured, &disk))?;
    compare("the store's content", measured.found, measured.wanted)?;
    compare("the reopened store's content", measured.reopened, measured.wanted)?;
    match disk.worst {
        Some((taken, live)) if args.check_disk_bound => Err(Failure::new(format!(
            "the disk took {} with {} live ({} allowed) in {} of {} samples",
            bytes(taken),
            bytes(live),
            bytes(sampler::bound(live)),
            disk.over,
            disk.samples
        ))),
        _ => Ok(()),
    }
}

fn compare(what: &str, found: Digest, wanted: Digest) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{what} differs from the trace: {} keys, {} bytes, digest {} instead of {} keys, {} bytes, \
         {}; please report this with the trace",
        found.keys,
        found.bytes,
        found.hex(),
        wanted.keys,
        wanted.bytes,
        wanted.hex()
    )))
}

impl Measured {
    fn ok(&self) -> bool {
        self.found == self.wanted && self.reopened == self.wanted
    }
}

fn replay(args: &Args, live: &AtomicU64) -> Outcome<Measured> {
    let mut reader = open(&args.trace)?;
    let policy = match (args.sync_every, args.sync_ms) {
        (Some(writes), _) => SyncPolicy::EveryWrites(writes),
        (None, millis) => SyncPolicy::EveryMillis(millis.unwrap_or(100)),
    };
    let mut builder = Db::builder(&args.dir).sync_policy(policy);
    if let Some(budget) = args.memory_budget {
        builder = builder.memory_budget_bytes(budget);
    }
    let db = store::open(builder, &args.dir)?;
    let tree = db.tree(&args.tree)?;
    if tree.iter().next().is_some() {
        let name = &args.tree;
        return Err(Failure::new(format!("tree {name} is not empty; name a new one with --tree")));
    }

    let bar = out::progress(None, "replaying", Unit::Of("operations"));
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let feed = |feeder: &mut lanes::Feeder| {
        let mut number = 0;
        while let Some(op) = reader.next_op()? {
            number += 1;
            ledger.apply(&op);
            live.store(ledger.live_bytes(), Ordering::Relaxed);
            bar.inc(1);
            if !feeder.push(Numbered { number, op }) {
                break;
            }
        }
        Ok(())
    };
    let threads = usize::from(args.threads);
    let ran = lanes::run(threads, feed, |_, batches| apply(&tree, batches));
    bar.finish_and_clear();
    let ran = ran.and_then(|histograms| Ok((histograms, db.sync()?)));
    let seconds = start.elapsed().as_secs_f64();
    let (histograms, ()) = ran?;

    let footer = reader.footer()?;
    verb::check(ledger.summary(footer.end_ms).live, footer.live)?;
    let found = digest(&tree, footer.end_ms)?;
    let mut puts = Histogram::default();
    for histogram in &histograms {
        puts.merge(histogram);
    }
    let bytes_written = db.stats().bytes_written;
    drop(tree);
    db.close()?;
    let reopened = {
        let db = store::open_to_read(&args.dir)?;
        digest(&db.tree(&args.tree)?, footer.end_ms)?
    };
    Ok(Measured {
        ops: footer.ops,
        puts,
        seconds,
        found,
        reopened,
        wanted: footer.live,
        bytes_written,
    })
}

/// One lane's work; the latencies of its puts.
fn apply(tree: &Tree, batches: Batches) -> Outcome<Histogram> {
    let mut puts = Histogram::default();
    for Numbered { number, op } in batches.into_iter().flatten() {
        let key = op.store_key();
        match &op.change {
            Change::Delete => {
                tree.delete(&key).context(format_args!("operation {number}"))?;
            }
            Change::Put { value, expire_at_ms } => {
                let mut stored = Vec::with_capacity(8 + value.len());
                stored.extend_from_slice(&expire_at_ms.to_le_bytes());
                stored.extend_from_slice(&value.bytes());
                let start = Instant::now();
                tree.put(&key, Bytes::from(stored)).context(format_args!("operation {number}"))?;
                puts.record(start.elapsed());
            }
        }
    }
    Ok(puts)
}

/// The digest of what the tree holds and has not expired.
fn digest(tree: &Tree, end_ms: u64) -> Outcome<Digest> {
    let mut digest = Digest::default();
    for entry in tree {
        let (key, stored) = entry?;
        let (Some((map, key)), Some((expire, value))) =
            (key.split_first(), stored.split_first_chunk::<8>())
        else {
            return Err(Failure::new("the tree holds an entry that no replay has written"));
        };
        let expire_at_ms = u64::from_le_bytes(*expire);
        if expire_at_ms == 0 || expire_at_ms > end_ms {
            digest.add(*map, key, value);
        }
    }
    Ok(digest)
}

fn to_json(measured: &Measured, disk: &Observed) -> Value {
    json!({
        "ok": measured.ok(),
        "ops": measured.ops,
        "seconds": measured.seconds,
        "ops_per_second": numbers::rate(measured.ops, measured.seconds),
        "put_latency": measured.puts.to_json(),
        "live_keys": measured.found.keys,
        "live_bytes": measured.found.bytes,
        "digest": measured.found.hex(),
        "reopened_digest": measured.reopened.hex(),
        "disk_peak_bytes": disk.peak_bytes,
        "disk_final_bytes": disk.last_bytes,
        "disk_samples": disk.samples,
        "disk_samples_over_bound": disk.over,
        "bytes_written": measured.bytes_written,
        "peak_memory_bytes": process::peak_memory_bytes(),
    })
}

fn text(measured: &Measured, disk: &Observed) -> String {
    let live = measured.found.bytes;
    let mut table = crate::table::Table::default();
    let rate = numbers::rate(measured.ops, measured.seconds) as u64;
    let verdict = if measured.ok() { "ok" } else { "WRONG" };
    table.row(["operations".to_owned(), count(measured.ops)]);
    table.row(["operations a second".to_owned(), count(rate)]);
    table.row(["live".to_owned(), format!("{} keys, {}", count(measured.found.keys), bytes(live))]);
    for (name, taken) in [("disk, peak", disk.peak_bytes), ("disk, at the end", disk.last_bytes)] {
        let ratio = numbers::ratio(taken, live);
        table.row([name.to_owned(), format!("{}, {ratio} of live", bytes(taken))]);
    }
    table.row(["written".to_owned(), bytes(measured.bytes_written)]);
    let memory = process::peak_memory_bytes().map_or("-".to_owned(), bytes);
    table.row(["memory, peak".to_owned(), memory]);
    table.row(["digest".to_owned(), format!("{} {verdict}", measured.found.hex())]);
    format!("{}put: {}", table.render(0), measured.puts.summary())
}
