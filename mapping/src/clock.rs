//! The clock and the cuts that are open.
//!
//! The clock is bumped by a cut only, never by a write. A cut at `S` sees every record with a
//! version of at most `S`. It is opened in one order (A8): read `S`; take `S` in the registry; CAS
//! the clock from `S` to `S + 1`. Each version is taken once, by one bit ([`registry`]); who finds
//! it taken helps the clock on, and starts again. So nobody bumps the clock who has not seen the
//! registration, and where the CAS of the cut fails, another thread has made it for the cut.
//!
//! Thread K consolidates, thread T opens a cut, thread W writes:
//!
//! 1. K loads the word and stamps every record in it.
//! 2. K reads the registry and folds only what every open cut sees.
//!
//! Were a record with a version above `S` among those of step 1, its stamp was taken from a clock
//! that was bumped after `S` was taken. Reading the stamp (Acquire) makes that visible to step 2.
//! So K never folds a version away that `S` needs.
//!
//! For the same reason who has read the version `n` finds in the registry every cut below `n`
//! that is not closed; and so does who closes a cut, of the older ones.
//!
//! # What is kept
//!
//! What is kept for a cut ([`kept`]) lies in its cell. A thread may keep something for a cut that
//! is being closed. Both sides look again:
//!
//! ```text
//!   keeping   push | fence | is the cut closed? then take all that is there, for the next older
//!   closing   closed | fence | take all that is there, for the next older
//! ```
//!
//! [`registry`]: crate::registry
//! [`kept`]: crate::kept

use crate::kept::{Heap, Kept};
use crate::registry::{Cell, Registry};
use core::fmt;
use sync::atomic::{AtomicU64, Ordering, fence};
use sync::epoch::Guard;

/// The clock of a store.
#[derive(Debug)]
pub struct Clock {
    now: AtomicU64,
    registry: Registry,
}

/// A cut that consolidations respect until this is dropped.
pub struct OpenCut<'c> {
    registry: &'c Registry,
    /// Its block stays as long as it is open.
    cell: Cell<'c>,
}

impl Clock {
    /// A clock that reads `now`, at least 1.
    pub fn new(now: u64) -> Self {
        Self { now: AtomicU64::new(now.max(1)), registry: Registry::new() }
    }

    /// What the clock reads.
    #[inline]
    pub fn now(&self) -> u64 {
        // ORDERING: Acquire pairs with the bump in `open`; see the module's proof. SeqCst for
        // `stamp::date`.
        self.now.load(Ordering::SeqCst)
    }

    /// Sets the clock forward, at recovery, before anybody else uses it.
    pub fn advance_to(&self, now: u64) {
        self.now.fetch_max(now, Ordering::AcqRel);
    }

    /// Opens a cut: `O(1)`. Any number of them can be open.
    ///
    /// What was stamped with at most the cut's version is on the dirty list, or was drained from
    /// it before, when this returns.
    ///
    /// LINEARIZES: at the bump of the clock.
    pub fn open(&self, guard: &Guard) -> OpenCut<'_> {
        // ORDERING: before the bit, which is before the bump: who reads a version above that of a
        // cut finds the count above zero as long as the cut is open.
        self.registry.count.fetch_add(1, Ordering::AcqRel);
        loop {
            let version = self.now.load(Ordering::Acquire);
            let Some(cell) = self.registry.cell(version, guard) else { continue };
            let taken = cell.take();
            // ORDERING: Release publishes the registration to whoever reads the new time; SeqCst
            // for `stamp::date`. Failure: another thread has helped.
            let (ok, fail) = (Ordering::SeqCst, Ordering::Relaxed);
            let _helped = self.now.compare_exchange(version, version + 1, ok, fail);
            if taken {
                // ORDERING: the cut's side of the store buffering with `stamp`: bump | fence |
                // drain and words, against install | listed | fence | clock.
                fence(Ordering::SeqCst);
                return OpenCut {
                    registry: &self.registry,
                    cell: Registry::lasting(&self.registry, cell),
                };
            }
        }
    }

    /// Closes a cut, and calls `free` with all that was kept for it and that no other cut sees.
    ///
    /// Takes `O(1)` for each thing that writers have kept for this cut, and `O(log n)` for each
    /// that goes, in the mean.
    pub fn close(&self, cut: OpenCut<'_>, guard: &Guard, free: impl FnMut(Kept)) {
        let cell = cut.cell.under(guard);
        drop(cut);
        // ORDERING: the closing side of the store buffering with `keep`; and of that with who puts
        // a page on the list of those with a history.
        fence(Ordering::SeqCst);
        if let Some(heap) = cell.kept().take() {
            Self::pass_on(heap, cell.newest_below(guard), guard, free);
        }
        self.registry.sweep_after(cell, guard);
    }

    /// Keeps something for the newest open cut that sees it; without one calls `free` with it. It
    /// was there from the version `since` on, and is hidden from `hidden_at` on, which the caller
    /// has read as a version.
    ///
    /// Takes `O(1)`, unless that cut is closed at the same time.
    pub fn keep(
        &self,
        (since, hidden_at): (u64, u64),
        what: Kept,
        guard: &Guard,
        free: impl FnMut(Kept),
    ) {
        let cell = self.registry.newest_below(hidden_at, guard);
        Self::pass_on(Heap::of(since, what), cell, guard, free);
    }

    /// Gives to a cut what it sees of a heap, and frees the rest.
    fn pass_on<'g>(
        mut heap: Heap,
        mut newest: Option<Cell<'g>>,
        guard: &'g Guard,
        mut free: impl FnMut(Kept),
    ) {
        loop {
            while newest.is_none_or(|cut| cut.version < heap.since()) {
                let (gone, rest) = heap.pop();
                free(gone);
                let Some(rest) = rest else { return };
                heap = rest;
            }
            let Some(cut) = newest else { return };
            cut.kept().push(heap);
            // ORDERING: the keeping side of the store buffering with `close`.
            fence(Ordering::SeqCst);
            if cut.is_open() {
                return;
            }
            // Who closes it may have come before.
            let Some(left) = cut.kept().take() else { return };
            (heap, newest) = (left, cut.newest_below(guard));
        }
    }

    /// Whether no cut is open.
    #[inline]
    pub fn none_open(&self) -> bool {
        // ORDERING: Acquire; see `open`.
        self.registry.count.load(Ordering::Acquire) == 0
    }

    /// Whether an open cut sees the older of two versions of a key and not the newer.
    #[inline]
    pub fn cut_between(&self, older: u64, newer: u64, guard: &Guard) -> bool {
        !self.none_open()
            && self.registry.newest_below(newer, guard).is_some_and(|cut| cut.version >= older)
    }

    /// The version of the oldest open cut.
    #[inline]
    pub fn oldest_open(&self, guard: &Guard) -> Option<u64> {
        if self.none_open() { None } else { self.registry.versions(guard).last() }
    }

    /// The versions of all open cuts, in ascending order: for tests.
    #[doc(hidden)]
    pub fn open_cuts(&self, guard: &Guard) -> Vec<u64> {
        let mut versions: Vec<u64> = self.registry.versions(guard).collect();
        versions.reverse();
        versions
    }

    /// All that is kept for cuts that were never closed.
    pub fn take_kept(&mut self, guard: &Guard) -> Vec<Kept> {
        let mut all = Vec::new();
        let mut next = self.registry.newest_below(u64::MAX, guard);
        while let Some(cut) = next {
            let mut rest = cut.kept().take();
            while let Some(heap) = rest {
                let (what, left) = heap.pop();
                all.push(what);
                rest = left;
            }
            next = cut.newest_below(guard);
        }
        all
    }
}

impl OpenCut<'_> {
    /// The cut sees records with at most this version.
    pub fn version(&self) -> u64 {
        self.cell.version
    }
}

impl Drop for OpenCut<'_> {
    fn drop(&mut self) {
        self.cell.close();
        // ORDERING: Release, as the bit.
        self.registry.count.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for OpenCut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut {}", self.version())
    }
}
