//! What a page that is to be built will hold, in either layout.

use crate::base::{Base, ROW_BYTES};
use crate::entry::{Entry, Layout, Shape};
use crate::heap::item_head_bytes;
use crate::key::KeyRef;
use crate::overlay::overlay;
use crate::pairs::{PairChange, Pairs};
use crate::record::Record;
use crate::runs::Runs;
use crate::split::{Fill, cuts, rows_in, shortest_separator, split_index};
use crate::write::uniform;
use crate::{base_bytes, write_base};

/// The entries of a page that is to be built.
#[derive(Clone, Debug)]
pub enum Contents<'a> {
    /// Of a page in [`Layout::Fixed8`].
    Pairs(Pairs<'a>),
    /// Of a page in [`Layout::Var`], most of which lie in one that is.
    Runs(Runs<'a>),
    /// Of a page in [`Layout::Var`].
    Entries(Vec<Entry<'a>>),
}

impl<'a> Contents<'a> {
    /// No entries.
    #[must_use]
    pub fn empty(layout: Layout) -> Self {
        match layout {
            Layout::Fixed8 => Self::Pairs(Pairs::default()),
            Layout::Var => Self::Entries(Vec::new()),
        }
    }

    /// What a page holds.
    #[must_use]
    pub fn of(base: Base<'a>) -> Self {
        match base.layout() {
            Layout::Fixed8 => Self::Pairs(Pairs::of(base)),
            Layout::Var => {
                Runs::of(base).map_or_else(|| Self::Entries(base.entries().collect()), Self::Runs)
            }
        }
    }

    /// What a leaf holds after its records, each with its version: see [`fold`](crate::fold).
    #[must_use]
    pub fn fold(
        base: Base<'a>,
        newest_first: &[(u64, Record<'a>)],
        dropped: &mut Vec<(u8, &'a [u8])>,
    ) -> Self {
        match base.layout() {
            Layout::Fixed8 => {
                let mut changes: Vec<_> =
                    newest_first.iter().map(|(_, record)| PairChange::of(record)).collect();
                let drop = |value| dropped.push((0, value));
                Self::Pairs(Pairs::fold(base, &mut changes, drop))
            }
            Layout::Var => {
                if let Some(runs) = Runs::fold(base, newest_first, dropped) {
                    return Self::Runs(runs);
                }
                let records: Vec<Record<'a>> = newest_first.iter().map(|(_, r)| *r).collect();
                let mut entries = Vec::new();
                crate::fold(base, &records, &mut entries, dropped);
                Self::Entries(entries)
            }
        }
    }

    /// Rows that lie in no page yet: keys and values of eight bytes each, in the order of the keys.
    #[must_use]
    pub fn rows(rows: &'a [[u8; 16]]) -> Self {
        Self::Pairs(Pairs::rows(rows))
    }

    /// Children that are in no inner page yet, each with the key that it begins at and the value
    /// that [`child_value`](crate::child_value) gives for it. The first key may be empty, as is the
    /// low key of the first page of a level.
    #[must_use]
    pub fn children<'k: 'a>(
        layout: Layout,
        children: impl IntoIterator<Item = (&'k [u8], &'k [u8])>,
    ) -> Self {
        match layout {
            Layout::Fixed8 => {
                // The key of a page's first row is the low key, and is never looked at.
                let whole = |key: &'k [u8]| if key.is_empty() { &[0; 8][..] } else { key };
                let rows = children.into_iter().map(|(key, child)| (whole(key), child));
                Self::Pairs(Pairs::fresh(rows))
            }
            Layout::Var => {
                let entries = children.into_iter().map(|(key, child)| Entry::new(key, child));
                Self::Entries(entries.collect())
            }
        }
    }

    /// The children of an inner page with another first one.
    ///
    /// `child` is what [`child_value`](crate::child_value) gives for it.
    #[must_use]
    pub fn with_first_child(base: Base<'a>, child: &'a [u8]) -> Self {
        match base.layout() {
            Layout::Fixed8 => Self::Pairs(Pairs::with(base, 0..1, &[0; 8], child)),
            Layout::Var => {
                let first = Entry { value: child, ..base.entry(0) };
                Self::all_but(base, (0, 1), Some(first))
            }
        }
    }

    /// The children of an inner page without the one at this position, whose keys go to its left
    /// neighbour.
    ///
    /// # Panics
    /// If there is no such child, or it is the first: that has no left neighbour here.
    #[must_use]
    pub fn without_child(base: Base<'a>, at: usize) -> Self {
        assert!(at > 0 && at < base.count(), "child {at} of {} can't be left out", base.count());
        match base.layout() {
            Layout::Fixed8 => Self::Pairs(Pairs::without(base, at)),
            Layout::Var => Self::all_but(base, (at, at + 1), None),
        }
    }

    /// All entries but those from one position up to another, and this one in their place.
    fn all_but(base: Base<'a>, (from, to): (usize, usize), entry: Option<Entry<'a>>) -> Self {
        if let Some(runs) = Runs::with(base, (from, to), entry) {
            return Self::Runs(runs);
        }
        let before = base.entries_between(0, from);
        let behind = base.entries_between(to, base.count());
        Self::Entries(before.chain(entry).chain(behind).collect())
    }

    /// The entries one by one; of a page in [`Layout::Var`].
    fn into_entries(self) -> Vec<Entry<'a>> {
        match self {
            Self::Pairs(_) => panic!("pages of two layouts"),
            Self::Runs(runs) => runs.entries(),
            Self::Entries(entries) => entries,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.len(),
            Self::Runs(runs) => runs.len(),
            Self::Entries(entries) => entries.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of the entry at this position.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn key(&self, at: usize) -> KeyRef<'_> {
        match self {
            Self::Pairs(pairs) => KeyRef::from(pairs.key(at)),
            Self::Runs(runs) => runs.entry(at).key,
            Self::Entries(entries) => entries[at].key,
        }
    }

    /// Bytes that the entry at this position takes in a page with a prefix of this length, about.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn entry_bytes(&self, at: usize, prefix_len: usize) -> usize {
        let (key, value) = match self {
            Self::Pairs(_) => (8, 8),
            Self::Runs(runs) => {
                let entry = runs.entry(at);
                (entry.key.len(), entry.value.len())
            }
            Self::Entries(entries) => (entries[at].key.len(), entries[at].value.len()),
        };
        ROW_BYTES + value + key.saturating_sub(prefix_len)
    }

    /// Where to split: see [`split_index`].
    ///
    /// # Panics
    /// If there are fewer than two entries.
    #[must_use]
    pub fn split_index(&self, append_pattern: bool) -> usize {
        match self {
            Self::Pairs(pairs) => {
                assert!(pairs.len() >= 2, "{} rows to split", pairs.len());
                let wanted =
                    if append_pattern { pairs.len() / 10 * 9 } else { pairs.len().div_ceil(2) };
                wanted.clamp(1, pairs.len() - 1)
            }
            Self::Runs(runs) => runs.split_index(append_pattern),
            Self::Entries(entries) => split_index(entries, append_pattern),
        }
    }

    /// The separator of a split at this position.
    #[must_use]
    pub fn separator(&self, at: usize, shape: &Shape<'_>) -> Vec<u8> {
        match shape.level {
            0 => shortest_separator(self.key(at - 1), self.key(at), shape.layout),
            // Between two children there is no choice: the right one begins at its separator.
            _ => self.key(at).to_vec(),
        }
    }

    /// The first `at` entries, and the others.
    #[must_use]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Pairs(pairs) => {
                let (left, right) = pairs.split_at(at);
                (Self::Pairs(left), Self::Pairs(right))
            }
            Self::Runs(runs) => {
                let (left, right) = runs.split_at(at);
                (Self::Runs(left), Self::Runs(right))
            }
            Self::Entries(mut left) => {
                let right = left.split_off(at);
                (Self::Entries(left), Self::Entries(right))
            }
        }
    }

    /// Appends the entries of the page to the right.
    ///
    /// # Panics
    /// If the two are of different layouts.
    pub fn extend(&mut self, right: Self) {
        let left = std::mem::replace(self, Self::Entries(Vec::new()));
        *self = match (left, right) {
            (Self::Pairs(mut left), Self::Pairs(right)) => {
                left.extend(&right);
                Self::Pairs(left)
            }
            (left, right) => {
                let mut all = left.into_entries();
                all.extend(right.into_entries());
                Self::Entries(all)
            }
        };
    }

    /// These entries and newer ones. Where both have a key the newer one counts; the value of the
    /// other goes to `drop`, with its flags.
    ///
    /// # Panics
    /// If the two are of different layouts.
    #[must_use]
    pub fn overlay(self, newer: Self, mut drop: impl FnMut(u8, &[u8])) -> Self {
        match (self, newer) {
            (Self::Pairs(old), Self::Pairs(newer)) => {
                Self::Pairs(old.overlay(&newer, |value| drop(0, value)))
            }
            (Self::Runs(old), newer) => {
                let mut drop = |entry: Entry<'_>| drop(entry.flags, entry.value);
                match old.overlay(newer.into_entries(), &mut drop) {
                    Ok(runs) => Self::Runs(runs),
                    Err((old, newer)) => Self::Entries(overlay(old.entries(), newer, drop)),
                }
            }
            (old, newer) => {
                let (old, newer) = (old.into_entries(), newer.into_entries());
                Self::Entries(overlay(old, newer, |entry| drop(entry.flags, entry.value)))
            }
        }
    }

    /// Where to cut a page of this shape into pages that are as full as `fill` allows: the
    /// positions at which the second, the third, ... begin. None if one page will do.
    ///
    /// A page that grows at its end (`rising`) leaves the rest for its last page, else that and the
    /// one before share what they have. Each gets an entry at least, an inner page two if it can.
    #[must_use]
    pub fn cuts(&self, shape: &Shape<'_>, fill: Fill, rising: bool) -> Vec<usize> {
        let mut cuts = match self {
            Self::Pairs(pairs) => {
                let each = rows_in(shape, fill);
                (1..pairs.len().div_ceil(each)).map(|page| page * each).collect()
            }
            Self::Runs(runs) => cuts(&runs.entries(), runs.item_head_bytes(), shape, fill),
            Self::Entries(entries) => cuts(entries, item_head_bytes(uniform(entries)), shape, fill),
        };
        if !rising && let Some(last) = cuts.pop() {
            let begin = cuts.last().copied().unwrap_or(0);
            cuts.push(last.min(begin + (self.len() - begin).div_ceil(2)));
        }
        cuts
    }

    /// Bytes of the base page with this shape and these entries.
    #[must_use]
    pub fn base_bytes(&self, shape: &Shape<'_>) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.bytes(shape),
            Self::Runs(runs) => runs.bytes(shape),
            Self::Entries(entries) => base_bytes(shape, entries),
        }
    }

    /// Appends the base page with this shape and these entries to a sheet.
    ///
    /// # Panics
    /// As [`write_base`].
    pub fn write(&self, shape: &Shape<'_>, sheet: &mut impl Sheet) {
        match self {
            Self::Pairs(pairs) => pairs.write(shape, sheet),
            Self::Runs(runs) => runs.write(shape, sheet),
            Self::Entries(entries) => {
                let mut bytes = vec![0; base_bytes(shape, entries)];
                write_base(shape, entries, &mut bytes);
                sheet.put(&bytes);
            }
        }
    }
}

/// What a page is written on, from its first byte to its last.
pub trait Sheet {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);

    /// All that was appended so far.
    fn written(&mut self) -> &mut [u8];
}

impl Sheet for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn written(&mut self) -> &mut [u8] {
        self
    }
}
