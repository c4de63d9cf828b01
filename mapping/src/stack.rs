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
    pub fn take(&self) -> Taken<'_, T> {
        // ORDERING: AcqRel pairs with the pushes.
        Taken { next: self.top.swap(ptr::null_mut(), Ordering::AcqRel), of: self }
    }
}

/// What was taken. What is not asked for goes with it.
#[derive(Debug)]
pub struct Taken<'a, T> {
    next: *mut Entry<T>,
    #[cfg_attr(not(loom), expect(dead_code, reason = "for models"))]
    of: &'a Stack<T>,
}

// SAFETY: the entries are this one's own.
unsafe impl<T: Send> Send for Taken<'_, T> {}

impl<T> Taken<'_, T> {
    fn next_entry(&mut self) -> Option<Box<Entry<T>>> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the swap made this the owner of the whole chain.
        let entry = unsafe { Box::from_raw(self.next) };
        self.next = entry.next;
        Some(entry)
    }
}

impl<T: Copy> Iterator for Taken<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let entry = self.next_entry()?;
        let content = entry.content;
        #[cfg(loom)]
        if let Ok(mut spent) = self.of.spent.lock() {
            spent.push(entry);
        }
        Some(content)
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        while self.next_entry().is_some() {}
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
        // `&mut self`: nobody else has the chain.
        drop(Taken { next: self.top.load(Ordering::Relaxed), of: self });
    }
}

impl<T> fmt::Debug for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stack")
    }
}
