//! Ordered maps in memory, u64 keys in random order, 8-byte values.

use crate::random::{Random, mix};
use crate::report::{median, table};
use crossbeam_skiplist::SkipMap;
use std::collections::BTreeMap;
use std::sync::{Barrier, PoisonError, RwLock};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Rounds; each figure is the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each phase but the load.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

trait Index: Sync {
    fn put(&self, key: u64, value: u64);
    fn get(&self, key: u64) -> Option<u64>;
    /// Reads that many entries from the key on; how many there were.
    fn scan(&self, from: u64, count: usize) -> usize;
}

impl Index for bwtree::Map<u64, u64> {
    fn put(&self, key: u64, value: u64) {
        self.insert(key, value);
    }
    fn get(&self, key: u64) -> Option<u64> {
        bwtree::Map::get(self, &key)
    }
    fn scan(&self, from: u64, count: usize) -> usize {
        self.range(from..).take(count).count()
    }
}

impl Index for SkipMap<u64, u64> {
    fn put(&self, key: u64, value: u64) {
        self.insert(key, value);
    }
    fn get(&self, key: u64) -> Option<u64> {
        SkipMap::get(self, &key).map(|entry| *entry.value())
    }
    fn scan(&self, from: u64, count: usize) -> usize {
        self.range(from..).take(count).count()
    }
}

impl Index for RwLock<BTreeMap<u64, u64>> {
    fn put(&self, key: u64, value: u64) {
        self.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }
    fn scan(&self, from: u64, count: usize) -> usize {
        let map = self.read().unwrap_or_else(PoisonError::into_inner);
        map.range(from..).take(count).count()
    }
}

const PHASES: [&str; 4] = ["load", "read", "A (half updates)", "scan of 50"];

/// Million operations a second in each phase.
fn measure(index: &dyn Index, options: &Options, round: u64) -> Result<[f64; 4], String> {
    let Options { keys, threads, .. } = *options;
    let barrier = Barrier::new(threads as usize + 1);
    let loading = std::thread::scope(|scope| {
        for thread in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for n in (thread..keys).step_by(threads as usize) {
                    index.put(mix(n), n);
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    });
    for n in (0..keys).step_by((keys / 1000).max(1) as usize) {
        if index.get(mix(n)) != Some(n) {
            return Err(format!("key {n} is not what was put"));
        }
    }
    let span = Duration::from_secs_f64(options.seconds);
    let phase = |work: &(dyn Fn(&mut Random) -> bool + Sync)| -> f64 {
        let total: u64 = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut random = Random::new(round * 1000 + thread);
                        let (start, mut done) = (Instant::now(), 0);
                        while start.elapsed() < span {
                            for _ in 0..64 {
                                done += u64::from(work(&mut random));
                            }
                        }
                        done
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap_or(0)).sum()
        });
        total as f64 / span.as_secs_f64() / 1e6
    };
    Ok([
        keys as f64 / loading.as_secs_f64() / 1e6,
        phase(&|random| index.get(mix(random.below(keys))).is_some()),
        phase(&|random| {
            let n = random.below(keys);
            if random.next() % 2 == 0 {
                index.put(mix(n), n);
                true
            } else {
                index.get(mix(n)).is_some()
            }
        }),
        phase(&|random| index.scan(random.next() / 2, 50) == 50),
    ])
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    type Make = fn() -> Box<dyn Index>;
    let indexes: [(&str, Make); 3] = [
        ("bwtree::Map", || Box::new(bwtree::Map::<u64, u64>::new())),
        ("crossbeam-skiplist", || Box::new(SkipMap::<u64, u64>::new())),
        ("RwLock<BTreeMap>", || Box::new(RwLock::new(BTreeMap::<u64, u64>::new()))),
    ];
    let mut figures = vec![vec![Vec::new(); PHASES.len()]; indexes.len()];
    for round in 0..options.rounds {
        for (at, (name, make)) in indexes.iter().enumerate() {
            let index = make();
            let measured = measure(&*index, options, round as u64);
            let measured = measured.map_err(|what| format!("{name}: {what}"))?;
            for (phase, figure) in measured.into_iter().enumerate() {
                figures[at][phase].push(figure);
            }
        }
    }
    let (keys, threads) = (options.keys, options.threads);
    let mut rows = vec![vec![format!("Mops/s, {keys} keys, {threads} threads")]];
    rows[0].extend(PHASES.map(String::from));
    for ((name, _), figures) in indexes.iter().zip(figures) {
        let mut row = vec![(*name).to_string()];
        row.extend(figures.into_iter().map(|rounds| format!("{:.2}", median(rounds))));
        rows.push(row);
    }
    table(&rows).map_err(|error| error.to_string())
}
