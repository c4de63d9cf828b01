//! Every single-key operation takes effect at one moment between its call and its return, and a
//! scan sees every entry at a moment of its own, while pages split, merge and consolidate, and
//! while a store syncs, cleans and evicts.
//!
//! Each run is short: few threads, few keys, and neighbours that come and go between these so that
//! the pages under them change all the time. The history of each key is then searched for an order
//! that explains it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::MemoryDisk;
use bwtree::{CleanOptions, Db, Map, SyncPolicy};
use bwtree_tests::concurrent::{Boxed, Concurrent, Way};
use bwtree_tests::history::{Operation, Outcome};
use bwtree_tests::watch::Watch;
use bwtree_tests::{Checked, Random, Recorder, Scribe, check, seed};

/// How long each kind of run is repeated.
const PATIENCE: Duration = Duration::from_secs(8);
/// Distance of two recorded keys; between them the neighbours come and go.
const GAP: u64 = 1000;

/// Does one random operation to a recorded key.
fn step(
    map: &impl Concurrent,
    scribe: &mut Scribe<'_, u64, u64>,
    keys: &[u64],
    random: &mut Random,
    value: u64,
) {
    let key = *random.pick(keys);
    match random.below(16) {
        0..3 => {
            scribe.get(key, || map.get(key));
        }
        3 => {
            scribe.record(key, Operation::Get, || Outcome::Present(map.contains(key)));
        }
        4..6 => {
            scribe.insert(key, value, || map.insert(key, value));
        }
        6 => {
            scribe.record(key, Operation::Insert(value), || {
                map.put(key, value);
                Outcome::Done
            });
        }
        7..9 => {
            scribe.remove(key, || map.remove(key));
        }
        9..12 => {
            let seen = scribe.get(key, || map.get(key));
            let Outcome::Value(seen) = seen else { unreachable!("a get shows a value") };
            let new = (!random.once_in(3)).then_some(value);
            scribe.compare_exchange(key, seen, new, || map.exchange(key, seen, new));
        }
        12..14 => {
            // What the closure saw last is what was replaced; else the exchange is not one.
            let yields = random.once_in(2);
            let call = || {
                let mut last = None;
                let before = map.fetch_and_update(key, &mut |seen| {
                    if yields {
                        thread::yield_now();
                    }
                    last = seen;
                    Some(value)
                });
                assert_eq!(before, last, "the value that was replaced is the one that was seen");
                before
            };
            scribe.insert(key, value, call);
        }
        _ => {
            let way = Way::any(random);
            let (from, to) = (keys[0], keys[keys.len() - 1]);
            scribe.scan(keys, || {
                let mut all = map.scan(Bound::Included(from), Bound::Included(to), way);
                assert!(all.is_sorted_by(|a, b| a.0 < b.0), "not in order, or one twice");
                all.retain(|(key, _)| key % GAP == 0);
                all
            });
        }
    }
}

/// Makes the neighbours of the recorded keys come and go.
fn churn(map: &impl Concurrent, keys: &[u64], random: &mut Random, steps: u64) {
    let key = *random.pick(keys);
    let start = key.saturating_sub(20) + 1 + random.below(15);
    for neighbour in (start..start + steps).filter(|neighbour| neighbour % GAP != 0) {
        map.put(neighbour, neighbour);
    }
    for neighbour in (start..start + steps).filter(|neighbour| neighbour % GAP != 0) {
        map.remove(neighbour);
    }
}

#[derive(Debug, Default)]
struct Total {
    histories: u64,
    operations: u64,
    overlapping: u64,
}

/// Repeats runs over `map`, whose recorded keys are removed after each run.
fn runs(name: &str, map: &impl Concurrent) -> Total {
    let mut random = Random::new(seed(name));
    let started = Instant::now();
    let mut total = Total::default();
    // On a slow machine it takes as long as it takes to have seen enough.
    let few = |total: &Total| {
        total.histories <= 500 || total.operations <= 10_000 || total.overlapping <= 100
    };
    while started.elapsed() < PATIENCE || few(&total) {
        let keys: Vec<u64> = (1..=1 + random.below(4)).map(|key| key * GAP).collect();
        let recorder = Recorder::new();
        let values = AtomicU64::new(1);
        let threads = 2 + random.index(3);
        let steps = 10 + random.below(60);
        thread::scope(|scope| {
            for thread in 0..threads {
                let mut random = random.fork();
                let (recorder, keys, values) = (&recorder, &keys, &values);
                scope.spawn(move || {
                    let mut scribe = recorder.scribe(thread);
                    for _ in 0..steps {
                        // Values are unique, so that a read says which write it saw.
                        let value = values.fetch_add(1, Ordering::Relaxed);
                        step(map, &mut scribe, keys, &mut random, value);
                        if random.once_in(4) {
                            churn(map, keys, &mut random, 30);
                        }
                    }
                });
            }
        });
        let mut history = recorder.into_history();
        match check(&history) {
            Ok(Checked { keys, operations, .. }) => {
                total.histories += keys as u64;
                total.operations += operations as u64;
            }
            Err(violation) => panic!("{name}: {violation}"),
        }
        history.sort_by_key(|event| event.invoked);
        let overlaps = history.windows(2).filter(|pair| pair[0].returned > pair[1].invoked);
        total.overlapping += overlaps.count() as u64;
        for &key in &keys {
            map.remove(key);
        }
    }
    println!("{name}: {total:?}, 0 violations");
    assert!(total.histories > 500 && total.operations > 10_000, "{total:?}");
    assert!(total.overlapping > 100, "the threads hardly met: {total:?}");
    total
}

/// Entries that hold the tree above one page.
fn fill(map: &impl Concurrent) {
    for key in (1..6 * GAP).step_by(7).filter(|key| key % GAP != 0) {
        map.put(key, key);
    }
}

#[test]
fn a_map_of_numbers() {
    let map = Map::with_tiny_pages();
    fill(&map);
    runs("a_map_of_numbers", &map);
    map.check().unwrap();
}

#[test]
fn a_map_of_texts_and_boxes() {
    let map = Boxed(Map::with_tiny_pages());
    runs("a_map_of_texts_and_boxes", &map);
    map.0.check().unwrap();
}

#[test]
fn a_map_with_normal_pages() {
    let map: Map<u64, u64> = Map::new();
    runs("a_map_with_normal_pages", &map);
    map.check().unwrap();
}

fn store() -> Db {
    let builder = Db::builder("unused").tiny().memory_budget_bytes(1 << 20);
    let builder = builder.sync_policy(SyncPolicy::EveryMillis(1));
    builder.open_on(Arc::new(MemoryDisk::new())).unwrap()
}

/// Ends the other threads of a run when this one ends, well or not.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` beside a thread that syncs, checkpoints, cleans, and fills the memory so that pages
/// are evicted.
fn beside_upkeep(db: &Db, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ballast = db.tree("ballast").unwrap();
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                for at in 0..40 {
                    let key = (round * 40 + at) % 1500;
                    ballast.put(key.to_be_bytes(), vec![round as u8; 900]).unwrap();
                }
                match round % 16 {
                    0 => db.checkpoint().unwrap(),
                    8 => drop(db.clean(CleanOptions::default()).unwrap()),
                    _ => db.sync().unwrap(),
                }
            }
        });
        let _ends = Ends(&done);
        work();
    });
}

#[test]
fn a_tree_that_is_synced_cleaned_and_evicted() {
    let db = store();
    let tree = db.tree("t").unwrap();
    fill(&tree);
    beside_upkeep(&db, || {
        runs("a_tree_that_is_synced_cleaned_and_evicted", &tree);
    });
    let stats = db.stats();
    println!("{stats:?}");
    assert!(stats.evictions > 0 && stats.page_ins > 0 && stats.splits > 0 && stats.merges > 0);
    db.sync().unwrap();
    db.verify().unwrap();
}

/// Scans while two threads make keys come and go; every tenth one is always there.
fn scans(name: &str, map: &(impl Concurrent + ?Sized)) -> (u64, u64) {
    const KEYS: u64 = 600;
    const ENOUGH: u64 = 100;
    let mut random = Random::new(seed(name));
    for key in (0..KEYS).step_by(10) {
        map.put(key, key);
    }
    let done = AtomicBool::new(false);
    let (count, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut random, done) = (random.fork(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let start = random.below(KEYS);
                    let keys = (start..start + 80).filter(|&key| key < KEYS && key % 10 != 0);
                    for key in keys.clone() {
                        map.put(key, random.next_u64() >> 1);
                    }
                    for key in keys {
                        map.remove(key);
                    }
                }
            });
        }
        let (count, seen, done) = (&count, &seen, &done);
        let mut random = random.fork();
        scope.spawn(move || {
            let _ends = Ends(done);
            let watch = Watch::new(Duration::from_secs(60));
            let started = Instant::now();
            // A scan gives way every few entries: on a busy machine it takes as long as others do.
            while started.elapsed() < PATIENCE / 2 || count.load(Ordering::Relaxed) < ENOUGH {
                let (a, b) = (random.below(KEYS), random.below(KEYS));
                let (from, to) = (a.min(b), a.max(b));
                let way = Way::any(&mut random);
                let all = map.scan(Bound::Included(from), Bound::Excluded(to), way);
                assert!(all.is_sorted_by(|a, b| a.0 < b.0), "out of order, or one twice: {all:?}");
                assert!(all.iter().all(|(key, _)| (from..to).contains(key)), "outside: {all:?}");
                let stable = all.iter().map(|(key, _)| *key).filter(|key| key % 10 == 0);
                let expected = (from..to).filter(|key| key % 10 == 0);
                assert!(stable.eq(expected), "lost from {from}..{to}, {way:?}: {all:?}");
                let scans = count.fetch_add(1, Ordering::Relaxed) + 1;
                watch.report(format!("{name}: {scans} scans"));
                seen.fetch_add(all.len() as u64, Ordering::Relaxed);
            }
        });
    });
    let (count, seen) = (count.into_inner(), seen.into_inner());
    println!("{name}: {count} scans, {seen} entries");
    assert!(count >= ENOUGH && seen > count, "{count} scans, {seen} entries");
    (count, seen)
}

#[test]
fn scans_of_a_map_under_splits_and_merges() {
    let map: Map<u64, u64> = Map::with_tiny_pages();
    scans("scans_of_a_map_under_splits_and_merges", &map);
    map.check().unwrap();
    let texts = Boxed(Map::with_tiny_pages());
    scans("scans_of_a_map_under_splits_and_merges", &texts);
    texts.0.check().unwrap();
}

#[test]
fn scans_of_a_tree_under_splits_merges_and_evictions() {
    let db = store();
    let tree = db.tree("t").unwrap();
    beside_upkeep(&db, || {
        scans("scans_of_a_tree_under_splits_merges_and_evictions", &tree);
    });
    let stats = db.stats();
    assert!(stats.evictions > 0 && stats.splits > 0 && stats.merges > 0, "{stats:?}");
    db.verify().unwrap();
}

#[test]
fn no_entry_is_popped_twice_and_none_is_lost() {
    let map: Map<u64, u64> = Map::with_tiny_pages();
    let rounds = 30;
    for _ in 0..rounds {
        (0..3000).for_each(|key| {
            map.insert(key, key + 1);
        });
        let pop = |first: bool| {
            let map = &map;
            move || {
                let pop = || if first { map.pop_first() } else { map.pop_last() };
                std::iter::from_fn(pop).collect::<Vec<_>>()
            }
        };
        let mut popped = thread::scope(|scope| {
            let threads = [scope.spawn(pop(true)), scope.spawn(pop(false)), scope.spawn(pop(true))];
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        popped.sort_unstable();
        assert!(popped.into_iter().eq((0..3000).map(|key| (key, key + 1))));
        assert!(map.is_empty());
    }
    map.check().unwrap();
    println!("no_entry_is_popped_twice_and_none_is_lost: {} entries", rounds * 3000);
}
