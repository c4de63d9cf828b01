//! One page of entries at a time, forward and back.
//!
//! A scan keeps no pin between pages. It copies what a page holds of its range at one moment, and
//! goes on by *key*, not by page: forward from the high key of the page it has read, back from the
//! low key. So a split or merge between two pages can neither hide an entry nor show it twice: each
//! entry is seen at its own moment, in order.

use super::{Covering, Engine, Found, Store, TreeCore, Wanted};
use delta::KeyRef;
use std::collections::VecDeque;
use std::ops::Bound;

/// Where a scan goes on.
#[derive(Debug, Clone)]
pub(crate) enum ScanFrom {
    /// With keys at least this.
    At(Vec<u8>),
    /// With keys below this; `None` is beyond the last.
    Below(Option<Vec<u8>>),
}

/// The bounds of a scan, as encoded keys.
pub(crate) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The bounds of a scan, and how many entries are wanted at once.
pub(crate) type Wish<'r> = (&'r Range, usize);

/// What one page gave: entries in ascending order, keys in one piece of memory.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    keys: Vec<u8>,
    /// Where each key ends in `keys`.
    ends: Vec<u32>,
    /// The key of the first entry that is left.
    first: usize,
    values: VecDeque<T>,
    /// Where to go on; `None` if the range ends here.
    pub(crate) next: Option<ScanFrom>,
}

impl<T> Batch<T> {
    pub(crate) fn empty(next: Option<ScanFrom>) -> Self {
        Self { keys: Vec::new(), ends: Vec::new(), first: 0, values: VecDeque::new(), next }
    }

    fn push(&mut self, key: KeyRef<'_>, value: T) {
        key.extend_into(&mut self.keys);
        self.ends.push(self.keys.len() as u32);
        self.values.push_back(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.keys[start..self.ends[at] as usize]
    }

    pub(crate) fn pop_first(&mut self) -> Option<(&[u8], T)> {
        let value = self.values.pop_front()?;
        self.first += 1;
        Some((self.key(self.first - 1), value))
    }

    pub(crate) fn pop_last(&mut self) -> Option<(&[u8], T)> {
        let value = self.values.pop_back()?;
        Some((self.key(self.first + self.values.len()), value))
    }
}

/// Whether `key` lies before the end of a range.
pub(crate) fn before(key: KeyRef<'_>, end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= *end.as_slice(),
        Bound::Excluded(end) => key < *end.as_slice(),
    }
}

/// Whether `key` lies behind the start of a range.
pub(crate) fn behind(key: KeyRef<'_>, start: &Bound<Vec<u8>>) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= *start.as_slice(),
        Bound::Excluded(start) => key > *start.as_slice(),
    }
}

impl<S: Store> Engine<S> {
    /// Reads the entries of one page that lie in the range, from the place given on; forward at
    /// most about `limit` of them.
    ///
    /// `read` runs pinned, once for each entry, again if the page has to be read again.
    ///
    /// LINEARIZES: each page at the load of its word.
    pub(crate) fn scan_page<T>(
        &self,
        tree: &TreeCore,
        from: &ScanFrom,
        (range, limit): Wish<'_>,
        mut read: impl FnMut(Found<'_>) -> T,
    ) -> Result<Batch<T>, S::Error> {
        self.retrying(|guard| {
            let stop = match from {
                ScanFrom::At(key) => self.descend(tree, Covering(key.as_slice()), 0, guard)?,
                ScanFrom::Below(key) => {
                    self.descend(tree, Wanted::Below(key.as_deref()), 0, guard)?
                }
            };
            if S::DURABLE {
                stop.chain.page().touch();
            }
            let (start, end): (&[u8], _) = match from {
                ScanFrom::At(at) => (at, None),
                ScanFrom::Below(below) => (stop.base.low(), below.as_deref()),
            };
            let mut batch = Batch::empty(None);
            let mut inside = false;
            for entry in self.merged(&stop, start) {
                if !before(entry.key, &range.1) || end.is_some_and(|end| entry.key >= *end) {
                    break;
                }
                if batch.values.len() >= limit && matches!(from, ScanFrom::At(_)) {
                    batch.next = Some(ScanFrom::At(entry.key.to_vec()));
                    return Ok(batch);
                }
                // Behind the start once, behind it always.
                inside = inside || behind(entry.key, &range.0);
                if inside {
                    let found = Found { flags: entry.flags, value: entry.value };
                    batch.push(entry.key, read(found));
                }
            }
            batch.next = match from {
                ScanFrom::At(_) => stop
                    .base
                    .high()
                    .filter(|high| before(KeyRef::from(*high), &range.1))
                    .map(|high| ScanFrom::At(high.to_vec())),
                ScanFrom::Below(_) => {
                    let low = stop.base.low();
                    let more = !low.is_empty()
                        && match &range.0 {
                            Bound::Unbounded => true,
                            Bound::Included(start) | Bound::Excluded(start) => {
                                low > start.as_slice()
                            }
                        };
                    more.then(|| ScanFrom::Below(Some(low.to_vec())))
                }
            };
            Ok(batch)
        })
    }
}
