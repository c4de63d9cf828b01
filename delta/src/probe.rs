//! What a search asks a base page for: a key in bytes, or a number in a page of numbers.
//!
//! Every path from the root to an entry is generic over its probe, so that a key of eight bytes is
//! compared as one number all the way, and pays nothing for keys of other lengths.

use core::ops::Range;

use types::PageId;

use crate::base::{AT_HIGH, AT_LOW, Base, HAS_HIGH};
use crate::entry::{Layout, Side};
use crate::hash::{fingerprint, fingerprint_of, hash};
use crate::record::{Position, Record};
use crate::search::lower_bound;
use crate::sketch::{FRONT_BYTES, rows_ahead};

/// A key that is looked for.
pub trait Probe: Copy {
    /// Whether the tree's pages are in [`Layout::Fixed8`].
    const NUMBER: bool;

    /// The bytes of the key.
    fn bytes(&self) -> &[u8];

    /// The key as a number, if it is one.
    fn number(self) -> Option<u64>;

    /// The bytes of its leaf that a search will look at, by the sketch of that leaf or any other
    /// number: see [`Base::sketch`].
    #[inline]
    fn ahead(self, _sketch: u64) -> Range<usize> {
        0..0
    }

    /// Where the key lies as seen from a page.
    fn side(self, base: Base<'_>) -> Side;

    /// Where the key is in a leaf whose fences are around it, if it is there; and its position in
    /// a leaf of numbers, there or not.
    fn find(self, base: Base<'_>) -> (Option<usize>, Position);

    /// Flags and value of the entry at this position of a leaf.
    fn value(self, base: Base<'_>, at: usize) -> (u8, &[u8]);

    /// Whether a record with this payload may be one of the key: to be asked before its key is
    /// looked at.
    fn may_be_in(self, payload: &[u8], fingerprint: u8) -> bool;

    /// In an inner page: the child that the key belongs to.
    fn child(self, base: Base<'_>) -> PageId;

    /// The fingerprint of the key: see [`fingerprint`].
    fn fingerprint(self) -> u8;

    /// The [`hash`](crate::hash()) of the key, if that is known.
    #[inline]
    fn hash(self) -> Option<u64> {
        None
    }
}

impl Probe for &[u8] {
    const NUMBER: bool = false;

    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    fn number(self) -> Option<u64> {
        None
    }

    #[inline]
    fn side(self, base: Base<'_>) -> Side {
        base.side(self)
    }

    #[inline]
    fn find(self, base: Base<'_>) -> (Option<usize>, Position) {
        (base.search(self).ok(), Position::UNKNOWN)
    }

    #[inline]
    fn value(self, base: Base<'_>, at: usize) -> (u8, &[u8]) {
        base.value(at)
    }

    #[inline]
    fn may_be_in(self, payload: &[u8], fingerprint: u8) -> bool {
        Record::fingerprint_at(payload) == fingerprint
    }

    #[inline]
    fn child(self, base: Base<'_>) -> PageId {
        base.child(base.child_index(self))
    }

    #[inline]
    fn fingerprint(self) -> u8 {
        fingerprint(self)
    }
}

/// A key in bytes whose hash is known: what operations on single keys look for.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    bytes: &'a [u8],
    hash: u64,
}

impl<'a> Hashed<'a> {
    /// The key with these bytes.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hash: hash(bytes) }
    }
}

impl Probe for Hashed<'_> {
    const NUMBER: bool = false;

    #[inline]
    fn ahead(self, _sketch: u64) -> Range<usize> {
        0..FRONT_BYTES
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes
    }

    #[inline]
    fn number(self) -> Option<u64> {
        None
    }

    #[inline]
    fn side(self, base: Base<'_>) -> Side {
        base.side(self.bytes)
    }

    #[inline]
    fn find(self, base: Base<'_>) -> (Option<usize>, Position) {
        let at = match base.layout() {
            Layout::Var => base.find_tagged(self.bytes, self.fingerprint()),
            Layout::Fixed8 => base.search(self.bytes).ok(),
        };
        (at, Position::UNKNOWN)
    }

    #[inline]
    fn value(self, base: Base<'_>, at: usize) -> (u8, &[u8]) {
        base.value(at)
    }

    #[inline]
    fn may_be_in(self, payload: &[u8], fingerprint: u8) -> bool {
        Record::fingerprint_at(payload) == fingerprint
    }

    #[inline]
    fn child(self, base: Base<'_>) -> PageId {
        base.child(base.child_index(self.bytes))
    }

    #[inline]
    fn fingerprint(self) -> u8 {
        fingerprint_of(self.hash)
    }

    #[inline]
    fn hash(self) -> Option<u64> {
        Some(self.hash)
    }
}

/// A key of a tree in [`Layout::Fixed8`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number([u8; 8]);

impl Number {
    /// The key with these bytes.
    #[inline]
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The key as a number: numbers order as the bytes do.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// As [`ahead`](Probe::ahead), of a search that goes on with so many rows in front of the
    /// key's, or behind it.
    #[inline]
    #[must_use]
    pub fn ahead_with(self, sketch: u64, others: (usize, usize)) -> Range<usize> {
        rows_ahead(sketch, self.get(), others)
    }
}

impl Probe for Number {
    const NUMBER: bool = true;

    #[inline]
    fn ahead(self, sketch: u64) -> Range<usize> {
        rows_ahead(sketch, self.get(), (0, 0))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn number(self) -> Option<u64> {
        Some(self.get())
    }

    #[inline]
    fn side(self, base: Base<'_>) -> Side {
        debug_assert_eq!(base.layout(), Layout::Fixed8);
        let number = self.get();
        // The head of an empty low key is 0: nothing is below it.
        if number < base.fence(AT_LOW) {
            Side::Left
        } else if number >= base.fence(AT_HIGH) && base.flags() & HAS_HIGH != 0 {
            Side::Right
        } else {
            Side::Inside
        }
    }

    #[inline]
    fn find(self, base: Base<'_>) -> (Option<usize>, Position) {
        debug_assert!(base.is_leaf() && base.layout() == Layout::Fixed8);
        let (pairs, number) = (base.pairs(), self.get());
        let at = lower_bound(pairs, &base.line(), number);
        let found = match pairs.get(at) {
            Some(pair) if crate::plain::head(pair) == number => Some(at),
            _ => None,
        };
        (found, Position::new(at))
    }

    #[inline]
    fn value(self, base: Base<'_>, at: usize) -> (u8, &[u8]) {
        (0, &base.pairs()[at][8..])
    }

    #[inline]
    fn may_be_in(self, payload: &[u8], _fingerprint: u8) -> bool {
        payload.first_chunk() == Some(&self.0)
    }

    #[inline]
    fn child(self, base: Base<'_>) -> PageId {
        debug_assert!(!base.is_leaf() && base.layout() == Layout::Fixed8);
        let (pairs, number) = (base.pairs(), self.get());
        // The line leaves out the first child, whose separator is never compared.
        let children = pairs.get(1..).unwrap_or_default();
        let at = lower_bound(children, &base.line(), number);
        let at =
            at + usize::from(children.get(at).is_some_and(|p| crate::plain::head(p) == number));
        PageId::new(crate::plain::u32_at(&pairs[at], 8))
    }

    #[inline]
    fn fingerprint(self) -> u8 {
        fingerprint(&self.0)
    }
}
