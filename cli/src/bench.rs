//! `bwtree bench`: a plain throughput bench of the store or of the map in memory. For comparing two
//! builds on one machine; it proves nothing about others.

use crate::failure::{Failure, Outcome};
use crate::latency::Histogram;
use crate::numbers::{self, count};
use crate::out::{Format, Out};
use crate::random::{Random, expand_into, splitmix64};
use crate::store;
use crate::table::Table;
use bwtree::{Bytes, Db, Map, Tree};
use serde_json::json;
use std::ops::Bound;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

/// Entries that one scan reads.
const SCAN_ENTRIES: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// Put every key once, in random order
    Fill,
    /// Get random keys
    Read,
    /// Half gets, half puts of random keys
    Mixed,
    /// Scans of 100 entries from random keys
    Scan,
    /// All of these in turn
    All,
}

/// Measure operations a second and latencies
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store; made if missing
    #[arg(required_unless_present = "memory", conflicts_with = "memory")]
    dir: Option<PathBuf>,
    /// Bench the map in memory (u64 keys and values) instead of a store
    #[arg(long)]
    memory: bool,
    /// The tree to use
    #[arg(long, default_value = "bench")]
    tree: String,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Keys
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Operations of each workload but fill (a scan is one operation)
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    ops: u64,
    /// Bytes of a value in a store
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1 << 26))]
    value_bytes: u32,
    /// What to run; all but fill and all need the keys to be there already
    #[arg(long, value_enum, default_value = "all")]
    workload: Workload,
    /// Names the order of the keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    format: Format,
}

/// What is benched. Keys are numbers, spread over all of 64 bits.
trait Target: Sync {
    fn put(&self, key: u64, number: u64) -> Outcome;
    fn get(&self, key: u64) -> Outcome<bool>;
    /// The entries read.
    fn scan(&self, from: u64) -> Outcome<usize>;
}

struct Store {
    tree: Tree,
    value_bytes: usize,
}

impl Target for Store {
    fn put(&self, key: u64, number: u64) -> Outcome {
        let mut value = Vec::new();
        expand_into(&mut value, number, self.value_bytes);
        Ok(self.tree.put(key.to_be_bytes(), Bytes::from(value))?)
    }

    fn get(&self, key: u64) -> Outcome<bool> {
        Ok(self.tree.get(key.to_be_bytes())?.is_some())
    }

    fn scan(&self, from: u64) -> Outcome<usize> {
        let bounds = (Bound::Included(from.to_be_bytes()), Bound::Unbounded);
        let mut read = 0;
        for entry in self.tree.range(bounds).take(SCAN_ENTRIES) {
            entry?;
            read += 1;
        }
        Ok(read)
    }
}

struct Memory(Map<u64, u64>);

impl Target for Memory {
    fn put(&self, key: u64, number: u64) -> Outcome {
        self.0.insert(key, number);
        Ok(())
    }

    fn get(&self, key: u64) -> Outcome<bool> {
        Ok(self.0.get(&key).is_some())
    }

    fn scan(&self, from: u64) -> Outcome<usize> {
        Ok(self.0.range(from..).take(SCAN_ENTRIES).count())
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Some(dir) = &args.dir else {
        return bench(args, &Memory(Map::new()), || Ok(()));
    };
    let db = store::open(Db::builder(dir), dir)?;
    let tree = db.tree(&args.tree)?;
    let target = Store { tree, value_bytes: args.value_bytes as usize };
    bench(args, &target, || Ok(db.sync()?))?;
    drop(target);
    Ok(db.close()?)
}

/// The key with this number: different numbers have different keys.
fn key(number: u64) -> u64 {
    let mut state = number;
    splitmix64(&mut state)
}

fn bench(args: &Args, target: &impl Target, sync: impl Fn() -> Outcome) -> Outcome {
    let workloads = match args.workload {
        // In memory nothing is there before the fill.
        one if one != Workload::All && !(args.memory && one != Workload::Fill) => vec![one],
        Workload::All => vec![Workload::Fill, Workload::Read, Workload::Mixed, Workload::Scan],
        one => vec![Workload::Fill, one],
    };
    let mut table = Table::new(["workload", "ops", "ops/s", "p50", "p99", "p99.9", "max"]);
    let mut out = Out::new();
    for workload in workloads {
        let start = Instant::now();
        let latencies = workload_run(args, target, workload)?;
        sync()?;
        let seconds = start.elapsed().as_secs_f64();
        let rate = numbers::rate(latencies.count(), seconds);
        let name = format!("{workload:?}").to_lowercase();
        if args.format.json {
            out.json(&json!({
                "workload": name,
                "threads": args.threads,
                "keys": args.keys,
                "ops": latencies.count(),
                "seconds": seconds,
                "ops_per_second": rate,
                "latency": latencies.to_json(),
            }))?;
            continue;
        }
        let at = |quantile| numbers::nanos(latencies.quantile_ns(quantile));
        let longest = numbers::nanos(latencies.max_ns());
        let (ops, rate) = (count(latencies.count()), count(rate as u64));
        table.row([name, ops, rate, at(0.5), at(0.99), at(0.999), longest]);
    }
    if !args.format.json {
        out.bytes(table.render(0).as_bytes())?;
    }
    out.finish()
}

fn workload_run(args: &Args, target: &impl Target, workload: Workload) -> Outcome<Histogram> {
    let threads = u64::from(args.threads);
    let total = if workload == Workload::Fill { args.keys } else { args.ops };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| {
                let (from, to) = (total * lane / threads, total * (lane + 1) / threads);
                scope.spawn(move || lane_run(args, target, workload, from..to))
            })
            .collect();
        let mut all = Histogram::default();
        for lane in lanes {
            let done = lane.join().unwrap_or_else(|_| Err(Failure::new("a thread panicked")))?;
            all.merge(&done);
        }
        Ok(all)
    })
}

fn lane_run(
    args: &Args,
    target: &impl Target,
    workload: Workload,
    numbers: std::ops::Range<u64>,
) -> Outcome<Histogram> {
    let mut random = Random::new(args.seed ^ numbers.start.rotate_left(32));
    let mut latencies = Histogram::default();
    for number in numbers {
        let drawn = key(random.below(args.keys));
        let start = Instant::now();
        let found = match workload {
            Workload::Fill => target.put(key(number), number).map(|()| true),
            Workload::Mixed if number % 2 == 0 => target.put(drawn, number).map(|()| true),
            Workload::Read | Workload::Mixed => target.get(drawn),
            Workload::Scan | Workload::All => target.scan(drawn).map(|read| read > 0),
        };
        latencies.record(start.elapsed());
        if !found? {
            return Err(Failure::new(format!(
                "key {drawn:016x} is not there; fill first: --workload fill with the same --keys"
            )));
        }
    }
    Ok(latencies)
}
