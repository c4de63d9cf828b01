//! One page of entries at a time, forward and back.
//!
//! A scan keeps no pin between pages. It copies what a page holds of its range at one moment, and
//! goes on by *key*, not by page: forward from the high key of the page it has read, back from the
//! low key. So a split or merge between two pages can neither hide an entry nor show it twice: each
//! entry is seen at its own moment, in order.
//!
//! Records are what scans pay for, and a map has no thread that would fold them in quiet pages. So
//! whoever scans a page for the second time without seeing a new record in it folds it.

use super::batch::{Batch, Keys};
use super::unread::Unread;
use super::{
    Away, Covering, End, Engine, Found, Moment, Stop, Store, TreeCore, Versioned, Wanted, change,
};
use core::ops::Range;
use delta::{Base, Hashed, Items, Number, PairChange};
use mapping::Word;
use sync::epoch::Guard;
use types::PageId;

/// What is wanted of the next page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The end of what is unread to read at.
    pub(crate) end: End,
    /// How many entries are wanted at once, about.
    pub(crate) limit: usize,
    /// The bytes of a value in its row, or beside its key where the page is uniform, are all there
    /// is to it: reading needs no pin, and is put off until the entry is taken.
    pub(crate) in_rows: bool,
    /// Of keys of bytes: the page that is likely to have them, or none.
    pub(crate) near: PageId,
}

/// Bytes at the beginning of a page of keys of bytes that a scan looks at: what a search by hash
/// does, and heads.
pub(super) const FRONT: Range<usize> = 0..23 * 64;

/// Bytes at the beginning of a page of numbers that a scan goes on with.
pub(super) const FIRST_ROWS: Range<usize> = 64..8 * 64;

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
            Self::check_dropped(tree)?;
            let stop = match (unread, wish.end) {
                (&Unread::Numbers(number, _), End::First)
                | (&Unread::Numbers(_, number), End::Last) => {
                    let number = Number::new(number.to_be_bytes());
                    // One after the other they would be waited for, until the processor sees the
                    // pattern.
                    let others = match wish.end {
                        End::First => (0, wish.limit.min(128)),
                        End::Last => (wish.limit.min(128), 0),
                    };
                    let ahead = |sketch| number.ahead_with(sketch, others);
                    let leaf = self.leaf_ahead(tree, number, ahead, guard)?;
                    leaf.chain.page().prefetch_records();
                    moment.of(self, leaf, Covering(number), guard)
                }
                (Unread::Bytes(start, _), End::First) => {
                    let leaf = self.leaf_of_scan(tree, start, wish.near, guard)?;
                    moment.of(self, leaf, Covering(start.as_slice()), guard)
                }
                (Unread::Bytes(_, end), End::Last) => {
                    let wanted = Wanted::Below(end.as_deref());
                    moment.of(self, self.descend(tree, wanted, 0, guard)?, wanted, guard)
                }
            };
            let page = stop.chain.page();
            if S::DURABLE {
                page.touch();
            }
            let mut batch = match unread {
                &Unread::Numbers(first, last) => {
                    self.read_numbers(&stop, (first, last), wish, &mut read)
                }
                Unread::Bytes(start, end) => {
                    let span = (start.as_slice(), end.as_deref());
                    self.read_items(&stop, span, wish, &mut read)
                        .unwrap_or_else(|| self.read_entries(&stop, span, wish, &mut read))
                }
            };
            if let Some(Unread::Numbers(next, _)) = batch.1
                && stop.base.high_number() == Some(next)
            {
                self.prefetch_right(&stop, FIRST_ROWS, guard);
            }
            if let Some(Unread::Bytes(next, _)) = &batch.1
                && wish.end == End::First
            {
                batch.0.go_on_at(self.page_of(&stop, next, guard));
            }
            if M::PRESENT {
                self.fold_if_quiet(tree, &stop, guard);
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
        let (mut window, (mut from, mut upto)) = rows_within(base, (first, last));
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
        delta::tell_first(&rows, S::ahead());
        let values = rows.iter().enumerate().map(|(at, row)| {
            delta::tell_next(&rows, at, S::ahead());
            read(Found { flags: 0, value: &row[8..] })
        });
        let values = values.collect();
        (Batch::new(Keys::Rows(rows), values), unread)
    }

    /// The rows of a page of numbers at these positions of its base page, which are those from one
    /// number to another, after its records.
    fn rows(
        &self,
        stop: &Stop<'_>,
        window: Range<usize>,
        (from, upto): (u64, u64),
    ) -> Vec<[u8; 16]> {
        if stop.chain.head() == 0 {
            return stop.base.rows_at(window).to_vec();
        }
        self.with_changes(stop, (from, upto), |changes| {
            let mut rows = Vec::with_capacity(window.len() + changes.len());
            delta::read_rows(stop.base, window, changes, &mut rows);
            rows
        })
    }

    /// What `then` makes of the records of a page of numbers from one number to another, newest
    /// first.
    #[inline]
    pub(super) fn with_changes<'g, R>(
        &self,
        stop: &Stop<'g>,
        (from, upto): (u64, u64),
        then: impl FnOnce(&mut [PairChange<'g>]) -> R,
    ) -> R {
        if let Some(newest) = stop.chain.newest() {
            // Older ones have their versions: a writer sees to that before it installs on top.
            self.version(stop.id, stop.chain.page(), newest);
        }
        // As many as an area usually holds.
        let mut few = [PairChange::NONE; 24];
        let (mut many, mut count) = (Vec::new(), 0);
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
        then(few.get_mut(..count).unwrap_or(&mut many))
    }

    /// The leaf at which a scan begins or goes on. An id that was noted is a hint, as good as any:
    /// it is believed if the page that it names now has fences around the key.
    pub(super) fn leaf_of_scan<'g>(
        &'g self,
        tree: &TreeCore,
        key: &[u8],
        near: PageId,
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        let noted = Some(near).filter(|id| !S::DURABLE && id.is_some());
        if let Some(stop) =
            noted.and_then(|id| self.follow((tree, id), key, |_| FRONT, guard, |_, _| {}))
        {
            self.dated(stop.chain);
            return Ok(stop);
        }
        self.leaf_ahead(tree, Hashed::new(key), |_| FRONT, guard)
    }

    /// The page that is likely to have the next key that is wanted: this one or its neighbour, of
    /// which the beginning comes while the caller looks at what was read here.
    fn page_of(&self, stop: &Stop<'_>, next: &[u8], guard: &Guard) -> PageId {
        if stop.base.high() != Some(next) {
            return stop.id;
        }
        self.prefetch_right(stop, FRONT, guard);
        stop.base.right()
    }

    /// Asks for the beginning of the next page, which comes while the caller looks at this one.
    pub(super) fn prefetch_right(&self, stop: &Stop<'_>, front: Range<usize>, guard: &Guard) {
        if let Word::Resident(right) = self.table.load(stop.base.right(), guard) {
            right.page().prefetch();
            right.page().prefetch_base(front);
        }
    }

    /// Folds a page that was scanned before and has not changed since.
    #[inline]
    pub(super) fn fold_if_quiet(&self, tree: &TreeCore, stop: &Stop<'_>, guard: &Guard) {
        if !S::DURABLE && stop.chain.page().is_quiet() {
            // What the SMO would need and is away is not brought in: nobody waits for it.
            let _away = self.consolidate(tree, stop, 0, guard);
        }
    }

    /// The records of a page from one key up to another, with their versions, newest first.
    pub(super) fn records_within<'g>(
        &self,
        stop: &Stop<'g>,
        (from, upto): (&[u8], Option<&[u8]>),
    ) -> Versioned<'g> {
        let mut records = Vec::new();
        for record in stop.chain.records() {
            let version = self.version(stop.id, stop.chain.page(), record);
            let change = change(record);
            if change.key >= from && upto.is_none_or(|upto| change.key < upto) {
                records.push((version, change));
            }
        }
        records
    }

    /// The entries of a uniform page of keys of any length, run by run; `None` if it is not, or a
    /// record says that it will not be any more.
    #[inline(never)]
    fn read_items<T>(
        &self,
        stop: &Stop<'_>,
        (start, end): (&[u8], Option<&[u8]>),
        wish: Wish,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> Option<(Batch<T>, Option<Unread>)> {
        let (base, page) = (stop.base, stop.chain.page());
        base.value_len()?;
        // One after the other the lines would be waited for.
        page.prefetch_base(base.heads_span());
        // What the page has of it, and where that lies.
        let at = |key: &[u8]| base.search(key).unwrap_or_else(|at| at);
        let mut window = at(start)..end.map_or_else(|| base.count(), at);
        window.end = window.end.max(window.start);
        let mut unread = rest(base, (start, end), wish.end);
        let (mut from, mut upto) = (start, end);
        // What lies beyond the entries that are wanted is not looked at.
        let beyond;
        if window.len() > wish.limit {
            match wish.end {
                End::First => {
                    window.end = window.start + wish.limit;
                    beyond = base.entry(window.end).key.to_vec();
                    (upto, unread) = (Some(beyond.as_slice()), Unread::bytes_from(&beyond, end));
                }
                End::Last => {
                    window.start = window.end - wish.limit;
                    beyond = base.entry(window.start).key.to_vec();
                    (from, unread) = (&beyond, Unread::bytes_below(start, &beyond));
                }
            }
        }
        page.prefetch_base(base.items_span(window.clone()));
        let records = self.records_within(stop, (from, upto));
        if !records.iter().all(|(_, record)| Items::takes(base, record)) {
            return None;
        }
        let items = Items::read(base, window, &records);
        if wish.in_rows {
            return Some((Batch::of_items(items), unread));
        }
        if let Some(ahead) = S::ahead() {
            (0..items.len()).for_each(|at| ahead(items.value(at)));
        }
        let value = |at| read(Found { flags: 0, value: items.value(at) });
        let values = (0..items.len()).map(value).collect();
        Some((Batch::new(Keys::Items(items), values), unread))
    }

    /// The entries of a page, one by one; backward all that it has.
    #[inline(never)]
    fn read_entries<T>(
        &self,
        stop: &Stop<'_>,
        (start, end): (&[u8], Option<&[u8]>),
        wish: Wish,
        read: &mut impl FnMut(Found<'_>) -> T,
    ) -> (Batch<T>, Option<Unread>) {
        let limit = if wish.end == End::First { wish.limit } else { usize::MAX };
        let (mut keys, mut values) = (Keys::of_bytes(), Vec::new());
        for entry in self.merged(stop, start) {
            if end.is_some_and(|end| entry.key >= *end) {
                break;
            }
            if values.len() >= limit {
                let unread = Unread::bytes_from(&entry.key.to_vec(), end);
                return (Batch::new(keys, values), unread);
            }
            keys.push(entry.key);
            values.push(read(Found { flags: entry.flags, value: entry.value }));
        }
        (Batch::new(keys, values), rest(stop.base, (start, end), wish.end))
    }
}

/// What a page of numbers has of those from one to another: where it lies, and from which to which
/// that is.
#[inline]
pub(super) fn rows_within(base: Base<'_>, (first, last): (u64, u64)) -> (Range<usize>, (u64, u64)) {
    let low = base.low_number();
    let (from, mut upto) = (first.max(low), last);
    let mut window = 0..base.count();
    if first > low {
        window.start = base.row_at(first);
    }
    match base.high_number() {
        Some(high) if high <= last => upto = high - 1,
        _ if last < u64::MAX => window.end = base.row_at(last + 1).max(window.start),
        _ => {}
    }
    (window, (from, upto))
}

/// What is still unread when all that a page of bytes has of it was read at this end.
pub(super) fn rest(
    base: Base<'_>,
    (start, end): (&[u8], Option<&[u8]>),
    at: End,
) -> Option<Unread> {
    match at {
        End::First => base.high().and_then(|high| Unread::bytes_from(high, end)),
        End::Last => Unread::bytes_below(start, base.low()),
    }
}
