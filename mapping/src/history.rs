//! What a page was: replaced pages that an open cut still needs, kept by those in their place.
//!
//! An [`Old`] is a page as it was when another took its place: its chain up to the last record. It
//! never changes. What it was good for is a rectangle: the keys between its fences, at the
//! versions from its base version up to, not including, the one of what replaced it. No two such
//! rectangles of a tree overlap, so of any list of them at most one answers for a key at a version.
//!
//! A [`History`] is a list of them, the newest first, hung into the header of a page before that is
//! published. It never changes; the histories of the pages that take its place *share* it, so it
//! costs nothing to hand it on, however long it is. A shorter one may take its place
//! ([`Chain::trim`]), which goes through the epoch, and the last one goes when the page is
//! replaced ([`Unlinked::close_history`](crate::Unlinked::close_history)).
//!
//! An `Old` is one of the *owners* of its page from the beginning, whether the race is won or lost:
//! the page lives at least as long. The winner retires what it has unlinked as ever, and has the
//! page kept for the newest open cut that sees it ([`Clock::keep`](crate::Clock::keep)); it goes
//! with the last one ([`Old::release`]). What is left of the `Old` then is some bytes in the lists
//! that have it, a *husk*: the next page gets a list without those at its beginning, and one
//! without any once more than half of it are husks.
//!
//! Its values are not its own: those that were displaced since and that an open cut needs are kept
//! until that is closed, by who displaced them.
#![expect(unsafe_code, reason = "an old page is freed by the last that owns it")]

use crate::page::{Chain, Head, Page, PageBox, PageRef};
use core::fmt;
use core::ptr;
use std::sync::Arc;
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::epoch::Guard;

/// A page that was replaced.
pub struct Old {
    /// Null once no cut needs it.
    page: AtomicPtr<Page>,
    head: Head,
    base_version: u64,
    /// The base version of what replaced it; 0 while that has none.
    hidden_at: AtomicU64,
}

impl Old {
    /// The page of a chain, which has a base version and is about to be replaced by one with this
    /// base version.
    ///
    /// # Panics
    /// If 65,535 own the page.
    pub fn of(chain: Chain<'_>, hidden_at: u64) -> Self {
        let page = chain.page();
        Self::new(page.own(chain.head()), page.base_version(), hidden_at)
    }

    /// A copy of a page that goes another way.
    pub fn copied(page: PageBox, hidden_at: u64) -> Self {
        let base_version = page.page().base_version();
        Self::new(page.into_raw(), base_version, hidden_at)
    }

    fn new((page, head): (*mut Page, Head), base_version: u64, hidden_at: u64) -> Self {
        let hidden_at = AtomicU64::new(hidden_at);
        Self { page: AtomicPtr::new(page), head, base_version, hidden_at }
    }

    /// The page, with the newest record that it ever had; nothing if no cut needs it any more. To
    /// be looked at under the pin under which this was found.
    pub fn chain<'g>(&'g self, _guard: &'g Guard) -> Option<Chain<'g>> {
        // ORDERING: Acquire pairs with the publication of what has this.
        let page = self.page.load(Ordering::Acquire);
        // SAFETY: this is one of its owners as long as it is borrowed; and the share goes through
        // the epoch if it is given up meanwhile.
        (!page.is_null()).then(|| Chain::old(unsafe { PageRef::from_raw(page) }, self.head))
    }

    /// Whether the page is there no more.
    pub fn is_husk(&self) -> bool {
        self.page.load(Ordering::Acquire).is_null()
    }

    /// Largest version folded into its base.
    pub fn base_version(&self) -> u64 {
        self.base_version
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

    /// No cut needs the page any more.
    pub fn release(&self, guard: &Guard) {
        // ORDERING: AcqRel: it is freed behind all that was done with it.
        let page = Carry(self.page.swap(ptr::null_mut(), Ordering::AcqRel), self.head);
        guard.defer(move || page.free());
    }
}

/// Lets a deferred action have a share of a page.
struct Carry(*mut Page, Head);
// SAFETY: a page is `Send` and `Sync`, and the share is the action's alone.
unsafe impl Send for Carry {}

impl Carry {
    fn free(self) {
        if !self.0.is_null() {
            // SAFETY: the share was taken in `of` or came in `copied`, and is given up once.
            drop(unsafe { PageBox::from_raw(self.0, self.1) });
        }
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        Carry(self.page.load(Ordering::Relaxed), self.head).free();
    }
}

impl fmt::Debug for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Old").field("head", &self.head).finish_non_exhaustive()
    }
}

/// What a page was: a list that is never empty, and whose end others may have as well.
pub struct History {
    newest: Arc<Old>,
    older: Option<Arc<Self>>,
    /// How many there are.
    len: usize,
    /// How many there were when the list was last gone through, no husk among them.
    kept: usize,
}

/// Husks that a list may have however short it is.
const HUSKS: usize = 8;

impl History {
    /// The history of these, the page that was there last first; none if there are none.
    pub fn of(olds: impl IntoIterator<Item = Arc<Old>>) -> Option<Arc<Self>> {
        let mut olds: Vec<_> = olds.into_iter().collect();
        let mut history = None;
        let mut len = 0;
        while let Some(newest) = olds.pop() {
            len += 1;
            history = Some(Arc::new(Self { newest, older: history, len, kept: len }));
        }
        history
    }

    /// A page that was replaced, and what that had.
    pub fn onto(newest: Arc<Old>, older: Option<Arc<Self>>) -> Arc<Self> {
        let (len, kept) = older.as_ref().map_or((0, 0), |older| (older.len, older.kept));
        Arc::new(Self { newest, older, len: len + 1, kept })
    }

    /// The same without the husks at its beginning; without any if there are too many.
    ///
    /// Takes `O(1)` in the mean: each husk is skipped once, and the list is gone through when it
    /// has twice the length.
    pub fn without_husks(mut history: Arc<Self>) -> Option<Arc<Self>> {
        while history.newest.is_husk() {
            history = Arc::clone(history.older.as_ref()?);
        }
        if history.len <= 2 * history.kept + HUSKS {
            return Some(history);
        }
        Self::of(history.olds().filter(|old| !old.is_husk()).cloned())
    }

    /// The page that was there last. Where no base version is decided yet, its
    /// [`hidden_at`](Old::hidden_at) decides it, for all pages that took its place.
    pub fn newest(&self) -> &Old {
        &self.newest
    }

    /// All of them, husks as well.
    pub fn olds(&self) -> impl Iterator<Item = &Arc<Old>> {
        let mut next = Some(self);
        core::iter::from_fn(move || {
            let here = next?;
            next = here.older.as_deref();
            Some(&here.newest)
        })
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // One after the other: many would be too many for the stack.
        let mut next = self.older.take();
        while let Some(mut last) = next.and_then(Arc::into_inner) {
            next = last.older.take();
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.olds()).finish()
    }
}
