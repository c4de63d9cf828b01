//! `Tree`: one named tree of a store, byte keys and values.

use super::value::{Dropped, Read, Write, check_key, exchange, look, write, write_if};
use super::{Inner, Range};
use crate::engine::{Found, TreeCore, prefix_range};
use crate::error::{Error, Result};
use crate::map::CompareExchangeError;
use bytes::Bytes;
use core::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// A named tree of a [`Db`](super::Db): an ordered map from bytes to bytes. A cheap handle.
///
/// Keys have up to 4096 bytes, values up to 64 MiB. Values come back as [`Bytes`], owned and cheap
/// to clone. Every single-key operation is linearizable, and durable when a later sync says so.
///
/// # Errors
/// Every operation can fail with what the log fails with; a write also if the store was opened for
/// reading only, a key or value is too long, memory stays above the budget, or background work has
/// failed; nothing has been written then. If it is the sync of a [`SyncPolicy`](super::SyncPolicy)
/// that fails, the write is visible, and durable with a later sync.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
    core: Arc<TreeCore>,
    name: Arc<str>,
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

    fn dropped(&self, _: Dropped) -> Error {
        Error::TreeDropped { name: self.name.to_string() }
    }

    fn check(&self) -> Result<()> {
        self.inner.check_open()?;
        if self.core.is_dropped() { Err(self.dropped(Dropped)) } else { Ok(()) }
    }

    fn look(&self, key: &[u8]) -> Result<(Option<Read>, Option<Bytes>)> {
        self.check()?;
        check_key(key)?;
        look(&self.inner.engine, &self.core, key)
    }

    /// The value of `key`.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        Ok(self.look(key.as_ref())?.1)
    }

    /// Whether `key` has a value. Copies nothing.
    ///
    /// LINEARIZES: at the load of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.check()?;
        check_key(key.as_ref())?;
        self.inner.engine.read(&self.core, key.as_ref(), |found| found.is_some())
    }

    /// Gives `key` this value, and returns the one that it had. Where that is not needed,
    /// [`put`](Self::put) copies and loads nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let value = value.into();
        let write = Write::put(&self.inner.engine, &value)?;
        self.replace(key.as_ref(), &write, value.len())
    }

    /// Removes `key`, and returns the value that it had. Where that is not needed,
    /// [`delete`](Self::delete) copies and loads nothing.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; without such a key, at its load.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        self.replace(key.as_ref(), &Write::Remove, 0)
    }

    fn replace(&self, key: &[u8], write: &Write<'_>, len: usize) -> Result<Option<Bytes>> {
        self.check()?;
        let engine = &self.inner.engine;
        let at_hand = |found: Option<Found<'_>>| found.is_none_or(Read::is_at_hand);
        let before = write_if(engine, &self.core, key, write, at_hand, true)?
            .map_err(|dropped| self.dropped(dropped))?;
        let before = match before {
            Some(before) => before.map(|before| before.load(engine)).transpose()?,
            // Once replaced, a value in the log can be gone at any moment: it is loaded before.
            None => loop {
                let (seen, current) = self.look(key)?;
                if exchange(engine, &self.core, key, seen.as_ref(), write)?
                    .map_err(|dropped| self.dropped(dropped))?
                {
                    break current;
                }
            },
        };
        self.inner.after_write(key.len() + len)?;
        Ok(before)
    }

    /// Gives `key` this value.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<()> {
        self.check()?;
        let (key, value) = (key.as_ref(), value.into());
        let put = Write::put(&self.inner.engine, &value)?;
        write(&self.inner.engine, &self.core, key, &put)?
            .map_err(|dropped| self.dropped(dropped))?;
        self.inner.after_write(key.len() + value.len())
    }

    /// Removes `key`, and says whether it had a value.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word; without such a key, at its load.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.check()?;
        let key = key.as_ref();
        let had = write(&self.inner.engine, &self.core, key, &Write::Remove)?
            .map_err(|dropped| self.dropped(dropped))?;
        self.inner.after_write(key.len())?;
        Ok(had)
    }

    fn exchange(&self, key: &[u8], seen: Option<&Read>, new: Option<&Bytes>) -> Result<bool> {
        let put = match new {
            Some(value) => Write::put(&self.inner.engine, value)?,
            None => Write::Remove,
        };
        let done = exchange(&self.inner.engine, &self.core, key, seen, &put)?
            .map_err(|dropped| self.dropped(dropped))?;
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
    /// `update` runs unpinned, and again if the value has changed meanwhile.
    ///
    /// LINEARIZES: at the CAS of the leaf's page word.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn fetch_and_update(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Option<Bytes>,
    ) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        loop {
            let (seen, current) = self.look(key)?;
            let new = update(current.as_deref());
            if self.exchange(key, seen.as_ref(), new.as_ref())? {
                return Ok(current);
            }
        }
    }

    /// As [`fetch_and_update`](Self::fetch_and_update), but returns the new value.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn update_and_fetch(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Option<Bytes>,
    ) -> Result<Option<Bytes>> {
        let mut last = None;
        self.fetch_and_update(key, |value| {
            last = update(value);
            last.clone()
        })?;
        Ok(last)
    }

    /// The value of `key`; if it has none, it is given the one that `make` makes.
    ///
    /// `make` runs unpinned and at most once.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn get_or_insert_with(
        &self,
        key: impl AsRef<[u8]>,
        make: impl FnOnce() -> Bytes,
    ) -> Result<Bytes> {
        let key = key.as_ref();
        if let Some(value) = self.get(key)? {
            return Ok(value);
        }
        let made = make();
        loop {
            if self.exchange(key, None, Some(&made))? {
                return Ok(made);
            }
            if let Some(value) = self.get(key)? {
                return Ok(value);
            }
        }
    }

    /// The entry with the smallest key.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn first_key_value(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.iter().next().transpose()
    }

    /// The entry with the largest key.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn last_key_value(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.iter().next_back().transpose()
    }

    /// Removes the entry with the smallest key. No two calls return the same entry.
    ///
    /// LINEARIZES: at the CAS that removes it; a smaller key that was inserted after the page was
    /// read may then be there.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn pop_first(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(Iterator::next)
    }

    /// Removes the entry with the largest key. As [`pop_first`](Self::pop_first).
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn pop_last(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(DoubleEndedIterator::next_back)
    }

    fn pop(
        &self,
        end: impl Fn(&mut Range) -> Option<Result<(Bytes, Bytes)>>,
    ) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            let Some((key, _)) = end(&mut self.iter()).transpose()? else { return Ok(None) };
            if let Some(value) = self.remove(&key)? {
                return Ok(Some((key, value)));
            }
        }
    }

    /// The entries whose keys lie in `range`, in order, from both ends. A range whose start lies
    /// behind its end is empty.
    pub fn range<B: AsRef<[u8]>>(&self, range: impl RangeBounds<B>) -> Range {
        let bytes = |bound: Bound<&B>| bound.map(|key| key.as_ref().to_vec());
        self.cursor((bytes(range.start_bound()), bytes(range.end_bound())))
    }

    /// All entries, in order, from both ends.
    pub fn iter(&self) -> Range {
        self.cursor((Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries whose keys begin with `prefix`, in order, from both ends.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        self.cursor(prefix_range(prefix.as_ref()))
    }

    fn cursor(&self, range: crate::engine::Range) -> Range {
        let (inner, core) = (Arc::clone(&self.inner), Arc::clone(&self.core));
        Range::new(inner, core, Arc::clone(&self.name), range)
    }

    /// Removes every entry whose key lies in `range`, one after the other, and returns how many
    /// there were.
    ///
    /// # Errors
    /// See [`Tree`]. What was removed before stays removed.
    pub fn remove_range<B: AsRef<[u8]>>(&self, range: impl RangeBounds<B>) -> Result<u64> {
        let mut removed = 0;
        for entry in self.range(range) {
            removed += u64::from(self.delete(entry?.0)?);
        }
        Ok(removed)
    }

    /// Removes every entry, one after the other. Entries inserted meanwhile may stay.
    ///
    /// # Errors
    /// See [`Tree`].
    pub fn clear(&self) -> Result<()> {
        self.check()?;
        self.inner.check_writable()?;
        super::value::clear(&self.inner.engine, &self.core)?;
        self.inner.after_write(0)
    }

    /// How many entries there are: `O(1)`. It lags behind operations that are under way, and is
    /// exact after a crash.
    pub fn len(&self) -> u64 {
        self.core.len()
    }

    /// Whether there are no entries. As [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl IntoIterator for &Tree {
    type Item = Result<(Bytes, Bytes)>;
    type IntoIter = Range;

    fn into_iter(self) -> Range {
        self.iter()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({:?}, {} entries)", self.name, self.len())
    }
}
