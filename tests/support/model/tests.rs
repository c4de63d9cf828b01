//! The driver accepts the model itself and sees every planted fault.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::random::seed;

type Map = Mutex<BTreeMap<u16, u64>>;

/// The model with one fault, which shows once in a while.
struct Faulty {
    map: Map,
    fault: usize,
    calls: Cell<u64>,
}

const FAULTS: usize = 16;

impl Faulty {
    fn fails(&self, fault: usize) -> bool {
        self.calls.set(self.calls.get() + 1);
        self.fault == fault && self.calls.get().is_multiple_of(5)
    }
}

impl Ordered<u16, u64> for Faulty {
    fn get(&self, key: &u16) -> Option<u64> {
        self.map.get(key).filter(|_| !self.fails(0))
    }

    fn insert(&self, key: &u16, value: &u64) -> Option<u64> {
        if self.fails(1) {
            return self.map.get(key);
        }
        self.map.insert(key, value)
    }

    fn remove(&self, key: &u16) -> Option<u64> {
        if self.fails(2) { self.map.get(key) } else { self.map.remove(key) }
    }

    fn compare_exchange(
        &self,
        key: &u16,
        expected: Option<&u64>,
        new: Option<&u64>,
    ) -> Result<(), Option<u64>> {
        if self.fails(3) {
            return Ok(());
        }
        self.map.compare_exchange(key, expected, new)
    }

    fn first(&self) -> Option<(u16, u64)> {
        self.map.first()
    }

    fn last(&self) -> Option<(u16, u64)> {
        if self.fails(4) { self.map.first() } else { self.map.last() }
    }

    fn pop_first(&self) -> Option<(u16, u64)> {
        self.map.pop_first()
    }

    fn pop_last(&self) -> Option<(u16, u64)> {
        if self.fails(5) { self.map.last() } else { self.map.pop_last() }
    }

    fn range(&self, from: Bound<&u16>, to: Bound<&u16>, pulls: &[Pull]) -> Vec<(u16, u64)> {
        let mut out = self.map.range(from, to, pulls);
        if self.fails(6) {
            out.pop();
        }
        out
    }

    fn remove_range(&self, from: Bound<&u16>, to: Bound<&u16>) -> u64 {
        let count = self.map.remove_range(from, to);
        count + u64::from(self.fault == 7)
    }

    fn look(&self, key: &u16) -> Option<u64> {
        self.map.look(key).filter(|_| !self.fails(9))
    }

    fn nearest(&self, side: Side, key: &u16) -> Option<(u16, u64)> {
        let side = if self.fails(10) && side == Side::Lt { Side::Le } else { side };
        self.map.nearest(side, key)
    }

    fn pop_in(&self, from: Bound<&u16>, to: Bound<&u16>, end: Pull) -> Option<(u16, u64)> {
        let end = if self.fails(11) { Pull::Front } else { end };
        self.map.pop_in(from, to, end)
    }

    fn keys(&self, pulls: &[Pull]) -> Vec<u16> {
        let mut keys = self.map.keys(pulls);
        if self.fails(12) {
            keys.pop();
        }
        keys
    }

    fn values(&self, pulls: &[Pull]) -> Vec<u64> {
        let mut values = self.map.values(pulls);
        if self.fails(13) {
            values.reverse();
        }
        values
    }

    fn retain(&self, keep: Ask<'_, u16, u64>) {
        let skips = self.fault == 14;
        let mut first = true;
        self.map.retain(&mut |key, value| {
            let skipped = skips && std::mem::take(&mut first);
            keep(key, value) || skipped
        });
    }

    fn extract_if(
        &self,
        from: Bound<&u16>,
        to: Bound<&u16>,
        pulls: &[Pull],
        wanted: Ask<'_, u16, u64>,
    ) -> Vec<(u16, u64)> {
        if self.fault == 15 {
            // Removes more than it gives.
            let all = vec![Pull::Front; 1000];
            let mut out = self.map.extract_if(from, to, &all, wanted);
            out.truncate(pulls.len());
            return out;
        }
        self.map.extract_if(from, to, pulls, wanted)
    }

    fn clear(&self) {
        self.map.clear();
    }

    fn len(&self) -> u64 {
        self.map.len() + u64::from(self.fails(8))
    }
}

fn run<M: Ordered<u16, u64>>(map: &mut M, random: &mut Random) -> Tally {
    let model = Map::default();
    let make = (|random: &mut Random| random.below(300) as u16, Random::next_u64);
    drive(map, &model, random, 20_000, &Mix::default(), make, |_, _, _| {})
}

#[test]
fn the_model_agrees_with_itself() {
    let mut random = Random::new(seed("the_model_agrees_with_itself"));
    let tally = run(&mut Map::default(), &mut random);
    assert_eq!(tally.operations, 20_000);
    assert!(tally.hits > 5_000 && tally.scanned > 5_000 && tally.largest > 50, "{tally:?}");
}

#[test]
fn every_planted_fault_is_seen() {
    let mut random = Random::new(seed("every_planted_fault_is_seen"));
    for fault in 0..=FAULTS {
        let mut map = Faulty { map: Map::default(), fault, calls: Cell::new(0) };
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut map, &mut random)));
        assert_eq!(result.is_err(), fault < FAULTS, "fault {fault}");
    }
}

#[test]
fn what_happens_between_sees_every_number_and_the_expected_content() {
    let mut numbers = Vec::new();
    let mut map = Map::default();
    let model = Map::default();
    let make = (|random: &mut Random| random.below(10) as u16, Random::next_u64);
    let mut random = Random::new(1);
    drive(&mut map, &model, &mut random, 50, &Mix::default(), make, |map, number, model| {
        compare(map, model);
        numbers.push(number);
    });
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

#[test]
fn an_iterator_that_starts_again_is_caught() {
    let mut calls = 0;
    let restarting = std::iter::from_fn(move || {
        calls += 1;
        (calls != 2).then_some(calls)
    });
    let both = restarting.collect::<Vec<_>>().into_iter();
    assert_eq!(pull(both, &[Pull::Back; 3]), [1]);
    struct Restarting(u32);
    impl Iterator for Restarting {
        type Item = u32;
        fn next(&mut self) -> Option<u32> {
            self.0 += 1;
            (self.0 != 2).then_some(self.0)
        }
    }
    impl DoubleEndedIterator for Restarting {
        fn next_back(&mut self) -> Option<u32> {
            self.next()
        }
    }
    assert!(catch_unwind(|| pull(Restarting(0), &[Pull::Front; 3])).is_err());
}
