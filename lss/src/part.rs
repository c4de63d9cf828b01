//! A part is one payload with a line in its frame's directory.
//!
//! In the frame a payload starts at a multiple of eight and is followed by its own checksum, taken
//! over its place, page id, kind and payload: so one `pread` of payload and checksum is enough to
//! know that these are the bytes of the page and kind that the reader expects.

use types::{Address, PageId, Pieces};

use crate::fields::{Fields, round_up};

/// Kinds from here on belong to the log itself.
pub const FIRST_RESERVED_KIND: u8 = 0xC0;

/// Most bytes of one payload.
pub const MAX_PART_BYTES: usize = 1 << 30;

/// Most references of one part.
pub const MAX_REFS: usize = u16::MAX as usize;

/// A part of a chunk of the caller's table of addresses; the page id is the chunk's index.
pub(crate) const KIND_CHUNK: u8 = 0xC1;

/// The list of all chunks, when each was one part.
pub(crate) const KIND_WHOLE_CHUNKS_DIRECTORY: u8 = 0xC2;

/// The list of all chunks and their parts, when these had no copies.
pub(crate) const KIND_SINGLE_CHUNKS_DIRECTORY: u8 = 0xC3;

/// The list of all chunks, their parts and the copies of these.
pub(crate) const KIND_CHUNK_DIRECTORY: u8 = 0xC4;

/// All kinds of lists of chunks.
pub(crate) const DIRECTORY_KINDS: [u8; 3] =
    [KIND_CHUNK_DIRECTORY, KIND_SINGLE_CHUNKS_DIRECTORY, KIND_WHOLE_CHUNKS_DIRECTORY];

/// Bytes of the checksum that follows a payload.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// Bytes of a directory line without its references.
pub(crate) const LINE_BYTES: usize = 28;

/// The two streams of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// What a sync waits for, and every COMMIT.
    Foreground = 0,
    /// What is written ahead of a sync: what cleaning moves, large values, chunks.
    Background = 1,
}

impl Stream {
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The other stream: what must not be lost with one segment has a copy there.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Foreground => Self::Background,
            Self::Background => Self::Foreground,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Foreground),
            1 => Some(Self::Background),
            _ => None,
        }
    }
}

/// Bytes that a payload of this length takes in a frame, its checksum and padding included. This
/// is also what a live part counts for.
pub(crate) const fn stored_bytes(len: usize) -> usize {
    round_up(len + CHECKSUM_BYTES, 8)
}

/// Bytes that a live part counts for in its segment.
#[must_use]
pub fn live_bytes(address: Address) -> u64 {
    stored_bytes(address.len as usize) as u64
}

/// Where a part is stored, as far as its checksum covers that: a lost write in a file that is used
/// again could else show an older part of the same page as whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    segment: u32,
    offset: u32,
}

impl Seed {
    /// The seed of a part in a segment of this format; none before format 2.
    pub(crate) fn of(format: u32, segment: u32, offset: u32) -> Option<Self> {
        (format >= 2).then_some(Self { segment, offset })
    }
}

/// Where a part ends that lies at this address, its checksum included.
pub(crate) fn end(address: Address) -> u64 {
    u64::from(address.offset) + u64::from(address.len) + CHECKSUM_BYTES as u64
}

/// The checksum of a part: over where it is stored, page id, kind and payload.
pub(crate) fn checksum(seed: Option<Seed>, page: PageId, kind: u8, payload: &[u8]) -> u32 {
    let sum = seed.map_or(0, |seed| {
        let sum = crc32c::crc32c(&seed.segment.to_le_bytes());
        crc32c::crc32c_append(sum, &seed.offset.to_le_bytes())
    });
    let [a, b, c, d] = page.number().to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &[a, b, c, d, kind]), payload)
}

/// A line of a frame's directory, as found by recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) page: PageId,
    pub(crate) kind: u8,
    pub(crate) tag: u64,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) checksum: u32,
    pub(crate) refs: Vec<Address>,
}

/// Appends a line to a directory: page 4, kind 1, zero 1, references 2, tag 8, offset 4, length 4,
/// checksum 4, then twelve bytes a reference.
pub(crate) fn encode_line(
    directory: &mut Vec<u8>,
    (page, kind, tag): (PageId, u8, u64),
    (offset, len, checksum): (u32, u32, u32),
    refs: &[Address],
) {
    debug_assert!(refs.len() <= MAX_REFS, "checked by append");
    let mut line = [0; LINE_BYTES];
    line[..4].copy_from_slice(&page.number().to_le_bytes());
    line[4] = kind;
    line[6..8].copy_from_slice(&(refs.len() as u16).to_le_bytes());
    line[8..16].copy_from_slice(&tag.to_le_bytes());
    line[16..20].copy_from_slice(&offset.to_le_bytes());
    line[20..24].copy_from_slice(&len.to_le_bytes());
    line[24..28].copy_from_slice(&checksum.to_le_bytes());
    directory.extend_from_slice(&line);
    for reference in refs {
        directory.extend_from_slice(&reference.encode());
    }
}

/// The lines of a directory whose payloads lie, in order and apart, in `first..end` of the
/// segment. `None` if the bytes are no such directory.
pub(crate) fn decode_lines(directory: &[u8], first: u32, end: u32) -> Option<Pieces<Line>> {
    let mut fields = Fields::new(directory);
    let mut lines = Pieces::new();
    let mut free_from = u64::from(first);
    while !fields.is_empty() {
        let line = decode_line(&mut fields)?;
        let offset = u64::from(line.offset);
        // In order and apart: who checks all payloads reads no byte twice, whatever the bytes say.
        if offset < free_from {
            return None;
        }
        free_from = offset + u64::from(line.len) + CHECKSUM_BYTES as u64;
        if free_from > u64::from(end) {
            return None;
        }
        lines.push(line);
    }
    Some(lines)
}

fn decode_line(fields: &mut Fields<'_>) -> Option<Line> {
    let page = PageId::new(fields.u32()?);
    let kind = fields.u8()?;
    fields.u8()?;
    let count = fields.u16()?;
    let tag = fields.u64()?;
    let (offset, len, checksum) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let refs = fields.take(usize::from(count) * Address::ENCODED_BYTES)?;
    Some(Line {
        page,
        kind,
        tag,
        offset,
        len,
        checksum,
        refs: refs.chunks_exact(Address::ENCODED_BYTES).filter_map(Address::decode).collect(),
    })
}
