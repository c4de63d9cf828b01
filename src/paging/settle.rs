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
use types::PageId;

/// Most pages that are looked at in one step: of a store with writers, and of an idle one.
const STEP_PAGES: u32 = 512;
const IDLE_STEP_PAGES: u32 = 8192;

/// Cuts since the last write of a page after which it counts as quiet.
const QUIET_CUTS: u64 = 4;

/// With fewer records a page is folded in an idle store only: a reader hardly feels them, and in a
/// store larger than its memory the page will be evicted before it is read again.
const FEW_RECORDS: usize = 4;

impl DurableEngine {
    /// Looks at the pages from `hand` on and folds those that are quiet. Returns where to go on,
    /// and how many were folded.
    ///
    /// Quiet is what was not written during the last cuts; in an `idle` store, to which nobody
    /// writes, it is everything that the log has.
    pub(crate) fn settle_pages(&self, hand: u32, idle: bool) -> (u32, u32) {
        let _changing = self.store.at_rest();
        let limit = self.table.id_limit();
        let first = if hand >= limit { 1 } else { hand.max(1) };
        let step = if idle { IDLE_STEP_PAGES } else { STEP_PAGES };
        let quiet_cuts = if idle { 0 } else { QUIET_CUTS };
        let end = first.saturating_add(step).min(limit);
        let ids = (first..end).map(PageId::new);
        let folded = ids.filter(|&id| self.settle_page(id, quiet_cuts)).count();
        (end, folded as u32)
    }

    fn settle_page(&self, id: PageId, quiet_cuts: u64) -> bool {
        let guard = self.pin();
        let Word::Resident(chain) = self.table.load(id, &guard) else { return false };
        let Some(newest) = chain.newest() else { return false };
        let page = chain.page();
        let version = self.version(id, page, newest);
        let flushed = self.place_without_lists(id, &guard).map_or(0, |place| place.flushed);
        if version > flushed || version + quiet_cuts > self.clock.now() {
            return false;
        }
        if quiet_cuts > 0 && chain.records().nth(FEW_RECORDS - 1).is_none() {
            return false;
        }
        if let Some(tree) = self.tree(page.tree()) {
            let base = Base::new(chain.base());
            let stop = Stop { id, chain, base, parent: PageId::NONE };
            // A page that is away for an SMO that would follow is not worth bringing in for it.
            let _away = self.consolidate(&tree, &stop, 0, &guard);
            return true;
        }
        false
    }
}
