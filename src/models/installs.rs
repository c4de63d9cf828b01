//! Installs: two writers, one page, no lost update.
//!
//! Guarded by the CAS in `Table::append`, which names the head that the record was linked to, and
//! by the CAS in `Table::replace`, which names the head that the consolidation has folded.

use super::setting::{ONE, Setting, join_both, merging};
use super::{explore, start};
use std::sync::Arc;

#[test]
fn two_installs_on_one_page_are_both_there() {
    explore("install/install", || {
        let it = Setting::in_memory(merging(4 * ONE), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        join_both(start(move || one.put(20, 2)), start(move || two.put(30, 3)));
        it.expect(&[(10, 1), (20, 2), (30, 3)]);
    });
}

#[test]
fn writers_of_one_key_see_each_other_in_one_order() {
    explore("install/install of one key", || {
        let it = Setting::in_memory(merging(4 * ONE), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        match join_both(start(move || one.put(10, 2)), start(move || two.put(10, 3))) {
            (Some(1), Some(2)) => it.expect(&[(10, 3)]),
            (Some(3), Some(1)) => it.expect(&[(10, 2)]),
            seen => panic!("no order of the two gives {seen:?}"),
        }
    });
}

#[test]
fn an_update_and_a_removal_of_one_key_count_it_once() {
    explore("put/remove of one key", || {
        let it = Setting::in_memory(merging(4 * ONE), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        match join_both(start(move || one.put(10, 2)), start(move || two.remove(10))) {
            (Some(1), Some(2)) => it.expect(&[]),
            (None, Some(1)) => it.expect(&[(10, 2)]),
            seen => panic!("no order of the two gives {seen:?}"),
        }
    });
}

#[test]
fn a_full_area_loses_no_record() {
    explore("reserve/consolidate/update", || {
        let it = Setting::in_memory(merging(2 * ONE), &[(0, &[10])]);
        it.put(20, 2);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let first = start(move || (one.put(30, 3), one.put(40, 4)));
        join_both(first, start(move || two.put(50, 5)));
        it.expect(&[(10, 1), (20, 2), (30, 3), (40, 4), (50, 5)]);
    });
}

#[test]
fn a_reader_sees_each_of_two_writes_in_turn() {
    explore("consolidate/reader", || {
        let it = Setting::in_memory(merging(ONE), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let first = start(move || (one.put(10, 2), one.put(10, 3)));
        let (_, seen) = join_both(first, start(move || (two.get(10), two.get(10))));
        assert!(matches!(seen, (Some(a), Some(b)) if a <= b), "reads went back: {seen:?}");
        it.expect(&[(10, 3)]);
    });
}
