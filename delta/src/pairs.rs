//! The rows of a fixed page that is to be.
//!
//! A consolidation changes few of the rows that it copies. So it looks up where each change
//! belongs, and what lies between two changes is copied in one piece.

use core::ops::{ControlFlow, Range};
use std::borrow::Cow;

use crate::base::{Base, HEADER_BYTES, ROW_BYTES};
use crate::contents::Sheet;
use crate::entry::Shape;
use crate::interpolation::Line;
use crate::plain::head;
use crate::record::{Op, Position, Record, is_put};
use crate::search::lower_bound;
use crate::write::{header, links};

type Row = [u8; ROW_BYTES];

/// Rows in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    rows: Cow<'a, [Row]>,
}

/// One change of one key of a fixed page.
#[derive(Clone, Copy, Debug)]
pub struct PairChange<'a> {
    key: u64,
    /// The new value, or none any more.
    value: Option<&'a [u8; 8]>,
    position: Position,
}

impl<'a> PairChange<'a> {
    /// No change of any key: to fill arrays with.
    pub const NONE: Self = Self { key: 0, value: None, position: Position::UNKNOWN };

    /// The change with this mark and payload: see [`Record::pair`].
    #[inline]
    #[must_use]
    pub fn new(mark: u16, key: [u8; 8], value: &'a [u8; 8]) -> Self {
        let value = is_put(mark).then_some(value);
        Self { key: u64::from_be_bytes(key), value, position: Position::in_mark(mark) }
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The change of a record in [`Layout::Fixed8`](crate::Layout::Fixed8).
    pub(crate) fn of(record: &Record<'a>) -> Self {
        let value = if record.op == Op::Put { record.value.first_chunk() } else { None };
        Self { key: head(record.key), value, position: Position::UNKNOWN }
    }
}

/// Changes that are put in order by counting: as many as an area usually holds, and some.
const FEW: usize = 32;

/// The order of a few changes by their keys, with equal ones as they come.
///
/// The position of a key is its rank among the rows of the page, so of each change it is counted
/// how many come before it, all with all: no branch is guessed wrong, and hardly a key is compared.
/// Between the same two rows the oldest comes first, for where keys rise that is their order.
fn order(changes: &[PairChange<'_>]) -> Option<[u8; FEW]> {
    if changes.len() > FEW {
        return None;
    }
    const LAST: i16 = FEW as i16 - 1;
    // The position, and behind it which change it is, from the last.
    let mut places = [i16::MAX; FEW];
    for (at, (place, change)) in places.iter_mut().zip(changes).enumerate() {
        let position = change.position.get().filter(|position| *position < 1 << 10)?;
        *place = (position << 5) as i16 | (LAST - at as i16);
    }
    let mut ranks = [0_i16; FEW];
    for place in &places[..changes.len()] {
        // A few instructions for all lanes, as long as it is these that become vectors.
        let place = core::hint::black_box(*place);
        for (rank, other) in ranks.iter_mut().zip(&places) {
            *rank += i16::from(place < *other);
        }
    }
    let mut sorted = [0_i16; FEW];
    for (rank, place) in ranks[..changes.len()].iter().zip(&places) {
        sorted[*rank as usize % FEW] = *place;
    }
    let mut order = sorted.map(|place| (LAST - (place & LAST)) as u8);
    let rank = |at: u8| (changes[usize::from(at)].key, at);
    for next in 1..changes.len() {
        if sorted[next - 1] >> 5 != sorted[next] >> 5 {
            continue;
        }
        // Between the same two rows: only the keys tell.
        let mut at = next;
        while at > 0 && rank(order[at - 1]) > rank(order[at]) {
            order.swap(at - 1, at);
            at -= 1;
        }
    }
    Some(order)
}

/// What rows of a leaf consist of after its records.
struct Part<'a> {
    /// Rows of the page that lie one behind the other; none, perhaps.
    rows: &'a [Row],
    /// The row that a record puts behind them.
    put: Option<Row>,
}

/// The rows of a leaf at some positions after its records, whose keys all belong there. What does
/// not survive goes to `drop`.
struct Merge<'c, 'a, D> {
    rows: &'a [Row],
    line: Line,
    /// The rows that are left.
    left: Range<usize>,
    changes: InOrder<'c, 'a>,
    /// The key of the last change.
    last: Option<u64>,
    drop: D,
}

/// Changes in the order of their keys.
struct InOrder<'c, 'a> {
    changes: &'c [PairChange<'a>],
    /// If they do not lie in that order: where they do.
    order: Option<[u8; FEW]>,
    next: usize,
}

impl<'c, 'a> InOrder<'c, 'a> {
    /// Of changes that come newest first.
    fn new(changes: &'c mut [PairChange<'a>]) -> Self {
        let order = order(changes);
        if order.is_none() {
            changes.sort_by_key(|change| change.key);
        }
        Self { changes, order, next: 0 }
    }
}

impl<'c, 'a> Iterator for InOrder<'c, 'a> {
    type Item = &'c PairChange<'a>;

    #[inline]
    fn next(&mut self) -> Option<&'c PairChange<'a>> {
        let nth = self.next;
        if nth == self.changes.len() {
            return None;
        }
        self.next += 1;
        self.changes.get(self.order.as_ref().map_or(nth, |order| usize::from(order[nth])))
    }
}

impl<'c, 'a, D: FnMut(&'a [u8])> Merge<'c, 'a, D> {
    /// Of changes that come newest first; they are put in order here.
    #[inline]
    fn new(base: Base<'a>, left: Range<usize>, changes: &'c mut [PairChange<'a>], drop: D) -> Self {
        let (rows, line, changes) = (base.pairs(), base.line(), InOrder::new(changes));
        Self { rows, line, left, changes, last: None, drop }
    }
}

impl<'a, D: FnMut(&'a [u8])> Iterator for Merge<'_, 'a, D> {
    type Item = Part<'a>;

    #[inline]
    fn next(&mut self) -> Option<Part<'a>> {
        for change in &mut self.changes {
            if self.last.replace(change.key) == Some(change.key) {
                if let Some(value) = change.value {
                    (self.drop)(value);
                }
                continue;
            }
            let upto = match change.position.get() {
                Some(position) => usize::from(position),
                None => lower_bound(self.rows, &self.line, change.key),
            };
            debug_assert_eq!(upto, lower_bound(self.rows, &self.line, change.key), "of a key");
            let rows = &self.rows[self.left.start..upto];
            self.left.start = upto;
            if let Some(old) = self.rows.get(upto)
                && head(&old[..]) == change.key
            {
                self.left.start += 1;
                (self.drop)(&old[8..]);
            }
            let put = change.value.map(|value| row(change.key.to_be_bytes(), *value));
            return Some(Part { rows, put });
        }
        let rows = &self.rows[self.left.clone()];
        self.left.start = self.left.end;
        (!rows.is_empty()).then_some(Part { rows, put: None })
    }
}

/// Appends the rows of a leaf at these positions after its records, whose keys all belong there.
/// The changes come newest first, and are put in order here. What does not survive goes to `drop`.
#[inline]
fn fold_rows<'a>(
    base: Base<'a>,
    window: Range<usize>,
    changes: &mut [PairChange<'a>],
    drop: impl FnMut(&'a [u8]),
    out: &mut Vec<Row>,
) {
    for part in Merge::new(base, window, changes, drop) {
        out.extend_from_slice(part.rows);
        out.extend(part.put);
    }
}

/// Appends the rows of a leaf at these positions after its records, whose keys all belong there.
/// The changes come newest first, and are put in order here.
///
/// # Panics
/// If the page has no such positions.
pub fn read_rows<'a>(
    base: Base<'a>,
    window: Range<usize>,
    changes: &mut [PairChange<'a>],
    out: &mut Vec<[u8; 16]>,
) {
    fold_rows(base, window, changes, |_| {}, out);
}

/// Entries between one that is shown and the one whose value is told to `ahead`.
pub(crate) const AHEAD: usize = 16;

/// Shows the same rows where they lie, until `see` breaks off. The values of those that are likely
/// to come soon are told to `ahead`, if there is one.
///
/// # Panics
/// If the page has no such positions.
#[inline]
pub fn each_row<'a, B>(
    base: Base<'a>,
    window: Range<usize>,
    changes: &mut [PairChange<'a>],
    ahead: Option<fn(&[u8])>,
    mut see: impl FnMut(&[u8; 16]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for part in Merge::new(base, window, changes, |_| {}) {
        // The one place that this is called at, so that nothing is called for a row.
        for rows in [part.rows, part.put.as_slice()] {
            tell_first(rows, ahead);
            for (at, row) in rows.iter().enumerate() {
                tell_next(rows, at, ahead);
                see(row)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Tells the values of the first of these rows.
#[inline]
pub fn tell_first(rows: &[[u8; 16]], ahead: Option<fn(&[u8])>) {
    if let Some(ahead) = ahead {
        rows.iter().take(AHEAD).for_each(|row| ahead(&row[8..]));
    }
}

/// Tells the value of the row that is to be told when this one is looked at.
#[inline]
pub fn tell_next(rows: &[[u8; 16]], at: usize, ahead: Option<fn(&[u8])>) {
    if let Some((ahead, row)) = ahead.zip(rows.get(at + AHEAD)) {
        ahead(&row[8..]);
    }
}

/// The row of this key and value.
#[inline]
fn row(key: [u8; 8], value: [u8; 8]) -> Row {
    let mut row = [0; ROW_BYTES];
    row[..8].copy_from_slice(&key);
    row[8..].copy_from_slice(&value);
    row
}

/// The row of this key and value, which have eight bytes each.
fn row_of(key: &[u8], value: &[u8]) -> Row {
    let (Ok(key), Ok(value)) = (key.try_into(), value.try_into()) else {
        panic!("a row of {} and {} bytes", key.len(), value.len());
    };
    row(key, value)
}

/// Takes the first rows away, as long as their keys are below this one.
fn take_below<'r>(rows: &mut &'r [Row], key: Option<u64>) -> &'r [Row] {
    let count = rows.partition_point(|row| key.is_none_or(|key| head(row) < key));
    rows.split_off(..count).unwrap_or_default()
}

impl<'a> Pairs<'a> {
    /// All rows of a page.
    pub(crate) fn of(base: Base<'a>) -> Self {
        Self::rows(base.pairs())
    }

    /// The rows of a leaf after its records: see [`fold`](crate::fold). What does not survive goes
    /// to `drop`. The changes come newest first, and are put in order here.
    pub fn fold(
        base: Base<'a>,
        changes: &mut [PairChange<'a>],
        drop: impl FnMut(&'a [u8]),
    ) -> Self {
        let mut rows = Vec::with_capacity(base.count() + changes.len());
        fold_rows(base, 0..base.count(), changes, drop, &mut rows);
        Self { rows: Cow::Owned(rows) }
    }

    /// The rows of a leaf, and behind them these new ones, the last first.
    ///
    /// # Panics
    /// If there are more of them, or fewer, than `count`.
    pub fn extended<'r>(
        base: Base<'a>,
        count: usize,
        last_first: impl Iterator<Item = ([u8; 8], &'r [u8; 8])>,
    ) -> Self {
        let mut rows = Vec::with_capacity(base.count() + count);
        rows.extend_from_slice(base.pairs());
        rows.resize(base.count() + count, [0; ROW_BYTES]);
        let mut left = count;
        for (key, value) in last_first {
            left -= 1;
            rows[base.count() + left] = row(key, *value);
        }
        assert_eq!(left, 0, "rows behind those of a page");
        debug_assert!(rows.is_sorted_by(|left, right| left[..8] < right[..8]), "rows in order");
        Self { rows: Cow::Owned(rows) }
    }

    /// The rows of a page with one in the place of others, or of none.
    pub(crate) fn with(base: Base<'a>, replaced: Range<usize>, key: &[u8], value: &[u8]) -> Self {
        let rows = base.pairs();
        let (before, behind) = (&rows[..replaced.start], &rows[replaced.end..]);
        Self { rows: Cow::Owned([before, &[row_of(key, value)], behind].concat()) }
    }

    /// All rows but the one at this position.
    pub(crate) fn without(base: Base<'a>, at: usize) -> Self {
        let rows = base.pairs();
        Self { rows: Cow::Owned([&rows[..at], &rows[at + 1..]].concat()) }
    }

    /// Rows that are not in any page yet.
    pub(crate) fn fresh<'k>(rows: impl IntoIterator<Item = (&'k [u8], &'k [u8])>) -> Self {
        Self { rows: rows.into_iter().map(|(key, value)| row_of(key, value)).collect() }
    }

    /// Rows that lie one behind the other.
    pub(crate) fn rows(rows: &'a [Row]) -> Self {
        Self { rows: Cow::Borrowed(rows) }
    }

    /// The rows of both, in the order of their keys. Where both have a key the newer one counts,
    /// and the value of the other goes to `drop`.
    pub(crate) fn overlay(self, newer: &Self, mut drop: impl FnMut(&[u8])) -> Self {
        let (mut old, mut new) = (&*self.rows, &*newer.rows);
        let key = |rows: &[Row]| rows.first().map(|row| head(row));
        let mut rows = Vec::with_capacity(old.len() + new.len());
        while !old.is_empty() {
            rows.extend_from_slice(take_below(&mut old, key(new)));
            if key(old) == key(new)
                && let Some(replaced) = old.split_off_first()
            {
                drop(&replaced[8..]);
            }
            rows.extend_from_slice(take_below(&mut new, key(old)));
        }
        rows.extend_from_slice(new);
        Self { rows: Cow::Owned(rows) }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.rows.to_mut().extend_from_slice(&other.rows);
    }

    /// The key at this position.
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        &self.rows[at][..8]
    }

    /// The first `at` rows, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        if at == 0 {
            return (Self::default(), self);
        }
        let (left, right) = match self.rows {
            Cow::Borrowed(rows) => {
                let (left, right) = rows.split_at(at);
                (Cow::Borrowed(left), Cow::Borrowed(right))
            }
            Cow::Owned(mut left) => {
                let right = left.split_off(at);
                (Cow::Owned(left), Cow::Owned(right))
            }
        };
        (Self { rows: left }, Self { rows: right })
    }

    /// Appends the base page with this shape and these rows to a sheet.
    pub(crate) fn write(&self, shape: &Shape<'_>, sheet: &mut impl Sheet) {
        let (bytes, inner) = (self.bytes(shape), shape.level > 0);
        // The first key of an inner page is the low key, whatever it was, and is never looked for.
        let (first, searched) = match self.rows.split_first() {
            Some((first, others)) if inner => (Some(first), others),
            _ => (None, &*self.rows),
        };
        sheet.put(&header(shape, self.len(), &Line::fit(searched), bytes));
        if let Some(first) = first {
            sheet.put(&head(shape.low).to_be_bytes());
            sheet.put(&first[8..]);
        }
        sheet.put(searched.as_flattened());
        let mut links_and_padding = Vec::new();
        links(shape, &mut links_and_padding);
        links_and_padding.resize(bytes - HEADER_BYTES - ROW_BYTES * self.len(), 0);
        sheet.put(&links_and_padding);
    }

    /// Bytes of the base page.
    pub(crate) fn bytes(&self, shape: &Shape<'_>) -> usize {
        crate::write::fixed_bytes(shape, self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Layout};
    use crate::{base_bytes, write_base};

    /// Changes whose positions are known are folded as those are whose positions nobody knows.
    #[test]
    fn positions_give_the_order_of_keys() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(0xd129_42f2_9df5_3b5d).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..2000 {
            let keys: Vec<[u8; 8]> = (0..random(300)).map(|n| (n * 5 + 7).to_be_bytes()).collect();
            let entries: Vec<_> = keys.iter().map(|key| Entry::new(key, key)).collect();
            let shape = Shape::whole(Layout::Fixed8);
            let mut bytes = vec![0; base_bytes(&shape, &entries)];
            write_base(&shape, &entries, &mut bytes);
            let base = Base::new(&bytes);
            // Few keys, so that many changes lie between the same two rows, or are of one key.
            let (spread, values) = (1 + random(1600), (0..40_u64).map(u64::to_be_bytes));
            let values: Vec<_> = values.collect();
            let changes: Vec<_> = (0..random(40))
                .map(|nth| {
                    let key = random(spread);
                    let value = (random(3) > 0).then_some(&values[nth as usize]);
                    let position = Position::new(base.row_at(key));
                    PairChange { key, value, position }
                })
                .collect();
            let folded = |position: fn(Position) -> Position| {
                let known = |change: &PairChange<'_>| change.position;
                let mut changes: Vec<_> = changes
                    .iter()
                    .map(|change| PairChange { position: position(known(change)), ..*change })
                    .collect();
                let (mut rows, mut dropped) = (Vec::new(), Vec::new());
                fold_rows(
                    base,
                    0..base.count(),
                    &mut changes,
                    |value| dropped.push(value.to_vec()),
                    &mut rows,
                );
                (rows, dropped)
            };
            assert_eq!(folded(|known| known), folded(|_| Position::UNKNOWN), "round {round}");
        }
    }
}
