//! An address says where a part lies in the log.

use core::fmt;

/// Where a part lies in the log: segment, byte offset of its payload, length of its payload.
///
/// Segment numbers are never used twice in the life of a store, so an address never comes to mean
/// other bytes: at worst it names a segment that is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address {
    /// Number of the segment; 0 is no segment.
    pub segment: u32,
    /// Byte offset of the payload in the segment's file.
    pub offset: u32,
    /// Bytes of the payload.
    pub len: u32,
}

impl Address {
    /// No place: what has never been written.
    pub const NONE: Self = Self { segment: 0, offset: 0, len: 0 };

    /// Bytes of an encoded address.
    pub const ENCODED_BYTES: usize = 12;

    /// Whether this names no place.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.segment == 0
    }

    /// The address as twelve little-endian bytes.
    #[must_use]
    pub fn encode(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        out[..4].copy_from_slice(&self.segment.to_le_bytes());
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// The address in the first twelve bytes, or `None` if there are fewer.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
        };
        Some(Self { segment: word(0)?, offset: word(4)?, len: word(8)? })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.segment, self.offset, self.len)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {} length {}", self.segment, self.offset, self.len)
    }
}
