//! Buried pages: when the id of a page that was merged away can name another page.
//!
//! Three things must have happened: a commit with at least the clock of the Merged word is durable
//! (X2), so that the log knows both the absorber's range and the parent without the page; no page
//! in memory lists it as absorbed any more, for its next image would bury the id's new bearer; and
//! an epoch has passed since the word was cleared.

use super::place::Place;
use super::store::DurableEngine;
use crate::engine::{Away, Stop};
use delta::Base;
use mapping::Word;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use sync::epoch::Guard;
use types::PageId;

impl DurableEngine {
    /// Frees the ids that can be freed. Called by background work, after a commit.
    pub(crate) fn free_buried(&self) {
        let candidates = self.store.buried.drain(self.store.log.durable_version());
        if candidates.is_empty() {
            return;
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
                self.table.set_place(id, None, &guard);
                self.store.mark_chunk(id);
                let mut freed = self.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
                freed.push(id);
                drop(freed);
                self.reuse_later(id, &guard);
            }
        }
        for id in kept {
            self.store.buried.push(id, self.clock.now());
        }
    }

    /// Whether the log holds nothing of the page any more but that it was merged away.
    fn is_recorded(&self, id: PageId) -> bool {
        let guard = self.pin();
        self.table.place(id, &guard).is_none_or(Place::is_merged)
    }

    /// Whether the page that has absorbed this one still lists it; if so, that page is rewritten
    /// without it, so that the next look finds it gone.
    fn absorber_lists(&self, id: PageId) -> Result<bool, Away> {
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
                Word::Disk(_) | Word::Free => return Ok(false),
            }
        }
    }

    fn forget_absorbed(&self, stop: &Stop<'_>, guard: &Guard) -> Result<(), Away> {
        if !stop.base.is_leaf() {
            if stop.base.merging().is_none() {
                let absorbed = self.still_absorbed(stop.base, guard);
                let entries: Vec<_> = stop.base.entries().collect();
                let shape = stop.base.shape(&absorbed);
                self.replace_inner(stop.id, stop.chain, &shape, &entries, guard);
            }
            return Ok(());
        }
        let tree = stop.chain.page().tree();
        let tree = self.store.trees.get(&tree).map(|tree| Arc::clone(&tree));
        match tree {
            Some(tree) => self.consolidate(&tree, stop, 0, guard),
            None => Ok(()),
        }
    }
}
