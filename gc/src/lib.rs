//! What gives back: workers, and the policies by which memory and disk space return.
//!
//! This crate decides *when* and *which*; it touches no page and no file. The engine owns both, and
//! asks or is asked through plain numbers, one trait ([`sweep::Evictable`]) and closures.
//!
//! ```text
//!   writers -- add bytes --> Budget -- pressure --> evictor    Sweeper: which page leaves memory
//!      |                                              | dirty pages met: wake the flusher
//!      |                                              v
//!      +-- wake -----------------------------------> flusher   a cut, so that pages become clean
//!                                                     | after a commit
//!                                                     +--> checkpointer   checkpointing: is it due
//!                                                     +--> cleaner        pacing: how many bytes,
//!                                                                         policy: which segments
//! ```
//!
//! | what runs | when | asks |
//! |---|---|---|
//! | evictor | memory above nine tenths of the budget | [`Budget`], [`Sweeper`] |
//! | flusher | asked, or its tick | the engine's dirty list |
//! | checkpointer | after a commit | [`checkpointing`] |
//! | cleaner | [`CleaningSchedule::interval`], or asked | [`pacing`], [`policy`] |
//!
//! Each of them is a [`Worker`]: a named thread with a tick and a wake-up.
//!
//! # What can never block a writer
//!
//! - [`Waker::wake`] is one atomic operation and at most one unpark.
//! - [`Budget::add`] and [`Budget::sub`] are one atomic operation. A lock is touched only when a
//!   writer already waits.
//! - Nobody waits for the cleaner. When it falls behind, [`pacing`] gives it more of the log's
//!   bandwidth; that is all.
//!
//! A writer waits in one place, [`Budget::wait_below`], when memory is above the whole budget. It
//! must not be pinned there, since what it waits for may be waiting for its pin.
//!
//! # Failures
//!
//! A worker whose body fails or panics reports it once and ends. It does not try again: whoever
//! started it decides what a failure means for the store, and tells the callers.

pub mod budget;
pub mod checkpointing;
pub mod pacing;
pub mod policy;
pub mod schedule;
pub mod sweep;
pub mod worker;

pub use budget::{Budget, Category, Pressure};
pub use policy::{Reach, SegmentUse};
pub use schedule::{CleaningSchedule, InvalidSchedule};
pub use sweep::{Evictable, Evicted, Sweeper, Swept};
pub use worker::{Failure, Next, Wake, Waker, Worker};
