//! A segment file: 64 bytes of header, then frames one after another.

use crate::fields::{Fields, put};
use crate::part::Stream;
use crate::reads_format;

/// The first eight bytes of every segment file.
pub(crate) const MAGIC: [u8; 8] = *b"BWSEG001";

/// Bytes of the header; the first frame follows.
pub(crate) const HEADER_BYTES: usize = 64;

/// The stream byte of a segment that is prepared and not yet used.
const UNUSED: u8 = 0xFF;

/// What the header of a segment file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The version of the format that its frames are in.
    pub(crate) format: u32,
    pub(crate) store: u64,
    /// The generation that prepared or began to use it.
    pub(crate) generation: u64,
    /// No frame in it has a lower sequence; 0 while it is unused.
    pub(crate) first_sequence: u64,
    pub(crate) id: u32,
    /// `None` while it is unused.
    pub(crate) stream: Option<Stream>,
    /// Bytes of the file; it never changes.
    pub(crate) size: u64,
}

/// What the first bytes of a segment file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A header that this version understands.
    Header(SegmentHeader),
    /// A header of another version.
    Unsupported {
        /// Its format version.
        version: u32,
        /// Its unknown incompatible feature bits.
        features: u64,
    },
    /// No header: never finished, or damaged.
    Nothing,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, MAGIC);
        put(&mut out, 12, self.format.to_le_bytes());
        // 16: compatible feature bits, 20: incompatible feature bits; none yet.
        put(&mut out, 24, self.store.to_le_bytes());
        put(&mut out, 32, self.generation.to_le_bytes());
        put(&mut out, 40, self.first_sequence.to_le_bytes());
        put(&mut out, 48, self.id.to_le_bytes());
        out[52] = self.stream.map_or(UNUSED, |stream| stream as u8);
        put(&mut out, 56, self.size.to_le_bytes());
        let sum = crc32c::crc32c(&out[12..]);
        put(&mut out, 8, sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded {
        Self::try_decode(bytes).unwrap_or(Decoded::Nothing)
    }

    fn try_decode(bytes: &[u8]) -> Option<Decoded> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut fields = Fields::new(bytes);
        if fields.array::<8>()? != MAGIC || fields.u32()? != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        let version = fields.u32()?;
        fields.u32()?;
        let features = u64::from(fields.u32()?);
        if !reads_format(version) || features != 0 {
            return Some(Decoded::Unsupported { version, features });
        }
        Some(Decoded::Header(Self {
            format: version,
            store: fields.u64()?,
            generation: fields.u64()?,
            first_sequence: fields.u64()?,
            id: fields.u32()?,
            stream: Stream::from_byte(fields.u8()?),
            size: {
                fields.take(3)?;
                fields.u64()?
            },
        }))
    }
}

/// The file name of a segment.
pub(crate) fn file_name(id: u32) -> String {
    format!("seg-{id:010}.log")
}

/// The segment of a file name, or `None` if it is not the name of a segment.
pub(crate) fn id_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    if digits.len() != 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&id| id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_header_are_as_documented() {
        let header = SegmentHeader {
            format: 2,
            store: 0x1122,
            generation: 2,
            first_sequence: 77,
            id: 5,
            stream: Some(Stream::Background),
            size: 1 << 20,
        };
        let bytes = header.encode();
        assert_eq!(&bytes[..8], b"BWSEG001");
        assert_eq!(bytes[8..12], crc32c::crc32c(&bytes[12..]).to_le_bytes());
        assert_eq!(bytes[12..24], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], 0x1122u64.to_le_bytes());
        assert_eq!(bytes[32..40], 2u64.to_le_bytes());
        assert_eq!(bytes[40..48], 77u64.to_le_bytes());
        assert_eq!(bytes[48..56], [5, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[56..64], (1u64 << 20).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Decoded::Header(header));
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(file_name(12), "seg-0000000012.log");
        assert_eq!(id_of("seg-0000000012.log"), Some(12));
        assert_eq!(id_of("seg-4294967295.log"), Some(u32::MAX));
        for name in [
            "seg-0000000000.log",
            "seg-9999999999.log",
            "seg-12.log",
            "seg-+000000012.log",
            "superblock",
        ] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }
}
