//! Queues: a map is emptied from its ends, by any number of threads, whatever its pages are like.
//!
//! Four threads that took the first of 200,000 rising keys did not come to the end in a minute
//! where pages were tiny: leaves that had run empty stayed, and each search passed all of them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bwtree::Map;

/// Takes everything by four threads; says how many nanoseconds each of the first and of the last
/// quarter took.
fn drain(map: &Map<u64, u64>, last: bool) -> (u64, u64) {
    let (count, begin) = (map.len() as u64, Instant::now());
    let (taken, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    let (quarter, rest) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let pop = || if last { map.pop_last() } else { map.pop_first() };
                while let Some((key, _)) = pop() {
                    sum.fetch_add(key, Ordering::Relaxed);
                    let at = taken.fetch_add(1, Ordering::Relaxed) + 1;
                    let ns = begin.elapsed().as_nanos() as u64;
                    if ns > 20_000_000_000 {
                        break;
                    }
                    if at == count / 4 {
                        quarter.store(ns, Ordering::Relaxed);
                    } else if at == count / 4 * 3 {
                        rest.store(ns, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), count, "entries taken in 20 s");
    assert_eq!(sum.into_inner(), count * (count - 1) / 2);
    map.check().unwrap();
    assert!(map.is_empty());
    let all = begin.elapsed().as_nanos() as u64;
    (quarter.into_inner() * 4 / count, (all - rest.into_inner()) * 4 / count)
}

fn filled(count: u64, rising: bool, tiny: bool) -> Map<u64, u64> {
    let map = if tiny { Map::with_tiny_pages() } else { Map::new() };
    for at in 0..count {
        let key = if rising { at } else { count - 1 - at };
        map.insert(key, key);
    }
    map
}

#[test]
fn queues_with_tiny_pages_drain() {
    for rising in [true, false] {
        for last in [false, true] {
            let map = filled(40_000, rising, true);
            let (first, end) = drain(&map, last);
            println!(
                "rising {rising}, last {last}: {first} ns an entry at first, {end} in the end"
            );
            assert!(end < 4 * first + 20_000, "{first} ns an entry at first, {end} in the end");
        }
    }
}

#[test]
fn a_queue_that_goes_on_has_few_pages() {
    // What is taken at one end comes in at the other.
    let map = filled(5_000, true, true);
    for at in 5_000..60_000 {
        map.insert(at, at);
        assert_eq!(map.pop_first(), Some((at - 5_000, at - 5_000)));
    }
    map.check().unwrap();
    let leaves = map.leaf_count();
    assert!(leaves < 2 * filled(5_000, true, true).leaf_count(), "{leaves} leaves");
}
