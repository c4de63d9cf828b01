//! What an opening gives to the caller.

use types::{Address, PageId};

use crate::scan::Found;

/// What an opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The version of the last whole commit; 0 for a new store.
    pub version: u64,
    /// The caller's data of the last checkpoint.
    pub meta: Vec<u8>,
    /// The chunks of the last checkpoint, by index, which
    /// [`Log::chunk_parts`](crate::Log::chunk_parts) reads.
    pub chunks: Vec<RecoveredChunk>,
    /// The frames of the parts committed since, which
    /// [`FrameReader`](crate::FrameReader) reads, in the order in which they were
    /// appended to each stream and committed.
    pub frames: Vec<RecoveredFrame>,
}

/// A chunk of the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredChunk {
    /// Its index.
    pub index: u32,
    /// It has everything in it that lies in frames up to this sequence. Parts among
    /// those of [`Recovered::frames`] that are not newer are in it already.
    pub as_of: u64,
}

/// A frame that was committed after the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredFrame {
    pub(crate) found: Found,
    /// The version of the commit that holds it.
    pub(crate) version: u64,
}

/// A part that was committed after the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredPart {
    /// The page it belongs to.
    pub page: PageId,
    /// Its kind.
    pub kind: u8,
    /// The caller's word.
    pub tag: u64,
    /// The caller's references.
    pub refs: Vec<Address>,
    /// Where its payload lies.
    pub address: Address,
    /// The version of the commit that holds it.
    pub version: u64,
    /// The sequence of the frame that holds it.
    pub sequence: u64,
}
