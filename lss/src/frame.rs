//! A frame: header, payloads, directory, padded to 64 bytes; written by one call.
//!
//! The directory stands at the end, so the place of a payload is known when it is appended and not
//! only when the frame is sealed. The header's checksum is seeded with the store's id and the
//! frame's offset: a frame that lies anywhere else, a copy inside a value for instance, is none.

use types::{Address, PageId, Pieces};

use crate::FORMAT_VERSION;
use crate::fields::{Fields, put, round_up};
use crate::part::{self, CHECKSUM_BYTES, LINE_BYTES, Line, Seed, Stream};

/// "BWFR", read as a little-endian number.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"BWFR");

/// Bytes of a header; also the unit of a frame's length.
pub(crate) const HEADER_BYTES: usize = 64;

const FLAG_COMMIT: u32 = 1;
const FLAG_BACKGROUND: u32 = 2;
/// No frame but a [`Link`](crate::link::Link).
pub(crate) const FLAG_LINK: u32 = 4;

/// Sequences stay below this, so that no sum of them can overflow.
pub(crate) const SEQUENCE_LIMIT: u64 = 1 << 62;

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) commit: bool,
    pub(crate) stream: Stream,
    /// The segment it lies in.
    pub(crate) segment: u32,
    /// The generation of the opening that wrote it.
    pub(crate) generation: u64,
    /// Its place in the one order of both streams.
    pub(crate) sequence: u64,
    /// Everything up to this sequence was durable when this frame was written.
    pub(crate) durable: u64,
    /// The version, where it is a COMMIT.
    pub(crate) version: u64,
    /// How many rollbacks there had been in this generation.
    pub(crate) attempt: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) directory_bytes: u32,
    pub(crate) directory_checksum: u32,
}

impl Header {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        let bytes = u64::from(self.payload_bytes) + u64::from(self.directory_bytes);
        (bytes + HEADER_BYTES as u64).next_multiple_of(HEADER_BYTES as u64)
    }

    fn encode(&self, store: u64, offset: u32, out: &mut [u8]) {
        let flags = u32::from(self.commit) * FLAG_COMMIT
            + u32::from(self.stream == Stream::Background) * FLAG_BACKGROUND;
        put(out, 0, MAGIC.to_le_bytes());
        put(out, 8, flags.to_le_bytes());
        put(out, 12, self.segment.to_le_bytes());
        put(out, 16, self.generation.to_le_bytes());
        put(out, 24, self.sequence.to_le_bytes());
        put(out, 32, self.durable.to_le_bytes());
        put(out, 40, self.version.to_le_bytes());
        put(out, 48, self.payload_bytes.to_le_bytes());
        put(out, 52, self.directory_bytes.to_le_bytes());
        put(out, 56, self.directory_checksum.to_le_bytes());
        put(out, 60, self.attempt.to_le_bytes());
        let sum = header_checksum(store, offset, &out[8..HEADER_BYTES]);
        put(out, 4, sum.to_le_bytes());
    }

    /// The header in these bytes, found at `offset` of the segment, or `None` if its checksum, its
    /// flags or its numbers are not those of a frame of this store at this place.
    pub(crate) fn decode(bytes: &[u8], store: u64, offset: u32) -> Option<Self> {
        let mut fields = Fields::new(bytes.get(..HEADER_BYTES)?);
        if fields.u32()? != MAGIC
            || fields.u32()? != header_checksum(store, offset, &bytes[8..HEADER_BYTES])
        {
            return None;
        }
        let flags = fields.u32()?;
        if flags & !(FLAG_COMMIT | FLAG_BACKGROUND) != 0 {
            return None;
        }
        let header = Self {
            commit: flags & FLAG_COMMIT != 0,
            stream: if flags & FLAG_BACKGROUND == 0 {
                Stream::Foreground
            } else {
                Stream::Background
            },
            segment: fields.u32()?,
            generation: fields.u64()?,
            sequence: fields.u64()?,
            durable: fields.u64()?,
            version: fields.u64()?,
            payload_bytes: fields.u32()?,
            directory_bytes: fields.u32()?,
            directory_checksum: fields.u32()?,
            attempt: fields.u32()?,
        };
        (header.sequence < SEQUENCE_LIMIT && header.durable < header.sequence).then_some(header)
    }

    /// The lines of this frame's directory, if these are its bytes.
    pub(crate) fn lines(&self, offset: u32, directory: &[u8]) -> Option<Pieces<Line>> {
        if crc32c::crc32c(directory) != self.directory_checksum {
            return None;
        }
        let first = offset.checked_add(HEADER_BYTES as u32)?;
        part::decode_lines(directory, first, first.checked_add(self.payload_bytes)?)
    }
}

pub(crate) fn header_checksum(store: u64, offset: u32, rest: &[u8]) -> u32 {
    let mut seed = [0; 12];
    put(&mut seed, 0, store.to_le_bytes());
    put(&mut seed, 8, offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), rest)
}

/// The frame that a stream is filling. Its memory is kept from frame to frame, and grows no further
/// than the largest usual frame, but for a part that is larger.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    /// Bytes of the largest usual frame.
    most_bytes: usize,
    /// Room for the header, then the payloads; when sealed, the whole frame.
    bytes: Vec<u8>,
    directory: Vec<u8>,
}

impl FrameBuffer {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, bytes: vec![0; HEADER_BYTES], directory: Vec::new() }
    }

    /// Makes room for this many more bytes.
    fn reserve(&mut self, more: usize) {
        let (needed, held) = (self.bytes.len() + more, self.bytes.capacity());
        if needed > held {
            let wanted = needed.max((2 * held).min(self.most_bytes));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    /// Bytes of the frame if a part of this size joined it.
    pub(crate) fn bytes_with(&self, payload: usize, refs: usize) -> usize {
        let line = LINE_BYTES + refs * Address::ENCODED_BYTES;
        round_up(
            self.bytes.len() + part::stored_bytes(payload) + self.directory.len() + line,
            HEADER_BYTES,
        )
    }

    /// Adds a part to the frame that starts at `frame_offset`; returns the payload's offset in the
    /// segment. The caller has checked that it fits.
    pub(crate) fn push(
        &mut self,
        (segment, frame_offset): (u32, u32),
        (page, kind, tag): (PageId, u8, u64),
        refs: &[Address],
        payload: &[u8],
    ) -> u32 {
        let offset = frame_offset + self.bytes.len() as u32;
        let seed = Seed::of(FORMAT_VERSION, segment, offset);
        let sum = part::checksum(seed, page, kind, payload);
        self.reserve(part::stored_bytes(payload.len()));
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        let padded = round_up(self.bytes.len(), 8);
        self.bytes.resize(padded, 0);
        part::encode_line(
            &mut self.directory,
            (page, kind, tag),
            (offset, payload.len() as u32, sum),
            refs,
        );
        debug_assert_eq!(
            padded % 8,
            stored_remainder(payload.len()),
            "payloads start at multiples of eight"
        );
        offset
    }

    /// Closes the frame: the bytes to write at `offset`.
    pub(crate) fn seal(&mut self, mut header: Header, store: u64, offset: u32) -> &[u8] {
        header.payload_bytes = (self.bytes.len() - HEADER_BYTES) as u32;
        header.directory_bytes = self.directory.len() as u32;
        header.directory_checksum = crc32c::crc32c(&self.directory);
        self.reserve(self.directory.len() + HEADER_BYTES);
        self.bytes.extend_from_slice(&self.directory);
        let padded = round_up(self.bytes.len(), HEADER_BYTES);
        self.bytes.resize(padded, 0);
        header.encode(store, offset, &mut self.bytes[..HEADER_BYTES]);
        &self.bytes
    }

    /// Empties the buffer; memory beyond twice the largest usual frame is given back.
    pub(crate) fn clear(&mut self) {
        self.directory.clear();
        self.bytes.truncate(HEADER_BYTES);
        if self.bytes.capacity() > 2 * self.most_bytes {
            self.bytes.shrink_to(self.most_bytes);
        }
        self.directory.shrink_to(self.most_bytes);
    }
}

const fn stored_remainder(len: usize) -> usize {
    part::stored_bytes(len) % 8
}

const _: () = assert!(CHECKSUM_BYTES < HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            commit: true,
            stream: Stream::Foreground,
            segment: 7,
            generation: 3,
            sequence: 11,
            durable: 9,
            version: 42,
            attempt: 2,
            payload_bytes: 0,
            directory_bytes: 0,
            directory_checksum: 0,
        }
    }

    #[test]
    fn bytes_of_a_frame_are_as_documented() {
        let mut buffer = FrameBuffer::new(1 << 20);
        let reference = Address { segment: 1, offset: 2, len: 3 };
        let offset = buffer.push((7, 64), (PageId::new(5), 9, 0x0102), &[reference], b"payload");
        assert_eq!(offset, 128);
        let bytes = buffer.seal(header(), 0xABCD, 64).to_vec();
        assert_eq!(bytes.len(), 128);
        assert_eq!(&bytes[..4], b"BWFR");
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(bytes[16..24], 3u64.to_le_bytes());
        assert_eq!(bytes[24..32], 11u64.to_le_bytes());
        assert_eq!(bytes[32..40], 9u64.to_le_bytes());
        assert_eq!(bytes[40..48], 42u64.to_le_bytes());
        assert_eq!(bytes[48..56], [16, 0, 0, 0, 40, 0, 0, 0]);
        assert_eq!(bytes[60..64], 2u32.to_le_bytes());
        assert_eq!(&bytes[64..71], b"payload");
        let sum = crc32c::crc32c(b"\x07\0\0\0\x80\0\0\0\x05\0\0\0\x09payload").to_le_bytes();
        assert_eq!(bytes[71..75], sum);
        assert_eq!(bytes[75..80], [0; 5]);
        let line = &bytes[80..120];
        assert_eq!(line[..8], [5, 0, 0, 0, 9, 0, 1, 0]);
        assert_eq!(line[8..16], 0x0102u64.to_le_bytes());
        assert_eq!(line[16..24], [128, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(line[24..28], sum);
        assert_eq!(line[28..40], reference.encode());
        assert_eq!(bytes[120..], [0; 8]);
    }

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let mut buffer = FrameBuffer::new(1 << 20);
        let bytes = buffer.seal(header(), 1, 64).to_vec();
        assert!(Header::decode(&bytes, 1, 64).is_some());
        assert!(Header::decode(&bytes, 1, 128).is_none());
        assert!(Header::decode(&bytes, 2, 64).is_none());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Header::decode(&flipped, 1, 64).is_none(), "byte {at}");
        }
    }
}
