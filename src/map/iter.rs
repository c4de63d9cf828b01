//! Ranges of a map, from both ends. They own what they need, and hold no pin between two steps.

use super::bounds::{KeyRange, encoded};
use super::{Map, Shared};
use crate::engine::{Cursor, End, Found, Moment, Now, Range as Bytes, Wish, prefix_range};
use crate::key::{ByteKey, EncodeKey, Key};
use crate::memory::{Held, is_plain};
use core::borrow::Borrow;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

/// A range that is being read. `T` is what is kept of a value.
pub(super) struct Walk<V: Clone + Send + Sync + 'static, T, M = Now> {
    pub(super) shared: Arc<Shared<V>>,
    cursor: Cursor<T>,
    moment: M,
}

impl<V: Clone + Send + Sync + 'static, T> Walk<V, T> {
    pub(super) fn new(shared: &Arc<Shared<V>>, range: Bytes) -> Self {
        Self::of(shared, range, Now)
    }
}

impl<V: Clone + Send + Sync + 'static, T, M: Moment> Walk<V, T, M> {
    pub(super) fn of(shared: &Arc<Shared<V>>, range: Bytes, moment: M) -> Self {
        // What is kept of a plain value is a copy, which no pin protects.
        let cursor = Cursor::new(range, shared.tree.layout, is_plain::<V>());
        Self { shared: Arc::clone(shared), cursor, moment }
    }

    /// What `make` makes of the next entry from this end, unpinned; `keep` runs pinned.
    #[inline]
    fn step<R>(
        &mut self,
        end: End,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Option<R> {
        let (shared, moment) = (&self.shared, self.moment);
        let fetch = |from: &_, wish: Wish<'_>| Ok(shared.page((from, moment), wish, &keep));
        super::sure(match end {
            End::First => self.cursor.next(fetch, &keep, make),
            End::Last => self.cursor.next_back(fetch, &keep, make),
        })
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.cursor.is_finished().then_some(0))
    }
}

impl<V: Clone + Send + Sync + 'static, M: Moment> Walk<V, Held<V>, M> {
    #[inline]
    pub(super) fn entry<K: Key>(&mut self, end: End) -> Option<(K, Held<V>)> {
        let keep = |found: Found<'_>| Held::from_slot(found.value);
        self.step(end, keep, |key, value| (K::decode(key), value))
    }

    #[inline]
    pub(super) fn value(&mut self, end: End) -> Option<Held<V>> {
        let keep = |found: Found<'_>| Held::from_slot(found.value);
        self.step(end, keep, |_, value| value)
    }
}

impl<V: Clone + Send + Sync + 'static, M: Moment> Walk<V, (), M> {
    #[inline]
    pub(super) fn key<K: Key>(&mut self, end: End) -> Option<K> {
        self.step(end, |_| (), |key, ()| K::decode(key))
    }
}

impl<V: Clone + Send + Sync + 'static, T, M: Copy> Clone for Walk<V, T, M> {
    fn clone(&self) -> Self {
        let (cursor, moment) = (self.cursor.rest(), self.moment);
        Self { shared: Arc::clone(&self.shared), cursor, moment }
    }
}

/// Entries of a [`Map`] in order, from both ends: of a range, of a prefix, or all.
///
/// Each entry is seen at its own moment, the load of the word of its page: in order, none twice,
/// and all that were there throughout. It owns what it needs, holds a copy of what it has read of
/// one page (up to 32 entries at first, then more), and no pin: it can be kept for as long as one
/// likes, and outlives the map. A clone reads what is left anew.
///
/// Cost: a descent for each page, `O(1)` for each entry in it.
pub struct Iter<K, V: Clone + Send + Sync + 'static> {
    walk: Walk<V, Held<V>>,
    keys: PhantomData<fn() -> K>,
}

/// What [`Map::range`] returns.
pub type Range<K, V> = Iter<K, V>;

/// What [`Map::prefix`] returns.
pub type Prefix<K, V> = Iter<K, V>;

/// What a [`Map`] becomes by `into_iter`. The entries are copied out of the pages, as by
/// [`Map::iter`].
pub type IntoIter<K, V> = Iter<K, V>;

/// Keys of a [`Map`] in order, from both ends. As [`Iter`], but values are not looked at.
pub struct Keys<K, V: Clone + Send + Sync + 'static> {
    walk: Walk<V, ()>,
    keys: PhantomData<fn() -> K>,
}

/// Values of a [`Map`] in the order of their keys, from both ends. As [`Iter`].
pub struct Values<K, V: Clone + Send + Sync + 'static> {
    walk: Walk<V, Held<V>>,
    keys: PhantomData<fn() -> K>,
}

macro_rules! iterators {
    ($($name:ident [$($life:lifetime,)*]: $item:ty, $this:ident, $end:ident => $next:expr;)*) => {$(
        impl<$($life,)* K: Key, V: Clone + Send + Sync + 'static> $name<$($life,)* K, V> {
            #[inline]
            fn step(&mut self, $end: End) -> Option<$item> {
                let $this = self;
                $next
            }
        }

        impl<$($life,)* K: Key, V: Clone + Send + Sync + 'static> Iterator
            for $name<$($life,)* K, V>
        {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                self.step(End::First)
            }

            /// Nothing is known in advance but the end.
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.walk.size_hint()
            }
        }

        impl<$($life,)* K: Key, V: Clone + Send + Sync + 'static> DoubleEndedIterator
            for $name<$($life,)* K, V>
        {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                self.step(End::Last)
            }
        }

        impl<$($life,)* K: Key, V: Clone + Send + Sync + 'static> FusedIterator
            for $name<$($life,)* K, V>
        {
        }

        impl<$($life,)* K, V: Clone + Send + Sync + 'static> Clone for $name<$($life,)* K, V> {
            fn clone(&self) -> Self {
                Self { walk: self.walk.clone(), keys: PhantomData }
            }
        }

        impl<$($life,)* K, V: Clone + Send + Sync + 'static> fmt::Debug for $name<$($life,)* K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

pub(super) use iterators;

iterators! {
    Iter[]: (K, V), this, end => this.walk.entry(end).map(|(key, value)| (key, value.into_value()));
    Keys[]: K, this, end => this.walk.key(end);
    Values[]: V, this, end => this.walk.value(end).map(Held::into_value);
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// The entries whose keys lie in `range`, in order, from both ends.
    ///
    /// The iterator holds a copy of what it has read of one page, and no pin. Reads nothing yet.
    ///
    /// LINEARIZES: each entry at the load of the word of its page; all together are not one step.
    ///
    /// Cost: `O(log n)` for each page, `O(1)` for each entry in it.
    ///
    /// # Panics
    /// If the start lies behind the end, or both are the same and excluded, as `BTreeMap::range`.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b'), (3, 'c')].into();
    /// assert!(map.range(2..).eq([(2, 'b'), (3, 'c')]));
    /// assert!(map.range(..=2).rev().eq([(2, 'b'), (1, 'a')]));
    /// ```
    #[track_caller]
    pub fn range<Q, R>(&self, range: R) -> Range<K, V>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        self.over(encoded(range))
    }

    /// All entries, in order, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.iter().eq([(1, 'a'), (2, 'b')]));
    /// ```
    pub fn iter(&self) -> Iter<K, V> {
        self.over((Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries whose keys begin with `prefix`. As [`range`](Self::range).
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// map.insert("job-1".to_owned(), 1);
    /// map.insert("task-1".to_owned(), 2);
    /// assert_eq!(map.prefix("job-").count(), 1);
    /// ```
    pub fn prefix<Q>(&self, prefix: &Q) -> Prefix<K, V>
    where
        K: Borrow<Q> + ByteKey,
        Q: EncodeKey + ?Sized,
    {
        self.over(prefix_range(&prefix.to_encoded()))
    }

    fn over(&self, range: Bytes) -> Iter<K, V> {
        Iter { walk: Walk::new(&self.shared, range), keys: PhantomData }
    }

    /// All keys, in order, from both ends. As [`range`](Self::range), but values are not looked at.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.keys().eq([1, 2]));
    /// ```
    pub fn keys(&self) -> Keys<K, V> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        Keys { walk: Walk::new(&self.shared, all), keys: PhantomData }
    }

    /// All values, in the order of their keys, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.values().eq(['a', 'b']));
    /// ```
    pub fn values(&self) -> Values<K, V> {
        Values { walk: self.iter().walk, keys: PhantomData }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> IntoIterator for &Map<K, V> {
    type Item = (K, V);
    type IntoIter = Iter<K, V>;

    fn into_iter(self) -> Iter<K, V> {
        self.iter()
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        self.iter()
    }
}
