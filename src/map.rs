//! `Map`: the ordered map in memory, std `BTreeMap`'s names on `&self`.

use crate::engine::{
    Change, Cursor, Decision, Engine, Found, Limits, Range as KeyRange, TreeCore, prefix_range,
};
use crate::key::{ByteKey, EncodeKey, Key};
use crate::memory::{Held, InMemory};
use core::borrow::Borrow;
use core::convert::Infallible;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use delta::{Layout, Number};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// A concurrent ordered map in memory.
///
/// Shared by reference between any number of threads. No operation takes a latch, and none waits
/// for another. Keys are stored in an order-preserving encoding (see [`Key`]); values can be of
/// any type that can be cloned and shared. Numbers lie in the pages themselves, other values
/// behind an [`Arc`].
///
/// Every single-key operation is linearizable. Iteration sees each entry at its own moment: in
/// order, none twice, and all that were there throughout.
///
/// A value that was replaced or removed is dropped some time later, when its page is consolidated
/// and no thread that could see it is left, in any thread that uses a map.
///
/// Cost of a single-key operation: `O(log n)`, plus a copy of one page (about 4 KiB) every two
/// dozen writes of a page.
///
/// ```
/// let map = bwtree::Map::new();
/// map.insert("one".to_string(), 1);
/// map.insert("two".to_string(), 2);
/// std::thread::scope(|scope| {
///     scope.spawn(|| map.insert("three".to_string(), 3));
///     scope.spawn(|| map.remove("two"));
/// });
/// let keys: Vec<_> = map.iter().map(|(key, _)| key).collect();
/// assert_eq!(keys, ["one", "three"]);
/// ```
pub struct Map<K, V: Clone + Send + Sync + 'static> {
    shared: Arc<Shared<V>>,
    keys: PhantomData<fn(K) -> K>,
}

struct Shared<V: Clone + Send + Sync + 'static> {
    engine: Engine<InMemory<V>>,
    tree: TreeCore,
}

/// What an operation in memory gives: it cannot fail.
fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// An empty map. Allocates one page.
    ///
    /// # Panics
    /// Never: a fresh mapping table has room for a page.
    #[must_use]
    pub fn new() -> Self {
        let layout = if K::FIXED8 { Layout::Fixed8 } else { Layout::Var };
        Self::with_limits(Limits::of(layout))
    }

    /// An empty map with pages so small that a few entries split and merge them: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tiny_pages() -> Self {
        Self::with_limits(Limits { leaf_bytes: 400, inner_bytes: 300, area_bytes: 300 })
    }

    fn with_limits(limits: Limits) -> Self {
        let layout = if K::FIXED8 { Layout::Fixed8 } else { Layout::Var };
        let engine = Engine::new(InMemory::new(), limits);
        let Ok(root) = engine.plant(0, layout) else { unreachable!("an empty table is full") };
        let tree = TreeCore::new(0, root, layout);
        Self { shared: Arc::new(Shared { engine, tree }), keys: PhantomData }
    }

    /// A copy of the value of `key`.
    ///
    /// LINEARIZES: at the load of the leaf's page word. The value is cloned after that, unpinned.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.held(key).map(Held::into_value)
    }

    fn held<Q: EncodeKey + ?Sized>(&self, key: &Q) -> Option<Held<V>> {
        self.read(key, |found| found.map(|found| Held::from_slot(found.value)))
    }

    /// Reads `key`: as a number where that is what pages hold.
    #[inline]
    fn read<Q: EncodeKey + ?Sized, R>(
        &self,
        key: &Q,
        read: impl FnMut(Option<Found<'_>>) -> R,
    ) -> R {
        let Shared { engine, tree } = &*self.shared;
        key.with_encoded(|key| match number::<K>(key) {
            Some(number) => sure(engine.read(tree, number, read)),
            None => sure(engine.read(tree, key, read)),
        })
    }

    /// Changes `key`, as [`read`](Self::read) reads it.
    #[inline]
    fn update<'a, Q: EncodeKey + ?Sized, R>(
        &self,
        key: &Q,
        mut decide: impl FnMut(Option<Found<'_>>) -> Decision<'a, R>,
    ) -> R {
        let Shared { engine, tree } = &*self.shared;
        key.with_encoded(|key| match number::<K>(key) {
            Some(number) => sure(engine.update(tree, number, decide)),
            None if K::FIXED_BYTES.is_some_and(|bytes| bytes != key.len()) => match decide(None) {
                Decision::Keep(result) | Decision::Write(Change::Remove, result) => result,
                Decision::Write(..) => panic!("a key of {} bytes: no key is like that", key.len()),
            },
            None => sure(engine.update(tree, key, decide)),
        })
    }

    /// Whether the map has this key. Copies nothing.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.read(key, |found| found.is_some())
    }

    /// Gives `key` this value, and returns the one that it had.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    #[expect(clippy::needless_pass_by_value, reason = "as BTreeMap has it")]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        let slot = Held::into_slot(value);
        self.set(&key, Change::Put { flags: 0, value: &slot })
    }

    /// Removes `key`, and returns the value that it had.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; where there is no such key, at its load.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.set(key, Change::Remove)
    }

    fn set<Q: EncodeKey + ?Sized>(&self, key: &Q, change: Change<'_>) -> Option<V> {
        let old = self.update(key, |found| {
            let old = found.map(|found| Held::<V>::from_slot(found.value));
            match (change, &old) {
                (Change::Remove, None) => Decision::Keep(old),
                _ => Decision::Write(change, old),
            }
        });
        old.map(Held::into_value)
    }

    /// Puts `new` where `seen` is, if it still is.
    fn exchange<Q>(&self, key: &Q, seen: Option<&Held<V>>, new: Option<V>) -> bool
    where
        Q: EncodeKey + ?Sized,
    {
        let seen = seen.map(Held::slot);
        let slot = new.map(Held::into_slot);
        let change = match &slot {
            Some(slot) => Change::Put { flags: 0, value: slot },
            None => Change::Remove,
        };
        let done = self.update(key, |found| {
            let same = found.map(|found| found.value) == seen.as_ref().map(<[u8; 8]>::as_slice);
            match (same, change, found) {
                (false, _, _) => Decision::Keep(false),
                (true, Change::Remove, None) => Decision::Keep(true),
                (true, change, _) => Decision::Write(change, true),
            }
        });
        if let (false, Some(slot)) = (done, slot) {
            Held::<V>::disown(slot);
        }
        done
    }

    /// Gives `key` the value `new` (`None` removes it) if it now has the value `expected` (`None`:
    /// no value).
    ///
    /// `V`'s `eq` runs unpinned, and again if the value has changed in between.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; on failure, at the load of the word under
    /// which the other value was seen.
    ///
    /// # Errors
    /// The value that `key` has instead, and `new`, handed back.
    pub fn compare_exchange<Q>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<V>,
    ) -> Result<(), CompareExchangeError<V>>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
        V: PartialEq,
    {
        loop {
            let seen = self.held(key);
            if seen.as_ref().map(Held::value) != expected {
                let current = seen.map(Held::into_value);
                return Err(CompareExchangeError { current, proposed: new });
            }
            if self.exchange(key, seen.as_ref(), new.clone()) {
                return Ok(());
            }
        }
    }

    /// Replaces the value of `key` by what `update` makes of it (`None`: no value), and returns
    /// the one that it had.
    ///
    /// `update` runs unpinned, and again if the value has changed meanwhile. If it panics, nothing
    /// has happened.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    pub fn fetch_and_update<Q>(
        &self,
        key: &Q,
        mut update: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        loop {
            let seen = self.held(key);
            let new = update(seen.as_ref().map(Held::value));
            if self.exchange(key, seen.as_ref(), new) {
                return seen.map(Held::into_value);
            }
        }
    }

    /// As [`fetch_and_update`](Self::fetch_and_update), but returns the new value.
    pub fn update_and_fetch<Q>(
        &self,
        key: &Q,
        mut update: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let mut last = None;
        self.fetch_and_update(key, |value| {
            last = update(value);
            last.clone()
        });
        last
    }

    /// The value of `key`; if it has none, it is given the one that `make` makes.
    ///
    /// `make` runs unpinned and at most once; what it made is dropped if another thread was first.
    ///
    /// LINEARIZES: at the load of the leaf's page word, or at the CAS that inserts.
    #[expect(clippy::needless_pass_by_value, reason = "as insert takes it")]
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(value) = self.get(&key) {
            return value;
        }
        let made = make();
        loop {
            if self.exchange(&key, None, Some(made.clone())) {
                return made;
            }
            if let Some(value) = self.get(&key) {
                return value;
            }
        }
    }

    /// The entry with the smallest key.
    ///
    /// LINEARIZES: at the load of the word of the page that has it, if no smaller key was inserted
    /// into a page that was seen empty on the way.
    pub fn first_key_value(&self) -> Option<(K, V)> {
        self.iter().next()
    }

    /// The entry with the largest key. As [`first_key_value`](Self::first_key_value).
    pub fn last_key_value(&self) -> Option<(K, V)> {
        self.iter().next_back()
    }

    /// Removes the entry with the smallest key. No two calls return the same entry.
    ///
    /// LINEARIZES: at the CAS that removes it; a smaller key that was inserted after the page was
    /// read may then be there.
    pub fn pop_first(&self) -> Option<(K, V)> {
        self.pop(Iter::next_held)
    }

    /// Removes the entry with the largest key. As [`pop_first`](Self::pop_first).
    pub fn pop_last(&self) -> Option<(K, V)> {
        self.pop(Iter::next_back_held)
    }

    fn pop(&self, next: impl Fn(&mut Iter<K, V>) -> Option<(K, Held<V>)>) -> Option<(K, V)> {
        loop {
            let (key, value) = next(&mut self.iter())?;
            if self.exchange(&key, Some(&value), None) {
                return Some((key, value.into_value()));
            }
        }
    }

    /// The entries whose keys lie in `range`, in order, from both ends.
    ///
    /// Each entry is seen at its own moment: at the load of the word of its page. The iterator
    /// holds a copy of what it read of one page, and no pin.
    ///
    /// # Panics
    /// If the start lies behind the end, as `BTreeMap::range`.
    pub fn range<Q, R>(&self, range: R) -> Iter<K, V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        match (range.start_bound(), range.end_bound()) {
            (Bound::Excluded(start), Bound::Excluded(end)) => {
                assert!(start < end, "range start is not below its end");
            }
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => assert!(start <= end, "range start is behind its end"),
            _ => {}
        }
        self.cursor((encoded(range.start_bound()), encoded(range.end_bound())))
    }

    /// All entries, in order, from both ends. As [`range`](Self::range).
    pub fn iter(&self) -> Iter<K, V> {
        self.cursor((Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix<Q>(&self, prefix: &Q) -> Iter<K, V>
    where
        K: Borrow<Q> + ByteKey,
        Q: EncodeKey + ?Sized,
    {
        self.cursor(prefix_range(&prefix.to_encoded()))
    }

    fn cursor(&self, range: KeyRange) -> Iter<K, V> {
        let cursor = Cursor::new(range, self.shared.tree.layout);
        Iter { shared: Arc::clone(&self.shared), cursor, keys: PhantomData }
    }

    /// Removes every entry whose key lies in `range`, one after the other, and returns how many
    /// there were. Each removal is linearizable; all together are not one step.
    pub fn remove_range<Q, R>(&self, range: R) -> u64
    where
        K: Borrow<Q>,
        Q: EncodeKey + Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        let keys = self.range(range);
        keys.filter(|(key, _)| self.set(key, Change::Remove).is_some()).count() as u64
    }

    /// Removes every entry, one after the other. Entries inserted meanwhile may stay.
    pub fn clear(&self) {
        for (key, _) in self {
            self.set(&key, Change::Remove);
        }
    }

    /// How many entries there are: `O(1)`. It lags behind operations that are under way.
    pub fn len(&self) -> usize {
        self.shared.tree.len() as usize
    }

    /// Whether there are no entries. As [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the tree's invariants; for tests. Nobody may be writing.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        let Shared { engine, tree } = &*self.shared;
        sure(crate::verify::check_tree(engine, tree)).map(|_| ())
    }
}

/// The key as a number, if the pages of a map with keys `K` hold numbers. A query can still have
/// other bytes than any key has: some of a `[u8]` for keys `[u8; 8]`.
#[inline]
fn number<K: Key>(key: &[u8]) -> Option<Number> {
    if K::FIXED8 { key.try_into().ok().map(Number::new) } else { None }
}

fn encoded<Q: EncodeKey + ?Sized>(bound: Bound<&Q>) -> Bound<Vec<u8>> {
    bound.map(EncodeKey::to_encoded)
}

/// Both ends of a range of a [`Map`]. Owns what it needs; holds no pin between two steps.
pub struct Iter<K, V: Clone + Send + Sync + 'static> {
    shared: Arc<Shared<V>>,
    cursor: Cursor<Held<V>>,
    keys: PhantomData<fn() -> K>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Iter<K, V> {
    fn next_held(&mut self) -> Option<(K, Held<V>)> {
        let Shared { engine, tree } = &*self.shared;
        sure(self.cursor.next(
            |from, range| engine.scan_page(tree, from, range, |f| Held::from_slot(f.value)),
            |key, value| (K::decode(key), value),
        ))
    }

    fn next_back_held(&mut self) -> Option<(K, Held<V>)> {
        let Shared { engine, tree } = &*self.shared;
        sure(self.cursor.next_back(
            |from, range| engine.scan_page(tree, from, range, |f| Held::from_slot(f.value)),
            |key, value| (K::decode(key), value),
        ))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Iterator for Iter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.next_held().map(|(key, value)| (key, value.into_value()))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> DoubleEndedIterator for Iter<K, V> {
    fn next_back(&mut self) -> Option<(K, V)> {
        self.next_back_held().map(|(key, value)| (key, value.into_value()))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> FusedIterator for Iter<K, V> {}

impl<K: Key, V: Clone + Send + Sync + 'static> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> IntoIterator for &Map<K, V> {
    type Item = (K, V);
    type IntoIter = Iter<K, V>;

    fn into_iter(self) -> Iter<K, V> {
        self.iter()
    }
}

impl<K: Key + fmt::Debug, V: Clone + Send + Sync + fmt::Debug + 'static> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V: Clone + Send + Sync + 'static> fmt::Debug for Iter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter")
    }
}

/// The value was another one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompareExchangeError<V> {
    /// The value that the key has.
    pub current: Option<V>,
    /// The value that was to be set, handed back.
    pub proposed: Option<V>,
}

impl<V> fmt::Display for CompareExchangeError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key has another value than the expected one; look again and decide anew")
    }
}

impl<V: fmt::Debug> std::error::Error for CompareExchangeError<V> {}
