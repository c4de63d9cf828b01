//! The log-structured store of bwtree: an append-only log of parts, with commits, checkpoints and
//! recovery. It knows no keys and no tree (invariant I6).
//!
//! # The shape of the log
//!
//! A **part** is one payload with a line in a directory: page id, kind, tag, references. Parts are
//! packed in **frames**, frames lie one after another in **segment files**, and a frame with the
//! COMMIT flag ends a group of frames that counts as a whole or not at all. Two **streams** each
//! have one open segment: the foreground stream holds what a sync waits for and every COMMIT, the
//! background stream holds what can be written ahead. Every so often a **checkpoint** writes the
//! changed chunks of the caller's table of addresses and then the **superblock**, from which
//! recovery starts. Sequence numbers run through both streams without a gap.
//!
//! # The life of a store
//!
//! 1. [`Log::open`] takes the lock, reads the superblock, follows the frames behind the checkpoint
//!    up to the last whole commit and returns what it found as [`Recovered`].
//! 2. The caller builds its state, calls [`Log::adopt`] for every live part, and
//!    [`Appender::begin`], which starts a new *generation*: whatever lay behind the last commit is
//!    cut off for good.
//! 3. [`Appender::append`] and [`Appender::commit`]; what is committed can be read by
//!    [`Log::read`]; what is dead is told by [`Log::retire`].
//! 4. [`Appender::checkpoint`] now and then, [`Log::reclaim`] to give dead segments back,
//!    [`Log::prepare`] to have the next segment ready.
//!
//! # Promises
//!
//! - When `commit` has returned `Ok`, its parts survive any crash, all of them.
//! - Recovery yields exactly one commit, not older than the last that was acknowledged. A torn tail
//!   is cut; damage below what is known to be durable is an [`Error::Corrupt`].
//! - What may have lost bytes poisons the log, such as a failed write or sync of what is being
//!   committed: no retry, reads go on, a reopen recovers. Nothing else does
//!   ([`Error::stops_one_group`]): not what passes ([`Error::is_passing`]: a full disk, no
//!   descriptors, no memory), nor a creation, a renaming, a removal or a look that fails.
//!   [`Appender::rollback`] voids the group in progress and the log goes on. Which call with which
//!   error is what, a table in `error.rs` says.
//!
//! - A log that is opened for reading only, beside one that writes, finds one commit, not older
//!   than its opening, and can read that for as long as it is open.
//! - A log writes only into the directory that it opened, whatever happens to its path, and only in
//!   the process that opened it.
//!
//! - A segment that is missing, empty or full of zeros, and held a frame of an acknowledged commit
//!   behind the checkpoint, is an [`Error::Corrupt`] (`link.rs`).
//!
//! Not promised: that other damage to the very last commit, or zeros from behind the first group of
//! the newest segment to its end, can be told from a torn tail. Nothing behind it says that it was
//! durable, until the next frame or a checkpoint does.

mod appender;
mod checkpoint;
mod chunks;
mod contents;
mod copies;
mod counters;
mod error;
mod fields;
mod files;
mod frame;
pub mod io;
mod link;
mod log;
mod older;
mod open;
mod open_segment;
mod options;
mod part;
mod pool;
mod presence;
mod read;
mod readers;
mod recovered;
mod recovery;
mod reserve;
mod scan;
mod segment;
mod segments;
mod superblock;
mod turn;

pub use appender::Appender;
pub use checkpoint::{Checkpoint, ChunkPart, MovedChunks};
pub use contents::Contents;
pub use copies::ChunkSize;
pub use counters::Counters;
pub use error::{Error, HeldBack};
pub use log::Log;
pub use open_segment::{SegmentInfo, SegmentState};
pub use options::Options;
pub use part::{FIRST_RESERVED_KIND, MAX_PART_BYTES, MAX_REFS, Stream, live_bytes};
pub use presence::ChangedFile;
pub use recovered::{FrameReader, Recovered, RecoveredChunk, RecoveredFrame, RecoveredPart};
pub use superblock::MAX_META_BYTES;
pub use types::{Address, PageId};

/// The version of the log's format that this code writes.
///
/// Format 2 seeds the checksum of each part with the place where it is stored, and has parts that
/// were moved without being written anew.
pub const FORMAT_VERSION: u32 = 2;

/// The oldest version of the format that this code reads. What is in it is converted as it is
/// cleaned.
pub const OLDEST_FORMAT_VERSION: u32 = 1;

/// Whether this code reads a file in this version of the format.
pub(crate) fn reads_format(version: u32) -> bool {
    (OLDEST_FORMAT_VERSION..=FORMAT_VERSION).contains(&version)
}
