//! What a page was: replaced pages that an open cut still needs, kept by those in their place.
//!
//! An [`Old`] is a page as it was when another took its place: its chain up to the last record. It
//! never changes. What it was good for is a rectangle: the keys between its fences, at the
//! versions from its base version up to, not including, the one of what replaced it. No two such
//! rectangles of a tree overlap, so of any list of them at most one answers for a key at a version.
//!
//! A [`History`] is a list of them, hung into the header of a page before that is published. It
//! never changes either; a shorter one may take its place ([`PageRef::trim`]), which goes through
//! the epoch, and the last one goes when the page is replaced ([`PageRef::close_history`]).
//!
//! Who owns the memory of a replaced page: nobody, until the winner of the CAS says so
//! ([`Old::own_page`]), which it does before its pin ends. Until then the page is retired by
//! nobody, and no history that names it can be dropped, for that comes an epoch later. If the race
//! is lost the `Old` is dropped and owns nothing.
//!
//! Its values are not its own: those that were displaced since and that an open cut needs are kept
//! until that is closed, by who displaced them.
#![expect(unsafe_code, reason = "an old page is owned by the last history that names it")]

use crate::page::{Chain, Head, Page, PageBox, PageRef};
use core::fmt;
use std::sync::Arc;
use sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A page that was replaced.
pub struct Old {
    page: *mut Page,
    head: Head,
    /// The base version of what replaced it; 0 while that has none.
    hidden_at: AtomicU64,
    /// Whether the memory of the page is its own. Not while the CAS may still be lost.
    owned: AtomicBool,
}

// SAFETY: what is behind the pointer is shared by all who have an `Old`, and immutable but for
// atomics; the last one frees it.
unsafe impl Send for Old {}
// SAFETY: as above.
unsafe impl Sync for Old {}

impl Old {
    /// The page of a chain, which is about to be replaced by one with this base version. Owns
    /// nothing, and may be looked at under the pin of the chain only, until it is told to.
    pub fn of(chain: Chain<'_>, hidden_at: u64) -> Self {
        Self::new(chain.page().as_raw(), chain.head(), hidden_at, false)
    }

    /// A copy of a page that goes another way.
    pub fn copied(page: PageBox, hidden_at: u64) -> Self {
        let (page, head) = page.into_raw();
        Self::new(page, head, hidden_at, true)
    }

    fn new(page: *mut Page, head: Head, hidden_at: u64, owned: bool) -> Self {
        let (hidden_at, owned) = (AtomicU64::new(hidden_at), AtomicBool::new(owned));
        Self { page, head, hidden_at, owned }
    }

    /// The page, with the newest record that it ever had.
    pub fn chain(&self) -> Chain<'_> {
        // SAFETY: the page is this one's own, or its maker and all who see it are pinned still.
        Chain::new(unsafe { PageRef::from_raw(self.page) }, self.head)
    }

    /// Largest version folded into its base.
    pub fn base_version(&self) -> u64 {
        self.chain().page().base_version()
    }

    /// The base version of what replaced it; 0 while that has none.
    pub fn hidden_at(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `hide`.
        self.hidden_at.load(Ordering::Acquire)
    }

    /// Gives what replaced it this base version if it has none, and returns the one that it has.
    pub fn hide(&self, version: u64) -> u64 {
        // ORDERING: Release: who sees the version sees what was seen before the clock was read.
        let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
        self.hidden_at.compare_exchange(0, version, ok, fail).map_or_else(|had| had, |_| version)
    }

    /// Makes the page this one's own. To be called by the winner of the CAS that replaced it,
    /// instead of retiring the page.
    pub fn own_page(&self) {
        // ORDERING: Relaxed; dropping comes an epoch later.
        self.owned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        if self.owned.load(Ordering::Relaxed) {
            // SAFETY: the last owner of a page that was unlinked and that nobody else frees.
            drop(unsafe { PageBox::from_raw(self.page, self.head) });
        }
    }
}

impl fmt::Debug for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Old").field("head", &self.head).finish_non_exhaustive()
    }
}

/// What a page was: never empty.
#[derive(Debug)]
pub struct History {
    newest: Arc<Old>,
    others: Vec<Arc<Old>>,
}

impl History {
    /// The history of these, the page that was there last first; none if there are none.
    pub fn of(olds: impl IntoIterator<Item = Arc<Old>>) -> Option<Box<Self>> {
        let mut olds = olds.into_iter();
        let newest = olds.next()?;
        Some(Box::new(Self { newest, others: olds.collect() }))
    }

    /// The page that was there last. Where no base version is decided yet, its
    /// [`hidden_at`](Old::hidden_at) decides it, for all pages that took its place.
    pub fn newest(&self) -> &Old {
        &self.newest
    }

    /// All of them.
    pub fn olds(&self) -> impl Iterator<Item = &Arc<Old>> {
        core::iter::once(&self.newest).chain(&self.others)
    }
}
