//! Leaves that are emptied as a whole: each is empty or not, is counted so, and is in the commits
//! that have what came before it.
//!
//! The thread that empties has the turn to append around it, so it is the thread that syncs. A turn
//! is a lock of `std`, which loom does not see.

use super::setting::{Logged, ONE, join_both, merging, recovered};
use super::{explore, start};
use lss::io::MemoryDisk;
use std::sync::Arc;
use types::PageId;

const THREE: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30, 31]), (50, &[50])];

/// A tree of three leaves; those with these ids are evicted.
fn tree(evicted: &[u32]) -> Arc<Logged> {
    let it = Logged::new(merging(3 * ONE), THREE);
    evicted.iter().for_each(|&id| it.evict(id));
    it
}

/// Runs writes to key 30, and then to key 10, beside a thread that empties the leaf of 30 and 31,
/// and syncs. `put` is how key 30 gets value 2.
fn beside_writes(evicted: &'static [u32], put: impl Fn(&Logged) + Copy + Send + 'static) {
    let it = tree(evicted);
    let (one, two) = (Arc::clone(&it), Arc::clone(&it));
    let writer = start(move || {
        put(&one);
        one.setting.put(10, 2);
    });
    let remover = start(move || (two.empty(30, 50), two.sync()));
    let (_, (gone, disk)) = join_both(writer, remover);
    let limits = merging(3 * ONE);
    let of = |disk: &MemoryDisk| {
        let content = recovered(disk, limits);
        let value = |key| content.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        (value(10), value(30), value(31))
    };
    let (ten, thirty, next) = of(&disk);
    if gone > 0 {
        assert_eq!((gone, next), (2, None), "two keys go together");
        assert!(thirty.is_none() || thirty == Some(2), "{thirty:?}");
    } else {
        // A page that was made Partial is left to the removal of its keys.
        assert_eq!(next, Some(1));
        assert!(thirty == Some(1) || thirty == Some(2), "{thirty:?}");
    }
    let last = of(&it.sync());
    assert_eq!((last.0, last.2), (Some(2), next));
    assert!(last.1 == Some(2) || gone > 0 && last.1.is_none(), "{last:?}");
    if ten == Some(2) {
        assert_eq!(last.1, thirty, "the second put is there without the first one");
    }
    let left = [(10, last.0), (30, last.1), (31, last.2), (50, Some(1))];
    let left: Vec<(u8, u8)> =
        left.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    [2, 3, 4].iter().for_each(|&id| it.evict(id));
    it.expect(&left);
}

#[test]
fn a_leaf_in_memory_beside_puts() {
    explore("empty/resident", || {
        beside_writes(&[], |it| assert!(it.setting.put(30, 2) != Some(2)))
    });
}

#[test]
fn a_leaf_that_is_evicted_beside_puts_that_read_nothing() {
    explore("empty/evicted", || beside_writes(&[3], |it| it.put_blind(30, 2)));
}

#[test]
fn a_leaf_beside_who_reads_it() {
    explore("empty/page-in", || {
        let it = tree(&[3]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let reader = start(move || (one.setting.get(30), one.setting.get(31)));
        let remover = start(move || (two.empty(30, 50), two.sync()));
        let (seen, (gone, disk)) = join_both(reader, remover);
        assert_eq!(gone, 2);
        assert!([(Some(1), Some(1)), (Some(1), None), (None, None)].contains(&seen), "{seen:?}");
        assert_eq!(recovered(&disk, merging(3 * ONE)), [(10, 1), (50, 1)]);
        it.expect(&[(10, 1), (50, 1)]);
    });
}

#[test]
fn a_leaf_beside_its_eviction() {
    explore("empty/evict", || {
        let it = tree(&[]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let evictor = start(move || one.evict(3));
        let remover = start(move || two.empty(30, 50));
        let ((), gone) = join_both(evictor, remover);
        assert_eq!(gone, 2);
        assert_eq!(recovered(&it.sync(), merging(3 * ONE)), [(10, 1), (50, 1)]);
        it.evict(3);
        it.expect(&[(10, 1), (50, 1)]);
    });
}

#[test]
fn a_leaf_beside_its_merge() {
    explore("empty/merge", || {
        let it = tree(&[]);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let merger = start(move || one.setting.merge(PageId::new(4), 50));
        let remover = start(move || two.empty(30, 50));
        let ((), gone) = join_both(merger, remover);
        // Merged with a page that reaches beyond the range it is left to the removal of its keys.
        let left: &[(u8, u8)] = match gone {
            2 => &[(10, 1), (50, 1)],
            _ => &[(10, 1), (30, 1), (31, 1), (50, 1)],
        };
        assert!(gone == 0 || gone == 2, "{gone} entries are gone");
        assert_eq!(recovered(&it.sync(), merging(3 * ONE)), left);
        it.expect(left);
    });
}

/// The root does not name the last leaf yet, and leads to the one before with its keys.
#[test]
fn a_leaf_whose_split_is_not_posted() {
    explore("empty/post", || {
        let leaves: &[(u8, &[u8])] = &[(0, &[5]), (20, &[20]), (30, &[30])];
        let it = Logged::half_split(merging(3 * ONE), leaves);
        it.evict(3);
        let gone = it.empty(10, 40);
        assert_eq!(gone, 0, "what the page above says is inside, and the leaf is not");
        let Ok(emptied) = it.setting.engine.empty_some(&it.setting.tree, &[10], None) else {
            panic!("it fails")
        };
        assert_eq!(emptied.entries, 1);
        assert_eq!(recovered(&it.sync(), merging(3 * ONE)), [(5, 1), (30, 1)]);
        it.expect(&[(5, 1), (30, 1)]);
    });
}
