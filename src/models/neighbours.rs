//! Neighbours: a search that passes empty pages sees one moment of all of them.
//!
//! Guarded by the second load of the words of the pages that were passed, in `engine::neighbour`.

use super::setting::{ONE, Setting, join_both, lasting, merging};
use super::{explore, start};
use crate::engine::{End, Store};
use core::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;
use types::PageId;

const RIGHT: PageId = PageId::new(3);

/// The key at one end of the tree.
fn outermost<S: Store<Error = Infallible>>(it: &Setting<S>, end: End) -> Option<u8> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    match it.engine.end_of(&it.tree, all, end, |key, _| key.to_vec()[0]) {
        Ok(key) => key,
        Err(never) => match never {},
    }
}

#[test]
fn the_first_entry_is_found_while_it_moves_to_a_page_that_was_passed() {
    explore("neighbour/first", || {
        let it = Setting::in_memory(lasting(4 * ONE), &[(0, &[]), (50, &[50])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(20, 2), one.remove(50)));
        let (_, first) = join_both(writer, start(move || outermost(&two, End::First)));
        assert!(matches!(first, Some(20 | 50)), "there always is an entry: {first:?}");
        it.expect(&[(20, 2)]);
    });
}

#[test]
fn the_last_entry_is_found_while_it_moves_to_a_page_that_was_passed() {
    explore("neighbour/last", || {
        let it = Setting::in_memory(lasting(4 * ONE), &[(0, &[10]), (50, &[])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(60, 2), one.remove(10)));
        let (_, last) = join_both(writer, start(move || outermost(&two, End::Last)));
        assert!(matches!(last, Some(10 | 60)), "there always is an entry: {last:?}");
        it.expect(&[(60, 2)]);
    });
}

#[test]
fn an_entry_is_found_while_its_page_is_merged_into_the_one_that_was_passed() {
    explore("neighbour/merge", || {
        let it = Setting::in_memory(merging(3 * ONE), &[(0, &[]), (50, &[50])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let merger = start(move || one.merge(RIGHT, 50));
        let (_, first) = join_both(merger, start(move || outermost(&two, End::First)));
        assert_eq!(first, Some(50));
        it.expect(&[(50, 1)]);
    });
}
