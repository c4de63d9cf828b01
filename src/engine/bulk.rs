//! Many entries in ascending order: leaves are built of them, not changed by them.
//!
//! A run of entries is put leaf by leaf. The part of it that lies inside the fences of a leaf is
//! one step:
//!
//! 1. Load the word of the leaf; fold its chain, and lay the part over it. What comes of that is
//!    one page, or, where it is too large, several that are nearly full.
//! 2. Give all but the leftmost fresh ids, from right to left, each linked to the next, the last
//!    one to where the leaf was linked to. They are Unborn: nobody knows their ids.
//! 3. CAS the leaf's word to the leftmost page. Lost: nobody can know the fresh ids, so they and
//!    their pages are given back; look again. Here all entries of the part come into being.
//! 4. Deliver the others: Unborn -> Resident. Then post their separators, those of one parent by
//!    one CAS.
//!
//! It is a split (`smo::split`) into more pages than two, and right for the same reasons. Before
//! step 3 nothing has changed. From then on the pages partition the range of the leaf, and high key
//! and right link of each lead to the next (I11), so every key is found (I4): by a reader that
//! comes to the leftmost page and goes right, and that delivers what it meets Unborn by the link
//! of an installed page (A1). The separators only make the way shorter. Each fresh id has one
//! link, that of its left neighbour (I12). A leaf that is the root becomes, by the CAS of step 3,
//! an inner page over all of them, which are Unborn until then, with levels between them if they
//! are too many.
//!
//! Who has loaded the old word goes on with the old page, as beside a consolidation: a reader's
//! answer is of the moment of its load, and a writer's CAS fails. So it is step 3 that decides
//! which values the part displaces: those that the fold of *this* word has found. They are its
//! winner's, who counts them and gives them to the store.
//!
//! Like a record, the pages are dated after their CAS: they are published without a base version,
//! and get one, all the same, from whoever meets one of them first (`past`). So a cut has all of a
//! part or nothing. A log would want to know the version before; so this is for trees in memory
//! only.
//!
//! Few keys in a leaf go the ordinary way, for a record is less than a copy of a page; and so do
//! some where writers of the same leaf were always faster: a record takes its chance every few
//! instructions.

use super::descent::{Away, Stop};
use super::{Change, Decision, Engine, FoldLimit, Folded, Found, Store, TreeCore, handle_of};
use crate::smo::points_at;
use core::cell::Cell;
use delta::{Contents, Entry, Hashed, Number};
use sync::epoch::Guard;

/// From how many keys on in a leaf the leaf is built anew.
#[cfg(not(loom))]
const FEW: usize = 8;
#[cfg(loom)]
const FEW: usize = 2;

/// Lost races for one leaf after which some of its keys are put one by one.
const PATIENCE: u32 = 3;

/// How many that are.
const SOME: usize = 32;

/// A key of a run, as a range of the bytes of all, and its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) value: [u8; 8],
}

/// Entries whose keys ascend strictly, in the layout of the tree that they are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ascending<'a> {
    /// Keys and values of eight bytes each.
    Rows(&'a [[u8; 16]]),
    /// Keys of any length, one behind the other.
    Items(&'a [u8], &'a [Item]),
}

impl<'a> Ascending<'a> {
    fn len(self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Items(_, items) => items.len(),
        }
    }

    fn key(self, at: usize) -> &'a [u8] {
        match self {
            Self::Rows(rows) => &rows[at][..8],
            Self::Items(keys, items) => &keys[items[at].begin..items[at].end],
        }
    }

    fn value(self, at: usize) -> &'a [u8] {
        match self {
            Self::Rows(rows) => &rows[at][8..],
            Self::Items(_, items) => &items[at].value,
        }
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Rows(rows) => {
                let (left, right) = rows.split_at(at);
                (Self::Rows(left), Self::Rows(right))
            }
            Self::Items(keys, items) => {
                let (left, right) = items.split_at(at);
                (Self::Items(keys, left), Self::Items(keys, right))
            }
        }
    }

    /// How many of the keys are below this one; `None` is beyond the last key.
    fn count_below(self, high: Option<&[u8]>) -> usize {
        let Some(high) = high else { return self.len() };
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.key(middle) < high { from = middle + 1 } else { to = middle }
        }
        from
    }

    fn contents(self) -> Contents<'a> {
        match self {
            Self::Rows(rows) => Contents::rows(rows),
            Self::Items(..) => {
                let entry = |at| Entry::new(self.key(at), self.value(at));
                Contents::Entries((0..self.len()).map(entry).collect())
            }
        }
    }
}

/// What has become of the first keys of a run.
enum Step {
    /// That many are put.
    Done(usize),
    /// That many are to be put one by one.
    Singly(usize),
    /// Another thread was faster.
    Lost(usize),
}

impl<S: Store> Engine<S> {
    /// Puts every entry, in order. `taken` counts those whose values are the tree's by now.
    ///
    /// LINEARIZES: the part of each leaf by itself, from left to right, at the CAS of the leaf's
    /// word, or each of its keys at its own.
    pub(crate) fn put_ascending(
        &self,
        tree: &TreeCore,
        run: Ascending<'_>,
        taken: &Cell<usize>,
    ) -> Result<(), S::Error> {
        debug_assert!(!S::DURABLE, "a log dates no pages");
        let (mut rest, mut lost) = (run, 0);
        while rest.len() > 0 {
            let step = if rest.len() < FEW {
                Step::Singly(rest.len())
            } else {
                self.retrying(|guard| self.put_into_leaf(tree, rest, taken, guard))?
            };
            let count = match step {
                Step::Done(count) => count,
                Step::Lost(_) if lost < PATIENCE => {
                    lost += 1;
                    continue;
                }
                Step::Singly(count) => self.put_singly(tree, rest, count, taken)?,
                Step::Lost(count) => self.put_singly(tree, rest, count.min(SOME), taken)?,
            };
            (rest, lost) = (rest.split_at(count).1, 0);
        }
        Ok(())
    }

    /// Puts the first `count` entries one by one.
    fn put_singly(
        &self,
        tree: &TreeCore,
        run: Ascending<'_>,
        count: usize,
        taken: &Cell<usize>,
    ) -> Result<usize, S::Error> {
        for at in 0..count {
            let change = Change::Put { flags: 0, value: run.value(at) };
            let put = |_: Option<Found<'_>>| Decision::Write(change, ());
            match run {
                Ascending::Rows(rows) => self.update(tree, number(&rows[at]), put, taken)?,
                Ascending::Items(..) => self.update(tree, Hashed::new(run.key(at)), put, taken)?,
            }
        }
        Ok(count)
    }

    /// Puts what lies inside the leaf of the first key.
    fn put_into_leaf(
        &self,
        tree: &TreeCore,
        run: Ascending<'_>,
        taken: &Cell<usize>,
        guard: &Guard,
    ) -> Result<Step, Away> {
        let leaf = match run {
            Ascending::Rows(rows) => self.leaf(tree, number(&rows[0]), guard)?,
            Ascending::Items(..) => self.leaf(tree, run.key(0), guard)?,
        };
        let count = run.count_below(leaf.base.high());
        if count < FEW {
            return Ok(Step::Singly(count));
        }
        Ok(self.lay_over(tree, &leaf, run.split_at(count).0, taken, guard))
    }

    /// Replaces a leaf by pages that have these entries as well.
    fn lay_over(
        &self,
        tree: &TreeCore,
        leaf: &Stop<'_>,
        part: Ascending<'_>,
        taken: &Cell<usize>,
        guard: &Guard,
    ) -> Step {
        let count = part.len();
        let folded = self.fold(leaf.id, leaf.chain, FoldLimit::Cuts, guard);
        let past = Self::past_for_undecided(leaf.chain);
        let before = folded.contents.len();
        let mut dropped = Vec::new();
        let contents = folded.contents.overlay(part.contents(), |_, value| {
            if S::holds_values() {
                dropped.push(handle_of(value));
            }
        });
        let come = contents.len() - before;
        let absorbed = self.still_absorbed(leaf.base, guard);
        let shape = leaf.base.shape(&absorbed);
        let points = if contents.base_bytes(&shape) <= self.limits.split_above(&shape) {
            Vec::new()
        } else {
            let at_end = contents.key(contents.len() - 1) == part.key(count - 1);
            let rising = shape.right.is_none() && at_end;
            points_at(&contents, &shape, &contents.cuts(&shape, self.limits.fill(0), rising))
        };
        let comes = Some((count, taken));
        let folded = Folded { contents, dropped, base_version: 0, past, comes, ..folded };
        let Some(pages) = self.replace_by_pages(tree, leaf, &shape, folded, &points, 0, guard)
        else {
            return Step::Lost(count);
        };
        tree.count(come as i64);
        // What can't be posted now is posted by who comes over the right link.
        let _away = self.announce(tree, leaf, 0, &pages, guard);
        Step::Done(count)
    }
}

/// The key of a row.
fn number(row: &[u8; 16]) -> Number {
    let mut key = [0; 8];
    key.copy_from_slice(&row[..8]);
    Number::new(key)
}
