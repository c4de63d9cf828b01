//! The rows of a base page: one entry by its position, or all in order.

use core::fmt;
use core::iter::FusedIterator;

use types::PageId;

use crate::base::ROW_BYTES;
use crate::entry::Entry;
use crate::heap::{Heap, Item};
use crate::key::KeyRef;

/// The rows of a page, with what is the same for all of them looked up once.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    Fixed8 {
        pairs: &'a [[u8; ROW_BYTES]],
        /// Of an inner page: the key of entry 0.
        low: Option<&'a [u8]>,
    },
    Var {
        heap: Heap<'a>,
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
            Rows::Var { heap, prefix, .. } => KeyRef::new(prefix, heap.item(at).suffix),
        }
    }

    #[inline]
    pub(crate) fn value(self, at: usize) -> &'a [u8] {
        match self {
            Rows::Fixed8 { pairs, .. } => &pairs[at][8..],
            Rows::Var { heap, .. } => heap.item(at).value,
        }
    }

    #[inline]
    pub(crate) fn entry(self, at: usize) -> Entry<'a> {
        match self {
            Rows::Fixed8 { .. } => Entry { key: self.key(at), value: self.value(at), flags: 0 },
            Rows::Var { heap, prefix, low } => {
                let Item { flags, suffix, value } = heap.item(at);
                let key = match low {
                    Some(low) if at == 0 => KeyRef::from(low),
                    _ => KeyRef::new(prefix, suffix),
                };
                Entry { key, value, flags }
            }
        }
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
