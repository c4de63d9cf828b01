//! Giving way to other threads.

#[cfg(not(any(loom, shuttle)))]
pub use std::thread::yield_now;

#[cfg(loom)]
pub use loom::thread::yield_now;

/// Threads that loom schedules; only models use them.
#[cfg(loom)]
pub use loom::thread::{Builder, JoinHandle};

#[cfg(shuttle)]
pub use shuttle::thread::yield_now;
