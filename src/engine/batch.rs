//! What a scan has read of one page.

use super::Found;
use super::scan::ScanFrom;
use delta::KeyRef;

/// What one page gave: entries in ascending order, taken from both ends.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// Entries whose values lie in their rows; then there are no others.
    rows: Vec<[u8; 16]>,
    keys: Keys,
    values: std::vec::IntoIter<T>,
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
    Bytes {
        bytes: Vec<u8>,
        /// Where each key ends.
        ends: Vec<u32>,
    },
}

impl Keys {
    /// No keys, and memory for some of any length.
    pub(crate) fn of_bytes() -> Self {
        Self::Bytes { bytes: Vec::new(), ends: Vec::new() }
    }

    pub(crate) fn push(&mut self, key: KeyRef<'_>) {
        match self {
            Self::Bytes { bytes, ends } => {
                key.extend_into(bytes);
                ends.push(bytes.len() as u32);
            }
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
            Self::Bytes { ends, .. } => ends.len(),
        }
    }

    #[inline]
    fn get(&self, at: usize) -> &[u8] {
        match self {
            Self::Rows(rows) => &rows[at][..8],
            Self::Bytes { bytes, ends } => {
                let start = if at == 0 { 0 } else { ends[at - 1] as usize };
                &bytes[start..ends[at] as usize]
            }
        }
    }
}

impl<T> Batch<T> {
    /// As many values as keys.
    pub(crate) fn new(keys: Keys, values: Vec<T>, next: Option<ScanFrom>) -> Self {
        debug_assert!(values.len() == keys.len());
        let left = 0..keys.len();
        Self { rows: Vec::new(), keys, values: values.into_iter(), left, next }
    }

    /// Entries whose values are to be made of their rows when they are taken.
    pub(crate) fn of_rows(rows: Vec<[u8; 16]>, next: Option<ScanFrom>) -> Self {
        let (left, keys) = (0..rows.len(), Keys::Rows(Vec::new()));
        Self { rows, keys, values: Vec::new().into_iter(), left, next }
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
            None => self.values.next()?,
        };
        Some((self.key(at), value))
    }

    /// The next entry from the back.
    pub(crate) fn pop_last(&mut self, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let at = self.left.next_back()?;
        let value = match self.rows.get(at) {
            Some(row) => keep(Found { flags: 0, value: &row[8..] }),
            None => self.values.next_back()?,
        };
        Some((self.key(at), value))
    }

    fn key(&self, at: usize) -> &[u8] {
        self.rows.get(at).map_or_else(|| self.keys.get(at), |row| &row[..8])
    }

    /// The key that was last taken from the front.
    pub(crate) fn taken_first(&self) -> Option<&[u8]> {
        self.left.start.checked_sub(1).map(|at| self.key(at))
    }

    /// The key that was last taken from the back.
    pub(crate) fn taken_last(&self) -> Option<&[u8]> {
        (self.left.end < self.keys.len().max(self.rows.len())).then(|| self.key(self.left.end))
    }
}
