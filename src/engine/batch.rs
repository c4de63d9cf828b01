//! What a scan has read of one page.

use super::{End, Found};
use delta::{Items, KeyRef};
use std::ops::{ControlFlow, Range};
use std::vec;
use types::PageId;

/// What one page gave: entries in ascending order, taken from both ends.
#[derive(Debug, Clone)]
pub(crate) struct Batch<T> {
    /// Entries whose values lie in their rows; then there are no others.
    rows: vec::IntoIter<[u8; 16]>,
    read: Option<Box<Entries<T>>>,
}

/// Entries whose values were read.
#[derive(Debug, Clone)]
struct Entries<T> {
    keys: Keys,
    values: vec::IntoIter<T>,
    /// The values are to be made of what lies beside the keys; then there are no others.
    beside: bool,
    /// The entries that have not been taken.
    left: Range<usize>,
    /// The page that is likely to have what comes next, or none.
    near: PageId,
}

/// Keys in order, in one piece of memory.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// Of numbers, each in the first half of a row.
    Rows(Vec<[u8; 16]>),
    /// Of any length. Apart, so that those of numbers are moved about at less cost.
    Items(Items),
}

impl Keys {
    /// No keys yet, of any length.
    pub(crate) fn of_bytes() -> Self {
        Self::Items(Items::default())
    }

    pub(crate) fn push(&mut self, key: KeyRef<'_>) {
        match self {
            Self::Items(items) => items.push(key),
            Self::Rows(rows) => {
                let mut row = [0; 16];
                key.copy_to(&mut row);
                rows.push(row);
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Items(items) => items.len(),
        }
    }

    /// The same in one piece.
    #[inline]
    fn whole(&mut self, at: usize) -> &[u8] {
        match self {
            Self::Rows(rows) => &rows[at][..8],
            Self::Items(items) => items.whole_key(at),
        }
    }

    /// What lies beside the key as its value.
    #[inline]
    fn value(&self, at: usize) -> &[u8] {
        match self {
            Self::Rows(rows) => &rows[at][8..],
            Self::Items(items) => items.value(at),
        }
    }
}

impl<T> Batch<T> {
    /// As many values as keys.
    pub(crate) fn new(keys: Keys, values: Vec<T>) -> Self {
        debug_assert!(values.len() == keys.len());
        Self::read(keys, values, false)
    }

    /// Entries whose values are to be made of what lies beside their keys when they are taken.
    pub(crate) fn of_items(items: Items) -> Self {
        Self::read(Keys::Items(items), Vec::new(), true)
    }

    fn read(keys: Keys, values: Vec<T>, beside: bool) -> Self {
        let (left, values, near) = (0..keys.len(), values.into_iter(), PageId::NONE);
        let entries = Entries { keys, values, beside, left, near };
        Self { rows: Vec::new().into_iter(), read: Some(Box::new(entries)) }
    }

    /// Entries whose values are to be made of their rows when they are taken.
    #[inline]
    pub(crate) fn of_rows(rows: Vec<[u8; 16]>) -> Self {
        Self { rows: rows.into_iter(), read: None }
    }

    #[inline]
    pub(crate) fn empty() -> Self {
        Self::of_rows(Vec::new())
    }

    /// Notes which page is likely to have what comes next.
    pub(crate) fn go_on_at(&mut self, near: PageId) {
        if let Some(entries) = &mut self.read {
            entries.near = near;
        }
    }

    /// The page that was noted, or none.
    pub(crate) fn near(&self) -> PageId {
        self.read.as_ref().map_or(PageId::NONE, |entries| entries.near)
    }

    /// Whether every entry has been taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.as_slice().is_empty()
            && self.read.as_ref().is_none_or(|entries| entries.left.is_empty())
    }

    /// The next entry from this end, if it is one whose value lies in its row.
    #[inline]
    pub(crate) fn pop_row(&mut self, end: End) -> Option<[u8; 16]> {
        match end {
            End::First => self.rows.next(),
            End::Last => self.rows.next_back(),
        }
    }

    /// The next entry from this end, if it is no row. `keep` makes a value that was not read.
    pub(crate) fn pop(&mut self, end: End, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let Entries { keys, values, beside, left, .. } = self.read.as_deref_mut()?;
        let (at, value) = match end {
            End::First => (left.next()?, values.next()),
            End::Last => (left.next_back()?, values.next_back()),
        };
        let value = match value {
            None if *beside => keep(Found { flags: 0, value: keys.value(at) }),
            read => read?,
        };
        Some((keys.whole(at), value))
    }

    /// Shows the entries in order, from the first that was not taken on, until `see` breaks off: of
    /// each its key, which is so many bytes, with zeros behind it or not, and its value.
    #[inline]
    pub(crate) fn each<B>(
        &mut self,
        mut see: impl FnMut((&[u8], usize), Shown<'_, T>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for row in self.rows.by_ref() {
            let (key, value) = row.split_at(8);
            see((key, key.len()), Shown::Beside(value))?;
        }
        let Some(entries) = self.read.as_deref_mut() else { return ControlFlow::Continue(()) };
        let Entries { keys, values, beside, left, .. } = entries;
        match keys {
            Keys::Items(items) if *beside => {
                items.each(left, |key, value| see(key, Shown::Beside(value)))
            }
            Keys::Items(items) => items.each(left, |key, _| match values.next() {
                Some(read) => see(key, Shown::Read(read)),
                None => unreachable!("as many values as keys"),
            }),
            Keys::Rows(rows) => left
                .zip(values)
                .try_for_each(|(at, read)| see((&rows[at][..8], 8), Shown::Read(read))),
        }
    }
}

/// The value of an entry that is shown.
pub(crate) enum Shown<'b, T> {
    /// What was kept of it when its page was read.
    Read(T),
    /// The bytes that lay in the page.
    Beside(&'b [u8]),
}
