//! The rows of a base page: one entry by its position, or all in order.

use core::fmt;
use core::iter::FusedIterator;

use types::PageId;

use crate::base::ROW_BYTES;
use crate::entry::Entry;
use crate::key::KeyRef;

/// Bits of a slot's first word that are the offset; the others are the flags of the entry.
pub(crate) const OFFSET_BITS: u32 = 24;

/// The rows of a page, with what is the same for all of them looked up once.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    Fixed8 {
        pairs: &'a [[u8; ROW_BYTES]],
        /// Of an inner page: the key of entry 0.
        low: Option<&'a [u8]>,
    },
    Var {
        slots: &'a [[u8; 8]],
        bytes: &'a [u8],
        prefix: &'a [u8],
        /// Of an inner page: the key of entry 0.
        low: Option<&'a [u8]>,
    },
}

impl<'a> Rows<'a> {
    #[inline]
    pub(crate) fn key(self, at: usize) -> KeyRef<'a> {
        match self {
            Rows::Fixed8 { low: Some(low), .. } | Rows::Var { low: Some(low), .. } if at == 0 => {
                KeyRef::from(low)
            }
            Rows::Fixed8 { pairs, .. } => KeyRef::new(&[], &pairs[at][..8]),
            Rows::Var { slots, bytes, prefix, .. } => {
                KeyRef::new(prefix, Slot::decode(slots[at]).suffix(bytes))
            }
        }
    }

    #[inline]
    pub(crate) fn value(self, at: usize) -> &'a [u8] {
        match self {
            Rows::Fixed8 { pairs, .. } => &pairs[at][8..],
            Rows::Var { slots, bytes, .. } => Slot::decode(slots[at]).value(bytes),
        }
    }

    #[inline]
    pub(crate) fn entry(self, at: usize) -> Entry<'a> {
        let flags = match self {
            Rows::Fixed8 { .. } => 0,
            Rows::Var { slots, .. } => Slot::decode(slots[at]).flags,
        };
        Entry { key: self.key(at), value: self.value(at), flags }
    }
}

/// Where suffix and value of an entry of a Var page lie.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) suffix_len: usize,
    pub(crate) value_len: usize,
    pub(crate) flags: u8,
}

impl Slot {
    #[inline]
    pub(crate) fn decode(raw: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(raw);
        Self {
            offset: (word & ((1 << OFFSET_BITS) - 1)) as usize,
            flags: (word >> OFFSET_BITS) as u8,
            suffix_len: (word >> 32) as u16 as usize,
            value_len: (word >> 48) as usize,
        }
    }

    pub(crate) fn encode(self) -> [u8; 8] {
        let word = self.offset as u64
            | u64::from(self.flags) << OFFSET_BITS
            | (self.suffix_len as u64) << 32
            | (self.value_len as u64) << 48;
        word.to_le_bytes()
    }

    #[inline]
    pub(crate) fn suffix(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.offset..self.offset + self.suffix_len]
    }

    #[inline]
    pub(crate) fn value(self, bytes: &[u8]) -> &[u8] {
        let at = self.offset + self.suffix_len;
        &bytes[at..at + self.value_len]
    }
}

/// The entries of a base page, in the order of their keys.
#[derive(Clone)]
pub struct Entries<'a> {
    rows: Rows<'a>,
    front: usize,
    back: usize,
}

impl<'a> Entries<'a> {
    #[inline]
    pub(crate) fn new(rows: Rows<'a>, front: usize, back: usize) -> Self {
        Self { rows, front, back }
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        (self.front < self.back).then(|| {
            self.front += 1;
            self.rows.entry(self.front - 1)
        })
    }

    #[inline]
    fn nth(&mut self, skipped: usize) -> Option<Entry<'a>> {
        self.front = self.front.saturating_add(skipped).min(self.back);
        self.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.back - self.front;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        (self.front < self.back).then(|| {
            self.back -= 1;
            self.rows.entry(self.back)
        })
    }
}

impl ExactSizeIterator for Entries<'_> {}
impl FusedIterator for Entries<'_> {}

/// The page ids that a base page absorbed.
#[derive(Clone, Debug)]
pub struct Absorbed<'a> {
    ids: core::slice::Iter<'a, [u8; 4]>,
}

impl<'a> Absorbed<'a> {
    #[inline]
    pub(crate) fn new(ids: &'a [[u8; 4]]) -> Self {
        Self { ids: ids.iter() }
    }
}

impl Iterator for Absorbed<'_> {
    type Item = PageId;

    #[inline]
    fn next(&mut self) -> Option<PageId> {
        let raw = self.ids.next()?;
        Some(PageId::new(u32::from_le_bytes(*raw)))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}

impl ExactSizeIterator for Absorbed<'_> {}
impl FusedIterator for Absorbed<'_> {}
