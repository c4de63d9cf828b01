//! Locks that nobody waits for: they can only be tried.
//!
//! Who does not get one goes another way, so a thread that is stopped while it holds one stops
//! nobody else.

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(shuttle)]
use shuttle::sync::{Mutex, MutexGuard};
use std::sync::TryLockError;
#[cfg(not(any(loom, shuttle)))]
use std::sync::{Mutex, MutexGuard};

/// What only one thread at a time may use, and none waits for.
#[derive(Debug, Default)]
pub struct TryLock<T>(Mutex<T>);

impl<T> TryLock<T> {
    /// A lock that nobody holds.
    pub fn new(content: T) -> Self {
        Self(Mutex::new(content))
    }

    /// The content, unless somebody else has it now.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            // What a panic has left behind is for the owner of the content to be prepared for.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
