//! Lower: a root takes the place of its only child, and no key of the child is lost on the way.
//!
//! Guarded by the word Capped, as in a merge, by the intention that the root has meanwhile, and by
//! the second look at the root of who caps the child (`smo::lower`).

use super::setting::{
    Logged, ONE, ROOT, Setting, join_both, merging, merging_numbers, recovered, splitting,
    splitting_numbers,
};
use super::{explore, explore_up_to, join, start};
use crate::engine::{FoldLimit, Stop, Store};
use crate::memory::InMemory;
use crate::smo::points_at;
use delta::Base;
use mapping::Word;
use std::sync::Arc;
use types::PageId;

const CHILD: PageId = PageId::new(2);
const RIGHT: PageId = PageId::new(3);

/// A tree in memory.
type Tree = Arc<Setting<InMemory<u64>>>;

/// Runs a model in both layouts: a root over one leaf with these keys.
fn explore_both(name: &str, keys: &'static [u8], model: fn(&Tree)) {
    let leaf: &[(u8, &[u8])] = &[(0, keys)];
    let leaf = leaf.to_vec();
    let of_bytes = leaf.clone();
    explore(name, move || model(&Setting::under_a_root(splitting(ONE), &of_bytes)));
    let numbers = format!("{name} (numbers)");
    explore(&numbers, move || {
        model(&Setting::numbers_under_a_root(splitting_numbers(1), &leaf));
    });
}

fn lower<S: Store>(it: &Setting<S>) -> bool {
    let guard = it.engine.pin();
    let Ok(lower) = it.engine.lower(&it.tree, &guard) else { panic!("a page is away") };
    lower
}

/// Levels of a tree.
fn levels<S: Store>(it: &Setting<S>) -> u8 {
    let Ok(top) = it.engine.top_level(&it.tree) else { panic!("the root is away") };
    top + 1
}

#[test]
fn an_update_of_the_child_survives() {
    explore_both("lower/writer", &[10], |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        let (_, old) =
            join_both(start(move || lower(&one)), start(move || (two.put(20, 2), two.put(10, 3))));
        assert_eq!(old, (None, Some(1)));
        it.expect(&[(10, 3), (20, 2)]);
        assert_eq!(levels(it), 1);
    });
}

#[test]
fn a_child_that_is_split_goes_on_having_a_parent() {
    explore_both("lower/split", &[10, 20, 30, 40], |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        join_both(start(move || lower(&one)), start(move || (two.put(50, 2), two.put(60, 2))));
        it.expect(&[(10, 1), (20, 1), (30, 1), (40, 1), (50, 2), (60, 2)]);
    });
}

#[test]
fn a_reader_finds_the_entries_throughout() {
    explore_both("lower/reader", &[10, 30], |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        let reader = start(move || (two.get(10), two.get(30)));
        let (_, seen) = join_both(start(move || lower(&one)), reader);
        assert_eq!(seen, (Some(1), Some(1)));
        it.expect(&[(10, 1), (30, 1)]);
    });
}

#[test]
fn two_threads_lower_a_tree_once() {
    explore_both("lower/lower", &[10], |it| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        let (first, second) = join_both(start(move || lower(&one)), start(move || lower(&two)));
        assert!(first || second);
        it.expect(&[(10, 1)]);
        assert_eq!(levels(it), 1);
    });
}

/// One thread is about to cap the child; another one splits it, gives the intention up, and merges
/// the halves. No page may be capped then that nobody intends to merge.
#[test]
fn who_caps_the_child_knows_that_it_is_still_to_come_up() {
    // With two the fault that this is about is not found.
    explore_up_to(3, "lower/split and merge", || {
        let leaf: &[(u8, &[u8])] = &[(0, &[10, 30])];
        let it = Setting::under_a_root(merging(3 * ONE), leaf);
        let guard = it.engine.pin();
        let Word::Resident(root) = it.engine.table.load(ROOT, &guard) else { panic!("no root") };
        assert!(it.engine.intend(ROOT, root, CHILD, &guard));
        drop(guard);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let helper = start(move || {
            let guard = one.engine.pin();
            let _away = one.engine.help_merge(&one.tree, ROOT, CHILD, &guard);
        });
        let splitter = start(move || {
            split_in_two(&two);
            two.get(30);
            two.merge(RIGHT, 30);
        });
        join_both(helper, splitter);
        it.expect(&[(10, 1), (30, 1)]);
    });
}

/// Cuts the only leaf in two, if it still is that.
fn split_in_two(it: &Setting<InMemory<u64>>) {
    let (engine, guard) = (&it.engine, it.engine.pin());
    let Word::Resident(chain) = engine.table.load(CHILD, &guard) else { return };
    let base = Base::new(chain.base());
    let folded = engine.fold(CHILD, chain, FoldLimit::Cuts, &guard);
    let shape = base.shape(&[]);
    let points = points_at(&folded.contents, &shape, &[1]);
    let stop = Stop { id: CHILD, chain, base, parent: ROOT };
    let _away = engine.split(&it.tree, &stop, &shape, folded, &points, 0, &guard);
}

#[test]
fn a_snapshot_of_the_child_stays_as_it_is() {
    let model = |it: &Tree| {
        let (one, two) = (Arc::clone(it), Arc::clone(it));
        let writer = start(move || (one.put(10, 2), lower(&one), one.put(10, 3)));
        let cut = start(move || {
            let cut = core::mem::ManuallyDrop::new(two.engine.open()).version();
            (two.get_as_of(10, cut), two.get_as_of(10, cut))
        });
        let (_, (first, second)) = join_both(writer, cut);
        assert_eq!(first, second, "the cut has moved");
        assert!(matches!(first, Some(1..=3)));
        it.expect(&[(10, 3)]);
    };
    let leaf: &[(u8, &[u8])] = &[(0, &[10])];
    explore("lower/snapshot", move || model(&Setting::under_a_root(merging(ONE), leaf)));
    explore("lower/snapshot (numbers)", move || {
        model(&Setting::numbers_under_a_root(merging_numbers(1), leaf));
    });
}

#[test]
fn a_commit_beside_it_has_all_that_came_before() {
    explore("lower/cut", || {
        let limits = merging(3 * ONE);
        let it = Logged::under_a_root(limits, &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || {
            one.setting.put(20, 2);
            lower(&one.setting);
            one.setting.put(30, 3);
        });
        let (_, disk) = join_both(writer, start(move || two.sync()));
        let states = [vec![(10, 1)], vec![(10, 1), (20, 2)], vec![(10, 1), (20, 2), (30, 3)]];
        let content = recovered(&disk, limits);
        assert!(states.contains(&content), "{content:?} is no prefix of the writes");
        let content = recovered(&it.sync(), limits);
        assert_eq!(content, states[2], "the last commit lacks something");
        it.setting.expect(&content);
        assert_eq!(levels(&it.setting), 1);
    });
}

/// The root that has absorbed its child is split, and grows again; then the child's id is free.
#[test]
fn the_id_of_the_child_is_forgotten_by_a_root_that_grows() {
    explore("lower, then split", || {
        let limits = splitting(ONE);
        let it = Logged::under_a_root(limits, &[(0, &[10, 20, 30])]);
        lower(&it.setting);
        let mut entries = vec![(10, 1), (20, 1), (30, 1)];
        let put = |key: u8, entries: &mut Vec<(u8, u8)>| {
            it.setting.put(key, 2);
            entries.push((key, 2));
        };
        [40, 50, 60].into_iter().for_each(|key| put(key, &mut entries));
        assert_eq!(levels(&it.setting), 2);
        // The word of the child leads to the root, so it is there that one looks for it.
        let guard = it.setting.engine.pin();
        let Word::Resident(root) = it.setting.engine.table.load(ROOT, &guard) else {
            panic!("no root")
        };
        assert!(Base::new(root.base()).absorbed().any(|id| id == CHILD));
        drop(guard);
        for key in [70, 80, 90, 100, 110, 120] {
            it.sync();
            it.free_buried();
            put(key, &mut entries);
        }
        it.setting.put(10, 3);
        it.setting.put(20, 3);
        entries[0].1 = 3;
        entries[1].1 = 3;
        assert_eq!(recovered(&it.sync(), limits), entries);
        it.setting.expect(&entries);
    });
}

#[test]
fn the_id_of_the_child_has_one_owner() {
    explore("lower/free", || {
        let limits = merging(3 * ONE);
        let it = Logged::under_a_root(limits, &[(0, &[10])]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let lowering = start(move || lower(&one.setting));
        let syncer = start(move || {
            two.sync();
            two.free_buried();
        });
        join(lowering);
        join(syncer);
        it.sync();
        it.free_buried();
        assert_eq!(recovered(&it.sync(), limits), [(10, 1)]);
        it.setting.expect(&[(10, 1)]);
    });
}
