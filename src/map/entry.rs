//! One key in two calls: look, then decide. No lock is held between the two.

use super::Map;
use super::fresh::Fresh;
use super::point::{CompareExchangeError, Existing};
use crate::key::Key;
use crate::memory::Held;
use core::fmt;

/// One key of a [`Map`], as [`Map::entry`] has seen it. Nothing is locked: others may change the
/// key at any time.
///
/// A method that takes the entry and ends it is one step together with `entry`: what it returns was
/// true, and what it does is done, at one moment between the call of `entry` and its own return.
/// Who keeps an entry for long may so be told what is long past: its methods don't look again
/// unless what they would write is refused.
///
/// Two such methods in a row are two steps. Several threads that count by
/// `and_modify(|n| *n += 1).or_insert(1)` lose the count of one that came between the two; with
/// [`Map::update_and_fetch`] it is one step.
///
/// ```
/// let map = bwtree::Map::new();
/// assert_eq!(map.entry(1).or_insert_with(|| "one".to_owned()), "one");
/// assert_eq!(map.entry(1).and_modify(|text| text.push('!')).or_default(), "one!");
/// ```
pub enum Entry<'m, K, V: Clone + Send + Sync + 'static> {
    /// The key had a value.
    Occupied(OccupiedEntry<'m, K, V>),
    /// The key had no value.
    Vacant(VacantEntry<'m, K, V>),
}

/// A key of a [`Map`] that had a value when [`Map::entry`] looked.
pub struct OccupiedEntry<'m, K, V: Clone + Send + Sync + 'static> {
    map: &'m Map<K, V>,
    key: K,
    seen: Held<V>,
}

/// A key of a [`Map`] that had no value when [`Map::entry`] looked.
pub struct VacantEntry<'m, K, V: Clone + Send + Sync + 'static> {
    map: &'m Map<K, V>,
    key: K,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// Looks at `key`, to decide then what becomes of it.
    ///
    /// LINEARIZES: with the method of [`Entry`] that ends it; the look is the load of the leaf's
    /// page word.
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// assert_eq!(map.entry(1).or_insert('a'), 'a');
    /// assert_eq!(map.entry(1).or_insert('b'), 'a');
    /// ```
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        match self.shared.held(&key) {
            Some(seen) => Entry::Occupied(OccupiedEntry { map: self, key, seen }),
            None => Entry::Vacant(VacantEntry { map: self, key }),
        }
    }
}

impl<'m, K: Key, V: Clone + Send + Sync + 'static> Entry<'m, K, V> {
    /// The key.
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = bwtree::Map::new();
    /// assert_eq!(map.entry(1).key(), &1);
    /// ```
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }

    /// The value that the key had; if it had none, it is given this one, unless another thread was
    /// first: then that one's.
    ///
    /// LINEARIZES: at the load of [`Map::entry`]; where that saw no value, at the CAS that inserts,
    /// or at the load that has seen what another thread has inserted.
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// assert_eq!(map.entry(1).or_insert('a'), 'a');
    /// ```
    pub fn or_insert(self, default: V) -> V {
        self.or_insert_with_key(|_| default)
    }

    /// As [`or_insert`](Self::or_insert), with what `make` makes.
    ///
    /// `make` runs unpinned and at most once, if `entry` saw no value; what it made is dropped if
    /// another thread was first. If it panics, nothing has happened.
    ///
    /// LINEARIZES: as [`or_insert`](Self::or_insert).
    ///
    /// ```
    /// let map = bwtree::Map::new();
    /// assert_eq!(map.entry(1).or_insert_with(|| 'a'), 'a');
    /// ```
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> V {
        self.or_insert_with_key(|_| make())
    }

    /// As [`or_insert_with`](Self::or_insert_with), of the key.
    ///
    /// LINEARIZES: as [`or_insert`](Self::or_insert).
    ///
    /// ```
    /// let map: bwtree::Map<String, usize> = bwtree::Map::new();
    /// assert_eq!(map.entry("four".to_owned()).or_insert_with_key(|key| key.len()), 4);
    /// ```
    pub fn or_insert_with_key(self, make: impl FnOnce(&K) -> V) -> V {
        match self {
            Self::Occupied(entry) => entry.seen.into_value(),
            Self::Vacant(VacantEntry { map, key }) => {
                let made = Fresh::new(make(&key), &map.shared);
                let kept = made.held();
                match map.shared.insert_new(&key, made) {
                    Ok(()) => kept.into_value(),
                    Err(existing) => existing.instead_of(kept).into_value(),
                }
            }
        }
    }

    /// As [`or_insert`](Self::or_insert), with the default value.
    ///
    /// LINEARIZES: as [`or_insert`](Self::or_insert).
    ///
    /// ```
    /// let map: bwtree::Map<u32, String> = bwtree::Map::new();
    /// assert_eq!(map.entry(1).or_default(), "");
    /// ```
    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.or_insert_with_key(|_| V::default())
    }

    /// Changes the value that the key has, if it has one; the entry is then what was written.
    ///
    /// `modify` gets a copy of the value. It runs unpinned, not at all if `entry` saw no value, and
    /// again, on a copy of the new value, if that has changed meanwhile; if the key has lost it,
    /// the entry is vacant. If it panics, nothing has happened.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; without a value, at the load that showed
    /// none. What follows, as [`or_insert`](Self::or_insert), is a step of its own.
    ///
    /// ```
    /// let map: bwtree::Map<_, u32> = [(1, 10)].into();
    /// map.entry(1).and_modify(|value| *value += 1);
    /// map.entry(2).and_modify(|value| *value += 1);
    /// assert_eq!((map.get(&1), map.get(&2)), (Some(11), None));
    /// ```
    #[expect(clippy::return_self_not_must_use, reason = "as std: what was to be done is done")]
    pub fn and_modify(self, mut modify: impl FnMut(&mut V)) -> Self {
        let Self::Occupied(OccupiedEntry { map, key, mut seen }) = self else { return self };
        loop {
            let mut value = seen.value().clone();
            modify(&mut value);
            let new = Fresh::new(value, &map.shared);
            let kept = new.held();
            if map.shared.exchange(&key, Some(&seen), Some(new)).is_ok() {
                drop(seen);
                return Self::Occupied(OccupiedEntry { map, key, seen: kept });
            }
            match map.shared.held(&key) {
                Some(changed) => seen = changed,
                None => return Self::Vacant(VacantEntry { map, key }),
            }
        }
    }

    /// Gives the key this value, whatever it has now.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// assert_eq!(map.entry(1).insert_entry('b').get(), &'b');
    /// ```
    pub fn insert_entry(self, value: V) -> OccupiedEntry<'m, K, V> {
        let (map, key, before) = match self {
            Self::Occupied(OccupiedEntry { map, key, seen }) => (map, key, Some(seen)),
            Self::Vacant(VacantEntry { map, key }) => (map, key, None),
        };
        let new = Fresh::new(value, &map.shared);
        let seen = new.held();
        drop((map.shared.set(&key, Some(&new)), before));
        OccupiedEntry { map, key, seen }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> OccupiedEntry<'_, K, V> {
    /// The key.
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map: Map<_, _> = [(1, 'a')].into();
    /// let Entry::Occupied(entry) = map.entry(1) else { panic!() };
    /// assert_eq!((entry.key(), entry.get()), (&1, &'a'));
    /// ```
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value that was seen, or written by this entry since. The key may have another one now.
    pub fn get(&self) -> &V {
        self.seen.value()
    }

    /// Gives the key this value, whatever it has now, and returns the value that it had: `None` if
    /// it has lost it since it was seen. To replace nothing but what was seen, take
    /// [`Map::compare_exchange`].
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map: Map<_, _> = [(1, 'a')].into();
    /// let Entry::Occupied(mut entry) = map.entry(1) else { panic!() };
    /// map.remove(&1); // as another thread may
    /// assert_eq!(entry.insert('b'), None);
    /// assert_eq!(entry.get(), &'b');
    /// ```
    pub fn insert(&mut self, value: V) -> Option<V> {
        let new = Fresh::new(value, &self.map.shared);
        let kept = new.held();
        let old = self.map.shared.set(&self.key, Some(&new));
        self.seen = kept;
        old.map(Held::into_value)
    }

    /// Removes the key, whatever value it has now, and returns that: `None` if it has lost it since
    /// it was seen.
    ///
    /// LINEARIZES: as [`Map::remove`].
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map: Map<_, _> = [(1, 'a')].into();
    /// let Entry::Occupied(entry) = map.entry(1) else { panic!() };
    /// assert_eq!(entry.remove(), Some('a'));
    /// ```
    pub fn remove(self) -> Option<V> {
        self.remove_entry().map(|(_, value)| value)
    }

    /// As [`remove`](Self::remove), with the key.
    ///
    /// LINEARIZES: as [`Map::remove`].
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map: Map<_, _> = [(1, 'a')].into();
    /// let Entry::Occupied(entry) = map.entry(1) else { panic!() };
    /// assert_eq!(entry.remove_entry(), Some((1, 'a')));
    /// ```
    pub fn remove_entry(self) -> Option<(K, V)> {
        // What was seen goes first, so that the value need not be cloned.
        let Self { map, key, seen } = self;
        drop(seen);
        let value = map.remove(&key)?;
        Some((key, value))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> VacantEntry<'_, K, V> {
    /// The key.
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map: Map<u32, char> = Map::new();
    /// let Entry::Vacant(entry) = map.entry(1) else { panic!() };
    /// assert_eq!(entry.key(), &1);
    /// assert_eq!(entry.into_key(), 1);
    /// ```
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The key, given back.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Gives the key this value, if it still has none: what nobody has seen is not overwritten.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; on failure, at the load of the word under
    /// which the other value was seen.
    ///
    /// # Errors
    /// The value that the key has by now, and `value`, handed back.
    ///
    /// ```
    /// # use bwtree::map::{Entry, Map};
    /// let map = Map::new();
    /// let Entry::Vacant(entry) = map.entry(1) else { panic!() };
    /// map.insert(1, 'b'); // as another thread may
    /// assert_eq!(entry.insert('a').unwrap_err().current, Some('b'));
    /// ```
    pub fn insert(self, value: V) -> Result<(), CompareExchangeError<V>> {
        let refused = |Existing { seen, refused }| CompareExchangeError {
            current: Some(seen.into_value()),
            proposed: Some(refused.into_value()),
        };
        let shared = &self.map.shared;
        shared.insert_new(&self.key, Fresh::new(value, shared)).map_err(refused)
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Entry<'_, K, V>
where
    V: Clone + Send + Sync + fmt::Debug + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => entry.fmt(f),
            Self::Vacant(entry) => entry.fmt(f),
        }
    }
}

impl<K: fmt::Debug, V> fmt::Debug for OccupiedEntry<'_, K, V>
where
    V: Clone + Send + Sync + fmt::Debug + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (&self.key, self.seen.value());
        f.debug_struct("OccupiedEntry").field("key", key).field("value", value).finish()
    }
}

impl<K: fmt::Debug, V: Clone + Send + Sync + 'static> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}
