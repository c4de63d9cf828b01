//! One key: look, insert, remove, exchange, update. Each is one step.

use super::fresh::Fresh;
use super::{MAX_KEY_BYTES, Map, Shared};
use crate::engine::{Change, Decision, Found};
use crate::key::{EncodeKey, Key};
use crate::memory::Held;
use core::borrow::Borrow;
use core::cell::Cell;
use core::fmt;

impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// Sets or removes the value of `key`, and returns the one that it had.
    pub(super) fn set<Q>(&self, key: &Q, new: Option<&Fresh<V>>) -> Option<Held<V>>
    where
        Q: EncodeKey + ?Sized,
    {
        let change = change(new);
        let decide = |found: Option<Found<'_>>| {
            let old = found.map(|found| Held::<V>::from_slot(found.value));
            match (change, &old) {
                (Change::Remove, None) => Decision::Keep(old),
                _ => Decision::Write(change, old),
            }
        };
        self.update(key, decide, new.map_or(&Cell::new(0), Fresh::taken))
    }

    /// Gives `key` this value, copies nothing, and says whether it had one.
    fn put<Q: EncodeKey + ?Sized>(&self, key: &Q, new: &Fresh<V>) -> bool {
        let decide = |found: Option<Found<'_>>| Decision::Write(change(Some(new)), found.is_some());
        self.update(key, decide, new.taken())
    }

    /// Removes `key`, copies nothing, and says whether it was there.
    pub(super) fn delete<Q: EncodeKey + ?Sized>(&self, key: &Q) -> bool {
        let decide = |found: Option<Found<'_>>| match found {
            Some(_) => Decision::Write(Change::Remove, true),
            None => Decision::Keep(false),
        };
        self.update(key, decide, &Cell::new(0))
    }

    /// Puts `new` where `seen` is, if it still is; else hands it back.
    pub(super) fn exchange<Q>(
        &self,
        key: &Q,
        seen: Option<&Held<V>>,
        new: Option<Fresh<V>>,
    ) -> Result<(), Option<Fresh<V>>>
    where
        Q: EncodeKey + ?Sized,
    {
        let seen = seen.map(Held::slot);
        let change = change(new.as_ref());
        let decide = |found: Option<Found<'_>>| {
            let same = found.map(|found| found.value) == seen.as_ref().map(<[u8; 8]>::as_slice);
            match (same, change, found) {
                (false, _, _) => Decision::Keep(false),
                (true, Change::Remove, None) => Decision::Keep(true),
                (true, change, _) => Decision::Write(change, true),
            }
        };
        let done = self.update(key, decide, new.as_ref().map_or(&Cell::new(0), Fresh::taken));
        if done { Ok(()) } else { Err(new) }
    }

    /// Gives `key` this value if it has none; else returns the one that it has.
    pub(super) fn insert_new<Q>(&self, key: &Q, mut new: Fresh<V>) -> Result<(), Existing<V>>
    where
        Q: EncodeKey + ?Sized,
    {
        loop {
            match self.exchange(key, None, Some(new)) {
                Err(Some(refused)) => new = refused,
                _ => return Ok(()),
            }
            // It may be gone again by now.
            if let Some(seen) = self.held(key) {
                return Err(Existing { seen, refused: new });
            }
        }
    }
}

/// A key had a value where none was expected.
pub(super) struct Existing<V: Clone + Send + Sync + 'static> {
    /// The value that it has.
    pub(super) seen: Held<V>,
    /// The value that was to be set.
    pub(super) refused: Fresh<V>,
}

impl<V: Clone + Send + Sync + 'static> Existing<V> {
    /// The value that the key has. The refused one goes, with this count of it: before there is a
    /// value to return, which a panic at the end would leak.
    pub(super) fn instead_of(self, kept: Held<V>) -> Held<V> {
        let Self { seen, refused } = self;
        drop((refused, kept));
        seen
    }
}

fn change<V: Clone + Send + Sync + 'static>(new: Option<&Fresh<V>>) -> Change<'_> {
    match new {
        Some(new) => Change::Put { flags: 0, value: new.slot() },
        None => Change::Remove,
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// A copy of the value of `key`. Where a look at it is enough, [`get_with`](Self::get_with)
    /// copies nothing.
    ///
    /// LINEARIZES: at the load of the leaf's page word. The value is cloned after that, unpinned.
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = [("a".to_owned(), 1)].into();
    /// assert_eq!(map.get("a"), Some(1));
    /// assert_eq!(map.get("b"), None);
    /// ```
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.look_after(self.shared.held(key)).map(Held::into_value)
    }

    /// What `look` makes of the value of `key`, without a copy of it.
    ///
    /// `look` runs unpinned and at most once. The value may have been replaced by then.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// ```
    /// let map: bwtree::Map<u32, String> = [(1, "one".to_owned())].into();
    /// assert_eq!(map.get_with(&1, |text| text.len()), Some(3));
    /// assert_eq!(map.get_with(&2, |text| text.len()), None);
    /// ```
    pub fn get_with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.look_after(self.shared.held(key)).map(|held| look(held.value()))
    }

    /// The entry of `key`.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = [("a".to_owned(), 1)].into();
    /// assert_eq!(map.get_key_value("a"), Some(("a".to_owned(), 1)));
    /// ```
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let value = self.get(key)?;
        // What a key can be borrowed as has the bytes of the key.
        Some((key.with_encoded(K::decode), value))
    }

    /// Whether the map has this key. Copies nothing.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// assert!(map.contains_key(&1) && !map.contains_key(&2));
    /// ```
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.look_after(self.shared.read(key, |found| found.is_some()))
    }

    /// Gives `key` this value, and returns the one that it had.
    ///
    /// What it returns is a clone, for another thread may look at the value still: where it is not
    /// wanted, [`put`](Self::put) clones nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Panics
    /// If the key is longer than [`MAX_KEY_BYTES`].
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// assert_eq!(map.insert(1, 'a'), None);
    /// assert_eq!(map.insert(1, 'b'), Some('a'));
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "as BTreeMap has it")]
    #[inline]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.insert_ref(&key, value)
    }

    /// As [`insert`](Self::insert), but refuses a key that is too long.
    ///
    /// LINEARIZES: as [`insert`](Self::insert).
    ///
    /// # Errors
    /// If the key is longer than [`MAX_KEY_BYTES`]: the value, handed
    /// back.
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = bwtree::Map::new();
    /// assert_eq!(map.try_insert("a".to_owned(), 1), Ok(None));
    /// assert_eq!(map.try_insert("a".repeat(100_000), 2).unwrap_err().value, 2);
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "as insert takes it")]
    pub fn try_insert(&self, key: K, value: V) -> Result<Option<V>, KeyTooLong<V>> {
        match key.with_encoded(|key| (self.shared.can_be(key), key.len())) {
            (true, _) => Ok(self.insert_ref(&key, value)),
            (false, len) => Err(KeyTooLong { len, value }),
        }
    }

    /// Gives `key` this value, whatever it had, and says whether it had one. Clones nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Panics
    /// As [`insert_ref`](Self::insert_ref).
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = bwtree::Map::new();
    /// assert!(!map.put("a", 1));
    /// assert!(map.put("a", 2));
    /// assert_eq!(map.get("a"), Some(2));
    /// ```
    #[doc(alias = "set")]
    #[doc(alias = "upsert")]
    pub fn put<Q>(&self, key: &Q, value: V) -> bool
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.put(key, &Fresh::new(value, &self.shared))
    }

    /// Removes `key`, and says whether it was there. Clones nothing.
    ///
    /// LINEARIZES: as [`remove`](Self::remove).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// assert!(map.delete(&1) && !map.delete(&1));
    /// ```
    #[doc(alias = "discard")]
    pub fn delete<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.delete(key)
    }

    /// As [`insert`](Self::insert), with a key that is only borrowed: a map keeps the bytes of its
    /// keys, so of a `&str` no `String` need be made.
    ///
    /// LINEARIZES: as [`insert`](Self::insert).
    ///
    /// # Panics
    /// If no key has as many bytes as `key`: a `[u8]` of another length where keys are arrays, or
    /// one that is longer than [`MAX_KEY_BYTES`].
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = bwtree::Map::new();
    /// assert_eq!(map.insert_ref("a", 1), None);
    /// assert_eq!(map.insert_ref("a", 2), Some(1));
    /// ```
    #[inline]
    pub fn insert_ref<Q>(&self, key: &Q, value: V) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.set(key, Some(&Fresh::new(value, &self.shared))).map(Held::into_value)
    }

    /// Removes `key`, and returns the value that it had: a clone, see [`insert`](Self::insert);
    /// [`delete`](Self::delete) makes none.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; where there is no such key, at its load.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// assert_eq!(map.remove(&1), Some('a'));
    /// assert_eq!(map.remove(&1), None);
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        self.shared.set(key, None).map(Held::into_value)
    }

    /// Removes `key`, and returns its entry. As [`remove`](Self::remove).
    ///
    /// LINEARIZES: as [`remove`](Self::remove).
    ///
    /// ```
    /// let map: bwtree::Map<String, u32> = [("a".to_owned(), 1)].into();
    /// assert_eq!(map.remove_entry("a"), Some(("a".to_owned(), 1)));
    /// ```
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        let value = self.remove(key)?;
        Some((key.with_encoded(K::decode), value))
    }

    /// Gives `key` the value `new` (`None` removes it) if it now has the value `expected` (`None`:
    /// no value).
    ///
    /// `V`'s `eq` runs unpinned, and again if the value has changed in between.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; on failure, and where nothing is to be
    /// removed, at the load of the word under which the value was seen.
    ///
    /// # Errors
    /// The value that `key` has instead, and `new`, handed back.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// assert!(map.compare_exchange(&1, Some(&'a'), Some('b')).is_ok());
    /// let refused = map.compare_exchange(&1, None, Some('c')).unwrap_err();
    /// assert_eq!((refused.current, refused.proposed), (Some('b'), Some('c')));
    /// ```
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
        let mut new = new.map(|new| Fresh::new(new, &self.shared));
        loop {
            let seen = self.shared.held(key);
            if seen.as_ref().map(Held::value) != expected {
                let current = seen.map(Held::into_value);
                return Err(CompareExchangeError { current, proposed: new.map(Fresh::into_value) });
            }
            match self.shared.exchange(key, seen.as_ref(), new) {
                Ok(()) => return Ok(()),
                Err(refused) => new = refused,
            }
        }
    }

    /// Replaces the value of `key` by what `update` makes of it (`None`: no value), and returns
    /// the one that it had.
    ///
    /// `update` runs unpinned, and again if the value has changed meanwhile. If it panics, nothing
    /// has happened.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; where there is no value and none is made of
    /// it, at the load that has confirmed that.
    ///
    /// ```
    /// let map: bwtree::Map<_, u32> = [(1, 10)].into();
    /// assert_eq!(map.fetch_and_update(&1, |value| value.map(|value| value + 1)), Some(10));
    /// assert_eq!(map.get(&1), Some(11));
    /// ```
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
            let seen = self.shared.held(key);
            let new = update(seen.as_ref().map(Held::value));
            let new = new.map(|new| Fresh::new(new, &self.shared));
            if self.shared.exchange(key, seen.as_ref(), new).is_ok() {
                return seen.map(Held::into_value);
            }
        }
    }

    /// As [`fetch_and_update`](Self::fetch_and_update), but returns the new value.
    ///
    /// LINEARIZES: as [`fetch_and_update`](Self::fetch_and_update).
    ///
    /// ```
    /// let map: bwtree::Map<char, u32> = bwtree::Map::new();
    /// let count = |value: Option<&u32>| Some(value.copied().unwrap_or(0) + 1);
    /// assert_eq!(map.update_and_fetch(&'a', count), Some(1));
    /// assert_eq!(map.update_and_fetch(&'a', count), Some(2));
    /// ```
    pub fn update_and_fetch<Q>(
        &self,
        key: &Q,
        mut update: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized,
    {
        loop {
            let seen = self.shared.held(key);
            let new = update(seen.as_ref().map(Held::value));
            let new = new.map(|new| Fresh::new(new, &self.shared));
            let kept = new.as_ref().map(Fresh::held);
            if self.shared.exchange(key, seen.as_ref(), new).is_ok() {
                // Before there is a value to return, which a panic at the end would leak.
                drop(seen);
                return kept.map(Held::into_value);
            }
        }
    }

    /// The value of `key`; if it has none, it is given the one that `make` makes.
    ///
    /// `make` runs unpinned and at most once; what it made is dropped if another thread was first.
    /// If it panics, nothing has happened.
    ///
    /// LINEARIZES: at the load of the leaf's page word, or at the CAS that inserts.
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// assert_eq!(map.get_or_insert_with(1, || 'a'), 'a');
    /// assert_eq!(map.get_or_insert_with(1, || 'b'), 'a');
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "as insert takes it")]
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(value) = self.shared.held(&key) {
            return self.shared.look_after(value).into_value();
        }
        let made = Fresh::new(make(), &self.shared);
        let kept = made.held();
        match self.shared.insert_new(&key, made) {
            Ok(()) => kept.into_value(),
            Err(existing) => existing.instead_of(kept).into_value(),
        }
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

/// The key is longer than [`MAX_KEY_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyTooLong<V> {
    /// How long it is, as it is encoded, in bytes.
    pub len: usize,
    /// The value that was to be set, handed back.
    pub value: V,
}

impl<V> fmt::Display for KeyTooLong<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, .. } = self;
        write!(f, "a key of {len} bytes is too long; keys of maps have at most {MAX_KEY_BYTES}")
    }
}

impl<V: fmt::Debug> std::error::Error for KeyTooLong<V> {}
