//! A full disk: puts are refused, what is dirty is kept little, and room is made for commits.
//!
//! A commit takes all that is visible, and on a full disk that may not fit. Then room is made as of
//! the last commit ([`evacuate`](super::evacuate)), and the commit is tried again. How much this
//! needs, and why the reserve has it: `lss`, `reserve`.
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

use super::store::DurableEngine;
use crate::error::{Error, Result};
use sync::atomic::Ordering;

/// Attempts at a commit that does not fit, each after twice as many steps that make room.
const MAX_ATTEMPTS: u32 = 10;

/// Looks at the room on the disk while callers write as much as the smallest segment has.
const LOOKS_PER_SEGMENT: u64 = 8;

/// Room that is wanted for each byte that is dirty: a small record may make an image of its page
/// necessary.
const ROOM_PER_DIRTY_BYTE: u64 = 16;

/// Bytes that a commit needs for each page while it is written: in lists, and for its new location.
const BYTES_PER_DIRTY_PAGE: u64 = 128;

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

    /// Bytes that were written by puts and removals, and may not be durable; and what a commit of
    /// them needs for each page meanwhile.
    pub(crate) fn undurable_bytes(&self) -> u64 {
        self.uncommitted_bytes() + self.dirty.len_about() * BYTES_PER_DIRTY_PAGE
    }

    /// Bytes of memory that the next commit has to give back, about. Where the same keys were
    /// written again and again that is no more than their pages, however much was written.
    pub(crate) fn undurable_memory(&self) -> u64 {
        self.expected_commit_bytes() + self.dirty.len_about() * BYTES_PER_DIRTY_PAGE
    }

    /// What a commit of that will have, by estimate: what was written, or whole pages if they are
    /// less, as they are where the same keys were written again and again.
    pub(crate) fn expected_commit_bytes(&self) -> u64 {
        self.uncommitted_bytes().min(self.dirty.len_about() * self.limits.leaf_bytes as u64)
    }

    /// Bytes that were written since the last commit.
    fn uncommitted_bytes(&self) -> u64 {
        let committed = self.store.committed_bytes.load(Ordering::Relaxed);
        self.changed_bytes().saturating_sub(committed)
    }

    /// Bytes that were written so far, by puts and removals.
    pub(crate) fn changed_bytes(&self) -> u64 {
        let store = &self.store;
        store.user_bytes.load(Ordering::Relaxed) + store.removal_bytes.load(Ordering::Relaxed)
    }

    /// Whether what is dirty, and as much more, needs nearly as much room as there is.
    #[cold]
    fn wants_room(&self, more: u64) -> bool {
        let dirty = self.undurable_bytes() + more;
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
                // More than the reserve has, so that it may be whole and this refused.
                self.with_room(|| Ok(log.prepare_for(bytes)?))?;
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

    /// Commits by `commit`. If the disk is full: makes room, each time more of it, and tries again
    /// as long as there is any to make.
    pub(crate) fn with_room<R>(&self, mut commit: impl FnMut() -> Result<R>) -> Result<R> {
        let mut committed = commit();
        for attempt in 0..MAX_ATTEMPTS {
            if !matches!(&committed, Err(Error::Log(error)) if error.is_full())
                || !self.make_disk_room_for_commit(1 << attempt)?
            {
                break;
            }
            committed = commit();
        }
        committed
    }

    /// Makes room until a commit may have a segment of the reserve, in so many steps at least.
    /// `false` if there was none to make.
    fn make_disk_room_for_commit(&self, min_steps: u32) -> Result<bool> {
        let mut steps = 0;
        while steps < min_steps || !self.store.log.has_commit_room() {
            if !self.make_disk_room()? {
                break;
            }
            steps += 1;
        }
        Ok(steps > 0)
    }

    /// Makes room on a full disk until puts go on, or there is none to make.
    pub(crate) fn make_all_disk_room(&self) -> Result<()> {
        while self.store.log.is_tight() && self.make_disk_room()? {}
        Ok(())
    }
}
