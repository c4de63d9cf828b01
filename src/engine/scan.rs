//! One page of entries at a time, forward and back.
//!
//! A scan keeps no pin between pages. It copies what a page holds of its range at one moment, and
//! goes on by *key*, not by page: forward from the high key of the page it has read, back from the
//! low key. So a split or merge between two pages can neither hide an entry nor show it twice: each
//! entry is seen at its own moment, in order.
//!
//! Records are what scans pay for, and a map has no thread that would fold them in quiet pages. So
//! whoever scans a page a few times without seeing a new record in it folds it.

use super::batch::{Batch, Keys};
use super::unread::Unread;
use super::{Covering, End, Engine, Found, Moment, Stop, Store, TreeCore, Wanted};
use delta::{Number, PairChange};
use mapping::Word;

/// What is wanted of the next page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The end of what is unread to read at.
    pub(crate) end: End,
    /// How many entries are wanted at once, about.
    pub(crate) limit: usize,
    /// The eight bytes of a value in a row are all there is to it: reading needs no pin, and is
    /// put off until the entry is taken.
    pub(crate) in_rows: bool,
}

impl<S: Store> Engine<S> {
    /// Reads the entries of the page at one end of what is unread, at most about as many as wished.
    /// Says what is then still unread.
    ///
    /// `read` runs pinned, once for each entry, again if the page has to be read again.
    ///
    /// LINEARIZES: each page at the load of its word, or all at the moment that is asked for.
    pub(crate) fn scan_page<T, M: Moment>(
        &self,
        tree: &TreeCore,
        (unread, moment): (&Unread, M),
        wish: Wish,
        mut read: impl FnMut(Found<'_>) -> T,
    ) -> Result<(Batch<T>, Option<Unread>), S::Error> {
        self.retrying(|guard| {
            let stop = match (unread, wish.end) {
                (&Unread::Numbers(number, _), End::First)
                | (&Unread::Numbers(_, number), End::Last) => {
                    let number = Number::new(number.to_be_bytes());
                    moment.of(self, self.leaf(tree, number, guard)?, Covering(number))
                }
                (Unread::Bytes(start, _), End::First) => {
                    let wanted = Covering(start.as_slice());
                    moment.of(self, self.descend(tree, wanted, 0, guard)?, wanted)
                }
                (Unread::Bytes(_, end), End::Last) => {
                    let wanted = Wanted::Below(end.as_deref());
                    moment.of(self, self.descend(tree, wanted, 0, guard)?, wanted)
                }
            };
            let page = stop.chain.page();
            if S::DURABLE {
                page.touch();
            }
            let batch = match unread {
                &Unread::Numbers(first, last) => {
                    self.read_numbers(&stop, (first, last), wish, &mut read)
                }
                Unread::Bytes(start, end) => {
                    self.read_entries(&stop, (start, end.as_ref()), wish, &mut read)
                }
            };
            if let Some(Unread::Numbers(next, _)) = batch.1
                && stop.base.high_number() == Some(next)
                && let Word::Resident(right) = self.table.load(stop.base.right(), guard)
            {
                // It comes while the caller looks at what was read here.
                (0..8).for_each(|line| right.page().prefetch_base(line * 64));
            }
            if !S::DURABLE && M::PRESENT && page.is_quiet() {
                // What the SMO would need and is away is not brought in: nobody waits for it.
                let _away = self.consolidate(tree, &stop, 0, guard);
            }
            Ok(batch)
        })
    }

    /// The entries of a page of numbers, run by run.
    fn read_numbers<T>(
        &self,
        stop: &Stop<'_>,
        (first, last): (u64, u64),
        wish: Wish,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> (Batch<T>, Option<Unread>) {
        let base = stop.base;
        if wish.end == End::First {
            // One after the other they would be waited for, until the processor sees the pattern.
            let (page, guess) = (stop.chain.page(), base.guess(first));
            (0..wish.limit.min(128) / 4).for_each(|line| page.prefetch_base(guess + line * 64));
        }
        let (low, high) = (base.low_number(), base.high_number());
        // What the page has of it, and where that lies.
        let (mut from, mut upto) = (first.max(low), last);
        let mut window = 0..base.count();
        if first > low {
            window.start = base.row_at(first);
        }
        match high {
            Some(high) if high <= last => upto = high - 1,
            _ if last < u64::MAX => window.end = base.row_at(last + 1).max(window.start),
            _ => {}
        }
        // What lies beyond the rows that are wanted is not looked at.
        if window.len() > wish.limit {
            match wish.end {
                End::First => window.end = window.start + wish.limit,
                End::Last => window.start = window.end - wish.limit,
            }
            match (wish.end, base.row_key(window.start), base.row_key(window.end)) {
                (End::First, _, Some(beyond)) => upto = beyond - 1,
                (End::Last, Some(begin), _) => from = begin,
                _ => {}
            }
        }
        let unread = match wish.end {
            End::First => upto.checked_add(1).and_then(|next| Unread::numbers(next, last)),
            End::Last => from.checked_sub(1).and_then(|next| Unread::numbers(first, next)),
        };
        let rows = self.rows(stop, window, (from, upto));
        if wish.in_rows {
            return (Batch::of_rows(rows), unread);
        }
        let values = rows.iter().map(|row| read(Found { flags: 0, value: &row[8..] })).collect();
        (Batch::new(Keys::Rows(rows), values), unread)
    }

    /// The rows of a page of numbers at these positions of its base page, which are those from one
    /// number to another, after its records.
    fn rows(
        &self,
        stop: &Stop<'_>,
        window: std::ops::Range<usize>,
        (from, upto): (u64, u64),
    ) -> Vec<[u8; 16]> {
        let Some(newest) = stop.chain.newest() else {
            return stop.base.rows_at(window).to_vec();
        };
        // Older ones have their versions: a writer sees to that before it installs on top.
        self.version(stop.id, stop.chain.page(), newest);
        // As many as an area usually holds.
        let (mut few, mut count) = ([PairChange::NONE; 24], 0);
        let mut many = Vec::new();
        for (mark, key, value) in stop.chain.pairs() {
            if !(from..=upto).contains(&u64::from_be_bytes(key)) {
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
        let mut rows = Vec::with_capacity(window.len() + changes.len());
        delta::read_rows(stop.base, window, changes, &mut rows);
        rows
    }

    /// The entries of a page, one by one; backward all that it has.
    fn read_entries<T>(
        &self,
        stop: &Stop<'_>,
        (start, end): (&[u8], Option<&Vec<u8>>),
        wish: Wish,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> (Batch<T>, Option<Unread>) {
        let limit = if wish.end == End::First { wish.limit } else { usize::MAX };
        let (mut keys, mut values) = (Keys::of_bytes(), Vec::new());
        for entry in self.merged(stop, start) {
            if end.is_some_and(|end| entry.key >= *end.as_slice()) {
                break;
            }
            if values.len() >= limit {
                let unread = Unread::bytes_from(&entry.key.to_vec(), end);
                return (Batch::new(keys, values), unread);
            }
            keys.push(entry.key);
            values.push(read(Found { flags: entry.flags, value: entry.value }));
        }
        let unread = match wish.end {
            End::First => stop.base.high().and_then(|high| Unread::bytes_from(high, end)),
            End::Last => Unread::bytes_below(start, stop.base.low()),
        };
        (Batch::new(keys, values), unread)
    }
}
