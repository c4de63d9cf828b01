//! Suffixes and values of a page in [`Layout::Var`](crate::Layout::Var), one item after the other.
//!
//! ```text
//! item of a uniform page    suffix | value
//!      of any other         flags u8, value length u16 | suffix | value
//! ```
//!
//! Where each begins and ends is told by offsets: one more than there are items.

use std::ops::Range;

use crate::base::{HEADER_BYTES, IS_UNIFORM, IS_WIDE};
use crate::entry::Shape;
use crate::plain::{align8, put, u16_at, u32_at};

/// Bytes before the suffix of an item, unless the page is uniform.
pub(crate) const ITEM_HEAD_BYTES: usize = 3;

/// Tags that are looked at together: zeros fill up the last group.
pub(crate) const TAG_GROUP: usize = 32;

/// Bytes that an entry takes besides its item: tag, head and offset.
pub(crate) const VAR_ROW_BYTES: usize = 11;

/// Heaps with more bytes have offsets of four bytes.
pub(crate) const NARROW_BYTES: usize = u16::MAX as usize;

/// What lies in the heap of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) flags: u8,
    pub(crate) suffix: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The heap of a page, and what tells where its items are.
#[derive(Clone, Copy)]
pub(crate) struct Heap<'a> {
    pub(crate) offsets: &'a [u8],
    pub(crate) bytes: &'a [u8],
    pub(crate) wide: bool,
    /// Of a uniform page.
    pub(crate) value_len: Option<usize>,
}

impl<'a> Heap<'a> {
    /// Where this item begins, and the one before it ends.
    #[inline]
    pub(crate) fn offset(self, at: usize) -> usize {
        if self.wide {
            u32_at(self.offsets, 4 * at) as usize
        } else {
            u16_at(self.offsets, 2 * at) as usize
        }
    }

    /// Appends these offsets, each moved by so much.
    pub(crate) fn extend_offsets(self, at: Range<usize>, shift: u32, out: &mut Vec<u32>) {
        if self.wide {
            out.extend(at.map(|at| (self.offset(at) as u32).wrapping_add(shift)));
        } else {
            let narrow = &self.offsets.as_chunks::<2>().0[at];
            let moved = |raw: &[u8; 2]| u32::from(u16::from_le_bytes(*raw)).wrapping_add(shift);
            out.extend(narrow.iter().map(moved));
        }
    }

    /// The bytes of the items from one position up to, not including, another.
    #[inline]
    pub(crate) fn items(self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[self.offset(from)..self.offset(to)]
    }

    /// The item at this position.
    #[inline]
    pub(crate) fn item(self, at: usize) -> Item<'a> {
        let item = self.items(at, at + 1);
        let (flags, value_len, item) = match self.value_len {
            Some(value_len) => (0, value_len, item),
            None => (item[0], u16_at(item, 1) as usize, &item[ITEM_HEAD_BYTES..]),
        };
        let (suffix, value) = item.split_at(item.len() - value_len);
        Item { flags, suffix, value }
    }

    /// The suffix of the item at this position.
    #[inline]
    pub(crate) fn suffix(self, at: usize) -> &'a [u8] {
        match self.value_len {
            Some(value_len) => &self.bytes[self.offset(at)..self.offset(at + 1) - value_len],
            None => self.item(at).suffix,
        }
    }

    /// Flags and value of the item at this position.
    #[inline]
    pub(crate) fn value(self, at: usize) -> (u8, &'a [u8]) {
        if let Some(value_len) = self.value_len {
            let end = self.offset(at + 1);
            (0, &self.bytes[end - value_len..end])
        } else {
            let item = self.item(at);
            (item.flags, item.value)
        }
    }

    /// The item at this position, if it is one: of bytes that are not known to be a page.
    pub(crate) fn checked_item(self, at: usize) -> Option<Item<'a>> {
        let item = self.bytes.get(self.offset(at)..self.offset(at + 1))?;
        let (flags, value_len, item) = if let Some(value_len) = self.value_len {
            (0, value_len, item)
        } else {
            let (head, item) = item.split_at_checked(ITEM_HEAD_BYTES)?;
            (head[0], u16_at(head, 1) as usize, item)
        };
        let (suffix, value) = item.split_at_checked(item.len().checked_sub(value_len)?)?;
        Some(Item { flags, suffix, value })
    }
}

/// Bytes before the suffix of an item.
#[inline]
pub(crate) fn item_head_bytes(value_len: Option<usize>) -> usize {
    if value_len.is_some() { 0 } else { ITEM_HEAD_BYTES }
}

/// Where the parts of a page in Var lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extents {
    pub(crate) tags: usize,
    pub(crate) offsets: usize,
    pub(crate) heads: usize,
    pub(crate) links: usize,
    pub(crate) heap: usize,
    /// Bytes of the page.
    pub(crate) bytes: usize,
    pub(crate) wide: bool,
    pub(crate) value_len: Option<usize>,
}

impl Extents {
    /// Of a page with this shape and that many entries, whose heap has that many bytes.
    pub(crate) fn of(
        shape: &Shape<'_>,
        count: usize,
        heap_bytes: usize,
        value_len: Option<usize>,
    ) -> Self {
        let fences = shape.low.len() + shape.high.map_or(0, <[u8]>::len);
        let links = shape.absorbed.len() + usize::from(shape.merging.is_some());
        Self::new(fences, if shape.level == 0 { count } else { 0 }, count, links, heap_bytes)
            .uniform(value_len)
    }

    /// Of a page with fences of that many bytes, and that many tags, entries and links.
    pub(crate) fn new(
        fences: usize,
        tags: usize,
        count: usize,
        links: usize,
        heap_bytes: usize,
    ) -> Self {
        let wide = heap_bytes > NARROW_BYTES;
        let tags_at = align8(HEADER_BYTES + fences);
        let offsets = tags_at + tags.next_multiple_of(TAG_GROUP);
        let heads = align8(offsets + if wide { 4 } else { 2 } * (count + 1));
        // Where there are no tags there are second heads.
        let links_at = heads + 8 * (2 * count - tags);
        let heap = links_at + 4 * links;
        let bytes = align8(heap + heap_bytes);
        Self { tags: tags_at, offsets, heads, links: links_at, heap, bytes, wide, value_len: None }
    }

    fn uniform(self, value_len: Option<usize>) -> Self {
        Self { value_len, ..self }
    }

    /// The flags that say what kind of heap this is.
    pub(crate) fn flags(&self) -> u8 {
        let uniform = if self.value_len.is_some() { IS_UNIFORM } else { 0 };
        uniform | if self.wide { IS_WIDE } else { 0 }
    }

    /// Writes an offset where it belongs among the others.
    #[inline]
    pub(crate) fn put_offset(&self, page: &mut [u8], at: usize, offset: usize) {
        if self.wide {
            put(page, self.offsets + 4 * at, &(offset as u32).to_le_bytes());
        } else {
            put(page, self.offsets + 2 * at, &(offset as u16).to_le_bytes());
        }
    }
}
