//! Merges: no update goes to a page that was absorbed, and no parent names a buried page.
//!
//! Guarded by the word Capped, which is set before the absorb and takes no record; by the order of
//! the steps in `smo::merge`; and by Rule P in `smo::post`.

use super::setting::{ONE, ROOT, Setting, join_both, merging, merging_numbers};
use super::{explore, join, start};
use crate::memory::InMemory;
use std::sync::Arc;
use types::PageId;

const LEAVES: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30])];
const RIGHT: PageId = PageId::new(3);

/// A tree in memory.
type Tree = Arc<Setting<InMemory<u64>>>;

/// Runs a model in both layouts.
fn explore_both(name: &str, model: fn(&Tree)) {
    explore(name, move || model(&Setting::in_memory(merging(3 * ONE), LEAVES)));
    let numbers = format!("{name} (numbers)");
    explore(&numbers, move || model(&Setting::of_numbers(merging_numbers(3), LEAVES)));
}

#[test]
fn an_update_of_the_right_page_survives_its_merge() {
    explore_both("merge/writer of the right page", |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        join_both(start(move || one.merge(RIGHT, 30)), start(move || two.put(40, 2)));
        it.expect(&[(10, 1), (30, 1), (40, 2)]);
    });
}

#[test]
fn an_update_of_the_left_page_survives_the_absorb() {
    explore_both("merge/writer of the left page", |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        join_both(start(move || one.merge(RIGHT, 30)), start(move || two.put(20, 2)));
        it.expect(&[(10, 1), (20, 2), (30, 1)]);
    });
}

#[test]
fn a_reader_finds_both_pages_entries_throughout() {
    explore_both("merge/reader", |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        let reader = start(move || (two.get(10), two.get(30)));
        let (_, seen) = join_both(start(move || one.merge(RIGHT, 30)), reader);
        assert_eq!(seen, (Some(1), Some(1)));
        it.expect(&[(10, 1), (30, 1)]);
    });
}

#[test]
fn two_threads_that_merge_the_same_pages_do_it_once() {
    explore_both("merge/merge", |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        join_both(start(move || one.merge(RIGHT, 30)), start(move || two.merge(RIGHT, 30)));
        it.expect(&[(10, 1), (30, 1)]);
    });
}

/// Both pages run empty.
fn remove_both(it: &Tree) {
    let (one, two) = (Arc::clone(it), Arc::clone(it));
    join_both(start(move || one.remove(10)), start(move || two.remove(30)));
    it.expect(&[]);
}

#[test]
fn removals_empty_pages_and_merge_them() {
    explore("remove/remove", || remove_both(&Setting::in_memory(merging(ONE), LEAVES)));
    explore("remove/remove (numbers)", || {
        remove_both(&Setting::of_numbers(merging_numbers(1), LEAVES));
    });
}

/// A separator that a split did not post is posted while its page is merged away.
fn post_late(it: &Tree, separator: &'static [u8]) {
    let (one, two) = (Arc::clone(it), Arc::clone(it));
    let late = start(move || {
        let guard = one.engine.pin();
        let _away = one.engine.post(&one.tree, ROOT, separator, RIGHT, &guard);
    });
    let merger = start(move || {
        let guard = two.engine.pin();
        let _away = two.engine.post(&two.tree, ROOT, separator, RIGHT, &guard);
        two.merge(RIGHT, 30);
    });
    join(late);
    join(merger);
    it.expect(&[(10, 1), (30, 1)]);
}

#[test]
fn a_separator_that_comes_late_names_no_buried_page() {
    explore("late post/merge", || {
        post_late(&Setting::half_split(merging(3 * ONE), LEAVES), &[30]);
    });
    explore("late post/merge (numbers)", || {
        let it = Setting::half_split_numbers(merging_numbers(3), LEAVES);
        post_late(&it, &[0, 0, 0, 0, 0, 0, 0, 30]);
    });
}
