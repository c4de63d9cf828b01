//! Memory goes back: of a map that has shrunk, and of maps that are gone.
//!
//! A binary of its own, with one test: what the process has from the system is all of it.

#![cfg(all(target_os = "linux", not(any(loom, shuttle, miri, bwtree_system_pages))))]

use bwtree::Map;
use bwtree_tests::{mix as key, resident};

fn filled() -> Map<u64, u64> {
    let map = Map::new();
    for n in 0..KEYS {
        map.insert(key(n), n);
    }
    map
}

const KEYS: u64 = 1_000_000;
/// Of so many keys one stays.
const STAYS: u64 = 10;
/// Of what may be free beside a quarter: slack, two slabs that are held, garbage.
const APART: u64 = 8 << 20;

#[test]
fn a_map_that_shrinks_gives_memory_back() {
    let begin = resident();
    assert!(begin > 0, "no /proc/self/status");
    let map = filled();
    let full = resident() - begin;
    for n in (0..KEYS).filter(|n| n % STAYS != 0) {
        assert_eq!(map.remove(&key(n)), Some(n));
    }
    let shrunk = resident().saturating_sub(begin);
    let arena = mapping::arena_bytes().unwrap_or_default();
    println!("{full} bytes with {KEYS} keys, {shrunk} with {}; arena {arena}", map.len());
    assert_eq!(map.len() as u64, KEYS / STAYS);
    assert!(full < KEYS * 28, "{full} bytes for {KEYS} keys of 16 bytes");
    // A tenth of the keys, in pages that are less full, twice.
    assert!(shrunk < full / STAYS * 2 + APART, "{shrunk} bytes of {full} stay");
    assert!(arena < full / STAYS * 2 + APART, "{arena} bytes in the arena");

    drop(map);
    // The same, while pages that stay are never written again: the lowest tenth of the keys.
    let map = filled();
    map.remove_range(u64::MAX / STAYS..);
    let arena = mapping::arena_bytes().unwrap_or_default();
    println!("{arena} bytes in the arena with the lowest {} keys", map.len());
    assert!(arena < full / STAYS * 3 + APART, "{arena} bytes in the arena");

    drop(map);
    let left = mapping::arena_bytes().unwrap_or_default();
    println!("{left} bytes in the arena with no map");
    assert!(left <= APART, "{left} bytes stay in the arena");
}
