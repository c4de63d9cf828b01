//! Many keys removed, one after the other, or by whole pages. Each removal of a key or a page is
//! one step; all of them together are not.

use super::bounds::ByteRange;
use super::range::Walk;
use super::tree::Tree;
use super::value::Read;
use crate::damage::KeyRange;
use crate::engine::{End, Unread};
use crate::error::{Error, Result};
use crate::paging::empty::{Emptied, is_inside};
use crate::paging::mend;
use bytes::Bytes;
use core::fmt;
use core::iter::FusedIterator;

impl Tree {
    /// Removes every entry of which `keep` says no, one after the other.
    ///
    /// An entry is removed only if it still has the value that `keep` has seen; if that has
    /// changed, `keep` runs again, on the new one. It runs unpinned. If it panics, what was removed
    /// before stays removed. Entries inserted meanwhile may be passed over. With
    /// [`SyncPolicy::Always`](crate::SyncPolicy::Always) one sync makes all removals durable.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// # Errors
    /// See [`Tree`]. What was removed before stays removed.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("b", "2")?;
    /// tree.retain(|_, value| value == b"2")?;
    /// assert_eq!(tree.first_key_value()?.unwrap().0, "b");
    /// # Ok(())
    /// # }
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.check()?;
        self.inner.check_writable()?;
        let mut walk = Walk::new(self, ..);
        let mut retain = || -> Result<()> {
            while let Some((key, seen)) = walk.read(End::First)? {
                if self.remove_if(&key, seen, |key, value| !keep(key, value))?.is_some() {
                    self.inner.after_one_of_many(key.len())?;
                }
            }
            Ok(())
        };
        self.inner.after_many(retain())
    }

    /// An iterator that removes the entries in `range` of which `wanted` says yes, and gives them.
    ///
    /// It removes an entry when it gives it, not before: what is not asked for stays, and so does
    /// everything else once the iterator is dropped. An entry is removed only if it still has the
    /// value that `wanted` has seen; if that has changed, `wanted` runs again, on the new one. It
    /// runs unpinned. If it panics, what was given before stays removed. It ends with the first
    /// error.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("b", "2")?;
    /// tree.put("c", "1")?;
    /// let mut ones = tree.extract_if("b".., |_, value| value == b"1");
    /// assert_eq!(ones.next().unwrap()?.0, "c");
    /// assert!(ones.next().is_none());
    /// assert_eq!(tree.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn extract_if<F>(&self, range: impl ByteRange, wanted: F) -> ExtractIf<F>
    where
        F: FnMut(&[u8], &[u8]) -> bool,
    {
        ExtractIf { walk: Walk::new(self, range), wanted }
    }

    /// Removes `key` if `wanted` says so of the value that it has: `seen` first, then whatever has
    /// come in its place. It is left to the caller when that is synced.
    fn remove_if(
        &self,
        key: &[u8],
        mut seen: Read,
        mut wanted: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Bytes>> {
        let mut loaded = match seen.clone().load(&self.inner.engine) {
            // It was replaced or moved since: there may be another one.
            Err(Error::Log(lss::Error::Gone { .. })) => None,
            loaded => Some(self.loaded(key, loaded)?),
        };
        let mut agreed: Option<Bytes> = None;
        loop {
            let value = match loaded.take() {
                Some(value) => value,
                None => match self.look(key)? {
                    (Some(now), Some(value)) => {
                        seen = now;
                        value
                    }
                    _ => return Ok(None),
                },
            };
            // The same value at another place, as when its page was evicted, is no other value.
            if agreed.as_ref() != Some(&value) && !wanted(key, &value) {
                return Ok(None);
            }
            agreed = Some(value.clone());
            if self.take_out_if(key, &seen)? {
                return Ok(Some(value));
            }
        }
    }

    /// Removes every entry whose key is in `range`, and returns how many there were. Entries
    /// inserted concurrently may stay. With [`SyncPolicy::Always`](crate::SyncPolicy::Always) one
    /// sync makes all removals durable.
    ///
    /// Leaf pages all of whose keys are in the range are emptied as a whole, in a few microseconds
    /// each, and without being read: `O(pages)`. Other keys are removed one by one, first of all
    /// those of the pages at both ends of the range. A page that is not in memory is read all the
    /// same if it was not in memory since the store was opened, or if its entries are not counted
    /// (see [`len`](Self::len)). The space is given back in the background, after the next commit.
    ///
    /// An emptied page is one write for
    /// [`SyncPolicy::EveryWrites`](crate::SyncPolicy::EveryWrites).
    ///
    /// No commit begins while up to 128 pages are emptied; nothing is read or written meanwhile.
    /// For 32 pages or more the removal waits for the commit that is under way.
    ///
    /// A damaged page all of whose keys are in the range is given up without being read: an empty
    /// one takes its place, and its keys can be written again. [`Error::Damaged`] says which keys
    /// that are. It had as many entries as were counted, see [`len`](Self::len).
    ///
    /// LINEARIZES: for a page that is emptied at the CAS of its page word, for any other key at the
    /// CAS of its leaf's; all together are not one step. A crash leaves all of a page or nothing,
    /// and what was written before the removal of each page that is empty then.
    ///
    /// # Errors
    /// See [`Tree`]. What was removed before stays removed.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("b", "2")?;
    /// assert_eq!(tree.remove_range("b"..)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_range(&self, range: impl ByteRange) -> Result<u64> {
        self.check()?;
        self.inner.check_writable()?;
        let removed = self.remove_all(Unread::of(range.bounds(), self.core.layout));
        self.inner.after_many(removed.map(|removed| removed + self.give_back_strays()))
    }

    /// Gives back what is left over of a tree whose damaged keys were all given up, and returns how
    /// many entries that had. What goes wrong with it a cleaning does again.
    fn give_back_strays(&self) -> u64 {
        let engine = &self.inner.engine;
        if !engine.may_have_strays() {
            return 0;
        }
        engine.give_back_strays(&self.core).unwrap_or(0)
    }

    fn remove_all(&self, mut rest: Option<Unread>) -> Result<u64> {
        let mut removed = 0;
        while let Some(Unread::Bytes(start, end)) = rest {
            let emptied = self.inner.engine.empty_some(&self.core, &start, end.as_deref());
            let Emptied { leaves, entries, left, rest: next } = self.named(emptied)?;
            removed += entries;
            // For the policy each is one write.
            (0..leaves).try_for_each(|_| self.inner.after_one_of_many(0))?;
            for keys in left {
                removed += self.remove_each(Some(keys))?;
            }
            rest = next;
        }
        Ok(removed)
    }

    fn remove_each(&self, mut rest: Option<Unread>) -> Result<u64> {
        let mut removed = 0;
        while let Some(unread) = rest.take() {
            let done = self.keys_of(Some(unread.clone())).try_for_each(|key| {
                let key = key?;
                removed += u64::from(self.take_out(&key)?);
                self.inner.after_one_of_many(key.len())
            });
            if let Err(error) = done {
                let (given_up, unread) = self.give_up(error, &unread)?;
                removed += given_up;
                rest = unread;
            }
        }
        Ok(removed)
    }

    /// Gives up the damaged page that a removal has met, if all its keys are to go; else returns
    /// the error. Returns how many entries it had, and what is left of the range.
    fn give_up(&self, error: Error, unread: &Unread) -> Result<(u64, Option<Unread>)> {
        let (Error::Damaged { found }, Unread::Bytes(start, end)) = (&error, unread) else {
            return Err(error);
        };
        let range = (start.as_slice(), end.as_deref());
        let damage = found.first();
        let keys = damage.and_then(|damage| damage.keys.as_ref());
        let within = |keys: &&KeyRange| is_inside((&keys.first, keys.end.as_deref()), range);
        let Some((damage, keys)) = damage.zip(keys.filter(within)) else { return Err(error) };
        let page = damage.page();
        // All before the page is gone, and what was put to it without reading it is there still.
        let rest = Unread::bytes_from(&keys.first, end.as_deref());
        let is_meant = |low: &[u8], high: Option<&[u8]>| is_inside((low, high), range);
        let engine = &self.inner.engine;
        let changing = engine.store.at_rest();
        let given_up = mend::give_up(engine, &self.core, page, error.clone(), &[], is_meant);
        drop(changing);
        // If nothing was, another thread was faster, or it can be read after all.
        Ok((self.named(given_up)?.unwrap_or(0), rest))
    }

    /// Removes every entry, as [`remove_range`](Self::remove_range) does: page by page. Entries
    /// inserted concurrently may stay. Damaged pages are given up, and it syncs as that does.
    ///
    /// LINEARIZES: each page at the CAS of its page word; all together are not one step.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.clear()?;
    /// assert!(tree.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.remove_range(..).map(drop)
    }
}

/// Removes entries of a [`Tree`] and gives them, from both ends; see [`Tree::extract_if`].
#[must_use = "it removes what it gives, and gives what it is asked for"]
pub struct ExtractIf<F> {
    walk: Walk<Read>,
    wanted: F,
}

impl<F: FnMut(&[u8], &[u8]) -> bool> ExtractIf<F> {
    fn removed(&mut self, end: End) -> Result<Option<(Bytes, Bytes)>> {
        if self.walk.is_over() {
            return Ok(None);
        }
        // Before anything is taken out: what is not said to be removed is not.
        self.walk.tree.check()?;
        while let Some((key, seen)) = self.walk.read(end)? {
            let tree = &self.walk.tree;
            if let Some(value) = tree.remove_if(&key, seen, &mut self.wanted)? {
                tree.inner.after_write(key.len())?;
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl<F: FnMut(&[u8], &[u8]) -> bool> Iterator for ExtractIf<F> {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let removed = self.removed(End::First);
        self.walk.checked(removed)
    }

    /// Nothing is known in advance but the end.
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<F: FnMut(&[u8], &[u8]) -> bool> DoubleEndedIterator for ExtractIf<F> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let removed = self.removed(End::Last);
        self.walk.checked(removed)
    }
}

impl<F: FnMut(&[u8], &[u8]) -> bool> FusedIterator for ExtractIf<F> {}

impl<F> fmt::Debug for ExtractIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtractIf of {:?}", self.walk.tree.name)
    }
}
