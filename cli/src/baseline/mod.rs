//! The append-only log that such engines persist their maps with today, as the demo's other side:
//! one file a map, one record an operation, nothing ever removed; a restart replays all of it.
//!
//! A record is a frame of 12 bytes (u32 length, eight zero bytes) and the fields 1 deleted, 2 key,
//! 3 class of the key, 4 value, 5 class of the value, 6 time: each with a tag, most with a length.

mod frame;
mod log;
mod recovery;

pub(crate) use frame::record_bytes;
pub(crate) use log::Log;
pub(crate) use recovery::recover;

/// The name of a map's only file, below a folder of the map and one of the region.
const FILE_NAME: &str = "wal.txt";
/// A region is one start of the engine.
const REGION: &str = "1000000000";
