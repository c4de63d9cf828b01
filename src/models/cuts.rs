//! Cuts: each commit is a prefix of history, through the real log and the real recovery.
//!
//! One thread writes, another one syncs. Whatever the disk holds after a sync must be the state
//! after some of the writes, in their order, with a sound tree and the right count of entries. The
//! sync that comes after everything has everything.

use super::setting::{Logged, ONE, join_both, lasting, merging, recovered, splitting};
use super::{explore, join, start};
use crate::engine::Limits;
use lss::io::MemoryDisk;
use std::sync::Arc;
use types::PageId;

/// What a tree holds.
type State = Vec<(u8, u8)>;

/// Runs `writes` beside `syncs` syncs. `states` are those before, between and after the writes.
fn prefixes(
    limits: Limits,
    leaves: &'static [(u8, &[u8])],
    syncs: usize,
    writes: impl Fn(&Logged) + Copy + Send + 'static,
    states: &[State],
) {
    let it = Logged::new(limits, leaves);
    let (one, two) = (Arc::clone(&it), Arc::clone(&it));
    let writer = start(move || writes(&one));
    let syncer = start(move || (0..syncs).map(|_| two.sync()).collect::<Vec<MemoryDisk>>());
    let (_, disks) = join_both(writer, syncer);
    let mut least = 0;
    for disk in disks {
        let content = recovered(&disk, limits);
        let Some(at) = states.iter().rposition(|state| *state == content) else {
            panic!("a commit with {content:?} is no prefix of the writes")
        };
        assert!(at >= least, "a later commit has less");
        least = states.iter().position(|state| *state == content).unwrap_or(at);
    }
    let content = recovered(&it.sync(), limits);
    assert_eq!(Some(&content), states.last(), "the last commit lacks something");
    it.setting.expect(&content);
}

const TWO: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30])];
const THREE: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30]), (50, &[50])];

#[test]
fn a_cut_beside_consolidations_is_a_prefix() {
    explore("cut/consolidate", || {
        let writes = |it: &Logged| {
            it.setting.put(10, 2);
            it.setting.put(30, 2);
            it.setting.put(10, 3);
        };
        let states = [(1, 1), (2, 1), (2, 2), (3, 2)].map(|(a, b)| vec![(10, a), (30, b)]);
        prefixes(lasting(ONE), TWO, 1, writes, &states);
    });
}

#[test]
fn records_that_a_consolidation_carries_are_flushed_once() {
    explore("flush/consolidate", || {
        let writes = |it: &Logged| {
            it.setting.put(20, 2);
            it.setting.remove(10);
        };
        let states =
            [vec![(10, 1), (30, 1)], vec![(10, 1), (20, 2), (30, 1)], vec![(20, 2), (30, 1)]];
        prefixes(lasting(2 * ONE), TWO, 2, writes, &states);
    });
}

#[test]
fn a_key_that_a_consolidation_carries_twice_counts_once() {
    explore("cut/carry", || {
        let writes = |it: &Logged| {
            it.setting.put(20, 2);
            it.setting.put(30, 2);
            it.setting.remove(20);
            it.setting.put(25, 3);
        };
        let states = [
            vec![(10, 1), (30, 1)],
            vec![(10, 1), (20, 2), (30, 1)],
            vec![(10, 1), (20, 2), (30, 2)],
            vec![(10, 1), (30, 2)],
            vec![(10, 1), (25, 3), (30, 2)],
        ];
        // The third record crosses seven eighths of the area, and all three are little enough to
        // be carried.
        prefixes(lasting(3 * ONE + 8), TWO, 1, writes, &states);
    });
}

#[test]
fn a_cut_beside_a_split_is_a_prefix_and_a_tree() {
    explore("cut/split", || {
        let writes = |it: &Logged| {
            it.setting.put(25, 2);
        };
        let states = [
            vec![(10, 1), (20, 1), (30, 1), (50, 1)],
            vec![(10, 1), (20, 1), (25, 2), (30, 1), (50, 1)],
        ];
        prefixes(splitting(ONE), &[(0, &[10, 20, 30]), (50, &[50])], 1, writes, &states);
    });
}

#[test]
fn a_cut_beside_a_split_of_the_root_is_a_prefix_and_a_tree() {
    explore("cut/root split", || {
        let writes = |it: &Logged| {
            it.setting.put(25, 2);
        };
        let states = [vec![(10, 1), (20, 1), (30, 1)], vec![(10, 1), (20, 1), (25, 2), (30, 1)]];
        prefixes(splitting(ONE), &[(0, &[10, 20, 30])], 1, writes, &states);
    });
}

/// A page took what a slow commit kept from being folded until it was larger than a page can be.
#[test]
fn records_that_a_cut_keeps_split_a_page_as_entries_do() {
    explore("cut/carry and split", || {
        let writes = |it: &Logged| {
            it.setting.put(20, 2);
            it.setting.put(25, 3);
            it.setting.put(15, 4);
        };
        let mut state = vec![(10, 1), (30, 1), (50, 1)];
        let mut states = vec![state.clone()];
        for (at, entry) in [(1, (20, 2)), (2, (25, 3)), (1, (15, 4))] {
            state.insert(at, entry);
            states.push(state.clone());
        }
        prefixes(splitting(ONE), &[(0, &[10, 30]), (50, &[50])], 1, writes, &states);
    });
}

#[test]
fn what_a_merge_moves_leaves_with_the_absorber() {
    explore("cut/merge", || {
        let writes = |it: &Logged| {
            it.setting.put(30, 2);
            it.setting.put(50, 2);
            it.setting.merge(PageId::new(3), 30);
        };
        let states = [(1, 1), (2, 1), (2, 2)].map(|(a, b)| vec![(10, 1), (30, a), (50, b)]);
        prefixes(merging(3 * ONE), THREE, 1, writes, &states);
    });
}

#[test]
fn removals_merge_pages_beside_a_cut() {
    explore("cut/remove and merge", || {
        let writes = |it: &Logged| {
            it.setting.remove(30);
            it.setting.put(10, 2);
        };
        let states = [vec![(10, 1), (30, 1)], vec![(10, 1)], vec![(10, 2)]];
        prefixes(merging(ONE), TWO, 1, writes, &states);
    });
}

#[test]
fn a_write_that_was_seen_is_in_every_commit_with_what_followed_from_it() {
    explore("cut/cause and effect", || {
        let limits = lasting(3 * ONE);
        let it = Logged::new(limits, TWO);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let cause = start(move || one.setting.put(10, 2));
        let effect = start(move || {
            if let Some(seen) = two.setting.get(10) {
                two.setting.put(30, seen + 1);
            }
        });
        let disk = join(start(move || three.sync()));
        join_both(cause, effect);
        let content = recovered(&disk, limits);
        assert_ne!(content, [(10, 1), (30, 3)], "the effect is there without its cause");
    });
}

#[test]
fn a_merge_a_write_and_a_cut_at_once() {
    explore("cut/merge/write", || {
        let limits = merging(3 * ONE);
        let it = Logged::new(limits, TWO);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let merger = start(move || one.setting.merge(PageId::new(3), 30));
        let writer = start(move || two.setting.put(30, 2));
        let disk = join(start(move || three.sync()));
        join_both(merger, writer);
        let content = recovered(&disk, limits);
        assert!([[(10, 1), (30, 1)], [(10, 1), (30, 2)]].iter().any(|state| content == state));
        assert_eq!(recovered(&it.sync(), limits), [(10, 1), (30, 2)]);
        it.setting.expect(&[(10, 1), (30, 2)]);
    });
}

#[test]
fn the_id_of_a_buried_page_is_free_only_when_the_log_knows() {
    explore("cut/bury and free/write", || {
        let limits = merging(3 * ONE);
        let it = Logged::new(limits, TWO);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || {
            one.setting.put(30, 2);
            one.setting.merge(PageId::new(3), 30);
        });
        let syncer = start(move || {
            let first = two.sync();
            (first, two.free_buried(), two.sync())
        });
        let (_, (first, _, second)) = join_both(writer, syncer);
        for disk in [first, second] {
            let content = recovered(&disk, limits);
            assert!([[(10, 1), (30, 1)], [(10, 1), (30, 2)]].iter().any(|state| content == state));
        }
        for _ in 0..2 {
            it.free_buried();
            assert_eq!(recovered(&it.sync(), limits), [(10, 1), (30, 2)]);
        }
        it.setting.expect(&[(10, 1), (30, 2)]);
    });
}
