//! Partial: a page that is away takes records without being read.
//!
//! Who puts a value, and does not ask for the one before, need not know what the page holds. So of
//! a page that was evicted the first such write makes a *Partial* page: records, and nothing below
//! them but what the log has. (The Bw-tree's *blind updates*; LLAMA has pages of which a part is in
//! memory.) A commit writes them as a delta part, as those of any page, and then the page can be
//! evicted again. Who reads the page, or writes to it and wants to know what was there, brings it
//! in; until then its image and a few dozen delta parts lie in the log.
//!
//! # The key is the page's
//!
//! The page itself would say which keys are its own, and is not there. The page above says it, but
//! may not know of a split yet, or still name a page that was merged into this one. So the evictor
//! looks whether what the page above says of the page is what the page has, and notes in the token
//! that its range is *posted*. As long as the page is evicted that stays so: it is not split,
//! nothing is merged into it, and no other page begins inside its range, which the page above could
//! be told of. A thread that has loaded the page above after the token, and wins the CAS of the
//! word with that token, has seen both at one moment: the page was evicted all the time between.
//! Pages that were not in memory since the store was opened are not posted: a crash may have left a
//! split that no page above knows of.
//!
//! A Partial page has, as its fences, what the page above said. A key outside of them has to wait
//! until the page was read.
//!
//! # The number of entries
//!
//! Whether a put replaces a value, or a removal finds one, is not known before the page is read. So
//! a tree has pages that are *not counted*: Partial ones, and those with delta parts of such
//! records ([`BLIND`](super::store::BLIND)) that were evicted since. The word says what the tree's
//! number has of such a page ([`Token`]), and who brings it in adds the difference. In the log a
//! location is `uncounted`, and the next part that is written of the page as it is in memory tells
//! the right number.
//!
//! # Bounds
//!
//! A page that has [as many delta parts as it may](super::visit::is_crowded) is brought in by the
//! writer, and so is one whose records would take more than an area: the log is slow, and the page
//! wanted.

use super::fetch;
use super::store::DurableEngine;
use super::token::Token;
use super::visit::is_crowded;
use crate::engine::{
    Counters, Engine, Store, TreeCore, Unseen, Versioned, payload_len, record_bytes,
};
use delta::{Base, Contents, Hashed, KeyRef, Layout, Position, Probe, Record, Shape, Side};
use gc::Evicted;
use mapping::{Birth, Chain, Records, Word};
use sync::epoch::Guard;
use types::PageId;

impl<S: Store> Engine<S> {
    /// The page above the leaves that leads to this key, if all on the way to it is in memory and
    /// at rest. Helps nobody and waits for nothing.
    pub(super) fn page_above<'g>(
        &'g self,
        tree: &TreeCore,
        key: &[u8],
        guard: &'g Guard,
    ) -> Option<Base<'g>> {
        let mut id = tree.root;
        loop {
            let Word::Resident(chain) = self.table.load(id, guard) else { return None };
            let base = Base::new(chain.base());
            if base.is_leaf() || base.side(key) != Side::Inside {
                return None;
            }
            if base.level() == 1 {
                return Some(base);
            }
            id = base.child(base.child_index(key));
        }
    }

    /// The records of a chain that have a version above this one, newest first.
    pub(super) fn unflushed<'g>(
        &self,
        id: PageId,
        chain: Chain<'g>,
        flushed: u64,
    ) -> Versioned<'g> {
        let mut records = self.versioned(id, chain);
        records.retain(|(version, _)| *version > flushed);
        records
    }
}

/// Where the range of a child begins, and where that of the next one does.
pub(super) fn range_of(above: Base<'_>, at: usize) -> (Option<KeyRef<'_>>, Option<KeyRef<'_>>) {
    let low = (at > 0).then(|| above.separator(at));
    let high = (at + 1 < above.count()).then(|| above.separator(at + 1));
    (low, high)
}

impl DurableEngine {
    /// Whether the page above a leaf in memory leads to it with the keys that are its own.
    pub(super) fn is_posted(&self, id: PageId, tree: u32, leaf: Base<'_>, guard: &Guard) -> bool {
        let Some(tree) = self.tree(tree) else { return false };
        let Some(above) = self.page_above(&tree, leaf.low(), guard) else { return false };
        let at = above.child_index(leaf.low());
        let (low, high) = range_of(above, at);
        let begins = low.map_or(above.low() == leaf.low(), |low| low == *leaf.low());
        let ends = match high {
            Some(high) => leaf.high().is_some_and(|end| high == *end),
            None => above.high() == leaf.high(),
        };
        above.child(at) == id && begins && ends
    }

    /// Changes a key of a page that is away, without reading it, if that can be done. Whoever is
    /// let in by [`Store::admit`] may call this, pinned since then.
    ///
    /// LINEARIZES: at the CAS of the leaf's word.
    pub(crate) fn write_blind(
        &self,
        tree: &TreeCore,
        id: PageId,
        key: Hashed<'_>,
        record: Record<'_>,
        guard: &Guard,
    ) -> Unseen<()> {
        let bytes = payload_len(Layout::Var, &record);
        let need = Records::Sized.bytes(bytes);
        // Nothing is put where it could not be read.
        if tree.layout != Layout::Var || self.store.is_damaged(id) {
            return Unseen::Refused;
        }
        loop {
            let done = match self.table.load(id, guard) {
                Word::Disk(token) => {
                    self.begin_partial(tree, id, Token::of(token), record.key, need, guard)
                }
                Word::Partial(chain) => {
                    self.write_partial(id, chain, key, record, (bytes, need), guard)
                }
                // Where the operation was misled it ends.
                Word::Free => return Unseen::Refused,
                _ => return Unseen::Again,
            };
            match done {
                Some(true) => {
                    Counters::count(&self.store.blind_writes);
                    return Unseen::Done(());
                }
                Some(false) => {}
                None => return Unseen::Refused,
            }
        }
    }

    /// Disk -> Partial. `None` if the page has to be read, else the word is to be looked at again.
    fn begin_partial(
        &self,
        tree: &TreeCore,
        id: PageId,
        token: Token,
        key: &[u8],
        need: usize,
        guard: &Guard,
    ) -> Option<bool> {
        if !token.posted {
            return None;
        }
        // After the token: see above.
        let above = self.page_above(tree, key, guard)?;
        let at = above.child_index(key);
        let place = self.place(id, guard)?;
        if above.child(at) != id || is_crowded(&place) {
            return None;
        }
        let (low, high) = range_of(above, at);
        let low = low.map_or_else(|| above.low().to_vec(), KeyRef::to_vec);
        let high = high.map(KeyRef::to_vec).or_else(|| above.high().map(<[u8]>::to_vec));
        let whole = Shape::whole(Layout::Var);
        let shape = Shape { low: &low, high: high.as_deref(), ..whole };
        let birth = Birth { base_version: token.bits(), serial: place.serial, tree: place.tree };
        let page = Self::build_exact(&shape, &Contents::empty(Layout::Var), &[], need, birth);
        let size = page.page().size_bytes();
        self.charge(size);
        if token.counted {
            tree.uncounted_page();
        }
        if self.table.begin_partial(id, token.bits(), page).is_err() {
            self.discharge(size);
            if token.counted {
                tree.counted_page();
            }
        }
        Some(false)
    }

    /// Puts a record on a Partial page. `None` if the page has to be read, `false` if the word is
    /// to be looked at again.
    fn write_partial<'g>(
        &'g self,
        id: PageId,
        mut chain: Chain<'g>,
        key: Hashed<'_>,
        record: Record<'_>,
        (bytes, need): (usize, usize),
        guard: &'g Guard,
    ) -> Option<bool> {
        let page = chain.page();
        let base = Base::new(chain.base());
        if base.side(record.key) != Side::Inside {
            return None;
        }
        let Some(reservation) = page.reserve(Records::Sized, bytes) else {
            return self.widen(id, chain, need, guard);
        };
        let fingerprint = key.fingerprint();
        let mark = record.mark(Layout::Var, Position::UNKNOWN);
        let mut written = reservation.write(fingerprint, mark, |out| {
            record.put_payload(Layout::Var, fingerprint, |bytes| out.put(bytes));
        });
        loop {
            if let Some(newest) = written.newest_of(chain) {
                // Versions then never fall along a chain.
                self.version(id, page, newest);
            }
            match self.table.append_partial(id, chain, written) {
                Ok(installed) => {
                    self.version(id, page, installed.record());
                    return Some(true);
                }
                Err(again) => written = again,
            }
            match self.table.load(id, guard) {
                Word::Partial(now) if now.page() == page => chain = now,
                _ => return Some(false),
            }
        }
    }

    /// Puts a page with more room in place of a Partial one, without what the log holds by now.
    fn widen(&self, id: PageId, chain: Chain<'_>, need: usize, guard: &Guard) -> Option<bool> {
        let (page, base) = (chain.page(), Base::new(chain.base()));
        let flushed = self.place_without_lists(id, guard)?.flushed;
        let records = self.unflushed(id, chain, flushed);
        let held = record_bytes(Layout::Var, &records);
        if held + need > self.limits.area_bytes.max(2 * need) {
            return None;
        }
        let birth =
            Birth { base_version: page.base_version(), serial: page.serial(), tree: page.tree() };
        let (shape, contents) = (base.shape(&[]), Contents::empty(Layout::Var));
        // Twice as much each time.
        let wide = Self::build_exact(&shape, &contents, &records, need.max(held), birth);
        let size = wide.page().size_bytes();
        self.charge(size);
        match self.table.replace_partial(id, chain, wide) {
            Ok(replaced) => self.retire(replaced, Vec::new(), guard),
            Err(_) => self.discharge(size),
        }
        Some(false)
    }

    /// Brings in the pages of a tree whose entries are not counted, but those that cannot be read.
    /// Called unpinned.
    pub(crate) fn count_pages(&self, tree: &TreeCore) {
        if !tree.has_uncounted() {
            return;
        }
        for id in (1..self.table.id_limit()).map(PageId::new) {
            // A Partial page may be evicted while it is read: then it is away still.
            while self.store.check_open().is_ok() && self.is_uncounted(id, tree) {
                self.store.make_room();
                if super::mend::page_in(self, id).is_err() {
                    break;
                }
            }
            if !tree.has_uncounted() {
                break;
            }
        }
        // A page that somebody else has just brought in was passed over, and may not be added yet.
        fetch::wait_for_page_ins(self);
    }

    fn is_uncounted(&self, id: PageId, tree: &TreeCore) -> bool {
        let guard = self.pin();
        let below = fetch::below(self.table.load(id, &guard));
        below.is_some_and(|below| !below.is_counted())
            && self.place_without_lists(id, &guard).is_some_and(|place| place.tree == tree.id)
    }

    /// Partial -> Disk, if the log has all of its records.
    pub(super) fn evict_partial(&self, id: PageId, chain: Chain<'_>, guard: &Guard) -> Evicted {
        let page = chain.page();
        let Some(place) = self.place_without_lists(id, guard) else { return Evicted::Dirty };
        let newest = chain.newest().map_or(0, |record| self.version(id, page, record));
        if newest > place.flushed {
            return Evicted::Dirty;
        }
        let token = Token::of(page.base_version());
        let token = Token::new(self.next_serial(), token.count.into(), false, token.posted);
        let evicted = token.and_then(|token| self.table.evict_partial(id, chain, token.bits()));
        let Some(evicted) = evicted else { return Evicted::Dirty };
        let bytes = page.size_bytes() as u64;
        self.retire(evicted, Vec::new(), guard);
        Counters::count(&self.counters.evictions);
        Evicted::Freed(bytes)
    }
}
