//! What a scan has read of one page.

use super::Found;
use super::scan::ScanFrom;
use delta::KeyRef;

/// What one page gave: entries in ascending order, taken from both ends.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    keys: Keys,
    /// None, if they lie in the rows.
    values: std::vec::IntoIter<T>,
    /// The entries that have not been taken.
    left: std::ops::Range<usize>,
    /// Where to go on; `None` if the range ends here.
    pub(crate) next: Option<ScanFrom>,
}

/// Keys in order, in one piece of memory.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Of numbers, each with the eight bytes of its value.
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
    /// As many values as keys; or none, if they are to be made of the rows.
    pub(crate) fn new(keys: Keys, values: Vec<T>, next: Option<ScanFrom>) -> Self {
        debug_assert!(values.is_empty() || values.len() == keys.len());
        Self { left: 0..keys.len(), keys, values: values.into_iter(), next }
    }

    pub(crate) fn empty(next: Option<ScanFrom>) -> Self {
        Self::new(Keys::Rows(Vec::new()), Vec::new(), next)
    }

    /// Whether every entry has been taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next entry from the front. `keep` makes a value that lies in its row.
    #[inline]
    pub(crate) fn pop_first(&mut self, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let at = self.left.next()?;
        if let (Keys::Rows(rows), 0) = (&self.keys, self.values.len()) {
            let (key, value) = rows[at].split_at(8);
            return Some((key, keep(Found { flags: 0, value })));
        }
        Some((self.keys.get(at), self.values.next()?))
    }

    /// The next entry from the back.
    pub(crate) fn pop_last(&mut self, keep: impl Fn(Found<'_>) -> T) -> Option<(&[u8], T)> {
        let at = self.left.next_back()?;
        if let (Keys::Rows(rows), 0) = (&self.keys, self.values.len()) {
            let (key, value) = rows[at].split_at(8);
            return Some((key, keep(Found { flags: 0, value })));
        }
        Some((self.keys.get(at), self.values.next_back()?))
    }

    /// The key that was last taken from the front.
    pub(crate) fn taken_first(&self) -> Option<&[u8]> {
        self.left.start.checked_sub(1).map(|at| self.keys.get(at))
    }

    /// The key that was last taken from the back.
    pub(crate) fn taken_last(&self) -> Option<&[u8]> {
        (self.left.end < self.keys.len()).then(|| self.keys.get(self.left.end))
    }
}
