//! Partial pages: a write that reads nothing is in its page, once, and counted.
//!
//! Guarded by the token that the CAS of the first such write names, which is loaded before the page
//! above; by the evictor's look at that page; by the CAS that names the newest record, of whoever
//! brings the page in or evicts it; and by the count that stands in the word.

use super::setting::{Logged, ONE, ROOT, Setting, join_both, merging, recovered};
use super::{explore, join, start};
use crate::paging::fetch::bring;
use std::sync::Arc;
use types::PageId;

const TWO: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30])];

/// A tree of two leaves, of which the first is evicted.
fn evicted() -> Arc<Logged> {
    let it = Logged::new(merging(3 * ONE), TWO);
    it.evict(2);
    it
}

/// What is in the tree is in the log after a sync, and after the page was evicted again.
fn expect_all(it: &Logged, entries: &[(u8, u8)]) {
    assert_eq!(recovered(&it.sync(), merging(3 * ONE)), entries);
    it.evict(2);
    it.expect(entries);
}

#[test]
fn two_writes_that_read_nothing_are_both_there() {
    explore("partial/two", || {
        let it = evicted();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        join_both(start(move || one.put_blind(10, 2)), start(move || two.put_blind(11, 3)));
        expect_all(&it, &[(10, 2), (11, 3), (30, 1)]);
    });
}

#[test]
fn a_write_beside_one_who_reads_the_page_is_there() {
    explore("partial/page-in", || {
        let it = evicted();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.put_blind(10, 2));
        let reader = start(move || two.setting.get(10));
        let ((), seen) = join_both(writer, reader);
        assert!(seen == Some(1) || seen == Some(2), "{seen:?}");
        assert_eq!(it.setting.get(10), Some(2));
        expect_all(&it, &[(10, 2), (30, 1)]);
    });
}

#[test]
fn a_write_beside_an_eviction_and_a_sync_is_there() {
    explore("partial/evict/sync", || {
        let it = evicted();
        it.put_blind(11, 2);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let evictor = start(move || one.evict(2));
        let writer = start(move || two.put_blind(12, 3));
        join(start(move || three.sync()));
        join_both(evictor, writer);
        it.evict(2);
        expect_all(&it, &[(10, 1), (11, 2), (12, 3), (30, 1)]);
    });
}

#[test]
fn a_commit_beside_one_who_reads_the_page_counts_it_once() {
    explore("partial/sync/page-in", || {
        let it = evicted();
        it.put_blind(10, 2);
        it.put_blind(11, 3);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || two.setting.get(11));
        join_both(start(move || one.sync()), reader);
        it.evict(2);
        it.put_blind(12, 4);
        expect_all(&it, &[(10, 2), (11, 3), (12, 4), (30, 1)]);
    });
}

/// The root does not name the last leaf yet, so it leads to the one before with keys that are not
/// that one's.
#[test]
fn a_write_does_not_get_to_a_page_whose_split_is_not_posted() {
    explore("partial/post", || {
        let it = Logged::half_split(merging(3 * ONE), &[(0, &[5]), (20, &[20]), (30, &[30])]);
        it.evict(3);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let poster = start(move || {
            let Setting { engine, tree } = &one.setting;
            assert!(bring(engine, PageId::new(3)).is_ok());
            assert!(engine.post(tree, ROOT, &[30], PageId::new(4), &engine.pin()).is_ok());
            one.evict(3);
        });
        join_both(poster, start(move || two.put_blind(31, 2)));
        it.setting.expect(&[(5, 1), (20, 1), (30, 1), (31, 2)]);
        assert_eq!(it.setting.get(31), Some(2));
    });
}
