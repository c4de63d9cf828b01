//! `Db::clean`: what a caller asks the cleaner to do now, and to what end.

use super::Inner;
use crate::error::{Error, Result};
use crate::paging::folding::Folding;
use crate::paging::sparse::SparseWalk;
use core::fmt;
use gc::Reach;
use std::sync::PoisonError;
use std::time::Duration;
use sync::atomic::Ordering;

/// Part of the disk that a cleaning writes anew before it wins back what has died by that.
const FOLD_SHARE: u64 = 16;

/// Walks over all trees that a cleaning begins with, at the most: a page absorbs some hundred
/// others before a commit, so that each walk leaves about the two-hundredth part of what can be
/// merged.
const MOST_WALKS: u32 = 4;

/// A cleaning writes all that is live anew, and moves it once or twice; and that is its end,
/// however much writers replace meanwhile. At rest it takes less.
const MOVES_PER_LIVE: u64 = 3;

/// Of a store with next to nothing in it a cleaning moves some segments all the same.
const LEAST_MOST_BYTES: u64 = 16 << 20;

impl Inner {
    pub(super) fn clean(&self, options: CleanOptions<'_>) -> Result<CleanReport> {
        let CleanOptions { budget_bytes, target_ratio, progress } = options;
        // A comparison with NaN is false, so this refuses it too.
        if !(1.0..=f64::MAX).contains(&target_ratio) {
            let what = format!("a target ratio of {target_ratio} is not possible; give at least 1");
            return Err(Error::InvalidOption { what });
        }
        let log = &self.engine.store.log;
        let most = MOVES_PER_LIVE * log.live_bytes();
        let mut cleaning = Cleaning {
            inner: self,
            target_ratio,
            budget_bytes: budget_bytes.unwrap_or(u64::MAX),
            most_bytes: most.max(LEAST_MOST_BYTES),
            progress,
            disk_before: log.disk_bytes(),
            folding: Some(Folding::default()),
            stopped: false,
            report: CleanReport::default(),
        };
        cleaning.merge_what_is_empty()?;
        let state = || [log.live_bytes(), log.used_bytes(), log.durable_version()];
        let exhausted = &self.engine.store.exhausted;
        let before = *exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        let end = loop {
            // As the last one has left it: what is moved in vain would be moved again.
            if before == Some((state(), target_ratio.to_bits())) {
                break CleanEnd::NothingToGain;
            }
            if cleaning.stopped {
                self.check_open()?;
                break CleanEnd::Stopped;
            }
            if let Some(end) = cleaning.round()? {
                break end;
            }
        };
        let is_all =
            end == CleanEnd::NothingToGain && cleaning.report.moved_bytes < cleaning.most_bytes;
        let now = is_all.then(|| (state(), target_ratio.to_bits()));
        *exhausted.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(CleanReport {
            freed_bytes: cleaning.freed_bytes(),
            disk_bytes: log.disk_bytes(),
            held_bytes: log.held_bytes(),
            reserve_bytes: log.spare_bytes(),
            live_bytes: log.live_bytes(),
            end,
            ..cleaning.report
        })
    }

    /// What damage has left over, in trees all of whose damaged keys were given up.
    fn give_back_strays(&self) -> Result<()> {
        let engine = &self.engine;
        if !engine.may_have_strays() {
            return Ok(());
        }
        for core in self.catalog.cores() {
            engine.give_back_strays(core)?;
        }
        for (_, tree) in self.catalog.trees(engine)? {
            match engine.give_back_strays(&tree) {
                Err(Error::TreeDropped { .. }) => {}
                done => drop(done?),
            }
        }
        Ok(())
    }

    /// Bytes of the smallest segment, and of the largest that is in use or prepared.
    fn segment_sizes(&self) -> (u64, u64) {
        let segments = self.engine.store.log.segments();
        let smallest = segments.iter().map(|segment| segment.size).min().unwrap_or(0);
        let log = &self.engine.store.log;
        let open = segments.iter().filter(|s| s.state != lss::SegmentState::Sealed);
        let open = open.filter(|segment| !log.is_spent(segment));
        (smallest, open.map(|segment| segment.size).max().unwrap_or(0))
    }
}

/// A cleaning on demand.
struct Cleaning<'i, 'p> {
    inner: &'i Inner,
    target_ratio: f64,
    budget_bytes: u64,
    /// Nor more than this: beside writers there would be no end to it.
    most_bytes: u64,
    progress: Option<&'p mut dyn FnMut(&CleanProgress) -> bool>,
    disk_before: u64,
    /// Nothing once it has gone over all pages, or had nothing to win: what users replace meanwhile
    /// is for the next cleaning.
    folding: Option<Folding>,
    /// The caller wants no more, or has closed the store.
    stopped: bool,
    report: CleanReport,
}

impl Cleaning<'_, '_> {
    /// Leaves that have run empty are live until they are merged, and ids of merged pages wait for
    /// a commit that is newer than they are.
    fn merge_what_is_empty(&mut self) -> Result<()> {
        let inner = self.inner;
        let engine = &inner.engine;
        engine.sync()?;
        engine.make_all_disk_room()?;
        inner.catalog.finish_all_drops(engine)?;
        inner.give_back_strays()?;
        engine.merge_dry()?;
        let mut sparse = SparseWalk::default();
        let merges = || engine.counters.merges.load(Ordering::Relaxed);
        for _ in 0..MOST_WALKS {
            let before = merges();
            while sparse.step(engine, Duration::MAX)? {
                if !self.ask(0, 0) {
                    return Ok(());
                }
            }
            engine.sync()?;
            engine.free_buried()?;
            if !engine.store.buried.is_empty() {
                engine.commit_for_buried()?;
                engine.free_buried()?;
            }
            if merges() == before {
                break;
            }
        }
        Ok(())
    }

    /// Folds some pages, or empties some segments, or both. Says why it was the last time, if it
    /// was: each round folds or gains something, so the first that does neither is the last.
    fn round(&mut self) -> Result<Option<CleanEnd>> {
        let inner = self.inner;
        let (engine, log) = (&inner.engine, &inner.engine.store.log);
        // Besides the reserve for a full disk, which no cleaning gives back.
        let disk = log.used_bytes();
        let (smallest, next) = inner.segment_sizes();
        if let Some(folding) = &mut self.folding {
            folding.survey(engine)?;
        }
        let target = (engine.needed_bytes() as f64 * self.target_ratio) as u64;
        let excess = disk.saturating_sub(target.saturating_add(smallest));
        if excess == 0 {
            return Ok(Some(CleanEnd::Reached));
        }
        let folded = self.fold(excess, (disk / FOLD_SHARE).max(next))?;
        if self.stopped {
            inner.check_open()?;
            return Ok(Some(CleanEnd::Stopped));
        }
        // What is moved needs a segment to go to, and one that dies may be kept for use.
        // And each may have a tail in which no page did fit.
        let tails = log.segments().len() as u64 * engine.limits.leaf_bytes as u64;
        let least = next + tails;
        let dead = engine.gain_after_checkpoint();
        // The checkpoint of this round leaves them, for the next one to empty.
        let leaves_some = log.segments().iter().any(|segment| log.is_spent(segment));
        let gains = dead > next || engine.gain_within_reach(Reach::Anything) > least;
        if folded == 0 && !gains {
            return Ok(Some(CleanEnd::NothingToGain));
        }
        if dead <= next
            && let Some(end) = self.empty(disk - target)?
        {
            return Ok(Some(end));
        }
        if !self.stopped {
            self.ask(0, 0);
        }
        inner.check_open()?;
        engine.checkpoint()?;
        engine.free_buried()?;
        log.reclaim()?;
        let gained = log.used_bytes() < disk || leaves_some || folded > 0;
        Ok(match (self.stopped, gained) {
            (true, _) => Some(CleanEnd::Stopped),
            (false, true) => None,
            (false, false) => Some(CleanEnd::NothingToGain),
        })
    }

    /// Writes pages anew whose parts say things twice, about so many bytes of them. Returns how
    /// many there were.
    fn fold(&mut self, excess: u64, most: u64) -> Result<u64> {
        let engine = &self.inner.engine;
        let mut folded = 0;
        let most_bytes = self.budget_bytes.min(self.most_bytes);
        while folded < most && self.report.moved_bytes < most_bytes {
            // Taken, and put back only if it goes on: beside writers there would be no end to it.
            let Some(mut folding) = self.folding.take() else { break };
            if !folding.is_wanted(engine, excess) || !self.ask(0, 0) {
                break;
            }
            let bytes = match folding.step(engine) {
                Err(Error::Log(error)) if error.is_full() => break,
                step => step?,
            };
            self.folding = bytes.map(|_| folding);
            folded += bytes.unwrap_or(0);
            self.report.moved_bytes += bytes.unwrap_or(0);
        }
        Ok(folded)
    }

    /// Empties segments, to win so many bytes. Says so if that is the end of it.
    fn empty(&mut self, goal: u64) -> Result<Option<CleanEnd>> {
        let left_of = |most: u64| most.saturating_sub(self.report.moved_bytes);
        let left = left_of(self.budget_bytes).min(left_of(self.most_bytes));
        if left == 0 {
            let is_of_caller = left_of(self.budget_bytes) == 0;
            return Ok(Some(if is_of_caller { CleanEnd::Budget } else { CleanEnd::NothingToGain }));
        }
        let engine = &self.inner.engine;
        let cleaned = engine.clean(goal, left, Reach::Anything, |cleaned| {
            self.ask(cleaned.moved_bytes, cleaned.segments)
        });
        let cleaned = match cleaned {
            // What a full disk lets be moved has been.
            Err(Error::Log(error)) if error.is_full() => return Ok(Some(CleanEnd::NothingToGain)),
            cleaned => cleaned?,
        };
        self.report.moved_bytes += cleaned.moved_bytes;
        self.report.segments += cleaned.segments;
        Ok(None)
    }

    /// Asks the caller whether to go on, with this much done besides what is in the report. The
    /// answer stays no.
    fn ask(&mut self, moved_bytes: u64, segments: u64) -> bool {
        let now = CleanProgress {
            moved_bytes: self.report.moved_bytes + moved_bytes,
            freed_bytes: self.freed_bytes(),
            segments: self.report.segments + segments,
        };
        let go_on = self.progress.as_mut().is_none_or(|progress| progress(&now));
        // It may have closed the store.
        self.stopped |= !go_on || self.inner.check_open().is_err();
        !self.stopped
    }

    fn freed_bytes(&self) -> u64 {
        self.disk_before.saturating_sub(self.inner.engine.store.log.disk_bytes())
    }
}

/// What [`Db::clean`](crate::Db::clean) is to do.
pub struct CleanOptions<'a> {
    /// Most bytes to move; `None` is no limit.
    pub budget_bytes: Option<u64>,
    /// Bytes on disk per live byte to be reached, beside the reserve for a full disk. Default: 1.1.
    /// If it takes that, pages are written anew whose parts say things twice.
    pub target_ratio: f64,
    /// Called between the steps, which write up to half a MiB to 4 MiB each, as the memory budget
    /// is, or look for something to write; and before each checkpoint, which gives back what was
    /// emptied. `false` stops the cleaning. A step waits for its turn to commit, behind the commits
    /// of those that write. It may use the store in any way; if it closes it, the cleaning ends
    /// with [`Error::Closed`].
    pub progress: Option<&'a mut dyn FnMut(&CleanProgress) -> bool>,
}

impl Default for CleanOptions<'_> {
    fn default() -> Self {
        Self { budget_bytes: None, target_ratio: 1.1, progress: None }
    }
}

impl fmt::Debug for CleanOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CleanOptions(to {} within {:?})", self.target_ratio, self.budget_bytes)
    }
}

/// How far a cleaning is.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CleanProgress {
    /// Bytes written for what was moved.
    pub moved_bytes: u64,
    /// Bytes by which the disk is smaller than when it began: none, if writers have taken more
    /// meanwhile than was given back.
    pub freed_bytes: u64,
    /// Segments that are being emptied.
    pub segments: u64,
}

/// What a cleaning has done.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CleanReport {
    /// Bytes written for what was moved.
    pub moved_bytes: u64,
    /// Bytes by which the disk is smaller than when it began: none, if writers have taken more
    /// meanwhile than was given back.
    pub freed_bytes: u64,
    /// Segments that were to be emptied.
    pub segments: u64,
    /// Bytes on disk afterwards.
    pub disk_bytes: u64,
    /// Of these, live.
    pub live_bytes: u64,
    /// Of these, neither live nor to be won: kept for stores that are open for reading only, and
    /// given back when they are closed.
    pub held_bytes: u64,
    /// Of these, kept free for a full disk, and no part of what the target is for.
    pub reserve_bytes: u64,
    /// Why it ended.
    pub end: CleanEnd,
}

/// Why a cleaning has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanEnd {
    /// The target was reached, up to one smallest segment, what is held for readers, and the
    /// reserve.
    #[default]
    Reached,
    /// [`CleanOptions::budget_bytes`] were moved.
    Budget,
    /// [`CleanOptions::progress`] has stopped it.
    Stopped,
    /// What is left could be moved, and would take as much space again; or writers have taken as
    /// much meanwhile as was won.
    NothingToGain,
}
