//! One key in one page: the records that may hold it, newest first, then the base page.

use super::{Engine, Store, change};
use crate::engine::descent::Stop;
use delta::{Op, Position, Probe, Record};
use mapping::{Match, RecordRef};

/// A value as it lies in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'g> {
    pub(crate) flags: u8,
    pub(crate) value: &'g [u8],
}

/// What one page says of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'g> {
    pub(crate) found: Option<Found<'g>>,
    /// The record that says so, if it is not the base page.
    pub(crate) record: Option<RecordRef<'g>>,
    /// Where the key stands in a base page of numbers, or would.
    pub(crate) position: Position,
}

impl<'g> Stop<'g> {
    /// The value of `key`.
    #[inline]
    pub(crate) fn find<P: Probe>(&self, key: P, fingerprint: u8) -> Answer<'g> {
        let of_payload = |payload: &'g [u8]| {
            key.may_be_in(payload, fingerprint) && Record::decode(payload).key == key.bytes()
        };
        let matched = match (P::NUMBER, key.bytes().first_chunk()) {
            (true, Some(number)) => self.chain.find_pair(fingerprint, *number),
            _ => self.chain.find_sized(fingerprint, of_payload),
        };
        let walk = match matched {
            Match::None => false,
            Match::One(record) => return said(record),
            Match::Walk => match key.bytes().first_chunk().map(|key| self.chain.search(*key)) {
                Some(Match::One(record)) if P::NUMBER => return said(record),
                Some(Match::None) if P::NUMBER => false,
                _ => self.chain.page().may_hold(fingerprint),
            },
        };
        if walk {
            let of_key = |record: &RecordRef<'g>| {
                key.may_be_in(record.payload(), fingerprint) && change(*record).key == key.bytes()
            };
            if let Some(record) = self.chain.records().find(of_key) {
                return said(record);
            }
        }
        let (at, position) = key.find(self.base);
        let found = at.map(|at| {
            let (flags, value) = key.value(self.base, at);
            Found { flags, value }
        });
        Answer { found, record: None, position }
    }
}

impl<'g> Stop<'g> {
    /// Whether the key is a number above all that the leaf has, as far as that is seen at once.
    #[inline]
    pub(crate) fn is_below<P: Probe>(&self, key: P) -> bool {
        let (true, Some(number)) = (P::NUMBER, key.number()) else { return false };
        let last = match self.chain.newest() {
            Some(newest) if self.chain.is_in_order() => newest.payload().first_chunk().copied(),
            Some(_) => return false,
            None => {
                let last = self.base.count().checked_sub(1);
                return last.and_then(|at| self.base.row_key(at)).is_none_or(|key| key < number);
            }
        };
        last.is_some_and(|last| u64::from_be_bytes(last) < number)
    }

    /// What is known of a key that the leaf [is below](Self::is_below).
    #[inline]
    pub(crate) fn beyond(&self) -> Answer<'g> {
        Answer { found: None, record: None, position: Position::new(self.base.count()) }
    }

    /// The value of `key` in a chain of which there may be newer records in the page.
    pub(crate) fn find_by_walking<P: Probe>(&self, key: P, fingerprint: u8) -> Option<Found<'g>> {
        let page = self.chain.page();
        if self.chain.head() != 0 && page.may_hold(fingerprint) {
            let of_key = |record: &RecordRef<'g>| change(*record).key == key.bytes();
            if let Some(record) = self.chain.records().find(of_key) {
                return said(record).found;
            }
        }
        key.find(self.base).0.map(|at| {
            let (flags, value) = key.value(self.base, at);
            Found { flags, value }
        })
    }
}

/// What a record says of its key.
#[inline]
fn said(record: RecordRef<'_>) -> Answer<'_> {
    let change = change(record);
    let found = Found { flags: change.flags, value: change.value };
    let position = Position::in_mark(record.mark());
    Answer { found: (change.op == Op::Put).then_some(found), record: Some(record), position }
}

impl<S: Store> Engine<S> {
    /// Stamps the record that an answer was taken from, so that no cut that does not see it can
    /// be taken after the answer is known.
    #[inline]
    pub(crate) fn settle(&self, stop: &Stop<'_>, record: Option<RecordRef<'_>>) {
        if let Some(record) = record {
            self.version(stop.id, stop.chain.page(), record);
        }
    }
}
