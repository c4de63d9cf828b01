//! `Tree`: one named tree of a store, byte keys and values.

use super::Inner;
use super::owned::ByteValue;
use super::value::{Ask, Read, Write, check_key, exchange, look, write, write_if, write_unseen};
use crate::damage::Damage;
use crate::engine::{Found, TreeCore};
use crate::error::{Error, Result};
use crate::map::CompareExchangeError;
use crate::paging::mend;
use bytes::Bytes;
use core::fmt;
use delta::Hashed;
use std::sync::Arc;
use types::PageId;

/// A named tree of a [`Db`](super::Db): an ordered map from bytes to bytes. A cheap handle.
///
/// Keys have up to 4096 bytes, values up to 64 MiB. Values come back as [`Bytes`], owned and cheap
/// to clone. Every operation on one key, and every search for a neighbour, is linearizable, and
/// durable when a later sync says so. What is not one step is listed in the
/// [module](crate::tree)'s documentation.
///
/// Closures run unpinned: they may use the same tree, take as long as they like, and panic. Which
/// of them may run twice is said with each method.
///
/// Cost of an operation on one key or neighbour: `O(log n)`; a read of the log for a page that is
/// away, and one for a value above 1 KiB that is; a copy of one page (about 8 KiB) every few dozen
/// writes of a page.
///
/// # Errors
/// Every operation can fail with what the log fails with; a write also if the store was opened for
/// reading only, a key or value is too long, memory stays above the budget, or background work has
/// failed; nothing has been written then. If it is the sync of a [`SyncPolicy`](super::SyncPolicy)
/// that fails, the write is visible, and durable with a later sync.
#[derive(Clone)]
pub struct Tree {
    pub(super) inner: Arc<Inner>,
    pub(super) core: Arc<TreeCore>,
    pub(super) name: Arc<str>,
}

/// A comparison that failed is a value, not an error.
type Compared = core::result::Result<(), CompareExchangeError<Bytes>>;

impl Tree {
    pub(crate) fn new(inner: Arc<Inner>, core: Arc<TreeCore>, name: &str) -> Self {
        Self { inner, core, name: name.into() }
    }

    /// The tree's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The result of the engine, in which a dropped tree has no name.
    pub(super) fn named<R>(&self, result: Result<R>) -> Result<R> {
        result.map_err(|error| match error {
            Error::TreeDropped { .. } => Error::TreeDropped { name: self.name.to_string() },
            other => other,
        })
    }

    /// What came of loading the value of `key`. A value apart from its page that is damaged is that
    /// key's affair alone.
    pub(super) fn loaded<R>(&self, key: &[u8], result: Result<R>) -> Result<R> {
        result.map_err(|error| match error {
            Error::Log(_) if error.is_damage() => {
                let damage = mend::damage_of(&self.inner.engine, PageId::NONE, &error);
                let damage = Damage { tree: self.name.to_string(), ..damage }
                    .with_keys(key.to_vec(), Some([key, &[0]].concat()));
                Error::Damaged { found: Arc::new([damage]) }
            }
            error => error,
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        self.inner.check_open()?;
        let dropped = self.core.is_dropped();
        self.named(if dropped { Err(Error::TreeDropped { name: String::new() }) } else { Ok(()) })
    }

    pub(super) fn look(&self, key: &[u8]) -> Result<(Option<Read>, Option<Bytes>)> {
        self.check()?;
        check_key(key)?;
        self.loaded(key, self.named(look(&self.inner.engine, &self.core, key)))
    }

    /// The value of `key`.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.get("a")?.as_deref(), Some(b"1".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        Ok(self.look(key.as_ref())?.1)
    }

    /// What `look` makes of the value of `key`.
    ///
    /// `look` runs unpinned and at most once. The value may have been replaced by then.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "text")?;
    /// assert_eq!(tree.get_with("a", |value| value.len())?, Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_with<R>(
        &self,
        key: impl AsRef<[u8]>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        Ok(self.look(key.as_ref())?.1.map(|value| look(&value)))
    }

    /// Whether `key` has a value. Copies nothing.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert!(tree.contains_key("a")? && !tree.contains_key("b")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.check()?;
        check_key(key.as_ref())?;
        let key = Hashed::new(key.as_ref());
        self.named(self.inner.engine.read(&self.core, key, |found| found.is_some()))
    }

    /// Gives `key` this value, and returns the one that it had. Where that is not needed,
    /// [`put`](Self::put) copies and loads nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// assert_eq!(tree.insert("a", "1")?, None);
    /// assert_eq!(tree.insert("a", "2")?.as_deref(), Some(b"1".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl ByteValue) -> Result<Option<Bytes>> {
        Write::with(&self.inner.engine, value, |put| self.replace(key.as_ref(), put))
    }

    /// Removes `key`, and returns the value that it had. Where that is not needed,
    /// [`delete`](Self::delete) copies and loads nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; without such a key, at its load.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.remove("a")?.as_deref(), Some(b"1".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        self.replace(key.as_ref(), &Write::Remove)
    }

    fn replace(&self, key: &[u8], write: &Write<'_>) -> Result<Option<Bytes>> {
        self.check()?;
        let engine = &self.inner.engine;
        let at_hand = |found: Option<Found<'_>>| found.is_none_or(Read::is_at_hand);
        let before = self.named(write_if(engine, &self.core, key, write, at_hand, Ask::Value))?;
        let before = match before {
            Some(before) => {
                let value = before.map(|before| before.load(engine)).transpose();
                self.loaded(key, value)?
            }
            // Once replaced, a value in the log can be gone at any moment: it is loaded before.
            None => loop {
                let (seen, current) = self.look(key)?;
                if self.named(exchange(engine, &self.core, key, seen.as_ref(), write))? {
                    break current;
                }
            },
        };
        self.inner.after_write(key.len() + write.len().unwrap_or(0))?;
        Ok(before)
    }

    /// Gives `key` this value.
    ///
    /// Nothing is read for it: where the page of the key was evicted, the value waits in memory and
    /// then in the log until the page is read for something else, or has a few dozen such values.
    /// So it costs far less there than [`insert`](Self::insert), which returns the value before.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl ByteValue) -> Result<()> {
        self.check()?;
        let (engine, key) = (&self.inner.engine, key.as_ref());
        Write::with(engine, value, |put| {
            self.named(write_unseen(engine, &self.core, key, put))?;
            self.inner.after_write(key.len() + put.len().unwrap_or(0))
        })
    }

    /// Removes `key`, and says whether it had a value.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; without such a key, at its load.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert!(tree.delete("a")? && !tree.delete("a")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.check()?;
        let key = key.as_ref();
        let had = self.take_out(key)?;
        self.inner.after_write(key.len())?;
        Ok(had)
    }

    /// Removes `key`, whether it has a value or not: as [`put`](Self::put), reads nothing. Where
    /// the value is not in memory this costs far less than [`delete`](Self::delete).
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; where that is in memory and has no such key,
    /// at its load.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.discard("a")?;
    /// tree.discard("b")?;
    /// assert_eq!(tree.get("a")?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn discard(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.check()?;
        let key = key.as_ref();
        self.named(write_unseen(&self.inner.engine, &self.core, key, &Write::Remove))?;
        self.inner.after_write(key.len())
    }

    /// Removes `key`, and leaves it to the caller when that is synced.
    pub(super) fn take_out(&self, key: &[u8]) -> Result<bool> {
        self.named(write(&self.inner.engine, &self.core, key, &Write::Remove))
    }

    /// Removes `key` if it still has what was `seen`, and leaves it to the caller when that is
    /// synced.
    pub(super) fn take_out_if(&self, key: &[u8], seen: &Read) -> Result<bool> {
        let engine = &self.inner.engine;
        self.named(exchange(engine, &self.core, key, Some(seen), &Write::Remove))
    }

    /// Puts `new` where `seen` is, if it still is.
    pub(super) fn exchange(
        &self,
        key: &[u8],
        seen: Option<&Read>,
        new: Option<&Bytes>,
    ) -> Result<bool> {
        let engine = &self.inner.engine;
        let change = |write: &Write<'_>| self.named(exchange(engine, &self.core, key, seen, write));
        let done = match new {
            // What is cloned is the handle of a long value.
            Some(value) => Write::with(engine, value.clone(), change)?,
            None => change(&Write::Remove)?,
        };
        if done {
            self.inner.after_write(key.len() + new.map_or(0, Bytes::len))?;
        }
        Ok(done)
    }

    /// Gives `key` the value `new` (`None` removes it) if it now has the value `expected` (`None`:
    /// no value); else the inner result is an error that says what it has.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; on failure, at the load of the word under
    /// which the other value was seen.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// assert!(tree.compare_exchange("a", None, Some(b"1"))?.is_ok());
    /// let refused = tree.compare_exchange("a", None, Some(b"2"))?.unwrap_err();
    /// assert_eq!(refused.current.as_deref(), Some(b"1".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_exchange(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Compared> {
        let key = key.as_ref();
        let new = new.map(Bytes::copy_from_slice);
        loop {
            let (seen, current) = self.look(key)?;
            if current.as_deref() != expected {
                return Ok(Err(CompareExchangeError { current, proposed: new }));
            }
            if self.exchange(key, seen.as_ref(), new.as_ref())? {
                return Ok(Ok(()));
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
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// let longer = |value: Option<&[u8]>| value.map(|value| [value, b"!"].concat());
    /// assert_eq!(tree.fetch_and_update("a", longer)?.as_deref(), Some(b"1".as_slice()));
    /// assert_eq!(tree.get("a")?.as_deref(), Some(b"1!".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_and_update<V: ByteValue>(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        let (mut seen, mut current) = self.look(key)?;
        let mut new = update(current.as_deref()).map(V::into_bytes);
        while !self.exchange(key, seen.as_ref(), new.as_ref())? {
            let (now, value) = self.look(key)?;
            // A value that lies in the log may only have been moved, or evicted.
            if value != current {
                new = update(value.as_deref()).map(V::into_bytes);
                current = value;
            }
            seen = now;
        }
        Ok(current)
    }

    /// As [`fetch_and_update`](Self::fetch_and_update), but returns the new value.
    ///
    /// LINEARIZES: as [`fetch_and_update`](Self::fetch_and_update).
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// let longer = |value: Option<&[u8]>| Some([value.unwrap_or(b""), b"!"].concat());
    /// assert_eq!(tree.update_and_fetch("a", longer)?.as_deref(), Some(b"!".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_and_fetch<V: ByteValue>(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Bytes>> {
        let mut last: Option<Bytes> = None;
        self.fetch_and_update(key, |value| {
            last = update(value).map(V::into_bytes);
            last.clone()
        })?;
        Ok(last)
    }

    /// The value of `key`; if it has none, it is given the one that `make` makes.
    ///
    /// `make` runs unpinned and at most once; what it made is dropped if another thread was first.
    /// If it panics, nothing has happened.
    ///
    /// LINEARIZES: at the load of the leaf's page word, or at the CAS that inserts.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// assert_eq!(tree.get_or_insert_with("a", || "1")?, "1");
    /// assert_eq!(tree.get_or_insert_with("a", || "2")?, "1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_or_insert_with<V: ByteValue>(
        &self,
        key: impl AsRef<[u8]>,
        make: impl FnOnce() -> V,
    ) -> Result<Bytes> {
        let key = key.as_ref();
        if let Some(value) = self.get(key)? {
            return Ok(value);
        }
        let made = make().into_bytes();
        loop {
            if self.exchange(key, None, Some(&made))? {
                return Ok(made);
            }
            if let Some(value) = self.get(key)? {
                return Ok(value);
            }
        }
    }

    /// How many entries there are. It lags behind operations that are under way, and is exact after
    /// a crash. A tree that was dropped has none.
    ///
    /// `O(1)`, if all pages are counted: whether [`put`](Self::put) and [`discard`](Self::discard)
    /// have changed the number is not known where they read nothing, and the first call after them
    /// reads such pages. Those that cannot be read, or not before another handle has closed the
    /// store, have as many entries as they were known to have.
    /// [`TreeStats::entries`](super::TreeStats::entries) tells what is known without reading.
    pub fn len(&self) -> u64 {
        if self.core.is_dropped() {
            return 0;
        }
        self.inner.engine.count_pages(&self.core);
        self.core.len()
    }

    /// Whether there are no entries. As [`len`](Self::len), but reads at most what the search for
    /// one entry does.
    pub fn is_empty(&self) -> bool {
        if self.core.is_dropped() || !self.core.has_uncounted() {
            return self.core.is_dropped() || self.core.len() == 0;
        }
        self.first_key_value().map_or_else(|_| self.core.len() == 0, |first| first.is_none())
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({:?}, {} entries)", self.name, self.core.len())
    }
}
