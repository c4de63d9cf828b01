//! Splits: every key is found at every moment, and a page is nobody before a page links to it.
//!
//! Guarded by the word Unborn of the right page, which only who comes by a link makes Resident,
//! after the left page was installed (A1), and by the right link, which leads a descent on whose
//! parent has no separator yet.

use super::setting::{ONE, Setting, join_both, splitting, splitting_numbers};
use super::{explore, join, start};
use crate::memory::InMemory;
use delta::Base;
use mapping::Word;
use std::sync::Arc;
use sync::atomic::Ordering;
use types::PageId;

const LEAVES: &[(u8, &[u8])] = &[(0, &[10, 20, 30]), (50, &[50])];
const ROOT_LEAF: &[(u8, &[u8])] = &[(0, &[10, 20, 30])];
const LEFT: PageId = PageId::new(2);
/// What the split of `LEFT` gets.
const FRESH: PageId = PageId::new(4);

/// A tree in memory.
type Tree = Arc<Setting<InMemory<u64>>>;

/// A write splits the first leaf while its first and its last key are read.
fn read_while_split(it: &Tree, others: &[(u8, u8)]) {
    let (one, two) = (Arc::clone(it), Arc::clone(it));
    let reader = start(move || (two.get(10), two.get(30)));
    let (_, seen) = join_both(start(move || one.put(25, 2)), reader);
    assert_eq!(seen, (Some(1), Some(1)));
    it.expect(&[&[(10, 1), (20, 1), (25, 2), (30, 1)], others].concat());
    assert_eq!(it.engine.counters.splits.load(Ordering::Relaxed), 1, "splits");
}

#[test]
fn a_reader_finds_both_halves_throughout() {
    explore("split/reader", || {
        read_while_split(&Setting::in_memory(splitting(ONE), LEAVES), &[(50, 1)]);
    });
    explore("split/reader (numbers)", || {
        read_while_split(&Setting::of_numbers(splitting_numbers(1), LEAVES), &[(50, 1)]);
    });
}

#[test]
fn the_root_splits_under_a_reader() {
    explore("root split/reader", || {
        read_while_split(&Setting::in_memory(splitting(ONE), ROOT_LEAF), &[]);
    });
    explore("root split/reader (numbers)", || {
        read_while_split(&Setting::of_numbers(splitting_numbers(1), ROOT_LEAF), &[]);
    });
}

/// Two writes, each of which makes the first leaf too large.
fn split_by_both(it: &Tree, others: &[(u8, u8)]) {
    let (one, two) = (Arc::clone(it), Arc::clone(it));
    join_both(start(move || one.put(25, 2)), start(move || two.put(35, 3)));
    it.expect(&[&[(10, 1), (20, 1), (25, 2), (30, 1), (35, 3)], others].concat());
}

#[test]
fn two_writers_that_both_split_lose_nothing() {
    explore("split/writer", || {
        split_by_both(&Setting::in_memory(splitting(ONE), LEAVES), &[(50, 1)]);
    });
    explore("split/writer (numbers)", || {
        split_by_both(&Setting::of_numbers(splitting_numbers(1), LEAVES), &[(50, 1)]);
    });
}

#[test]
fn two_writers_that_both_split_the_root_lose_nothing() {
    explore("root split/writer", || {
        split_by_both(&Setting::in_memory(splitting(ONE), ROOT_LEAF), &[]);
    });
    explore("root split/writer (numbers)", || {
        split_by_both(&Setting::of_numbers(splitting_numbers(1), ROOT_LEAF), &[]);
    });
}

/// A page that is met by its id is linked to from the left.
fn meets_by_id<S: crate::engine::Store>(it: &Setting<S>) {
    let guard = it.engine.pin();
    if !matches!(it.engine.table.load(FRESH, &guard), Word::Resident(_)) {
        return;
    }
    let mut id = LEFT;
    while id != FRESH {
        assert!(id.is_some(), "page {FRESH} is Resident and no page links to it");
        let Word::Resident(chain) = it.engine.table.load(id, &guard) else {
            panic!("page {id} is linked to and not Resident")
        };
        id = Base::new(chain.base()).right();
    }
}

#[test]
fn who_knows_the_id_alone_meets_no_page_before_its_split() {
    explore("split/stale id", || {
        let it = Setting::in_memory(splitting(ONE), LEAVES);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        join_both(start(move || one.put(25, 2)), start(move || meets_by_id(&two)));
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 1), (50, 1)]);
    });
}

#[test]
fn a_split_that_fails_was_never_there() {
    explore("failed split/stale id", || {
        let it = Setting::in_memory(splitting(2 * ONE), LEAVES);
        it.put(25, 2);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(30, 3));
        let second = start(move || two.put(10, 4));
        let third = start(move || meets_by_id(&three));
        join_both(first, second);
        join(third);
        it.expect(&[(10, 4), (20, 1), (25, 2), (30, 3), (50, 1)]);
    });
}
