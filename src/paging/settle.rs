//! Settle: leaves that nobody writes any more become base pages again.
//!
//! A writer consolidates the page whose area it fills. What is left on a page that has gone quiet
//! costs every reader a walk, and every scan a merge; so a background thread folds it, some pages
//! at a time. It is an ordinary consolidation: everything it folds is in the log already, so the
//! page needs no new image.

use super::store::DurableEngine;
use crate::engine::Stop;
use delta::Base;
use mapping::Word;
use std::sync::Arc;
use types::PageId;

/// Most pages that are looked at in one step.
const STEP_PAGES: u32 = 512;

/// Cuts since the last write of a page after which it counts as quiet.
const QUIET_CUTS: u64 = 4;

impl DurableEngine {
    /// Looks at the pages from `hand` on, folds those that are quiet, and returns where to go on.
    pub(crate) fn settle_pages(&self, hand: u32) -> u32 {
        let _changing = self.store.at_rest();
        let limit = self.table.id_limit();
        let first = if hand >= limit { 1 } else { hand.max(1) };
        let end = first.saturating_add(STEP_PAGES).min(limit);
        for id in (first..end).map(PageId::new) {
            self.settle_page(id);
        }
        end
    }

    fn settle_page(&self, id: PageId) {
        let guard = self.pin();
        let Word::Resident(chain) = self.table.load(id, &guard) else { return };
        let Some(newest) = chain.newest() else { return };
        let page = chain.page();
        let version = self.version(id, page, newest);
        let flushed = self.table.place(id, &guard).map_or(0, |place| place.flushed);
        if version > flushed || version + QUIET_CUTS > self.clock.now() {
            return;
        }
        let tree = self.store.trees.get(&page.tree()).map(|tree| Arc::clone(&tree));
        if let Some(tree) = tree {
            let base = Base::new(chain.base());
            let stop = Stop { id, chain, base, parent: PageId::NONE };
            // A page that is away for an SMO that would follow is not worth bringing in for it.
            let _away = self.consolidate(&tree, &stop, 0, &guard);
        }
    }
}
