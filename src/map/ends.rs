//! The neighbours of a key and the ends of a range, and taking these away.

use super::bounds::{KeyRange, spanned};
use super::{Map, Shared};
use crate::engine::{End, Span};
use crate::key::{EncodeKey, Key};
use crate::memory::Held;
use core::borrow::Borrow;
use std::ops::Bound;

/// Every key.
const ALL: Span<'static> = (Bound::Unbounded, Bound::Unbounded);

impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// The entry at one end of a range.
    fn outermost<K: Key>(&self, span: Span<'_>, end: End) -> Option<(K, Held<V>)> {
        let mut bytes = Vec::new();
        let value = self.end(span, end, |key, found| {
            bytes.clear();
            key.extend_into(&mut bytes);
            Held::from_slot(found.value)
        })?;
        Some((K::decode(&bytes), value))
    }

    /// Takes the entry at one end of a range away.
    fn pop<K: Key>(&self, span: Span<'_>, end: End) -> Option<(K, V)> {
        loop {
            let (key, value) = self.outermost::<K>(span, end)?;
            if self.exchange(&key, Some(&value), None).is_ok() {
                return Some((key, value.into_value()));
            }
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// The entry at this end of the range that `span` makes of the key.
    fn nearest<Q>(
        &self,
        key: &Q,
        end: End,
        span: impl for<'k> Fn(&'k [u8]) -> Span<'k>,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let (key, value) = key.with_encoded(|key| self.shared.outermost::<K>(span(key), end))?;
        Some((key, value.into_value()))
    }

    /// The entry with the largest key below `key`.
    ///
    /// LINEARIZES: at the load of the word of the page that has the entry, or that is the last one
    /// in which it could be. Pages without an entry of the range that were passed on the way are
    /// looked at again; if one has changed, the search begins anew.
    ///
    /// Cost: `O(log n)` for each page that is looked at, one unless pages have run empty.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.lt(&20), Some((10, 'a')));
    /// assert_eq!(map.lt(&10), None);
    /// ```
    #[doc(alias = "get_lt")]
    #[doc(alias = "predecessor")]
    pub fn lt<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.nearest(key, End::Last, |key| (Bound::Unbounded, Bound::Excluded(key)))
    }

    /// The entry of `key`, or else the one with the largest key below.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.le(&20), Some((20, 'b')));
    /// assert_eq!(map.le(&19), Some((10, 'a')));
    /// ```
    #[doc(alias = "get_le")]
    #[doc(alias = "floor")]
    pub fn le<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.nearest(key, End::Last, |key| (Bound::Unbounded, Bound::Included(key)))
    }

    /// The entry with the smallest key above `key`.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.gt(&10), Some((20, 'b')));
    /// assert_eq!(map.gt(&20), None);
    /// ```
    #[doc(alias = "get_gt")]
    #[doc(alias = "successor")]
    pub fn gt<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.nearest(key, End::First, |key| (Bound::Excluded(key), Bound::Unbounded))
    }

    /// The entry of `key`, or else the one with the smallest key above.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.ge(&10), Some((10, 'a')));
    /// assert_eq!(map.ge(&11), Some((20, 'b')));
    /// ```
    #[doc(alias = "get_ge")]
    #[doc(alias = "ceiling")]
    pub fn ge<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.nearest(key, End::First, |key| (Bound::Included(key), Bound::Unbounded))
    }

    /// The entry with the smallest key.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.first_key_value(), Some((10, 'a')));
    /// ```
    pub fn first_key_value(&self) -> Option<(K, V)> {
        let (key, value) = self.shared.outermost::<K>(ALL, End::First)?;
        Some((key, value.into_value()))
    }

    /// The entry with the largest key.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.last_key_value(), Some((20, 'b')));
    /// ```
    pub fn last_key_value(&self) -> Option<(K, V)> {
        let (key, value) = self.shared.outermost::<K>(ALL, End::Last)?;
        Some((key, value.into_value()))
    }

    /// Removes the entry with the smallest key, and returns it.
    ///
    /// Not one step, but two: at the first the entry is the one with the smallest key, at the
    /// second it is removed if it still has the value that was seen; else both are done again. A
    /// smaller key that another thread inserts between the two stays. No two calls return the same
    /// entry.
    ///
    /// LINEARIZES: the look as [`first_key_value`](Self::first_key_value), the removal at the CAS
    /// of the leaf's page word. `None`, which is one step, as the look.
    ///
    /// Cost: twice `O(log n)`.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.pop_first(), Some((10, 'a')));
    /// assert_eq!(map.pop_first(), Some((20, 'b')));
    /// assert_eq!(map.pop_first(), None);
    /// ```
    pub fn pop_first(&self) -> Option<(K, V)> {
        self.shared.pop(ALL, End::First)
    }

    /// Removes the entry with the largest key, and returns it. As [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.pop_last(), Some((20, 'b')));
    /// ```
    pub fn pop_last(&self) -> Option<(K, V)> {
        self.shared.pop(ALL, End::Last)
    }

    /// Removes the entry with the smallest key that lies in `range`, and returns it. As
    /// [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// # Panics
    /// As [`range`](Self::range).
    ///
    /// ```
    /// let due: bwtree::Map<u64, &str> = [(5, "early"), (70, "late")].into();
    /// assert_eq!(due.pop_first_in(..60), Some((5, "early")));
    /// assert_eq!(due.pop_first_in(..60), None);
    /// ```
    #[doc(alias = "pop_first_in_range")]
    #[track_caller]
    pub fn pop_first_in<Q, R>(&self, range: R) -> Option<(K, V)>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.shared.pop(span, End::First))
    }

    /// Removes the entry with the largest key that lies in `range`, and returns it. As
    /// [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// # Panics
    /// As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.pop_last_in(..20), Some((10, 'a')));
    /// ```
    #[doc(alias = "pop_last_in_range")]
    #[track_caller]
    pub fn pop_last_in<Q, R>(&self, range: R) -> Option<(K, V)>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.shared.pop(span, End::Last))
    }
}
