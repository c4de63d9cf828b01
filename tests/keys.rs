//! Keys of a map: of any length up to the limit, refused beyond it, and nothing leaks.
//!
//! Keys of 64 KiB and more panicked somewhere in the middle, with messages of the inside; `extend`
//! leaked what it had collected.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bwtree::Map;
use bwtree::map::MAX_KEY_BYTES;

/// A value that is counted.
type Counted = Arc<()>;

fn text(number: usize, len: usize) -> String {
    let number = format!("{number:04}");
    // What tells keys apart is at their end.
    format!("{}{number}", "k".repeat(len.saturating_sub(number.len())))
}

/// What a call panics with.
fn panic_of(call: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn keys_of_any_length_up_to_the_limit_are_keys() {
    let map: Map<String, usize> = Map::new();
    let lens = [4, 100, 4_096, 10_000, MAX_KEY_BYTES - 1, MAX_KEY_BYTES];
    for number in 0..60 {
        for len in lens {
            assert_eq!(map.insert(text(number, len), number), None);
        }
    }
    map.check().unwrap();
    assert_eq!((map.len(), map.iter().count()), (360, 360));
    assert!(map.keys().is_sorted());
    for number in 0..60 {
        for len in lens {
            assert_eq!(map.get(&text(number, len)), Some(number));
            assert!(number % 2 == 0 || map.delete(&text(number, len)));
        }
    }
    map.check().unwrap();
    assert_eq!(map.len(), 180);
    // As `extend` builds them.
    let mut sorted: Vec<_> = map.iter().collect();
    sorted.sort();
    let loaded: Map<String, usize> = sorted.iter().cloned().collect();
    loaded.check().unwrap();
    assert!(loaded.iter().eq(sorted));
    map.clear();
    map.check().unwrap();
}

#[test]
fn longer_keys_are_refused() {
    let (map, alive) = (Map::<String, Counted>::new(), Counted::default());
    let long = text(1, MAX_KEY_BYTES + 1);
    let refused = map.try_insert(long.clone(), Arc::clone(&alive)).unwrap_err();
    assert_eq!((refused.len, Arc::strong_count(&refused.value)), (MAX_KEY_BYTES + 1, 2));
    let message = refused.to_string();
    assert_eq!(message, "a key of 32769 bytes is too long; keys of maps have at most 32768");
    drop(refused);
    let value = || Arc::clone(&alive);
    assert_eq!(panic_of(|| drop(map.insert(long.clone(), value()))), message);
    assert_eq!(panic_of(|| assert!(map.put(&long, value()))), message);
    assert_eq!(panic_of(|| drop(map.entry(long.clone()).or_insert(value()))), message);
    assert_eq!(panic_of(|| drop(map.get_or_insert_with(long.clone(), value))), message);
    assert_eq!(panic_of(|| drop(map.compare_exchange(&long, None, Some(value())))), message);
    let some = |_: Option<&Counted>| Some(value());
    assert_eq!(panic_of(|| drop(map.update_and_fetch(&long, some))), message);
    // What is not there can be looked for.
    assert_eq!((map.get(&long), map.remove(&long), map.delete(&long)), (None, None, false));
    assert_eq!(map.compare_exchange(&long, None, None), Ok(()));
    assert_eq!((map.lt(&long), map.range(long.clone()..).count()), (None, 0));
    assert_eq!((Arc::strong_count(&alive), map.len()), (1, 0));
}

/// Entries of which one panics when it comes, or has a key that is too long.
fn entries(alive: &Counted, last: usize) -> impl Iterator<Item = (String, Counted)> {
    (0..=last).map(move |at| {
        assert!(at < last || last.is_multiple_of(2), "no more");
        let len = if at < last { 8 } else { MAX_KEY_BYTES + 1 };
        (text(at, len), Arc::clone(alive))
    })
}

#[test]
fn nothing_leaks_where_entries_panic() {
    let alive = Counted::default();
    // Before any are collected, some of them, and more than a stretch of them.
    for last in [0, 1, 7, 20, 21, 3_000, 3_001, 9_000, 9_001] {
        panic_of(|| drop(entries(&alive, last).collect::<Map<_, _>>()));
        assert_eq!(Arc::strong_count(&alive), 1, "after {last} entries");
        let mut map: Map<String, Counted> = Map::new();
        panic_of(|| map.extend(entries(&alive, last)));
        assert_eq!((map.len(), Arc::strong_count(&alive)), (last, last + 1), "what had come");
        map.check().unwrap();
        drop(map);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
    let long = || text(1, MAX_KEY_BYTES + 1);
    let array = [(text(1, 5), Arc::clone(&alive)), (long(), Arc::clone(&alive))];
    panic_of(|| drop(Map::from(array)));
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// A value whose clones are counted.
struct Cloned(Arc<std::sync::atomic::AtomicU64>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn puts_and_deletions_clone_nothing() {
    let clones = Arc::<std::sync::atomic::AtomicU64>::default();
    let value = || Cloned(Arc::clone(&clones));
    let map: Map<u64, Cloned> = Map::new();
    for at in 0..1_000 {
        assert_eq!(map.put(&(at % 100), value()), at >= 100);
    }
    let snapshot = map.snapshot();
    for at in 0..200 {
        assert_eq!(map.delete(&at), at < 100);
    }
    assert_eq!((map.len(), snapshot.len()), (0, 100));
    drop(snapshot);
    drop(map);
    assert_eq!(clones.load(std::sync::atomic::Ordering::Relaxed), 0);
}
