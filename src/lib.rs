//! A latch-free ordered index and embedded log-structured store: a Bw-tree.
//!
//! Two types, one tree under both:
//!
//! - [`Map`]: an ordered map in memory, typed, shared by `&self` between any number of threads;
//!   the method names are those of `BTreeMap`.
//! - [`Db`] and [`Tree`]: the same tree over a log in a directory; named trees of byte keys and
//!   byte values, durable when [`Db::sync`] has returned or the [`SyncPolicy`] has synced.
//!
//! No operation on the index takes a latch. A writer waits only for a page that must be read from
//! the log, and for memory when the store is above its budget.
//!
//! # In memory
//!
//! ```
//! use bwtree::Map;
//!
//! let hits: Map<(String, u32), u64> = Map::new();
//! std::thread::scope(|scope| {
//!     for _ in 0..4 {
//!         scope.spawn(|| {
//!             for day in 0..100 {
//!                 let key = ("page".to_owned(), day % 10);
//!                 hits.fetch_and_update(&key, |count| Some(count.copied().unwrap_or(0) + 1));
//!             }
//!         });
//!     }
//! });
//! assert_eq!(hits.len(), 10);
//! assert!(hits.iter().all(|(_, count)| count == 40));
//! ```
//!
//! Keys are anything with a [`Key`] encoding: integers, `bool`, `char`, byte arrays, `String`,
//! `Vec<u8>`, [`Bytes`], `Option` and tuples of up to six of these.
//!
//! There is no lock to hold, so what `BTreeMap` lends is given as a copy, and what it lets change
//! in place is a closure, here `fetch_and_update`, which may run again. Besides the methods of
//! `BTreeMap` there are neighbours of a key, prefixes, and `compare_exchange`:
//!
//! ```
//! use bwtree::Map;
//!
//! let due: Map<u64, String> = [(30, "mail".to_owned()), (90, "report".to_owned())].into();
//! assert_eq!(due.gt(&30).map(|(at, _)| at), Some(90));
//! assert_eq!(due.pop_first_in(..60), Some((30, "mail".to_owned())));
//! due.entry(90).and_modify(|what| what.push('s'));
//! assert_eq!(due.get_with(&90, |what| what.len()), Some(7));
//! assert_eq!(due.extract_if(.., |_, what| what.starts_with('r')).count(), 1);
//! ```
//!
//! # Durable
//!
//! ```
//! # fn main() -> bwtree::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("store");
//! use bwtree::{Db, SyncPolicy};
//!
//! let db = Db::builder(&path)
//!     .memory_budget_bytes(64 << 20)
//!     .sync_policy(SyncPolicy::Manual)
//!     .open()?;
//! let jobs = db.tree("jobs")?;
//! jobs.put("job-1", "RUNNING")?; // visible to every thread
//! db.sync()?; // durable
//! jobs.put("job-2", "QUEUED")?;
//! for entry in jobs.prefix("job-") {
//!     let (key, value) = entry?;
//!     println!("{key:?}: {value:?}");
//! }
//! drop(jobs);
//! db.close()?; // syncs, writes a checkpoint, and unlocks, since no handle is left
//!
//! let db = Db::open(&path)?;
//! assert_eq!(db.tree("jobs")?.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! After a crash the store holds exactly what all its trees held at one moment, which is not
//! before the last sync that was acknowledged.
//!
//! # What is seen when
//!
//! Every operation on one key, and every search for a neighbour (`lt`, `le`, `gt`, `ge`,
//! `first_key_value`, `last_key_value`), is linearizable; its documentation names the moment after
//! the word `LINEARIZES`. What is not one step is listed in [`map`] and in [`mod@tree`]. An
//! iterator sees each entry at its own moment: in order, none twice, and all that were there
//! throughout. It holds a copy of what it has read of one page, and nothing that would hold others
//! back.
//!
//! A [`Snapshot`] of a map is one step, and whatever is read of it, by key or by range, is of that
//! moment. There are none of a [`Tree`], and there are no transactions.
//!
//! ```
//! use bwtree::Map;
//!
//! let stock: Map<String, u32> = [("nuts".to_owned(), 10), ("bolts".to_owned(), 10)].into();
//! let noon = stock.snapshot();
//! stock.remove("nuts");
//! stock.insert("screws".to_owned(), 5);
//! assert_eq!(noon.values().sum::<u32>(), 20);
//! assert!(noon.contains_key("nuts") && !noon.contains_key("screws"));
//! ```
//!
//! # Features
//!
//! - `serde`: `Serialize` and `Deserialize` for [`Map`]. Off by default.
//!
//! # Where to read on
//!
//! `README.md` has the trade-offs, the limits and the numbers; `ARCHITECTURE.md` the paths of a
//! read, a write, a sync, a cleaning and a recovery through the code; `docs/format.md` the bytes
//! on disk; `docs/testing.md` how all this is checked.

mod damage;
mod db;
mod engine;
mod error;
mod key;
pub mod map;
mod memory;
mod paging;
mod smo;
mod verify;

/// What a [`Tree`] takes and gives: ranges and iterators.
///
/// Every operation on one key, and every search for a neighbour, is one step: it takes effect at
/// one moment between its call and its return, which its documentation names after the word
/// `LINEARIZES`. Not one step are:
///
/// - iteration ([`Range`], [`Keys`], [`Values`](tree::Values)), which sees each entry at its own
///   moment: in order, none twice, and all that were there throughout;
/// - [`pop_first`](Tree::pop_first) and its kin: the entry was the outermost at one moment, and is
///   removed, if it still has that value, at a later one;
/// - [`retain`](Tree::retain), [`extract_if`](Tree::extract_if),
///   [`remove_range`](Tree::remove_range), [`clear`](Tree::clear): one key after the other, each of
///   them one step, and a crash can leave any part of them undone;
/// - [`len`](Tree::len) and [`is_empty`](Tree::is_empty), which lag behind what is under way.
///
/// [`Keys`]: tree::Keys
pub mod tree {
    pub use crate::db::{ByteRange, ByteValue, ExtractIf, Keys, Range, Tree, Values};
}

pub use bytes::Bytes;
pub use damage::{Damage, KeyRange};
pub use db::{
    Builder, CleanEnd, CleanOptions, CleanProgress, CleanReport, Db, MemoryStats, Range, Stats,
    SyncPolicy, Tree, TreeStats, VerifyReport,
};
pub use error::{Error, Result};
pub use gc::{CleaningSchedule, InvalidSchedule};
pub use key::{ByteKey, EncodeKey, Key, KeySink, SMALL_KEY_BYTES};
pub use map::{CompareExchangeError, Iter, KeyTooLong, Map, Session, Snapshot};

/// The errors of the log, for who wants to tell them apart.
pub use lss::Error as LogError;
/// The disks that a store can lie on; for tests.
#[doc(hidden)]
pub use lss::io;

#[cfg(all(test, loom))]
mod models;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeDoctests;
