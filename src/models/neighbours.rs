//! Neighbours: a search that passes empty pages sees one moment of all of them.
//!
//! Guarded by the second load of the words of the pages that were passed, in `engine::neighbour`.

use super::setting::{Logged, ONE, Setting, join_both, lasting, merging};
use super::{explore, start};
use crate::engine::{End, Span, Store};
use core::fmt::Debug;
use gc::Evictable;
use std::ops::Bound;
use std::sync::Arc;
use types::PageId;

const RIGHT: PageId = PageId::new(3);

/// The key at one end of the tree.
fn outermost<S: Store<Error: Debug>>(it: &Setting<S>, end: End) -> Option<u8> {
    end_of(it, (Bound::Unbounded, Bound::Unbounded), end)
}

/// The key at one end of a range.
fn end_of<S: Store<Error: Debug>>(it: &Setting<S>, span: Span<'_>, end: End) -> Option<u8> {
    match it.engine.end_of(&it.tree, span, end, |key, _| key.to_vec()[0]) {
        Ok(key) => key,
        Err(error) => panic!("a search fails: {error:?}"),
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

/// The page on the way is away, empty, and brought in only to be given up again; what is looked for
/// is in the one that it links to, which its parent does not name.
#[test]
fn a_search_goes_by_the_right_link_of_a_page_that_comes_and_goes() {
    explore("neighbour/away", || {
        let it = Logged::half_split(lasting(4 * ONE), &[(0, &[]), (50, &[50])]);
        it.setting.engine.try_evict(2);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let evictor = start(move || one.setting.engine.try_evict(2));
        let behind = (Bound::Included(&[50_u8][..]), Bound::Unbounded);
        let search = start(move || end_of(&two.setting, behind, End::First));
        let (_, first) = join_both(evictor, search);
        assert_eq!(first, Some(50));
    });
}
