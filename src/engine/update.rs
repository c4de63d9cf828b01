//! The only retry loop: look, decide, reserve, write, install by one CAS.
//!
//! A lost race is not an error: the loop looks again, and decides again on what it finds. While
//! the page stays the same its reservation is used again.

use super::lookup::Answer;
use super::{Away, Engine, FoldLimit, Found, Stop, Store, TreeCore, payload_len, records_of};
use core::cell::Cell;
use delta::{Layout, Op, Probe, Record};
use mapping::Word;
use sync::epoch::Guard;
use types::PageId;

/// What a write does to its key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    Put { flags: u8, value: &'a [u8] },
    Remove,
}

impl<'a> Change<'a> {
    /// The record that does this to a key, and changes the number of entries by `net`.
    #[inline]
    pub(crate) fn record(self, key: &'a [u8], net: i8) -> Record<'a> {
        let (op, flags, value): (_, _, &[u8]) = match self {
            Change::Put { flags, value } => (Op::Put, flags, value),
            Change::Remove => (Op::Remove, 0, &[]),
        };
        Record { op, flags, net, key, value }
    }
}

/// What an operation makes of the value it has found.
#[derive(Debug)]
pub(crate) enum Decision<'a, R> {
    /// Change the key, and return this once that is installed.
    Write(Change<'a>, R),
    /// Change nothing.
    Keep(R),
}

/// What came of a write to a page that is away, without reading it.
#[derive(Debug)]
pub(crate) enum Unseen<R> {
    Done(R),
    /// The page is not away any more.
    Again,
    /// The page has to be read for it.
    Refused,
}

/// How an attempt on one page has ended.
enum Attempt<R> {
    Done(R),
    /// The page is another one now, or full: descend again.
    Again,
}

impl<S: Store> Engine<S> {
    /// Changes one key. `decide` runs pinned and may run again; it calls nothing of the user's.
    /// `taken` goes up by one when the change is installed: at the CAS, before anything else that
    /// can panic. From then on what was put is the tree's.
    ///
    /// LINEARIZES: at the CAS of the leaf's word; if nothing is changed, at its load.
    pub(crate) fn update<'a, R>(
        &self,
        tree: &TreeCore,
        key: impl Probe,
        decide: impl FnMut(Option<Found<'_>>) -> Decision<'a, R>,
        taken: &Cell<usize>,
    ) -> Result<R, S::Error> {
        self.update_or(tree, key, decide, taken, |_, _| Unseen::Refused)
    }

    /// The same, but if the leaf is away `blind` is asked first, pinned, with its id.
    pub(crate) fn update_or<'a, R>(
        &self,
        tree: &TreeCore,
        key: impl Probe,
        mut decide: impl FnMut(Option<Found<'_>>) -> Decision<'a, R>,
        taken: &Cell<usize>,
        mut blind: impl FnMut(PageId, &Guard) -> Unseen<R>,
    ) -> Result<R, S::Error> {
        S::admit(self)?;
        let fingerprint = key.fingerprint();
        loop {
            let attempt = self.retrying(|guard| {
                Self::check_dropped(tree)?;
                let leaf = match self.leaf(tree, key, guard) {
                    Err(Away(id)) => match blind(id, guard) {
                        Unseen::Done(result) => return Ok(Attempt::Done(result)),
                        Unseen::Again => return Ok(Attempt::Again),
                        Unseen::Refused => return Err(Away(id)),
                    },
                    leaf => leaf?,
                };
                self.attempt(tree, leaf, key, fingerprint, (&mut decide, taken), guard)
            })?;
            if let Attempt::Done(result) = attempt {
                return Ok(result);
            }
        }
    }

    fn attempt<'a, 'g, P: Probe, R>(
        &'g self,
        tree: &TreeCore,
        mut leaf: Stop<'g>,
        key: P,
        fingerprint: u8,
        (decide, taken): (&mut impl FnMut(Option<Found<'_>>) -> Decision<'a, R>, &Cell<usize>),
        guard: &'g Guard,
    ) -> Result<Attempt<R>, Away> {
        let page = leaf.chain.page();
        // Of numbers it is on its way, if the word told where it is.
        if !P::NUMBER || leaf.chain.head() == 0 {
            page.prefetch_area();
        }
        // Of numbers known where this is compiled, and so is all that depends on it.
        let layout = if P::NUMBER { Layout::Fixed8 } else { tree.layout };
        let records = records_of(layout);
        let mut reserved = None;
        loop {
            let rises = leaf.is_below(key);
            let Answer { found, record, position } =
                if rises { leaf.beyond() } else { leaf.find(key, fingerprint) };
            let (change, result) = match decide(found) {
                Decision::Write(change, result) => (change, result),
                Decision::Keep(result) => {
                    self.settle(&leaf, record);
                    return Ok(Attempt::Done(result));
                }
            };
            let net = i8::from(matches!(change, Change::Put { .. })) - i8::from(found.is_some());
            let record = change.record(key.bytes(), net);
            let Record { op, flags, value, .. } = record;
            let bytes = payload_len(layout, &record);
            // What has been written once is not written again: others may look at it already.
            let written = reserved.take().filter(|(was, _)| *was == (op, flags, net, value));
            // What others would have to walk to is folded before; what only rises can be searched.
            let has_room = !P::NUMBER || rises || !page.is_past_fingerprints();
            let mut written = if let Some((_, written)) = written {
                written
            } else if let Some(reservation) =
                if has_room { page.reserve(records, bytes) } else { None }
            {
                let mark = record.mark(layout, position);
                reservation.write(fingerprint, mark, |out| {
                    record.put_payload(layout, fingerprint, |bytes| out.put(bytes));
                })
            } else {
                let need = records.bytes(bytes);
                self.consolidate(tree, &leaf, need, guard)?;
                return Ok(Attempt::Again);
            };
            written.set_rises(rises && op == Op::Put);
            if let Some(newest) = written.newest_of(leaf.chain) {
                // Versions then never fall along a chain, and per key they are in chain order.
                self.version(leaf.id, page, newest);
            }
            let installed = match self.table.append(leaf.id, leaf.chain, written) {
                Ok(installed) => installed,
                Err(written) => {
                    reserved = Some(((op, flags, net, value), written));
                    match self.table.load(leaf.id, guard) {
                        Word::Resident(chain) if chain.page() == page => leaf.chain = chain,
                        _ => return Ok(Attempt::Again),
                    }
                    continue;
                }
            };
            taken.set(taken.get() + 1);
            let version = self.version(leaf.id, page, installed.record());
            if S::holds_values()
                && let Some(found) = found
            {
                S::displaced(self, found.value, version, guard);
            }
            tree.count(i64::from(net));
            if op == Op::Put {
                leaf.remember(tree, key);
            }
            if installed.nears_end() {
                self.relieve(tree, &leaf, FoldLimit::KeepUnflushed, guard);
            } else if op == Op::Remove && self.has_run_dry(&leaf, guard) {
                self.relieve(tree, &leaf, FoldLimit::Cuts, guard);
            }
            return Ok(Attempt::Done(result));
        }
    }

    /// Consolidates a page whose area is nearly full, or most of which was removed: others go on
    /// meanwhile, and as one record only crosses that line, few copies are made for nothing (B9).
    #[cold]
    fn relieve(&self, tree: &TreeCore, leaf: &Stop<'_>, limit: FoldLimit, guard: &Guard) {
        if let Word::Resident(chain) = self.table.load(leaf.id, guard)
            && chain.page() == leaf.chain.page()
        {
            // The write is installed: a page that the SMO would need and that is away is not
            // brought in for it. Who comes over the right link next goes on with it.
            let leaf = Stop { chain, ..*leaf };
            let _away = self.consolidate_within(tree, &leaf, 0, limit, guard);
        }
    }
}
