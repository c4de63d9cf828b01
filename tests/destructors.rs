//! Whatever the code of a user does, each value is dropped once, and no page owns one that is gone.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once};

use bwtree::Map;
use bwtree::map::Entry;
use bwtree::{EncodeKey, Key, KeySink};

/// How many values are alive.
#[derive(Debug, Default)]
struct Ledger {
    alive: AtomicI64,
}

impl Ledger {
    fn alive(&self) -> i64 {
        self.alive.load(Ordering::Relaxed)
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
            std::panic::panic_any(EXPECTED);
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
