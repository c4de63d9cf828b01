//! What is computed before the clock starts: the keys, and the order in which they are used.

use super::CellOptions;
use super::phases::Phase;
use crate::keys::Key;
use crate::random::{Random, Zipf};

/// New keys that each thread may insert in each second of the scan phase.
const SCAN_INSERTS_PER_SECOND: f64 = 400_000.0;
/// Keys that lie side by side and are all that the hot phase uses.
const HOT_KEYS: usize = 100;
/// Accesses of theirs; they go round.
const HOT_ACCESSES: usize = 1 << 16;

/// Keys in the order of their use, and their numbers.
#[derive(Debug)]
pub(super) struct Accesses<K> {
    pub(super) keys: Vec<K>,
    pub(super) numbers: Vec<u32>,
}

impl<K: Key> Accesses<K> {
    fn new(keys: &[K], count: usize, mut draw: impl FnMut() -> u64) -> Self {
        let numbers: Vec<u32> = (0..count).map(|_| draw() as u32).collect();
        let keys = numbers.iter().map(|&number| keys[number as usize].clone()).collect();
        Self { keys, numbers }
    }

    /// Where a thread begins, so that no two do the same at the same time.
    pub(super) fn start(&self, thread: usize, threads: usize) -> usize {
        self.numbers.len() / threads * thread
    }
}

/// The numbers of the hot keys: neighbours in the order of the keys, in their middle.
fn neighbours<K: Key>(keys: &[K]) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..keys.len() as u32).collect();
    numbers.sort_unstable_by(|a, b| keys[*a as usize].cmp(&keys[*b as usize]));
    let start = keys.len().saturating_sub(HOT_KEYS) / 2;
    numbers.into_iter().skip(start).take(HOT_KEYS).collect()
}

/// Everything that the phases use.
#[derive(Debug)]
pub(super) struct Work<K> {
    /// The loaded keys, then those inserted between scans, then those of the churn.
    pub(super) keys: Vec<K>,
    pub(super) size: usize,
    pub(super) threads: usize,
    /// New keys for each thread between its scans.
    pub(super) scan_inserts: usize,
    /// New keys for each thread in the churn.
    pub(super) churn_inserts: usize,
    pub(super) uniform: Accesses<K>,
    pub(super) zipf: Accesses<K>,
    /// Of a hundred keys that are neighbours, in the middle of all.
    pub(super) hot: Accesses<K>,
    pub(super) seed: u64,
}

impl<K: Key> Work<K> {
    pub(super) fn prepare(options: &CellOptions) -> Self {
        let CellOptions { size, threads, .. } = *options;
        let has = |phases: &[Phase]| options.phases.iter().any(|phase| phases.contains(phase));
        let scan_inserts = if has(&[Phase::E]) {
            (options.seconds * SCAN_INSERTS_PER_SECOND) as usize + 1000
        } else {
            0
        };
        let churn_inserts = if has(&[Phase::Churn]) {
            size.clamp(10_000, K::MAX_ACCESSES) / threads + 1
        } else {
            0
        };
        let count = (size + (scan_inserts + churn_inserts) * threads) as u64;
        let keys: Vec<K> = (0..count).map(|number| K::nth(options.keys, number)).collect();
        let accesses = |phases: &[Phase]| {
            if has(phases) { (2 * size).clamp(1 << 16, K::MAX_ACCESSES) } else { 0 }
        };
        let seed = options.round as u64 * 1000;
        let (mut random, zipf) = (Random::new(seed), Zipf::new(size as u64));
        let phases = [Phase::Read, Phase::A, Phase::Multi, Phase::E, Phase::Latency];
        let uniform = Accesses::new(&keys, accesses(&phases), || random.below(size as u64));
        let frequent = || zipf.scrambled(&mut random);
        let zipf = Accesses::new(&keys, accesses(&[Phase::Zipf]), frequent);
        let hot = if has(&[Phase::Hot]) { neighbours(&keys[..size]) } else { Vec::new() };
        let one = || u64::from(hot[random.below(hot.len() as u64) as usize]);
        let hot = Accesses::new(&keys, accesses(&[Phase::Hot]).min(HOT_ACCESSES), one);
        Self { keys, size, threads, scan_inserts, churn_inserts, uniform, zipf, hot, seed }
    }

    /// The keys that a thread inserts between its scans.
    pub(super) fn scan_share(&self, thread: usize) -> std::ops::Range<usize> {
        let start = self.size + thread * self.scan_inserts;
        start..start + self.scan_inserts
    }

    /// The `at`th number in the queue of a thread: its share of what was loaded, then new ones,
    /// then from the start again, which by then was removed long ago.
    pub(super) fn queued(&self, thread: usize, at: usize) -> usize {
        let loaded = self.queue(thread);
        match at % (loaded + self.churn_inserts) {
            at if at < loaded => thread + at * self.threads,
            at => {
                let start = self.size + self.scan_inserts * self.threads;
                start + thread + (at - loaded) * self.threads
            }
        }
    }

    /// How many of the loaded keys are in the queue of a thread.
    pub(super) fn queue(&self, thread: usize) -> usize {
        (self.size + self.threads - 1 - thread) / self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySet;
    use std::collections::HashSet;

    fn work(size: usize, threads: usize) -> Work<u64> {
        let phases = Phase::ALL.to_vec();
        let keys = KeySet::Random;
        let (peer, value, round, seconds) = (String::new(), 8, 0, 0.001);
        Work::prepare(&CellOptions { peer, keys, value, size, threads, round, seconds, phases })
    }

    #[test]
    fn queues_and_shares_are_apart_and_cover_all_keys() {
        for (size, threads) in [(100, 1), (101, 2), (1000, 7)] {
            let work = work(size, threads);
            let mut seen = HashSet::new();
            for thread in 0..threads {
                let length = work.queue(thread) + work.churn_inserts;
                assert!((0..length).all(|at| seen.insert(work.queued(thread, at))));
                assert_eq!(work.queued(thread, length), work.queued(thread, 0));
                assert!((0..work.queue(thread)).all(|at| work.queued(thread, at) < size));
                assert!(work.scan_share(thread).all(|number| seen.insert(number)));
            }
            assert_eq!(seen.len(), work.keys.len());
            assert!(seen.iter().all(|&number| number < work.keys.len()));
        }
    }

    #[test]
    fn accesses_are_loaded_keys() {
        let work = work(500, 2);
        for accesses in [&work.uniform, &work.zipf] {
            let numbers = accesses.numbers.iter().map(|&number| number as usize);
            assert!(numbers.clone().all(|number| number < 500));
            assert!(numbers.zip(&accesses.keys).all(|(number, key)| work.keys[number] == *key));
        }
        let distinct: HashSet<_> = work.uniform.numbers.iter().collect();
        assert_eq!(distinct.len(), 500);
    }

    #[test]
    fn hot_keys_are_neighbours() {
        let work = work(5000, 2);
        let hot: HashSet<u64> = work.hot.keys.iter().copied().collect();
        assert_eq!(hot.len(), HOT_KEYS);
        let between = hot.iter().min()..=hot.iter().max();
        let loaded = &work.keys[..5000];
        assert_eq!(loaded.iter().filter(|key| between.contains(&Some(key))).count(), HOT_KEYS);
        let below = loaded.iter().filter(|key| Some(*key) < hot.iter().min()).count();
        assert_eq!(below, (5000 - HOT_KEYS) / 2);
    }
}
