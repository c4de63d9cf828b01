//! Buried pages: when the id of a page that was merged away can name another page.
//!
//! Three things must have happened: a commit with at least the clock of the Merged word is durable
//! (X2), so that the log knows both the absorber's range and the parent without the page; no page
//! in memory lists it as absorbed any more, for its next image would bury the id's new bearer; and
//! an epoch has passed since the word was cleared.

use super::store::DurableEngine;
use crate::engine::{Away, Covering, Stop, TreeCore};
use crate::error::{Error, Result};
use delta::Base;
use mapping::Word;
use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use sync::epoch::Guard;
use types::PageId;

impl DurableEngine {
    /// Finishes the merges that a crash or a close has left: takes every page that recovery found
    /// merged away out of the parents that still name it, and hands it to [`Self::free_buried`].
    ///
    /// A parent that is changed is listed with the clock of then; the page is buried with the clock
    /// of after the walk. So a commit that lets the id be free has no parent that names it (X2).
    fn finish_merges(&self) -> Result<()> {
        let take = || std::mem::take(&mut *self.unfinished());
        let merged = take();
        if merged.is_empty() {
            return Ok(());
        }
        let trees: Vec<_> = self.store.trees.iter().map(|tree| Arc::clone(&tree)).collect();
        for tree in trees {
            let done = match self.unlink_all_merged(&tree) {
                // Nobody looks at its parents any more.
                Err(Error::TreeDropped { .. }) => Ok(true),
                done => done,
            };
            if !matches!(done, Ok(true)) {
                self.unfinished().extend(merged);
                return done.map(|_| ());
            }
        }
        let now = self.clock.now();
        for id in merged {
            self.store.buried.push(id, now);
        }
        Ok(())
    }

    fn unfinished(&self) -> MutexGuard<'_, Vec<PageId>> {
        self.store.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks the inner pages of a tree and unlinks every merged child. `false` if one was left:
    /// then none of them may be freed yet.
    fn unlink_all_merged(&self, tree: &TreeCore) -> Result<bool> {
        let mut all = true;
        for level in (1..=self.top_level(tree)?).rev() {
            let mut from = Some(Vec::new());
            let mut tries = 0;
            while let Some(key) = from {
                tries += 1;
                from = self.retrying(|guard| {
                    Self::check_dropped(tree)?;
                    let stop = self.descend(tree, Covering(key.as_slice()), level, guard)?;
                    if stop.base.level() != level {
                        return Ok(None);
                    }
                    let merged = |at: &usize| {
                        let child = self.table.load(stop.base.child(*at), guard);
                        matches!(child, Word::Merged { .. })
                    };
                    // Others may change the page at the same time, but not for ever.
                    if let Some(at) = (0..stop.base.count()).find(merged) {
                        if tries < 1000 {
                            self.unlink_merged(tree, stop.id, stop.base.child(at), guard)?;
                            return Ok(Some(key.clone()));
                        }
                        all = false;
                    }
                    tries = 0;
                    Ok(stop.base.high().map(<[u8]>::to_vec))
                })?;
            }
        }
        Ok(all)
    }

    /// Commits, also if nothing is dirty: merged pages wait for a commit that is newer than they
    /// are, and on an idle store no other comes.
    pub(crate) fn commit_for_buried(&self) -> Result<()> {
        self.with_room(|| {
            let mut appender = self.store.log.appender();
            self.commit_cut(&mut appender, &[], &HashSet::new(), lss::Stream::Foreground)
        })
    }

    /// Frees the ids that can be freed. Called by background work, after a commit.
    pub(crate) fn free_buried(&self) -> Result<()> {
        // A check that has seen a parent name a merged page must find it merged.
        let _changing = self.store.at_rest();
        self.finish_merges()?;
        let candidates = self.store.buried.drain(self.store.log.durable_version());
        if candidates.is_empty() {
            return Ok(());
        }
        let _alone = self.store.log.appender();
        let mut kept = Vec::new();
        let mut ready = Vec::new();
        for id in candidates {
            if !self.is_recorded(id) {
                kept.push(id);
                continue;
            }
            match self.absorber_lists(id) {
                Ok(false) | Err(Away(_)) => ready.push(id),
                Ok(true) => kept.push(id),
            }
        }
        // Who still is to be found through another's word needs that word.
        let guard = self.pin();
        let named: HashSet<PageId> = kept
            .iter()
            .filter_map(|&id| match self.table.load(id, &guard) {
                Word::Merged { into, .. } => Some(into),
                _ => None,
            })
            .collect();
        for id in ready {
            if named.contains(&id) {
                kept.push(id);
            } else if self.table.clear_merged(id, &guard) {
                self.set_place(id, None, &guard);
                let mut freed = self.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
                freed.push(id);
                drop(freed);
                self.reuse_later(id, &guard);
            }
        }
        for id in kept {
            self.store.buried.push(id, self.clock.now());
        }
        Ok(())
    }

    /// Whether the log holds nothing of the page any more but that it was merged away.
    fn is_recorded(&self, id: PageId) -> bool {
        let guard = self.pin();
        self.place_without_lists(id, &guard).is_none_or(|place| place.is_merged())
    }

    /// Whether the page that has absorbed this one still lists it; if so, that page is rewritten
    /// without it, so that the next look finds it gone.
    fn absorber_lists(&self, id: PageId) -> core::result::Result<bool, Away> {
        let guard = self.pin();
        let mut page = id;
        loop {
            match self.table.load(page, &guard) {
                Word::Merged { into, .. } => page = into,
                Word::Resident(chain) => {
                    let base = Base::new(chain.base());
                    if !base.absorbed().any(|absorbed| absorbed == id) {
                        return Ok(false);
                    }
                    let stop = Stop { id: page, chain, base, parent: PageId::NONE };
                    self.forget_absorbed(&stop, &guard)?;
                    return Ok(true);
                }
                // Capped: its absorber takes the list over. Disk: a page comes back without one.
                Word::Capped(_) | Word::Unborn => return Ok(true),
                Word::Disk(_) | Word::Partial(_) | Word::Free => return Ok(false),
            }
        }
    }

    fn forget_absorbed(&self, stop: &Stop<'_>, guard: &Guard) -> core::result::Result<(), Away> {
        if !stop.base.is_leaf() {
            if stop.base.merging().is_none() {
                self.intend(stop.id, stop.chain, PageId::NONE, guard);
            }
            return Ok(());
        }
        match self.tree(stop.chain.page().tree()) {
            Some(tree) => self.consolidate(&tree, stop, 0, guard),
            None => Ok(()),
        }
    }
}
