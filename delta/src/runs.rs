//! The entries of a page of keys of any length that is to be, as runs of entries of the page that
//! is.
//!
//! What `pairs` is for numbers: a consolidation looks up where each change belongs, and copies what
//! lies between two changes in pieces, one for each part of the page. That is possible as long as
//! the new page has its fences inside those of the old one: then it cuts off the same prefix or a
//! longer one. A merge takes the general way, entry by entry.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use crate::base::{Base, HEADER_BYTES};
use crate::contents::Sheet;
use crate::entry::{Entry, Shape};
use crate::hash::fingerprint;
use crate::heap::{Extents, Heap, NARROW_BYTES, TAG_GROUP, VAR_ROW_BYTES, item_head_bytes};
use crate::key::KeyRef;
use crate::plain::{cmp_behind_head, head, second_head};
use crate::record::{Op, Record};
use crate::split::index_at;
use crate::write::{item_head, links, var_header};

/// Entries in the order of their keys.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "runs are runs")]
pub struct Runs<'a> {
    /// The page that most of them lie in.
    base: Base<'a>,
    runs: Vec<Run<'a>>,
    len: usize,
    /// Bytes of their items behind the prefix of that page.
    heap_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Run<'a> {
    /// Entries of the page, from one position up to another.
    Of(usize, usize),
    One(Entry<'a>),
}

impl Run<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Of(from, to) => to - from,
            Self::One(_) => 1,
        }
    }
}

impl<'a> Runs<'a> {
    /// All entries of a page, if it can be taken apart.
    pub(crate) fn of(base: Base<'a>) -> Option<Self> {
        let mut runs = Self::none(base)?;
        runs.copy(0, base.count());
        Some(runs)
    }

    fn none(base: Base<'a>) -> Option<Self> {
        let none = Self { base, runs: Vec::new(), len: 0, heap_bytes: 0 };
        (!base.heap().wide).then_some(none)
    }

    /// The entries of a leaf after its records: see [`fold`](crate::fold). `None` if they can't be
    /// had as runs; then nothing was dropped.
    pub(crate) fn fold(
        base: Base<'a>,
        newest_first: &[(u64, Record<'a>)],
        dropped: &mut Vec<(u8, &'a [u8])>,
    ) -> Option<Self> {
        let mut runs = Self::none(base)?;
        let put = newest_first.iter().map(|(_, r)| r).filter(|r| r.op == Op::Put);
        let mut most = base.heap().bytes.len();
        for record in put {
            if !runs.takes(record.flags, record.value) {
                return None;
            }
            most += item_head_bytes(base.value_len()) + record.key.len() + record.value.len();
        }
        if most > NARROW_BYTES {
            return None;
        }
        runs.runs.reserve(2 * newest_first.len() + 1);
        let drop = |flags, value| dropped.push((flags, value));
        for part in Parts::new(base, 0..base.count(), newest_first, drop) {
            runs.copy(part.of.start, part.of.end);
            if let Some(record) = part.put {
                let key = KeyRef::from(record.key);
                runs.push(Entry { key, value: record.value, flags: record.flags });
            }
        }
        Some(runs)
    }

    /// The entries of a page and newer ones: see [`Contents::overlay`](crate::Contents::overlay).
    /// Hands both back if they can't be had as runs.
    pub(crate) fn overlay(
        self,
        newer: Vec<Entry<'a>>,
        mut drop: impl FnMut(Entry<'a>),
    ) -> Result<Self, (Self, Vec<Entry<'a>>)> {
        let base = self.base;
        let whole = matches!(self.runs[..], [Run::Of(0, to)] if to == base.count());
        let few = newer.len() * 4 <= self.len;
        let heap: usize = newer.iter().map(|e| e.key.len() + e.value.len() + 3).sum();
        let fits = heap + self.heap_bytes <= NARROW_BYTES;
        if !(whole && few && fits && newer.iter().all(|e| self.takes(e.flags, e.value))) {
            return Err((self, newer));
        }
        let Some(mut runs) = Self::none(base) else { return Err((self, newer)) };
        let mut copied = 0;
        for entry in newer {
            let key = entry.key.to_vec();
            let (at, there) = match base.position(&key) {
                Ok(at) => (at, true),
                Err(at) => (at, false),
            };
            runs.copy(copied, at);
            if there {
                drop(base.entry(at));
            }
            copied = at + usize::from(there);
            runs.push(entry);
        }
        runs.copy(copied, base.count());
        Ok(runs)
    }

    /// All entries but those from one position up to another, and this one in their place.
    pub(crate) fn with(
        base: Base<'a>,
        (from, to): (usize, usize),
        entry: Option<Entry<'a>>,
    ) -> Option<Self> {
        let mut runs = Self::none(base)?;
        runs.copy(0, from);
        if let Some(entry) = entry {
            if !runs.takes(entry.flags, entry.value) {
                return None;
            }
            runs.push(entry);
        }
        runs.copy(to, base.count());
        Some(runs)
    }

    /// Whether such a value can lie in the page as it is laid out.
    fn takes(&self, flags: u8, value: &[u8]) -> bool {
        self.base.value_len().is_none_or(|len| len == value.len() && flags == 0)
    }

    fn copy(&mut self, from: usize, to: usize) {
        if from < to {
            self.runs.push(Run::Of(from, to));
            self.len += to - from;
            self.heap_bytes += self.base.heap().items(from, to).len();
        }
    }

    fn push(&mut self, entry: Entry<'a>) {
        self.runs.push(Run::One(entry));
        self.len += 1;
        self.heap_bytes += self.item_bytes(&entry, self.base.prefix_len());
    }

    fn item_bytes(&self, entry: &Entry<'_>, prefix_len: usize) -> usize {
        let suffix_len = entry.key.len() - prefix_len;
        item_head_bytes(self.base.value_len()) + suffix_len + entry.value.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The entries, one by one.
    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries = Vec::with_capacity(self.len);
        for run in &self.runs {
            match run {
                Run::Of(from, to) => entries.extend(self.base.entries_between(*from, *to)),
                Run::One(entry) => entries.push(*entry),
            }
        }
        entries
    }

    /// Bytes of an item before its key: as in the page that most of them lie in, whatever those are
    /// that are left of it.
    pub(crate) fn item_head_bytes(&self) -> usize {
        item_head_bytes(self.base.value_len())
    }

    /// The entry at this position.
    pub(crate) fn entry(&self, mut at: usize) -> Entry<'a> {
        for run in &self.runs {
            match run {
                Run::Of(from, _) if at < run.len() => return self.base.entry(from + at),
                Run::One(entry) if at == 0 => return *entry,
                _ => at -= run.len(),
            }
        }
        panic!("no entry {at} behind the last of {}", self.len);
    }

    /// Where to split: see [`split_index`](crate::split_index).
    pub(crate) fn split_index(&self, append_pattern: bool) -> usize {
        assert!(self.len >= 2, "{} entries to split", self.len);
        let (heap, prefix_len) = (self.base.heap(), self.base.prefix_len());
        let mut sizes = Vec::with_capacity(self.len);
        for run in &self.runs {
            match run {
                Run::Of(from, to) => {
                    sizes.extend(
                        (*from..*to).map(|at| VAR_ROW_BYTES + heap.items(at, at + 1).len()),
                    );
                }
                Run::One(entry) => sizes.push(VAR_ROW_BYTES + self.item_bytes(entry, prefix_len)),
            }
        }
        index_at(&sizes, append_pattern)
    }

    /// The first `at` entries, and the others.
    pub(crate) fn split_at(self, mut at: usize) -> (Self, Self) {
        let none = || Self { base: self.base, runs: Vec::new(), len: 0, heap_bytes: 0 };
        let (mut left, mut right) = (none(), none());
        for run in self.runs {
            let cut = at.min(run.len());
            at -= cut;
            match run {
                Run::Of(from, to) => {
                    left.copy(from, from + cut);
                    right.copy(from + cut, to);
                }
                Run::One(entry) => if cut > 0 { &mut left } else { &mut right }.push(entry),
            }
        }
        (left, right)
    }

    /// By how much the prefix of this shape is longer than that of the page.
    fn longer(&self, shape: &Shape<'_>) -> usize {
        let (old, new) = (self.base.prefix_len(), shape.prefix().len());
        assert!(new >= old, "fences that are not inside those of the page");
        new - old
    }

    /// Where the parts of the page with this shape and these entries lie.
    fn extents(&self, shape: &Shape<'_>) -> Extents {
        let mut heap_bytes = self.heap_bytes;
        if shape.level == 0 || self.len == 0 {
            heap_bytes -= self.longer(shape) * self.len;
        } else {
            // The key of the first child is the low key, and not stored.
            let stored = match self.runs.first() {
                Some(Run::Of(0, _)) => 0,
                _ => self.entry(0).key.len() - self.base.prefix_len(),
            };
            heap_bytes -= stored + self.longer(shape) * (self.len - 1);
        }
        Extents::of(shape, self.len, heap_bytes, self.base.value_len())
    }

    /// Bytes of the base page.
    pub(crate) fn bytes(&self, shape: &Shape<'_>) -> usize {
        self.extents(shape).bytes
    }

    /// Appends the base page with this shape and these entries to a sheet.
    pub(crate) fn write(&self, shape: &Shape<'_>, sheet: &mut impl Sheet) {
        let extents = self.extents(shape);
        let high = shape.high.unwrap_or_default();
        sheet.put(&var_header(shape, self.len, &extents));
        sheet.put(shape.low);
        sheet.put(high);
        pad(extents.tags - HEADER_BYTES - shape.low.len() - high.len(), sheet);
        if shape.level == 0 {
            self.put_tags(sheet);
        }
        let tags = if shape.level == 0 { self.len } else { 0 };
        pad(extents.offsets - extents.tags - tags, sheet);
        let runs = self.stored_runs(shape);
        let writing = Writing {
            base: self.base,
            longer: self.longer(shape),
            prefix_len: shape.prefix().len(),
        };
        let offsets = writing.offsets(&runs);
        sheet.put(offsets.as_flattened());
        pad(extents.heads - extents.offsets - 2 * offsets.len(), sheet);
        writing.put_heads(&runs, self.base.heads(), head, sheet);
        if shape.level > 0 {
            writing.put_heads(&runs, self.base.second_heads(), second_head, sheet);
        }
        let mut linked = Vec::new();
        links(shape, &mut linked);
        sheet.put(&linked);
        let heap_bytes = writing.put_items(&runs, sheet);
        pad(extents.bytes - extents.heap - heap_bytes, sheet);
    }

    fn put_tags(&self, sheet: &mut impl Sheet) {
        let tags = self.base.tags();
        for run in &self.runs {
            match run {
                Run::Of(from, to) => sheet.put(&tags[*from..*to]),
                Run::One(entry) => sheet.put(&[fingerprint(&whole(entry.key))]),
            }
        }
    }

    /// The runs, of an inner page with a first one whose key is not stored.
    fn stored_runs(&self, shape: &Shape<'_>) -> Cow<'_, [Run<'a>]> {
        if shape.level == 0 || self.len == 0 {
            return Cow::Borrowed(&self.runs);
        }
        let mut runs = Vec::with_capacity(self.runs.len() + 1);
        let first = self.entry(0);
        runs.push(Run::One(Entry { key: KeyRef::default(), ..first }));
        match self.runs[0] {
            Run::Of(from, to) if from + 1 < to => runs.push(Run::Of(from + 1, to)),
            _ => {}
        }
        runs.extend_from_slice(&self.runs[1..]);
        Cow::Owned(runs)
    }
}

/// What the parts of a page are written by.
struct Writing<'a> {
    base: Base<'a>,
    /// What is cut off the suffixes of the old page.
    longer: usize,
    prefix_len: usize,
}

impl<'a> Writing<'a> {
    /// What is stored of the key of an entry.
    fn suffix<'k>(&self, entry: &Entry<'k>) -> Cow<'k, [u8]> {
        whole(entry.key.skip(self.prefix_len))
    }

    /// `known` is what the old page has of them, `head` what they are of a suffix.
    fn put_heads(
        &self,
        runs: &[Run<'a>],
        known: &[[u8; 8]],
        head: impl Fn(&[u8]) -> u64,
        sheet: &mut impl Sheet,
    ) {
        let heap = self.base.heap();
        for run in runs {
            match run {
                Run::Of(from, to) if self.longer == 0 => {
                    sheet.put(known[*from..*to].as_flattened());
                }
                Run::Of(from, to) => {
                    for at in *from..*to {
                        let suffix = &heap.suffix(at)[self.longer..];
                        sheet.put(&head(suffix).to_le_bytes());
                    }
                }
                Run::One(entry) => sheet.put(&head(&self.suffix(entry)).to_le_bytes()),
            }
        }
    }

    /// The offsets of the items, of which there are fewer than 64 KiB.
    fn offsets(&self, runs: &[Run<'a>]) -> Vec<[u8; 2]> {
        let (old, heap) = (self.base.heap().offsets.as_chunks::<2>().0, self.base.heap());
        let count: usize = runs.iter().map(Run::len).sum();
        let mut offsets = Vec::with_capacity(count + 1);
        let mut end = 0_u16;
        offsets.push(end.to_le_bytes());
        for run in runs {
            match run {
                Run::Of(from, to) if self.longer == 0 => {
                    let shift = end.wrapping_sub(heap.offset(*from) as u16);
                    let moved = |offset: &[u8; 2]| {
                        u16::from_le_bytes(*offset).wrapping_add(shift).to_le_bytes()
                    };
                    offsets.extend(old[from + 1..=*to].iter().map(moved));
                    end = (heap.offset(*to) as u16).wrapping_add(shift);
                }
                Run::Of(from, to) => {
                    let mut shift = end.wrapping_sub(heap.offset(*from) as u16);
                    offsets.extend(old[from + 1..=*to].iter().map(|offset| {
                        shift = shift.wrapping_sub(self.longer as u16);
                        end = u16::from_le_bytes(*offset).wrapping_add(shift);
                        end.to_le_bytes()
                    }));
                }
                Run::One(entry) => {
                    let suffix_len = entry.key.skip(self.prefix_len).len();
                    let head_bytes = item_head_bytes(self.base.value_len());
                    end += (head_bytes + suffix_len + entry.value.len()) as u16;
                    offsets.push(end.to_le_bytes());
                }
            }
        }
        offsets
    }

    /// Says how many bytes that were.
    fn put_items(&self, runs: &[Run<'a>], sheet: &mut impl Sheet) -> usize {
        let (heap, value_len) = (self.base.heap(), self.base.value_len());
        let mut bytes = 0;
        for run in runs {
            match run {
                Run::Of(from, to) if self.longer == 0 => {
                    let items = heap.items(*from, *to);
                    sheet.put(items);
                    bytes += items.len();
                }
                Run::Of(from, to) => {
                    let head_bytes = item_head_bytes(value_len);
                    for at in *from..*to {
                        let (item_head, rest) = heap.items(at, at + 1).split_at(head_bytes);
                        sheet.put(item_head);
                        sheet.put(&rest[self.longer..]);
                        bytes += item_head.len() + rest.len() - self.longer;
                    }
                }
                Run::One(entry) => {
                    if value_len.is_none() {
                        let head = item_head(entry.flags, entry.value.len());
                        sheet.put(&head);
                        bytes += head.len();
                    }
                    let suffix = self.suffix(entry);
                    sheet.put(&suffix);
                    sheet.put(entry.value);
                    bytes += suffix.len() + entry.value.len();
                }
            }
        }
        bytes
    }
}

/// What entries of a leaf consist of after its records.
pub(crate) struct Part<'p, 'a> {
    /// Entries of the page at these positions; none, perhaps.
    pub(crate) of: Range<usize>,
    /// The record that puts an entry behind them.
    pub(crate) put: Option<&'p Record<'a>>,
}

/// The entries of a leaf at some positions after its records, whose keys all belong there. What
/// does not survive goes to `drop`.
pub(crate) struct Parts<'p, 'a, D> {
    walk: Walk<'p, 'a>,
    /// The positions that are left.
    left: Range<usize>,
    /// The key of the last record.
    last: Option<&'a [u8]>,
    drop: D,
}

impl<'p, 'a, D: FnMut(u8, &'a [u8])> Parts<'p, 'a, D> {
    #[inline]
    pub(crate) fn new(
        base: Base<'a>,
        left: Range<usize>,
        newest_first: &'p [(u64, Record<'a>)],
        drop: D,
    ) -> Self {
        Self { walk: Walk::new(base, left.clone(), newest_first), left, last: None, drop }
    }
}

impl<'p, 'a, D: FnMut(u8, &'a [u8])> Iterator for Parts<'p, 'a, D> {
    type Item = Part<'p, 'a>;

    #[inline]
    fn next(&mut self) -> Option<Part<'p, 'a>> {
        while let Some((at, there, record)) = self.walk.next() {
            if self.last.replace(record.key) == Some(record.key) {
                if record.op == Op::Put {
                    (self.drop)(record.flags, record.value);
                }
                continue;
            }
            let of = self.left.start..at;
            self.left.start = at;
            if there {
                let old = self.walk.heap.item(at);
                (self.drop)(old.flags, old.value);
                self.left.start += 1;
            }
            return Some(Part { of, put: (record.op == Op::Put).then_some(record) });
        }
        let of = self.left.clone();
        self.left.start = self.left.end;
        (!of.is_empty()).then_some(Part { of, put: None })
    }
}

/// Where each record belongs, in the order of the keys; of one key the newest first. Records and
/// entries are both in order, so one walk along the entries finds all, each when it is asked for.
struct Walk<'p, 'a> {
    heads: &'a [[u8; 8]],
    heap: Heap<'a>,
    prefix_len: usize,
    newest_first: &'p [(u64, Record<'a>)],
    /// The head of the suffix of each record that is left, and which record it is.
    order: std::vec::IntoIter<(u64, usize)>,
    at: usize,
}

impl<'p, 'a> Walk<'p, 'a> {
    fn new(base: Base<'a>, window: Range<usize>, newest_first: &'p [(u64, Record<'a>)]) -> Self {
        let prefix_len = base.prefix_len();
        let suffix = |record: usize| &newest_first[record].1.key[prefix_len..];
        let mut order: Vec<(u64, usize)> =
            (0..newest_first.len()).map(|record| (head(suffix(record)), record)).collect();
        order.sort_by(|left, right| {
            let rough = left.0.cmp(&right.0);
            rough.then_with(|| cmp_behind_head(suffix(left.1), suffix(right.1)))
        });
        let (heads, heap) = (&base.heads()[..window.end], base.heap());
        let order = order.into_iter();
        Self { heads, heap, prefix_len, newest_first, order, at: window.start }
    }
}

impl<'p, 'a> Iterator for Walk<'p, 'a> {
    /// The position, whether the key is there, and the record.
    type Item = (usize, bool, &'p Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (wanted, record) = self.order.next()?;
        let record = &self.newest_first[record].1;
        let below = |head: &[u8; 8]| u64::from_le_bytes(*head) < wanted;
        self.at += self.heads[self.at..].iter().take_while(|head| below(head)).count();
        let suffix = &record.key[self.prefix_len..];
        let mut order = Ordering::Greater;
        while self.heads.get(self.at).is_some_and(|head| u64::from_le_bytes(*head) == wanted) {
            order = cmp_behind_head(self.heap.suffix(self.at), suffix);
            if order != Ordering::Less {
                break;
            }
            self.at += 1;
        }
        Some((self.at, order == Ordering::Equal, record))
    }
}

/// A key in one piece.
fn whole(key: KeyRef<'_>) -> Cow<'_, [u8]> {
    if key.prefix().is_empty() { Cow::Borrowed(key.suffix()) } else { Cow::Owned(key.to_vec()) }
}

/// Fewer zeros than a group of tags has.
fn pad(bytes: usize, sheet: &mut impl Sheet) {
    sheet.put(&[0; TAG_GROUP][..bytes]);
}
