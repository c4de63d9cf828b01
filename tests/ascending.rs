//! What comes in ascending order goes in a page at a time, and the map is as if it had come singly:
//! alone, beside other threads, and when who makes the entries panics.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::{EncodeKey, Key, Map};
use bwtree_tests::{Random, seed};

/// Runs of any length from anywhere, between single operations.
fn run_beside_model<K, V>(
    map: &Map<K, V>,
    random: &mut Random,
    rounds: u64,
    key: impl Fn(u64) -> K,
    value: impl Fn(u64) -> V,
) -> usize
where
    K: Key + EncodeKey + Debug,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    let mut model = BTreeMap::new();
    let mut largest = 0;
    for round in 0..rounds {
        let longest = [3, 12, 100, 3000][random.index(4)];
        let (from, step) = (random.below(4000), 1 + random.below(5));
        let mut run: Vec<(K, V)> = (0..random.below(longest))
            .map(|at| (key(from + at * step), value(random.next_u64())))
            .collect();
        match random.below(5) {
            // Some come twice, one after the other.
            0 => run = run.into_iter().flat_map(|e| [(e.0.clone(), value(1)), e]).collect(),
            // Two runs in one, that overlap.
            1 => run.extend((0..60).map(|at| (key(from + at), value(at)))),
            2 => run.reverse(),
            _ => {}
        }
        model.extend(run.iter().cloned());
        (&*map).extend(run);
        for _ in 0..random.below(60) {
            let key = key(random.below(8000));
            if random.once_in(2) {
                let value = value(round);
                assert_eq!(map.insert(key.clone(), value.clone()), model.insert(key, value));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
        }
        if random.once_in(6) {
            let from = random.below(4000);
            let (low, high) = (key(from), key(from + random.below(4000)));
            map.retain(|key, _| *key < low || *key >= high);
            model.retain(|key, _| *key < low || *key >= high);
        }
        largest = largest.max(model.len());
        assert_eq!(map.len(), model.len());
        if round % 8 == 0 {
            map.check().unwrap();
            assert!(map.iter().eq(model.iter().map(|(key, value)| (key.clone(), value.clone()))));
        }
    }
    map.check().unwrap();
    largest
}

/// A key that orders as the number does, and shares much with others.
fn text(number: u64) -> String {
    format!("common/prefix/{:02}/of/{:05}", number / 900, number)
}

#[test]
fn runs_between_single_operations() {
    let mut random = Random::new(seed("runs_between_single_operations"));
    let mut largest = Vec::new();
    for tiny in [true, false] {
        fn map<K: Key, V: Clone + Send + Sync + 'static>(tiny: bool) -> Map<K, V> {
            if tiny { Map::with_tiny_pages() } else { Map::new() }
        }
        let random = &mut random;
        largest.push(run_beside_model(&map(tiny), random, 120, |key| key, |value| value));
        largest.push(run_beside_model(&map(tiny), random, 80, text, |value| value));
        largest.push(run_beside_model(&map(tiny), random, 80, text, |n| n.to_string()));
        largest.push(run_beside_model(&map(tiny), random, 80, |n| n as i32 - 4000, |n| n));
    }
    println!("runs_between_single_operations: up to {largest:?} entries");
    assert!(largest.iter().all(|&largest| largest > 3000), "{largest:?}");
}

#[test]
fn keys_of_very_different_lengths() {
    let mut random = Random::new(seed("keys_of_very_different_lengths"));
    let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for number in 0..6000 {
        let len = *random.pick(&[0, 1, 2, 8, 40, 300, 3000]);
        let mut key = vec![b'k'; len];
        key.extend_from_slice(&random.below(3000).to_be_bytes()[5..]);
        model.insert(key, number);
    }
    for map in [Map::new(), Map::with_tiny_pages()] {
        (&map).extend(model.iter().map(|(key, value)| (key.clone(), *value)));
        map.check().unwrap();
        assert!(map.iter().eq(model.iter().map(|(key, value)| (key.clone(), *value))));
        assert!(model.iter().all(|(key, value)| map.get(key) == Some(*value)));
    }
}

/// The keys of these come from loaders; removers take those that are divisible by 7.
const RANGE: u64 = 12_000;

/// Loads ascending keys, in pieces of any length.
fn load(map: &Map<u64, u64>, random: &mut Random, from: u64, step: u64) {
    let mut keys = (from..RANGE).step_by(step as usize).peekable();
    while keys.peek().is_some() {
        let piece = 1 + random.index(3000);
        let mut map = map;
        map.extend(keys.by_ref().take(piece).map(|key| (key, key)));
    }
}

/// An entry is never wrong, never out of order, and never gone unless someone removes it.
fn watch(map: &Map<u64, u64>, random: &mut Random, seen: &mut [bool]) {
    let from = random.below(RANGE);
    let mut before = None;
    let mut next = from;
    for (key, value) in map.range(from..).take(200) {
        assert_eq!(key, value);
        assert!(before.replace(key).is_none_or(|before| before < key), "in order");
        for missed in next..key {
            assert!(!seen[missed as usize] || missed % 7 == 0, "{missed} was there, and is not");
        }
        seen[key as usize] = true;
        next = key + 1;
    }
    let key = random.below(RANGE);
    let there = map.get(&key);
    assert!(
        there.is_some() || !seen[key as usize] || key.is_multiple_of(7),
        "{key} was there, and is not"
    );
    assert!(there.is_none_or(|value| value == key));
    seen[key as usize] |= there.is_some();
}

#[test]
fn loaders_beside_readers_and_removers() {
    let mut random = Random::new(seed("loaders_beside_readers_and_removers"));
    let mut looks = 0;
    for round in 0..12 {
        let map: Map<u64, u64> = Map::with_tiny_pages();
        let (loading, looked) = (AtomicU64::new(3), AtomicU64::new(0));
        thread::scope(|scope| {
            // In odd rounds each has keys of its own, else they meet at all of them.
            for loader in 0..3 {
                let (mut random, map, loading) = (random.fork(), &map, &loading);
                scope.spawn(move || {
                    let (from, step) = if round % 2 == 1 { (loader, 3) } else { (0, 1) };
                    load(map, &mut random, from, step);
                    loading.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let (mut other, map, loading) = (random.fork(), &map, &loading);
            scope.spawn(move || {
                while loading.load(Ordering::Relaxed) > 0 {
                    map.remove(&(other.below(RANGE / 7) * 7));
                }
            });
            let (mut other, looked) = (random.fork(), &looked);
            scope.spawn(move || {
                let mut seen = vec![false; RANGE as usize];
                while loading.load(Ordering::Relaxed) > 0 {
                    watch(map, &mut other, &mut seen);
                    looked.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        map.check().unwrap();
        assert!((0..RANGE).all(|key| key % 7 == 0 || map.get(&key) == Some(key)));
        assert!(map.iter().all(|(key, value)| key == value));
        looks += looked.into_inner();
    }
    println!("loaders_beside_readers_and_removers: {looks} looks");
    assert!(looks > 50);
}

#[test]
fn who_sees_an_entry_sees_those_before_it() {
    let mut random = Random::new(seed("who_sees_an_entry_sees_those_before_it"));
    let mut halves = 0;
    for _ in 0..20 {
        let map: Map<u64, u64> = Map::with_tiny_pages();
        let (looks, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (mut input, looks, done) = (&map, &looks, &done);
            scope.spawn(move || {
                let mut seen = 0;
                input.extend((0..RANGE).map(|key| {
                    // The reader has a look at each thousand.
                    while key % 1000 == 999 && looks.load(Ordering::Relaxed) <= seen {
                        thread::yield_now();
                    }
                    seen = looks.load(Ordering::Relaxed);
                    (key, key)
                }));
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let key = random.below(RANGE);
                if map.contains_key(&key) {
                    halves += u64::from(!map.contains_key(&(RANGE - 1)));
                    let before = random.below(key + 1);
                    assert!(map.contains_key(&before), "{key} is there, {before} is not");
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        map.check().unwrap();
    }
    println!("who_sees_an_entry_sees_those_before_it: {halves} looks at a part");
    assert!(halves > 20);
}

#[test]
fn writers_of_a_page_that_is_built_anew_lose_nothing() {
    const KEYS: u64 = 3000;
    let mut random = Random::new(seed("writers_of_a_page_that_is_built_anew_lose_nothing"));
    for _ in 0..10 {
        let map: Map<u64, u64> = Map::with_tiny_pages();
        // Odd keys are counters of single writers, even ones come in runs.
        thread::scope(|scope| {
            for _ in 0..2 {
                let (mut random, map) = (random.fork(), &map);
                scope.spawn(move || {
                    for _ in 0..15_000 {
                        let key = random.below(KEYS) * 2 + 1;
                        map.update_and_fetch(&key, |old| Some(old.copied().unwrap_or(0) + 1));
                    }
                });
            }
            for _ in 0..2 {
                let (mut random, mut map) = (random.fork(), &map);
                scope.spawn(move || {
                    for round in 0..15 {
                        let from = random.below(KEYS / 2);
                        map.extend((from..KEYS).map(|key| (key * 2, round)));
                    }
                });
            }
        });
        map.check().unwrap();
        let sum: u64 = map.iter().filter(|(key, _)| key % 2 == 1).map(|(_, count)| count).sum();
        assert_eq!(sum, 30_000, "an increment is lost");
    }
}

/// How many of these are alive.
#[derive(Debug)]
struct Counted(u64, Arc<AtomicI64>);

impl Counted {
    fn new(number: u64, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(number, Arc::clone(alive))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0, &self.1)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until that many values are alive: what is unlinked goes when another map makes garbage.
fn settle(alive: &AtomicI64, expected: i64) {
    let other: Map<u64, u64> = Map::with_tiny_pages();
    let churn = |rounds: u64| {
        (0..rounds).for_each(|key| {
            other.insert(key % 100, key);
        });
    };
    let started = Instant::now();
    while alive.load(Ordering::Relaxed) > expected {
        assert!(started.elapsed() < Duration::from_secs(30), "{alive:?}, not {expected}: leaked");
        churn(2000);
    }
    churn(20_000);
    assert_eq!(alive.load(Ordering::Relaxed), expected, "one was dropped twice");
}

#[test]
fn every_value_is_dropped_once() {
    let mut random = Random::new(seed("every_value_is_dropped_once"));
    let alive = Arc::new(AtomicI64::new(0));
    for round in 0..6 {
        let map = if round % 2 == 0 { Map::with_tiny_pages() } else { Map::new() };
        thread::scope(|scope| {
            for _ in 0..3 {
                let (mut random, map, alive) = (random.fork(), &map, &alive);
                scope.spawn(move || {
                    for _ in 0..25 {
                        let (mut loaded, from) = (map, random.below(2000));
                        let end = from + random.below(1500);
                        // Some keys twice: the first value is never put. Not at the beginning,
                        // where they would be no run.
                        let times = |key| 1 + usize::from(key % 3 == 0 && key > from + 100);
                        let keys = (from..end).flat_map(|key| vec![key; times(key)]);
                        loaded.extend(keys.map(|key| (key, Counted::new(key, alive))));
                        (0..100).for_each(|_| drop(map.remove(&random.below(3500))));
                    }
                });
            }
        });
        map.check().unwrap();
        assert!(map.iter().all(|(key, value)| key == value.0));
        let len = map.len() as i64;
        assert!(alive.load(Ordering::Relaxed) >= len);
        drop(map);
        settle(&alive, 0);
    }
}

#[test]
fn what_came_before_a_panic_is_there() {
    std::panic::set_hook(Box::new(|_| {}));
    let alive = Arc::new(AtomicI64::new(0));
    for (number, at) in [(0, 0), (1, 1), (2, 5), (3, 100), (4, 4096), (5, 4097), (6, 10_000)] {
        let map: Map<u64, Counted> =
            if number % 2 == 0 { Map::new() } else { Map::with_tiny_pages() };
        let mut input = &map;
        let entries = (0..20_000).map(|key| {
            assert!(key < at, "no more entries");
            (key, Counted::new(key, &alive))
        });
        catch_unwind(AssertUnwindSafe(|| input.extend(entries))).unwrap_err();
        map.check().unwrap();
        assert!(map.keys().eq(0..at), "all {at} entries that came");
        drop(map);
        settle(&alive, 0);
        // A map that is not finished goes with what it has.
        let made = catch_unwind(AssertUnwindSafe(|| {
            (0..)
                .map(|key: u64| {
                    assert!(key < at, "no more entries");
                    (key.to_string(), Counted::new(key, &alive))
                })
                .collect::<Map<String, Counted>>()
        }));
        assert!(made.is_err());
        settle(&alive, 0);
    }
}

#[test]
fn who_makes_the_entries_may_use_the_map() {
    let map: Map<u64, u64> = (0..10_000).map(|key| (key * 2, key)).collect();
    let mut input = &map;
    input.extend(map.iter().filter(|(key, _)| key % 2 == 0).map(|(key, value)| {
        map.remove(&(key + 1));
        (key + 1, value)
    }));
    map.check().unwrap();
    assert!(map.iter().eq((0..20_000).map(|key| (key, key / 2))));
}
