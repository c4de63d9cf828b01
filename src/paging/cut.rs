//! One sync: a cut of history becomes a commit.
//!
//! 1. The caller takes the appender; who waited for it may find that its writes are durable now,
//!    because the leader's cut came after them (group commit).
//! 2. It opens a cut `g`: the clock is bumped, and consolidations keep what the cut must see.
//! 3. It drains the dirty list up to `g` and visits every page on it, and every page that a closed
//!    commit needs besides, in a loop until none is left ([`super::visit`]).
//! 4. COMMIT(g) is written and synced.
//! 5. The places of the pages that were written are published; what they replace is dead. Then
//!    the cut is closed.
//!
//! Nothing newer than the cut slips in, and nothing is published before it is durable. If the
//! commit fails because the disk is full, the log is rolled back, and the pages are listed again.

use super::packed::{MAX_SPARE_PAGES, PackedPlace, PackedPlaces};
use super::store::{CATALOG, CATALOG_COPY, DurableEngine, FREED};
use super::values::Separated;
use crate::error::Result;
use lss::{Appender, Stream};
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::take;
use std::sync::{Arc, PoisonError};
use sync::atomic::Ordering;
use types::{Address, PageId, Pieces};

/// Most leaves that are noted as nearly empty, or to be read: where no background work takes them,
/// they are few.
const MAX_DRY: usize = 1 << 16;

/// Places that are published before the pin is renewed: memory of those that they replace goes on
/// the way, or there would be twice as much of it at the end of a large commit.
const PUBLISHED_UNDER_A_PIN: usize = 256;

/// What a cut has appended and not yet published.
#[derive(Debug)]
pub(crate) struct Cut<'e, 'a> {
    pub(crate) engine: &'e DurableEngine,
    pub(crate) appender: &'a mut Appender<'e>,
    /// Versions up to this are in the commit.
    pub(crate) version: u64,
    /// Where all parts of the cut go: the parts of one page must not be in two streams, between
    /// which recovery knows no order.
    pub(crate) stream: Stream,
    /// Everything goes to one stream: on a full disk one segment must do.
    pub(super) is_tight: bool,
    /// Pages still to be visited.
    pub(crate) work: VecDeque<PageId>,
    /// Serial of each page at its visit: a page with the same one has nothing new for this cut.
    pub(crate) visited: HashMap<PageId, u32>,
    /// New places, in the order of the visits, so that the same history does the same steps.
    pub(crate) places: PackedPlaces,
    /// Separated values that were appended, by the address of what is behind the handle.
    pub(crate) values: HashMap<usize, (Arc<Separated>, Address)>,
    /// Segments that are being emptied: what lies in them is written anew.
    pub(crate) victims: HashSet<u32>,
    /// Pages that could not be read: what is in memory of them is written as it is.
    pub(crate) unreadable: HashSet<PageId>,
    /// Pages that the commit takes away.
    pub(crate) gone: Vec<PageId>,
    /// Ids of merged pages that are free, which the commit records.
    freed: Vec<PageId>,
    /// Parts that were appended and that no page has once this is committed.
    pub(crate) passing: Pieces<Address>,
    /// Separated values that were appended.
    pub(crate) new_values: HashSet<Address>,
    /// Pages that the next cut must visit: they hold newer records, or the image left children out.
    pub(crate) again: Vec<PageId>,
    pub(crate) payload: Vec<u8>,
}

/// The largest lists of a cut: their memory is the next one's. Each thread that commits would have
/// holes of that size in its heap otherwise.
#[derive(Debug, Default)]
pub(crate) struct CutLists {
    visited: HashMap<PageId, u32>,
    places: PackedPlaces,
}

impl Drop for Cut<'_, '_> {
    fn drop(&mut self) {
        let (mut visited, mut places) = (take(&mut self.visited), take(&mut self.places));
        visited.clear();
        visited.shrink_to(MAX_SPARE_PAGES);
        places.clear();
        *self.engine.store.cut_lists() = CutLists { visited, places };
    }
}

impl DurableEngine {
    /// Makes everything that is visible now durable. On a full disk it makes room first.
    pub(crate) fn sync(&self) -> Result<()> {
        self.with_room(|| self.sync_once())
    }

    fn sync_once(&self) -> Result<()> {
        self.store.check()?;
        let wanted = self.clock.now();
        // A commit that covers this sync may come before the turn to append.
        let Some(mut appender) = self.store.log.wait_durable_or_appender(wanted)? else {
            return Ok(());
        };
        self.store.check()?;
        if self.dirty.is_empty() {
            // What is stamped was drained by a commit that is complete, since we are the appender.
            return Ok(());
        }
        self.commit_cut(&mut appender, &[], &HashSet::new(), Stream::Foreground)
    }

    /// Cuts, visits the dirty pages and `extra`, commits, publishes.
    pub(crate) fn commit_cut<'e>(
        &'e self,
        appender: &mut Appender<'e>,
        extra: &[PageId],
        victims: &HashSet<u32>,
        stream: Stream,
    ) -> Result<()> {
        self.commit((extra, &[]), appender, victims, stream)
    }

    /// Cuts, and commits that these pages, of trees that are gone, are no pages any more.
    pub(crate) fn commit_gone<'e>(
        &'e self,
        appender: &mut Appender<'e>,
        gone: &[PageId],
    ) -> Result<()> {
        self.commit((&[], gone), appender, &HashSet::new(), Stream::Foreground)
    }

    /// Commits, if ids of merged pages were made free since the last commit: then no location that
    /// is missing is unknown to the log.
    pub(crate) fn record_freed<'e>(&'e self, appender: &mut Appender<'e>) -> Result<()> {
        let freed = self.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let none = freed.is_empty();
        drop(freed);
        if none {
            return Ok(());
        }
        self.commit_cut(appender, &[], &HashSet::new(), Stream::Foreground)
    }

    fn commit<'e>(
        &'e self,
        (extra, gone): (&[PageId], &[PageId]),
        appender: &mut Appender<'e>,
        victims: &HashSet<u32>,
        stream: Stream,
    ) -> Result<()> {
        // Nothing was appended, unless the rollback of a commit that failed was refused too.
        appender.rollback()?;
        if self.store.closing.load(Ordering::Relaxed) {
            appender.use_reserve();
        }
        // Before the clock: what is counted by now is in the cut.
        let changed = self.changed_bytes();
        appender.expect(self.expected_commit_bytes());
        let open = self.clock.open(&self.pin());
        self.store.cutting.store(open.version(), Ordering::Relaxed);
        let mut cut = Cut::new(self, appender, open.version(), stream);
        let listed = self.dirty.drain(open.version());
        cut.work.extend(extra);
        cut.victims.clone_from(victims);
        cut.gone = gone.to_vec();
        let written = cut.write(&listed);
        let done = match written.and_then(|()| cut.appender.commit(cut.version).map_err(Into::into))
        {
            Ok(()) => {
                cut.publish();
                // What the places lay in before goes soon.
                self.pin().flush();
                self.store.committed_bytes.store(changed, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                // Nothing of it counts. A poisoned log refuses the rollback and all that follows.
                let _refused = cut.appender.rollback();
                cut.give_freed_back();
                for id in listed.into_iter().chain(take(&mut cut.again)) {
                    self.list(id);
                }
                Err(error)
            }
        };
        // After the places are set: who finds a value here no more finds its page's new place.
        self.store.moving.clear();
        // Only now: a consolidation that no longer sees the cut must see what it has flushed.
        drop(open);
        done
    }
}

impl<'e, 'a> Cut<'e, 'a> {
    pub(crate) fn new(
        engine: &'e DurableEngine,
        appender: &'a mut Appender<'e>,
        version: u64,
        stream: Stream,
    ) -> Self {
        let lists = take(&mut *engine.store.cut_lists());
        Self {
            engine,
            appender,
            version,
            stream,
            is_tight: engine.store.log.is_tight(),
            work: VecDeque::new(),
            visited: lists.visited,
            places: lists.places,
            values: HashMap::new(),
            victims: HashSet::new(),
            unreadable: HashSet::new(),
            gone: Vec::new(),
            freed: Vec::new(),
            passing: Pieces::new(),
            new_values: HashSet::new(),
            again: Vec::new(),
            payload: Vec::new(),
        }
    }
}

impl Cut<'_, '_> {
    /// Where all parts of the pages of a tree go. The two streams never share a segment, so the
    /// catalog and its copy have one each, whatever the rest of a commit is for: with what is moved
    /// in the other one, one of them would come to lie where the other does.
    pub(super) fn stream_of(&self, tree: u32) -> Stream {
        match tree {
            CATALOG if !self.is_tight => Stream::Foreground,
            CATALOG_COPY if !self.is_tight => Stream::Background,
            _ => self.stream,
        }
    }

    fn write(&mut self, listed: &Pieces<PageId>) -> Result<()> {
        self.freed = self.take_freed();
        let known = |id: &PageId| self.engine.table.place(*id, &self.engine.pin()).is_some();
        let gone: Vec<PageId> = self.gone.iter().copied().filter(known).collect();
        for id in self.freed.iter().copied().chain(gone) {
            self.passing.push(self.appender.append(self.stream, id, FREED, 0, &[], &[])?);
        }
        for &id in listed.iter() {
            self.visit(id)?;
        }
        while let Some(id) = self.work.pop_front() {
            self.visit(id)?;
        }
        Ok(())
    }

    /// Ids that were freed and not used again since.
    fn take_freed(&mut self) -> Vec<PageId> {
        let mut freed = self.engine.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut *freed)
    }

    /// The next commit is to record them.
    fn give_freed_back(&mut self) {
        let mut freed = self.engine.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
        freed.append(&mut self.freed);
    }

    /// The commit is durable: tells everybody where the pages are now, and the log what it need not
    /// hold any more. Of the parts of a page only those are looked at that are new, or were
    /// replaced: most pages have got one more delta part on top of a dozen.
    pub(crate) fn publish(&mut self) {
        let (engine, log) = (self.engine, &self.engine.store.log);
        let mut guard = engine.pin();
        // A value may have gone from one page of the commit to another, by a split or a merge: so
        // what is dead can be told only over all of them.
        let mut dead_values = take(&mut self.new_values);
        let mut values: Vec<Address> = Vec::new();
        let mut dry = engine.store.dry();
        for (at, (id, packed)) in self.places.iter().enumerate() {
            if at % PUBLISHED_UNDER_A_PIN == PUBLISHED_UNDER_A_PIN - 1 {
                guard.repin();
            }
            let new = packed.unpack();
            let wanted = || new.is_small(engine.limits.merge_below(0)) || new.wants_reading();
            if dry.len() < MAX_DRY && wanted() {
                dry.push(id);
            }
            // Most have got one more part, and nothing of them has died.
            let old = engine.packed_place(id, &guard).filter(|old| !old.goes_on_in(packed));
            let old = old.map(PackedPlace::unpack).unwrap_or_default();
            engine.set_packed(id, Some(packed), &guard);
            // After the place is set: who finds a part gone finds its new address by looking again.
            old.parts().filter(|part| !new.has_part(*part)).for_each(|part| log.retire(part));
            dead_values.extend(old.values);
            values.extend(new.values);
        }
        drop(dry);
        engine.store.relocated.fetch_add(self.places.len() as u64, Ordering::Relaxed);
        engine.store.published.fetch_add(1, Ordering::Release);
        for id in take(&mut self.gone) {
            let old = engine.place(id, &guard).unwrap_or_default();
            engine.forget_page(id, &guard);
            old.parts().for_each(|part| log.retire(part));
            dead_values.extend(old.values);
        }
        for (value, address) in self.values.values() {
            value.moved_to(*address);
        }
        for value in values {
            dead_values.remove(&value);
        }
        let passing = take(&mut self.passing).into_iter();
        passing.chain(dead_values).for_each(|address| log.retire(address));
        for id in self.again.drain(..) {
            engine.list(id);
        }
    }
}
