//! Consolidation: a chain becomes a base page again.
//!
//! In memory all of it is folded; what open cuts see of the old page stays in that (`past`). What
//! may be folded into the base of a durable tree's page is limited:
//!
//! - never a version that an open cut does not see: the cut must be able to write the page as of
//!   its moment. Such records are *carried*: they lie on top of the new base, stamps and all;
//! - not what the log does not hold yet, as long as that is little: it can then still be written
//!   as a small part, where folding it would make the whole page an image.
//!
//! Of the carried versions of one key, only the newest and those that an open cut needs are kept,
//! and carried records make a page split as its entries do: so a page stays within its bound (I15)
//! however long a cut is open.
//!
//! Stamping comes first, reading the registry after it (A8; the proof is in `mapping::clock`).

use super::{Counters, Engine, Past, Stop, Store, TreeCore, Versioned, change, handles};
use crate::engine::descent::Away;
use core::cell::Cell;
use delta::{Base, Contents, Op, PairChange, Pairs, uncounted};
use mapping::{Birth, Chain, Records, Word};
use std::collections::HashMap;
use sync::atomic::Ordering;
use sync::epoch::Guard;
use types::PageId;

/// A chain, folded.
#[derive(Debug)]
pub(crate) struct Folded<'g> {
    /// What the base page will hold: its entries with the folded records in them.
    pub(crate) contents: Contents<'g>,
    /// Records that stay records, newest first.
    pub(crate) carried: Versioned<'g>,
    /// Handles of the values that are in neither, and that the page owned; in memory those that
    /// sorted input displaces.
    pub(crate) dropped: Vec<u64>,
    /// Largest version in the entries; 0 if it is to be decided later.
    pub(crate) base_version: u64,
    /// What the open cuts need of the old page.
    pub(crate) past: Past,
    /// Values that come into the tree with the page: how many, and what counts them.
    pub(crate) comes: Option<(usize, &'g Cell<usize>)>,
}

impl<'g> Folded<'g> {
    /// What an inner page will hold.
    pub(crate) fn inner(contents: Contents<'g>) -> Self {
        let (carried, dropped, past) = (Vec::new(), Vec::new(), Past::default());
        Self { contents, carried, dropped, base_version: 0, past, comes: None }
    }
}

/// How much of a chain may be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoldLimit {
    /// All that the open cuts allow.
    Cuts,
    /// The same, but leave what is not flushed as records while it is little.
    KeepUnflushed,
}

/// The area of a leaf that grows at its end only, in those of others.
const RISING_AREAS: usize = 4;

/// Fewest bytes of a record in an area.
const MIN_RECORD_BYTES: usize = 16;

/// Bytes of the fences of a page that no limit counts.
pub(crate) fn fence_excess(base: Base<'_>) -> usize {
    uncounted(base.shape(&[]).fence_bytes())
}

impl<S: Store> Engine<S> {
    /// Every record of a chain with its version, newest first.
    pub(crate) fn versioned<'g>(&self, id: PageId, chain: Chain<'g>) -> Versioned<'g> {
        let versioned = |record: mapping::RecordRef<'g>| {
            (self.version(id, chain.page(), record), change(record))
        };
        let mut all = Vec::with_capacity(32);
        all.extend(chain.records().map(versioned));
        all
    }

    /// Folds a leaf's chain as far as allowed. What is kept of its past is left to the caller.
    pub(crate) fn fold<'g>(
        &self,
        id: PageId,
        chain: Chain<'g>,
        limit: FoldLimit,
        guard: &Guard,
    ) -> Folded<'g> {
        self.dated(chain);
        if let Some(folded) = self.fold_pairs(id, chain) {
            return folded;
        }
        let mut records = self.versioned(id, chain);
        let limit = self.fold_limit(id, chain, &records, limit, guard);
        // Versions never rise towards older records, so what is too new comes first.
        let keep = records.iter().take_while(|(version, _)| *version > limit).count();
        let newest_folded = records.get(keep).map_or(0, |(version, _)| *version);
        let base_version = chain.page().base_version().max(newest_folded);
        let mut dropped = Vec::new();
        let contents = Contents::fold(Base::new(chain.base()), &records[keep..], &mut dropped);
        records.truncate(keep);
        let carried = self.needed(id, records, &mut dropped, guard);
        let (dropped, past) = (handles::<S>(&dropped), Past::default());
        Folded { contents, carried, dropped, base_version, past, comes: None }
    }

    /// Folds a chain of pairs, all of it, as is right where no log follows.
    fn fold_pairs<'g>(&self, id: PageId, chain: Chain<'g>) -> Option<Folded<'g>> {
        let page = chain.page();
        if S::DURABLE || page.records() != Records::Pairs {
            return None;
        }
        page.prefetch_all();
        // Older ones have their versions, which are no larger: a writer sees to that before it
        // installs on top.
        let newest = chain.newest().map_or(0, |record| self.version(id, page, record));
        let base = Base::new(chain.base());
        let pairs = if let Some(count) = chain.in_order() {
            Pairs::extended(base, count, chain.pairs().map(|(_, key, value)| (key, value)))
        } else {
            let mut changes = Vec::with_capacity(32);
            let change = |(mark, key, value)| PairChange::new(mark, key, value);
            changes.extend(chain.pairs().map(change));
            // Values that were displaced are gone since.
            Pairs::fold(base, &mut changes, |_| {})
        };
        Some(Folded {
            contents: Contents::Pairs(pairs),
            carried: Vec::new(),
            dropped: Vec::new(),
            base_version: page.base_version().max(newest),
            past: Past::default(),
            comes: None,
        })
    }

    fn fold_limit(
        &self,
        id: PageId,
        chain: Chain<'_>,
        records: &Versioned<'_>,
        limit: FoldLimit,
        guard: &Guard,
    ) -> u64 {
        if !S::DURABLE {
            return u64::MAX;
        }
        let cuts = self.clock.oldest_open(guard).unwrap_or(u64::MAX);
        let page = chain.page();
        let Some(place) =
            self.place_without_lists(id, guard).filter(|_| limit == FoldLimit::KeepUnflushed)
        else {
            return cuts;
        };
        if place.wants_image(page) {
            return cuts;
        }
        let unflushed = records.iter().take_while(|(version, _)| *version > place.flushed);
        let bytes: usize = unflushed.map(|(_, r)| r.key.len() + r.value.len() + 32).sum();
        if bytes <= self.limits.area_bytes { cuts.min(place.flushed) } else { cuts }
    }

    /// Of records that are carried over: the newest of each key, and older ones that an open cut
    /// sees instead of it. What a dropped record did to the number of entries goes to its heir,
    /// so the two must be on the same side of what was flushed.
    fn needed<'g>(
        &self,
        id: PageId,
        records: Versioned<'g>,
        dropped: &mut Vec<(u8, &'g [u8])>,
        guard: &Guard,
    ) -> Versioned<'g> {
        // The registry is read before the place: a cut is closed after its places are published,
        // so who does not see it open sees what it has flushed.
        let same_side = |older: u64, newer: u64| {
            let cut_between = self.clock.cut_between(older, newer, guard);
            let flushed = self.place_without_lists(id, guard).map_or(0, |place| place.flushed);
            !cut_between && (older <= flushed) == (newer <= flushed)
        };
        if records.is_empty() {
            return records;
        }
        let mut last: HashMap<&'g [u8], usize> = HashMap::new();
        let mut kept: Versioned<'g> = Vec::with_capacity(records.len());
        for (version, record) in records {
            match last.get(record.key) {
                Some(&heir) if same_side(version, kept[heir].0) => {
                    kept[heir].1.net += record.net;
                    if record.op == Op::Put {
                        dropped.push((record.flags, record.value));
                    }
                }
                _ => {
                    last.insert(record.key, kept.len());
                    kept.push((version, record));
                }
            }
        }
        kept
    }

    /// Pages that were merged into this one and are not known to be recorded as such in the log.
    pub(crate) fn still_absorbed(&self, base: Base<'_>, guard: &Guard) -> Vec<PageId> {
        let recorded =
            |id: PageId| self.place_without_lists(id, guard).is_some_and(|place| place.is_merged());
        base.absorbed().filter(|&id| !recorded(id)).collect()
    }

    /// Makes the leaf a base page again, with `need` bytes of area at least. If the word has
    /// changed meanwhile, nothing happens: someone else has made progress.
    pub(crate) fn consolidate(
        &self,
        tree: &TreeCore,
        leaf: &Stop<'_>,
        need: usize,
        guard: &Guard,
    ) -> Result<(), Away> {
        self.consolidate_within(tree, leaf, need, FoldLimit::KeepUnflushed, guard)
    }

    /// The same, folding as much as this limit allows.
    pub(crate) fn consolidate_within(
        &self,
        tree: &TreeCore,
        leaf: &Stop<'_>,
        need: usize,
        limit: FoldLimit,
        guard: &Guard,
    ) -> Result<(), Away> {
        if self.help_absorb(tree, leaf, guard)? {
            return Ok(());
        }
        let mut folded = self.fold(leaf.id, leaf.chain, limit, guard);
        folded.past = self.past_of(leaf.chain, folded.base_version, guard);
        let absorbed = self.still_absorbed(leaf.base, guard);
        let shape = leaf.base.shape(&absorbed);
        let bytes = folded.contents.base_bytes(&shape);
        Counters::count(&self.counters.consolidations);
        let carried = folded.carried.len() as u64;
        self.counters.carried.fetch_add(carried, Ordering::Relaxed);
        let points = self.split_points(leaf, &shape, &folded, bytes);
        let need = need.max(if points.is_empty() { self.room_to_rise(leaf.chain) } else { 0 });
        if !points.is_empty() {
            return self.split(tree, leaf, &shape, folded, &points, need, guard);
        }
        let old = leaf.chain.page();
        let birth =
            Birth { base_version: folded.base_version, serial: old.serial(), tree: tree.id };
        let mut page = self.build(&shape, &folded.contents, &folded.carried, need, birth);
        page.remember(folded.past.history());
        let (area, used) = page.page().area();
        debug_assert!(area >= used + need, "a leaf that is not cut has room for who wants it");
        let size = page.page().size_bytes();
        self.charge(size);
        let Ok(replaced) = self.table.replace(leaf.id, leaf.chain, page) else {
            self.discharge(size);
            return Ok(());
        };
        let Folded { dropped, past, .. } = folded;
        self.succeed((leaf.id, replaced), &past, dropped, std::iter::once(leaf.id), guard);
        if bytes - fence_excess(leaf.base) < self.limits.merge_below(0) && leaf.id != tree.root {
            return self.try_merge(tree, leaf.id, shape.low, 0, guard);
        }
        Ok(())
    }

    /// Bytes of area for a leaf that takes the place of one with this chain, if that has grown at
    /// its end only: many more records than elsewhere, since they can be searched where they lie.
    pub(crate) fn room_to_rise(&self, chain: Chain<'_>) -> usize {
        let usual = self.limits.area_bytes;
        let bytes = chain.in_order().map(|count| count * Records::Pairs.bytes(16));
        let rises = !S::DURABLE && bytes.is_some_and(|bytes| 4 * bytes >= 3 * usual);
        if rises { RISING_AREAS * usual } else { 0 }
    }

    /// Splits a leaf that is larger than a leaf may be (I15) by more than this, as one that came
    /// back from the log or out of a merge can be. What it would need and is not resident is not
    /// brought in for it: such a leaf has no area, so the next writer goes on with it.
    pub(crate) fn restore_bound(&self, tree: &TreeCore, id: PageId, slack: usize, guard: &Guard) {
        if let Word::Resident(chain) = self.table.load(id, guard)
            && let base = Base::new(chain.base())
            && base.is_leaf()
            && base.count() > 1
            && base.byte_len() > self.limits.split_above(&base.shape(&[])) + slack
        {
            let stop = Stop { id, chain, base, parent: PageId::NONE };
            let _away = self.consolidate(tree, &stop, 0, guard);
        }
    }

    /// Bytes that a page would have if its records were folded, as far as the open cuts allow, and
    /// it cut off that much of each key, about; long fences don't count.
    pub(crate) fn live_bytes(&self, chain: Chain<'_>, prefix_len: usize, guard: &Guard) -> usize {
        let (page, base) = (chain.page(), Base::new(chain.base()));
        // What an inner page has behind its base is no area.
        let used = if base.is_leaf() { page.area().1 } else { 0 };
        let count = base.count();
        let longer = base.shape(&[]).prefix().len().saturating_sub(prefix_len);
        let bytes = base.byte_len() - fence_excess(base) + count * longer;
        if !S::DURABLE || count == 0 || used == 0 {
            return bytes + used;
        }
        let cut = self.clock.oldest_open(guard);
        let (mut net, mut carried) = (0, 0);
        for record in chain.records() {
            // What has no version yet gets one above the cut.
            let version = record.version();
            if cut.is_some_and(|cut| version == 0 || version > cut) {
                carried += page.records().bytes(record.payload().len());
            } else {
                net += i64::from(change(record).net);
            }
        }
        let live = usize::try_from(count as i64 + net).unwrap_or(0);
        if live < count { bytes * live / count + carried } else { bytes + used }
    }

    /// Entries of a leaf's base page that its records can have removed, at the most: known without
    /// a walk along the chain.
    pub(crate) fn most_removed(chain: Chain<'_>) -> usize {
        chain.page().area().1 / MIN_RECORD_BYTES
    }

    /// Whether a leaf that was seen a moment ago has no entry now. Who comes last sees it, of those
    /// that remove the last entries at once.
    fn is_emptied(&self, leaf: &Stop<'_>, guard: &Guard) -> bool {
        let Word::Resident(chain) = self.table.load(leaf.id, guard) else { return false };
        let net: i64 = chain.records().map(|record| i64::from(change(record).net)).sum();
        chain.page() == leaf.chain.page() && leaf.base.count() as i64 + net == 0
    }

    /// Whether removals have left less than a quarter of what a leaf's base page holds, and it can
    /// be folded now: the area of a page of large entries has room for the removal of all of them.
    /// In memory, where a page is folded sooner, whether they have left nothing.
    #[inline]
    pub(crate) fn has_run_dry(&self, leaf: &Stop<'_>, guard: &Guard) -> bool {
        let count = leaf.base.count();
        if !S::DURABLE {
            return Self::most_removed(leaf.chain) >= count && self.is_emptied(leaf, guard);
        }
        count > 0
            && 4 * Self::most_removed(leaf.chain) >= 3 * count
            && self.clock.none_open()
            && 4 * self.live_bytes(leaf.chain, usize::MAX, guard)
                < leaf.base.byte_len() - fence_excess(leaf.base)
    }
}
