//! The reserve: free segments that are prepared, and of which the last ones are kept for making
//! room on a full disk.
//!
//! # The rule
//!
//! On a disk with no byte left, an opening, commits of removals, cleaning, checkpoints and a close
//! go on, and give space back. Only what makes the store larger is refused.
//!
//! [`RESERVE`] free segments are *whole*. A file system keeps the blocks of an allocated file for
//! it, so a free segment can be written to on a full disk. Each kind of append leaves some:
//!
//! | who | leaves | so it may take |
//! |---|---|---|
//! | a commit | 3 | 2 |
//! | what makes room, and a checkpoint | 1 | 2 more |
//! | what empties a segment of the reserve's size and needs no checkpoint for that | 0 | the last |
//! | the first checkpoint of an opening | 0 | the last |
//!
//! The first two are for any append, the others only if no segment can be created. When a creation
//! finds the disk full, the log is *tight* until the reserve is whole again
//! ([`Log::is_tight`](crate::Log::is_tight)); the store refuses puts meanwhile. The commit in which
//! it happens still has its two. Whatever was taken comes back by
//! [`Log::reclaim`](crate::Log::reclaim), under new numbers, and by
//! [`Log::prepare`](crate::Log::prepare).
//!
//! The third may have the last one because it gives one back with its COMMIT: a crash before that
//! leaves an opening the segment that was taken, a crash behind it the one that was emptied
//! ([`Segments::take_unused`]).
//!
//! A part that is larger than every free segment, and for which none can be created, gets one that
//! takes the blocks of several: [`Segments::join_free`].
//!
//! # Why these are enough
//!
//! Let `W` be the size of a segment: a 128th of what is live, or a 64th but at most 1 MiB, rounded
//! up to a power of two, and at least so much that it holds two of the largest chunk of the table,
//! and two thirds of all chunks that the next checkpoint writes
//! ([`Log::expect_checkpoint`](crate::Log::expect_checkpoint)).
//!
//! - *A commit* writes what the store lets become dirty near a full disk: its caller keeps that
//!   below an eighth of the two segments, so that images, parents and overhead fit beside.
//! - *Making room* must give back more than it takes, in every step: else the reserve runs out, and
//!   then no commit has room any more, though half of the disk may be garbage. A step that empties
//!   segments is a commit of its own, of what is live in the victims with the least in them, as
//!   much as fits; it takes no checkpoint, and they are free with it. Where segments wait for a
//!   checkpoint, one is taken if they are worth more than it costs, and none again before a step
//!   has emptied something. It has the two segments for all chunks that have changed. With pages of
//!   8 KiB, of which a line of a chunk is some 60 bytes, all chunks together are about 1 % of what
//!   is live, and `W` is 0.8 % at least. The COMMIT of 64 bytes goes behind the last commit, or
//!   into the second segment.
//! - *An opening* writes its checkpoint, chunks and COMMIT, to one stream, in one or two segments.
//!   Nothing is dirty, and the chunks are those that have changed since the last checkpoint. Where
//!   less than two are free, it takes dead ones. If it is killed then, the next one finds its
//!   segment dead or, if chunks are in it, finds those chunks unchanged, so that its own segment is
//!   dead for the one after it. So a row of kills at the worst moments needs two segments, not one
//!   each.
//!
//! An empty store has `RESERVE` + 2 segments of 64 KiB and the superblock: less than half a MiB.
//! One of up to 64 MiB has 8 to 16 % of what is live in reserve, and one above 128 MiB 4 to 8 %.
//!
//! # A rollback
//!
//! A group that was refused gives back what it took: segments that the reserve lacks go there as
//! they are, under the same number, and the others are removed, the last one first, so that their
//! numbers are free again. So a try that fails takes nothing. The voided frames in a segment that
//! is kept are of an older attempt than all that follows, as those behind a rolled back position
//! are, and recovery takes neither.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::error::Error;
use crate::io::File;
use crate::open_segment::Segment;
use crate::presence::has_file;
use crate::segments::Segments;

/// Free segments of a whole reserve.
pub(crate) const RESERVE: usize = 5;

/// Free segments that an opening may need.
const OPENING_SEGMENTS: usize = 2;

/// Room for headers and lines beside a part.
const FRAME_SLACK_BYTES: u64 = 4096;

/// What a free segment is wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Claim {
    /// What has become dirty.
    #[default]
    Commit,
    /// A checkpoint, or what makes room.
    Relief,
    /// What makes room by emptying a segment that counts for the reserve, and is given back with
    /// the commit.
    Exchange,
    /// The first checkpoint of an opening.
    Opening,
}

impl Claim {
    /// Free segments that it leaves.
    fn leaves(self) -> usize {
        match self {
            Self::Commit => 3,
            Self::Relief => 1,
            Self::Exchange | Self::Opening => 0,
        }
    }
}

impl Segments {
    /// A free segment with room for this much and not larger than `most`, if the claim may have
    /// one: the smallest that will do. An opening gets the largest, so that what comes next fits
    /// behind its checkpoint.
    pub(crate) fn take_free(&self, needed: u64, most: u64, claim: Claim) -> Option<Segment> {
        let mut free = self.free();
        while free.len() > claim.leaves() {
            let fits = |(_, s): &(usize, &Segment)| s.size >= needed && s.size <= most;
            let fitting = free.iter().enumerate().filter(fits);
            let chosen = match claim {
                Claim::Opening => fitting.max_by_key(|(_, s)| (s.size, s.id)),
                _ => fitting.min_by_key(|(_, s)| (s.size, s.id)),
            };
            let segment = chosen.map(|(at, _)| at).map(|at| free.swap_remove(at))?;
            if has_file(&segment) {
                return Some(segment);
            }
        }
        None
    }

    /// Sizes of the free segments that this claim may take: the smallest ones first.
    pub(crate) fn takeable(&self, claim: Claim) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.free().iter().map(|s| s.size).collect();
        sizes.sort_unstable();
        sizes.truncate(sizes.len().saturating_sub(claim.leaves()));
        sizes
    }

    /// Makes one segment of several free ones, for a part that fits in none of them: they are
    /// removed, and it takes their blocks.
    pub(crate) fn join_free(&self, needed: u64, claim: Claim) -> Result<Option<Segment>, Error> {
        if claim == Claim::Commit || self.takeable(claim).iter().sum::<u64>() < needed {
            return Ok(None);
        }
        let mut removed = 0;
        while removed < needed {
            let Some(segment) = self.take_free(0, u64::MAX, claim) else { return Ok(None) };
            let size = segment.size;
            self.remove(segment.id).inspect_err(|_| self.free().push(segment))?;
            removed += size;
        }
        self.create(needed).map(Some)
    }

    /// Puts a segment among the free ones.
    pub(crate) fn keep_free(&self, segment: Segment) {
        self.free().push(segment);
        self.note_room();
    }

    /// Number of segments that the reserve lacks; those that are too small for it count for none.
    fn missing(&self) -> usize {
        let enough = self.enough_bytes();
        let there = self.free().iter().filter(|s| s.size >= enough).count();
        RESERVE.saturating_sub(there)
    }

    /// Bytes of a segment that counts for the reserve.
    pub(crate) fn enough_bytes(&self) -> u64 {
        (self.wanted_bytes() / 2).max(self.least_reserved_bytes())
    }

    /// Whether a segment of this size would be kept in the reserve.
    pub(crate) fn is_wanted(&self, size: u64, kept_besides: usize) -> bool {
        size >= self.enough_bytes()
            && size <= self.wanted_bytes() * 2
            && self.missing() > kept_besides
    }

    /// Makes one free segment ready if the reserve lacks one, and removes one that is far too large
    /// for what is live by now. `true` if there is more to make.
    pub(crate) fn prepare(&self) -> Result<bool, Error> {
        let wanted = self.wanted_bytes();
        let commits = self.tally.counters().commits;
        let oversized = |s: &mut Segment| s.size > wanted * 2 && !s.is_promised(commits);
        let too_large = self.free().extract_if(.., oversized).next();
        if let Some(segment) = too_large {
            self.remove(segment.id).inspect_err(|_| self.free().push(segment))?;
        }
        if self.missing() == 0 {
            self.note_room();
            return Ok(false);
        }
        let made = self.create(wanted)?;
        self.keep_free(made);
        Ok(self.missing() > 0)
    }

    /// Makes a free segment ready that has room for a part of this many bytes, if there is none.
    ///
    /// It is kept for the next commits, however large it is.
    pub(crate) fn prepare_for(&self, bytes: u64) -> Result<(), Error> {
        let needed = bytes + bytes / 16 + FRAME_SLACK_BYTES;
        let commits = self.tally.counters().commits;
        if let Some(segment) = self.free().iter().find(|segment| segment.size >= needed) {
            segment.promise(commits);
            return Ok(());
        }
        let was_tight = self.is_tight();
        let made = self.create(needed.next_multiple_of(4096)).inspect_err(|_| {
            // There is no room for this, which does not say that there is none for less.
            self.tight.store(was_tight, Ordering::Relaxed);
            self.note_room();
        })?;
        made.promise(commits);
        self.keep_free(made);
        Ok(())
    }

    /// Bytes of a whole reserve.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        RESERVE as u64 * self.wanted_bytes()
    }

    /// Bytes of the free segments that a commit may take.
    pub(crate) fn commit_bytes(&self) -> u64 {
        self.takeable(Claim::Commit).iter().sum()
    }

    /// Takes note that the disk is full, if this error says so.
    pub(crate) fn note_full(&self, error: &Error) {
        if error.is_full() {
            self.tight.store(true, Ordering::Relaxed);
        }
    }

    /// The disk is not full any more if the reserve is whole.
    pub(crate) fn note_room(&self) {
        if self.is_tight() && self.missing() == 0 {
            self.tight.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the disk was full when a segment was last wanted, and the reserve is not whole.
    pub(crate) fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    /// Gives back the segments that a voided group has opened; the appender holds none of them any
    /// more.
    pub(crate) fn void(&self, opened: &mut Vec<Arc<Segment>>) {
        while let Some(segment) = opened.pop() {
            if !segment.is_settled() || !self.is_wanted(segment.size, 0) {
                // No other thread knows of a part in it.
                if self.remove(segment.id).is_ok() {
                    self.forget(segment.id);
                    self.return_id(segment.id);
                } else {
                    segment.abandon();
                }
                continue;
            }
            self.forget(segment.id);
            match Arc::try_unwrap(segment) {
                Ok(segment) => {
                    segment.seal();
                    self.keep_free(segment);
                }
                // Someone looks at it just now: it goes the way of the dead ones.
                Err(shared) => {
                    shared.abandon();
                    self.put_back([shared]);
                }
            }
        }
    }

    /// Takes the segments that an earlier opening has prepared, so that an opening needs no room
    /// for new ones. Called when every live part is adopted: a header says "unused" as well if a
    /// crash has lost the one that came after it, and then parts may be live in the file. There is
    /// no frame in it that recovery would look at, so a crash leaves what there was (R5).
    ///
    /// If fewer are prepared than an opening needs, dead ones are taken, under their own numbers,
    /// which no reader knows in a process that has just begun. A crash leaves such a one with a
    /// header of a generation that never came to life, and nothing live in it. So an opening that
    /// is killed right behind its checkpoint leaves its successor what that needs.
    pub(crate) fn take_unused(&self, checkpoint: u64, keep: [u32; 2]) {
        self.take_all(
            &self.ids_of(|s| {
                s.unused.load(Ordering::Relaxed) && s.live.load(Ordering::Relaxed) == 0
            }),
        );
        let lacking = OPENING_SEGMENTS.saturating_sub(self.free().len());
        if lacking > 0 {
            let enough = self.enough_bytes();
            let dead = self.ids_of(|s| {
                !keep.contains(&s.id) && s.has_stream() && s.size >= enough && s.is_dead(checkpoint)
            });
            let dead = self.unneeded(dead);
            let dead = &dead[..dead.len().min(lacking)];
            for segment in dead.iter().filter_map(|&id| self.get(id)) {
                segment.mark_unused();
            }
            self.take_all(dead);
        }
    }

    /// Those of these dead segments that no reader needs; none, if there is no list of readers.
    fn unneeded(&self, dead: Vec<u32>) -> Vec<u32> {
        let dead: Vec<Arc<Segment>> = dead.into_iter().filter_map(|id| self.get(id)).collect();
        let listed: Vec<&Segment> = dead.iter().map(|segment| &**segment).collect();
        self.let_go(&listed).unwrap_or_default()
    }

    fn take_all(&self, ids: &[u32]) {
        for &id in ids {
            if self.free().len() >= RESERVE {
                break;
            }
            match self.forget(id).map(Arc::try_unwrap) {
                Some(Ok(segment)) => self.free().push(segment),
                // A file that is being read keeps its bytes: it goes the way of the dead ones.
                Some(Err(shared)) => self.put_back([shared]),
                None => {}
            }
        }
    }

    /// Makes header and length of a segment that an earlier opening has prepared durable: the
    /// process may have been killed before they were. Both are written anew, so that the sync is a
    /// real one.
    ///
    /// One that somebody has cut short while it was free gets its length again.
    pub(crate) fn renew(&self, segment: &Segment) -> Result<(), Error> {
        if !segment.unused.load(Ordering::Relaxed) {
            return self.lengthen(segment);
        }
        segment
            .file
            .write_at(&[0], segment.size - 1)
            .map_err(|e| self.refused("write", segment.id, e))?;
        self.write_header(segment, None, 0)?;
        self.sync_unused(segment)?;
        segment.unused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The numbers of such segments, in one order, so that a seed repeats a run.
    fn ids_of(&self, wanted: impl Fn(&Segment) -> bool) -> Vec<u32> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<u32> = map.values().filter(|s| wanted(s)).map(|s| s.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Takes a segment out of the map.
    fn forget(&self, id: u32) -> Option<Arc<Segment>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    pub(crate) fn free(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
