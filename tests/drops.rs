//! Every value is dropped exactly once: the replaced, the removed, the refused, what a panicking
//! closure leaves, and what is left when a map is dropped.
//!
//! What is unlinked is dropped when no thread is left that could see it. The tests wait for that:
//! they make another map produce garbage, which moves the epoch on for all.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::Map;
use bwtree::map::Entry;
use bwtree_tests::{Random, seed};

/// How many values there are, and how many there ever were.
#[derive(Debug, Default)]
struct Ledger {
    alive: AtomicI64,
    ever: AtomicU64,
}

/// A value that is counted. One that is dropped twice is noticed by its own flag, unless its
/// memory has been used again; the sum is noticed in any case.
#[derive(Debug)]
struct Counted {
    number: u64,
    gone: AtomicBool,
    ledger: Arc<Ledger>,
}

impl Counted {
    fn new(number: u64, ledger: &Arc<Ledger>) -> Self {
        ledger.alive.fetch_add(1, Ordering::Relaxed);
        ledger.ever.fetch_add(1, Ordering::Relaxed);
        Self { number, gone: AtomicBool::new(false), ledger: Arc::clone(ledger) }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        assert!(!self.gone.load(Ordering::Relaxed), "cloned after it was dropped");
        Self::new(self.number, &self.ledger)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(!self.gone.swap(true, Ordering::Relaxed), "dropped twice");
        self.ledger.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until only `expected` values are alive.
fn settle(ledger: &Ledger, expected: i64) {
    let other: Map<u64, u64> = Map::with_tiny_pages();
    let started = Instant::now();
    while ledger.alive.load(Ordering::Relaxed) != expected {
        let alive = ledger.alive.load(Ordering::Relaxed);
        assert!(alive > expected, "{alive} values alive, fewer than {expected}: one dropped twice");
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{alive} alive, not {expected}: leaked"
        );
        (0..2000).for_each(|key| {
            other.insert(key % 100, key);
        });
    }
    // None may go below that either.
    (0..20_000).for_each(|key| {
        other.insert(key % 100, key);
    });
    assert_eq!(ledger.alive.load(Ordering::Relaxed), expected);
}

/// One operation of any kind.
fn step(map: &Map<u64, Counted>, random: &mut Random, ledger: &Arc<Ledger>) {
    let key = random.below(300);
    let new = Counted::new(random.next_u64(), ledger);
    match random.below(16) {
        0..4 => drop(map.insert(key, new)),
        4..6 => drop(map.remove(&key)),
        6 => {
            let seen = map.get(&key);
            let value = (!random.once_in(4)).then_some(new);
            let _refused = map.compare_exchange(&key, seen.as_ref(), value);
        }
        7 => {
            let wrong = Counted::new(1, ledger);
            assert!(map.compare_exchange(&key, Some(&wrong), Some(new)).is_err());
        }
        8 => drop(map.fetch_and_update(&key, |seen| seen.cloned().or_else(|| Some(new.clone())))),
        9 => drop(map.get_or_insert_with(key, || new)),
        10 => drop(if random.once_in(2) { map.pop_first() } else { map.pop_last() }),
        11..13 => by_entry(map, key, new, random),
        13 => drop(match random.below(6) {
            0 => map.lt(&key),
            1 => map.ge(&key),
            2 => map.first_key_value(),
            3 => map.last_key_value(),
            4 => map.pop_first_in(key..),
            _ => map.pop_last_in(..key),
        }),
        14 => match random.below(4) {
            0 => drop(map.extract_if(key..key + 40, |key, _| key % 4 == 0).collect::<Vec<_>>()),
            1 => drop(map.extract_if(.., |key, _| key % 2 == 0).next_back()),
            2 => map.retain(|key, value| key % 16 != value.number % 16),
            _ => drop(map.values().rev().take(5).collect::<Vec<_>>()),
        },
        _ => match random.below(4) {
            0 => drop(map.range(key..key + 40).rev().take(10).collect::<Vec<_>>()),
            1 => drop(map.remove_range(key..key + 5)),
            2 => {
                let mut half = map.range(key..);
                let _front = half.next();
                let _back = half.next_back();
            }
            _ => drop(map.update_and_fetch(&key, |_| None)),
        },
    }
}

/// One operation by an entry.
fn by_entry(map: &Map<u64, Counted>, key: u64, new: Counted, random: &mut Random) {
    let entry = map.entry(key);
    match (random.below(6), entry) {
        (0, entry) => drop(entry.or_insert(new)),
        (1, entry) => drop(entry.or_insert_with_key(|_| new)),
        (2, entry) => drop(entry.and_modify(|value| value.number += 1).or_insert(new)),
        (3, entry) => drop(entry.insert_entry(new)),
        (4, Entry::Occupied(mut entry)) => drop(entry.insert(new)),
        (_, Entry::Occupied(entry)) => drop(entry.remove()),
        (_, Entry::Vacant(entry)) => drop(entry.insert(new)),
    }
}

#[test]
fn one_thread() {
    let mut random = Random::new(seed("one_thread"));
    let ledger = Arc::new(Ledger::default());
    let map = Map::with_tiny_pages();
    for round in 0..20 {
        (0..2000).for_each(|_| step(&map, &mut random, &ledger));
        if round % 5 == 0 {
            settle_all_but_kept(&map, &ledger);
        }
    }
    map.check().unwrap();
    drop(map);
    settle(&ledger, 0);
    let ever = ledger.ever.load(Ordering::Relaxed);
    println!("one_thread: {ever} values");
    assert!(ever > 10_000);
}

/// What replaced values still lie in pages goes with these pages; after a rewrite of every page
/// the map keeps no more than a page's worth of records for each.
fn settle_all_but_kept(map: &Map<u64, Counted>, ledger: &Ledger) {
    let kept = map.len() as i64;
    assert!(ledger.alive.load(Ordering::Relaxed) >= kept, "an entry's value was dropped");
    assert!(map.iter().all(|(_, value)| !value.gone.load(Ordering::Relaxed)));
}

#[test]
fn many_threads() {
    let mut random = Random::new(seed("many_threads"));
    let mut ever = 0;
    for _ in 0..15 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        thread::scope(|scope| {
            for _ in 0..4 {
                let (mut random, map, ledger) = (random.fork(), &map, &ledger);
                scope.spawn(move || (0..3000).for_each(|_| step(map, &mut random, ledger)));
            }
        });
        map.check().unwrap();
        drop(map);
        settle(&ledger, 0);
        ever += ledger.ever.load(Ordering::Relaxed);
    }
    println!("many_threads: {ever} values");
    assert!(ever > 10_000);
}

/// Kinds of calls that [`panics`] knows.
const CLOSURES: u64 = 11;

/// Calls a method with a closure that panics, and says whether it did.
fn panics(map: &Map<u64, Counted>, kind: u64, key: u64, new: &Counted) -> bool {
    let call = || match kind {
        0 => drop(map.fetch_and_update(&key, |_| {
            let _lost = new.clone();
            panic!("in the closure")
        })),
        1 => drop(map.update_and_fetch(&key, |seen| {
            let _lost = seen.cloned();
            panic!("in the closure")
        })),
        2 => drop(map.get_or_insert_with(key, || panic!("in the closure"))),
        3 => drop(map.get_with(&key, |_| panic!("in the closure"))),
        4 => drop(map.entry(key).or_insert_with(|| panic!("in the closure"))),
        5 => drop(map.entry(key).or_insert_with_key(|_| panic!("in the closure"))),
        6 => drop(map.entry(key).and_modify(|value| {
            *value = new.clone();
            panic!("in the closure")
        })),
        7 => map.retain(|_, _| panic!("in the closure")),
        8 => drop(map.extract_if(key.., |_, _| panic!("in the closure")).next()),
        9 => drop(map.extract_if(.., |_, _| panic!("in the closure")).next_back()),
        _ => (&*map).extend((0..3).map(|_| -> (u64, Counted) { panic!("in the closure") })),
    };
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

/// Keeps the messages of these panics off the screen; others are shown.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"in the closure") {
                show(info);
            }
        }));
    });
}

#[test]
fn closures_that_panic() {
    let mut random = Random::new(seed("closures_that_panic"));
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Counted> = Map::with_tiny_pages();
    let mut seen = [0_u64; CLOSURES as usize];
    silence();
    for round in 0..6000 {
        let (key, kind) = (random.below(200), round % CLOSURES);
        let content = || map.iter().map(|(key, value)| (key, value.number));
        let before: Vec<(u64, u64)> = content().collect();
        let new = Counted::new(round, &ledger);
        seen[kind as usize] += u64::from(panics(&map, kind, key, &new));
        assert!(content().eq(before), "nothing has happened, kind {kind}");
        step(&map, &mut random, &ledger);
    }
    map.check().unwrap();
    drop(map);
    settle(&ledger, 0);
    println!("closures_that_panic: {seen:?} panics");
    assert!(seen.iter().all(|&panics| panics > 50), "{seen:?}");
}

#[test]
fn closures_that_panic_beside_others() {
    let mut random = Random::new(seed("closures_that_panic_beside_others"));
    let panicked = AtomicU64::new(0);
    silence();
    for _ in 0..10 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        thread::scope(|scope| {
            for _ in 0..3 {
                let (mut random, map, ledger) = (random.fork(), &map, &ledger);
                let panicked = &panicked;
                scope.spawn(move || {
                    for round in 0..1500 {
                        let new = Counted::new(round, ledger);
                        let (kind, key) = (random.below(CLOSURES), random.below(300));
                        if panics(map, kind, key, &new) {
                            panicked.fetch_add(1, Ordering::Relaxed);
                        }
                        step(map, &mut random, ledger);
                    }
                });
            }
        });
        map.check().unwrap();
        drop(map);
        settle(&ledger, 0);
    }
    let panicked = panicked.into_inner();
    println!("closures_that_panic_beside_others: {panicked} panics");
    assert!(panicked > 5000);
}

#[test]
fn an_iterator_keeps_what_it_holds() {
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Counted> = Map::new();
    (0..1000).for_each(|key| {
        map.insert(key, Counted::new(key, &ledger));
    });
    let mut iterator = map.iter();
    let first = iterator.next().unwrap();
    let twin = iterator.clone();
    map.clear();
    assert!(iterator.take(20).all(|(key, value)| key == value.number));
    assert!(twin.rev().all(|(key, value)| key == value.number));
    drop(map);
    drop(first);
    settle(&ledger, 0);

    let map: Map<u64, Counted> = (0..1000).map(|key| (key, Counted::new(key, &ledger))).collect();
    let mut owning = map.into_iter();
    assert_eq!(owning.next().unwrap().1.number, 0);
    assert_eq!(owning.next_back().unwrap().1.number, 999);
    drop(owning);
    settle(&ledger, 0);
}

#[test]
fn beside_snapshots() {
    let mut random = Random::new(seed("beside_snapshots"));
    let (mut ever, mut looks) = (0, 0_u64);
    for round in 0..8 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        let mut open = Vec::new();
        for at in 0..4000_u64 {
            step(&map, &mut random, &ledger);
            if random.once_in(40) {
                open.push((map.snapshot(), map.iter().collect::<Vec<_>>()));
            }
            if random.once_in(50) {
                let run =
                    (at % 100..at % 100 + 60).map(|key| (key, Counted::new(at + 1000, &ledger)));
                { &map }.extend(run);
            }
            if open.len() > 1 + round {
                let (snapshot, before) = open.swap_remove(random.index(open.len()));
                assert!(snapshot.values().all(|value| !value.gone.load(Ordering::Relaxed)));
                assert!(snapshot.iter().eq(before));
                looks += 1;
            }
        }
        drop(open);
        map.check().unwrap();
        drop(map);
        settle(&ledger, 0);
        ever += ledger.ever.load(Ordering::Relaxed);
    }
    println!("beside_snapshots: {ever} values, {looks} snapshots");
    assert!(ever > 10_000 && looks > 300);
}

/// Pages of texts are not those of numbers: values lie anywhere in them.
#[test]
fn of_texts_beside_snapshots() {
    let mut random = Random::new(seed("of_texts_beside_snapshots"));
    let text = |number: u64| format!("{}{number:03}", "key ".repeat(number as usize % 4));
    let mut ever = 0;
    for round in 0..8 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        let mut open = Vec::new();
        for at in 0..2500 {
            let (number, new) = (random.below(300), Counted::new(at, &ledger));
            let key = text(number);
            match random.below(20) {
                0..9 => drop(map.insert(key, new)),
                9..17 => drop(map.remove(&key)),
                17 => drop(map.remove_range(key..text(number + 40))),
                18 => {
                    let mut run: Vec<String> = (number..number + 60).map(text).collect();
                    run.sort_unstable();
                    { &map }.extend(run.into_iter().map(|key| (key, new.clone())));
                }
                _ => drop(map.fetch_and_update(&key, |_| Some(new.clone()))),
            }
            if random.once_in(9) {
                open.push((map.snapshot(), map.iter().collect::<Vec<_>>()));
            }
            if open.len() > 1 + round * 2 {
                let (snapshot, before) = open.swap_remove(random.index(open.len()));
                assert!(snapshot.iter().eq(before));
            }
        }
        drop(open);
        map.check().unwrap();
        drop(map);
        settle(&ledger, 0);
        ever += ledger.ever.load(Ordering::Relaxed);
    }
    println!("of_texts_beside_snapshots: {ever} values");
    assert!(ever > 20_000);
}

#[test]
fn beside_snapshots_of_other_threads() {
    let mut random = Random::new(seed("beside_snapshots_of_other_threads"));
    let looks = AtomicU64::new(0);
    for _ in 0..10 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (mut random, map, ledger) = (random.fork(), &map, &ledger);
                scope.spawn(move || (0..4000).for_each(|_| step(map, &mut random, ledger)));
            }
            for _ in 0..2 {
                let (mut random, map, ledger, looks) = (random.fork(), &map, &ledger, &looks);
                scope.spawn(move || {
                    for at in 0..150 {
                        let snapshot = map.snapshot();
                        let seen: Vec<_> = snapshot.iter().collect();
                        (0..30).for_each(|_| step(map, &mut random, ledger));
                        { map }.extend(
                            (at..at + 40).map(|key| (key, Counted::new(at + 1000, ledger))),
                        );
                        assert!(snapshot.iter().rev().eq(seen.into_iter().rev()));
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        map.check().unwrap();
        assert_eq!(map.kept_pages(), 0);
        drop(map);
        settle(&ledger, 0);
    }
    let looks = looks.into_inner();
    println!("beside_snapshots_of_other_threads: {looks} snapshots");
    assert_eq!(looks, 3000);
}

#[test]
fn a_snapshot_that_is_never_closed_keeps_nothing_longer_than_its_map() {
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Counted> = Map::with_tiny_pages();
    (0..1000).for_each(|key| drop(map.insert(key, Counted::new(key, &ledger))));
    let lost = ManuallyDrop::new(map.snapshot());
    map.clear();
    assert_eq!(lost.len(), 1000);
    assert!(map.kept_pages() > 10);
    let _ = lost;
    drop(map);
    settle(&ledger, 0);
}

/// A value whose destructor uses a map.
#[derive(Clone)]
struct Echo(Arc<Map<u64, u64>>, u64);

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.insert(self.1 % 500, self.1);
    }
}

#[test]
fn a_destructor_may_use_a_map() {
    let echoes = Arc::new(Map::with_tiny_pages());
    let map = Map::with_tiny_pages();
    thread::scope(|scope| {
        for thread in 0..3 {
            let (map, echoes) = (&map, &echoes);
            scope.spawn(move || {
                for round in 0..5000 {
                    map.insert(round % 100, Echo(Arc::clone(echoes), round * 3 + thread));
                }
            });
        }
    });
    drop(map);
    let started = Instant::now();
    while Arc::strong_count(&echoes) > 1 {
        assert!(started.elapsed() < Duration::from_secs(30), "leaked");
        (0..2000).for_each(|key| {
            echoes.insert(key % 500, key);
        });
    }
    echoes.check().unwrap();
    assert_eq!(echoes.len(), 500);
}
