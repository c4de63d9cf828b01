//! What a map takes for a range: everything that `BTreeMap::range` takes, with fewer annotations.
//!
//! `RangeBounds<T>` is implemented by `..` for every `T`, and by `Range<&T>` for sized ones only,
//! so std's maps can't take a bare `..`, nor `"a".."c"` on texts. Here the owned key's type takes
//! part in the choice: only what it can be borrowed as is considered, and `..` means the key
//! itself.

use crate::engine;
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

/// The range as encoded keys, whose order is that of the keys.
///
/// # Panics
/// As `BTreeMap::range`: if the start lies behind the end, or both are the same and excluded.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "as RangeBounds are passed")]
pub(super) fn encoded<K, Q>(range: impl KeyRange<K, Q>) -> engine::Range
where
    Q: EncodeKey + ?Sized,
{
    let (start, end) = range.bounds();
    let range = (start.map(EncodeKey::to_encoded), end.map(EncodeKey::to_encoded));
    match &range {
        (Bound::Excluded(start), Bound::Excluded(end)) => {
            assert!(start < end, "range start is not below its end");
        }
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => assert!(start <= end, "range start is behind its end"),
        _ => {}
    }
    range
}
