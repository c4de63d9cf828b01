//! A leaf's entries in order, records over base page, without folding all of it first.

use super::{Engine, Stop, Store, change};
use core::cmp::Ordering;
use delta::{Base, Entry, KeyRef, Op, Record};

/// The entries of a leaf as of one word, from some key on.
#[derive(Debug)]
pub(crate) struct Merged<'g> {
    base: Base<'g>,
    /// The next entry of the base page.
    at: usize,
    /// The newest record of each key, in key order, and the next of them.
    records: Vec<Record<'g>>,
    next: usize,
}

impl<S: Store> Engine<S> {
    /// The entries of a leaf with keys of at least `from`, every record of it stamped.
    pub(crate) fn merged<'g>(&self, stop: &Stop<'g>, from: &[u8]) -> Merged<'g> {
        let page = stop.chain.page();
        let mut records: Vec<Record<'g>> = Vec::new();
        for record in stop.chain.records() {
            self.version(stop.id, page, record);
            let record = change(record);
            if record.key >= from {
                records.push(record);
            }
        }
        // A stable sort: of one key the newest stays first, and is the one that is kept.
        records.sort_by(|left, right| left.key.cmp(right.key));
        records.dedup_by(|later, first| later.key == first.key);
        let at = stop.base.search(from).unwrap_or_else(|at| at);
        Merged { base: stop.base, at, records, next: 0 }
    }
}

impl<'g> Iterator for Merged<'g> {
    type Item = Entry<'g>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'g>> {
        loop {
            let entry = (self.at < self.base.count()).then(|| self.base.entry(self.at));
            let Some(record) = self.records.get(self.next) else {
                self.at += 1;
                return entry;
            };
            let order = entry.map_or(Ordering::Greater, |entry| entry.key.cmp_bytes(record.key));
            if order == Ordering::Less {
                self.at += 1;
                return entry;
            }
            self.next += 1;
            self.at += usize::from(order == Ordering::Equal);
            if record.op == Op::Put {
                let key = KeyRef::from(record.key);
                return Some(Entry { key, value: record.value, flags: record.flags });
            }
        }
    }
}
