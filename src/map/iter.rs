//! Ranges of a map, from both ends. They hold no pin between two steps.

use super::bounds::{KeyRange, spanned};
use super::{Map, Shared};
use crate::engine::{Cursor, End, Found, Moment, Now, Shown, Span, Unread};
use crate::key::{ByteKey, EncodeKey, Key};
use crate::memory::{Held, is_plain};
use core::borrow::Borrow;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use std::ops::{Bound, ControlFlow};

/// A range of a map that is being read. `T` is what is kept of a value.
pub(super) struct Walk<'a, V: Clone + Send + Sync + 'static, T, M = Now> {
    pub(super) shared: &'a Shared<V>,
    cursor: Cursor<T>,
    moment: M,
}

/// A cursor over a range. What is kept of a plain value is a copy, which no pin protects.
#[inline]
fn cursor<V: Clone + Send + Sync + 'static, T>(unread: Option<Unread>) -> Cursor<T> {
    Cursor::new(unread, is_plain::<V>())
}

/// What `make` makes of the next entry from this end, unpinned; `keep` runs pinned.
#[inline]
fn step<V: Clone + Send + Sync + 'static, T, R>(
    shared: &Shared<V>,
    cursor: &mut Cursor<T>,
    (end, moment): (End, impl Moment),
    keep: impl Fn(Found<'_>) -> T,
    make: impl FnOnce(&[u8], T) -> R,
) -> Option<R> {
    let fetch = |unread: &_, wish| Ok(shared.page((unread, moment), wish, &keep));
    super::sure(cursor.next(end, fetch, &keep, make))
}

#[inline]
fn held<V: Clone + Send + Sync + 'static>(found: Found<'_>) -> Held<V> {
    Held::from_slot(found.value)
}

impl<'a, V: Clone + Send + Sync + 'static, T> Walk<'a, V, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<V>, span: Span<'_>) -> Self {
        Self::of(shared, Unread::of(span, shared.tree.layout), Now)
    }
}

impl<'a, V: Clone + Send + Sync + 'static, T, M: Moment> Walk<'a, V, T, M> {
    #[inline]
    pub(super) fn of(shared: &'a Shared<V>, unread: Option<Unread>, moment: M) -> Self {
        Self { shared, cursor: cursor::<V, T>(unread), moment }
    }

    #[inline]
    fn step<R>(
        &mut self,
        end: End,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Option<R> {
        step(self.shared, &mut self.cursor, (end, self.moment), keep, make)
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.cursor.is_finished().then_some(0))
    }
}

impl<V: Clone + Send + Sync + 'static, M: Moment> Walk<'_, V, Held<V>, M> {
    #[inline]
    pub(super) fn entry<K: Key>(&mut self, end: End) -> Option<(K, Held<V>)> {
        self.step(end, held, |key, value| (K::decode(key), value))
    }

    #[inline]
    pub(super) fn value(&mut self, end: End) -> Option<Held<V>> {
        self.step(end, held, |_, value| value)
    }
}

impl<V: Clone + Send + Sync + 'static, M: Moment> Walk<'_, V, Held<V>, M> {
    /// Lends every entry that is left, in order, until `see` breaks off; `see` runs unpinned.
    pub(super) fn scan<K: Key, B>(
        mut self,
        mut see: impl FnMut(&K::Lent, &V) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let (shared, moment) = (self.shared, self.moment);
        let fetch = |unread: &_, wish| Ok(shared.page((unread, moment), wish, held));
        super::sure(self.cursor.each(fetch, |key, value| {
            let value = match value {
                Shown::Read(held) => held,
                // A copy of a plain value.
                Shown::Beside(slot) => Held::from_slot(slot),
            };
            let (key, len) = key;
            K::lend(key, len, |key| see(key, value.value()))
        }))
    }
}

impl<V: Clone + Send + Sync + 'static, M: Moment> Walk<'_, V, (), M> {
    #[inline]
    pub(super) fn key<K: Key>(&mut self, end: End) -> Option<K> {
        self.step(end, |_| (), |key, ()| K::decode(key))
    }
}

impl<V: Clone + Send + Sync + 'static, T: Clone, M: Copy> Clone for Walk<'_, V, T, M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared, cursor: self.cursor.clone(), moment: self.moment }
    }
}

/// Entries of a [`Map`] in order, from both ends: of a range, of a prefix, or all.
///
/// Each entry is seen at its own moment, the load of the word of its page: in order, none twice,
/// and all that were there throughout. It holds a copy of what it has read of one page (up to 64
/// entries at first, then more), and no pin: it can be kept for as long as one likes. A clone has
/// copies of what was read, and goes on by itself.
///
/// Cost: a descent for each page, `O(1)` for each entry in it.
pub struct Iter<'a, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'a, V, Held<V>>,
    keys: PhantomData<fn() -> K>,
}

/// What [`Map::range`] returns.
pub type Range<'a, K, V> = Iter<'a, K, V>;

/// What [`Map::prefix`] returns.
pub type Prefix<'a, K, V> = Iter<'a, K, V>;

/// Keys of a [`Map`] in order, from both ends. As [`Iter`], but values are not looked at.
pub struct Keys<'a, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'a, V, ()>,
    keys: PhantomData<fn() -> K>,
}

/// Values of a [`Map`] in the order of their keys, from both ends. As [`Iter`].
pub struct Values<'a, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'a, V, Held<V>>,
    keys: PhantomData<fn() -> K>,
}

/// What a [`Map`] becomes by `into_iter`. As [`Iter`], but it owns the map: the entries are copied
/// out of the pages, which are freed with it.
pub struct IntoIter<K, V: Clone + Send + Sync + 'static> {
    map: Map<K, V>,
    cursor: Cursor<Held<V>>,
}

macro_rules! iterators {
    ($(
        $name:ident<$($life:lifetime)?>: $item:ty,
        $this:ident, $end:ident => $next:expr, $hint:expr;
    )*) => {$(
        impl<K: Key, V: Clone + Send + Sync + 'static> $name<$($life,)? K, V> {
            #[inline]
            fn step(&mut self, $end: End) -> Option<$item> {
                let $this = self;
                $next
            }
        }

        impl<K: Key, V: Clone + Send + Sync + 'static> Iterator for $name<$($life,)? K, V> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                self.step(End::First)
            }

            /// Nothing is known in advance but the end.
            fn size_hint(&self) -> (usize, Option<usize>) {
                let $this = self;
                $hint
            }
        }

        impl<K: Key, V: Clone + Send + Sync + 'static> DoubleEndedIterator
            for $name<$($life,)? K, V>
        {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                self.step(End::Last)
            }
        }

        impl<K: Key, V: Clone + Send + Sync + 'static> FusedIterator for $name<$($life,)? K, V> {}

        impl<K, V: Clone + Send + Sync + 'static> fmt::Debug for $name<$($life,)? K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

iterators! {
    Iter<'_>: (K, V), this, end => {
        this.walk.entry(end).map(|(key, value)| (key, value.into_value()))
    }, this.walk.size_hint();
    Keys<'_>: K, this, end => this.walk.key(end), this.walk.size_hint();
    Values<'_>: V, this, end => {
        this.walk.value(end).map(Held::into_value)
    }, this.walk.size_hint();
    IntoIter<>: (K, V), this, end => {
        let make = |key: &[u8], value: Held<V>| (K::decode(key), value.into_value());
        step(&this.map.shared, &mut this.cursor, (end, Now), held, make)
    }, (0, this.cursor.is_finished().then_some(0));
}

macro_rules! clones {
    ($($name:ident)*) => {$(
        impl<K, V: Clone + Send + Sync + 'static> Clone for $name<'_, K, V> {
            fn clone(&self) -> Self {
                Self { walk: self.walk.clone(), keys: PhantomData }
            }
        }
    )*};
}

clones! { Iter Keys Values }

pub(super) use {clones, iterators};

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
    pub fn range<Q, R>(&self, range: R) -> Range<'_, K, V>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.over(span))
    }

    /// All entries, in order, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.iter().eq([(1, 'a'), (2, 'b')]));
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
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
    pub fn prefix<Q>(&self, prefix: &Q) -> Prefix<'_, K, V>
    where
        K: Borrow<Q> + ByteKey,
        Q: EncodeKey + ?Sized,
    {
        let layout = self.shared.tree.layout;
        let unread = prefix.with_encoded(|prefix| Unread::prefixed(prefix, layout));
        Iter { walk: Walk::of(&self.shared, unread, Now), keys: PhantomData }
    }

    #[inline]
    fn over(&self, span: Span<'_>) -> Iter<'_, K, V> {
        Iter { walk: Walk::new(&self.shared, span), keys: PhantomData }
    }

    /// All keys, in order, from both ends. As [`range`](Self::range), but values are not looked at.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.keys().eq([1, 2]));
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        Keys { walk: Walk::new(&self.shared, all), keys: PhantomData }
    }

    /// All values, in the order of their keys, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.values().eq(['a', 'b']));
    /// ```
    pub fn values(&self) -> Values<'_, K, V> {
        Values { walk: self.iter().walk, keys: PhantomData }
    }
}

impl<'a, K: Key, V: Clone + Send + Sync + 'static> IntoIterator for &'a Map<K, V> {
    type Item = (K, V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        let unread = Unread::of((Bound::Unbounded, Bound::Unbounded), self.shared.tree.layout);
        IntoIter { map: self, cursor: cursor::<V, _>(unread) }
    }
}
