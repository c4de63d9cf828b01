//! Making room on a full disk, without a commit of what is dirty.
//!
//! A commit takes all that is visible, and on a full disk that may not fit. What is dirty is left
//! alone here: parts of pages are moved as they are, a checkpoint names the places of the last
//! commit, and the segments that have died are given back to the reserve. Then the commit has room.
//! How much this needs, and why the reserve has it: `lss`, `reserve`.
//!
//! So that a commit fits, little is dirty when a disk becomes full: the room on the disk is looked
//! at for every eighth of a smallest segment (8 KiB) that callers write, and if it is less than 16
//! times what is dirty, that is made durable first. The two segments that commits have in reserve
//! then hold 8 times what is dirty at the most. A put is refused, before anything of it is written,
//! when that fails, and as long as the reserve is not whole. A removal is never refused; what many
//! of them make dirty is made durable on the way just so.
//!
//! What a background thread, or a read that brings in a page that is too large, makes dirty by
//! merging and splitting is bounded too: merges are counted as removals are, and reads split
//! nothing on a disk that is nearly full.
//!
//! A step empties the segments with the least in them: one, or as many as fit in one of the reserve
//! together with a chunk. So it takes no more than what the reserve holds for it. A segment with
//! separated values in it is left: their addresses stand in the parts of their pages, so those
//! would have to be written anew, with all that is dirty.

use super::cut::Cut;
use super::store::DurableEngine;
use crate::error::{Error, Result};
use gc::SegmentUse;
use lss::Appender;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;
use sync::atomic::Ordering;
use types::PageId;

/// A segment is worth emptying if this part of it is dead at least.
const LEAST_GAIN_SHARE: u64 = 8;

/// Steps in a row that gain nothing, after which there is nothing to gain.
const MAX_VAIN_STEPS: u32 = 3;

/// The steps in a row that have gained nothing.
#[derive(Debug, Default)]
pub(crate) struct Vain {
    steps: u32,
    /// Live bytes, and bytes of segments in use, after the last of them.
    state: (u64, u64),
}

/// Steps in a row.
const MAX_STEPS: u32 = 8;

/// Looks at the room on the disk while callers write as much as the smallest segment has.
const LOOKS_PER_SEGMENT: u64 = 8;

/// Room that is wanted for each byte that is dirty: a small record may make an image of its page
/// necessary.
const ROOM_PER_DIRTY_BYTE: u64 = 16;

/// Bytes of a removal in the log besides its key, about.
const REMOVAL_BYTES: u64 = 48;

/// The disk is nearly full if it has less room than this many reserves.
const ROOM_PER_RESERVED_BYTE: u64 = 8;

impl DurableEngine {
    /// Lets a put of so many bytes in, or says that the disk is full. Called unpinned.
    pub(crate) fn admit_put(&self, bytes: usize) -> Result<()> {
        let store = &self.store;
        store.check_put()?;
        if store.log.is_tight() {
            return self.admit_on_full_disk();
        }
        let (written, bytes) = (store.user_bytes.load(Ordering::Relaxed), bytes as u64);
        if self.is_time_to_look(written, bytes) { self.admit_by_room(bytes) } else { Ok(()) }
    }

    /// Counts a removal; see [`Self::pace_changes`].
    pub(crate) fn pace_removal(&self, key_bytes: usize) {
        self.pace_changes(key_bytes as u64 + REMOVAL_BYTES);
    }

    /// Counts a change that is never refused. On a disk that is nearly full it syncs once in a
    /// while. Called unpinned.
    pub(crate) fn pace_changes(&self, bytes: u64) {
        let before = self.store.removal_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_time_to_look(before, bytes) && self.wants_room(0) {
            // If that fails, what has failed is told by the next sync.
            let _full = self.sync();
        }
    }

    fn is_time_to_look(&self, before: u64, bytes: u64) -> bool {
        let every = self.store.log.smallest_segment_bytes() / LOOKS_PER_SEGMENT;
        before / every != (before + bytes) / every
    }

    /// Bytes that were written so far, by puts and removals.
    pub(crate) fn changed_bytes(&self) -> u64 {
        let store = &self.store;
        store.user_bytes.load(Ordering::Relaxed) + store.removal_bytes.load(Ordering::Relaxed)
    }

    /// Whether what is dirty, and as much more, needs nearly as much room as there is.
    #[cold]
    fn wants_room(&self, more: u64) -> bool {
        let committed = self.store.committed_bytes.load(Ordering::Relaxed);
        let dirty = self.changed_bytes().saturating_sub(committed) + more;
        let room = self.store.log.room_bytes();
        room.is_some_and(|room| room / ROOM_PER_DIRTY_BYTE < dirty) && self.store.check().is_ok()
    }

    /// Without a thread that prepares segments, the put tries itself whether there is room again.
    #[cold]
    fn admit_on_full_disk(&self) -> Result<()> {
        if self.store.evictor.get().is_none() {
            self.fill_reserve()?;
        }
        Ok(self.store.log.check_room()?)
    }

    #[cold]
    fn admit_by_room(&self, bytes: u64) -> Result<()> {
        let log = &self.store.log;
        // What a fork puts can never be durable. Asked now and then, since it is a system call.
        log.check_opener()?;
        if self.wants_room(bytes) {
            self.sync()?;
            if bytes >= log.smallest_segment_bytes() / LOOKS_PER_SEGMENT {
                log.prepare_for(bytes)?;
            }
        }
        // The thread that does it otherwise may be too late.
        if self.look_at_room() && self.store.check().is_ok() {
            self.fill_reserve()?;
        }
        Ok(())
    }

    /// Looks whether the disk is nearly full.
    fn look_at_room(&self) -> bool {
        let log = &self.store.log;
        let is_near = |room: u64| room < ROOM_PER_RESERVED_BYTE * log.reserve_bytes();
        let nearly_full = log.is_tight() || log.room_bytes().is_some_and(is_near);
        self.store.nearly_full.store(nearly_full, Ordering::Relaxed);
        nearly_full
    }

    /// Makes the reserve whole.
    pub(crate) fn fill_reserve(&self) -> Result<()> {
        let all = self.expected_bytes();
        self.store.log.expect_checkpoint(self.expected_chunk_bytes().min(all), all);
        self.look_at_room();
        while self.store.log.prepare()? {}
        Ok(())
    }

    /// Commits by `commit`. If the disk is full: makes room, and tries again as long as that gains
    /// any.
    pub(crate) fn with_room<R>(&self, mut commit: impl FnMut() -> Result<R>) -> Result<R> {
        let mut committed = commit();
        for _ in 0..MAX_STEPS {
            if !matches!(&committed, Err(Error::Log(error)) if error.is_full()) {
                break;
            }
            if !self.make_disk_room()? {
                break;
            }
            committed = commit();
        }
        committed
    }

    /// Makes one step of room on a full disk. `false` if there is nothing to gain.
    ///
    /// Called by a thread that does not have the appender.
    pub(crate) fn make_disk_room(&self) -> Result<bool> {
        self.store.check()?;
        let log = &self.store.log;
        let _checkpointing = self.store.checkpointing();
        let mut appender = log.appender();
        appender.use_reserve();
        let state = || (log.live_bytes(), log.used_bytes());
        let before = state();
        let mut vain = self.store.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        if vain.steps >= MAX_VAIN_STEPS && vain.state == before {
            return Ok(false);
        }
        let moved = self.make_room_with(&mut appender);
        let gained = state().1 < before.1;
        // A step may open segments that the next one fills.
        let steps = if gained { 0 } else { (vain.steps + 1).min(MAX_VAIN_STEPS) };
        *vain = Vain { steps, state: state() };
        Ok(moved? && steps < MAX_VAIN_STEPS)
    }

    /// `false` if there was nothing to do.
    fn make_room_with<'e>(&'e self, appender: &mut Appender<'e>) -> Result<bool> {
        let log = &self.store.log;
        let (victims, pages) = self.emptiest();
        if victims.is_empty() && self.gain_after_checkpoint() == 0 {
            return Ok(false);
        }
        if !pages.is_empty() {
            self.move_committed(appender, &pages, &victims)?;
        }
        self.leave(&victims.iter().copied().collect::<Vec<u32>>());
        self.write_chunks(appender, self.whole_bytes_of_reserve())?;
        log.reclaim()?;
        // At once, before another program takes it.
        match self.fill_reserve() {
            Err(Error::Log(error)) if error.is_passing() => Ok(true),
            filled => filled.map(|()| true),
        }
    }

    /// The segments with the least in them of those that can be emptied, as many as fit in one
    /// of the reserve with a chunk, and the pages with parts there.
    fn emptiest(&self) -> (HashSet<u32>, Vec<PageId>) {
        let worthwhile = |s: &SegmentUse| s.gain_bytes() >= s.size_bytes / LEAST_GAIN_SHARE;
        let mut found: Vec<SegmentUse> =
            self.segment_use().into_iter().filter(worthwhile).collect();
        found.sort_unstable_by_key(|s| (s.live_bytes, s.id));
        let mut pages: HashMap<u32, Vec<PageId>> =
            found.iter().map(|s| (s.id, Vec::new())).collect();
        let guard = self.pin();
        for id in (1..self.table.id_limit()).map(PageId::new) {
            let Some(place) = self.place(id, &guard) else { continue };
            for value in &place.values {
                pages.remove(&value.segment);
            }
            for part in place.deltas.iter().chain([&place.image]) {
                if let Some(pages) = pages.get_mut(&part.segment)
                    && pages.last() != Some(&id)
                {
                    pages.push(id);
                }
            }
        }
        let budget = self.store.log.reserved_segment_bytes() / 8 * 3;
        let mut chosen = HashSet::new();
        let mut moved = 0;
        let mut all: BTreeSet<PageId> = BTreeSet::new();
        for segment in found {
            if moved > 0 && moved + segment.live_bytes > budget {
                break;
            }
            if let Some(pages) = pages.remove(&segment.id) {
                moved += segment.live_bytes;
                chosen.insert(segment.id);
                all.extend(pages);
            }
        }
        (chosen, all.into_iter().collect())
    }

    /// Moves what the last commit has of these pages out of these segments, and nothing else: the
    /// version of the log stays what it is.
    fn move_committed<'e>(
        &'e self,
        appender: &mut Appender<'e>,
        pages: &[PageId],
        victims: &HashSet<u32>,
    ) -> Result<()> {
        let version = self.store.log.durable_version();
        let stream = appender.roomier();
        let mut cut = Cut::new(self, appender, version, stream);
        cut.victims.clone_from(victims);
        let moved = pages.iter().try_for_each(|&id| cut.move_parts(id));
        match moved.and_then(|()| cut.appender.commit(version).map_err(Into::into)) {
            Ok(()) => {
                cut.publish();
                Ok(())
            }
            Err(error) => {
                // A poisoned log refuses the rollback and all that follows.
                let _refused = cut.appender.rollback();
                Err(error)
            }
        }
    }
}
