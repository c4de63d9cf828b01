//! What a tree takes for a range: ranges of anything that is bytes, and `..` without annotations.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A range of keys of a [`Tree`](super::Tree).
///
/// Implemented by `..`, and by `a..b`, `a..=b`, `a..`, `..b`, `..=b` and pairs of [`Bound`]s of
/// whatever is bytes: texts, slices, arrays, vectors, [`Bytes`](bytes::Bytes). What else implements
/// [`RangeBounds`] can be passed as `(range.start_bound(), range.end_bound())`. A range whose start
/// lies behind its end is empty.
///
/// ```
/// # fn main() -> bwtree::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
/// tree.put("a", "1")?;
/// tree.put("b", "2")?;
/// assert_eq!(tree.range(..).count(), 2);
/// assert_eq!(tree.range("a".."b").count(), 1);
/// assert_eq!(tree.range([b'b']..).count(), 1);
/// assert_eq!(tree.range("b".."a").count(), 0);
/// # Ok(())
/// # }
/// ```
pub trait ByteRange {
    /// Where the range begins, and where it ends.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>);
}

impl ByteRange for RangeFull {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

impl<R: ByteRange> ByteRange for &R {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (**self).bounds()
    }
}

macro_rules! byte_ranges {
    ($($range:ty)*) => {$(
        impl<B: AsRef<[u8]>> ByteRange for $range {
            fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
                (self.start_bound().map(B::as_ref), self.end_bound().map(B::as_ref))
            }
        }
    )*};
}

byte_ranges! {
    Range<B> RangeInclusive<B> RangeFrom<B> RangeTo<B> RangeToInclusive<B> (Bound<B>, Bound<B>)
}
