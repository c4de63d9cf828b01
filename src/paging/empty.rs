//! Empty: the whole leaves of a range that is removed, by one CAS each.
//!
//! A removal of a range walks the pages above the leaves. A leaf whose range is inside the removed
//! one is replaced by an empty leaf with the same fences: if it is in memory, or if it is evicted
//! and its word says how many entries it has. Nothing is read for the latter. All other keys are
//! removed one by one: those of leaves that reach beyond the range or are being merged, of leaves
//! that no page above names yet, and of leaves that cannot be read.
//!
//! # The date
//!
//! A removal record gets its version after its CAS, so that a cut has it if and only if it has all
//! that came before. An empty leaf says nothing of what it has replaced: it has its version, the
//! base version, before its CAS, and all of it with that. Thread R removes, A is the appender:
//!
//! 1. R reads the clock: 5. A opens cut 5 and bumps the clock.
//! 2. R puts a key, which is stamped 6, and publishes the empty leaf, dated 5.
//! 3. A visits the leaf: commit 5 has the removal, and not the put that came before it. If A has
//!    passed the leaf already, commit 5 lacks a removal with its date.
//!
//! So the turn to append is held around clock and CAS. Cuts are opened by the appender alone, and
//! closed before the turn is handed on. As long as the turn is held no cut is open, none is
//! opened, and the clock stands still at `c`. All that has happened by then is stamped `c` at the
//! most, and so is in each commit that has the empty leaf, beginning with that of cut `c`. What
//! happens after it is stamped at least `c`. The leaf is listed for `c`, which nobody drains
//! meanwhile, and has a serial of its own: so that commit has its image (I13).
//!
//! No file is read or written while the turn is held for this, and at most [`MAX_LEAVES`] leaves
//! are emptied: a commit waits for some hundred microseconds. The removal in its turn waits for the
//! commit that is under way, unless there are fewer than [`MIN_LEAVES_TO_WAIT`] leaves to empty:
//! then it removes their keys, which waits for nothing.
//!
//! # The fences
//!
//! A leaf in memory has its own. Those of an evicted leaf are what the page above says, if its word
//! says that it is *posted* ([`partial`](super::partial)): loaded in the order word, page above,
//! CAS of the word, both are of one moment, and so is the page to the right, which begins where the
//! leaf ends.
//!
//! # Races
//!
//! All are decided by the CAS, which names the word that was looked at. A put on the leaf, a put
//! that makes it a Partial one, an eviction, a page-in, a split and a merge change the word: then
//! the leaf is looked at again. A page-in under way finds the word changed, and gives up. The merge
//! that has capped the page to the right finds the left page changed, and absorbs into the new one.
//!
//! No page comes or goes, and none has other fences: a check of the tree need not wait for this.
//! Each look at a leaf is pinned, and sees whether the tree was dropped.
//!
//! The number of entries is that of the chain, or of the word, that was replaced. So it is exact,
//! also as the sum over several removals of one range.

use super::fetch::{self, Below, below, owned_handles};
use super::partial::range_of;
use super::store::{DurableEngine, LogStore};
use super::token::Token;
use crate::engine::{Covering, Store, TreeCore, Unread, change};
use crate::error::Result;
use delta::{Base, Contents, KeyRef, Layout, Shape};
use lss::Appender;
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

/// Most leaves that are emptied while the turn to append is held.
const MAX_LEAVES: usize = 128;
/// Fewest leaves for which a removal waits for the turn to append.
const MIN_LEAVES_TO_WAIT: usize = 32;
/// Looks at a leaf that others change before its keys are removed one by one.
const MAX_LOOKS: u32 = 8;
/// Bytes of an empty leaf in the log, about.
const LEAF_BYTES: u64 = 128;

/// What came of the next leaves of a range.
#[derive(Debug, Default)]
pub(crate) struct Emptied {
    /// Leaves that were emptied, and had entries.
    pub(crate) leaves: usize,
    /// Entries that they had.
    pub(crate) entries: u64,
    /// Parts of the range whose keys are to be removed one by one.
    pub(crate) left: Vec<Unread>,
    /// The part of the range that was not looked at.
    pub(crate) rest: Option<Unread>,
}

/// A range of keys: the first one, and the one behind the last.
pub(crate) type Keys<'k> = (&'k [u8], Option<&'k [u8]>);

/// The next leaves inside a range, each with its low key, and the key in the range to go on from.
type Leaves = (Vec<(PageId, Vec<u8>)>, Option<Vec<u8>>);

/// What one look at a leaf has come to.
enum Look {
    /// The leaf is empty; it ends at this key, and had so many entries.
    Empty(Option<Vec<u8>>, u64),
    /// Its word has changed.
    Again,
    /// Its keys are to be removed one by one.
    ByKeys,
}

/// Whether a part of the space of keys is inside another one.
pub(crate) fn is_inside((low, high): Keys<'_>, (start, end): Keys<'_>) -> bool {
    low >= start && end.is_none_or(|end| high.is_some_and(|high| high <= end))
}

/// The range that a page gives to its child at this position.
fn keys_of(above: Base<'_>, at: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let (low, high) = range_of(above, at);
    let low = low.map_or_else(|| above.low().to_vec(), KeyRef::to_vec);
    let high = high.map(KeyRef::to_vec).or_else(|| above.high().map(<[u8]>::to_vec));
    (low, high)
}

impl DurableEngine {
    /// Empties the next leaves of a range, those under one page. Called unpinned, and without the
    /// turn to append.
    ///
    /// LINEARIZES: for each leaf at the CAS of its word; if it has no entry, at its load.
    pub(crate) fn empty_some(
        &self,
        tree: &TreeCore,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Emptied> {
        let found = match self.leaves_inside(tree, (start, end)) {
            // Which keys that concerns is found out by their removal.
            Err(error) if error.is_damage() => None,
            found => found?,
        };
        let mut emptied = Emptied::default();
        let mut from = Some(start.to_vec());
        let mut until = end;
        if let Some((leaves, next)) = &found {
            if let Some(next) = next {
                until = Some(next);
                emptied.rest = Unread::bytes_from(next, end);
            }
            if !leaves.is_empty() {
                LogStore::admit(self)?;
                self.count_leaves(leaves)?;
            }
            let turn = self.turn_for(leaves.len())?;
            for (id, low) in leaves.iter().filter(|_| turn.is_some()) {
                let Some((high, entries)) = self.empty(tree, *id, low, (start, end)) else {
                    continue;
                };
                if let Some(from) = &from {
                    emptied.left.extend(Unread::bytes_below(from, low));
                }
                from = high;
                emptied.leaves += usize::from(entries > 0);
                emptied.entries += entries;
            }
        }
        if let Some(from) = from {
            emptied.left.extend(Unread::bytes_from(&from, until));
        }
        self.pace_changes(LEAF_BYTES * emptied.leaves as u64);
        Ok(emptied)
    }

    /// Leaves that the next page above says are inside a range. `None` if there is no page above.
    fn leaves_inside(&self, tree: &TreeCore, keys: Keys<'_>) -> Result<Option<Leaves>> {
        let (start, end) = keys;
        self.retrying(|guard| {
            Self::check_dropped(tree)?;
            let above = self.descend(tree, Covering(start), 1, guard)?.base;
            if above.is_leaf() {
                return Ok(None);
            }
            let mut leaves = Vec::new();
            for at in above.child_index(start)..above.count() {
                let (low, high) = keys_of(above, at);
                if end.is_some_and(|end| low.as_slice() >= end) {
                    return Ok(Some((leaves, None)));
                }
                if leaves.len() == MAX_LEAVES {
                    return Ok(Some((leaves, Some(low))));
                }
                if is_inside((&low, high.as_deref()), keys) {
                    leaves.push((above.child(at), low));
                }
            }
            let next = above.high().filter(|next| end.is_none_or(|end| *next < end));
            Ok(Some((leaves, next.map(<[u8]>::to_vec))))
        })
    }

    /// Brings in the leaves of which the word does not say enough, if they can be read.
    fn count_leaves(&self, leaves: &[(PageId, Vec<u8>)]) -> Result<()> {
        let says_too_little = |id| {
            let guard = self.pin();
            let away = below(self.table.load(id, &guard));
            away.is_some_and(|below| !below.is_counted() || !below.token.posted)
        };
        for (id, _) in leaves.iter().filter(|(id, _)| says_too_little(*id)) {
            match LogStore::page_in(self, *id) {
                Err(error) if error.is_damage() => {}
                brought => brought?,
            }
        }
        Ok(())
    }

    /// The turn to append, so that the clock stands still. Waits for it only for many leaves.
    fn turn_for(&self, leaves: usize) -> Result<Option<Appender<'_>>> {
        if leaves == 0 {
            return Ok(None);
        }
        let log = &self.store.log;
        match log.try_appender()? {
            None if leaves >= MIN_LEAVES_TO_WAIT => Ok(log.wait_durable_or_appender(u64::MAX)?),
            tried => Ok(tried),
        }
    }

    /// Empties a leaf that begins at this key, if it is inside the range, and says where it ends
    /// and how many entries it had. `None` if its keys are to be removed one by one. Called by who
    /// has the turn to append.
    fn empty(
        &self,
        tree: &TreeCore,
        id: PageId,
        low: &[u8],
        keys: Keys<'_>,
    ) -> Option<(Option<Vec<u8>>, u64)> {
        for _ in 0..MAX_LOOKS {
            let guard = self.pin();
            if tree.is_dropped() {
                return None;
            }
            let look = match self.table.load(id, &guard) {
                Word::Resident(chain) => self.empty_resident(tree, (id, chain), low, keys, &guard),
                Word::Disk(token) => {
                    self.empty_evicted(tree, (id, Token::of(token)), low, keys, &guard)
                }
                _ => Look::ByKeys,
            };
            match look {
                Look::Empty(high, entries) => return Some((high, entries)),
                Look::Again => {}
                Look::ByKeys => return None,
            }
        }
        None
    }

    fn empty_resident(
        &self,
        tree: &TreeCore,
        (id, chain): (PageId, Chain<'_>),
        low: &[u8],
        keys: Keys<'_>,
        guard: &Guard,
    ) -> Look {
        let base = Base::new(chain.base());
        if !base.is_leaf()
            || chain.page().tree() != tree.id
            || base.low() != low
            || !is_inside((low, base.high()), keys)
        {
            return Look::ByKeys;
        }
        let net: i64 = chain.records().map(|record| i64::from(change(record).net)).sum();
        let entries = base.count() as i64 + net;
        let high = base.high().map(<[u8]>::to_vec);
        if entries == 0 {
            return Look::Empty(high, 0);
        }
        let absorbed = self.still_absorbed(base, guard);
        let shape = base.shape(&absorbed);
        let birth = self.smo_birth(tree.id, self.clock.now());
        let page = Self::build_exact(&shape, &Contents::empty(Layout::Var), &[], 0, birth);
        let size = page.page().size_bytes();
        self.charge(size);
        self.list(id);
        let Ok(replaced) = self.table.replace(id, chain, page) else {
            self.discharge(size);
            return Look::Again;
        };
        self.retire(replaced, owned_handles(chain), guard);
        tree.count(-entries);
        Look::Empty(high, entries.try_into().unwrap_or(0))
    }

    fn empty_evicted(
        &self,
        tree: &TreeCore,
        (id, token): (PageId, Token),
        low: &[u8],
        keys: Keys<'_>,
        guard: &Guard,
    ) -> Look {
        if !token.counted || !token.posted || self.store.is_damaged(id) {
            return Look::ByKeys;
        }
        // After the token: see above.
        let Some(((begin, high), right)) = self.place_in_tree(tree, id, low, guard) else {
            return Look::ByKeys;
        };
        if begin != low || !is_inside((low, high.as_deref()), keys) {
            return Look::ByKeys;
        }
        if token.count == 0 {
            let still =
                matches!(self.table.load(id, guard), Word::Disk(now) if now == token.bits());
            return if still { Look::Empty(high, 0) } else { Look::Again };
        }
        let shape = Shape { low, high: high.as_deref(), right, ..Shape::whole(Layout::Var) };
        let birth = self.smo_birth(tree.id, self.clock.now());
        let page = Self::build_exact(&shape, &Contents::empty(Layout::Var), &[], 0, birth);
        self.list(id);
        let below = Below { token, partial: None };
        if !fetch::publish(self, (id, tree.id), below, page, 0, guard) {
            return Look::Again;
        }
        // Another thread may have failed to read it.
        self.store.is_sound(id);
        Look::Empty(high, token.count.try_into().unwrap_or(0))
    }

    /// The range of a leaf, and the page to its right, as the pages above say, if all on the way to
    /// them is in memory.
    #[expect(clippy::type_complexity, reason = "a range of keys and a page")]
    fn place_in_tree(
        &self,
        tree: &TreeCore,
        id: PageId,
        low: &[u8],
        guard: &Guard,
    ) -> Option<((Vec<u8>, Option<Vec<u8>>), PageId)> {
        let above = self.page_above(tree, low, guard)?;
        let at = above.child_index(low);
        if above.child(at) != id {
            return None;
        }
        let (low, high) = keys_of(above, at);
        let right = match &high {
            _ if at + 1 < above.count() => above.child(at + 1),
            None => PageId::NONE,
            Some(high) => {
                let next = self.page_above(tree, high, guard)?;
                let at = next.child_index(high.as_slice());
                (keys_of(next, at).0 == *high).then(|| next.child(at))?
            }
        };
        Some(((low, high), right))
    }
}
