//! Keys that rise, and all that comes between them: pages that grow at their end only are searched
//! in another way than others, and go back to that as soon as something else happens to them.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bwtree::Map;
use bwtree_tests::{Random, amount, seed};

/// Mostly new keys at the end; near it what is there is changed, removed, read and scanned.
fn beside_model(map: &Map<u64, u64>, random: &mut Random, operations: u64, other: u64) {
    let mut model = BTreeMap::new();
    let mut next = 1000;
    for operation in 0..operations {
        let near = next - random.below(150).min(next);
        match random.below(other) {
            0 => assert_eq!(map.insert(near, operation), model.insert(near, operation)),
            1 => assert_eq!(map.remove(&near), model.remove(&near)),
            2 => {
                let last = model.last_key_value().map(|(key, _)| *key).unwrap_or_default();
                assert_eq!(map.remove(&last), model.remove(&last));
            }
            3 => assert_eq!(map.pop_first(), model.pop_first()),
            4 => {
                let found: Vec<(u64, u64)> = map.range(near..).take(200).collect();
                let wanted = model.range(near..).take(200).map(|(key, value)| (*key, *value));
                assert!(found.iter().copied().eq(wanted), "from {near}");
            }
            5 => {
                let before = map.snapshot();
                map.put(&next, operation);
                assert_eq!(before.get(&next), model.get(&next).copied());
                assert_eq!(before.get(&near), model.get(&near).copied());
                model.insert(next, operation);
            }
            6 => next += random.below(1000),
            _ => {
                next += 1 + random.below(3);
                assert_eq!(map.insert(next, operation), model.insert(next, operation));
            }
        }
        assert_eq!(map.get(&near), model.get(&near).copied(), "{near}");
        assert_eq!(map.get(&next), model.get(&next).copied(), "{next}");
    }
    assert_eq!(map.len(), model.len());
    assert!(map.iter().eq(model.into_iter()));
    map.check().unwrap();
}

#[test]
fn a_page_that_rises_is_as_any_other() {
    let mut random = Random::new(seed("a_page_that_rises_is_as_any_other"));
    for other in [8, 30, 200, 2000] {
        for map in [Map::new(), Map::with_tiny_pages()] {
            beside_model(&map, &mut random, amount("BWTREE_RISING", 40_000), other);
        }
    }
}

/// Threads take the next number and insert it, so that keys come a little out of order; others read
/// what was inserted last, and change it.
#[test]
fn threads_that_share_a_counter_lose_nothing() {
    for map in [Map::new(), Map::with_tiny_pages()] {
        let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let entries = amount("BWTREE_RISING", 40_000) * 2;
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        loop {
                            let key = next.fetch_add(1, Ordering::Relaxed);
                            if key >= entries {
                                return;
                            }
                            assert_eq!(map.insert(key, key * 3), None);
                            assert_eq!(map.get(&key), Some(key * 3), "{key}, just inserted");
                            if key % 50 == 7 {
                                assert_eq!(map.remove(&(key / 2 * 2 + 1)), Some(key * 3));
                                assert_eq!(map.get(&key), None, "{key}, just removed");
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let from = next.load(Ordering::Relaxed).saturating_sub(100);
                    let found: Vec<(u64, u64)> = map.range(from..).take(300).collect();
                    assert!(found.is_sorted_by(|left, right| left.0 < right.0), "{found:?}");
                    assert!(found.iter().all(|(key, value)| *value == key * 3), "{found:?}");
                }
            });
            for writer in writers {
                writer.join().unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        let left = (0..entries).filter(|key| key % 50 != 7);
        assert!(map.keys().eq(left), "{} entries", map.len());
        map.check().unwrap();
    }
}
