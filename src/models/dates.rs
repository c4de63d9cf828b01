//! Dates: a cut of a tree in memory is one moment, for as long as it is open.
//!
//! Guarded by the order in `update` (install, then clock) against the one of who opens a cut (bump,
//! then words), by the date that a reader gives to what it returns, by the registration of a cut
//! before its bump, and by the order in which its cell and its bit are given back (A8).

use super::setting::{Setting, join_both, merging_numbers};
use super::{explore, join, start};
use crate::memory::InMemory;
use core::mem::ManuallyDrop;
use mapping::OpenCut;
use std::sync::Arc;

type Numbers = Setting<InMemory<u64>>;

/// A cut that nobody closes.
fn open(it: &Numbers) -> ManuallyDrop<OpenCut<'_>> {
    ManuallyDrop::new(it.engine.open())
}

/// The value that a key had when the clock was moved on from `cut`.
fn as_of(it: &Numbers, cut: &OpenCut<'_>, key: u8) -> Option<u8> {
    it.get_as_of(key, cut.version())
}

/// What a cut says of a key: twice the same.
fn twice(it: &Numbers, cut: &OpenCut<'_>, key: u8) -> Option<u8> {
    let first = as_of(it, cut, key);
    assert_eq!(first, as_of(it, cut, key), "the cut {} has moved", cut.version());
    first
}

#[test]
fn a_cut_of_a_page_that_is_written_stays_as_it_is() {
    explore("date/cut", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(10, 2), one.put(10, 3)));
        let cut = start(move || twice(&two, &open(&two), 10));
        let (_, seen) = join_both(writer, cut);
        assert!(matches!(seen, Some(1..=3)), "{seen:?}");
        it.expect(&[(10, 3)]);
    });
}

#[test]
fn a_cut_of_a_page_that_is_consolidated_stays_as_it_is() {
    explore("date/cut/consolidate", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(10, 2), one.put(10, 3)));
        let cut = start(move || twice(&two, &open(&two), 10));
        let (_, seen) = join_both(writer, cut);
        assert!(matches!(seen, Some(1..=3)), "{seen:?}");
        it.expect(&[(10, 3)]);
    });
}

#[test]
fn what_was_seen_before_a_cut_is_in_it() {
    explore("date/reader/cut", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.put(10, 2));
        let cut = start(move || {
            let before = two.get(10);
            (before, twice(&two, &open(&two), 10))
        });
        let (_, (before, seen)) = join_both(writer, cut);
        assert!(before <= seen, "{before:?} was there before the cut, which has {seen:?}");
    });
}

#[test]
fn what_another_reader_has_seen_is_in_no_cut_before_it() {
    explore("date/helping reader/cut", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.put(10, 2));
        let reader = start(move || two.get(10));
        let cut = start(move || {
            let cut = open(&three);
            let first = twice(&three, &cut, 10);
            (first, three.get(10), twice(&three, &cut, 10))
        });
        let (first, now, last) = join(cut);
        join_both(writer, reader);
        assert_eq!(first, last, "the cut has moved");
        assert!(first <= now, "the cut has {first:?} and a later read {now:?}");
    });
}

#[test]
fn what_began_after_a_cut_is_not_in_it() {
    explore("date/cut/effect", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10, 20])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let cut = start(move || {
            let cut = open(&one);
            one.put(20, 9);
            (twice(&one, &cut, 10), twice(&one, &cut, 20))
        });
        let writer = start(move || {
            if two.get(20) == Some(9) {
                two.put(10, 7);
            }
        });
        let (seen, ()) = join_both(cut, writer);
        assert_eq!(seen, (Some(1), Some(1)), "the cut sees what came after it");
    });
}

#[test]
fn a_cut_that_is_closed_takes_no_other_cuts_place() {
    explore("clock/open, close/open", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let other = start(move || drop(one.engine.open()));
        let cut = start(move || {
            let cut = open(&two);
            two.put(10, 2);
            two.put(10, 3);
            twice(&two, &cut, 10)
        });
        let ((), seen) = join_both(other, cut);
        assert_eq!(seen, Some(1), "a consolidation did not know of the cut");
    });
}

#[test]
fn cuts_of_two_are_both_kept() {
    explore("clock/open/open/consolidate", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let other = start(move || as_of(&one, &open(&one), 10));
        let cut = start(move || {
            let cut = open(&two);
            two.put(10, 2);
            two.put(10, 3);
            as_of(&two, &cut, 10)
        });
        let (other, seen) = join_both(other, cut);
        assert_eq!(seen, Some(1), "a consolidation did not know of the cut");
        assert!(matches!(other, Some(1..=3)), "{other:?}");
    });
}

#[test]
fn cuts_of_two_that_open_close_and_open_are_kept() {
    explore("clock/open, close, open/open/consolidate", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let other = start(move || {
            drop(one.engine.open());
            let cut = one.engine.open();
            as_of(&one, &cut, 10)
        });
        let cut = start(move || {
            let cut = open(&two);
            two.put(10, 2);
            two.put(10, 3);
            as_of(&two, &cut, 10)
        });
        let (other, seen) = join_both(other, cut);
        assert_eq!(seen, Some(1), "a consolidation did not know of the cut");
        assert!(matches!(other, Some(1..=3)), "{other:?}");
    });
}
