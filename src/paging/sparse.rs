//! Sparse: leaves that have run empty are merged, evicted ones and those that no writer comes to.
//!
//! A writer merges a leaf when it consolidates it and finds little left. A leaf whose entries were
//! removed one here and one there, or that was evicted in between, is never consolidated, so a
//! background thread looks for neighbours that fit one page. It goes over the inner pages, which
//! are in memory, from the lowest level up: a leaf that is evicted is judged by its location in the
//! log, and is brought in only to be merged.
//!
//! In a window that moves on, pages run empty faster than any walk comes by, and those whose last
//! removal fell into a commit were not folded by the writer, since the commit needed them. So a
//! commit notes the leaves of which it has written little, and they are looked at behind it
//! ([`DurableEngine::merge_dry`]), while they are still in memory.
//!
//! The walk makes progress by itself and ends: a round over all trees begins only if there was a
//! commit since the last one began, and after a round that has merged nothing an idle store has no
//! commit any more.
//!
//! A round looks at each page, so what it costs follows what the store holds. It is to cost what
//! has changed: it begins when commits have changed a part of all pages, or when nobody has written
//! for many times as long as the last one took.

use super::store::{DurableEngine, LogStore};
use crate::engine::{Away, Covering, FoldLimit, Stop, Store, TreeCore, fence_excess};
use crate::error::{Error, Result};
use delta::Base;
use gc::Pressure;
use mapping::Word;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync::atomic::Ordering;
use sync::epoch::Guard;
use types::PageId;

/// How long one step may take, save for its last page.
const STEP: Duration = Duration::from_millis(5);

/// A round begins when commits have changed one page in so many.
const PAGES_PER_CHANGE: u64 = 8;

/// Or when nobody has written for so long, and so many times as long as the last round took.
const STILL: Duration = Duration::from_millis(300);
const STILL_PER_ROUND: u32 = 20;

/// Before the first round of a store that was opened, for which it is as if something had changed.
pub(super) const NEVER_WALKED: u64 = u64::MAX;

/// Pages that are brought in to merge one leaf behind a commit, at the most.
const MOST_READ: u32 = 8;

/// Where the walk is.
#[derive(Debug, Default)]
pub(crate) struct SparseWalk {
    /// The trees of this round that are still to be walked.
    trees: Vec<Arc<TreeCore>>,
    /// The tree under way, the level of the inner pages, and the key to go on from.
    at: Option<(Arc<TreeCore>, u8, Vec<u8>)>,
    /// How long this round has taken so far, or the last one.
    took: Duration,
}

impl SparseWalk {
    /// Goes on for a moment, or begins, if it is time to: nobody has written for so long. Says
    /// whether there is more to do at once.
    pub(crate) fn step(&mut self, engine: &DurableEngine, still: Duration) -> Result<bool> {
        let _changing = engine.store.at_rest();
        let begun = Instant::now();
        if self.at.is_none() && self.trees.is_empty() && !self.begin(engine, still) {
            return Ok(false);
        }
        let more = self.go_on(engine, begun);
        self.took += begun.elapsed();
        more
    }

    /// Begins a round, if it is time to. Called behind `at_rest`.
    fn begin(&mut self, engine: &DurableEngine, still: Duration) -> bool {
        let store = &engine.store;
        let relocated = store.relocated.load(Ordering::Relaxed);
        // ORDERING: behind `at_rest`, whoever walks.
        let changed = relocated.wrapping_sub(store.walked.load(Ordering::Relaxed));
        let is_much = changed.saturating_mul(PAGES_PER_CHANGE) >= engine.table.id_limit().into();
        let is_still = still >= STILL.max(self.took.saturating_mul(STILL_PER_ROUND));
        if changed == 0 || !is_much && !is_still {
            return false;
        }
        store.walked.store(relocated, Ordering::Relaxed);
        self.took = Duration::ZERO;
        self.trees = store.trees.iter().map(|tree| Arc::clone(&tree)).collect();
        true
    }

    fn go_on(&mut self, engine: &DurableEngine, begun: Instant) -> Result<bool> {
        while let Some((tree, level, key)) = self.next(engine) {
            // While the upkeep is held, no tree goes any further than being dropped.
            if tree.is_dropped() {
                continue;
            }
            let top = engine.top_level(&tree).unwrap_or(0);
            let next = if level <= top { engine.merge_under(&tree, level, &key)? } else { None };
            self.at = match next {
                Some(key) => Some((tree, level, key)),
                None if level < top => Some((tree, level + 1, Vec::new())),
                None => None,
            };
            if begun.elapsed() >= STEP {
                return Ok(self.at.is_some() || !self.trees.is_empty());
            }
        }
        Ok(false)
    }

    /// Where to go on: in the tree under way, or at the beginning of the next one.
    fn next(&mut self, engine: &DurableEngine) -> Option<(Arc<TreeCore>, u8, Vec<u8>)> {
        if let Some(at) = self.at.take() {
            return Some(at);
        }
        while let Some(tree) = self.trees.pop() {
            if !engine.is_evicted_leaf(tree.root) {
                return Some((tree, 1, Vec::new()));
            }
        }
        None
    }
}

/// What one look at an inner page has come to.
enum Step {
    /// Two of its children are one page now.
    Merged,
    /// Nothing more is to be done here; the next inner page begins at this key.
    Next(Option<Vec<u8>>),
}

impl DurableEngine {
    /// Whether the log says that this page, which is not in memory, is a leaf: it has entries. A
    /// tree of one leaf has nothing to merge, and is not brought in to be told so.
    fn is_evicted_leaf(&self, id: PageId) -> bool {
        let guard = self.pin();
        matches!(self.table.load(id, &guard), Word::Disk(_) | Word::Partial(_))
            && self.place_without_lists(id, &guard).is_some_and(|place| place.count > 0)
    }

    /// Merges what fits one page under the inner page of this level that covers the key. Returns
    /// the key that the next such page begins at.
    fn merge_under(&self, tree: &TreeCore, level: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        // Where to look next: a child is judged once, whether it can be merged or not.
        let mut at = 1;
        loop {
            // Many leaves may be brought in here, and who closes the store waits for it.
            self.store.check_open()?;
            let mut judges = false;
            // One merge for each pin: pages that it replaces are garbage until the pin is gone.
            let step = self.retrying(|guard| {
                judges = false;
                let parent = self.descend(tree, Covering(key), level, guard)?;
                if parent.base.level() < level {
                    return Ok(Step::Next(None));
                }
                if parent.base.merging().is_some() {
                    // Its own, which had to wait for a page, or a writer's that has gone on.
                    self.help_merge(tree, parent.id, parent.base.merging(), guard)?;
                    return Ok(Step::Merged);
                }
                if parent.id == tree.root && parent.base.count() == 1 {
                    return Ok(if self.lower(tree, guard)? {
                        Step::Merged
                    } else {
                        Step::Next(None)
                    });
                }
                judges = true;
                while at < parent.base.count() {
                    // A child that has absorbed its neighbour is looked at with the next one.
                    if self.merge_at(tree, &parent, at, guard)? {
                        return Ok(Step::Merged);
                    }
                    at += 1;
                }
                Ok(Step::Next(parent.base.high().map(<[u8]>::to_vec)))
            });
            match step {
                Ok(Step::Merged) => self.pace_changes(self.limits.leaf_bytes as u64 / 4),
                Ok(Step::Next(key)) => return Ok(key),
                // A leaf that cannot be read stays as it is, and its neighbours are looked at.
                Err(error) if error.is_damage() && judges => at += 1,
                // Neither can what is above it, or what its own merge waits for: the rest of the
                // tree has to wait.
                Err(error) if error.is_damage() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Merges the leaves that the last commits have found nearly empty, as far as they still are.
    /// Called by background work, behind a commit.
    ///
    /// The thread that syncs does this too, and only its syncs make memory free: so it does not
    /// wait for other work on the shape of trees, which may wait for memory, and stops when
    /// writers wait.
    pub(crate) fn merge_dry(&self) -> Result<()> {
        let Some(_changing) = self.store.try_at_rest() else { return Ok(()) };
        let mut dry = std::mem::take(&mut *self.store.dry());
        while self.store.check_open().is_ok()
            && let Some(id) = dry.pop()
        {
            if self.store.budget.pressure() == Pressure::Stall {
                dry.push(id);
                self.store.dry().append(&mut dry);
                break;
            }
            match self.merge_soon(id) {
                Err(error) if error.is_damage() || matches!(error, Error::TreeDropped { .. }) => {}
                merged => merged?,
            }
        }
        Ok(())
    }

    /// Merges one leaf, if few pages have to be read for it and memory is not short. Pages that are
    /// read for one merge may evict one another, so that it would not end; then the walk does it.
    fn merge_soon(&self, id: PageId) -> Result<()> {
        for _ in 0..MOST_READ {
            let guard = self.pin();
            let Err(Away(away)) = self.merge_if_dry(id, &guard) else { break };
            drop(guard);
            if self.store.budget.pressure() == Pressure::Stall {
                break;
            }
            LogStore::page_in(self, away)?;
        }
        Ok(())
    }

    fn merge_if_dry(&self, id: PageId, guard: &Guard) -> core::result::Result<(), Away> {
        let leaf = || match self.table.load(id, guard) {
            Word::Resident(chain) => Some(chain).filter(|chain| Base::new(chain.base()).is_leaf()),
            _ => None,
        };
        let Some(chain) = leaf() else {
            let away = matches!(self.table.load(id, guard), Word::Disk(_) | Word::Partial(_));
            return if away && self.wants_reading(id, guard) { Err(Away(id)) } else { Ok(()) };
        };
        if self.wants_reading(id, guard) {
            // The next commit writes an image of it.
            self.list(id);
        }
        let base = Base::new(chain.base());
        let Some(tree) = self.tree(chain.page().tree()).filter(|tree| tree.root != id) else {
            return Ok(());
        };
        if self.live_bytes(chain, usize::MAX, guard) >= self.limits.merge_below(0) {
            return Ok(());
        }
        let stop = Stop { id, chain, base, parent: PageId::NONE };
        if self.has_run_dry(&stop, guard) {
            self.consolidate_within(&tree, &stop, 0, FoldLimit::Cuts, guard)?;
        }
        // Unless that has merged it: neighbours that are evicted it leaves alone.
        let Some(chain) = leaf() else { return Ok(()) };
        let low = Base::new(chain.base()).low();
        let parent = self.descend(&tree, Covering(low), 1, guard)?;
        if parent.base.is_leaf() {
            return Ok(());
        }
        if parent.base.merging().is_some() {
            return self.help_merge(&tree, parent.id, parent.base.merging(), guard);
        }
        let at = parent.base.child_index(low);
        if parent.base.child(at) == id && parent.base.count() > 1 {
            self.merge_at(&tree, &parent, at.max(1), guard)?;
        }
        Ok(())
    }

    /// Whether the page is to be read, or was, since it has more parts than it should.
    fn wants_reading(&self, id: PageId, guard: &Guard) -> bool {
        self.place(id, guard).is_some_and(|place| place.wants_reading())
    }

    fn merge_at(
        &self,
        tree: &TreeCore,
        parent: &Stop<'_>,
        at: usize,
        guard: &Guard,
    ) -> core::result::Result<bool, Away> {
        let (left, right) = (parent.base.child(at - 1), parent.base.child(at));
        let level = parent.base.level() - 1;
        let bytes = |id| self.page_bytes(id, level, guard);
        let (Some(left_bytes), Some(right_bytes)) = (bytes(left), bytes(right)) else {
            return Ok(false);
        };
        if left_bytes.min(right_bytes) >= self.limits.merge_below(level)
            || left_bytes + right_bytes > self.limits.merge_up_to(level)
        {
            return Ok(false);
        }
        for id in [left, right] {
            if matches!(self.table.load(id, guard), Word::Disk(_) | Word::Partial(_)) {
                return Err(Away(id));
            }
        }
        self.merge_children(tree, parent, at, guard)
    }

    /// Bytes that are live in a page of this level, in memory or not, about.
    fn page_bytes(&self, id: PageId, level: u8, guard: &Guard) -> Option<usize> {
        match self.table.load(id, guard) {
            Word::Resident(chain) => {
                let base = Base::new(chain.base());
                let left = base.count().saturating_sub(Self::most_removed(chain));
                let bytes = base.byte_len() - fence_excess(base);
                let least = bytes / base.count().max(1) * left;
                let large = least > self.limits.merge_up_to(level);
                Some(if large { bytes } else { self.live_bytes(chain, usize::MAX, guard) })
            }
            // The location of an inner page does not say what it holds.
            Word::Disk(_) if level > 0 => None,
            // What was written since it was read is not much.
            Word::Disk(_) | Word::Partial(_) => Some(self.place(id, guard)?.live_bytes()),
            _ => None,
        }
    }
}
