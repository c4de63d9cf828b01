//! Pairs: a record that is found by the place of its fingerprint is an answer that a walk may give.
//!
//! Guarded by the Release of the fingerprint and the Acquire of who looks for it, by the look at
//! the version, which only an installed record has, and by the walk where two records match.

use super::setting::{Setting, join_both, merging_numbers};
use super::{explore, join, start};
use crate::memory::InMemory;
use std::sync::Arc;

type Numbers = Setting<InMemory<u64>>;

/// The values that a key had, in their order, as two writers of one key tell it: each had `first`
/// or the other's value before it.
fn order(first: u8, (one, before_one): (u8, u8), (two, before_two): (u8, u8)) -> [u8; 3] {
    if before_one == first && before_two == one {
        [first, one, two]
    } else if before_two == first && before_one == two {
        [first, two, one]
    } else {
        panic!("no order of the two gives {before_one} and {before_two}")
    }
}

/// Two writers of key 10 and a reader who reads it twice.
fn written_twice(it: &Arc<Numbers>, others: &[(u8, u8)]) {
    let (one, two, three) = (Arc::clone(it), Arc::clone(it), Arc::clone(it));
    let first = start(move || one.put(10, 2));
    let second = start(move || two.put(10, 3));
    let reader = start(move || [three.get(10), three.get(10)]);
    let (first, second) = join_both(first, second);
    let seen = join(reader);
    let (Some(first), Some(second)) = (first, second) else { panic!("the key is gone") };
    let order = order(1, (2, first), (3, second));
    let rank = |value: Option<u8>| order.iter().position(|was| Some(*was) == value);
    let [Some(before), Some(after)] = seen.map(rank) else { panic!("never there: {seen:?}") };
    assert!(before <= after, "{seen:?} goes back in {order:?}");
    assert_eq!(it.get(10), Some(order[2]), "the last of {order:?}");
    it.expect(&[&[(10, order[2])], others].concat());
}

#[test]
fn a_reader_of_a_key_of_two_writers_never_goes_back() {
    explore("pairs/two writers of a key", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10])]);
        // Where a page has no record at all, none is looked for.
        it.put(20, 1);
        written_twice(&it, &[(20, 1)]);
    });
}

#[test]
fn a_reader_of_a_key_of_two_writers_never_goes_back_over_a_consolidation() {
    explore("pairs/two writers of a key/consolidate", || {
        written_twice(&Setting::of_numbers(merging_numbers(1), &[(0, &[10])]), &[]);
    });
}

#[test]
fn a_reader_sees_each_of_three_writes_in_turn() {
    explore("pairs/consolidate/reader", || {
        let it = Setting::of_numbers(merging_numbers(2), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || [2, 3, 4].map(|value| one.put(10, value)));
        let (before, seen) = join_both(writer, start(move || [two.get(10), two.get(10)]));
        assert_eq!(before, [Some(1), Some(2), Some(3)]);
        assert!(seen[0].is_some() && seen[0] <= seen[1], "reads went back: {seen:?}");
        it.expect(&[(10, 4)]);
    });
}

#[test]
fn a_removal_and_a_write_of_a_key_are_read_in_their_order() {
    explore("pairs/remove/put of one key", || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || (one.remove(10), one.put(10, 2)));
        let (had, seen) = join_both(writer, start(move || [two.get(10), two.get(10)]));
        assert_eq!(had, (Some(1), None));
        let rank = |value| [Some(1), None, Some(2)].iter().position(|was| *was == value);
        assert!(rank(seen[0]).is_some() && rank(seen[0]) <= rank(seen[1]), "{seen:?}");
        it.expect(&[(10, 2)]);
    });
}

/// Another key with the fingerprint of this one.
fn twin(key: u8) -> u8 {
    let of = |key: u8| delta::fingerprint(&u64::from(key).to_be_bytes());
    match (0..=u8::MAX).find(|&other| other != key && of(other) == of(key)) {
        Some(twin) => twin,
        None => panic!("no other key has the fingerprint of {key}"),
    }
}

#[test]
fn two_keys_of_one_fingerprint_are_told_apart() {
    let key = (0..=u8::MAX).find(|&key| {
        let of = |key: u8| delta::fingerprint(&u64::from(key).to_be_bytes());
        (key + 1..=u8::MAX).any(|other| of(other) == of(key))
    });
    let Some(key) = key else { panic!("no two keys have the same fingerprint") };
    let twin = twin(key);
    explore("pairs/two keys of one fingerprint", move || {
        let it = Setting::of_numbers(merging_numbers(6), &[(0, &[])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(key, 2));
        let second = start(move || two.put(twin, 3));
        let reader = start(move || [three.get(key), three.get(twin), three.get(key)]);
        assert_eq!(join_both(first, second), (None, None));
        let [before, other, after] = join(reader);
        assert!([None, Some(2)].contains(&before) && [None, Some(3)].contains(&other));
        assert!(after == Some(2) || after == before, "{before:?}, then {after:?}");
        let mut all = [(key, 2), (twin, 3)];
        all.sort_unstable();
        it.expect(&all);
        assert_eq!((it.get(key), it.get(twin)), (Some(2), Some(3)));
    });
}

#[test]
fn a_full_area_of_pairs_loses_no_record() {
    explore("pairs/reserve/consolidate/update", || {
        let it = Setting::of_numbers(merging_numbers(2), &[(0, &[10])]);
        it.put(20, 2);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let first = start(move || (one.put(30, 3), one.put(40, 4)));
        join_both(first, start(move || two.put(50, 5)));
        it.expect(&[(10, 1), (20, 2), (30, 3), (40, 4), (50, 5)]);
    });
}

#[test]
fn three_writers_at_the_end_of_an_area_lose_nothing() {
    explore("pairs/three reserve the last record", || {
        let it = Setting::of_numbers(merging_numbers(1), &[(0, &[])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(10, 2));
        let second = start(move || two.put(20, 3));
        let third = start(move || three.put(30, 4));
        join_both(first, second);
        join(third);
        it.expect(&[(10, 2), (20, 3), (30, 4)]);
    });
}
