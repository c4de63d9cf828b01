//! Shared support of the integration tests: seeds, histories, their checker, and the model.
//!
//! | file | its one idea |
//! |---|---|
//! | `concurrent` | what the kinds of maps have in common |
//! | `random` | one seed, printed, repeats a run |
//! | `alone` | a case in a process of its own, its memory looked at from outside |
//! | `resident` | how much memory the process has |
//! | `processor` | how long threads have had a processor |
//! | `rest` | until the background has given back what was dropped, or is still |
//! | `history` | what each thread did, saw, and when |
//! | `linearizability` | is there an order that explains a history |
//! | `whole` | the same, where an operation sees the whole map |
//! | `model` | an implementation and a `BTreeMap` do the same |
//! | `crash` | after a crash a store is one of the states it may be |
//! | `hooks` | a disk that lets a test act in the middle of a sync |
//! | `watch` | a test that hangs says where, and ends |
//! | `lanes` | writers of which any prefix can be told from what is left |

pub mod alone;
pub mod concurrent;
pub mod crash;
pub mod history;
pub mod hooks;
pub mod lanes;
pub mod linearizability;
pub mod model;
pub mod processor;
pub mod random;
pub mod resident;
pub mod rest;
pub mod watch;
pub mod whole;

pub use history::{Event, History, Operation, Outcome, Recorder, Scribe};
pub use linearizability::{Checked, Violation, check};
pub use model::{Ask, Mix, Ordered, Pull, Side, Tally, drive, pull};
pub use processor::processor_nanos;
pub use random::{Random, amount, is_full_size, mix, scattered_key, seed};
pub use resident::{memory_bound, peak_resident, resident};
pub use rest::{rest, still};
