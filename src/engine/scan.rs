//! One page of entries at a time, forward and back.
//!
//! A scan keeps no pin between pages. It copies what a page holds of its range at one moment, and
//! goes on by *key*, not by page: forward from the high key of the page it has read, back from the
//! low key. So a split or merge between two pages can neither hide an entry nor show it twice: each
//! entry is seen at its own moment, in order.

use super::batch::{Batch, Keys};
use super::{Away, Engine, Found, Stop, Store, TreeCore, Wanted, change};
use delta::{Base, Hashed, Items, KeyRef, Layout, Number, PairChange, Probe};
use std::ops::{Bound, RangeInclusive};
use sync::epoch::Guard;

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

/// What is wanted of the next page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'r> {
    /// The bounds of the scan.
    pub(crate) range: &'r Range,
    /// How many entries are wanted at once, about.
    pub(crate) limit: usize,
    /// The eight bytes of a value in a row are all there is to it: reading needs no pin, and is
    /// put off until the entry is taken.
    pub(crate) in_rows: bool,
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

/// The numbers in a range; `None` if there is none. Bounds may have any length.
fn numbers((start, end): &Range) -> Option<RangeInclusive<u64>> {
    let first = match start {
        Bound::Unbounded => 0,
        Bound::Included(key) | Bound::Excluded(key) => {
            let included = matches!(start, Bound::Included(_));
            // A key that is longer than a number lies behind its first eight bytes.
            let behind = key.len() > 8 || key.len() == 8 && !included;
            number(key).checked_add(u64::from(behind))?
        }
    };
    let last = match end {
        Bound::Unbounded => u64::MAX,
        Bound::Included(key) | Bound::Excluded(key) => {
            let included = matches!(end, Bound::Included(_));
            let before = key.len() < 8 || key.len() == 8 && !included;
            number(key).checked_sub(u64::from(before))?
        }
    };
    (first <= last).then_some(first..=last)
}

/// The first eight bytes as a number, as if zeros followed.
fn number(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
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
        wish: Wish<'_>,
        mut read: impl FnMut(Found<'_>) -> T,
    ) -> Result<Batch<T>, S::Error> {
        self.retrying(|guard| {
            let stop = match from {
                ScanFrom::At(key) => match (tree.layout, key.as_slice().try_into()) {
                    (Layout::Fixed8, Ok(key)) => self.leaf(tree, Number::new(key), guard)?,
                    _ => self.leaf_of_scan(tree, key, guard)?,
                },
                ScanFrom::Below(key) => {
                    self.descend(tree, Wanted::Below(key.as_deref()), 0, guard)?
                }
            };
            if S::DURABLE {
                stop.chain.page().touch();
            }
            let mut batch = match tree.layout {
                Layout::Fixed8 => self.read_numbers(&stop, from, wish, &mut read),
                Layout::Var => stop
                    .base
                    .value_len()
                    .and_then(|_| self.read_items(&stop, from, wish, &mut read))
                    .unwrap_or_else(|| self.read_entries(&stop, from, wish, &mut read)),
            };
            if batch.next.is_none() {
                batch.next = beyond(&stop, from, wish.range);
            }
            Ok(batch)
        })
    }

    /// The entries of a page of numbers, run by run.
    fn read_numbers<T>(
        &self,
        stop: &Stop<'_>,
        from: &ScanFrom,
        wish: Wish<'_>,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> Batch<T> {
        let Some(wanted) = numbers(wish.range) else { return Batch::empty(None) };
        let (mut start, mut end, mut next) = (*wanted.start(), *wanted.end(), None);
        match from {
            ScanFrom::At(key) => start = number(key).max(start),
            ScanFrom::Below(Some(key)) => end = number(key).saturating_sub(1).min(end),
            ScanFrom::Below(None) => {}
        }
        if start > end {
            return Batch::empty(None);
        }
        let base = stop.base;
        let first = base.row_at(start);
        let mut last = base.count();
        if let (ScanFrom::At(_), Some(beyond)) =
            (from, base.row_key(first.saturating_add(wish.limit)))
            && beyond <= end
        {
            // What lies behind the rows that are wanted is not looked at.
            (last, end) = (first + wish.limit, beyond - 1);
            next = Some(ScanFrom::At(beyond.to_be_bytes().to_vec()));
        } else if end < u64::MAX {
            last = base.row_at(end + 1);
        }
        let page = stop.chain.page();
        // As many as an area usually holds.
        let (mut few, mut count) = ([PairChange::NONE; 24], 0);
        let mut many = Vec::new();
        for record in stop.chain.records() {
            self.version(stop.id, page, record);
            let Some((mark, key, value)) = record.pair() else { unreachable!("a page of pairs") };
            if !(start..=end).contains(&u64::from_be_bytes(key)) {
                continue;
            }
            let change = PairChange::new(mark, key, value);
            if let Some(place) = few.get_mut(count) {
                *place = change;
            } else {
                if many.is_empty() {
                    many.extend_from_slice(&few);
                }
                many.push(change);
            }
            count += 1;
        }
        let changes = few.get_mut(..count).unwrap_or(&mut many);
        let mut rows = Vec::with_capacity(last - first + changes.len());
        delta::read_rows(base, first..last, changes, &mut rows);
        if wish.in_rows {
            return Batch::of_rows(rows, next);
        }
        let values = rows.iter().map(|row| read(Found { flags: 0, value: &row[8..] })).collect();
        Batch::new(Keys::Rows(rows), values, next)
    }

    /// The leaf at which a scan goes on. Where a page begins is remembered: every scan that has
    /// read the page before comes there.
    fn leaf_of_scan<'g>(
        &self,
        tree: &TreeCore,
        key: &[u8],
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        let key = Hashed::new(key);
        let stop = self.leaf(tree, key, guard)?;
        if stop.base.low() == key.bytes() {
            stop.remember(tree, key);
        }
        Ok(stop)
    }

    /// The entries of a uniform page of keys of any length, run by run; `None` if a record says
    /// that it will not be uniform any more.
    fn read_items<T>(
        &self,
        stop: &Stop<'_>,
        from: &ScanFrom,
        Wish { range, limit, in_rows }: Wish<'_>,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> Option<Batch<T>> {
        let (base, page) = (stop.base, stop.chain.page());
        let (start, mut end) = window(from, range);
        let first = lower_edge(base, start);
        let mut last = upper_edge(base, end).max(first);
        let (mut next, beyond);
        next = None;
        if matches!(from, ScanFrom::At(_)) && last - first > limit {
            // What lies behind the entries that are wanted is not looked at.
            last = first + limit;
            beyond = base.entry(last).key.to_vec();
            end = Bound::Excluded(&beyond);
            next = Some(ScanFrom::At(beyond.clone()));
        }
        let mut records = Vec::new();
        for record in stop.chain.records() {
            let version = self.version(stop.id, page, record);
            let change = change(record);
            if !lies_between(change.key, start, end) {
                continue;
            }
            if !Items::takes(base, &change) {
                return None;
            }
            records.push((version, change));
        }
        let items = Items::read(base, first..last, &records);
        if in_rows {
            return Some(Batch::of_items(items, next));
        }
        let value = |at| read(Found { flags: 0, value: items.value(at) });
        let values = (0..items.len()).map(value).collect();
        Some(Batch::new(Keys::Items(Box::new(items)), values, next))
    }

    /// The entries of a page, one by one.
    fn read_entries<T>(
        &self,
        stop: &Stop<'_>,
        from: &ScanFrom,
        Wish { range, limit, .. }: Wish<'_>,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> Batch<T> {
        let (start, end, limit): (&[u8], _, _) = match from {
            ScanFrom::At(at) => (at, None, limit),
            ScanFrom::Below(below) => (stop.base.low(), below.as_deref(), usize::MAX),
        };
        let (mut keys, mut values) = (Keys::of_bytes(), Vec::new());
        let mut inside = false;
        for entry in self.merged(stop, start) {
            if !before(entry.key, &range.1) || end.is_some_and(|end| entry.key >= *end) {
                break;
            }
            if values.len() >= limit {
                return Batch::new(keys, values, Some(ScanFrom::At(entry.key.to_vec())));
            }
            // Behind the start once, behind it always.
            inside = inside || behind(entry.key, &range.0);
            if inside {
                keys.push(entry.key);
                values.push(read(Found { flags: entry.flags, value: entry.value }));
            }
        }
        Batch::new(keys, values, None)
    }
}

/// The bounds of what is wanted of a page, of the scan and of the place where it goes on.
fn window<'r>(from: &'r ScanFrom, (start, end): &'r Range) -> (Bound<&'r [u8]>, Bound<&'r [u8]>) {
    let (start, end) = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
    match from {
        ScanFrom::At(at) => match start {
            Bound::Included(key) | Bound::Excluded(key) if key >= at.as_slice() => (start, end),
            _ => (Bound::Included(at.as_slice()), end),
        },
        ScanFrom::Below(None) => (start, end),
        ScanFrom::Below(Some(below)) => match end {
            Bound::Included(key) | Bound::Excluded(key) if key < below.as_slice() => (start, end),
            _ => (start, Bound::Excluded(below.as_slice())),
        },
    }
}

/// The position of the first entry behind this bound.
fn lower_edge(base: Base<'_>, start: Bound<&[u8]>) -> usize {
    match start {
        Bound::Unbounded => 0,
        Bound::Included(key) => base.search(key).unwrap_or_else(|at| at),
        Bound::Excluded(key) => base.search(key).map_or_else(|at| at, |at| at + 1),
    }
}

/// The position behind the last entry before this bound.
fn upper_edge(base: Base<'_>, end: Bound<&[u8]>) -> usize {
    match end {
        Bound::Unbounded => base.count(),
        Bound::Included(key) => base.search(key).map_or_else(|at| at, |at| at + 1),
        Bound::Excluded(key) => base.search(key).unwrap_or_else(|at| at),
    }
}

fn lies_between(key: &[u8], start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    let behind = match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= start,
        Bound::Excluded(start) => key > start,
    };
    behind
        && match end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        }
}

/// Where a scan goes on that has read all it wanted of this page.
fn beyond(stop: &Stop<'_>, from: &ScanFrom, range: &Range) -> Option<ScanFrom> {
    match from {
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
                    Bound::Included(start) | Bound::Excluded(start) => low > start.as_slice(),
                };
            more.then(|| ScanFrom::Below(Some(low.to_vec())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_any_bounds_holds_the_numbers_between_them() {
        let eight = |n: u64| n.to_be_bytes().to_vec();
        let (inc, exc) = (Bound::Included::<Vec<u8>>, Bound::Excluded::<Vec<u8>>);
        let of = |start, end| numbers(&(start, end));
        assert_eq!(of(Bound::Unbounded, Bound::Unbounded), Some(0..=u64::MAX));
        assert_eq!(of(inc(eight(3)), inc(eight(9))), Some(3..=9));
        assert_eq!(of(exc(eight(3)), exc(eight(9))), Some(4..=8));
        assert_eq!(of(exc(eight(3)), exc(eight(4))), None);
        assert_eq!(of(exc(eight(u64::MAX)), Bound::Unbounded), None);
        assert_eq!(of(Bound::Unbounded, exc(eight(0))), None);
        // Shorter than a number: in front of all that begin with it. Longer: behind its start.
        assert_eq!(of(inc(vec![1]), inc(vec![2])), Some(1 << 56..=(2 << 56) - 1));
        let long = [eight(5), vec![0]].concat();
        assert_eq!(of(inc(long.clone()), Bound::Unbounded), Some(6..=u64::MAX));
        assert_eq!(of(Bound::Unbounded, exc(long)), Some(0..=5));
    }
}
