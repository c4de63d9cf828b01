//! A delta record and its bytes in memory.
//!
//! ```text
//! op u8, flags u8, net i8, fingerprint u8, key length u16, value length u16 | key | value
//! ```
//!
//! padded with zeros to a multiple of eight. Stamp and link to the record before it are the
//! engine's and lie in front.
//!
//! In [`Layout::Fixed8`] a record is a *pair*: key and value, eight bytes each, and a mark that the
//! engine keeps in the head: the op, and where in the base page the key stands or would stand,
//! which whoever made the record had to find out anyway, and consolidation needs. Pairs count
//! nothing (`net`) and have no flags.

use crate::entry::{Layout, Shape, Side};
use crate::plain::{align8, u16_at};

const HEAD_BYTES: usize = 8;
/// Payload of a pair.
const PAIR_BYTES: usize = 16;

/// Bits of a mark that are the op; the others are the position.
const OP_BITS: u32 = 2;

/// Where in a base page of numbers a key stands or would stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position(u16);

impl Position {
    /// Nobody has looked, or it is too far behind to be noted: it has eleven bits.
    pub const UNKNOWN: Self = Self(0x7FF);

    /// This position.
    #[inline]
    #[must_use]
    pub const fn new(at: usize) -> Self {
        if at < Self::UNKNOWN.0 as usize { Self(at as u16) } else { Self::UNKNOWN }
    }

    /// The position in the mark of a pair.
    #[inline]
    #[must_use]
    pub const fn in_mark(mark: u16) -> Self {
        Self(mark >> OP_BITS)
    }

    /// The position, if it is known.
    #[inline]
    pub(crate) const fn get(self) -> Option<u16> {
        if self.0 == Self::UNKNOWN.0 { None } else { Some(self.0) }
    }
}

/// Whether the pair with this mark gives its key a value.
#[inline]
pub(crate) const fn is_put(mark: u16) -> bool {
    mark & ((1 << OP_BITS) - 1) == Op::Put as u16
}

/// What a record does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    /// The key has this value.
    Put = 1,
    /// The key has no value.
    Remove = 2,
}

impl Op {
    /// The op with this number, or `None` if there is none.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Put),
            2 => Some(Self::Remove),
            _ => None,
        }
    }
}

/// One change of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// What happens to the key.
    pub op: Op,
    /// Flags of the value: [`FLAG_SEPARATED`](crate::FLAG_SEPARATED) or nothing.
    pub flags: u8,
    /// By how much the record changes the number of entries: -1, 0 or 1.
    pub net: i8,
    /// The key.
    pub key: &'a [u8],
    /// The new value; empty for [`Op::Remove`].
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Bytes of an encoded record with a key and a value of these lengths.
    #[inline]
    #[must_use]
    pub const fn encoded_len(key_len: usize, value_len: usize) -> usize {
        align8(HEAD_BYTES + key_len + value_len)
    }

    #[inline]
    fn encode(&self, fingerprint: u8, mut put: impl FnMut(&[u8])) {
        let (key_len, value_len) = (self.key.len(), self.value.len());
        assert!(
            u16::try_from(key_len.max(value_len)).is_ok(),
            "a key of {key_len} bytes and a value of {value_len} bytes don't fit a record"
        );
        let (key_bytes, value_bytes) =
            ((key_len as u16).to_le_bytes(), (value_len as u16).to_le_bytes());
        put(&[
            self.op as u8,
            self.flags,
            self.net.to_le_bytes()[0],
            fingerprint,
            key_bytes[0],
            key_bytes[1],
            value_bytes[0],
            value_bytes[1],
        ]);
        put(self.key);
        put(self.value);
        let bytes = HEAD_BYTES + key_len + value_len;
        put(&[0; 8][..align8(bytes) - bytes]);
    }

    /// The record at the start of these bytes, a payload that was
    /// [put](Self::put_payload) in [`Layout::Var`].
    ///
    /// # Panics
    /// If they are shorter than the record says.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Self {
        debug_assert!(Op::from_number(bytes[0]).is_some(), "not a record");
        let op = if bytes[0] == Op::Put as u8 { Op::Put } else { Op::Remove };
        let value_at = HEAD_BYTES + u16_at(bytes, 4) as usize;
        Self {
            op,
            flags: bytes[1],
            net: i8::from_le_bytes([bytes[2]]),
            key: &bytes[HEAD_BYTES..value_at],
            value: &bytes[value_at..value_at + u16_at(bytes, 6) as usize],
        }
    }

    /// Bytes of the payload of a record with a key and a value of these lengths.
    #[inline]
    #[must_use]
    pub const fn payload_len(layout: Layout, key_len: usize, value_len: usize) -> usize {
        match layout {
            Layout::Fixed8 => PAIR_BYTES,
            Layout::Var => Self::encoded_len(key_len, value_len),
        }
    }

    /// The mark of the pair whose key stands, or would, at this position of the base page; 0 in
    /// [`Layout::Var`], where the payload has it all.
    #[inline]
    #[must_use]
    pub const fn mark(&self, layout: Layout, position: Position) -> u16 {
        match layout {
            Layout::Fixed8 => self.op as u16 | position.0 << OP_BITS,
            Layout::Var => 0,
        }
    }

    /// Puts the payload, from its first byte to its last, [`payload_len`](Self::payload_len) of
    /// them. `fingerprint` is that of the key.
    ///
    /// # Panics
    /// If a pair has a key or value of other than eight bytes, or flags; else if key or value is
    /// longer than 65,535 bytes.
    #[inline]
    pub fn put_payload(&self, layout: Layout, fingerprint: u8, mut put: impl FnMut(&[u8])) {
        if layout == Layout::Var {
            return self.encode(fingerprint, put);
        }
        debug_assert_eq!(self.flags, 0, "no flags in Fixed8");
        let value: &[u8] = if self.op == Op::Put { self.value } else { &[0; 8] };
        // Arrays, so that this is two moves and no call.
        let (Ok(key), Ok(value)) = (self.key.try_into(), value.try_into()) else {
            panic!("a pair of {} and {} bytes", self.key.len(), value.len());
        };
        let (key, value): ([u8; 8], [u8; 8]) = (key, value);
        put(&key);
        put(&value);
    }

    /// The record with this mark and payload.
    ///
    /// # Panics
    /// If the payload is shorter than that of a pair.
    #[inline]
    #[must_use]
    pub fn pair(mark: u16, payload: &'a [u8]) -> Self {
        let (key, value) = payload.split_at(8);
        let put = is_put(mark);
        let (op, value) = if put { (Op::Put, &value[..8]) } else { (Op::Remove, &value[..0]) };
        Self { op, flags: 0, net: 0, key, value }
    }

    /// Bytes of the encoded record at the start of these bytes.
    ///
    /// # Panics
    /// If there are fewer than eight.
    #[inline]
    #[must_use]
    pub fn len_at(bytes: &[u8]) -> usize {
        Self::encoded_len(u16_at(bytes, 4) as usize, u16_at(bytes, 6) as usize)
    }

    /// The fingerprint of the key of the encoded record at the start of these bytes.
    ///
    /// # Panics
    /// If there are fewer than four.
    #[inline]
    #[must_use]
    pub fn fingerprint_at(bytes: &[u8]) -> u8 {
        bytes[3]
    }

    /// Whether the record can be folded into a leaf of this shape: key inside the fences, and
    /// sizes and flags as the layout wants them. To be asked of records that were read from the
    /// log, since a delta part doesn't say which page it is of.
    #[must_use]
    pub fn fits(&self, shape: &Shape<'_>) -> bool {
        let sizes = match (shape.layout, self.op) {
            (Layout::Var, _) => true,
            (Layout::Fixed8, Op::Remove) => self.key.len() == 8,
            (Layout::Fixed8, Op::Put) => {
                self.key.len() == 8 && self.value.len() == 8 && self.flags == 0
            }
        };
        sizes && shape.level == 0 && shape.side(self.key) == Side::Inside
    }
}
