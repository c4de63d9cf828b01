//! Dropped: the pages of a tree that was dropped are given back, whatever can be read of them.
//!
//! A tree is its entry in the catalog. What the catalog does not name is garbage, and nobody looks
//! at what is in it: its pages are found by the number of their tree, not by descending, so that
//! dropping costs a walk over the table and no read, and a damaged page stops nothing.
//!
//! 1. The drop sets the tree's state to *dropped* and removes its entry from the catalog, by an
//!    ordinary record with version `v`. Users' attempts look at the state under their pin.
//! 2. When all that were pinned before are gone, the thread that gives back takes the appender and
//!    sets the state to *gone*. Cuts from now on are above `v`: their commit has no such tree, so
//!    they write nothing of it, and no descent goes on in it. So the set of its pages is final.
//! 3. Commits of their own take the pages, some thousands at a time: a Freed part for each that the
//!    log knows. As each of them has a cut above `v`, a recovery that finds a page missing finds no
//!    entry either.
//! 4. Once such a commit is durable, the bytes are dead, the words are cleared, and an epoch later
//!    the ids can name other pages (I1). X2 holds in its way: whatever names the id in the log is a
//!    page of the same tree, which no recovery looks into.
//!
//! A crash anywhere leaves pages whose tree the catalog does not name. An opening for writing finds
//! them by that and goes on with step 3. A page that was merged away is left to `buried`.

use super::store::DurableEngine;
use crate::engine::TreeCore;
use crate::error::Result;
use mapping::Word;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use sync::epoch::Guard;
use types::PageId;

/// Most ids that are looked at under one pin.
const STEP_IDS: u32 = 64 << 10;

/// Trees whose pages are being given back, and how far that is.
#[derive(Debug)]
pub(crate) struct GivingBack {
    trees: HashSet<u32>,
    next: u32,
    /// No page of these trees has an id from here on.
    limit: u32,
}

impl DurableEngine {
    /// Returns when all that are pinned now in a store have unpinned: soon, for nobody is while a
    /// user's code runs or a file is read, and a pin of a map is another thing. Only who takes
    /// pages away from a tree, as a whole or one that cannot be read, or checks one, waits so.
    pub(crate) fn wait_for_pinned(&self) {
        debug_assert!(!self.epoch.is_pinned(), "this thread waits for itself");
        let (done, waiting) = std::sync::mpsc::channel();
        self.pin().defer(move || {
            let _gone = done.send(());
        });
        loop {
            self.pin().flush();
            if waiting.recv_timeout(Duration::from_millis(1)).is_ok() {
                return;
            }
        }
    }

    /// Begins to give the pages of these trees back. They were dropped, which is stamped, and all
    /// that were pinned before are gone.
    pub(crate) fn begin_to_give_back(&self, trees: &[Arc<TreeCore>]) -> GivingBack {
        // A cut that is under way may need to descend in them.
        let _no_cut = self.store.log.appender();
        for tree in trees {
            tree.set_gone();
        }
        let numbers = trees.iter().map(|tree| tree.id).collect();
        GivingBack { trees: numbers, next: 1, limit: self.table.id_limit() }
    }

    /// Gives some more of the pages back. Says whether all of them are.
    pub(crate) fn give_back_some(&self, work: &mut GivingBack) -> Result<bool> {
        let (mut pages, mut id) = (Vec::new(), work.next);
        let end = work.limit.min(id.saturating_add(STEP_IDS));
        let guard = self.pin();
        while id < end && pages.len() < self.store.give_back_pages {
            let page = PageId::new(id);
            if self.is_page_of(page, &work.trees, &guard) {
                pages.push(page);
            }
            id += 1;
        }
        drop(guard);
        if !pages.is_empty() {
            let mut appender = self.store.log.appender();
            self.commit_gone(&mut appender, &pages)?;
        }
        work.next = id;
        if id < work.limit {
            return Ok(false);
        }
        for tree in &work.trees {
            self.store.trees.remove(tree);
        }
        Ok(true)
    }

    fn is_page_of(&self, id: PageId, trees: &HashSet<u32>, guard: &Guard) -> bool {
        match self.table.load(id, guard) {
            Word::Resident(chain) | Word::Capped(chain) | Word::Partial(chain) => {
                trees.contains(&chain.page().tree())
            }
            _ => {
                let place = self.place_without_lists(id, guard);
                place.is_some_and(|place| !place.is_merged() && trees.contains(&place.tree))
            }
        }
    }

    /// Clears the word of a page of a tree that is gone, and its place. Called by the appender,
    /// once a commit without the page is durable.
    pub(super) fn forget_page(&self, id: PageId, guard: &Guard) {
        let cleared = loop {
            let word = self.table.load(id, guard);
            // The evictor may come between.
            match word {
                Word::Resident(chain) | Word::Partial(chain) => {
                    let Some(page) = self.table.clear(id, word) else { continue };
                    self.retire(page, super::fetch::owned_handles(chain), guard);
                }
                Word::Capped(_) => {
                    let Some(page) = self.table.clear(id, word) else { continue };
                    // The page that absorbs it has its values, or had been about to.
                    self.retire(page, Vec::new(), guard);
                }
                Word::Disk(token) => {
                    if !self.table.clear_disk(id, token) {
                        continue;
                    }
                }
                Word::Unborn | Word::Merged { .. } | Word::Free => break false,
            }
            break true;
        };
        self.store.is_sound(id);
        if self.table.place(id, guard).is_some() {
            self.set_place(id, None, guard);
        }
        if cleared {
            self.reuse_later(id, guard);
        }
    }
}
