//! Atomics, cells, threads and epochs: std in production, loom in models, shuttle under random
//! schedules, one switch.
//!
//! Everything that two threads share on a path of the index goes through this crate, so that the
//! models of `--cfg loom` explore the production code itself. Nothing else may name
//! `std::sync::atomic` there (held by the tidy test).

mod advice;
pub mod atomic;
pub mod epoch;
pub mod lock;
pub mod thread;

pub use advice::Advice;
pub use crossbeam_utils::CachePadded;

/// Cells that loom watches; only models use them.
#[cfg(loom)]
pub use loom::cell;

/// Cells that nobody watches: schedules of whole operations find wrong answers, not races.
#[cfg(shuttle)]
pub mod cell;

/// What explores every interleaving of a model.
#[cfg(loom)]
pub use loom::model;
