//! The phases: what each thread does in each of them.

use super::prepare::{Accesses, Work};
use super::threads::{Body, Deadline};
use crate::keys::Key;
use crate::peers::Handle;
use crate::random::Random;
use crate::values::Value;
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Instant;

/// A phase, in the order in which they are run: the load first, what removes keys last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Phase {
    /// Insert all keys.
    Load,
    /// Get, uniform.
    Read,
    /// Get, zipf with 0.99.
    Zipf,
    /// Half gets, half updates, uniform.
    A,
    /// Gets of 16 keys at once.
    Multi,
    /// As `a`, on 100 keys that lie side by side.
    Hot,
    /// As `a`, some operations by the clock.
    Latency,
    /// Scans of 1 to 100 entries, and one insert in twenty.
    E,
    /// Insert a new key, remove the oldest.
    Churn,
}

impl Phase {
    pub(super) const ALL: [Self; 9] = [
        Self::Load,
        Self::Read,
        Self::Zipf,
        Self::A,
        Self::Multi,
        Self::Hot,
        Self::Latency,
        Self::E,
        Self::Churn,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Read => "read",
            Self::Zipf => "zipf",
            Self::A => "a",
            Self::Multi => "multi",
            Self::Hot => "hot",
            Self::Latency => "latency",
            Self::E => "e",
            Self::Churn => "churn",
        }
    }
}

/// Keys of one `get_many`.
const MANY: usize = 16;
/// Operations between two looks at the clock.
const BATCH: usize = 64;
/// Longest scan.
const LONGEST_SCAN: u64 = 100;
/// One in so many operations is timed for its latency.
const TIMED: usize = 4;

/// What a thread did.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) operations: u64,
    /// Answers that were not what they must be.
    pub(super) wrong: u64,
    /// Keys inserted and not removed.
    pub(super) added: u64,
    /// Entries that scans asked for, and those that they gave.
    pub(super) asked: u64,
    pub(super) given: u64,
}

impl Tally {
    fn expect(&mut self, right: bool) {
        self.wrong += u64::from(!right);
    }
}

/// Walks round the accesses.
struct Walk<'a, K> {
    accesses: &'a Accesses<K>,
    at: usize,
}

impl<'a, K: Key> Walk<'a, K> {
    fn new(accesses: &'a Accesses<K>, thread: usize, threads: usize) -> Self {
        Self { accesses, at: accesses.start(thread, threads) }
    }

    fn next(&mut self) -> (&'a K, u64) {
        if self.at == self.accesses.numbers.len() {
            self.at = 0;
        }
        let at = self.at;
        self.at += 1;
        (&self.accesses.keys[at], u64::from(self.accesses.numbers[at]))
    }

    fn many(&mut self) -> (&'a [K], &'a [u32]) {
        if self.at + MANY > self.accesses.numbers.len() {
            self.at = 0;
        }
        let span = self.at..self.at + MANY;
        self.at = span.end;
        (&self.accesses.keys[span.clone()], &self.accesses.numbers[span])
    }
}

fn holds<V: Value>(found: Option<V>, number: u64) -> bool {
    black_box(found).is_some_and(|value| value.number() == Some(number))
}

/// Insert all keys; each thread its share of them, interleaved.
pub(super) struct Load<'a, K>(pub(super) &'a Work<K>);

impl<K: Key, V: Value> Body<K, V> for Load<'_, K> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, _: Deadline) -> Tally {
        let mut tally = Tally::default();
        for number in (thread..self.0.size).step_by(self.0.threads) {
            handle.insert(&self.0.keys[number], V::of(number as u64, 0));
            tally.operations += 1;
        }
        tally.added = tally.operations;
        tally
    }
}

/// Gets in the order of the accesses.
pub(super) struct Reads<'a, K> {
    pub(super) accesses: &'a Accesses<K>,
    pub(super) threads: usize,
}

impl<K: Key, V: Value> Body<K, V> for Reads<'_, K> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Tally {
        let mut walk = Walk::new(self.accesses, thread, self.threads);
        let mut tally = Tally::default();
        for () in until.rounds() {
            for _ in 0..BATCH {
                let (key, number) = walk.next();
                tally.expect(holds::<V>(handle.get(key), number));
            }
            tally.operations += BATCH as u64;
        }
        tally
    }
}

/// Gets of several keys at once.
pub(super) struct ManyReads<'a, K>(pub(super) &'a Work<K>);

impl<K: Key, V: Value> Body<K, V> for ManyReads<'_, K> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Tally {
        let mut walk = Walk::new(&self.0.uniform, thread, self.0.threads);
        let (mut tally, mut found) = (Tally::default(), Vec::with_capacity(MANY));
        for () in until.rounds() {
            for _ in 0..BATCH / MANY {
                let (keys, numbers) = walk.many();
                handle.get_many(keys, &mut found);
                tally.expect(found.len() == MANY);
                for (value, number) in found.iter().zip(numbers) {
                    tally.expect(holds(*value, u64::from(*number)));
                }
            }
            tally.operations += BATCH as u64;
        }
        tally
    }
}

/// Half gets, half updates, in the order of the accesses.
pub(super) struct Updates<'a, K> {
    pub(super) accesses: &'a Accesses<K>,
    pub(super) threads: usize,
    pub(super) seed: u64,
}

impl<K: Key, V: Value> Body<K, V> for Updates<'_, K> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Tally {
        let mut walk = Walk::new(self.accesses, thread, self.threads);
        let mut random = Random::new(self.seed + thread as u64);
        let mut tally = Tally::default();
        for () in until.rounds() {
            let mut bits = random.next();
            for _ in 0..BATCH {
                let (key, number) = walk.next();
                if bits & 1 == 0 {
                    handle.insert(key, V::of(number, bits));
                } else {
                    tally.expect(holds::<V>(handle.get(key), number));
                }
                bits = bits.rotate_right(1);
            }
            tally.operations += BATCH as u64;
        }
        tally
    }
}

/// As [`Updates`] of all keys, every few operations between two looks at the clock.
pub(super) struct TimedUpdates<'a, K>(pub(super) &'a Work<K>);

/// Nanoseconds of single operations.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) gets: Histogram<u32>,
    pub(super) updates: Histogram<u32>,
}

impl Times {
    /// From 1 ns to 100 s, to within a percent.
    pub(super) fn new() -> Result<Self, String> {
        let histogram = || Histogram::new_with_bounds(1, 100_000_000_000, 2);
        let made = (histogram(), histogram());
        let (Ok(gets), Ok(updates)) = made else { return Err("no histogram".to_owned()) };
        Ok(Self { gets, updates })
    }
}

impl<K: Key, V: Value> Body<K, V> for TimedUpdates<'_, K> {
    type Out = Result<(Tally, Times), String>;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Self::Out {
        let mut walk = Walk::new(&self.0.uniform, thread, self.0.threads);
        let mut random = Random::new(self.0.seed + 500 + thread as u64);
        let (mut tally, mut times) = (Tally::default(), Times::new()?);
        for () in until.rounds() {
            let mut bits = random.next();
            for at in 0..BATCH {
                let (key, number) = walk.next();
                let update = bits & 1 == 0;
                let start = at.is_multiple_of(TIMED).then(Instant::now);
                let mut right = true;
                if update {
                    handle.insert(key, V::of(number, bits));
                } else {
                    right = holds::<V>(handle.get(key), number);
                }
                if let Some(start) = start {
                    let took = start.elapsed().as_nanos() as u64;
                    let histogram = if update { &mut times.updates } else { &mut times.gets };
                    histogram.saturating_record(took);
                }
                tally.expect(right);
                bits = bits.rotate_right(1);
            }
            tally.operations += BATCH as u64;
        }
        Ok((tally, times))
    }
}

/// Scans, and now and then an insert of a new key.
pub(super) struct Scans<'a, K>(pub(super) &'a Work<K>);

impl<K: Key, V: Value> Body<K, V> for Scans<'_, K> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Tally {
        let mut walk = Walk::new(&self.0.uniform, thread, self.0.threads);
        let mut random = Random::new(self.0.seed + 100 + thread as u64);
        let mut new = self.0.scan_share(thread);
        let mut tally = Tally::default();
        for () in until.rounds() {
            for _ in 0..BATCH / 4 {
                let draw = random.below(20 * LONGEST_SCAN);
                let insert = (draw < LONGEST_SCAN).then(|| new.next()).flatten();
                if let Some(number) = insert {
                    handle.insert(&self.0.keys[number], V::of(number as u64, 0));
                    tally.added += 1;
                    continue;
                }
                let (key, number) = walk.next();
                let count = draw % LONGEST_SCAN + 1;
                let (mut given, mut first) = (0, None);
                handle.scan(key, count as usize, |key, value| {
                    black_box(key);
                    let value = black_box(*value);
                    if given == 0 {
                        first = value.number();
                    }
                    given += 1;
                });
                tally.expect(first == Some(number) && given <= count);
                (tally.asked, tally.given) = (tally.asked + count, tally.given + given);
            }
            tally.operations += BATCH as u64 / 4;
        }
        tally
    }
}

/// A queue for each thread: insert what is new, remove what is oldest. Each of the two counts.
pub(super) struct Churn<'a, K, V>(pub(super) &'a Work<K>, pub(super) PhantomData<fn() -> V>);

impl<K: Key, V: Value> Body<K, V> for Churn<'_, K, V> {
    type Out = Tally;

    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Tally {
        let (work, mut tally) = (self.0, Tally::default());
        let (mut head, mut tail) = (work.queue(thread), 0);
        for () in until.rounds() {
            for _ in 0..BATCH / 2 {
                let new = work.queued(thread, head);
                handle.insert(&work.keys[new], V::of(new as u64, 0));
                let removed = handle.remove(&work.keys[work.queued(thread, tail)]);
                tally.expect(removed);
                (head, tail) = (head + 1, tail + 1);
            }
            tally.operations += BATCH as u64;
        }
        tally
    }
}
