//! The neighbours of a key and the ends of a range, and taking these away.

use super::bounds::ByteRange;
use super::tree::Tree;
use super::value::{Read, check_key};
use crate::engine::{End, Span};
use crate::error::{Error, Result};
use bytes::Bytes;
use std::ops::Bound;

/// Every key.
const ALL: Span<'static> = (Bound::Unbounded, Bound::Unbounded);

/// An entry as it was found: its key, its value as it lies in its page, and that value.
type Outermost = (Bytes, Read, Bytes);

impl Tree {
    /// The entry at one end of a range.
    ///
    /// A value in the log that was replaced or moved since it was seen can be gone when it is to be
    /// loaded: then the search begins anew. What is seen again and gone again is damage.
    fn outermost(&self, span: Span<'_>, end: End) -> Result<Option<Outermost>> {
        self.check()?;
        let engine = &self.inner.engine;
        let mut gone = None;
        loop {
            let found = engine.end_of(&self.core, span, end, |key, found| {
                (Bytes::from(key.to_vec()), Read::of(found))
            });
            let found = self.named(found)?;
            let Some((key, seen)) = found else { return Ok(None) };
            match seen.clone().load(engine) {
                Err(Error::Log(lss::Error::Gone { address })) if gone != Some(address) => {
                    gone = Some(address);
                }
                value => {
                    let value = self.loaded(&key, value)?;
                    return Ok(Some((key, seen, value)));
                }
            }
        }
    }

    fn end_of(&self, span: Span<'_>, end: End) -> Result<Option<(Bytes, Bytes)>> {
        Ok(self.outermost(span, end)?.map(|(key, _, value)| (key, value)))
    }

    /// Takes the entry at one end of a range away.
    fn pop(&self, span: Span<'_>, end: End) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            let Some((key, seen, value)) = self.outermost(span, end)? else { return Ok(None) };
            if self.exchange(&key, Some(&seen), None)? {
                return Ok(Some((key, value)));
            }
        }
    }

    /// The entry with the largest key below `key`.
    ///
    /// LINEARIZES: at the load of the word of the page that has the entry, or that is the last one
    /// in which it could be. Pages without an entry of the range that were passed on the way are
    /// looked at again; if one has changed, the search begins anew.
    ///
    /// Cost: as of one key for each page that is looked at, one unless pages have run empty.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("c", "2")?;
    /// assert_eq!(tree.lt("c")?, Some(("a".into(), "1".into())));
    /// assert_eq!(tree.lt("a")?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_lt")]
    #[doc(alias = "predecessor")]
    pub fn lt(&self, key: impl AsRef<[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let key = key.as_ref();
        check_key(key)?;
        self.end_of((Bound::Unbounded, Bound::Excluded(key)), End::Last)
    }

    /// The entry of `key`, or else the one with the largest key below.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("c", "2")?;
    /// assert_eq!(tree.le("b")?, Some(("a".into(), "1".into())));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_le")]
    #[doc(alias = "floor")]
    pub fn le(&self, key: impl AsRef<[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let key = key.as_ref();
        check_key(key)?;
        self.end_of((Bound::Unbounded, Bound::Included(key)), End::Last)
    }

    /// The entry with the smallest key above `key`.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("c", "2")?;
    /// assert_eq!(tree.gt("a")?, Some(("c".into(), "2".into())));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_gt")]
    #[doc(alias = "successor")]
    pub fn gt(&self, key: impl AsRef<[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let key = key.as_ref();
        check_key(key)?;
        self.end_of((Bound::Excluded(key), Bound::Unbounded), End::First)
    }

    /// The entry of `key`, or else the one with the smallest key above.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// tree.put("c", "2")?;
    /// assert_eq!(tree.ge("b")?, Some(("c".into(), "2".into())));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_ge")]
    #[doc(alias = "ceiling")]
    pub fn ge(&self, key: impl AsRef<[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let key = key.as_ref();
        check_key(key)?;
        self.end_of((Bound::Included(key), Bound::Unbounded), End::First)
    }

    /// The entry with the smallest key.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.first_key_value()?, Some(("a".into(), "1".into())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn first_key_value(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.end_of(ALL, End::First)
    }

    /// The entry with the largest key.
    ///
    /// LINEARIZES: as [`lt`](Self::lt); the same cost.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.last_key_value()?, Some(("a".into(), "1".into())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn last_key_value(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.end_of(ALL, End::Last)
    }

    /// Removes the entry with the smallest key, and returns it.
    ///
    /// Not one step, but two: at the first the entry is the one with the smallest key, at the
    /// second it is removed if it still has the value that was seen; else both are done again. A
    /// smaller key that another thread inserts between the two stays. No two calls return the same
    /// entry.
    ///
    /// LINEARIZES: the look as [`first_key_value`](Self::first_key_value), the removal at the CAS
    /// of the leaf's page word. `None`, which is one step, as the look.
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.pop_first()?, Some(("a".into(), "1".into())));
    /// assert_eq!(tree.pop_first()?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pop_first(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(ALL, End::First)
    }

    /// Removes the entry with the largest key, and returns it. As [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.pop_last()?, Some(("a".into(), "1".into())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pop_last(&self) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(ALL, End::Last)
    }

    /// Removes the entry with the smallest key that lies in `range`, and returns it. As
    /// [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("005", "early")?;
    /// tree.put("070", "late")?;
    /// assert_eq!(tree.pop_first_in(.."060")?, Some(("005".into(), "early".into())));
    /// assert_eq!(tree.pop_first_in(.."060")?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "pop_first_in_range")]
    pub fn pop_first_in(&self, range: impl ByteRange) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(range.bounds(), End::First)
    }

    /// Removes the entry with the largest key that lies in `range`, and returns it. As
    /// [`pop_first`](Self::pop_first).
    ///
    /// LINEARIZES: as [`pop_first`](Self::pop_first).
    ///
    /// # Errors
    /// See [`Tree`].
    ///
    /// ```
    /// # fn main() -> bwtree::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
    /// tree.put("a", "1")?;
    /// assert_eq!(tree.pop_last_in(.."b")?, Some(("a".into(), "1".into())));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "pop_last_in_range")]
    pub fn pop_last_in(&self, range: impl ByteRange) -> Result<Option<(Bytes, Bytes)>> {
        self.pop(range.bounds(), End::Last)
    }
}
