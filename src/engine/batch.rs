//! What a scan has read of one page.

use super::End;
use delta::KeyRef;
use std::ops::Range;
use std::vec;

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
    /// The keys of the values that have not been taken.
    left: Range<usize>,
}

/// Keys in order, in one piece of memory.
#[derive(Debug, Clone)]
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
    pub(crate) fn new(keys: Keys, values: Vec<T>) -> Self {
        debug_assert!(values.len() == keys.len());
        let left = 0..keys.len();
        let read = Some(Box::new(Entries { keys, values: values.into_iter(), left }));
        Self { rows: Vec::new().into_iter(), read }
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

    /// The next entry from this end, if it is one whose value was read.
    pub(crate) fn pop(&mut self, end: End) -> Option<(&[u8], T)> {
        let Entries { keys, values, left } = self.read.as_deref_mut()?;
        let (at, value) = match end {
            End::First => (left.next()?, values.next()?),
            End::Last => (left.next_back()?, values.next_back()?),
        };
        Some((keys.get(at), value))
    }
}
