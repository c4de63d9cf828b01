//! A search for a neighbour takes effect at one moment, even where pages have run empty on its way
//! while others fill them; what is popped was outermost at one moment, and is taken once.
//!
//! Each run is a few operations of two or three threads on six keys, far apart, with pages between
//! them that entries came to and went from. The history of the whole map is then searched for an
//! order that explains it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::MemoryDisk;
use bwtree::{Bytes, Db, Map, SyncPolicy, Tree};
use bwtree_tests::whole::{Asked, Call, KEYS, Saw, State, explain};
use bwtree_tests::{Random, Side, seed};

/// How long each kind of run is repeated.
const PATIENCE: Duration = Duration::from_secs(6);
/// Distance of two recorded keys; between them lie pages that have run empty.
const GAP: u64 = 400;

type Entry = Option<(u64, u64)>;

/// What all kinds of maps can do.
trait Searched: Sync {
    fn get(&self, key: u64) -> Option<u64>;
    fn insert(&self, key: u64, value: u64) -> Option<u64>;
    fn remove(&self, key: u64) -> Option<u64>;
    fn nearest(&self, side: Side, key: u64) -> Entry;
    fn end(&self, first: bool) -> Entry;
    fn pop(&self, first: bool) -> Entry;
    /// From this key on, or below it.
    fn pop_beside(&self, first: bool, key: u64) -> Entry;
    /// All entries of a snapshot, which is there when `taken` is called; none if there is no such
    /// thing.
    fn all(&self, _taken: &mut dyn FnMut()) -> Option<Vec<(u64, u64)>> {
        None
    }
}

impl Searched for Map<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        Self::insert(self, key, value)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        Self::remove(self, &key)
    }

    fn nearest(&self, side: Side, key: u64) -> Entry {
        match side {
            Side::Lt => self.lt(&key),
            Side::Le => self.le(&key),
            Side::Gt => self.gt(&key),
            Side::Ge => self.ge(&key),
        }
    }

    fn end(&self, first: bool) -> Entry {
        if first { self.first_key_value() } else { self.last_key_value() }
    }

    fn pop(&self, first: bool) -> Entry {
        if first { self.pop_first() } else { self.pop_last() }
    }

    fn pop_beside(&self, first: bool, key: u64) -> Entry {
        if first { self.pop_first_in(key..) } else { self.pop_last_in(..key) }
    }

    fn all(&self, taken: &mut dyn FnMut()) -> Option<Vec<(u64, u64)>> {
        let snapshot = self.snapshot();
        taken();
        Some(snapshot.iter().collect())
    }
}

/// Keys of any length, and values behind pointers.
struct Boxed(Map<String, Box<u64>>);

fn text(key: u64) -> String {
    format!("a key {key:09}")
}

fn numbers((key, value): (String, Box<u64>)) -> (u64, u64) {
    (key.rsplit(' ').next().unwrap().parse().unwrap(), *value)
}

impl Searched for Boxed {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get_with(text(key).as_str(), |value| **value)
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0.insert(text(key), Box::new(value)).map(|value| *value)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        self.0.remove(text(key).as_str()).map(|value| *value)
    }

    fn nearest(&self, side: Side, key: u64) -> Entry {
        let key = text(key);
        let found = match side {
            Side::Lt => self.0.lt(key.as_str()),
            Side::Le => self.0.le(key.as_str()),
            Side::Gt => self.0.gt(key.as_str()),
            Side::Ge => self.0.ge(key.as_str()),
        };
        found.map(numbers)
    }

    fn end(&self, first: bool) -> Entry {
        if first { self.0.first_key_value() } else { self.0.last_key_value() }.map(numbers)
    }

    fn pop(&self, first: bool) -> Entry {
        if first { self.0.pop_first() } else { self.0.pop_last() }.map(numbers)
    }

    fn pop_beside(&self, first: bool, key: u64) -> Entry {
        let key = text(key);
        let key = key.as_str();
        if first { self.0.pop_first_in(key..) } else { self.0.pop_last_in(..key) }.map(numbers)
    }
}

fn bytes(value: u64) -> Bytes {
    // Some lie apart from their page.
    let mut bytes = vec![0; if value.is_multiple_of(8) { 1500 } else { 8 }];
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes.into()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

fn pair((key, value): (Bytes, Bytes)) -> (u64, u64) {
    (number(&key), number(&value))
}

impl Searched for Tree {
    fn get(&self, key: u64) -> Option<u64> {
        self.get_with(key.to_be_bytes(), number).unwrap()
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        Self::insert(self, key.to_be_bytes(), bytes(value)).unwrap().as_deref().map(number)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        Self::remove(self, key.to_be_bytes()).unwrap().as_deref().map(number)
    }

    fn nearest(&self, side: Side, key: u64) -> Entry {
        let key = key.to_be_bytes();
        let found = match side {
            Side::Lt => self.lt(key),
            Side::Le => self.le(key),
            Side::Gt => self.gt(key),
            Side::Ge => self.ge(key),
        };
        found.unwrap().map(pair)
    }

    fn end(&self, first: bool) -> Entry {
        if first { self.first_key_value() } else { self.last_key_value() }.unwrap().map(pair)
    }

    fn pop(&self, first: bool) -> Entry {
        if first { self.pop_first() } else { self.pop_last() }.unwrap().map(pair)
    }

    fn pop_beside(&self, first: bool, key: u64) -> Entry {
        let key = key.to_be_bytes();
        if first { self.pop_first_in(key..) } else { self.pop_last_in(..key) }.unwrap().map(pair)
    }
}

fn placed(key: usize) -> u64 {
    (key as u64 + 1) * GAP
}

fn seen(entry: Entry) -> Saw {
    Saw::Entry(entry.map(|(key, value)| {
        assert!(key.is_multiple_of(GAP) && key > 0, "{key} was never there during a run");
        ((key / GAP) as usize - 1, value)
    }))
}

/// What a snapshot shows of the recorded keys. Others are there in no run.
fn state_of(entries: Vec<(u64, u64)>) -> Saw {
    let mut state: State = [None; KEYS];
    for entry in entries {
        let Saw::Entry(Some((key, value))) = seen(Some(entry)) else { unreachable!("an entry") };
        assert_eq!(state[key].replace(value), None, "{key} is there twice");
    }
    Saw::All(state)
}

/// What the threads of a run share.
struct Run<'m, M> {
    map: &'m M,
    clock: AtomicU64,
    values: &'m AtomicU64,
    ready: AtomicUsize,
}

impl<M: Searched> Run<'_, M> {
    fn now(&self) -> u64 {
        // ORDERING: SeqCst, with itself: the order of all readings is what "before" means.
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Does one random operation, which is one step or two.
    fn step(&self, random: &mut Random, calls: &mut Vec<Call>) {
        let (map, key) = (self.map, random.index(KEYS));
        let side = *random.pick(&[Side::Lt, Side::Le, Side::Gt, Side::Ge]);
        let (first, kind) = (random.once_in(2), random.below(20));
        let mut returned = None;
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let invoked = self.now();
        let (asked, saw) = match kind {
            0 => (Asked::Get(key), Saw::Value(map.get(placed(key)))),
            1..7 => (Asked::Insert(key, value), Saw::Value(map.insert(placed(key), value))),
            7..12 => (Asked::Remove(key), Saw::Value(map.remove(placed(key)))),
            12..15 => (Asked::Nearest(side, key), seen(map.nearest(side, placed(key)))),
            15 => match map.all(&mut || returned = Some(self.now())) {
                Some(entries) => (Asked::All, state_of(entries)),
                None => (Asked::Get(key), Saw::Value(map.get(placed(key)))),
            },
            16..18 => (if first { Asked::First } else { Asked::Last }, seen(map.end(first))),
            18 => (if first { Asked::First } else { Asked::Last }, seen(map.pop(first))),
            _ => {
                let asked = Asked::Nearest(if first { Side::Ge } else { Side::Lt }, key);
                (asked, seen(map.pop_beside(first, placed(key))))
            }
        };
        let returned = returned.unwrap_or_else(|| self.now());
        let call = Call { asked, saw, invoked, returned, second: false };
        calls.push(call);
        if let (18.., Saw::Entry(Some((key, value)))) = (kind, saw) {
            let (asked, saw) = (Asked::Remove(key), Saw::Value(Some(value)));
            calls.push(Call { asked, saw, second: true, ..call });
        }
    }

    /// Runs the threads, all of which begin at once.
    fn history(&self, threads: usize, steps: usize, random: &mut Random) -> Vec<Call> {
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|_| {
                    let mut random = random.fork();
                    scope.spawn(move || {
                        self.ready.fetch_add(1, Ordering::SeqCst);
                        while self.ready.load(Ordering::SeqCst) < threads {
                            thread::yield_now();
                        }
                        let mut calls = Vec::new();
                        (0..steps).for_each(|_| self.step(&mut random, &mut calls));
                        calls
                    })
                })
                .collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// Fills the gaps so that pages split, and empties them: some pages stay behind.
fn churn(map: &impl Searched, random: &mut Random, all: bool) {
    let end = (KEYS as u64 + 1) * GAP;
    let (from, to) = match random.below(end) {
        _ if all => (0, end),
        from => (from, end.min(from + 120)),
    };
    let between = || (from..to).step_by(4).filter(|key| !key.is_multiple_of(GAP));
    between().for_each(|key| assert_eq!(map.insert(key, key), None));
    between().for_each(|key| assert_eq!(map.remove(key), Some(key)));
}

/// Repeats runs for a while, and checks the history of each.
fn runs(name: &str, map: &impl Searched) {
    let mut random = Random::new(seed(name));
    let (started, values) = (Instant::now(), AtomicU64::new(1));
    let (mut histories, mut calls, mut overlapping, mut steps) = (0_u64, 0, 0, 0);
    churn(map, &mut random, true);
    while started.elapsed() < PATIENCE || histories < 500 {
        if random.once_in(4) {
            let all = random.once_in(20);
            churn(map, &mut random, all);
        }
        let mut initial: State = [None; KEYS];
        for (key, value) in initial.iter_mut().enumerate() {
            if random.once_in(3) {
                *value = Some(values.fetch_add(1, Ordering::Relaxed));
                map.insert(placed(key), value.unwrap());
            }
        }
        let ready = AtomicUsize::new(0);
        let run = Run { map, clock: AtomicU64::new(0), values: &values, ready };
        let threads = 2 + random.index(2);
        let mut history = run.history(threads, 12 / threads, &mut random);
        match explain(initial, &history) {
            Ok(taken) => steps += taken,
            Err(what) => panic!("{name}, run {histories}: {what}"),
        }
        for key in 0..KEYS {
            map.remove(placed(key));
        }
        histories += 1;
        calls += history.len();
        history.sort_by_key(|call| call.invoked);
        overlapping += history.windows(2).filter(|two| two[0].returned > two[1].invoked).count();
    }
    println!("{name}: {histories} histories, {calls} operations, {overlapping} overlaps, {steps}");
    assert!(overlapping > 500, "the threads hardly met: {overlapping}");
}

#[test]
fn neighbours_in_a_map_of_numbers() {
    let map: Map<u64, u64> = Map::with_tiny_pages();
    runs("neighbours_in_a_map_of_numbers", &map);
    map.check().unwrap();
}

#[test]
fn neighbours_in_a_map_of_texts_and_boxes() {
    let map = Boxed(Map::with_tiny_pages());
    runs("neighbours_in_a_map_of_texts_and_boxes", &map);
    map.0.check().unwrap();
}

#[test]
fn neighbours_in_a_tree_that_is_synced_and_evicted() {
    let builder = Db::builder("unused").tiny().memory_budget_bytes(1 << 20);
    let builder = builder.sync_policy(SyncPolicy::EveryMillis(1));
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ballast = db.tree("ballast").unwrap();
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                ballast.put((round % 1500).to_be_bytes(), vec![round as u8; 900]).unwrap();
                // Now and then nothing stays for long: whatever is brought in goes again.
                if round.is_multiple_of(100) || round % 2000 > 1000 {
                    db.sync().unwrap();
                    db.evict_pages();
                }
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runs("neighbours_in_a_tree_that_is_synced_and_evicted", &tree);
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let stats = db.stats();
    assert!(stats.evictions > 0 && stats.page_ins > 0 && stats.merges > 0, "{stats:?}");
    db.sync().unwrap();
    db.verify().unwrap();
}
