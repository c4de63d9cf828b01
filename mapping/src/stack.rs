//! A stack that anybody pushes to, and that is taken whole.
//!
//! Nothing is popped by itself, so an address that comes back can't mislead a CAS.
#![expect(unsafe_code, reason = "a stack of boxed entries")]

use core::fmt;
use core::ptr;
use sync::atomic::{AtomicPtr, Ordering};

struct Entry<T> {
    content: T,
    next: *mut Entry<T>,
}

/// The stack.
pub struct Stack<T> {
    top: AtomicPtr<Entry<T>>,
    /// In a model no address is used twice: whether a stale `top` compares equal would depend on
    /// the allocator.
    #[cfg(loom)]
    spent: std::sync::Mutex<Vec<Box<Entry<T>>>>,
}

// SAFETY: entries are owned by the stack, and handed over whole.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above; shared access moves entries in and out.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T: Copy> Stack<T> {
    /// An empty stack.
    pub fn new() -> Self {
        Self {
            top: AtomicPtr::new(ptr::null_mut()),
            #[cfg(loom)]
            spent: std::sync::Mutex::default(),
        }
    }

    /// Puts this on top.
    pub fn push(&self, content: T) {
        let entry = Box::into_raw(Box::new(Entry { content, next: ptr::null_mut() }));
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            // SAFETY: the entry is ours until the CAS below succeeds.
            unsafe { (*entry).next = top };
            // ORDERING: AcqRel: who takes this entry sees what its pusher did before.
            let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
            match self.top.compare_exchange(top, entry, ok, fail) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes everything, the newest first.
    pub fn take(&self) -> Vec<T> {
        // ORDERING: AcqRel pairs with the pushes.
        let mut entry = self.top.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut contents = Vec::new();
        while !entry.is_null() {
            // SAFETY: the swap made this thread the owner of the whole chain.
            let taken = unsafe { Box::from_raw(entry) };
            entry = taken.next;
            contents.push(taken.content);
            #[cfg(loom)]
            if let Ok(mut spent) = self.spent.lock() {
                spent.push(taken);
            }
        }
        contents
    }
}

impl<T> Stack<T> {
    /// Whether nothing is on it at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top.load(Ordering::Acquire).is_null()
    }
}

impl<T: Copy> Default for Stack<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        let mut entry = self.top.load(Ordering::Relaxed);
        while !entry.is_null() {
            // SAFETY: `&mut self`: nobody else has the chain.
            entry = unsafe { Box::from_raw(entry) }.next;
        }
    }
}

impl<T> fmt::Debug for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stack")
    }
}
