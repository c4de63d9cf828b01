//! What a scan has read of one page.

use super::scan::ScanFrom;
use delta::KeyRef;

/// What one page gave: entries in ascending order, taken from both ends.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    keys: Keys,
    values: std::vec::IntoIter<T>,
    /// How many entries were taken from the front.
    front: usize,
    /// Where to go on; `None` if the range ends here.
    pub(crate) next: Option<ScanFrom>,
}

/// Keys in order, in one piece of memory.
#[derive(Debug)]
pub(crate) enum Keys {
    Numbers(Vec<[u8; 8]>),
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
            Self::Numbers(numbers) => {
                let mut number = [0; 8];
                key.copy_to(&mut number);
                numbers.push(number);
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Bytes { ends, .. } => ends.len(),
        }
    }

    #[inline]
    fn get(&self, at: usize) -> &[u8] {
        match self {
            Self::Numbers(numbers) => &numbers[at],
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
        debug_assert_eq!(keys.len(), values.len());
        Self { keys, values: values.into_iter(), front: 0, next }
    }

    pub(crate) fn empty(next: Option<ScanFrom>) -> Self {
        Self::new(Keys::Numbers(Vec::new()), Vec::new(), next)
    }

    /// Whether every entry has been taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    #[inline]
    pub(crate) fn pop_first(&mut self) -> Option<(&[u8], T)> {
        let value = self.values.next()?;
        self.front += 1;
        Some((self.keys.get(self.front - 1), value))
    }

    #[inline]
    pub(crate) fn pop_last(&mut self) -> Option<(&[u8], T)> {
        let value = self.values.next_back()?;
        Some((self.keys.get(self.front + self.values.len()), value))
    }

    /// The key that was last taken from the front.
    #[inline]
    pub(crate) fn taken_first(&self) -> Option<&[u8]> {
        (self.front > 0).then(|| self.keys.get(self.front - 1))
    }

    /// The key that was last taken from the back.
    #[inline]
    pub(crate) fn taken_last(&self) -> Option<&[u8]> {
        let at = self.front + self.values.len();
        (at < self.keys.len()).then(|| self.keys.get(at))
    }
}
