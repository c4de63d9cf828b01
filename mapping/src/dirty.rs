//! The dirty list: pages that have something to be written, each with the interval it was put on.
//!
//! A stack that anybody pushes to and one thread at a time drains. An entry may be there twice.
#![expect(unsafe_code, reason = "a stack of boxed entries")]

use core::fmt;
use core::ptr;
use sync::atomic::{AtomicPtr, Ordering};
use types::PageId;

struct Entry {
    listed: Listed,
    next: *mut Entry,
}

/// An entry of the dirty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The page.
    pub page: PageId,
    /// What the clock read when it was put on the list.
    pub interval: u64,
}

/// The dirty list of a store.
pub struct DirtyList {
    top: AtomicPtr<Entry>,
    /// In a model no address is used twice: whether a stale `top` compares equal would depend on
    /// the allocator.
    #[cfg(loom)]
    spent: std::sync::Mutex<Vec<Box<Entry>>>,
}

// SAFETY: entries are plain data, owned by the list, handed over whole.
unsafe impl Send for DirtyList {}
// SAFETY: as above.
unsafe impl Sync for DirtyList {}

impl DirtyList {
    /// An empty list.
    pub fn new() -> Self {
        Self {
            top: AtomicPtr::new(ptr::null_mut()),
            #[cfg(loom)]
            spent: std::sync::Mutex::default(),
        }
    }

    /// Puts a page on the list.
    pub fn push(&self, page: PageId, interval: u64) {
        let listed = Listed { page, interval };
        let entry = Box::into_raw(Box::new(Entry { listed, next: ptr::null_mut() }));
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            // SAFETY: the entry is ours until the CAS below succeeds.
            unsafe { (*entry).next = top };
            // ORDERING: AcqRel: who drains this entry sees what its pusher did before.
            let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
            match self.top.compare_exchange(top, entry, ok, fail) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all entries of intervals up to `cut` off the list; later ones stay.
    pub fn drain(&self, cut: u64) -> Vec<PageId> {
        // ORDERING: AcqRel pairs with the pushes.
        let mut entry = self.top.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut pages = Vec::new();
        while !entry.is_null() {
            // SAFETY: the swap made this thread the owner of the whole chain.
            let taken = unsafe { Box::from_raw(entry) };
            entry = taken.next;
            if taken.listed.interval <= cut {
                pages.push(taken.listed.page);
            } else {
                self.push(taken.listed.page, taken.listed.interval);
            }
            #[cfg(loom)]
            if let Ok(mut spent) = self.spent.lock() {
                spent.push(taken);
            }
        }
        pages
    }

    /// Whether nothing is on the list at this moment.
    pub fn is_empty(&self) -> bool {
        self.top.load(Ordering::Acquire).is_null()
    }
}

impl Default for DirtyList {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DirtyList {
    fn drop(&mut self) {
        self.drain(u64::MAX);
    }
}

impl fmt::Debug for DirtyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirtyList")
    }
}
