//! Snapshots: a cut of a tree in memory finds every key as it was, wherever its page has gone; and
//! when the last cut is closed nothing is left of what was kept.
//!
//! Guarded by the look at the registry after the records have dates, by the histories that all
//! successors of a page get, by the one date of pages that are built together, and by the looks
//! that a publisher and a closer both take at what the other does (`engine::past`).

use super::setting::{ONE, Setting, join_both, merging, merging_numbers, splitting};
use super::setting::{lasting, splitting_numbers};
use super::{explore, join, start};
use crate::engine::{Ascending, Item};
use crate::memory::InMemory;
use core::cell::Cell;
use core::mem::ManuallyDrop;
use std::sync::Arc;
use types::PageId;

type Tree = Setting<InMemory<u64>>;

const RIGHT: PageId = PageId::new(3);

/// The version of a cut that nobody closes.
fn open(it: &Tree) -> u64 {
    ManuallyDrop::new(it.engine.open()).version()
}

fn open_cuts(it: &Tree) -> Vec<u64> {
    it.engine.clock.open_cuts(&it.engine.pin())
}

/// What these keys had as of a cut: twice the same.
fn all_of<const N: usize>(it: &Tree, cut: u64, keys: [u8; N]) -> [Option<u8>; N] {
    let look = || keys.map(|key| it.get_as_of(key, cut));
    let first = look();
    assert_eq!(first, look(), "the cut {cut} has moved");
    first
}

#[test]
fn a_snapshot_of_a_page_that_is_consolidated_stays_as_it_is() {
    let model = |it: Arc<Tree>| {
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(10, 2), one.remove(10), one.put(20, 3)));
        let cut = start(move || all_of(&two, open(&two), [10, 20]));
        let (_, [ten, twenty]) = join_both(writer, cut);
        let moments = [(Some(1), None), (Some(2), None), (None, None), (None, Some(3))];
        assert!(moments.contains(&(ten, twenty)), "{ten:?} and {twenty:?}");
        it.expect(&[(20, 3)]);
    };
    explore("snapshot/consolidate", move || {
        model(Setting::in_memory(lasting(ONE), &[(0, &[10])]));
    });
    explore("snapshot/consolidate (numbers)", move || {
        model(Setting::of_numbers(merging_numbers(1), &[(0, &[10])]));
    });
}

/// Who folds a record that somebody else has installed may be the one who dates it, and only then
/// knows whether a cut needs what the record hides (A8).
#[test]
fn a_snapshot_of_a_page_with_a_record_that_another_writer_dates_stays_as_it_is() {
    explore("snapshot/put/put that consolidates", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(10, 2));
        let second = start(move || two.put(20, 3));
        let cut = start(move || open(&three));
        let (_, cut) = (join_both(first, second), join(cut));
        let [ten, twenty] = all_of(&it, cut, [10, 20]);
        assert!(matches!((ten, twenty), (Some(1 | 2), None | Some(3))), "{ten:?}, {twenty:?}");
        it.expect(&[(10, 2), (20, 3)]);
    });
}

#[test]
fn a_snapshot_of_a_page_that_is_split_stays_as_it_is() {
    let model = |it: Arc<Tree>| {
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(25, 2), one.put(30, 3)));
        let cut = start(move || all_of(&two, open(&two), [30, 25, 10]));
        let (_, seen) = join_both(writer, cut);
        let [one, two, three] = [Some(1), Some(2), Some(3)];
        let moments = [[one, None, one], [one, two, one], [three, two, one]];
        assert!(moments.contains(&seen), "{seen:?}");
        it.expect(&[(10, 1), (20, 1), (25, 2), (30, 3), (50, 1)]);
    };
    let leaves: &[(u8, &[u8])] = &[(0, &[10, 20, 30]), (50, &[50])];
    explore("snapshot/split", move || model(Setting::in_memory(splitting(ONE), leaves)));
    explore("snapshot/split (numbers)", move || {
        model(Setting::of_numbers(splitting_numbers(1), leaves));
    });
}

#[test]
fn a_snapshot_of_a_root_that_is_split_stays_as_it_is() {
    explore("snapshot/root split", || {
        let it = Setting::in_memory(splitting(ONE), &[(0, &[10, 20, 30])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(25, 2), one.put(10, 3)));
        let cut = start(move || all_of(&two, open(&two), [10, 25, 30]));
        let (_, seen) = join_both(writer, cut);
        let [one, two, three] = [Some(1), Some(2), Some(3)];
        let moments = [[one, None, one], [one, two, one], [three, two, one]];
        assert!(moments.contains(&seen), "{seen:?}");
    });
}

#[test]
fn a_snapshot_of_pages_that_are_merged_stays_as_it_is() {
    let model = |it: Arc<Tree>| {
        let before = open(&it);
        it.put(30, 2);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let merger = start(move || (one.merge(RIGHT, 30), one.put(10, 3)));
        let cut = start(move || {
            let old = all_of(&two, before, [30, 10]);
            (old, all_of(&two, open(&two), [30, 10]))
        });
        let (_, (old, new)) = join_both(merger, cut);
        assert_eq!(old, [Some(1), Some(1)]);
        assert!(new[0] == Some(2) && matches!(new[1], Some(1 | 3)), "{new:?}");
        it.expect(&[(10, 3), (30, 2)]);
    };
    let leaves: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30])];
    explore("snapshot/merge", move || model(Setting::in_memory(merging(3 * ONE), leaves)));
    explore("snapshot/merge (numbers)", move || {
        model(Setting::of_numbers(merging_numbers(3), leaves));
    });
}

/// With these the first leaf is three.
const RUN: [u8; 3] = [12, 22, 33];

/// Puts the run, each key with value 2.
fn load(it: &Tree) {
    let items = [0, 1, 2].map(|at| Item { begin: at, end: at + 1, value: [2; 8] });
    let Ok(()) = it.engine.put_ascending(&it.tree, Ascending::Items(&RUN, &items), &Cell::new(0));
}

/// A cut is opened while the run comes, and has what it has of the first page also of the last.
fn cut_a_run(it: &Arc<Tree>) {
    let (one, two) = (Arc::clone(it), Arc::clone(it));
    let cut = start(move || {
        let now = two.get(33);
        (now, all_of(&two, open(&two), [12, 33]))
    });
    let ((), (now, [first, last])) = join_both(start(move || load(&one)), cut);
    assert_eq!(first, last, "a part of the run");
    assert!(now <= last, "{now:?} was there before");
    assert_eq!(it.engine.kept_pages() > 0, last.is_none(), "kept pages");
}

#[test]
fn a_snapshot_has_all_of_a_run_or_nothing() {
    explore("snapshot/run", || {
        cut_a_run(&Setting::in_memory(splitting(ONE), &[(0, &[10, 20, 30]), (50, &[50])]));
    });
    explore("snapshot/run over a root", || {
        cut_a_run(&Setting::in_memory(splitting(ONE), &[(0, &[10, 20, 30])]));
    });
}

#[test]
fn what_a_closed_snapshot_needed_is_given_back() {
    explore("snapshot/close/consolidate", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(10, 2), one.put(10, 3)));
        let closer = start(move || {
            let cut = two.engine.open();
            two.put(10, 4);
            two.engine.close(cut);
        });
        join_both(writer, closer);
        assert_eq!(it.engine.kept_pages(), 0, "old pages are left");
    });
}

#[test]
fn what_another_snapshot_needs_is_not_given_back() {
    explore("snapshot/close/consolidate/reader", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let other = it.engine.open();
        let version = other.version();
        it.put(10, 2);
        it.put(10, 3);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.put(10, 4));
        let closer = start(move || two.engine.close(two.engine.open()));
        let reader = start(move || all_of(&three, version, [10]));
        join_both(writer, closer);
        assert_eq!(join(reader), [Some(1)]);
        it.engine.close(other);
        assert_eq!(it.engine.kept_pages(), 0, "old pages are left");
    });
}

#[test]
fn two_snapshots_that_are_closed_at_once_leave_nothing() {
    explore("snapshot/close/close", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let closer = start(move || one.engine.close(one.engine.open()));
        let writer = start(move || {
            let cut = two.engine.open();
            two.put(10, 2);
            two.engine.close(cut);
        });
        join_both(closer, writer);
        assert_eq!(it.engine.kept_pages(), 0, "old pages are left");
    });
}

#[test]
fn more_snapshots_than_the_clock_has_cells_are_all_known() {
    explore("snapshot/many/open", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        // These take the cells that a model's clock has itself.
        let cuts = [open(&it), open(&it)];
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        // Both find no cell free, and make some.
        let opener = |it: Arc<Tree>| {
            start(move || {
                let cut = open(&it);
                assert!(open_cuts(&it).contains(&cut), "an open cut is not known");
                cut
            })
        };
        let (three, four) = join_both(opener(one), opener(two));
        let mut all = [cuts[0], cuts[1], three, four];
        all.sort_unstable();
        assert_eq!(open_cuts(&it), all);
    });
}

#[test]
fn more_snapshots_than_the_clock_has_cells_are_all_kept() {
    explore("snapshot/many/consolidate", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[10])]);
        let (cuts, last) = ([open(&it), open(&it)], open(&it));
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.put(10, 2), one.put(10, 3)));
        let (_, seen) = join_both(writer, start(move || all_of(&two, last, [10])));
        assert_eq!(seen, [Some(1)]);
        assert_eq!([cuts[0], cuts[1], last].map(|cut| it.get_as_of(10, cut)), [Some(1); 3]);
    });
}
