//! A key in two pieces: the prefix that a page cuts off its keys, and the rest.

use core::cmp::Ordering;
use core::fmt;

/// A key that lies in two pieces, so that reading a page copies nothing.
///
/// Two keys are equal when their bytes are, however they are cut; the order is that of the bytes.
#[derive(Clone, Copy, Default)]
pub struct KeyRef<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// The key that is `prefix` followed by `suffix`.
    #[inline]
    #[must_use]
    pub const fn new(prefix: &'a [u8], suffix: &'a [u8]) -> Self {
        Self { prefix, suffix }
    }

    /// The first piece.
    #[inline]
    #[must_use]
    pub const fn prefix(self) -> &'a [u8] {
        self.prefix
    }

    /// The second piece.
    #[inline]
    #[must_use]
    pub const fn suffix(self) -> &'a [u8] {
        self.suffix
    }

    /// Bytes of the key.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Whether this is the empty key.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.prefix.is_empty() && self.suffix.is_empty()
    }

    /// Appends the key to `out`.
    #[inline]
    pub fn extend_into(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
    }

    /// The key in one piece.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.extend_into(&mut out);
        out
    }

    /// The bytes of the key, one by one.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        self.prefix.iter().chain(self.suffix).copied()
    }

    /// The key without its first `count` bytes; empty if it has no more than that.
    #[inline]
    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        match self.prefix.get(count..) {
            Some(prefix) => Self::new(prefix, self.suffix),
            None => {
                Self::new(&[], self.suffix.get(count - self.prefix.len()..).unwrap_or_default())
            }
        }
    }

    /// Copies the key to the start of `out` and returns its length.
    ///
    /// # Panics
    /// If `out` is shorter than the key.
    #[inline]
    pub fn copy_to(self, out: &mut [u8]) -> usize {
        let cut = self.prefix.len();
        out[..cut].copy_from_slice(self.prefix);
        out[cut..cut + self.suffix.len()].copy_from_slice(self.suffix);
        self.len()
    }

    /// The order of this key and one in a single piece.
    #[inline]
    #[must_use]
    pub fn cmp_bytes(self, other: &[u8]) -> Ordering {
        if let ([], Ok(own), Ok(other)) = (self.prefix, self.suffix.try_into(), other.try_into()) {
            // Eight bytes compare as one number, inline: a call for each would keep the processor
            // from running ahead to the next entry while this one comes from memory.
            return u64::from_be_bytes(own).cmp(&u64::from_be_bytes(other));
        }
        match other.split_at_checked(self.prefix.len()) {
            Some((start, rest)) => self.prefix.cmp(start).then_with(|| self.suffix.cmp(rest)),
            // The other is shorter than the prefix alone, so the rest can't change the answer.
            None => self.prefix.cmp(other),
        }
    }
}

impl<'a> From<&'a [u8]> for KeyRef<'a> {
    #[inline]
    fn from(key: &'a [u8]) -> Self {
        Self::new(&[], key)
    }
}

impl Ord for KeyRef<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match self.prefix.len().cmp(&other.prefix.len()) {
            Ordering::Equal => {
                self.prefix.cmp(other.prefix).then_with(|| self.suffix.cmp(other.suffix))
            }
            Ordering::Less => cmp_pieces(*self, *other),
            Ordering::Greater => cmp_pieces(*other, *self).reverse(),
        }
    }
}

/// The order of two keys, where the first has the shorter prefix.
fn cmp_pieces(short: KeyRef<'_>, long: KeyRef<'_>) -> Ordering {
    let (start, rest) = long.prefix.split_at(short.prefix.len());
    short
        .prefix
        .cmp(start)
        .then_with(|| KeyRef::new(rest, long.suffix).cmp_bytes(short.suffix).reverse())
}

impl PartialOrd for KeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for KeyRef<'_> {}

impl PartialEq for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.cmp(other) == Ordering::Equal
    }
}

impl PartialEq<[u8]> for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &[u8]) -> bool {
        self.len() == other.len() && self.cmp_bytes(other) == Ordering::Equal
    }
}

impl PartialOrd<[u8]> for KeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &[u8]) -> Option<Ordering> {
        Some(self.cmp_bytes(other))
    }
}

impl PartialEq<&[u8]> for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &&[u8]) -> bool {
        *self == **other
    }
}

impl PartialOrd<&[u8]> for KeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &&[u8]) -> Option<Ordering> {
        Some(self.cmp_bytes(other))
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}|{}\"", self.prefix.escape_ascii(), self.suffix.escape_ascii())
    }
}
