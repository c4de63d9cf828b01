//! A snapshot: the map as it was at one moment, for as long as one likes.

use super::bounds::{KeyRange, spanned};
use super::iter::{Walk, clones, iterators};
use super::{Map, Shared, sure};
use crate::engine::{AsOf, End, Found, Span, Unread};
use crate::key::{ByteKey, EncodeKey, Key};
use crate::memory::Held;
use core::borrow::Borrow;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use mapping::OpenCut;
use std::ops::Bound;

/// Every key.
const ALL: Span<'static> = (Bound::Unbounded, Bound::Unbounded);

impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// Reads one key as it was at the moment of a cut which is open; `read` runs pinned.
    fn read_as_of<Q, R>(&self, key: &Q, cut: u64, read: fn(Option<Found<'_>>) -> R) -> R
    where
        Q: EncodeKey + ?Sized,
    {
        let (engine, tree) = (&self.engine, &self.tree);
        key.with_encoded(|key| match self.number(key) {
            Some(number) => sure(engine.read_as_of(tree, number, cut, read)),
            None => sure(engine.read_as_of(tree, key, cut, read)),
        })
    }

    /// The entry that was at one end of a range then.
    fn outermost_as_of<K: Key>(&self, span: Span<'_>, end: End, cut: u64) -> Option<(K, Held<V>)> {
        let entry = self.engine.end_as_of(&self.tree, (span, end), cut, |key, found| {
            (key.to_vec(), Held::from_slot(found.value))
        });
        let (key, value) = sure(entry)?;
        Some((K::decode(&key), value))
    }
}

/// A [`Map`] as it was at one moment: every key, at that moment. Made by [`Map::snapshot`].
///
/// It never changes, whatever is written meanwhile, and takes part in nothing: nobody waits for it,
/// and it waits for nobody. It can be shared between threads, and read from all of them.
///
/// What it holds back is memory: of each page that has changed since, one old page, and of each key
/// that was replaced or removed since, the value that it had. Old pages and values are kept once,
/// however many snapshots need them. How many are open is nothing to writers. Dropping the snapshot
/// gives back what no other one needs: that takes `O(log n)` for each page and value, in the mean.
///
/// Cost of a read: that of the map, and where the page has changed since, a look through the old
/// pages that hang on it, at most one for each open snapshot.
///
/// ```
/// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b')].into();
/// let before = map.snapshot();
/// map.insert(1, 'x');
/// map.remove(&2);
/// assert_eq!((map.get(&1), map.get(&2)), (Some('x'), None));
/// assert_eq!((before.get(&1), before.get(&2)), (Some('a'), Some('b')));
/// assert!(before.iter().eq([(1, 'a'), (2, 'b')]));
/// ```
pub struct Snapshot<'m, K, V: Clone + Send + Sync + 'static> {
    map: &'m Map<K, V>,
    /// None only while this is dropped.
    cut: Option<OpenCut<'m>>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// The map as it is at this moment, all keys of it.
    ///
    /// Any number of snapshots can be open. An entry that was inserted by a call that has returned
    /// is in it, one that is inserted by a call that begins later is not; and nothing is in it
    /// without all that was visible before it.
    ///
    /// LINEARIZES: at a bump of the map's clock.
    ///
    /// Cost: `O(1)`; more memory for as long as it lives, see [`Snapshot`].
    ///
    /// ```
    /// let accounts: bwtree::Map<String, i64> = bwtree::Map::new();
    /// accounts.insert("a".to_owned(), 70);
    /// accounts.insert("b".to_owned(), 30);
    /// let now = accounts.snapshot();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| accounts.insert("a".to_owned(), 0));
    ///     assert_eq!(now.values().sum::<i64>(), 100);
    /// });
    /// ```
    #[must_use = "a snapshot is to be read"]
    pub fn snapshot(&self) -> Snapshot<'_, K, V> {
        Snapshot { map: self, cut: Some(self.shared.engine.open()) }
    }
}

impl<K, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// How many old pages there are in the histories of all pages: for tests.
    #[doc(hidden)]
    pub fn kept_pages(&self) -> usize {
        self.shared.engine.kept_pages()
    }

    /// How many pages there are now: for tests.
    #[doc(hidden)]
    pub fn present_pages(&self) -> usize {
        self.shared.engine.resident_pages()
    }
}

impl<K, V: Clone + Send + Sync + 'static> Drop for Snapshot<'_, K, V> {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.map.shared.engine.close(cut);
            self.map.shared.look_after_all(());
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Snapshot<'_, K, V> {
    fn version(&self) -> u64 {
        self.cut.as_ref().map_or(0, OpenCut::version)
    }

    fn held<Q>(&self, key: &Q) -> Option<Held<V>>
    where
        Q: EncodeKey + ?Sized,
    {
        let hold = |found: Option<Found<'_>>| found.map(|found| Held::from_slot(found.value));
        self.map.shared.read_as_of(key, self.version(), hold)
    }

    /// A copy of the value that `key` had.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a')].into();
    /// let then = map.snapshot();
    /// map.clear();
    /// assert_eq!(then.get(&1), Some('a'));
    /// ```
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.held(key).map(Held::into_value)
    }

    /// What `look` makes of the value that `key` had, without a copy of it. `look` runs unpinned
    /// and at most once.
    ///
    /// ```
    /// let map: bwtree::Map<u32, String> = [(1, "one".to_owned())].into();
    /// assert_eq!(map.snapshot().get_with(&1, |text| text.len()), Some(3));
    /// ```
    pub fn get_with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.held(key).map(|held| look(held.value()))
    }

    /// Whether `key` was there.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a')].into();
    /// assert!(map.snapshot().contains_key(&1));
    /// ```
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.map.shared.read_as_of(key, self.version(), |found| found.is_some())
    }

    /// The values that many keys had, in the order of the keys.
    ///
    /// ```
    /// let map: bwtree::Map<u64, char> = [(1, 'a'), (3, 'c')].into();
    /// assert_eq!(map.snapshot().multi_get(&[1, 2, 3]), [Some('a'), None, Some('c')]);
    /// ```
    pub fn multi_get<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized + 'q,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// How many entries there were. Counts them: `O(n)`.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a')].into();
    /// let then = map.snapshot();
    /// map.insert(2, 'b');
    /// assert_eq!((then.len(), map.len()), (1, 2));
    /// ```
    pub fn len(&self) -> usize {
        self.keys().count()
    }

    /// Whether there were no entries: `O(log n)`, unless pages have run empty.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = bwtree::Map::new();
    /// let then = map.snapshot();
    /// map.insert(1, 'a');
    /// assert!(then.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.first_key_value().is_none()
    }

    fn outermost(&self, span: Span<'_>, end: End) -> Option<(K, V)> {
        let (key, value) = self.map.shared.outermost_as_of::<K>(span, end, self.version())?;
        Some((key, value.into_value()))
    }

    /// The entry that had the smallest key.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b')].into();
    /// assert_eq!(map.snapshot().first_key_value(), Some((1, 'a')));
    /// ```
    pub fn first_key_value(&self) -> Option<(K, V)> {
        self.outermost(ALL, End::First)
    }

    /// The entry that had the largest key.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b')].into();
    /// assert_eq!(map.snapshot().last_key_value(), Some((2, 'b')));
    /// ```
    pub fn last_key_value(&self) -> Option<(K, V)> {
        self.outermost(ALL, End::Last)
    }

    /// The entry that had the largest key below `key`.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.snapshot().lt(&20), Some((10, 'a')));
    /// ```
    pub fn lt<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let below =
            |key: &[u8]| self.outermost((Bound::Unbounded, Bound::Excluded(key)), End::Last);
        key.with_encoded(below)
    }

    /// The entry of `key`, or else the one that had the largest key below.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.snapshot().le(&19), Some((10, 'a')));
    /// ```
    pub fn le<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let upto = |key: &[u8]| self.outermost((Bound::Unbounded, Bound::Included(key)), End::Last);
        key.with_encoded(upto)
    }

    /// The entry that had the smallest key above `key`.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.snapshot().gt(&10), Some((20, 'b')));
    /// ```
    pub fn gt<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let above =
            |key: &[u8]| self.outermost((Bound::Excluded(key), Bound::Unbounded), End::First);
        key.with_encoded(above)
    }

    /// The entry of `key`, or else the one that had the smallest key above.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(10, 'a'), (20, 'b')].into();
    /// assert_eq!(map.snapshot().ge(&11), Some((20, 'b')));
    /// ```
    pub fn ge<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let from =
            |key: &[u8]| self.outermost((Bound::Included(key), Bound::Unbounded), End::First);
        key.with_encoded(from)
    }

    /// The entries whose keys lie in `range`, in order, from both ends: those of one moment.
    ///
    /// Cost: `O(log n)` for each page, `O(1)` for each entry in it.
    ///
    /// # Panics
    /// As [`Map::range`].
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b'), (3, 'c')].into();
    /// let then = map.snapshot();
    /// map.remove_range(2..);
    /// assert!(then.range(2..).eq([(2, 'b'), (3, 'c')]));
    /// assert!(then.range(..=2).rev().eq([(2, 'b'), (1, 'a')]));
    /// ```
    #[track_caller]
    pub fn range<Q, R>(&self, range: R) -> Iter<'_, K, V>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.over(span))
    }

    /// The entries whose keys begin with `prefix`. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = [("a1", 1), ("b1", 2)]
    ///     .map(|(key, value)| (key.to_owned(), value))
    ///     .into();
    /// assert_eq!(map.snapshot().prefix("a").count(), 1);
    /// ```
    pub fn prefix<Q>(&self, prefix: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q> + ByteKey,
        Q: EncodeKey + ?Sized,
    {
        let layout = self.map.shared.tree.layout;
        let unread = prefix.with_encoded(|prefix| Unread::prefixed(prefix, layout));
        Iter { walk: Walk::of(&self.map.shared, unread, self.moment()), keys: PhantomData }
    }

    /// All entries, in order, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.snapshot().iter().eq([(1, 'a'), (2, 'b')]));
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.over(ALL)
    }

    /// All keys, in order, from both ends. As [`range`](Self::range), but values are not looked at.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.snapshot().keys().eq([1, 2]));
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys { walk: self.walk(ALL), keys: PhantomData }
    }

    /// All values, in the order of their keys, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(2, 'b'), (1, 'a')].into();
    /// assert!(map.snapshot().values().eq(['a', 'b']));
    /// ```
    pub fn values(&self) -> Values<'_, K, V> {
        Values { walk: self.walk(ALL), keys: PhantomData }
    }

    fn over(&self, span: Span<'_>) -> Iter<'_, K, V> {
        Iter { walk: self.walk(span), keys: PhantomData }
    }

    pub(super) fn walk<T>(&self, span: Span<'_>) -> Walk<'_, V, T, AsOf> {
        let shared = &self.map.shared;
        Walk::of(shared, Unread::of(span, shared.tree.layout), self.moment())
    }

    fn moment(&self) -> AsOf {
        AsOf(self.version())
    }
}

/// Entries of a [`Snapshot`] in order, from both ends: of a range, of a prefix, or all.
///
/// It holds a copy of what it has read of one page, and no pin. A clone has copies of what was
/// read, and goes on by itself. It borrows the snapshot:
///
/// ```compile_fail
/// let map: bwtree::Map<u32, char> = [(1, 'a')].into();
/// let then = map.snapshot();
/// let entries = then.iter();
/// drop(then);
/// assert_eq!(entries.count(), 1);
/// ```
pub struct Iter<'s, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'s, V, Held<V>, AsOf>,
    keys: PhantomData<fn() -> K>,
}

/// Keys of a [`Snapshot`] in order, from both ends. As [`Iter`], but values are not looked at.
pub struct Keys<'s, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'s, V, (), AsOf>,
    keys: PhantomData<fn() -> K>,
}

/// Values of a [`Snapshot`] in the order of their keys, from both ends. As [`Iter`].
pub struct Values<'s, K, V: Clone + Send + Sync + 'static> {
    walk: Walk<'s, V, Held<V>, AsOf>,
    keys: PhantomData<fn() -> K>,
}

iterators! {
    Iter<'_>: (K, V), this, end => {
        this.walk.entry(end).map(|(key, value)| (key, value.into_value()))
    }, this.walk.size_hint();
    Keys<'_>: K, this, end => this.walk.key(end), this.walk.size_hint();
    Values<'_>: V, this, end => {
        this.walk.value(end).map(Held::into_value)
    }, this.walk.size_hint();
}

clones! { Iter Keys Values }

impl<'s, K: Key, V: Clone + Send + Sync + 'static> IntoIterator for &'s Snapshot<'_, K, V> {
    type Item = (K, V);
    type IntoIter = Iter<'s, K, V>;

    fn into_iter(self) -> Iter<'s, K, V> {
        self.iter()
    }
}

impl<K, V> fmt::Debug for Snapshot<'_, K, V>
where
    K: Key + fmt::Debug,
    V: Clone + Send + Sync + fmt::Debug + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
