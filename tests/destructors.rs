//! Whatever a value's destructor, or the code of a key, does, each value is dropped once, and no
//! page owns one that is gone.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Once, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::Map;
use bwtree::map::Entry;
use bwtree::{EncodeKey, Key, KeySink};
use bwtree_tests::{Random, seed};

/// How many values are alive, and how many have been dropped.
#[derive(Debug, Default)]
struct Ledger {
    alive: AtomicI64,
    gone: AtomicU64,
    /// Of those that notice it.
    twice: AtomicU64,
}

impl Ledger {
    fn alive(&self) -> i64 {
        self.alive.load(Ordering::Relaxed)
    }

    fn gone(&self) -> u64 {
        self.gone.load(Ordering::Relaxed)
    }
}

/// A value that is counted.
#[derive(Debug)]
struct Counted(u64, Arc<Ledger>);

impl Counted {
    fn new(number: u64, ledger: &Arc<Ledger>) -> Self {
        ledger.alive.fetch_add(1, Ordering::Relaxed);
        Self(number, Arc::clone(ledger))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0, &self.1)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.alive.fetch_sub(1, Ordering::Relaxed);
        self.1.gone.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the panics of these tests say.
const EXPECTED: &str = "as expected";

/// Keeps the messages of expected panics off the screen; others are shown.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&EXPECTED) {
                show(info);
            }
        }));
    });
}

/// Whether a call panics.
fn panics(call: impl FnOnce()) -> bool {
    silence();
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

thread_local! {
    /// Uses of a [`Fuse`] after which one panics; 0 is never.
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

/// A key of which a use panics when the map has done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fuse(u64);

impl EncodeKey for Fuse {
    fn encode_into(&self, out: &mut impl KeySink) {
        self.0.encode_into(out);
    }

    fn encode_nested(&self, out: &mut impl KeySink) {
        self.0.encode_nested(out);
    }

    fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let result = self.0.with_encoded(f);
        let left = LEFT.get();
        LEFT.set(left.saturating_sub(1));
        if left == 1 {
            panic_any(EXPECTED);
        }
        result
    }
}

impl Key for Fuse {
    const FIXED_BYTES: Option<usize> = Some(8);
    type Lent = Self;

    fn decode(bytes: &[u8]) -> Self {
        Self(u64::decode(bytes))
    }

    fn lend<R>(bytes: &[u8], len: usize, look: impl FnOnce(&Self) -> R) -> R {
        look(&Self::decode(&bytes[..len]))
    }

    fn decode_nested(bytes: &mut &[u8]) -> Self {
        Self(u64::decode_nested(bytes))
    }
}

/// A call that puts a value into a map.
type Call = fn(&Map<Fuse, Counted>, Counted);

const CALLS: &[(&str, Call)] = &[
    ("insert", |map, new| drop(map.insert(Fuse(1), new))),
    ("compare_exchange", |map, new| {
        let seen = map.get(&Fuse(1));
        drop(map.compare_exchange(&Fuse(1), seen.as_ref(), Some(new)));
    }),
    ("fetch_and_update", |map, new| drop(map.fetch_and_update(&Fuse(1), |_| Some(new.clone())))),
    ("update_and_fetch", |map, new| drop(map.update_and_fetch(&Fuse(1), |_| Some(new.clone())))),
    ("get_or_insert_with", |map, new| drop(map.get_or_insert_with(Fuse(1), || new))),
    ("or_insert", |map, new| drop(map.entry(Fuse(1)).or_insert(new))),
    ("and_modify", |map, new| drop(map.entry(Fuse(1)).and_modify(|value| *value = new.clone()))),
    ("insert_entry", |map, new| drop(map.entry(Fuse(1)).insert_entry(new))),
    ("entry.insert", |map, new| match map.entry(Fuse(1)) {
        Entry::Occupied(mut entry) => drop(entry.insert(new)),
        Entry::Vacant(entry) => drop(entry.insert(new)),
    }),
    ("extend", |map, new| { map }.extend((0..30).map(|number| (Fuse(number), new.clone())))),
];

#[test]
fn a_value_is_its_pages_from_the_step_on() {
    let mut fired = 0;
    for (name, call) in CALLS {
        for there_before in [false, true] {
            for uses in 1..40 {
                let ledger = Arc::new(Ledger::default());
                let map = Map::with_tiny_pages();
                if there_before {
                    map.insert(Fuse(1), Counted::new(7, &ledger));
                }
                LEFT.set(uses);
                let panicked = panics(|| call(&map, Counted::new(8, &ledger)));
                LEFT.set(0);
                fired += u32::from(panicked);
                let owned = map.len() as i64;
                assert!(
                    ledger.alive() >= owned,
                    "{name}: {} values for {owned} entries, panic at use {uses}",
                    ledger.alive()
                );
                assert!(map.values().all(|value| value.0 == 7 || value.0 == 8));
                drop(map);
                if !panicked {
                    break;
                }
            }
        }
    }
    println!("{fired} panics");
    assert!(fired > 40, "{fired}");
}

/// A value whose destructor always panics, when it is done.
#[derive(Debug)]
struct Bomb(Counted);

impl Bomb {
    fn new(ledger: &Arc<Ledger>) -> Self {
        Self(Counted::new(0, ledger))
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(EXPECTED);
    }
}

#[test]
fn destructors_of_another_map_do_it_no_harm() {
    let (bombs, ledger) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let (map, other) = (Map::with_tiny_pages(), Map::with_tiny_pages());
    let mut here = 0;
    for round in 0..3000_u64 {
        let bomb = Arc::new(Bomb::new(&bombs));
        let _there = panics(|| drop(other.insert(round % 5, bomb)));
        let key = format!("{}{}", "long key ".repeat(4), round % 40);
        here += u32::from(panics(|| match round % 4 {
            0 => drop(map.insert(key, Counted::new(round, &ledger))),
            1 => drop(map.get_or_insert_with(key, || Counted::new(round, &ledger))),
            2 => drop(map.fetch_and_update(&key, |_| Some(Counted::new(round, &ledger)))),
            _ => drop(map.remove(&key)),
        }));
        let (alive, owned) = (ledger.alive(), map.len() as i64);
        assert!(alive >= owned, "round {round}: {alive} values for {owned} entries");
    }
    assert_eq!(here, 0, "a stranger's destructor ran here");
    assert!(panics(|| drop(other)));
    assert_eq!((bombs.alive(), bombs.gone()), (0, 3000));
}

#[test]
fn the_end_of_a_map_goes_on_after_a_panic() {
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Bomb> = (0..2000).map(|key| (key, Bomb::new(&ledger))).collect();
    assert!(panics(|| drop(map)));
    assert_eq!((ledger.alive(), ledger.gone()), (0, 2000));

    // With values that wait, and some that a cut sees which is never closed.
    let map: Map<String, Arc<Bomb>> = Map::with_tiny_pages();
    let key = |number: u64| format!("key {number}");
    (0..200).for_each(|number| drop(map.insert(key(number), Arc::new(Bomb::new(&ledger)))));
    let _open = ManuallyDrop::new(map.snapshot());
    (0..100).for_each(|number| {
        let _lost = panics(|| drop(map.insert(key(number), Arc::new(Bomb::new(&ledger)))));
    });
    (150..200).for_each(|number| {
        let _lost = panics(|| drop(map.remove(&key(number))));
    });
    assert_eq!(ledger.gone(), 2000, "the cut sees all that was displaced");
    assert!(panics(|| drop(map)));
    assert_eq!((ledger.alive(), ledger.gone()), (0, 2300));

    // In a thread that panics already nothing more comes of it.
    let map: Map<u64, Bomb> = (0..100).map(|key| (key, Bomb::new(&ledger))).collect();
    let first = catch_unwind(AssertUnwindSafe(|| {
        let _map = map;
        panic_any("the first")
    }));
    assert_eq!(first.unwrap_err().downcast_ref(), Some(&"the first"));
    assert_eq!((ledger.alive(), ledger.gone()), (0, 2400));
}

/// What begins with a look at the key ended there, if a destructor's panic came out of the look.
#[test]
fn no_first_step_ends_an_operation() {
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Bomb> = Map::with_tiny_pages();
    let new = || Bomb::new(&ledger);
    let mut panicked = 0;
    for key in 0..20_000 {
        let _lost = panics(|| drop(map.insert(u64::MAX, new())));
        // So that each operation is the one whose turn it is to look after them.
        for _ in 0..key % 31 {
            let _lost = panics(|| drop(map.get(&0)));
        }
        panicked += u32::from(panics(|| match key % 2 {
            0 => drop(map.get_or_insert_with(key, new)),
            _ => drop(map.entry(key).insert_entry(new())),
        }));
        let is_there = || assert!(map.contains_key(&key));
        assert!(!panics(is_there) || !panics(is_there), "key {key}");
        let _lost = panics(|| drop(map.remove(&key)));
    }
    assert!(panicked > 5000, "{panicked}");
    let _lost = panics(|| drop(map));
}

#[test]
fn a_panic_comes_out_of_an_operation_which_is_done() {
    let ledger = Arc::new(Ledger::default());
    let map: Map<u64, Bomb> = Map::with_tiny_pages();
    let mut panicked = 0;
    for round in 0..2000 {
        let key = round % 7;
        let new = || Bomb::new(&ledger);
        panicked += u32::from(panics(|| match round % 5 {
            0 | 1 => drop(map.insert(key, new())),
            2 => drop(map.get_or_insert_with(key, new)),
            3 => drop(map.entry(key).insert_entry(new())),
            _ => { &map }.extend([(key, new())]),
        }));
        let is_there = || assert!(map.contains_key(&key));
        assert!(!panics(is_there) || !panics(is_there), "round {round}");
        if round % 50 == 0 {
            let _lost = panics(|| map.retain(|key, _| key % 2 == 0));
            let _lost = panics(|| drop(map.pop_first()));
        }
    }
    assert!(panicked > 500, "{panicked}");
    map.check().unwrap();
    assert!(panics(|| drop(map)));
    println!("{panicked} of 2000 operations have panicked, {} values dropped", ledger.gone());
    assert_eq!(ledger.alive(), 0);
}

/// A value whose destructor runs this.
#[derive(Clone)]
struct Acting(#[expect(dead_code, reason = "held")] Arc<Action>);

struct Action(Box<dyn Fn() + Send + Sync>);

impl Drop for Action {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Acting {
    fn new(action: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Action(Box::new(action))))
    }
}

#[test]
fn destructors_run_unpinned() {
    // Whether values of another map can be dropped while one of this map's is.
    let (runs, passed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let map: Map<u64, Acting> = Map::new();
    let check = |runs: &Arc<AtomicU64>, passed: &Arc<AtomicU64>| {
        let (runs, passed) = (Arc::clone(runs), Arc::clone(passed));
        Acting::new(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let ledger = Arc::new(Ledger::default());
                    let map: Map<u64, Counted> =
                        (0..10).map(|key| (key, Counted::new(key, &ledger))).collect();
                    // Other tests are pinned now and then.
                    let started = Instant::now();
                    map.clear();
                    while ledger.alive() > 0 && started.elapsed() < Duration::from_secs(1) {
                        map.clear();
                    }
                    passed.fetch_add(u64::from(ledger.alive() == 0), Ordering::Relaxed);
                });
            });
        })
    };
    for key in 0..8 {
        map.insert(key, check(&runs, &passed));
    }
    map.insert(0, check(&runs, &passed));
    map.remove(&1);
    { &map }.extend((2..4).map(|key| (key, check(&runs, &passed))));
    map.clear();
    let snapshot = map.snapshot();
    map.insert(0, check(&runs, &passed));
    drop(snapshot);
    let session = map.session();
    for _ in 0..30 {
        session.insert(0, check(&runs, &passed));
    }
    drop(session);
    drop(map);
    let (runs, passed) = (runs.load(Ordering::Relaxed), passed.load(Ordering::Relaxed));
    assert_eq!((runs, passed), (42, 42), "destructors, and those that held nobody back");
}

#[test]
fn a_destructor_that_blocks_holds_nothing_else_back() {
    let (gate, ledger) = (Arc::new(RwLock::new(())), Arc::new(Ledger::default()));
    let map: Map<u64, (Acting, Option<Counted>)> = Map::with_tiny_pages();
    let locked = gate.write().unwrap();
    let blocked = Arc::new(AtomicU64::new(0));
    let blocking = {
        let (gate, blocked) = (Arc::clone(&gate), Arc::clone(&blocked));
        Acting::new(move || {
            blocked.fetch_add(1, Ordering::Relaxed);
            drop(gate.read());
        })
    };
    let idle = Acting::new(|| {});
    map.insert(0, (blocking, None));
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            map.remove(&0);
            // Threads of other tests may be pinned for some time.
            while blocked.load(Ordering::Relaxed) == 0 {
                (1..100).for_each(|key| drop(map.insert(key, (idle.clone(), None))));
                map.clear();
            }
        });
        let started = Instant::now();
        while blocked.load(Ordering::Relaxed) == 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "its value is not dropped");
            thread::yield_now();
        }
        // All that is displaced now is dropped here.
        for key in 0..5000 {
            let value = (idle.clone(), Some(Counted::new(key, &ledger)));
            map.insert(key % 300, value);
        }
        while ledger.alive() > 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "{} alive", ledger.alive());
            map.clear();
        }
        assert!(!other.is_finished());
        drop(locked);
    });
    assert_eq!(blocked.load(Ordering::Relaxed), 1);
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A value whose destructor puts others into its map.
#[derive(Clone)]
struct Echo(#[expect(dead_code, reason = "held")] Arc<EchoInner>);

struct EchoInner {
    map: Weak<Map<u64, Echo>>,
    left: u64,
    ledger: Arc<Ledger>,
    deepest: Arc<AtomicU64>,
}

impl Echo {
    fn new(of: &EchoInner) -> Self {
        of.ledger.alive.fetch_add(1, Ordering::Relaxed);
        let (map, ledger) = (Weak::clone(&of.map), Arc::clone(&of.ledger));
        let deepest = Arc::clone(&of.deepest);
        Self(Arc::new(EchoInner { map, left: of.left.saturating_sub(1), ledger, deepest }))
    }
}

impl Drop for EchoInner {
    fn drop(&mut self) {
        self.ledger.alive.fetch_sub(1, Ordering::Relaxed);
        DEPTH.set(DEPTH.get() + 1);
        self.deepest.fetch_max(u64::from(DEPTH.get()), Ordering::Relaxed);
        if let Some(map) = self.map.upgrade().filter(|_| self.left > 0) {
            for key in 0..5 {
                map.insert(self.left * 7 % 50 + key, Echo::new(self));
            }
            map.clear();
        }
        DEPTH.set(DEPTH.get() - 1);
    }
}

#[test]
fn a_destructor_may_use_its_own_map() {
    let ledger = Arc::new(Ledger::default());
    let deepest = Arc::new(AtomicU64::new(0));
    let map = Arc::new(Map::with_tiny_pages());
    ledger.alive.fetch_add(1, Ordering::Relaxed);
    let root = EchoInner {
        map: Arc::downgrade(&map),
        left: 6,
        ledger: Arc::clone(&ledger),
        deepest: Arc::clone(&deepest),
    };
    for round in 0..300 {
        map.insert(round % 50, Echo::new(&root));
        if round % 10 == 0 {
            map.clear();
        }
    }
    map.check().unwrap();
    drop(map);
    drop(root);
    assert_eq!(ledger.alive(), 0);
    assert_eq!(deepest.load(Ordering::Relaxed), 1, "destructors run inside one another");
}

/// A value that panics in one of eight destructors, and notices when it is dropped twice.
#[derive(Debug)]
struct Grumpy {
    is_gone: AtomicBool,
    value: Counted,
}

impl Grumpy {
    fn new(number: u64, ledger: &Arc<Ledger>) -> Self {
        Self { is_gone: AtomicBool::new(false), value: Counted::new(number, ledger) }
    }
}

impl Clone for Grumpy {
    fn clone(&self) -> Self {
        assert!(!self.is_gone.load(Ordering::Relaxed), "cloned after it was dropped");
        Self::new(self.value.0 + 1, &self.value.1)
    }
}

impl PartialEq for Grumpy {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Drop for Grumpy {
    fn drop(&mut self) {
        if self.is_gone.swap(true, Ordering::Relaxed) {
            self.value.1.twice.fetch_add(1, Ordering::Relaxed);
        }
        if self.value.0.is_multiple_of(8) && !thread::panicking() {
            panic_any(EXPECTED);
        }
    }
}

/// One operation of any kind.
fn any_step(map: &Map<u64, Grumpy>, random: &mut Random, ledger: &Arc<Ledger>) {
    let key = random.below(200);
    let new = || Grumpy::new(random_number(key), ledger);
    match random.below(18) {
        0..4 => drop(map.insert(key, new())),
        4 => drop(map.remove(&key)),
        5 => {
            let seen = map.get(&key);
            let _refused = map.compare_exchange(&key, seen.as_ref(), Some(new()));
        }
        6 => drop(map.fetch_and_update(&key, |_| Some(new()))),
        7 => drop(map.update_and_fetch(&key, |seen| seen.is_none().then(new))),
        8 => drop(map.get_or_insert_with(key, new)),
        9 => drop(map.entry(key).and_modify(|value| *value = new()).or_insert_with(new)),
        10 => drop(map.pop_first_in(key..)),
        11 => drop(map.extract_if(key..key + 20, |key, _| key % 3 == 0).collect::<Vec<_>>()),
        12 => map.retain(|number, _| !(key..key + 10).contains(number)),
        13 => drop(map.remove_range(key..key + 10)),
        14 => { map }.extend((key..key + 40).map(|key| (key, Grumpy::new(key * 3, ledger)))),
        15 => drop(map.range(key..).rev().take(9).collect::<Vec<_>>()),
        16 => {
            let session = map.session();
            for at in 0..20 {
                drop(session.insert(key + at, new()));
            }
        }
        _ => {
            let snapshot = map.snapshot();
            drop(map.insert(key, new()));
            drop(snapshot.get(&key));
        }
    }
}

fn random_number(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

#[test]
fn every_value_is_dropped_once_whoever_panics() {
    let mut random = Random::new(seed("every_value_is_dropped_once_whoever_panics"));
    let panicked = AtomicU64::new(0);
    let mut gone = 0;
    for _ in 0..6 {
        let ledger = Arc::new(Ledger::default());
        let map = Map::with_tiny_pages();
        thread::scope(|scope| {
            for _ in 0..3 {
                let (mut random, map, ledger, panicked) = (random.fork(), &map, &ledger, &panicked);
                scope.spawn(move || {
                    let mut iterator = map.iter();
                    for round in 0..1500 {
                        let call = || any_step(map, &mut random, ledger);
                        panicked.fetch_add(u64::from(panics(call)), Ordering::Relaxed);
                        if round % 100 == 0 {
                            let _lost = panics(|| iterator = map.iter());
                        }
                        let _lost = panics(|| drop(iterator.next()));
                    }
                    let _lost = panics(|| drop(iterator));
                });
            }
        });
        map.check().unwrap();
        let _last = panics(|| drop(map));
        assert_eq!((ledger.alive(), ledger.twice.load(Ordering::Relaxed)), (0, 0));
        gone += ledger.gone();
    }
    let panicked = panicked.into_inner();
    println!("{gone} values, {panicked} panics");
    assert!(gone > 10_000 && panicked > 1000);
}
