//! Ranges of a tree, from both ends. They own what they need, and hold no pin between two steps.

use super::bounds::ByteRange;
use super::tree::Tree;
use super::value::Read;
use crate::engine::{Batch, Cursor, End, Found, Now, Shown, Unread, Wish};
use crate::error::{Error, Result};
use bytes::Bytes;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::ControlFlow;

/// A range that is being read. `T` is what is kept of a value. It ends with the first error: who
/// goes over the errors, as `flatten` does, comes to an end as well.
#[derive(Clone)]
pub(super) struct Walk<T> {
    pub(super) tree: Tree,
    cursor: Cursor<T>,
    failed: bool,
}

impl<T> Walk<T> {
    pub(super) fn new(tree: &Tree, range: impl ByteRange) -> Self {
        Self::of(tree, Unread::of(range.bounds(), tree.core.layout))
    }

    fn of(tree: &Tree, unread: Option<Unread>) -> Self {
        // What is kept of a value that lies in its page is a copy, which no pin protects.
        Self { tree: tree.clone(), cursor: Cursor::new(unread, true), failed: false }
    }

    /// The next key from this end, and what `keep`, which runs pinned, has kept of its value.
    fn next(&mut self, end: End, keep: impl Fn(Found<'_>) -> T) -> Result<Option<(Bytes, T)>> {
        if self.failed {
            return Ok(None);
        }
        let tree = &self.tree;
        let fetch = |unread: &_, wish| tree.page(unread, wish, &keep);
        let make = |key: &[u8], value| (Bytes::copy_from_slice(key), value);
        self.cursor.next(end, fetch, &keep, make)
    }

    /// Ends the walk if this is an error.
    pub(super) fn checked<R>(&mut self, entry: Result<Option<R>>) -> Option<Result<R>> {
        self.failed |= entry.is_err();
        entry.transpose()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.failed || self.cursor.is_finished()
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.is_over().then_some(0))
    }
}

impl Walk<Read> {
    /// The next entry from this end: its key, and its value as it lies in its page.
    pub(super) fn read(&mut self, end: End) -> Result<Option<(Bytes, Read)>> {
        self.next(end, Read::of)
    }

    fn entry(&mut self, end: End) -> Result<Option<(Bytes, Bytes)>> {
        while let Some((key, seen)) = self.read(end)? {
            if let Some(value) = loaded(&self.tree, &key, seen)? {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }

    /// Lends every entry that is left, in order, until `see` breaks off.
    fn scan<B>(
        mut self,
        mut see: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        let tree = &self.tree;
        let fetch = |unread: &_, wish| tree.page(unread, wish, Read::of);
        let shown = self.cursor.each(fetch, |(key, len), value| {
            let key = &key[..len];
            let seen = match value {
                Shown::Beside(value) => return see(key, value).map_break(Ok),
                Shown::Read(seen) => seen,
            };
            match loaded(tree, key, seen) {
                Ok(Some(value)) => see(key, &value).map_break(Ok),
                Ok(None) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        })?;
        match shown {
            ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
            ControlFlow::Break(broken) => broken.map(ControlFlow::Break),
        }
    }
}

/// The bytes of a value that was seen; `None` if its key is gone.
fn loaded(tree: &Tree, key: &[u8], seen: Read) -> Result<Option<Bytes>> {
    match seen.load(&tree.inner.engine) {
        // It was replaced or moved since: the entry's moment is now, if it still is there.
        Err(Error::Log(lss::Error::Gone { .. })) => Ok(tree.look(key)?.1),
        loaded => tree.loaded(key, loaded).map(Some),
    }
}

impl Tree {
    /// Reads a page of a range; `keep` runs pinned.
    fn page<T>(
        &self,
        unread: &Unread,
        wish: Wish,
        keep: impl Fn(Found<'_>) -> T,
    ) -> Result<(Batch<T>, Option<Unread>)> {
        self.check()?;
        self.named(self.inner.engine.scan_page(&self.core, (unread, Now), wish, keep))
    }
}

/// The entries of a range of a [`Tree`], in order, from both ends.
///
/// Each entry is seen at its own moment: at the load of the word of its page; none twice, and all
/// that were there throughout. It holds a copy of what it read of one page, and no pin, so it can
/// be kept for as long as one likes. It ends with the first error. A clone has copies of what was
/// read, and goes on by itself.
#[derive(Clone)]
pub struct Range {
    walk: Walk<Read>,
}

/// The keys of a [`Tree`], in order, from both ends. As [`Range`], but values are not looked at.
#[derive(Clone)]
pub struct Keys {
    walk: Walk<()>,
}

/// The values of a [`Tree`] in the order of their keys, from both ends. As [`Range`].
#[derive(Clone)]
pub struct Values {
    walk: Walk<Read>,
}

macro_rules! iterators {
    ($($name:ident: $item:ty, $walk:ident, $end:ident => $next:expr;)*) => {$(
        impl $name {
            fn step(&mut self, $end: End) -> Option<Result<$item>> {
                let $walk = &mut self.walk;
                let entry = $next;
                self.walk.checked(entry)
            }
        }

        impl Iterator for $name {
            type Item = Result<$item>;

            fn next(&mut self) -> Option<Self::Item> {
                self.step(End::First)
            }

            /// Nothing is known in advance but the end.
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.walk.size_hint()
            }
        }

        impl DoubleEndedIterator for $name {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.step(End::Last)
            }
        }

        impl FusedIterator for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} of {:?}", stringify!($name), self.walk.tree.name)
            }
        }
    )*};
}

iterators! {
    Range: (Bytes, Bytes), walk, end => walk.entry(end);
    Keys: Bytes, walk, end => walk.next(end, |_| ()).map(|entry| entry.map(|(key, ())| key));
    Values: Bytes, walk, end => walk.entry(end).map(|entry| entry.map(|(_, value)| value));
}

impl Tree {
    /// The entries whose keys lie in `range`, in order, from both ends. A range whose start lies
    /// behind its end is empty. Reads nothing yet.
    ///
    /// LINEARIZES: each entry at the load of the word of its page; all together are not one step.
    ///
    /// Cost: `O(log n)` for each page, `O(1)` for each entry in it; a read of the log for a page
    /// that is away, and one for a value above 1 KiB that is.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("b", "2")?;
    /// let (key, value) = tree.range("b"..).next().unwrap()?;
    /// assert_eq!((key.as_ref(), value.as_ref()), (b"b".as_slice(), b"2".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl ByteRange) -> Range {
        Range { walk: Walk::new(self, range) }
    }

    /// Shows the entries whose keys lie in `range` to `see`, in order, until it breaks off; returns
    /// what it broke off with. A range whose start lies behind its end is empty.
    ///
    /// What [`range`](Self::range) gives as the caller's own is lent here, so that entries whose
    /// values are in their page cost no allocation. `see` is given what was copied out of a page,
    /// and holds nothing back: it may use the same tree, take as long as it likes, and panic. What
    /// it changes in a page that was read already, or is being shown, it does not see.
    ///
    /// LINEARIZES: each entry at the load of the word of its page; all together are not one step.
    ///
    /// Cost: as [`range`](Self::range).
    ///
    /// # Errors
    /// If a page or a value can't be read, or the tree was dropped. What was shown before stands.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// use std::ops::ControlFlow;
    ///
    /// tree.put("a", "1")?;
    /// tree.put("b", "22")?;
    /// let mut bytes = 0;
    /// let all = tree.scan("a".., |key, value| {
    ///     bytes += key.len() + value.len();
    ///     ControlFlow::<()>::Continue(())
    /// })?;
    /// assert!(all.is_continue() && bytes == 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan<B>(
        &self,
        range: impl ByteRange,
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        Walk::new(self, range).scan(see)
    }

    /// All entries, in order, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.iter().collect::<bwtree::Result<Vec<_>>>()?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Range {
        Range { walk: Walk::new(self, ..) }
    }

    /// The entries whose keys begin with `prefix`, in order, from both ends. As
    /// [`range`](Self::range).
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("job-1", "1")?;
    /// tree.put("task-1", "2")?;
    /// assert_eq!(tree.prefix("job-").count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        let unread = Unread::prefixed(prefix.as_ref(), self.core.layout);
        Range { walk: Walk::of(self, unread) }
    }

    /// All keys, in order, from both ends. As [`range`](Self::range), but values are not looked
    /// at, nor read from the log.
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("b", "2")?;
    /// tree.put("a", "1")?;
    /// let keys = tree.keys().collect::<bwtree::Result<Vec<_>>>()?;
    /// assert_eq!(keys, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(&self) -> Keys {
        Keys { walk: Walk::new(self, ..) }
    }

    /// The keys of a range of which this is left.
    pub(super) fn keys_of(&self, unread: Option<Unread>) -> Keys {
        Keys { walk: Walk::of(self, unread) }
    }

    /// All values, in the order of their keys, from both ends. As [`range`](Self::range).
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("b", "2")?;
    /// tree.put("a", "1")?;
    /// let values = tree.values().rev().collect::<bwtree::Result<Vec<_>>>()?;
    /// assert_eq!(values, ["2", "1"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(&self) -> Values {
        Values { walk: self.iter().walk }
    }
}

impl IntoIterator for &Tree {
    type Item = Result<(Bytes, Bytes)>;
    type IntoIter = Range;

    fn into_iter(self) -> Range {
        self.iter()
    }
}
