//! One key in one page: the records that may hold it, newest first, then the base page.

use super::{Engine, Store, change};
use crate::engine::descent::Stop;
use delta::{Op, Probe};
use mapping::RecordRef;

/// A value as it lies in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'g> {
    pub(crate) flags: u8,
    pub(crate) value: &'g [u8],
}

impl<'g> Stop<'g> {
    /// The value of `key`, and the record that says so if it is not the base page.
    #[inline]
    pub(crate) fn find(
        &self,
        key: impl Probe,
        fingerprint: u8,
    ) -> (Option<Found<'g>>, Option<RecordRef<'g>>) {
        if self.chain.head() != 0 && self.chain.page().may_hold(fingerprint) {
            for record in self.chain.records() {
                if !key.may_be_in(record.payload(), fingerprint) {
                    continue;
                }
                let change = change(record);
                if change.key == key.bytes() {
                    let found = Found { flags: change.flags, value: change.value };
                    return ((change.op == Op::Put).then_some(found), Some(record));
                }
            }
        }
        let found = key.search(self.base).ok().map(|at| {
            let (flags, value) = key.value(self.base, at);
            Found { flags, value }
        });
        (found, None)
    }
}

impl<S: Store> Engine<S> {
    /// Stamps the record that an answer was taken from, so that no cut that does not see it can
    /// be taken after the answer is known.
    #[inline]
    pub(crate) fn settle(&self, stop: &Stop<'_>, record: Option<RecordRef<'_>>) {
        if S::DURABLE
            && let Some(record) = record
        {
            self.version(stop.id, stop.chain.page(), record);
        }
    }
}
