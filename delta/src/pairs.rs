//! The rows of a fixed page that is to be, as runs of rows that lie in pages that are.
//!
//! A consolidation changes few of the rows that it copies. So it looks up where each change
//! belongs, and what lies between two changes is copied in one piece.

use core::cmp::Ordering;
use core::ops::Range;
use std::vec;

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
    runs: Vec<Run<'a>>,
    len: usize,
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

#[derive(Clone, Copy, Debug)]
enum Run<'a> {
    Of(&'a [Row]),
    One(Row),
}

impl Run<'_> {
    #[inline]
    fn rows(&self) -> &[Row] {
        match self {
            Self::Of(rows) => rows,
            Self::One(row) => core::slice::from_ref(row),
        }
    }
}

/// Changes that are put in order by counting: as many as an area usually holds, and some.
const FEW: usize = 32;

/// The order of a few changes by their keys, with equal ones as they come.
///
/// The position of a key is its rank among the rows of the page, so of each change it is counted
/// how many come before it, all with all: no branch is guessed wrong, and hardly a key is compared.
fn order(changes: &[PairChange<'_>]) -> Option<[u8; FEW]> {
    if changes.len() > FEW {
        return None;
    }
    // The position, and behind it which change it is.
    let mut places = [i16::MAX; FEW];
    for (at, (place, change)) in places.iter_mut().zip(changes).enumerate() {
        let position = change.position.get().filter(|position| *position < 1 << 10)?;
        *place = (position << 5) as i16 | at as i16;
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
    let mut order = sorted.map(|place| place as u8 % FEW as u8);
    let key = |at: u8| changes[usize::from(at)].key;
    for next in 1..changes.len() {
        if sorted[next - 1] >> 5 != sorted[next] >> 5 {
            continue;
        }
        // Between the same two rows: only the keys tell.
        let mut at = next;
        while at > 0 && key(order[at - 1]) > key(order[at]) {
            order.swap(at - 1, at);
            at -= 1;
        }
    }
    Some(order)
}

/// Shows the changes in the order of their keys; of one key the newest first, as they come.
#[inline]
fn in_order<'c, 'a>(changes: &'c mut [PairChange<'a>], mut see: impl FnMut(&'c PairChange<'a>)) {
    if let Some(order) = order(changes) {
        let changes = &*changes;
        order[..changes.len()].iter().for_each(|at| see(&changes[usize::from(*at)]));
    } else {
        changes.sort_by_key(|change| change.key);
        changes.iter().for_each(see);
    }
}

/// Gives the rows of a leaf at these positions after its records, whose keys all belong there, to
/// `put`, run by run.
#[inline]
fn fold_rows<'a>(
    base: Base<'a>,
    window: Range<usize>,
    changes: &mut [PairChange<'a>],
    mut drop: impl FnMut(&'a [u8]),
    mut put: impl FnMut(Run<'a>),
) {
    let (rows, line) = (base.pairs(), base.line());
    let Range { start: mut copied, end } = window;
    let mut last = None;
    in_order(changes, |change| {
        if last.replace(change.key) == Some(change.key) {
            if let Some(value) = change.value {
                drop(value);
            }
            return;
        }
        let upto = match change.position.get() {
            Some(position) => usize::from(position),
            None => lower_bound(rows, &line, change.key),
        };
        debug_assert_eq!(upto, lower_bound(rows, &line, change.key), "position of a key");
        put(Run::Of(&rows[copied..upto]));
        copied = upto;
        if let Some(old) = rows.get(upto)
            && head(&old[..]) == change.key
        {
            copied += 1;
            drop(&old[8..]);
        }
        if let Some(value) = change.value {
            put(Run::One(row(&change.key.to_be_bytes(), value)));
        }
    });
    put(Run::Of(&rows[copied..end]));
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
    fold_rows(base, window, changes, |_| {}, |run| out.extend_from_slice(run.rows()));
}

/// Rows that are taken away from the front.
struct Front<'a> {
    /// Empty only if no run is left.
    run: Run<'a>,
    runs: vec::IntoIter<Run<'a>>,
}

impl<'a> Front<'a> {
    fn of(pairs: Pairs<'a>) -> Self {
        let mut runs = pairs.runs.into_iter();
        Self { run: runs.next().unwrap_or(Run::Of(&[])), runs }
    }

    fn key(&self) -> Option<u64> {
        self.run.rows().first().map(|row| head(&row[..]))
    }

    /// Leaves out the first rows of the first run.
    fn advance(&mut self, count: usize) {
        self.run = match self.run {
            Run::Of(rows) if count < rows.len() => Run::Of(&rows[count..]),
            _ => self.runs.next().unwrap_or(Run::Of(&[])),
        };
    }
}

/// The row of this key and value.
fn row(key: &[u8], value: &[u8]) -> Row {
    let mut row = [0; ROW_BYTES];
    row[..8].copy_from_slice(key);
    row[8..].copy_from_slice(value);
    row
}

impl<'a> Pairs<'a> {
    /// All rows of a page.
    pub(crate) fn of(base: Base<'a>) -> Self {
        let mut pairs = Self::default();
        pairs.copy(base.pairs());
        pairs
    }

    /// The rows of a leaf after its records: see [`fold`](crate::fold). What does not survive goes
    /// to `drop`. The changes come newest first, and are put in order here.
    pub fn fold(
        base: Base<'a>,
        changes: &mut [PairChange<'a>],
        drop: impl FnMut(&'a [u8]),
    ) -> Self {
        let mut pairs = Self { runs: Vec::with_capacity(2 * changes.len() + 1), len: 0 };
        fold_rows(base, 0..base.count(), changes, drop, |run| pairs.add(run));
        pairs
    }

    fn add(&mut self, run: Run<'a>) {
        match run {
            Run::Of(rows) => self.copy(rows),
            Run::One(row) => self.push(row),
        }
    }

    fn copy(&mut self, rows: &'a [Row]) {
        if !rows.is_empty() {
            self.runs.push(Run::Of(rows));
            self.len += rows.len();
        }
    }

    fn push(&mut self, row: Row) {
        self.runs.push(Run::One(row));
        self.len += 1;
    }

    /// The rows of a page with one in the place of others, or of none.
    pub(crate) fn with(base: Base<'a>, replaced: Range<usize>, key: &[u8], value: &[u8]) -> Self {
        let rows = base.pairs();
        let mut pairs = Self::default();
        pairs.copy(&rows[..replaced.start]);
        pairs.push(row(key, value));
        pairs.copy(&rows[replaced.end..]);
        pairs
    }

    /// All rows but the one at this position.
    pub(crate) fn without(base: Base<'a>, at: usize) -> Self {
        let rows = base.pairs();
        let mut pairs = Self::default();
        pairs.copy(&rows[..at]);
        pairs.copy(&rows[at + 1..]);
        pairs
    }

    /// Rows that are not in any page yet.
    pub(crate) fn fresh<'k>(rows: impl IntoIterator<Item = (&'k [u8], &'k [u8])>) -> Self {
        let mut pairs = Self::default();
        rows.into_iter().for_each(|(key, value)| pairs.push(row(key, value)));
        pairs
    }

    /// Rows that lie one behind the other.
    pub(crate) fn rows(rows: &'a [Row]) -> Self {
        let mut pairs = Self::default();
        pairs.copy(rows);
        pairs
    }

    /// The rows of both, in the order of their keys. Where both have a key the newer one counts,
    /// and the value of the other goes to `drop`.
    pub(crate) fn overlay(self, newer: Self, mut drop: impl FnMut(&[u8])) -> Self {
        let mut out = Self::default();
        let (mut old, mut newer) = (Front::of(self), Front::of(newer));
        loop {
            let (one, other) = match (old.key(), newer.key()) {
                (Some(one), Some(other)) => (one, other),
                (Some(_), None) => break out.take_all(old),
                (None, _) => break out.take_all(newer),
            };
            match one.cmp(&other) {
                Ordering::Less => out.take(&mut old, |key| key < other),
                Ordering::Greater => out.take(&mut newer, |key| key < one),
                Ordering::Equal => {
                    drop(&old.run.rows()[0][8..]);
                    old.advance(1);
                }
            }
        }
        out
    }

    /// Takes the rows of the first run that are wanted; they come first in it, and the first is.
    fn take(&mut self, from: &mut Front<'a>, wanted: impl Fn(u64) -> bool) {
        let count = from.run.rows().partition_point(|row| wanted(head(&row[..])));
        match from.run {
            Run::Of(rows) => self.copy(&rows[..count]),
            Run::One(row) => self.push(row),
        }
        from.advance(count);
    }

    fn take_all(&mut self, mut from: Front<'a>) {
        while from.key().is_some() {
            self.take(&mut from, |_| true);
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.len += other.len;
    }

    /// The key at this position.
    pub(crate) fn key(&self, mut at: usize) -> &[u8] {
        for run in &self.runs {
            let rows = run.rows();
            if let Some(row) = rows.get(at) {
                return &row[..8];
            }
            at -= rows.len();
        }
        panic!("no row {at} behind the last of {}", self.len);
    }

    /// The first `at` rows, and the others.
    pub(crate) fn split_at(self, mut at: usize) -> (Self, Self) {
        let (mut left, mut right) = (Self::default(), Self::default());
        for run in self.runs {
            let cut = at.min(run.rows().len());
            at -= cut;
            match run {
                Run::Of(rows) => {
                    left.copy(&rows[..cut]);
                    right.copy(&rows[cut..]);
                }
                Run::One(row) => if cut > 0 { &mut left } else { &mut right }.push(row),
            }
        }
        (left, right)
    }

    /// Appends the base page with this shape and these rows to a sheet.
    pub(crate) fn write(&self, shape: &Shape<'_>, sheet: &mut impl Sheet) {
        let bytes = self.bytes(shape);
        sheet.put(&[0; HEADER_BYTES]);
        for run in &self.runs {
            sheet.put(run.rows().as_flattened());
        }
        let mut links_and_padding = Vec::new();
        links(shape, &mut links_and_padding);
        links_and_padding.resize(bytes - HEADER_BYTES - ROW_BYTES * self.len, 0);
        sheet.put(&links_and_padding);
        let page = sheet.written();
        let at = page.len() - bytes;
        let (page, inner) = (&mut page[at..], shape.level > 0);
        if let (true, Some(key)) = (inner, page.get_mut(HEADER_BYTES..HEADER_BYTES + 8)) {
            // The key of an inner page's first row is the low key, whatever it was.
            key.copy_from_slice(&head(shape.low).to_be_bytes());
        }
        let rows = page[HEADER_BYTES..HEADER_BYTES + ROW_BYTES * self.len].as_chunks().0;
        let searched = if inner { rows.get(1..).unwrap_or_default() } else { rows };
        let line = Line::fit(searched);
        page[..HEADER_BYTES].copy_from_slice(&header(shape, self.len, &line, bytes));
    }

    /// Bytes of the base page.
    pub(crate) fn bytes(&self, shape: &Shape<'_>) -> usize {
        crate::write::fixed_bytes(shape, self.len)
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
                    |run| rows.extend_from_slice(run.rows()),
                );
                (rows, dropped)
            };
            assert_eq!(folded(|known| known), folded(|_| Position::UNKNOWN), "round {round}");
        }
    }
}
