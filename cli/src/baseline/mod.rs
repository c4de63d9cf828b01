//! The demo's other side: the append-only write-ahead log by which stream engines persist their
//! maps (the file storage behind the `IMap` of Apache `SeaTunnel` is the model): one file a map and
//! start of the engine, one record an operation, nothing ever removed; a restart replays all of it.
//!
//! It is kinder than its model, which syncs each record by itself, replays the log once for each
//! partition of a map, and has each file in memory while it does.
//!
//! A record is a frame of 12 bytes (u32 length, eight zero bytes) and the fields 1 deleted, 2 key,
//! 3 class of the key, 4 value, 5 class of the value, 6 time: each with a tag, most with a length.

mod frame;
mod log;
mod recovery;

pub(crate) use frame::{fingerprint, record_bytes};
pub(crate) use log::Log;
pub(crate) use recovery::{records, recover};

/// The name of a map's only file, below a folder of the map and one of the region.
const FILE_NAME: &str = "wal.txt";
/// A region is one start of the engine; each has the next number.
const FIRST_REGION: u64 = 1_000_000_000;
