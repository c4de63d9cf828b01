//! The cells in which open cuts are registered: as many as are wanted, found by bits.
//!
//! The first ones lie in the clock; more are linked behind them when they are all taken, and stay.
//! That there are more says a bit as well, so that one load tells that nothing is open where there
//! never were many. Whoever takes a later cell has set the bit of each of those before.
#![expect(unsafe_code, reason = "a list of boxes that only grows")]

use core::fmt;
use core::ptr::{self, NonNull};
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(not(loom))]
const CELLS: usize = 63;
#[cfg(loom)]
const CELLS: usize = 2;

/// There are more cells than these.
const MORE: u64 = 1 << 63;

/// Some cells, and where there are more.
pub(crate) struct Cells {
    /// Which cells are taken: a bit each, set while the cell has a version.
    pub(crate) taken: AtomicU64,
    pub(crate) open: [AtomicU64; CELLS],
    more: AtomicPtr<Cells>,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            open: core::array::from_fn(|_| AtomicU64::new(0)),
            more: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A cell that nobody had, with this version in it. Its bit is not set yet.
    pub(crate) fn take(&self, version: u64) -> (&Self, usize) {
        let mut here = self;
        loop {
            // A hint only, which would cost models dear: the CAS decides.
            #[cfg(not(loom))]
            let mut free = !here.taken.load(Ordering::Relaxed);
            #[cfg(loom)]
            let mut free = u64::MAX;
            let free = core::iter::from_fn(|| {
                let cell = free.trailing_zeros() as usize;
                free &= free.wrapping_sub(1);
                (cell < CELLS).then_some(cell)
            })
            .find(|cell| {
                let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
                here.open[*cell].compare_exchange(0, version, ok, fail).is_ok()
            });
            if let Some(cell) = free {
                return (here, cell);
            }
            let next = here.next().unwrap_or_else(|| here.grow());
            // ORDERING: before the bump of the clock, as the bit of the cell; Release, so that who
            // sees it sees the link.
            here.taken.fetch_or(MORE, Ordering::AcqRel);
            here = next;
        }
    }

    fn next(&self) -> Option<&Self> {
        // ORDERING: Acquire pairs with the Release in `grow`.
        let more = NonNull::new(self.more.load(Ordering::Acquire))?;
        // SAFETY: cells that are linked stay until the first ones are dropped.
        Some(unsafe { more.as_ref() })
    }

    /// The next cells, which are made if there are none.
    #[cold]
    fn grow(&self) -> &Self {
        let new = Box::into_raw(Box::new(Self::new()));
        // ORDERING: Release publishes the new cells; Acquire shows those of another.
        let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
        let next = match self.more.compare_exchange(ptr::null_mut(), new, ok, fail) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: nobody has seen them.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
        // SAFETY: as in `next`.
        unsafe { &*next }
    }

    /// Whether none of them is taken, and none ever was of more than these.
    #[inline]
    pub(crate) fn are_free(&self) -> bool {
        // ORDERING: Acquire; see the proof in `clock`.
        self.taken.load(Ordering::Acquire) == 0
    }

    /// The versions in all cells.
    #[inline]
    pub(crate) fn versions(&self) -> impl Iterator<Item = u64> {
        // ORDERING: Acquire; see the proof in `clock`.
        let mut here = self;
        let mut taken = here.taken.load(Ordering::Acquire);
        let cells = core::iter::from_fn(move || {
            while taken & !MORE == 0 {
                here = if taken == 0 { None } else { here.next() }?;
                taken = here.taken.load(Ordering::Acquire);
            }
            let cell = taken.trailing_zeros() as usize;
            taken &= taken - 1;
            Some(&here.open[cell])
        });
        cells.map(|cell| cell.load(Ordering::Acquire)).filter(|&version| version != 0)
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // One after the other: thousands of them would be too many for the stack.
        let mut more = self.more.load(Ordering::Relaxed);
        while !more.is_null() {
            // SAFETY: `&mut self`: nobody uses them; each is the only one to own the next.
            let cells = unsafe { Box::from_raw(more) };
            more = cells.more.swap(ptr::null_mut(), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.versions()).finish()
    }
}
