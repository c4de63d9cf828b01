//! Page ids: handed out fresh, or again after an epoch.
//!
//! Free ids form a stack through their own words. Its head is `{count: 32 | id: 32}`: the count
//! goes up at every push and pop, so a head that was read before others popped and pushed the same
//! id back does not compare equal.

use crate::table::{Table, TableFull};
use sync::atomic::Ordering;
use types::PageId;

fn head(count: u64, id: u64) -> u64 {
    (count & u64::from(u32::MAX)) << 32 | id
}

impl Table {
    /// An id that nobody uses. Its word is Free until the caller sets it.
    ///
    /// # Errors
    /// [`TableFull`] if all ids are in use.
    pub fn allocate(&self) -> Result<PageId, TableFull> {
        // ORDERING: Acquire pairs with the Release of `release`, so the link in the word is seen.
        let mut seen = self.free.load(Ordering::Acquire);
        loop {
            let id = PageId::new(seen as u32);
            if id.is_none() {
                break;
            }
            let new = head((seen >> 32) + 1, self.next_free(id));
            let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
            match self.free.compare_exchange(seen, new, ok, fail) {
                Ok(_) => {
                    self.set_next_free(id, 0);
                    return Ok(id);
                }
                Err(now) => seen = now,
            }
        }
        let fresh = self.next.fetch_add(1, Ordering::AcqRel);
        let id = u32::try_from(fresh).map(PageId::new).map_err(|_| TableFull)?;
        self.grow(id)?;
        Ok(id)
    }

    /// Makes `id` available again. The caller has made sure that nobody who may still know it is
    /// pinned, and that its word is Free (I1).
    pub fn release(&self, id: PageId) {
        // ORDERING: as in `allocate`.
        let mut seen = self.free.load(Ordering::Acquire);
        loop {
            self.set_next_free(id, u64::from(seen as u32));
            let new = head((seen >> 32) + 1, u64::from(id.number()));
            let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
            match self.free.compare_exchange(seen, new, ok, fail) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Makes sure that all ids below `limit` have slots and are not handed out as fresh: recovery.
    ///
    /// # Errors
    /// [`TableFull`] if there cannot be so many.
    pub fn reserve_below(&self, limit: u32) -> Result<(), TableFull> {
        let mut number = 0;
        while number < limit {
            self.grow(PageId::new(number))?;
            number = number.saturating_mul(2).saturating_add(1);
        }
        if limit > 0 {
            self.grow(PageId::new(limit - 1))?;
        }
        self.next.fetch_max(u64::from(limit.max(1)), Ordering::AcqRel);
        Ok(())
    }
}
