//! What is kept for a cut: replaced pages and displaced values, and how they go from cut to cut.
//!
//! Each thing was there from one version on, its `since`, and was hidden at a later one. It is kept
//! for the *newest* open cut that sees it. When that is closed the next older one takes it over, if
//! that is not older than `since`; else nobody sees it any more. So what a cut has is a heap by
//! `since`, the largest first: what only this cut sees is on top, and the rest goes to the next cut
//! as it is. That is `O(1)` for what stays, and `O(log n)` for what goes, in the mean: a *pairing
//! heap*, which is joined to another by one comparison.
//!
//! Writers push what they keep by one CAS, each a heap of its own; who closes the cut takes all of
//! them, and makes one of them.
#![expect(unsafe_code, reason = "heaps that are handed from thread to thread by their roots")]

use crate::history::Old;
use core::fmt;
use core::ptr;
use std::sync::Arc;
use sync::atomic::{AtomicPtr, Ordering};

/// A thing that an open cut may see.
#[derive(Debug)]
pub enum Kept {
    /// A page that was replaced.
    Page(Arc<Old>),
    /// A value that was displaced, as whoever keeps it names it.
    Value(u64),
}

struct Node {
    since: u64,
    what: Kept,
    /// The first of the heaps below, none of which has a larger top.
    below: *mut Node,
    /// The next heap beside this one.
    beside: *mut Node,
}

/// A heap that is not empty, and has an owner.
pub(crate) struct Heap(*mut Node);

impl Heap {
    pub(crate) fn of(since: u64, what: Kept) -> Self {
        let (below, beside) = (ptr::null_mut(), ptr::null_mut());
        Self(Box::into_raw(Box::new(Node { since, what, below, beside })))
    }

    /// The largest version from which on anything in it was there.
    pub(crate) fn since(&self) -> u64 {
        // SAFETY: the heap is ours, so its nodes are.
        unsafe { (*self.0).since }
    }

    /// Both as one.
    pub(crate) fn join(self, other: Self) -> Self {
        let (top, under) = if self.since() < other.since() { (other, self) } else { (self, other) };
        let (top, under) = (top.into_raw(), under.into_raw());
        // SAFETY: both heaps were handed to us.
        unsafe {
            (*under).beside = (*top).below;
            (*top).below = under;
        }
        Self(top)
    }

    /// Takes out what has the largest version.
    pub(crate) fn pop(self) -> (Kept, Option<Self>) {
        // SAFETY: the heap was handed to us, and each node is the only one to own the next.
        let Node { what, mut below, .. } = unsafe { take(self.into_raw()) };
        // Neighbours by twos first, from left to right, and then all from right to left: that is
        // what makes a pop cheap in the mean.
        let mut pairs: Vec<Self> = Vec::new();
        let mut odd: Option<Self> = None;
        while !below.is_null() {
            let heap = Self(below);
            // SAFETY: as above.
            below = unsafe { ptr::replace(&raw mut (*heap.0).beside, ptr::null_mut()) };
            odd = match odd.take() {
                None => Some(heap),
                Some(left) => {
                    pairs.push(left.join(heap));
                    None
                }
            };
        }
        (what, pairs.into_iter().rev().fold(odd, |all, heap| Some(join(all, heap))))
    }

    fn into_raw(self) -> *mut Node {
        core::mem::ManuallyDrop::new(self).0
    }
}

/// One heap of what there is and another.
fn join(all: Option<Heap>, heap: Heap) -> Heap {
    match all {
        Some(all) => all.join(heap),
        None => heap,
    }
}

/// The node, out of its memory.
///
/// # Safety
/// The caller owns the node.
unsafe fn take(node: *mut Node) -> Node {
    // SAFETY: the node came from a box, and is the caller's.
    #[cfg(not(loom))]
    return *unsafe { Box::from_raw(node) };
    // In a model no address is used twice: whether a stale pointer compares equal would depend on
    // the allocator.
    // SAFETY: as above; the memory stays.
    #[cfg(loom)]
    return unsafe { node.read() };
}

impl Drop for Heap {
    fn drop(&mut self) {
        let mut rest = Some(Self(self.0));
        while let Some(heap) = rest.take() {
            rest = heap.pop().1;
        }
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "heap, the newest of {}", self.since())
    }
}

/// The heaps that are kept for one cut.
pub(crate) struct Inbox {
    /// Linked by `beside`.
    top: AtomicPtr<Node>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { top: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn push(&self, heap: Heap) {
        let node = heap.into_raw();
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            // SAFETY: the node is ours until the CAS below succeeds.
            unsafe { (*node).beside = top };
            // ORDERING: AcqRel: who takes this heap sees what is in it.
            let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
            // All are taken at once, so an address that comes back misleads nobody.
            match self.top.compare_exchange(top, node, ok, fail) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all heaps, as one.
    pub(crate) fn take(&self) -> Option<Heap> {
        // ORDERING: AcqRel pairs with the pushes.
        let mut next = self.top.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut all = None;
        while !next.is_null() {
            let heap = Heap(next);
            // SAFETY: the swap made this thread the owner of all of them.
            next = unsafe { ptr::replace(&raw mut (*heap.0).beside, ptr::null_mut()) };
            all = Some(join(all, heap));
        }
        all
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// SAFETY: nodes are owned by a heap, an inbox hands them over whole.
unsafe impl Send for Heap {}
// SAFETY: as above; shared access only pushes and takes.
unsafe impl Sync for Inbox {}
// SAFETY: as above.
unsafe impl Send for Inbox {}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_heap_gives_what_is_newest_first() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state >> 40
        };
        let (one, other) = (Inbox::new(), Inbox::new());
        let mut wanted: Vec<u64> = Vec::new();
        for _ in 0..1000 {
            wanted.push(random());
            let inbox = if random() % 2 == 0 { &one } else { &other };
            inbox.push(Heap::of(wanted[wanted.len() - 1], Kept::Value(wanted.len() as u64)));
        }
        wanted.sort_unstable();
        let (Some(first), Some(second)) = (one.take(), other.take()) else { panic!("empty") };
        let mut rest = Some(first.join(second));
        while let Some(heap) = rest {
            assert_eq!(Some(heap.since()), wanted.pop());
            rest = heap.pop().1;
        }
        assert!(wanted.is_empty() && one.take().is_none());
    }

    #[test]
    fn heaps_of_any_size_are_dropped() {
        let inbox = Inbox::new();
        (0..200_000).for_each(|n| inbox.push(Heap::of(n, Kept::Value(n))));
        drop(inbox);
    }
}
