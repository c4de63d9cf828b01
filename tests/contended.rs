//! What looks first and decides then loses nothing to those who come between: no increment, no
//! entry, no first insert.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bwtree::io::MemoryDisk;
use bwtree::map::Entry;
use bwtree::{Bytes, Db, Map, SyncPolicy, Tree};
use bwtree_tests::{Random, seed};

/// Keys that the threads meet at.
const KEYS: u64 = 40;
/// Increments of each of two threads.
const TIMES: u64 = 60_000;

/// A map of counters.
trait Counters: Sync {
    fn add_one(&self, key: u64);
    /// Removes all counters of which `wanted` says yes.
    fn extract(&self, reverse: bool, wanted: &mut dyn FnMut(u64, u64) -> bool) -> Vec<(u64, u64)>;
    fn retain(&self, keep: &mut dyn FnMut(u64, u64) -> bool);
    fn pop_first_from(&self, key: u64) -> Option<(u64, u64)>;
    fn values(&self) -> Vec<u64>;
}

impl Counters for Map<u64, u64> {
    fn add_one(&self, key: u64) {
        self.update_and_fetch(&key, |value| Some(value.copied().unwrap_or(0) + 1));
    }

    fn extract(&self, reverse: bool, wanted: &mut dyn FnMut(u64, u64) -> bool) -> Vec<(u64, u64)> {
        let extracted = self.extract_if(.., |key, value| wanted(*key, *value));
        if reverse { extracted.rev().collect() } else { extracted.collect() }
    }

    fn retain(&self, keep: &mut dyn FnMut(u64, u64) -> bool) {
        Self::retain(self, |key, value| keep(*key, *value));
    }

    fn pop_first_from(&self, key: u64) -> Option<(u64, u64)> {
        self.pop_first_in(key..)
    }

    fn values(&self) -> Vec<u64> {
        Self::values(self).collect()
    }
}

/// Values behind pointers, which are reclaimed.
struct Boxed(Map<u64, Box<u64>>);

impl Counters for Boxed {
    fn add_one(&self, key: u64) {
        let more = |value: Option<&Box<u64>>| Some(Box::new(value.map_or(0, |value| **value) + 1));
        self.0.update_and_fetch(&key, more);
    }

    fn extract(&self, reverse: bool, wanted: &mut dyn FnMut(u64, u64) -> bool) -> Vec<(u64, u64)> {
        let extracted = self.0.extract_if(.., |key, value| wanted(*key, **value));
        let extracted = extracted.map(|(key, value)| (key, *value));
        if reverse { extracted.rev().collect() } else { extracted.collect() }
    }

    fn retain(&self, keep: &mut dyn FnMut(u64, u64) -> bool) {
        self.0.retain(|key, value| keep(*key, **value));
    }

    fn pop_first_from(&self, key: u64) -> Option<(u64, u64)> {
        self.0.pop_first_in(key..).map(|(key, value)| (key, *value))
    }

    fn values(&self) -> Vec<u64> {
        self.0.values().map(|value| *value).collect()
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// Some values lie apart from their page.
fn bytes(value: u64) -> Bytes {
    let mut bytes = vec![0; if value.is_multiple_of(5) { 1500 } else { 8 }];
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes.into()
}

impl Counters for Tree {
    fn add_one(&self, key: u64) {
        let more = |value: Option<&[u8]>| Some(bytes(value.map_or(0, number) + 1));
        self.update_and_fetch(key.to_be_bytes(), more).unwrap();
    }

    fn extract(&self, reverse: bool, wanted: &mut dyn FnMut(u64, u64) -> bool) -> Vec<(u64, u64)> {
        let extracted = self.extract_if(.., |key, value| wanted(number(key), number(value)));
        let pair = |entry: bwtree::Result<(Bytes, Bytes)>| {
            let (key, value) = entry.unwrap();
            (number(&key), number(&value))
        };
        if reverse { extracted.rev().map(pair).collect() } else { extracted.map(pair).collect() }
    }

    fn retain(&self, keep: &mut dyn FnMut(u64, u64) -> bool) {
        Self::retain(self, |key, value| keep(number(key), number(value))).unwrap();
    }

    fn pop_first_from(&self, key: u64) -> Option<(u64, u64)> {
        let popped = self.pop_first_in(key.to_be_bytes()..).unwrap();
        popped.map(|(key, value)| (number(&key), number(&value)))
    }

    fn values(&self) -> Vec<u64> {
        Self::values(self).map(|value| number(&value.unwrap())).collect()
    }
}

/// Two threads count; a third takes counters away, in all the ways there are. What it took and what
/// is left are all the increments.
fn nothing_is_lost(name: &str, map: &impl Counters) {
    let mut random = Random::new(seed(name));
    let running = AtomicU64::new(2);
    let (mut taken, mut again) = ([0_u64; 3], 0_u64);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut random, running) = (random.fork(), &running);
            scope.spawn(move || {
                (0..TIMES).for_each(|_| map.add_one(random.below(KEYS)));
                running.fetch_sub(1, Ordering::Release);
            });
        }
        while running.load(Ordering::Acquire) > 0 {
            match random.below(3) {
                0 => {
                    let reverse = random.once_in(2);
                    for (_, value) in map.extract(reverse, &mut |_, value| value % 2 == 0) {
                        assert_eq!(
                            value % 2,
                            0,
                            "the value that was given is the one that was seen"
                        );
                        taken[0] += value;
                    }
                }
                1 => {
                    // The last value of a key that was refused is the one that was removed.
                    let mut refused = BTreeMap::new();
                    map.retain(&mut |key, value| {
                        let before = if value % 3 == 0 {
                            refused.insert(key, value)
                        } else {
                            refused.remove(&key)
                        };
                        again += u64::from(before.is_some());
                        value % 3 != 0
                    });
                    taken[1] += refused.values().sum::<u64>();
                }
                _ => {
                    let popped = map.pop_first_from(random.below(KEYS));
                    taken[2] += popped.map_or(0, |(_, value)| value);
                }
            }
        }
    });
    let left: u64 = map.values().iter().sum();
    println!("{name}: taken {taken:?}, left {left}, {again} asked again");
    assert_eq!(taken.iter().sum::<u64>() + left, 2 * TIMES, "taken {taken:?}, left {left}");
    assert!(taken.iter().all(|&taken| taken > 0), "{taken:?}");
}

#[test]
fn no_increment_of_a_number_is_lost() {
    let map: Map<u64, u64> = Map::with_tiny_pages();
    nothing_is_lost("no_increment_of_a_number_is_lost", &map);
    map.check().unwrap();
}

#[test]
fn no_increment_behind_a_pointer_is_lost() {
    let map = Boxed(Map::with_tiny_pages());
    nothing_is_lost("no_increment_behind_a_pointer_is_lost", &map);
    map.0.check().unwrap();
}

#[test]
fn no_increment_in_a_tree_is_lost() {
    let builder = Db::builder("unused").tiny().memory_budget_bytes(1 << 20);
    let builder = builder.sync_policy(SyncPolicy::EveryMillis(1));
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let evicting = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.sync().unwrap();
                db.evict_pages();
                thread::yield_now();
            }
        });
        let counting = scope.spawn(|| nothing_is_lost("no_increment_in_a_tree_is_lost", &tree));
        let counted = counting.join();
        done.store(true, Ordering::Relaxed);
        evicting.join().unwrap();
        counted.unwrap();
    });
    assert!(db.stats().page_ins > 0, "{:?}", db.stats());
    db.sync().unwrap();
    db.verify().unwrap();
}

#[test]
fn entries_modify_every_value_and_insert_once() {
    let map: Map<u64, Box<u64>> = Map::with_tiny_pages();
    for key in 0..KEYS {
        map.insert(key, Box::new(0));
    }
    let (inserted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for time in 0..TIMES / 4 {
                    // Always there: each one counts.
                    let entry = map.entry(time % KEYS).and_modify(|value| **value += 1);
                    assert!(matches!(entry, Entry::Occupied(_)));
                    // Each of these is inserted by one thread; the others see what it inserted.
                    let key = KEYS + time;
                    match map.entry(key) {
                        Entry::Vacant(entry) => match entry.insert(Box::new(key)) {
                            Ok(()) => inserted.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                assert_eq!(error.current, Some(Box::new(key)));
                                refused.fetch_add(1, Ordering::Relaxed)
                            }
                        },
                        Entry::Occupied(entry) => {
                            assert_eq!(**entry.get(), key);
                            0
                        }
                    };
                    assert_eq!(*map.entry(key).or_insert_with(|| panic!("it is there")), key);
                }
            });
        }
    });
    let counted: u64 = map.range(..KEYS).map(|(_, value)| *value).sum();
    assert_eq!(counted, 3 * (TIMES / 4));
    assert_eq!(inserted.into_inner(), TIMES / 4);
    println!("entries_modify_every_value_and_insert_once: {} refused", refused.into_inner());
    map.check().unwrap();
}
