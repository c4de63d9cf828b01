//! The registry of cuts: one cell for each version that a cut has taken.
//!
//! The clock's versions are the addresses: the cell of version `v` is a bit, and an inbox for what
//! is kept for that cut, in the block of the versions around `v`. The blocks are linked from the
//! newest to the oldest. A bit says that a cut has *taken* the version, for good, another that the
//! cut is *closed*. So a version has at most one cut, ever; and a block all of whose cuts are
//! closed is out of use, for good: it is unlinked, and goes through the epoch. What is left behind
//! by any number of cuts, once they are closed, is one block.
//!
//! The newest open cut below a version is found in the first block that is looked at, or the next,
//! unless the version is an old one.
#![expect(unsafe_code, reason = "blocks are unlinked, and freed by way of the epoch")]

use crate::kept::Inbox;
use core::fmt;
use core::ptr::{self, NonNull};
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::epoch::Guard;
use sync::lock::TryLock;

/// Versions of a block: a power of two, as many as there are bits at the most.
#[cfg(not(loom))]
const CUTS: usize = 64;
#[cfg(loom)]
const CUTS: usize = 2;

/// The bits of all versions of a block.
const ALL: u64 = u64::MAX >> (64 - CUTS);

/// The cells of neighbouring versions.
pub(crate) struct Block {
    /// The first of the versions.
    first: u64,
    /// Which of them a cut has taken, or were over when the block came.
    taken: AtomicU64,
    /// Which of these are over.
    closed: AtomicU64,
    kept: [Inbox; CUTS],
    /// The block of older versions.
    older: AtomicPtr<Block>,
}

impl Block {
    /// The block of this version, the first that a cut wants in it.
    fn of(version: u64, older: *mut Self) -> Self {
        let first = version & !(CUTS as u64 - 1);
        let over = (1 << (version - first)) - 1;
        Self {
            first,
            taken: AtomicU64::new(over),
            closed: AtomicU64::new(over),
            kept: core::array::from_fn(|_| Inbox::new()),
            older: AtomicPtr::new(older),
        }
    }

    /// The bits of the versions in it that are below this one.
    fn bits_below(&self, version: u64) -> u64 {
        match version.saturating_sub(self.first) {
            cell if cell < CUTS as u64 => (1 << cell) - 1,
            _ => ALL,
        }
    }

    /// The bits of the open cuts.
    #[inline]
    fn open(&self) -> u64 {
        // ORDERING: Acquire; see the proof in `clock`.
        self.taken.load(Ordering::Acquire) & !self.closed.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        // ORDERING: Acquire: whoever unlinks it comes behind those who closed its cuts.
        self.closed.load(Ordering::Acquire) == ALL
    }

    fn older<'g>(&self, _guard: &'g Guard) -> Option<&'g Self> {
        // ORDERING: Acquire pairs with the Release that linked the block.
        let older = NonNull::new(self.older.load(Ordering::Acquire))?;
        // SAFETY: a block is unlinked before it is handed to the epoch.
        Some(unsafe { older.as_ref() })
    }
}

/// The place of a version in the registry.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'g> {
    pub(crate) block: &'g Block,
    pub(crate) version: u64,
}

impl Cell<'_> {
    fn bit(self) -> u64 {
        1 << (self.version - self.block.first)
    }

    /// Takes the version for a cut. `false` if one has it, or had it.
    pub(crate) fn take(self) -> bool {
        // ORDERING: AcqRel: whoever sees the bit sees what its owner did before.
        self.block.taken.fetch_or(self.bit(), Ordering::AcqRel) & self.bit() == 0
    }

    /// The cut is closed.
    pub(crate) fn close(self) {
        // ORDERING: Release, so that what the cut has read is read before it is closed.
        self.block.closed.fetch_or(self.bit(), Ordering::AcqRel);
    }

    pub(crate) fn is_open(self) -> bool {
        self.block.open() & self.bit() != 0
    }

    /// The same, for as long as this pin lasts. To be called with an open cut.
    pub(crate) fn under(self, _guard: &Guard) -> Cell<'_> {
        // SAFETY: a block with an open cut is not unlinked; if it is later, the pin is older.
        Cell { block: unsafe { &*ptr::from_ref(self.block) }, version: self.version }
    }

    /// What is kept for the cut.
    pub(crate) fn kept(&self) -> &Inbox {
        &self.block.kept[(self.version - self.block.first) as usize]
    }

    /// The newest open cut below this version.
    pub(crate) fn newest_below(self, guard: &Guard) -> Option<Cell<'_>> {
        newest_in(self.block, self.version, guard)
    }
}

/// The newest open cut below a version, in this block or an older one.
#[inline]
fn newest_in<'g>(block: &Block, version: u64, guard: &'g Guard) -> Option<Cell<'g>> {
    // SAFETY: the caller has found the block under its pin, or has an open cut in it.
    let mut next: Option<&'g Block> = Some(unsafe { &*ptr::from_ref(block) });
    while let Some(block) = next {
        let open = if block.first < version { block.open() & block.bits_below(version) } else { 0 };
        if open != 0 {
            return Some(Cell { block, version: block.first + u64::from(open.ilog2()) });
        }
        next = block.older(guard);
    }
    None
}

/// All blocks.
pub(crate) struct Registry {
    newest: AtomicPtr<Block>,
    /// How many cuts are open, or being opened.
    pub(crate) count: AtomicU64,
    /// Who unlinks blocks.
    sweeping: TryLock<()>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let (newest, count) = (AtomicPtr::new(ptr::null_mut()), AtomicU64::new(0));
        Self { newest, count, sweeping: TryLock::new(()) }
    }

    fn newest<'g>(&self, _guard: &'g Guard) -> Option<&'g Block> {
        // ORDERING: Acquire pairs with the Release in `cell`.
        let newest = NonNull::new(self.newest.load(Ordering::Acquire))?;
        // SAFETY: a block is unlinked before it is handed to the epoch.
        Some(unsafe { newest.as_ref() })
    }

    /// The cell of what the clock reads; `None` if it has moved on.
    pub(crate) fn cell<'g>(&self, version: u64, guard: &'g Guard) -> Option<Cell<'g>> {
        let newest = self.newest(guard);
        match newest.map(|block| version.checked_sub(block.first)) {
            Some(Some(cell)) if cell < CUTS as u64 => newest.map(|block| Cell { block, version }),
            Some(None) => None,
            _ => self.begin_block(version, newest, guard),
        }
    }

    /// The cell of a cut that is open: its block is not unlinked before that is closed.
    pub(crate) fn lasting<'c>(_registry: &'c Self, cell: Cell<'_>) -> Cell<'c> {
        // SAFETY: a block with an open cut is not over, and the registry drops it.
        Cell { block: unsafe { &*ptr::from_ref(cell.block) }, version: cell.version }
    }

    #[cold]
    fn begin_block<'g>(
        &self,
        version: u64,
        newest: Option<&'g Block>,
        guard: &'g Guard,
    ) -> Option<Cell<'g>> {
        let newest = newest.map_or(ptr::null_mut(), |block| ptr::from_ref(block).cast_mut());
        let new = Box::into_raw(Box::new(Block::of(version, newest)));
        // ORDERING: Release publishes the block.
        let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
        if self.newest.compare_exchange(newest, new, ok, fail).is_err() {
            // SAFETY: nobody has seen it.
            drop(unsafe { Box::from_raw(new) });
            return None;
        }
        self.sweep(guard);
        // SAFETY: it is linked, and the pin is older than any unlinking.
        Some(Cell { block: unsafe { &*new }, version })
    }

    /// Unlinks the blocks that are over, but for the newest. Leaves it to another thread that is at
    /// it: what that passes by goes with the next sweep.
    pub(crate) fn sweep(&self, guard: &Guard) {
        let Some(_sweeping) = self.sweeping.try_lock() else { return };
        let Some(mut newer) = self.newest(guard) else { return };
        while let Some(block) = newer.older(guard) {
            if block.is_over() {
                // ORDERING: Release, as when the older one was linked first. Nobody else changes
                // links.
                newer.older.store(block.older.load(Ordering::Acquire), Ordering::Release);
                let block = Carry(ptr::from_ref(block).cast_mut());
                guard.defer(move || block.free());
            } else {
                newer = block;
            }
        }
    }

    /// Sweeps if this block is over, and not the newest.
    pub(crate) fn sweep_after(&self, cell: Cell<'_>, guard: &Guard) {
        if cell.block.is_over() && self.newest(guard).is_some_and(|it| !ptr::eq(it, cell.block)) {
            self.sweep(guard);
        }
    }

    /// The newest open cut below this version.
    #[inline]
    pub(crate) fn newest_below<'g>(&self, version: u64, guard: &'g Guard) -> Option<Cell<'g>> {
        newest_in(self.newest(guard)?, version, guard)
    }

    /// The versions of all open cuts, in descending order.
    pub(crate) fn versions(&self, guard: &Guard) -> impl Iterator<Item = u64> {
        let mut below = self.newest_below(u64::MAX, guard);
        core::iter::from_fn(move || {
            let cell = below?;
            below = cell.newest_below(guard);
            Some(cell.version)
        })
    }
}

/// Lets a deferred action own a block.
struct Carry(*mut Block);
// SAFETY: a block is `Send`, and owned by the action alone.
unsafe impl Send for Carry {}

impl Carry {
    fn free(self) {
        // SAFETY: it was unlinked, once, by who holds the lock.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // One after the other: many would be too many for the stack.
        let mut next = self.newest.load(Ordering::Relaxed);
        while !next.is_null() {
            // SAFETY: `&mut self`: nobody uses them; each is the only one to link to the next.
            next = unsafe { Box::from_raw(next) }.older.load(Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open cuts", self.count.load(Ordering::Relaxed))
    }
}
