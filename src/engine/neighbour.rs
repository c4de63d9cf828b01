//! The outermost entry of a range, exactly, even if pages on the way to it are empty.
//!
//! Most often the first page that is looked at has an entry of the range, and its word alone says
//! what is wanted. Else the search goes on, page by page, and what it finds is the outermost entry
//! only if the pages it has passed had none *at that moment*. So it remembers the word of each page
//! that it passes, and loads all of them again in the end:
//!
//! 1. it loads the words of `P1`, `P2` ... `Pn`, whose ranges are adjacent; `P1` to `Pn-1` have no
//!    entry of the range;
//! 2. it loads the words of `P1` to `Pn-1` again.
//!
//! If none has changed, each of them was the same all the time from its first to its second load,
//! hence at the load of `Pn`'s word, which lies between. At that moment all of them were Resident,
//! so each spoke for its own range (X1), and there was nothing of the range in front of `Pn`. If
//! one has changed, someone has made progress, and the search begins again.
//!
//! That a word is the same means that it was so all the time, for under one pin no word comes back
//! to what it was: a page is unlinked once, and its memory is not used for another before the pin
//! ends; in one page each record is installed once, on top of the others (I2); and the id means the
//! same page (I1).

use super::descent::{Away, Stop, Wanted};
use super::{Engine, Found, Store, TreeCore};
use core::cmp::Ordering;
use delta::{Entry, KeyRef, Layout, Op, Record};
use mapping::{Chain, Word};
use std::ops::Bound;
use sync::epoch::Guard;
use types::PageId;

/// Which end of a range is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its smallest entry.
    First,
    /// Its largest entry.
    Last,
}

/// The bounds of a range, as encoded keys.
pub(crate) type Span<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// A page that was passed, and its word then.
type Passed<'g> = (PageId, Chain<'g>);

impl<S: Store> Engine<S> {
    /// What `read` makes of the entry at this end of the range; `read` runs pinned.
    ///
    /// LINEARIZES: at the load of the word of the page that has the entry; if there is none, of the
    /// last page of the range.
    pub(crate) fn end_of<R>(
        &self,
        tree: &TreeCore,
        span: Span<'_>,
        end: End,
        mut read: impl FnMut(KeyRef<'_>, Found<'_>) -> R,
    ) -> Result<Option<R>, S::Error> {
        loop {
            let found = self.retrying(|guard| {
                let mut passed = Vec::new();
                let found = self.walk(tree, span, end, &mut passed, guard)?;
                let same = passed.iter().all(|&passed| self.is_unchanged(passed, guard));
                let mut read = |entry: Entry<'_>| {
                    read(entry.key, Found { flags: entry.flags, value: entry.value })
                };
                Ok(same.then(|| found.map(&mut read)))
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// The entry, if the pages that were passed are still what they were.
    fn walk<'g>(
        &self,
        tree: &TreeCore,
        span: Span<'_>,
        end: End,
        passed: &mut Vec<Passed<'g>>,
        guard: &'g Guard,
    ) -> Result<Option<Entry<'g>>, Away> {
        let mut wanted = first_wanted(span, end, tree.layout);
        while let Some(page) = wanted {
            let stop = self.descend(tree, page, 0, guard)?;
            if S::DURABLE {
                stop.chain.page().touch();
            }
            let entry = match end {
                End::First => self.first_in(&stop, span.0),
                End::Last => self.last_in(&stop, span.1),
            };
            if let Some(entry) = entry {
                return Ok((starts(span.0, entry.key) && ends(span.1, entry.key)).then_some(entry));
            }
            wanted = next_wanted(span, end, &stop);
            if wanted.is_some() {
                passed.push((stop.id, stop.chain));
            }
        }
        Ok(None)
    }

    fn is_unchanged(&self, (id, seen): Passed<'_>, guard: &Guard) -> bool {
        let Word::Resident(chain) = self.table.load(id, guard) else { return false };
        chain.page() == seen.page() && chain.head() == seen.head()
    }

    /// The first entry of a page behind the start.
    fn first_in<'g>(&self, stop: &Stop<'g>, start: Bound<&[u8]>) -> Option<Entry<'g>> {
        let from = match start {
            Bound::Included(key) | Bound::Excluded(key) => key.max(stop.base.low()),
            Bound::Unbounded => stop.base.low(),
        };
        self.merged(stop, from).find(|entry| starts(start, entry.key))
    }

    /// The last entry of a page before the end.
    fn last_in<'g>(&self, stop: &Stop<'g>, end: Bound<&[u8]>) -> Option<Entry<'g>> {
        let (page, base) = (stop.chain.page(), stop.base);
        let mut records: Vec<Record<'g>> = Vec::new();
        for record in stop.chain.records() {
            // Whatever an answer is taken from is stamped before (A8).
            self.version(stop.id, page, record);
            let record = Record::decode(record.payload());
            if ends(end, KeyRef::from(record.key)) {
                records.push(record);
            }
        }
        // A stable sort: of one key the newest stays first, and is the one that is kept.
        records.sort_by(|left, right| right.key.cmp(left.key));
        records.dedup_by(|later, first| later.key == first.key);
        let mut at = match end {
            Bound::Unbounded => base.count(),
            Bound::Included(key) => base.search(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => base.search(key).unwrap_or_else(|at| at),
        };
        for record in records {
            let mut order = Ordering::Less;
            if at > 0 {
                let entry = base.entry(at - 1);
                order = entry.key.cmp_bytes(record.key);
                if order == Ordering::Greater {
                    return Some(entry);
                }
            }
            if record.op == Op::Put {
                let key = KeyRef::from(record.key);
                return Some(Entry { key, value: record.value, flags: record.flags });
            }
            at -= usize::from(order == Ordering::Equal);
        }
        (at > 0).then(|| base.entry(at - 1))
    }
}

/// Whether a key lies behind the start of a range.
fn starts(start: Bound<&[u8]>, key: KeyRef<'_>) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= *start,
        Bound::Excluded(start) => key > *start,
    }
}

/// Whether a key lies before the end of a range.
fn ends(end: Bound<&[u8]>, key: KeyRef<'_>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= *end,
        Bound::Excluded(end) => key < *end,
    }
}

/// The page where the search begins; `None` if the range holds no key that there can be.
fn first_wanted((start, end): Span<'_>, which: End, layout: Layout) -> Option<Wanted<'_>> {
    let lowest: &[u8] = match layout {
        Layout::Fixed8 => &[0; 8],
        Layout::Var => &[],
    };
    match which {
        End::First => match start {
            Bound::Included(key) | Bound::Excluded(key) => Some(Wanted::Covering(key)),
            Bound::Unbounded => Some(Wanted::Covering(lowest)),
        },
        End::Last => match end {
            Bound::Included(key) => Some(Wanted::Covering(key)),
            Bound::Excluded(key) => (key > lowest).then_some(Wanted::Below(Some(key))),
            Bound::Unbounded => Some(Wanted::Below(None)),
        },
    }
}

/// The page behind this one, as seen from the end where the search began; `None` if the range ends
/// in this one.
fn next_wanted<'g>((start, end): Span<'_>, which: End, stop: &Stop<'g>) -> Option<Wanted<'g>> {
    match which {
        End::First => {
            let high = stop.base.high()?;
            ends(end, KeyRef::from(high)).then_some(Wanted::Covering(high))
        }
        End::Last => {
            let low = stop.base.low();
            let more = match start {
                Bound::Unbounded => true,
                Bound::Included(start) | Bound::Excluded(start) => low > start,
            };
            (!low.is_empty() && more).then_some(Wanted::Below(Some(low)))
        }
    }
}
