//! Stamps: a record stamped `v` is in every cut `>= v` (I13), and no cut sees the future (A8).
//!
//! Guarded by the order in `mapping::stamp` (`listed`, fence, clock; push, then `listed`), by the
//! fence in `Clock::open`, by the drain that leaves later intervals on the list, and by the order
//! in `Engine::fold` (stamp, then read the registry of cuts).

use super::setting::{ONE, ROOT, Setting, Unlogged, join_both, merging};
use super::{explore, join, start};
use core::mem::ManuallyDrop;
use mapping::Word;
use std::sync::Arc;

/// A cut, and the values of the records that it has collected.
#[derive(Debug)]
struct Collected {
    version: u64,
    values: Vec<u8>,
}

/// Cuts as a sync does: bump, drain, and each page's records as of the cut.
fn cut(it: &Setting<Unlogged>) -> Collected {
    let open = it.engine.clock.open(&it.engine.pin());
    let version = open.version();
    let mut values = Vec::new();
    for id in it.engine.dirty.drain(version) {
        let guard = it.engine.pin();
        let Word::Resident(chain) = it.engine.table.load(id, &guard) else {
            panic!("the only page is gone")
        };
        let seen = it.engine.versioned(id, chain);
        let seen = seen.iter().filter(|(at, _)| *at <= version);
        values.extend(seen.map(|(_, record)| record.value[0]));
    }
    Collected { version, values }
}

/// I13, for all records of the page and all cuts, oldest first.
fn expect_collected(it: &Setting<Unlogged>, cuts: &[Collected]) {
    let guard = it.engine.pin();
    let Word::Resident(chain) = it.engine.table.load(ROOT, &guard) else { panic!("no page") };
    for (version, record) in it.engine.versioned(ROOT, chain) {
        let value = record.value[0];
        for (at, cut) in cuts.iter().enumerate().filter(|(_, cut)| version <= cut.version) {
            let collected = cuts[..=at].iter().any(|cut| cut.values.contains(&value));
            let cut = cut.version;
            assert!(collected, "value {value} with version {version} is not in cut {cut}");
        }
    }
}

/// A page that has a record, and is listed for the running interval.
fn listed() -> Arc<Setting<Unlogged>> {
    let it = Setting::unlogged(merging(8 * ONE), &[(0, &[])]);
    it.put(10, 2);
    it
}

#[test]
fn a_write_is_in_every_cut_not_before_it() {
    explore("stamp/cut", || {
        let it = listed();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let (_, cut) = join_both(start(move || one.put(10, 3)), start(move || cut(&two)));
        expect_collected(&it, &[cut]);
    });
}

#[test]
fn a_write_is_in_one_of_two_cuts() {
    explore("stamp/two cuts", || {
        let it = listed();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let cuts = start(move || [cut(&two), cut(&two)]);
        let (_, cuts) = join_both(start(move || one.put(10, 3)), cuts);
        expect_collected(&it, &cuts);
    });
}

#[test]
fn a_reader_that_stamps_for_the_writer_is_no_exception() {
    explore("stamp/helping reader/cut", || {
        let it = listed();
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.put(10, 3));
        let reader = start(move || two.get(10));
        let cut = join(start(move || cut(&three)));
        join_both(writer, reader);
        expect_collected(&it, &[cut]);
    });
}

#[test]
fn two_writers_stamp_for_each_other() {
    explore("stamp/stamp/cut", || {
        let it = listed();
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(10, 3));
        let second = start(move || two.put(20, 4));
        let cut = join(start(move || cut(&three)));
        join_both(first, second);
        expect_collected(&it, &[cut]);
    });
}

#[test]
fn two_writers_and_two_cuts() {
    explore("stamp/stamp/two cuts", || {
        let it = Setting::unlogged(merging(8 * ONE), &[(0, &[])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(10, 3));
        let second = start(move || two.get(10));
        let cuts = join(start(move || [cut(&three), cut(&three)]));
        join_both(first, second);
        expect_collected(&it, &cuts);
    });
}

/// Opens a cut that nobody closes.
fn open_for_ever(it: &Setting<Unlogged>) -> u64 {
    let open = it.engine.clock.open(&it.engine.pin());
    ManuallyDrop::new(open).version()
}

#[test]
fn consolidation_folds_nothing_that_an_open_cut_does_not_see() {
    explore("consolidate/cut", || {
        let it = Setting::unlogged(merging(2 * ONE), &[(0, &[])]);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let first = start(move || one.put(10, 2));
        let second = start(move || two.put(20, 3));
        let third = start(move || open_for_ever(&three));
        join_both(first, second);
        let cut = join(third);
        let guard = it.engine.pin();
        let Word::Resident(chain) = it.engine.table.load(ROOT, &guard) else { panic!("no page") };
        let folded = chain.page().base_version();
        assert!(folded <= cut, "version {folded} was folded under the open cut {cut}");
        it.expect(&[(10, 2), (20, 3)]);
    });
}
