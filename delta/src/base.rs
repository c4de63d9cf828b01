//! The bytes of a base page, and how to look at them.
//!
//! ```text
//!  0  head of the low key behind the prefix, 8 bytes big-endian   Fixed8: the key itself
//!  8  head of the high key, the same
//! 16  Fixed8: interpolation: first key u64, span u64, scale u64
//!     Var:    where tags, offsets, heads, links and heap begin, u32 each, value length u16
//! 40  count u32, right u32
//! 48  flags u8, level u8, shift u8, error u8
//! 52  prefix length u16, number of absorbed u16, low length u16, high length u16
//! 60  bytes of the base page u32
//! 64  Fixed8: count x [key 8 big-endian | value 8]
//!             merging u32, if there is one, absorbed, u32 each
//!     Var:    low key, high key, zeros up to a multiple of eight
//!             leaf: count x tag u8, zeros up to a multiple of 32
//!             count + 1 x offset in the heap u16, or u32 in a wide page, zeros as above
//!             count x head u64
//!             inner page: count x second head u64
//!             merging u32, if there is one, absorbed, u32 each
//!             heap: count x [flags u8, value length u16 | suffix | value]
//! ```
//!
//! What a search in Fixed8 needs lies in the first 64 bytes. In an inner page the key of entry 0 is
//! the low key: it isn't stored again and never compared.
//!
//! The head of a key in Var is that of its suffix: what is left behind the prefix. The eight bytes
//! behind it are its second head: there are few separators, and many begin alike. Its tag is the
//! [`fingerprint`](crate::fingerprint) of the whole key: who looks for a key whose hash is known
//! looks at a byte an entry, and at one entry. Tags and offsets follow the header, so that what
//! such a search needs can be asked for before anything is known of the page. Where all values are
//! of one length and no entry has flags, the page is *uniform*: value length and flags are not in
//! the heap but in the header.

use core::fmt;
use core::ops::Range;

use types::PageId;

use crate::entry::{Entry, Layout, Shape, Side};
use crate::heap::{Heap, TAG_GROUP};
use crate::interpolation::Line;
use crate::key::KeyRef;
use crate::plain::{head, same, u16_at, u32_at, u64_at};
use crate::rows::{Absorbed, Entries, Rows};
use crate::search::lower_bound;

/// Bytes before the entries.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of an entry of a Fixed8 page.
pub(crate) const ROW_BYTES: usize = 16;

pub(crate) const AT_LOW: usize = 0;
pub(crate) const AT_HIGH: usize = 8;
pub(crate) const AT_FIRST: usize = 16;
pub(crate) const AT_SPAN: usize = 24;
pub(crate) const AT_SCALE: usize = 32;
pub(crate) const AT_TAGS: usize = 16;
pub(crate) const AT_OFFSETS: usize = 20;
pub(crate) const AT_HEADS: usize = 24;
pub(crate) const AT_LINKS: usize = 28;
pub(crate) const AT_HEAP: usize = 32;
pub(crate) const AT_VALUE_LEN: usize = 36;
pub(crate) const AT_COUNT: usize = 40;
pub(crate) const AT_RIGHT: usize = 44;
pub(crate) const AT_FLAGS: usize = 48;
pub(crate) const AT_LEVEL: usize = 49;
pub(crate) const AT_SHIFT: usize = 50;
pub(crate) const AT_ERROR: usize = 51;
pub(crate) const AT_PREFIX_LEN: usize = 52;
pub(crate) const AT_ABSORBED: usize = 54;
pub(crate) const AT_LOW_LEN: usize = 56;
pub(crate) const AT_HIGH_LEN: usize = 58;
pub(crate) const AT_BYTES: usize = 60;

pub(crate) const IS_VAR: u8 = 1;
pub(crate) const HAS_HIGH: u8 = 2;
pub(crate) const HAS_MERGING: u8 = 4;
pub(crate) const IS_UNIFORM: u8 = 8;
pub(crate) const IS_WIDE: u8 = 16;

/// A view of the bytes of a base page.
///
/// The bytes must come from [`write_base`](crate::write_base); other bytes give wrong answers or
/// panics, never undefined behaviour. They may be followed by others, which are not looked at.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    header: &'a [u8; HEADER_BYTES],
    bytes: &'a [u8],
}

impl<'a> Base<'a> {
    /// The base page that starts with the first of these bytes.
    ///
    /// # Panics
    /// If there are fewer bytes than a header has.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let Some(header) = bytes.first_chunk() else {
            panic!("a base page has at least {HEADER_BYTES} bytes");
        };
        Self { header, bytes }
    }

    /// Levels above the leaves; 0 is a leaf.
    #[inline]
    #[must_use]
    pub fn level(self) -> u8 {
        self.header[AT_LEVEL]
    }

    /// Whether this is a leaf.
    #[inline]
    #[must_use]
    pub fn is_leaf(self) -> bool {
        self.level() == 0
    }

    /// How the entries lie.
    #[inline]
    #[must_use]
    pub fn layout(self) -> Layout {
        if self.flags() & IS_VAR == 0 { Layout::Fixed8 } else { Layout::Var }
    }

    /// Number of entries: of a leaf its keys, of an inner page its children.
    #[inline]
    #[must_use]
    pub fn count(self) -> usize {
        u32_at(self.header, AT_COUNT) as usize
    }

    /// The low key: no key of the page is below it. Empty is minus infinity.
    #[inline]
    #[must_use]
    pub fn low(self) -> &'a [u8] {
        let len = u16_at(self.header, AT_LOW_LEN) as usize;
        match self.layout() {
            Layout::Fixed8 => &self.header[AT_LOW..AT_LOW + len],
            Layout::Var => &self.bytes[HEADER_BYTES..HEADER_BYTES + len],
        }
    }

    /// In [`Layout::Fixed8`]: the low key as a number, 0 for minus infinity.
    #[inline]
    #[must_use]
    pub fn low_number(self) -> u64 {
        self.fence(AT_LOW)
    }

    /// Of a page in [`Layout::Fixed8`]: the high key as a number.
    #[inline]
    #[must_use]
    pub fn high_number(self) -> Option<u64> {
        (self.flags() & HAS_HIGH != 0).then(|| self.fence(AT_HIGH))
    }

    /// The high key: every key of the page is below it. `None` is plus infinity.
    #[inline]
    #[must_use]
    pub fn high(self) -> Option<&'a [u8]> {
        if self.flags() & HAS_HIGH == 0 {
            return None;
        }
        let len = u16_at(self.header, AT_HIGH_LEN) as usize;
        Some(match self.layout() {
            Layout::Fixed8 => &self.header[AT_HIGH..AT_HIGH + len],
            Layout::Var => {
                let at = HEADER_BYTES + u16_at(self.header, AT_LOW_LEN) as usize;
                &self.bytes[at..at + len]
            }
        })
    }

    /// The next page of the level, or none.
    #[inline]
    #[must_use]
    pub fn right(self) -> PageId {
        PageId::new(u32_at(self.header, AT_RIGHT))
    }

    /// In an inner page: the child that is being merged away, or none.
    #[inline]
    #[must_use]
    pub fn merging(self) -> PageId {
        if self.flags() & HAS_MERGING == 0 {
            PageId::NONE
        } else {
            PageId::new(u32_at(self.bytes, self.links_at()))
        }
    }

    /// Pages merged into this one whose Merged record isn't durable yet.
    #[inline]
    #[must_use]
    pub fn absorbed(self) -> Absorbed<'a> {
        let merging = usize::from(self.flags() & HAS_MERGING != 0);
        let start = self.links_at() + 4 * merging;
        let end = start + 4 * u16_at(self.header, AT_ABSORBED) as usize;
        Absorbed::new(self.bytes[start..end].as_chunks().0)
    }

    /// Bytes of the base page.
    #[inline]
    #[must_use]
    pub fn byte_len(self) -> usize {
        u32_at(self.header, AT_BYTES) as usize
    }

    /// What the page is besides its entries. The absorbed page ids are the caller's, since they
    /// lie in the page as bytes: pass what the new page shall have.
    #[must_use]
    pub fn shape(self, absorbed: &'a [PageId]) -> Shape<'a> {
        Shape {
            layout: self.layout(),
            level: self.level(),
            low: self.low(),
            high: self.high(),
            right: self.right(),
            merging: self.merging(),
            absorbed,
        }
    }

    /// Where a key lies as seen from this page.
    #[inline]
    #[must_use]
    pub fn side(self, key: &[u8]) -> Side {
        // What the fences share is looked at once, and then only what is behind it.
        let Some((start, suffix)) = key.split_at_checked(self.prefix_len()) else {
            return if key < self.low() { Side::Left } else { Side::Right };
        };
        let prefix = self.prefix();
        if !same(start, prefix) {
            return if start < prefix { Side::Left } else { Side::Right };
        }
        let (key_head, low_head) = (head(suffix), self.fence(AT_LOW));
        if key_head <= low_head && (key_head < low_head || key < self.low()) {
            return Side::Left;
        }
        if self.flags() & HAS_HIGH != 0 {
            let high_head = self.fence(AT_HIGH);
            if key_head > high_head
                || key_head == high_head && self.high().is_some_and(|high| key >= high)
            {
                return Side::Right;
            }
        }
        Side::Inside
    }

    /// The entry at this position.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    #[must_use]
    pub fn entry(self, at: usize) -> Entry<'a> {
        self.rows().entry(at)
    }

    /// Flags and value of the entry at this position.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) fn value(self, at: usize) -> (u8, &'a [u8]) {
        match self.layout() {
            Layout::Fixed8 => (0, &self.pairs()[at][8..]),
            Layout::Var => self.heap().value(at),
        }
    }

    /// The entries in the order of their keys.
    #[inline]
    #[must_use]
    pub fn entries(self) -> Entries<'a> {
        self.entries_between(0, self.count())
    }

    /// Of a leaf in [`Layout::Fixed8`]: the position of the first row whose key is not below this.
    #[inline]
    #[must_use]
    pub fn row_at(self, key: u64) -> usize {
        lower_bound(self.pairs(), &self.line(), key)
    }

    /// Of a page in [`Layout::Fixed8`]: the rows at these positions.
    ///
    /// # Panics
    /// If it has no such positions.
    #[inline]
    #[must_use]
    pub fn rows_at(self, window: Range<usize>) -> &'a [[u8; ROW_BYTES]] {
        &self.pairs()[window]
    }

    /// Of a page in [`Layout::Fixed8`]: the key of the row at this position.
    #[inline]
    #[must_use]
    pub fn row_key(self, at: usize) -> Option<u64> {
        self.pairs().get(at).map(|row| head(row))
    }

    /// The entries from one position up to, not including, another.
    #[inline]
    pub(crate) fn entries_between(self, from: usize, to: usize) -> Entries<'a> {
        Entries::new(self.rows(), from, to)
    }

    /// In an inner page: the child at this position.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    #[must_use]
    pub fn child(self, at: usize) -> PageId {
        let value = match self.layout() {
            Layout::Fixed8 => &self.pairs()[at][8..],
            Layout::Var => self.heap().value(at).1,
        };
        PageId::new(u32_at(value, 0))
    }

    /// In an inner page: the smallest key that the child at this position is for. At position 0
    /// that is the low key.
    ///
    /// # Panics
    /// If there is no such child.
    #[inline]
    #[must_use]
    pub fn separator(self, at: usize) -> KeyRef<'a> {
        self.rows().key(at)
    }

    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn flags(self) -> u8 {
        self.header[AT_FLAGS]
    }

    /// Where merging and absorbed lie.
    #[inline]
    pub(crate) fn links_at(self) -> usize {
        match self.layout() {
            Layout::Fixed8 => HEADER_BYTES + ROW_BYTES * self.count(),
            Layout::Var => self.place(AT_LINKS),
        }
    }

    /// Of a Var page: what this field of the header says.
    #[inline]
    pub(crate) fn place(self, field: usize) -> usize {
        u32_at(self.header, field) as usize
    }

    #[inline]
    pub(crate) fn prefix_len(self) -> usize {
        u16_at(self.header, AT_PREFIX_LEN) as usize
    }

    /// The prefix that the page cuts off its keys.
    #[inline]
    pub(crate) fn prefix(self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..HEADER_BYTES + self.prefix_len()]
    }

    /// The line through the keys of a Fixed8 page.
    #[inline]
    pub(crate) fn line(self) -> Line {
        Line {
            first: u64_at(self.header, AT_FIRST),
            span: u64_at(self.header, AT_SPAN),
            scale: u64_at(self.header, AT_SCALE),
            shift: self.header[AT_SHIFT],
            error: self.header[AT_ERROR],
        }
    }

    /// The pairs of a Fixed8 page.
    #[inline]
    pub(crate) fn pairs(self) -> &'a [[u8; ROW_BYTES]] {
        self.bytes[HEADER_BYTES..HEADER_BYTES + ROW_BYTES * self.count()].as_chunks().0
    }

    /// The tags of a Var leaf.
    #[inline]
    pub(crate) fn tags(self) -> &'a [u8] {
        let at = self.place(AT_TAGS);
        &self.bytes[at..at + self.count()]
    }

    /// The same and zeros behind them.
    #[inline]
    pub(crate) fn tag_groups(self) -> &'a [[u8; TAG_GROUP]] {
        self.bytes[self.place(AT_TAGS)..self.place(AT_OFFSETS)].as_chunks().0
    }

    /// The heads of a Var page.
    #[inline]
    pub(crate) fn heads(self) -> &'a [[u8; 8]] {
        let at = self.place(AT_HEADS);
        self.bytes[at..at + 8 * self.count()].as_chunks().0
    }

    /// Of an inner page in Var the second heads; of a leaf none.
    #[inline]
    pub(crate) fn second_heads(self) -> &'a [[u8; 8]] {
        let at = self.place(AT_HEADS) + 8 * self.count();
        self.bytes[at..self.place(AT_LINKS)].as_chunks().0
    }

    /// Of a page in [`Layout::Var`]: the bytes of it that a search by order looks at.
    #[inline]
    #[must_use]
    pub fn heads_span(self) -> Range<usize> {
        self.place(AT_HEADS)..self.place(AT_LINKS)
    }

    /// Of a page in [`Layout::Var`]: the bytes of it in which the entries at these positions lie.
    #[inline]
    #[must_use]
    pub fn items_span(self, window: Range<usize>) -> Range<usize> {
        let (start, heap) = (self.place(AT_HEAP), self.heap());
        start + heap.offset(window.start)..start + heap.offset(window.end)
    }

    /// Suffixes and values of a Var page.
    #[inline]
    pub(crate) fn heap(self) -> Heap<'a> {
        let (offsets, heads, heap) =
            (self.place(AT_OFFSETS), self.place(AT_HEADS), self.place(AT_HEAP));
        Heap {
            offsets: &self.bytes[offsets..heads],
            bytes: &self.bytes[heap..],
            wide: self.flags() & IS_WIDE != 0,
            value_len: self.value_len(),
        }
    }

    /// Bytes of each value of a *uniform* page in [`Layout::Var`]: one where all values are of one
    /// length, and no entry has flags.
    #[inline]
    #[must_use]
    pub fn value_len(self) -> Option<usize> {
        (self.flags() & IS_UNIFORM != 0).then(|| u16_at(self.header, AT_VALUE_LEN) as usize)
    }

    #[inline]
    pub(crate) fn rows(self) -> Rows<'a> {
        match self.layout() {
            Layout::Fixed8 => {
                Rows::Fixed8 { pairs: self.pairs(), low: (!self.is_leaf()).then(|| self.low()) }
            }
            Layout::Var => Rows::Var {
                heap: self.heap(),
                prefix: self.prefix(),
                low: (!self.is_leaf()).then(|| self.low()),
            },
        }
    }

    /// The head of the low key or the high key; in Fixed8 the key itself.
    #[inline]
    pub(crate) fn fence(self, at: usize) -> u64 {
        head(&self.header[at..at + 8])
    }
}

impl fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base")
            .field("layout", &self.layout())
            .field("level", &self.level())
            .field("count", &self.count())
            .field("low", &KeyRef::from(self.low()))
            .field("high", &self.high().map(KeyRef::from))
            .field("right", &self.right())
            .field("byte_len", &self.byte_len())
            .finish_non_exhaustive()
    }
}
