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

use super::packed::PackedPlace;
use super::store::{DurableEngine, FREED};
use super::values::Separated;
use crate::error::Result;
use lss::{Appender, Stream};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError};
use sync::atomic::Ordering;
use sync::epoch::Guard;
use types::{Address, PageId};

/// Most leaves that are noted as nearly empty, or to be read: where no background work takes them,
/// they are few.
const MAX_DRY: usize = 1 << 16;

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
    /// Pages still to be visited.
    pub(crate) work: VecDeque<PageId>,
    /// Serial of each page at its visit: a page with the same one has nothing new for this cut.
    pub(crate) visited: HashMap<PageId, u32>,
    /// New places; ordered, so that the same history does the same steps.
    pub(crate) places: BTreeMap<PageId, Box<PackedPlace>>,
    /// Separated values that were appended, by the address of what is behind the handle.
    pub(crate) values: HashMap<usize, (Arc<Separated>, Address)>,
    /// Segments that are being emptied: what lies in them is written anew.
    pub(crate) victims: HashSet<u32>,
    /// Pages that could not be read: what is in memory of them is written as it is.
    pub(crate) unreadable: HashSet<PageId>,
    /// Pages that the commit takes away.
    pub(crate) gone: Vec<PageId>,
    /// Every part of a page and every value that was appended.
    pub(crate) written: Vec<Address>,
    /// Pages that the next cut must visit: they hold newer records, or the image left children out.
    pub(crate) again: Vec<PageId>,
    pub(crate) payload: Vec<u8>,
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
        let open = self.clock.open(&self.pin());
        self.store.cutting.store(open.version(), Ordering::Relaxed);
        let mut cut = Cut::new(self, appender, open.version(), stream);
        cut.work = self.dirty.drain(open.version()).into();
        cut.victims.clone_from(victims);
        cut.gone = gone.to_vec();
        let listed: Vec<PageId> = cut.work.iter().copied().collect();
        cut.work.extend(extra);
        let written = cut.write();
        let done = match written.and_then(|()| cut.appender.commit(cut.version).map_err(Into::into))
        {
            Ok(()) => {
                cut.publish();
                self.store.committed_bytes.store(changed, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                // Nothing of it counts. A poisoned log refuses the rollback and all that follows.
                let _refused = cut.appender.rollback();
                for id in listed.into_iter().chain(std::mem::take(&mut cut.again)) {
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
        Self {
            engine,
            appender,
            version,
            stream,
            work: VecDeque::new(),
            visited: HashMap::new(),
            places: BTreeMap::new(),
            values: HashMap::new(),
            victims: HashSet::new(),
            unreadable: HashSet::new(),
            gone: Vec::new(),
            written: Vec::new(),
            again: Vec::new(),
            payload: Vec::new(),
        }
    }
}

/// What was not published gives the memory of its locations back.
impl Drop for Cut<'_, '_> {
    fn drop(&mut self) {
        for place in std::mem::take(&mut self.places).into_values() {
            self.engine.store.places.put(place);
        }
    }
}

impl Cut<'_, '_> {
    fn write(&mut self) -> Result<()> {
        let freed = self.take_freed();
        let known = |id: &PageId| self.engine.table.place(*id, &self.engine.pin()).is_some();
        let gone: Vec<PageId> = self.gone.iter().copied().filter(known).collect();
        for id in freed.into_iter().chain(gone) {
            self.written.push(self.appender.append(self.stream, id, FREED, 0, &[], &[])?);
        }
        while let Some(id) = self.work.pop_front() {
            self.visit(id)?;
        }
        Ok(())
    }

    /// Ids that were freed and not used again since.
    fn take_freed(&mut self) -> Vec<PageId> {
        let mut freed = self.engine.store.freed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *freed)
    }

    /// The commit is durable: tells everybody where the pages are now.
    pub(crate) fn publish(&mut self) {
        let (engine, log) = (self.engine, &self.engine.store.log);
        let guard = engine.pin();
        let dead = self.dead(&guard);
        let mut dry = engine.store.dry();
        for (id, place) in std::mem::take(&mut self.places) {
            let wanted = || place.is_small(engine.limits.merge_below(0)) || place.wants_reading();
            if dry.len() < MAX_DRY && wanted() {
                dry.push(id);
            }
            engine.set_packed(id, Some(place), &guard);
        }
        drop(dry);
        engine.store.published.fetch_add(1, Ordering::Release);
        for id in std::mem::take(&mut self.gone) {
            engine.forget_page(id, &guard);
        }
        for (value, address) in self.values.values() {
            value.moved_to(*address);
        }
        // Last: who finds a part gone finds its new address by looking again.
        for address in dead {
            log.retire(address);
        }
        for id in self.again.drain(..) {
            engine.list(id);
        }
    }

    /// What the log need not hold any more once the pages are where this cut has put them; what the
    /// cut wrote twice is dead too.
    ///
    /// Of the parts of a page only those are looked at that are new, or were replaced: most pages
    /// have got one more delta part on top of a dozen.
    fn dead(&mut self, guard: &Guard) -> HashSet<Address> {
        let mut dead: HashSet<Address> = self.written.drain(..).collect();
        // A value may have gone from one page of the commit to another, by a split or a merge: so
        // what is dead can be told only over all of them.
        let mut named: Vec<Address> = Vec::new();
        for id in self.places.keys().chain(&self.gone) {
            let old = self.engine.place(*id, guard).unwrap_or_default();
            let new = self.places.get(id).map(|place| place.unpack()).unwrap_or_default();
            for part in old.parts().filter(|part| !new.has_part(*part)) {
                dead.insert(part);
            }
            for part in new.parts().filter(|part| !old.has_part(*part)) {
                dead.remove(&part);
            }
            dead.extend(old.values);
            named.extend(new.values);
        }
        for value in named {
            dead.remove(&value);
        }
        dead
    }
}
