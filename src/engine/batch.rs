//! What a scan has read of one page.

use super::Found;
use super::scan::ScanFrom;
use delta::{Items, KeyRef};

/// What one page gave: entries in ascending order, taken from both ends.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// Entries whose values lie in their rows; then there are no others.
    rows: Vec<[u8; 16]>,
    keys: Keys,
    values: std::vec::IntoIter<T>,
    /// The values are to be made of what lies beside the keys; then there are no others.
    beside: bool,
    /// The entries that have not been taken.
    left: std::ops::Range<usize>,
    /// Where to go on; `None` if the range ends here.
    pub(crate) next: Option<ScanFrom>,
}

/// Keys in order, in one piece of memory.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Of numbers, each in the first half of a row.
    Rows(Vec<[u8; 16]>),
    /// Of any length. Apart, so that those of numbers are moved about at less cost.
    Items(Box<Items>),
}

impl Keys {
    /// No keys yet, of any length.
    pub(crate) fn of_bytes() -> Self {
        Self::Items(Box::default())
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

    fn get(&self, at: usize) -> KeyRef<'_> {
        match self {
            Self::Rows(rows) => KeyRef::from(&rows[at][..8]),
            Self::Items(items) => items.key(at),
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
    pub(crate) fn new(keys: Keys, values: Vec<T>, next: Option<ScanFrom>) -> Self {
        debug_assert!(values.len() == keys.len());
        let left = 0..keys.len();
        Self { rows: Vec::new(), keys, values: values.into_iter(), beside: false, left, next }
    }

    /// Entries whose values are to be made of their rows when they are taken.
    pub(crate) fn of_rows(rows: Vec<[u8; 16]>, next: Option<ScanFrom>) -> Self {
        let (left, keys) = (0..rows.len(), Keys::Rows(Vec::new()));
        Self { rows, keys, values: Vec::new().into_iter(), beside: false, left, next }
    }

    /// Entries whose values are to be made of what lies beside their keys when they are taken.
    pub(crate) fn of_items(items: Items, next: Option<ScanFrom>) -> Self {
        let (left, keys) = (0..items.len(), Keys::Items(Box::new(items)));
        Self { rows: Vec::new(), keys, values: Vec::new().into_iter(), beside: true, left, next }
    }

    pub(crate) fn empty(next: Option<ScanFrom>) -> Self {
        Self::of_rows(Vec::new(), next)
    }

    /// Whether every entry has been taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next entry from the front if it is a row. Not to be mixed with taking from the back.
    #[inline]
    pub(crate) fn pop_row(&mut self) -> Option<&[u8; 16]> {
        let row = self.rows.get(self.left.start)?;
        self.left.start += 1;
        Some(row)
    }

    /// The next entry from the front. `keep` makes a value that lies in its row.
    pub(crate) fn pop_first(&mut self, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let at = self.left.next()?;
        let value = match self.rows.get(at) {
            Some(row) => keep(Found { flags: 0, value: &row[8..] }),
            None if self.beside => keep(Found { flags: 0, value: self.keys.value(at) }),
            None => self.values.next()?,
        };
        Some((self.whole_key(at), value))
    }

    /// The next entry from the back.
    pub(crate) fn pop_last(&mut self, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let at = self.left.next_back()?;
        let value = match self.rows.get(at) {
            Some(row) => keep(Found { flags: 0, value: &row[8..] }),
            None if self.beside => keep(Found { flags: 0, value: self.keys.value(at) }),
            None => self.values.next_back()?,
        };
        Some((self.whole_key(at), value))
    }

    fn key(&self, at: usize) -> KeyRef<'_> {
        let row = self.rows.get(at);
        row.map_or_else(|| self.keys.get(at), |row| KeyRef::from(&row[..8]))
    }

    #[inline]
    fn whole_key(&mut self, at: usize) -> &[u8] {
        match self.rows.get(at) {
            Some(row) => &row[..8],
            None => self.keys.whole(at),
        }
    }

    /// The key that was last taken from the front.
    pub(crate) fn taken_first(&self) -> Option<KeyRef<'_>> {
        self.left.start.checked_sub(1).map(|at| self.key(at))
    }

    /// The key that was last taken from the back.
    pub(crate) fn taken_last(&self) -> Option<KeyRef<'_>> {
        (self.left.end < self.keys.len().max(self.rows.len())).then(|| self.key(self.left.end))
    }
}
