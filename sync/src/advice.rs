//! A number that nothing depends on.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that threads leave for one another. It may be old, or speak of something else: what it
/// says makes its reader faster, or slower, and never wrong. So models do not look at it.
#[derive(Debug, Default)]
pub struct Advice(AtomicU64);

impl Advice {
    /// What was set last, or some time before.
    #[inline]
    pub fn get(&self) -> u64 {
        // ORDERING: Relaxed; nothing depends on it.
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to the number.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Leaves a number.
    #[inline]
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }
}
