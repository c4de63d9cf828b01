//! Hints: what the directory names is believed only as far as the page itself says so.
//!
//! Guarded by the look at the fences and at the level of a page that a hint leads to; by the words
//! Unborn, Capped, Merged and Free, which send a search back to the root (A1, X1); and by the right
//! link, for a leaf that has been split. No id becomes free in a model (no epoch ends there), so
//! that the hints to ids that are used again are planted: they name the id that comes next.

use super::setting::{ONE, Setting, join_both, merging_numbers, splitting, splitting_numbers};
use super::{explore, join, start};
use crate::memory::InMemory;
use std::sync::Arc;
use sync::atomic::Ordering;
use types::PageId;

type Numbers = Setting<InMemory<u64>>;

/// Makes the directory name this page for a key.
fn mislead(it: &Numbers, key: u8, id: PageId) {
    let guard = it.engine.pin();
    it.tree.directory.learn(u64::from(key), id, 0, &guard);
    assert_eq!(it.tree.directory.hint(u64::from(key), &guard), Some(id));
}

/// How often a leaf was split, and how often two were merged.
fn changes(it: &Numbers) -> (u64, u64) {
    let counters = &it.engine.counters;
    (counters.splits.load(Ordering::Relaxed), counters.merges.load(Ordering::Relaxed))
}

const SPLITTING: &[(u8, &[u8])] = &[(0, &[10, 20, 30]), (50, &[50])];
/// What a split of the first of two leaves gets.
const FRESH: PageId = PageId::new(4);

#[test]
fn a_hint_to_a_leaf_that_is_split_leads_to_both_halves() {
    explore("hint/split", || {
        let it = Setting::directed(splitting_numbers(1), SPLITTING, (0, 64), &[10, 30]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(30), two.put(30, 9), two.get(10)));
        let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
        assert_eq!(seen, (Some(1), Some(1), Some(1)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 9), (50, 1)]);
        assert_eq!((it.get(10), it.get(25), it.get(30)), (Some(1), Some(2), Some(9)));
        assert!(changes(&it).0 > 0, "nothing was split");
    });
}

#[test]
fn a_hint_by_hash_to_a_leaf_that_is_split_leads_to_both_halves() {
    explore("hint by hash/split", || {
        let it = Setting::in_memory(splitting(ONE), SPLITTING);
        it.hint_by_hash(&[10, 30]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(30), two.put(30, 9), two.get(10)));
        let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
        assert_eq!(seen, (Some(1), Some(1), Some(1)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 9), (50, 1)]);
        assert_eq!((it.get(10), it.get(25), it.get(30)), (Some(1), Some(2), Some(9)));
        assert!(changes(&it).0 > 0, "nothing was split");
    });
}

#[test]
fn a_hint_to_a_leaf_that_becomes_an_inner_page_is_not_believed() {
    explore("hint/root split", || {
        let leaves = &[(0, &[10, 20, 30][..])];
        let it = Setting::directed(splitting_numbers(1), leaves, (0, 64), &[10, 30]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(30), two.put(30, 9), two.get(10)));
        let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
        assert_eq!(seen, (Some(1), Some(1), Some(1)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 9)]);
        assert!(changes(&it).0 > 0, "nothing was split");
    });
}

#[test]
fn a_hint_to_an_id_that_is_used_again_meets_no_page_before_its_split() {
    explore("hint/failed split/stale id", || {
        let it = Setting::directed(splitting_numbers(2), SPLITTING, (0, 64), &[10, 30]);
        it.put(25, 2);
        mislead(&it, 30, FRESH);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        // The second write makes the split fail that the first one must not have joined.
        let other = start(move || (two.put(30, 5), two.put(10, 4)));
        let (_, had) = join_both(start(move || one.put(20, 3)), other);
        assert_eq!(had, (Some(1), Some(1)));
        it.expect(&[(10, 4), (20, 3), (25, 2), (30, 5), (50, 1)]);
        assert!(changes(&it).0 > 0, "nothing was split");
    });
}

#[test]
fn a_hint_to_an_id_that_is_used_again_elsewhere_is_not_believed() {
    explore("hint/split elsewhere", || {
        let it = Setting::directed(splitting_numbers(1), SPLITTING, (0, 64), &[10]);
        mislead(&it, 50, FRESH);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(50), two.put(50, 9)));
        let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
        assert_eq!(seen, (Some(1), Some(1)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 1), (50, 9)]);
        assert!(changes(&it).0 > 0, "nothing was split");
    });
}

/// The middle leaf absorbs the last one. The bucket of key 100 begins before both, so that a hint
/// to the last leaf stays when the middle one is found to cover the key.
const MERGING: &[(u8, &[u8])] = &[(0, &[10]), (98, &[98]), (100, &[100])];
const LAST: PageId = PageId::new(4);

#[test]
fn a_hint_to_a_leaf_that_is_merged_away_gives_no_old_answer() {
    explore("hint/merge/reader", || {
        let it = Setting::directed(merging_numbers(3), MERGING, (0, 127), &[10]);
        mislead(&it, 100, LAST);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let merger = start(move || {
            one.merge(LAST, 100);
            one.put(100, 2);
            one.put(10, 2);
        });
        let reader = start(move || (two.get(10), two.get(100)));
        let (_, seen) = join_both(merger, reader);
        let right = matches!(seen, (Some(1), Some(1 | 2)) | (Some(2), Some(2)));
        assert!(right, "{seen:?}: key 100 was written first");
        it.expect(&[(10, 2), (98, 1), (100, 2)]);
        assert_eq!(changes(&it).1, 1, "merges");
    });
}

#[test]
fn a_hint_to_a_capped_leaf_gives_no_old_answer() {
    explore("hint/capped/reader/writer", || {
        let leaves = &[(0, &[10][..]), (98, &[98]), (100, &[120])];
        let it = Setting::directed(merging_numbers(3), leaves, (0, 127), &[10]);
        mislead(&it, 120, PageId::new(3));
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        // The writer finds the absorber by its hint, and helps no merge; the reader, who came
        // before the merge, names the leaf that is capped by now.
        let merger = start(move || one.merge(LAST, 120));
        let writer = start(move || (two.put(120, 2), two.put(10, 2)));
        let reader = start(move || (three.get(120), three.get(10), three.get(120)));
        join_both(merger, writer);
        let (first, sign, last) = join(reader);
        assert!(first <= last && (sign == Some(1) || last == Some(2)), "{first:?}, {last:?}");
        it.expect(&[(10, 2), (98, 1), (120, 2)]);
        assert_eq!(changes(&it).1, 1, "merges");
    });
}

#[test]
fn a_write_by_a_hint_survives_the_merge_of_its_leaf() {
    explore("hint/merge/writer", || {
        let it = Setting::directed(merging_numbers(3), MERGING, (0, 127), &[10]);
        mislead(&it, 100, LAST);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (two.put(100, 2), two.get(100)));
        let (_, seen) = join_both(start(move || one.merge(LAST, 100)), writer);
        assert_eq!(seen, (Some(1), Some(2)));
        it.expect(&[(10, 1), (98, 1), (100, 2)]);
    });
}

#[test]
fn a_directory_that_is_made_anew_misleads_nobody() {
    explore("hint/grow", || {
        let leaves = &[(0, &[10, 20, 30][..]), (50, &[50]), (60, &[60])];
        let it = Setting::of_numbers(splitting_numbers(1), leaves);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(30), two.get(50), two.put(30, 9)));
        let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
        assert_eq!(seen, (Some(1), Some(1), Some(1)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 9), (50, 1), (60, 1)]);
        let guard = it.engine.pin();
        assert!(it.tree.directory.memory_bytes(&guard) > 0, "no directory was made");
    });
}
