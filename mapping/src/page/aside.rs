//! The history of a page: read, made shorter, closed when the page is replaced.
//!
//! Two kinds of threads change the pointer: who makes the history shorter, and the one that has
//! replaced the page, which closes it, by a bit. A CAS decides between them, so each history is
//! handed to the epoch once; and who finds it closed knows that the page has a successor. What was
//! there stays readable for who has found the page in its id's word under its pin. A page that was
//! found by an [`Old`](crate::Old) may have been closed long ago: so it shows no history, and needs
//! none.
#![expect(unsafe_code, reason = "a history lives as long as the pin under which it was found")]

use super::{Chain, UNLINKED};
use crate::history::History;
use crate::table::Unlinked;
use core::ptr::{self, NonNull};
use std::sync::Arc;
use sync::atomic::Ordering;
use sync::epoch::Guard;

/// Set in the pointer once the page has been replaced.
pub(super) const CLOSED: usize = 1;

const _: () = assert!(align_of::<History>() > CLOSED);

/// Lets a deferred action own a count of a history.
struct Carry(*mut History);
// SAFETY: a history is `Send` and `Sync`, and the count is owned by the action alone.
unsafe impl Send for Carry {}

impl Carry {
    /// Drops the history when nobody pinned now is pinned any more.
    fn defer(self, guard: &Guard) {
        guard.defer(move || {
            let Self(history) = { self };
            // SAFETY: it was unlinked, by one CAS, and the page had a count of it.
            drop(unsafe { Arc::from_raw(history) });
        });
    }
}

fn bare(history: *mut History) -> *mut History {
    history.map_addr(|address| address & !CLOSED)
}

impl<'g> Chain<'g> {
    /// What the page was, for the cuts that need it; nothing if this is the chain of an
    /// [`Old`](crate::Old). Stays what it is under the pin.
    #[inline]
    pub fn history(self) -> Option<&'g History> {
        if self.seen & UNLINKED != 0 {
            return None;
        }
        // ORDERING: Acquire pairs with the Release in `trim`.
        let history = NonNull::new(bare(self.page.aside()?.load(Ordering::Acquire)))?;
        // SAFETY: it is dropped by way of the epoch: behind a trim, or when the page is unlinked.
        // The word had the page when the pin was there, so the pin is older than either.
        Some(unsafe { history.as_ref() })
    }

    /// The same, to be handed on.
    pub fn share_history(self) -> Option<Arc<History>> {
        let history = ptr::from_ref(self.history()?);
        // SAFETY: the page has a count of it, which goes through the epoch, as in `history`.
        Some(unsafe {
            Arc::increment_strong_count(history);
            Arc::from_raw(history)
        })
    }

    /// Puts a shorter history in the place of the one that was seen. `false` if that is not the
    /// page's any more, or the page is not its id's.
    pub fn trim(self, seen: &'g History, kept: Option<Arc<History>>, guard: &Guard) -> bool {
        let Some(aside) = self.page.aside() else { return false };
        let seen = ptr::from_ref(seen).cast_mut();
        let kept = kept.map_or(ptr::null_mut(), |kept| Arc::into_raw(kept).cast_mut());
        // ORDERING: Release publishes the new history, and that the page's version is decided.
        let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
        // The pointer that the CAS gives is the one that came from the `Arc`.
        if let Ok(seen) = aside.compare_exchange(seen, kept, ok, fail) {
            Carry(seen).defer(guard);
            return true;
        }
        if !kept.is_null() {
            // SAFETY: the count is still ours.
            drop(unsafe { Arc::from_raw(kept) });
        }
        false
    }
}

impl Unlinked {
    /// Takes the history of the page away. Says whether there was one.
    pub fn close_history(&self, guard: &Guard) -> bool {
        let Some(aside) = self.page().aside() else { return false };
        let mut seen = aside.load(Ordering::Acquire);
        // None never becomes one, and what is closed stays closed.
        while !seen.is_null() && seen.addr() & CLOSED == 0 {
            let closed = seen.map_addr(|address| address | CLOSED);
            let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
            match aside.compare_exchange(seen, closed, ok, fail) {
                Ok(_) => {
                    Carry(seen).defer(guard);
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }
}
