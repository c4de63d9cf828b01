//! What of a range has not been read yet.

use super::neighbour::Span;
use delta::Layout;
use std::ops::Bound;

/// A part of the space of keys that has a first place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The numbers from the first to the last.
    Numbers(u64, u64),
    /// The keys that are not below the first and below the second; `None` is beyond the last key.
    Bytes(Vec<u8>, Option<Vec<u8>>),
}

impl Unread {
    /// A whole range of keys in this layout; `None` if it holds no key.
    pub(crate) fn of(span: Span<'_>, layout: Layout) -> Option<Self> {
        match layout {
            Layout::Fixed8 => numbers(span),
            Layout::Var => bytes(span),
        }
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefixed(prefix: &[u8], layout: Layout) -> Option<Self> {
        let end = prefix.iter().rposition(|&byte| byte != u8::MAX).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        });
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        Self::of((Bound::Included(prefix), end), layout)
    }

    /// What is left of bytes without those below `start`.
    pub(crate) fn bytes_from(start: &[u8], end: Option<&[u8]>) -> Option<Self> {
        let inside = end.is_none_or(|end| start < end);
        inside.then(|| Self::Bytes(start.to_vec(), end.map(<[u8]>::to_vec)))
    }

    /// What is left of bytes without those not below `end`.
    pub(crate) fn bytes_below(start: &[u8], end: &[u8]) -> Option<Self> {
        (start < end).then(|| Self::Bytes(start.to_vec(), Some(end.to_vec())))
    }

    /// The numbers from one to another.
    pub(crate) fn numbers(first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self::Numbers(first, last))
    }
}

/// The numbers in a range. Bounds may have any length.
fn numbers((start, end): Span<'_>) -> Option<Unread> {
    let first = match start {
        Bound::Unbounded => 0,
        Bound::Included(key) | Bound::Excluded(key) => {
            let included = matches!(start, Bound::Included(_));
            // A key that is longer than a number lies behind its first eight bytes.
            let behind = key.len() > 8 || key.len() == 8 && !included;
            number(key).checked_add(u64::from(behind))?
        }
    };
    let last = match end {
        Bound::Unbounded => u64::MAX,
        Bound::Included(key) | Bound::Excluded(key) => {
            let included = matches!(end, Bound::Included(_));
            let before = key.len() < 8 || key.len() == 8 && !included;
            number(key).checked_sub(u64::from(before))?
        }
    };
    Unread::numbers(first, last)
}

/// The first eight bytes as a number, as if zeros followed.
fn number(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
}

fn bytes((start, end): Span<'_>) -> Option<Unread> {
    let start = match start {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => behind(key),
    };
    let end = match end {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(behind(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
    };
    end.as_ref().is_none_or(|end| start < *end).then_some(Unread::Bytes(start, end))
}

/// The smallest key above this one.
fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>, layout: Layout) -> Option<Unread> {
        Unread::of((start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice)), layout)
    }

    #[test]
    fn a_range_of_any_bounds_holds_the_numbers_between_them() {
        let eight = |n: u64| n.to_be_bytes().to_vec();
        let all = |first, last| Some(Unread::Numbers(first, last));
        let (inc, exc, open) = (Bound::Included::<Vec<u8>>, Bound::Excluded, Bound::Unbounded);
        let of = |start, end| unread(&start, &end, Layout::Fixed8);
        assert_eq!(of(open.clone(), open.clone()), all(0, u64::MAX));
        assert_eq!(of(inc(eight(3)), inc(eight(9))), all(3, 9));
        assert_eq!(of(exc(eight(3)), exc(eight(9))), all(4, 8));
        assert_eq!(of(exc(eight(3)), exc(eight(4))), None);
        assert_eq!(of(exc(eight(u64::MAX)), open.clone()), None);
        assert_eq!(of(exc(eight(u64::MAX)), inc(eight(u64::MAX))), None);
        assert_eq!(of(open.clone(), exc(eight(0))), None);
        // Shorter than a number: in front of all that begin with it. Longer: behind its start.
        assert_eq!(of(inc(vec![1]), inc(vec![2])), all(1 << 56, (2 << 56) - 1));
        let long = [eight(5), vec![0]].concat();
        assert_eq!(of(inc(long.clone()), open.clone()), all(6, u64::MAX));
        assert_eq!(of(open, exc(long)), all(0, 5));
    }

    #[test]
    fn a_range_of_any_bounds_holds_the_keys_between_them() {
        let all = |first: &[u8], end: Option<&[u8]>| {
            Some(Unread::Bytes(first.to_vec(), end.map(<[u8]>::to_vec)))
        };
        let (inc, exc, open) = (Bound::Included, Bound::Excluded, Bound::Unbounded);
        let of = |start, end| Unread::of((start, end), Layout::Var);
        assert_eq!(of(open, open), all(b"", None));
        assert_eq!(of(inc(b"a"), inc(b"b")), all(b"a", Some(b"b\0")));
        assert_eq!(of(exc(b"a"), exc(b"b")), all(b"a\0", Some(b"b")));
        assert_eq!(of(inc(b"a"), inc(b"a")), all(b"a", Some(b"a\0")));
        assert_eq!(of(exc(b"a"), inc(b"a")), None);
        assert_eq!(of(inc(b"b"), inc(b"a")), None);
        assert_eq!(of(open, exc(b"")), None);
        assert_eq!(of(open, inc(b"")), all(b"", Some(b"\0")));
    }

    #[test]
    fn prefixes_end_where_the_next_one_begins() {
        let end = |prefix: &[u8]| match Unread::prefixed(prefix, Layout::Var) {
            Some(Unread::Bytes(start, end)) if start == prefix => end,
            other => panic!("{other:?}"),
        };
        assert_eq!(end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(end(b"\xff\xff"), None);
        assert_eq!(end(b""), None);
    }
}
