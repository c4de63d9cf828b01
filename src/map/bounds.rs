//! What a map takes for a range: everything that `BTreeMap::range` takes, with fewer annotations.
//!
//! `RangeBounds<T>` is implemented by `..` for every `T`, and by `Range<&T>` for sized ones only,
//! so std's maps can't take a bare `..`, nor `"a".."c"` on texts. Here the owned key's type takes
//! part in the choice: only what it can be borrowed as is considered, and `..` means the key
//! itself.

use crate::engine::Span;
use crate::key::EncodeKey;
use core::borrow::Borrow;
use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A range of the keys of a `Map<K, _>`, whose bounds are given as `Q`.
///
/// Implemented by `..`, and by `a..b`, `a..=b`, `a..`, `..b`, `..=b` and pairs of [`Bound`]s, of
/// keys as well as of references to what keys can be borrowed as. What else implements
/// [`RangeBounds`] can be passed as `(range.start_bound(), range.end_bound())`.
///
/// ```
/// use std::ops::Bound;
///
/// let map: bwtree::Map<String, u32> = [("a", 1), ("b", 2), ("c", 3)]
///     .map(|(key, value)| (key.to_owned(), value))
///     .into();
/// assert_eq!(map.range(..).count(), 3);
/// assert_eq!(map.range("a".."c").count(), 2);
/// assert_eq!(map.range("b".to_owned()..).count(), 2);
/// assert_eq!(map.range((Bound::Excluded("a"), Bound::Included("b"))).count(), 1);
/// ```
pub trait KeyRange<K, Q: ?Sized> {
    /// Where the range begins, and where it ends.
    fn bounds(&self) -> (Bound<&Q>, Bound<&Q>);
}

impl<K> KeyRange<K, K> for RangeFull {
    fn bounds(&self) -> (Bound<&K>, Bound<&K>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! key_ranges {
    ($($range:ident, $this:ident => $start:expr, $end:expr;)*) => {$(
        impl<K: Borrow<Q>, Q> KeyRange<K, Q> for $range<Q> {
            fn bounds(&self) -> (Bound<&Q>, Bound<&Q>) {
                (self.start_bound(), self.end_bound())
            }
        }

        impl<K: Borrow<Q>, Q: ?Sized> KeyRange<K, Q> for $range<&Q> {
            fn bounds(&self) -> (Bound<&Q>, Bound<&Q>) {
                let $this = self;
                ($start, $end)
            }
        }
    )*};
}

key_ranges! {
    Range, range => Bound::Included(range.start), Bound::Excluded(range.end);
    RangeInclusive, range => Bound::Included(*range.start()), Bound::Included(*range.end());
    RangeFrom, range => Bound::Included(range.start), Bound::Unbounded;
    RangeTo, range => Bound::Unbounded, Bound::Excluded(range.end);
    RangeToInclusive, range => Bound::Unbounded, Bound::Included(range.end);
}

impl<K: Borrow<Q>, Q> KeyRange<K, Q> for (Bound<Q>, Bound<Q>) {
    fn bounds(&self) -> (Bound<&Q>, Bound<&Q>) {
        (self.0.as_ref(), self.1.as_ref())
    }
}

impl<K: Borrow<Q>, Q: ?Sized> KeyRange<K, Q> for (Bound<&Q>, Bound<&Q>) {
    fn bounds(&self) -> (Bound<&Q>, Bound<&Q>) {
        *self
    }
}

/// What `then` makes of the range as encoded keys, whose order is that of the keys.
///
/// # Panics
/// As `BTreeMap::range`: if the start lies behind the end, or both are the same and excluded.
#[inline]
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "as RangeBounds are passed")]
pub(super) fn spanned<K, Q, R>(range: impl KeyRange<K, Q>, then: impl FnOnce(Span<'_>) -> R) -> R
where
    Q: EncodeKey + ?Sized,
{
    let (start, end) = range.bounds();
    let checked = with_bound(start, |start| {
        with_bound(end, |end| match misplaced(start, end) {
            None => Ok(then((start, end))),
            Some(wrong) => Err(wrong),
        })
    });
    match checked {
        Ok(made) => made,
        Err(wrong) => panic!("range start is {wrong} its end"),
    }
}

#[inline]
fn with_bound<Q, R>(bound: Bound<&Q>, then: impl FnOnce(Bound<&[u8]>) -> R) -> R
where
    Q: EncodeKey + ?Sized,
{
    match bound {
        Bound::Unbounded => then(Bound::Unbounded),
        Bound::Included(key) => key.with_encoded(|key| then(Bound::Included(key))),
        Bound::Excluded(key) => key.with_encoded(|key| then(Bound::Excluded(key))),
    }
}

#[inline]
fn misplaced(start: Bound<&[u8]>, end: Bound<&[u8]>) -> Option<&'static str> {
    match (start, end) {
        (Bound::Excluded(start), Bound::Excluded(end)) => (start >= end).then_some("not below"),
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => (start > end).then_some("behind"),
        _ => None,
    }
}
