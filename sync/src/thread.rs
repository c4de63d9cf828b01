//! Giving way to other threads.

#[cfg(not(loom))]
pub use std::thread::yield_now;

#[cfg(loom)]
pub use loom::thread::yield_now;

/// Threads that loom schedules; only models use them.
#[cfg(loom)]
pub use loom::thread::{Builder, JoinHandle};
