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
//!
//! Leaves that were passed and are empty are merged by the search that has passed them, in memory:
//! so where entries are taken from one end, each emptied page is passed by few.
//!
//! A page that is away is brought in, and the search begins again. Where memory is short that page,
//! or one that was passed before, may be away again by then, and so on for ever. So a leaf that is
//! met behind an empty page, or for the second time, is looked at where it lies, in the log: if it
//! has no entry of the range, that holds for as long as its word has the same token, which no later
//! eviction gives it again; and such a page is passed without being brought in, if its range is
//! the one that is wanted. If it is not, a split has not been posted yet, and the way goes on by
//! the page's right link: that takes the page itself.

use super::descent::{Away, Stop, Wanted};
use super::{Engine, Found, Store, TreeCore, change};
use core::cmp::Ordering;
use delta::{Base, Entry, KeyRef, Layout, Op, Record};
use mapping::{Chain, Word};
use std::collections::HashMap;
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

/// A leaf that is away, and has no entry of the range as long as its word has this token.
#[derive(Debug, Clone)]
pub(crate) struct Vacancy {
    pub(crate) token: u64,
    pub(crate) low: Vec<u8>,
    pub(crate) high: Option<Vec<u8>>,
}

/// The pages that were met away, and what is known of those that are vacant.
type Known = HashMap<PageId, Option<Vacancy>>;

/// The word of a page that was passed.
#[derive(Debug, Clone, Copy)]
enum Passed<'g> {
    Resident(Chain<'g>),
    Away { token: u64 },
}

/// A page without an entry of the range: its word, and its fences.
type Vacant<'w> = (PageId, Passed<'w>, (&'w [u8], Option<&'w [u8]>));

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
        let mut known = Known::new();
        loop {
            let guard = self.pin();
            let mut passed = Vec::new();
            match self.walk(tree, span, end, &known, &mut passed, &guard) {
                Ok(entry) => {
                    if passed.iter().all(|&(id, seen)| self.is_unchanged(id, seen, &guard)) {
                        let entry = entry.map(|entry| {
                            read(entry.key, Found { flags: entry.flags, value: entry.value })
                        });
                        self.take_out_passed(tree, &passed, &guard);
                        return Ok(entry);
                    }
                }
                Err(Away(id)) => {
                    let behind_empty = !passed.is_empty();
                    drop(guard);
                    self.meet(id, span, behind_empty, &mut known)?;
                }
            }
        }
    }

    /// Merges leaves that were passed and are empty: whoever comes next needs not pass them again.
    /// A log has other means, and this would be a write of a read.
    fn take_out_passed(&self, tree: &TreeCore, passed: &[(PageId, Passed<'_>)], guard: &Guard) {
        if S::DURABLE {
            return;
        }
        for &(id, seen) in passed {
            if let Passed::Resident(chain) = seen
                && let base = Base::new(chain.base())
                // More would not be an empty page, but one with nothing of the range.
                && base.count() <= Self::most_removed(chain)
                && let stop = (Stop { id, chain, base, parent: PageId::NONE })
                && self.merged(&stop, base.low()).next().is_none()
            {
                // In memory nothing is away.
                let _away = self.take_out(tree, id, guard);
            }
        }
    }

    /// As [`end_of`](Self::end_of), as of a cut that is open: nothing has to be looked at twice.
    pub(crate) fn end_as_of<R>(
        &self,
        tree: &TreeCore,
        (span, end): (Span<'_>, End),
        cut: u64,
        mut read: impl FnMut(KeyRef<'_>, Found<'_>) -> R,
    ) -> Result<Option<R>, S::Error> {
        self.retrying(|guard| {
            let mut wanted = first_wanted(span, end, tree.layout);
            while let Some(page) = wanted {
                let stop = self.as_of(self.descend(tree, page, 0, guard)?, page, cut, guard);
                let entry = match end {
                    End::First => self.first_in(&stop, span.0),
                    End::Last => self.last_in(&stop, span.1),
                };
                if let Some(Entry { key, flags, value }) = entry {
                    return Ok(within(span, key).then(|| read(key, Found { flags, value })));
                }
                wanted = next_wanted(span, end, (stop.base.low(), stop.base.high()));
            }
            Ok(None)
        })
    }

    /// Brings a page in; behind an empty one, or at the second time, looks first whether that is
    /// needed. It is if the page is known to be vacant and was not passed: then it is on the way to
    /// another one, whose key its parent does not know yet, and its right link is wanted.
    fn meet(
        &self,
        id: PageId,
        span: Span<'_>,
        behind_empty: bool,
        known: &mut Known,
    ) -> Result<(), S::Error> {
        let on_the_way = known.get(&id).and_then(Option::as_ref).is_some_and(|vacancy| {
            let guard = self.pin();
            self.is_unchanged(id, Passed::Away { token: vacancy.token }, &guard)
        });
        let look = !on_the_way && (behind_empty || known.contains_key(&id));
        let vacancy = if look { S::vacant(self, id, span)? } else { None };
        let vacant = vacancy.is_some();
        known.insert(id, vacancy);
        if vacant { Ok(()) } else { S::page_in(self, id) }
    }

    /// The entry, if the pages that were passed are still what they were.
    fn walk<'w>(
        &'w self,
        tree: &TreeCore,
        span: Span<'w>,
        end: End,
        known: &'w Known,
        passed: &mut Vec<(PageId, Passed<'w>)>,
        guard: &'w Guard,
    ) -> Result<Option<Entry<'w>>, Away> {
        Self::check_dropped(tree)?;
        let mut wanted = first_wanted(span, end, tree.layout);
        while let Some(page) = wanted {
            let (id, seen, fences) = match self.descend(tree, page, 0, guard) {
                Ok(stop) => {
                    if S::DURABLE {
                        stop.chain.page().touch();
                    }
                    let entry = match end {
                        End::First => self.first_in(&stop, span.0),
                        End::Last => self.last_in(&stop, span.1),
                    };
                    if let Some(entry) = entry {
                        return Ok(within(span, entry.key).then_some(entry));
                    }
                    let fences = (stop.base.low(), stop.base.high());
                    (stop.id, Passed::Resident(stop.chain), fences)
                }
                Err(Away(id)) => self.vacant(id, page, known, guard).ok_or(Away(id))?,
            };
            wanted = next_wanted(span, end, fences);
            if wanted.is_some() {
                passed.push((id, seen));
            }
        }
        Ok(None)
    }

    /// The page that is away, if it is the one that is wanted and known to be vacant.
    fn vacant<'w>(
        &self,
        id: PageId,
        wanted: Wanted<'_>,
        known: &'w Known,
        guard: &Guard,
    ) -> Option<Vacant<'w>> {
        let vacancy = known.get(&id)?.as_ref()?;
        let (low, high) = (vacancy.low.as_slice(), vacancy.high.as_deref());
        let inside = match wanted {
            Wanted::Covering(key) => low <= key && high.is_none_or(|high| key < high),
            Wanted::Below(Some(key)) => low < key && high.is_none_or(|high| key <= high),
            Wanted::Below(None) => high.is_none(),
        };
        let seen = Passed::Away { token: vacancy.token };
        (inside && self.is_unchanged(id, seen, guard)).then_some((id, seen, (low, high)))
    }

    fn is_unchanged(&self, id: PageId, seen: Passed<'_>, guard: &Guard) -> bool {
        match (self.table.load(id, guard), seen) {
            (Word::Resident(now), Passed::Resident(seen)) => {
                now.page() == seen.page() && now.head() == seen.head()
            }
            (Word::Disk(now), Passed::Away { token }) => now == token,
            _ => false,
        }
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
            let record = change(record);
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

/// Whether a key lies in a range.
pub(crate) fn within(span: Span<'_>, key: KeyRef<'_>) -> bool {
    starts(span.0, key) && ends(span.1, key)
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

/// The page behind the one with these fences, as seen from the end where the search began; `None`
/// if the range ends in it.
fn next_wanted<'w>(
    (start, end): Span<'_>,
    which: End,
    (low, high): (&'w [u8], Option<&'w [u8]>),
) -> Option<Wanted<'w>> {
    match which {
        End::First => {
            let high = high?;
            ends(end, KeyRef::from(high)).then_some(Wanted::Covering(high))
        }
        End::Last => {
            let more = match start {
                Bound::Unbounded => true,
                Bound::Included(start) | Bound::Excluded(start) => low > start,
            };
            (!low.is_empty() && more).then_some(Wanted::Below(Some(low)))
        }
    }
}
