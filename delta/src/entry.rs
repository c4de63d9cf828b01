//! An entry, a layout, and what a page is besides its entries.

use types::PageId;

use crate::key::KeyRef;
use crate::plain::shared_prefix;

/// Set on an entry or record whose value lies outside the page.
///
/// In memory the value is then an opaque handle of eight bytes; in an image it is whatever the
/// caller passes, opaque here.
pub const FLAG_SEPARATED: u8 = 1;

/// Every flag that an entry may have. The others are kept for later and are an error until then.
pub(crate) const KNOWN_FLAGS: u8 = FLAG_SEPARATED;

/// How the entries of a page lie; chosen once per tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Keys and leaf values of exactly eight bytes, interleaved. Keys compare as big-endian
    /// numbers, which is the order of their bytes.
    Fixed8,
    /// Keys up to [`MAX_KEY_BYTES`](types::limits::MAX_KEY_BYTES) and values up to
    /// [`MAX_INLINE_VALUE_BYTES`](types::limits::MAX_INLINE_VALUE_BYTES), both of any length, with
    /// the prefix that the fences share cut off.
    Var,
}

/// Where a key lies as seen from a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Below the low key.
    Left,
    /// Not below the low key and below the high key.
    Inside,
    /// Not below the high key: follow the right link.
    Right,
}

/// One key and its value, as they lie in a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The key. In an inner page the key of entry 0 is the page's low key.
    pub key: KeyRef<'a>,
    /// The value; in an inner page the child, see [`child_value`](crate::child_value).
    pub value: &'a [u8],
    /// Flags: [`FLAG_SEPARATED`] or nothing. Always nothing in [`Layout::Fixed8`].
    pub flags: u8,
}

impl<'a> Entry<'a> {
    /// The entry with this key in one piece, this value and no flags.
    #[inline]
    #[must_use]
    pub const fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: KeyRef::new(&[], key), value, flags: 0 }
    }
}

/// What a page is besides its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape<'a> {
    /// How the entries lie.
    pub layout: Layout,
    /// Levels above the leaves; 0 is a leaf.
    pub level: u8,
    /// No key of the page is below this. Empty is minus infinity.
    pub low: &'a [u8],
    /// Every key of the page is below this. `None` is plus infinity.
    pub high: Option<&'a [u8]>,
    /// The next page of the level, or none.
    pub right: PageId,
    /// In an inner page: the child that is being merged away, or none. Never written to the log.
    pub merging: PageId,
    /// Pages merged into this one whose Merged record isn't durable yet.
    pub absorbed: &'a [PageId],
}

impl<'a> Shape<'a> {
    /// An empty leaf that covers every key.
    #[must_use]
    pub const fn whole(layout: Layout) -> Self {
        Self {
            layout,
            level: 0,
            low: &[],
            high: None,
            right: PageId::NONE,
            merging: PageId::NONE,
            absorbed: &[],
        }
    }

    /// Where a key lies as seen from a page of this shape.
    #[must_use]
    pub fn side(&self, key: &[u8]) -> Side {
        if key < self.low {
            Side::Left
        } else if self.high.is_some_and(|high| key >= high) {
            Side::Right
        } else {
            Side::Inside
        }
    }

    /// Bytes of the two fences.
    #[must_use]
    pub fn fence_bytes(&self) -> usize {
        self.low.len() + self.high.map_or(0, <[u8]>::len)
    }

    /// The prefix that the page cuts off its keys: what the fences share.
    ///
    /// Every key between them starts with it, so a search that has looked at the fences knows it.
    #[must_use]
    pub fn prefix(&self) -> &'a [u8] {
        match (self.layout, self.high) {
            (Layout::Var, Some(high)) => &self.low[..shared_prefix(self.low, high)],
            _ => &[],
        }
    }
}
