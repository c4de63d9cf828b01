//! Many keys in one call, many calls under one pin, and searches that begin at a hint: the answers
//! are those of one search after the other from the root.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bwtree::Map;
use bwtree_tests::{Random, seed};

/// A thread that is pinned and does not run, as the others here may, holds back all that is
/// unlinked meanwhile: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys of every shape that a directory likes or hates.
fn shapes(random: &mut Random, count: u64) -> Vec<Vec<u64>> {
    let mut tenants = Vec::new();
    for tenant in 0..16 {
        tenants.extend((0..count / 16).map(|n| (tenant << 40) + n));
    }
    let skewed = |n: u64| if n < 60 { 1 << n } else { u64::MAX - n * n };
    vec![
        (0..count).map(|_| random.next_u64()).collect(),
        (0..count).collect(),
        (0..count).rev().map(|n| n << 32 | random.below(1 << 32)).collect(),
        tenants,
        (0..count).map(skewed).collect(),
        (0..count).map(|n| (n % 2 * u64::MAX) ^ n).collect(),
    ]
}

#[test]
fn searches_by_hint_find_what_is_there_whatever_the_keys_are_like() {
    let _alone = alone();
    let mut random = Random::new(seed("searches_by_hint"));
    for keys in shapes(&mut random, 20_000) {
        let map = Map::new();
        let mut model = BTreeMap::new();
        for (value, key) in keys.iter().enumerate() {
            assert_eq!(map.insert(*key, value), model.insert(*key, value));
            if random.once_in(3) {
                let key = *random.pick(&keys);
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            let key = *random.pick(&keys);
            assert_eq!(map.get(&key), model.get(&key).copied());
            let beside = key.wrapping_add(random.below(3)).wrapping_sub(1);
            assert_eq!(map.get(&beside), model.get(&beside).copied());
        }
        // Emptied, pages merge, and their ids name other pages.
        for key in keys.iter().take(18_000) {
            assert_eq!(map.remove(key), model.remove(key));
        }
        for key in keys.iter().rev().take(6_000) {
            assert_eq!(map.insert(*key, 1), model.insert(*key, 1));
        }
        for key in &keys {
            assert_eq!(map.get(key), model.get(key).copied());
        }
        map.check().unwrap();
        assert!(map.iter().eq(model));
    }
}

#[test]
fn many_gets_at_once_are_gets() {
    let _alone = alone();
    let mut random = Random::new(seed("many_gets_at_once"));
    let numbers: Map<u64, u64> = (0..50_000).map(|n| (n * n, n)).collect();
    let words: Map<String, Arc<u64>> =
        (0..20_000).map(|n| (format!("word {}", n * 7), Arc::new(n))).collect();
    let fixed: Map<[u8; 8], u8> = (0..5_000_u64).map(|n| (n.to_be_bytes(), n as u8)).collect();
    for _ in 0..300 {
        let count = random.index(60);
        let keys: Vec<u64> = (0..count).map(|_| random.below(60_000).pow(2)).collect();
        let one_by_one: Vec<_> = keys.iter().map(|key| numbers.get(key)).collect();
        assert_eq!(numbers.multi_get(&keys), one_by_one);
        let session = numbers.session();
        assert_eq!(session.multi_get(&keys), one_by_one);

        let keys: Vec<String> = keys.iter().map(|n| format!("word {}", n % 150_000)).collect();
        let one_by_one: Vec<_> = keys.iter().map(|key| words.get(key)).collect();
        assert_eq!(words.multi_get(&keys), one_by_one);
        assert_eq!(words.multi_get(keys.iter().map(String::as_str)), one_by_one);

        // Bytes that no key has: too few, too many.
        let keys: Vec<Vec<u8>> = (0..count).map(|_| random.bytes(10)).collect();
        let found = fixed.multi_get(keys.iter().map(Vec::as_slice));
        for (key, found) in keys.iter().zip(found) {
            let wanted: Option<u8> =
                key.as_slice().try_into().ok().and_then(|k| fixed.get::<[u8; 8]>(k));
            assert_eq!(found, wanted);
        }
    }
}

#[test]
fn what_is_dropped_in_a_session_is_dropped_before_it_ends() {
    let _alone = alone();
    let value = Arc::new(());
    let map: Map<u64, Arc<()>> = Map::new();
    let session = map.session();
    for round in 0..2_000 {
        for key in 0..50 {
            session.insert(key, Arc::clone(&value));
        }
        session.refresh();
        // 50 live, and what a few epochs of consolidated pages hold.
        let held = Arc::strong_count(&value);
        assert!(held < 1_000, "{held} values after {round} rounds");
    }
}

/// An iterator asks for more with every page: after very many pages, no more than there is.
#[test]
fn a_long_scan_goes_on_beside_writers_of_its_page() {
    let _alone = alone();
    let map: Map<u64, u64> = Map::with_tiny_pages();
    (0..40_000).step_by(2).for_each(|key| {
        map.insert(key, key);
    });
    let mut seen = Vec::new();
    // What is inserted right behind the scan moves the rows that it goes on from.
    for (key, _) in map.range(1..) {
        seen.push(key);
        map.insert(key + 1, key);
        map.remove(&key.saturating_sub(1));
    }
    assert!(seen.is_sorted() && (2..40_000).step_by(2).all(|key| seen.binary_search(&key).is_ok()));
    assert_eq!(map.iter().count(), map.len());
    assert_eq!(map.iter().rev().count(), map.len());
}
