//! Many short histories: each key's is searched for an order that explains it, scans included.
//!
//! A run is a dozen operations on a few keys by threads that all start at the same moment; the map
//! is the same in all runs, and its pages split and merge between the keys. An entry of a scan is a
//! look at its key at some moment within the scan, and so is an entry that is not there: a key that
//! was there throughout is there, each once and in order, with a value that it had. An entry of a
//! snapshot is a look at its key while the snapshot was taken, however much later it is read.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bwtree::Map;
use bwtree_tests::concurrent::{Boxed, Concurrent, Way};
use bwtree_tests::history::{History, Operation, Outcome};
use bwtree_tests::{Checked, Random, Recorder, Scribe, check, seed};

/// Runs of each kind, each of [`KEYS`] histories, if `BWTREE_HISTORIES` says nothing else.
const RUNS: u64 = 5000;
const KEYS: u64 = 8;
const THREADS: usize = 3;
/// Distance of two recorded keys; between them the neighbours come and go.
const GAP: u64 = 12;

/// Which operations a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Operations on one key.
    Keys,
    /// As many scans as operations on one key.
    Ranges,
    /// The same with scans of snapshots.
    Snapshots,
}

/// Lets the threads of a run start at the same moment, and waits for the last of them.
#[derive(Debug, Default)]
struct Gate(AtomicUsize);

impl Gate {
    /// Comes back when `THREADS` have come for this run.
    fn pass(&self, run: usize) {
        // ORDERING: AcqRel and Acquire: what one did before the gate, all see behind it.
        self.0.fetch_add(1, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) < (run + 1) * THREADS {
            thread::yield_now();
        }
    }
}

/// One random bound, on a recorded key or beside one.
fn bound(random: &mut Random, keys: &[u64]) -> (u64, bool) {
    (*random.pick(keys) + random.below(3) - 1, random.once_in(2))
}

/// A scan of a random range, recorded for the keys that lie in it.
fn scan(
    map: &impl Concurrent,
    scribe: &mut Scribe<'_, u64, u64>,
    (kind, keys): (Kind, &[u64]),
    random: &mut Random,
) {
    let (a, b) = (bound(random, keys), bound(random, keys));
    let ((from, from_in), (to, to_in)) = if a.0 <= b.0 { (a, b) } else { (b, a) };
    let inside =
        |key: u64| (key > from || key == from && from_in) && (key < to || key == to && to_in);
    let edge = |at, included| if included { Bound::Included(at) } else { Bound::Excluded(at) };
    if from == to && !(from_in && to_in) {
        return;
    }
    let wanted: Vec<u64> = keys.iter().copied().filter(|&key| inside(key)).collect();
    let way = Way::any(random);
    scribe.scan_snapshot(&wanted, |taken| {
        let (from_edge, to_edge) = (edge(from, from_in), edge(to, to_in));
        let mut all = match kind {
            Kind::Snapshots => map.scan_snapshot(taken, from_edge, to_edge, way).unwrap(),
            _ => map.scan(from_edge, to_edge, way),
        };
        assert!(all.is_sorted_by(|a, b| a.0 < b.0), "not in order, or one twice: {all:?}");
        assert!(all.iter().all(|(key, _)| inside(*key)), "outside {from}..{to}: {all:?}");
        all.retain(|(key, _)| key % GAP == 0);
        all
    });
}

fn step(
    map: &impl Concurrent,
    scribe: &mut Scribe<'_, u64, u64>,
    (kind, keys): (Kind, &[u64]),
    random: &mut Random,
    value: u64,
) {
    if kind != Kind::Keys && random.once_in(2) {
        return scan(map, scribe, (kind, keys), random);
    }
    let key = *random.pick(keys);
    match random.below(10) {
        0..3 => {
            scribe.get(key, || map.get(key));
        }
        3..5 => {
            scribe.insert(key, value, || map.insert(key, value));
        }
        5 => {
            scribe.remove(key, || map.remove(key));
        }
        6 => {
            let Outcome::Value(seen) = scribe.get(key, || map.get(key)) else {
                unreachable!("a get shows a value")
            };
            let new = (!random.once_in(3)).then_some(value);
            scribe.compare_exchange(key, seen, new, || map.exchange(key, seen, new));
        }
        7 => {
            scribe.record(key, Operation::Insert(value), || {
                map.put(key, value);
                Outcome::Done
            });
        }
        _ => {
            // Gives way in the middle, so that the threads meet however they are scheduled.
            let update = &mut |_: Option<u64>| {
                thread::yield_now();
                Some(value)
            };
            scribe.insert(key, value, || map.fetch_and_update(key, update));
        }
    }
}

/// Neighbours of a recorded key come or go.
fn churn(map: &impl Concurrent, keys: &[u64], random: &mut Random) {
    let key = *random.pick(keys);
    let put = random.once_in(2);
    for neighbour in (key - GAP + 1)..(key + GAP) {
        if neighbour % GAP == 0 {
            continue;
        }
        if put {
            map.put(neighbour, neighbour);
        } else {
            map.remove(neighbour);
        }
    }
}

/// How much was looked at.
#[derive(Debug, Default)]
struct Total {
    histories: u64,
    operations: u64,
    overlapping: u64,
}

impl Total {
    fn add(&mut self, name: &str, history: &mut History<u64, u64>) {
        match check(history) {
            Ok(Checked { keys, operations, .. }) => {
                self.histories += keys as u64;
                self.operations += operations as u64;
            }
            Err(violation) => panic!("{name}: {violation}"),
        }
        history.sort_by_key(|event| event.invoked);
        let pairs = history.windows(2);
        let meet = |pair: &&[bwtree_tests::Event<u64, u64>]| {
            pair[0].thread != pair[1].thread && pair[0].returned > pair[1].invoked
        };
        self.overlapping += pairs.filter(meet).count() as u64;
    }
}

fn wanted() -> u64 {
    let text = std::env::var("BWTREE_HISTORIES").unwrap_or_default();
    if text.is_empty() { RUNS } else { text.parse().unwrap() }
}

fn runs(name: &str, kind: Kind, map: &impl Concurrent) {
    let wanted = wanted();
    let mut random = Random::new(seed(name));
    // Two sets of keys take turns: one is recorded while the other one is emptied.
    let set = |first: u64| -> Vec<u64> { (first..first + KEYS).map(|key| key * GAP).collect() };
    let (sets, gate) = ([set(1), set(1 + KEYS)], Gate::default());
    let values = AtomicU64::new(1);
    let recorders: Vec<Recorder<u64, u64>> = (0..wanted).map(|_| Recorder::new()).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut random = random.fork();
            let (sets, gate, values) = (&sets, &gate, &values);
            let recorders = &recorders;
            scope.spawn(move || {
                for (run, recorder) in recorders.iter().enumerate() {
                    gate.pass(run);
                    let keys = &sets[run % 2];
                    if thread == 0 {
                        // All have left the last run. Each begins with none of its keys.
                        for &key in &sets[(run + 1) % 2] {
                            map.remove(key);
                        }
                    }
                    let mut scribe = recorder.scribe(thread);
                    for _ in 0..8 + random.below(9) {
                        let value = values.fetch_add(1, Ordering::Relaxed);
                        step(map, &mut scribe, (kind, keys), &mut random, value);
                        if random.once_in(8) {
                            churn(map, keys, &mut random);
                        }
                    }
                }
            });
        }
    });
    let mut total = Total::default();
    for recorder in recorders {
        total.add(name, &mut recorder.into_history());
    }
    println!("{name}: {total:?}, 0 violations");
    assert!(total.histories > wanted * 2, "{total:?}");
    assert!(total.overlapping > wanted / 10, "the threads hardly met: {total:?}");
}

#[test]
fn keys_of_a_map_of_numbers() {
    let map = Map::with_tiny_pages();
    runs("keys_of_a_map_of_numbers", Kind::Keys, &map);
    map.check().unwrap();
}

#[test]
fn ranges_of_a_map_of_numbers() {
    let map = Map::with_tiny_pages();
    runs("ranges_of_a_map_of_numbers", Kind::Ranges, &map);
    map.check().unwrap();
}

#[test]
fn keys_of_a_map_of_texts() {
    let map = Boxed(Map::with_tiny_pages());
    runs("keys_of_a_map_of_texts", Kind::Keys, &map);
    map.0.check().unwrap();
}

#[test]
fn ranges_of_a_map_of_texts() {
    let map = Boxed(Map::with_tiny_pages());
    runs("ranges_of_a_map_of_texts", Kind::Ranges, &map);
    map.0.check().unwrap();
}

#[test]
fn snapshots_of_a_map_of_numbers() {
    let map = Map::with_tiny_pages();
    runs("snapshots_of_a_map_of_numbers", Kind::Snapshots, &map);
    map.check().unwrap();
}

#[test]
fn snapshots_of_a_map_of_texts() {
    let map = Boxed(Map::with_tiny_pages());
    runs("snapshots_of_a_map_of_texts", Kind::Snapshots, &map);
    map.0.check().unwrap();
}
