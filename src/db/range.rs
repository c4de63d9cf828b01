//! `Range`: both ends of a range of a tree.

use super::Inner;
use super::value::{Read, look};
use crate::engine::{Batch, Cursor, Range as KeyRange, ScanFrom, TreeCore, Wish};
use crate::error::{Error, Result};
use bytes::Bytes;
use core::fmt;
use core::iter::FusedIterator;
use std::sync::Arc;

/// The entries of a range of a [`Tree`](super::Tree), in order, from both ends.
///
/// Each entry is seen at its own moment: at the load of the word of its page; none twice, and all
/// that were there throughout. It holds a copy of what it read of one page, and no pin, so it can
/// be kept for as long as one likes. After an error it gives the same error again and again.
pub struct Range {
    inner: Arc<Inner>,
    tree: Arc<TreeCore>,
    name: Arc<str>,
    cursor: Cursor<Read>,
    failed: Option<Error>,
}

/// Reads a page of the range.
type Fetch<'f> = &'f mut dyn FnMut(&ScanFrom, Wish<'_>) -> Result<Batch<Read>>;

impl Range {
    pub(crate) fn new(
        inner: Arc<Inner>,
        tree: Arc<TreeCore>,
        name: Arc<str>,
        range: KeyRange,
    ) -> Self {
        let cursor = Cursor::new(range, tree.layout);
        Self { inner, tree, name, cursor, failed: None }
    }

    fn step(
        &mut self,
        step: impl Fn(&mut Cursor<Read>, Fetch<'_>) -> Result<Option<(Bytes, Read)>>,
    ) -> Option<Result<(Bytes, Bytes)>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        let engine = &self.inner.engine;
        let (tree, name) = (&self.tree, &self.name);
        let mut fetch = |from: &ScanFrom, wish: Wish<'_>| {
            if tree.is_dropped() {
                return Err(Error::TreeDropped { name: name.to_string() });
            }
            engine.scan_page(tree, from, wish, Read::of)
        };
        let entry = loop {
            let (key, value) = match step(&mut self.cursor, &mut fetch) {
                Ok(Some(entry)) => entry,
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            };
            let value = match value.load(engine) {
                // It was replaced or moved since: the entry's moment is now, if it still is there.
                Err(Error::Log(lss::Error::Gone { .. })) => look(engine, tree, &key),
                loaded => loaded.map(|value| (None, Some(value))),
            };
            match value {
                Ok((_, Some(value))) => break Ok(Some((key, value))),
                Ok((_, None)) => {}
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &entry {
            self.failed = Some(error.clone());
        }
        entry.transpose()
    }
}

impl Iterator for Range {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(|cursor, fetch| {
            cursor.next(fetch, |key, value| (Bytes::copy_from_slice(key), value))
        })
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(|cursor, fetch| {
            cursor.next_back(fetch, |key, value| (Bytes::copy_from_slice(key), value))
        })
    }
}

impl FusedIterator for Range {}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Range of {:?}", self.name)
    }
}
