//! Runs of ascending keys: a leaf that is cut in three loses nothing, and nobody sees a part of it.
//!
//! Guarded as splits are, with two pages that are Unborn until the leftmost is installed; and by
//! its CAS, which fails if the leaf is not the one any more that the run was laid over.

use super::setting::{ONE, Setting, join_both, splitting};
use super::{explore, start};
use crate::engine::{Ascending, Item, Limits};
use crate::memory::InMemory;
use core::cell::Cell;
use std::sync::Arc;

type Tree = Setting<InMemory<u64>>;

const LEAVES: &[(u8, &[u8])] = &[(0, &[10, 20, 30]), (50, &[50])];
/// With these the first leaf is three.
const RUN: [u8; 3] = [12, 22, 33];
const AFTER: &[(u8, u8)] = &[(10, 1), (12, 2), (20, 1), (22, 2), (30, 1), (33, 2), (50, 1)];

/// Pages that have two entries each when they are made of a run.
fn thirds() -> Limits {
    Limits { leaf_bytes: 176, ..splitting(ONE) }
}

/// Puts the run, each key with value 2.
fn load(it: &Tree) {
    let items = [0, 1, 2].map(|at| Item { begin: at, end: at + 1, value: [2; 8] });
    let run = Ascending::Items(&RUN, &items);
    let Ok(()) = it.engine.put_ascending(&it.tree, run, &Cell::new(0));
}

#[test]
fn a_reader_sees_all_of_a_run_or_nothing() {
    explore("run/reader", || {
        let it = Setting::in_memory(thirds(), LEAVES);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        // One key of each of the three pages.
        let reader = start(move || (two.get(12), two.get(33), two.get(22), two.get(30)));
        let ((), (first, last, middle, old)) = join_both(start(move || load(&one)), reader);
        assert_eq!(old, Some(1));
        assert!(first <= last && last <= middle, "{first:?}, then {last:?}, then {middle:?}");
        it.expect(AFTER);
        assert_eq!(it.engine.table.id_limit(), 6, "two leaves more than were planted");
    });
}

#[test]
fn a_root_that_is_cut_in_three_under_a_reader() {
    explore("run over a root/reader", || {
        let it = Setting::in_memory(thirds(), &[(0, &[10, 20, 30])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (two.get(33), two.get(12), two.get(30)));
        let ((), (last, first, old)) = join_both(start(move || load(&one)), reader);
        assert_eq!(old, Some(1));
        assert!(last <= first, "{last:?}, then {first:?}");
        it.expect(&AFTER[..6]);
    });
}

#[test]
fn a_writer_of_a_key_of_the_last_page_comes_before_or_after() {
    explore("run/writer", || {
        let it = Setting::in_memory(thirds(), LEAVES);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let ((), seen) = join_both(start(move || load(&one)), start(move || two.put(33, 3)));
        let mut after = AFTER.to_vec();
        // Whoever comes later has seen the other, or replaced it.
        after[5].1 = if seen.is_some() { 3 } else { 2 };
        assert!(seen.is_none_or(|seen| seen == 2), "{seen:?}");
        it.expect(&after);
    });
}
