//! Trees as a crash may leave them: a parent names a page that was merged away, for the log had the
//! image of the absorber and not yet that of the parent.
//!
//! Whoever comes by takes the page out of the parent. Where it comes first there, the absorber,
//! which begins left of the parent, is cut at the parent's first key: else two parents would name
//! it. Guarded by the words of the parent and the child, in this order, as Rule P; see `smo::post`.

use super::setting::{ONE, Planted, Setting, Unlogged, join_both};
use super::{explore, start};
use crate::engine::Limits;
use Planted::{Inner, Leaf, MergedInto};
use std::sync::Arc;

type Tree = Arc<Setting<Unlogged>>;
type Pages = &'static [(u32, u8, Planted<'static>)];

/// Leaves that neither split nor merge, and inner pages that split at three children.
const LIMITS: Limits =
    Limits { leaf_bytes: 250, inner_bytes: 1, area_bytes: 2 * ONE, min_children: 2 };

/// Runs two threads on the tree, and expects these entries behind them.
fn both(
    name: &str,
    (limits, pages): (Limits, Pages),
    one: fn(&Tree),
    two: fn(&Tree),
    entries: &'static [(u8, u8)],
) {
    explore(name, move || {
        let it = Setting::as_left(limits, pages);
        let (left, right) = (Arc::clone(&it), Arc::clone(&it));
        join_both(start(move || one(&left)), start(move || two(&right)));
        it.expect(entries);
        assert_eq!(it.tree.len(), entries.len() as u64);
    });
}

fn sees(it: &Tree, key: u8) {
    assert_eq!(it.get(key), Some(1), "key {key}");
}

/// The leaf 4 was merged into 3, and the root names both. When the first leaf is split, the root is
/// cut in the middle, before the 4.
const UNDER_ONE: Pages = &[
    (1, 0, Inner(1, &[(0, 2), (30, 3), (50, 4), (70, 5), (80, 6)])),
    (2, 0, Leaf(&[10, 12, 14])),
    (3, 30, Leaf(&[30, 50])),
    (4, 50, MergedInto(3)),
    (5, 70, Leaf(&[70])),
    (6, 80, Leaf(&[80])),
];

/// The same below two parents, and the page that was merged away comes first below its own.
const UNDER_TWO: Pages = &[
    (1, 0, Inner(2, &[(0, 2), (50, 3)])),
    (2, 0, Inner(1, &[(0, 4), (30, 5)])),
    (3, 50, Inner(1, &[(50, 6), (70, 7)])),
    (4, 0, Leaf(&[10])),
    (5, 30, Leaf(&[30, 50])),
    (6, 50, MergedInto(5)),
    (7, 70, Leaf(&[70])),
];

/// One level more: the parent that comes first below its own was merged away as well.
const UNDER_THREE: Pages = &[
    (1, 0, Inner(3, &[(0, 2), (50, 3)])),
    (2, 0, Inner(2, &[(0, 4)])),
    (3, 50, Inner(2, &[(50, 5), (70, 6)])),
    (4, 0, Inner(1, &[(0, 7), (30, 8)])),
    (5, 50, MergedInto(4)),
    (6, 70, Inner(1, &[(70, 9)])),
    (7, 0, Leaf(&[10])),
    (8, 30, Leaf(&[30, 50])),
    (9, 70, Leaf(&[70])),
];

#[test]
fn a_merged_child_goes_before_its_parent_is_split() {
    let limits = Limits { leaf_bytes: 146, area_bytes: ONE, ..LIMITS };
    let put = |it: &Tree| assert_eq!(it.put(16, 1), None);
    let left = &[(10, 1), (12, 1), (14, 1), (16, 1), (30, 1), (50, 1), (70, 1), (80, 1)];
    both("crashed/split/reader", (limits, UNDER_ONE), put, |it| sees(it, 50), left);
}

#[test]
fn readers_of_what_was_merged_into_a_page_below_another_parent_find_it() {
    let left = &[(10, 1), (30, 1), (50, 1), (70, 1)];
    let reads = |it: &Tree| [50, 70].iter().for_each(|key| sees(it, *key));
    both("crashed/reader/reader", (LIMITS, UNDER_TWO), |it| sees(it, 50), reads, left);
    both("crashed/levels/reader/reader", (LIMITS, UNDER_THREE), |it| sees(it, 50), reads, left);
}

#[test]
fn writers_of_what_was_merged_into_a_page_below_another_parent_are_seen() {
    let left = &[(10, 1), (30, 1), (50, 1), (55, 2), (70, 1)];
    let put = |it: &Tree| assert_eq!(it.put(55, 2), None);
    both("crashed/writer/reader", (LIMITS, UNDER_TWO), put, |it| sees(it, 50), left);
    both("crashed/levels/writer/reader", (LIMITS, UNDER_THREE), put, |it| sees(it, 50), left);
    let left = &[(10, 1), (30, 1), (35, 2), (50, 1), (55, 2), (70, 1)];
    let near = |it: &Tree| assert_eq!(it.put(35, 2), None);
    both("crashed/writer/writer", (LIMITS, UNDER_TWO), put, near, left);
}
