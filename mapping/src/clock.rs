//! The clock and the cuts that are open.
//!
//! The clock is bumped by a cut only, never by a write. A cut at `S` sees every record with a
//! version of at most `S`. It is opened in one order (A8): read `S`; publish it; CAS the clock
//! from `S` to `S + 1`; if that fails, unpublish and start again.
//!
//! Thread K consolidates, thread T opens a cut, thread W writes:
//!
//! 1. K loads the word and stamps every record in it.
//! 2. K reads the registry and folds only what every open cut sees.
//!
//! Were a record with a version above `S` among those of step 1, its stamp was taken from a clock
//! that T had bumped after publishing `S`. Reading the stamp (Acquire) makes that publication
//! visible to step 2. So K never folds a version away that `S` needs.

use crate::cells::Cells;
use sync::atomic::{AtomicU64, Ordering, fence};

/// The clock of a store.
#[derive(Debug)]
pub struct Clock {
    now: AtomicU64,
    cells: Cells,
}

/// A cut that consolidations respect until this is dropped.
#[derive(Debug)]
pub struct OpenCut<'c> {
    cells: &'c Cells,
    cell: usize,
    version: u64,
}

impl Clock {
    /// A clock that reads `now`, at least 1.
    pub fn new(now: u64) -> Self {
        Self { now: AtomicU64::new(now.max(1)), cells: Cells::new() }
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

    /// Opens a cut. Any number of them can be open.
    ///
    /// What was stamped with at most the cut's version is on the dirty list, or was drained from
    /// it before, when this returns.
    ///
    /// LINEARIZES: at the bump of the clock.
    pub fn open(&self) -> OpenCut<'_> {
        self.open_and_tell(|_| {})
    }

    /// The same. Calls `given_up` with every version that was in the registry for a moment and did
    /// not become this cut's: others may have taken it for that of an open cut.
    pub fn open_and_tell(&self, mut given_up: impl FnMut(u64)) -> OpenCut<'_> {
        loop {
            let version = self.now.load(Ordering::Acquire);
            let (cells, cell) = self.cells.take(version);
            // ORDERING: Release publishes the cell's version to whoever sees the bit.
            cells.taken.fetch_or(1 << cell, Ordering::AcqRel);
            let open = OpenCut { cells, cell, version };
            // ORDERING: Release publishes the registration to whoever reads the new time; SeqCst
            // for `stamp::date`.
            let (ok, fail) = (Ordering::SeqCst, Ordering::Relaxed);
            if self.now.compare_exchange(version, version + 1, ok, fail).is_ok() {
                // ORDERING: the cut's side of the store buffering with `stamp`: bump | fence |
                // drain and words, against install | listed | fence | clock.
                fence(Ordering::SeqCst);
                return open;
            }
            drop(open);
            given_up(version);
        }
    }

    /// Whether an open cut sees the older of two versions of a key and not the newer.
    pub fn cut_between(&self, older: u64, newer: u64) -> bool {
        self.newest_between(older, newer).is_some()
    }

    /// The newest open cut that sees the older of two versions of a key and not the newer.
    #[inline]
    pub fn newest_between(&self, older: u64, newer: u64) -> Option<u64> {
        if self.cells.are_free() {
            return None;
        }
        self.cells.versions().filter(|cut| (older..newer).contains(cut)).max()
    }

    /// Whether a cut with this version is open.
    pub fn is_open(&self, version: u64) -> bool {
        self.cells.versions().any(|cut| cut == version)
    }

    /// The version of the oldest open cut.
    #[inline]
    pub fn oldest_open(&self) -> Option<u64> {
        self.cells.versions().min()
    }

    /// The versions of all open cuts, in ascending order.
    #[inline]
    pub fn open_cuts(&self) -> Vec<u64> {
        if self.cells.are_free() { Vec::new() } else { self.sorted_cuts() }
    }

    #[cold]
    fn sorted_cuts(&self) -> Vec<u64> {
        let mut versions: Vec<u64> = self.cells.versions().collect();
        versions.sort_unstable();
        versions
    }
}

impl OpenCut<'_> {
    /// The cut sees records with at most this version.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl Drop for OpenCut<'_> {
    fn drop(&mut self) {
        // ORDERING: Release, so that what the cut has read is read before it is closed. The bit
        // goes before the cell: once that is free, the bit is its next owner's.
        self.cells.taken.fetch_and(!(1 << self.cell), Ordering::Release);
        self.cells.open[self.cell].store(0, Ordering::Release);
    }
}
