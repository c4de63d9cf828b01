//! `Db`: named trees over one log.

mod background;
mod bounds;
mod builder;
mod catalog;
mod ends;
mod range;
mod removal;
mod stats;
mod tree;
mod value;
mod verify;

pub use bounds::ByteRange;
pub use builder::{Builder, SyncPolicy};
pub use range::{Keys, Range, Values};
pub use removal::ExtractIf;
pub use stats::{MemoryStats, Stats, TreeStats};
pub use tree::Tree;
pub use verify::VerifyReport;

use crate::error::{Error, Result};
use crate::paging::DurableEngine;
use crate::paging::folding::Folding;
use crate::paging::sparse::SparseWalk;
use background::Workers;
use catalog::Catalog;
use core::fmt;
use gc::{Evictable, Evicted, Reach};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Part of the disk that a cleaning writes anew before it wins back what has died by that.
const FOLD_SHARE: u64 = 16;

/// Walks over all trees that a cleaning begins with, at the most: a page absorbs some hundred
/// others before a commit, so that each walk leaves about the two-hundredth part of what can be
/// merged.
const MOST_WALKS: u32 = 4;

/// A durable, ordered store: named trees over one log. A cheap handle; clones share the store.
///
/// A write is visible when its call returns, and durable when a later [`sync`](Db::sync) has
/// returned, or the [`SyncPolicy`] has synced. After any crash the store is exactly what it was at
/// one moment, not before the last sync that was acknowledged.
///
/// No operation on a tree takes a latch. Background threads write, clean and evict; they never
/// hold a writer back, save when memory is above the budget.
///
/// ```
/// # fn main() -> bwtree::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("store");
/// let db = bwtree::Db::open(&path)?;
/// let jobs = db.tree("jobs")?;
/// jobs.put("job-1", "RUNNING")?;
/// db.sync()?;
/// assert_eq!(jobs.get("job-1")?.as_deref(), Some(b"RUNNING".as_slice()));
/// db.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Db {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles of a store share. The background threads hold the engine, not this.
pub(crate) struct Inner {
    pub(crate) engine: Arc<DurableEngine>,
    pub(crate) catalog: Arc<Catalog>,
    /// What a store that is open for reading only is opened anew with.
    again: Option<(Builder, Arc<dyn lss::io::Disk>)>,
    policy: SyncPolicy,
    /// Writes since the policy last synced.
    writes: AtomicU32,
    workers: Mutex<Option<Workers>>,
    /// No operation begins any more.
    closed: AtomicBool,
    /// Held while the store is closed; whether that was done.
    closing: Mutex<bool>,
}

impl Db {
    /// Opens the store in this directory, with the defaults of [`Builder`]. Creates it if there is
    /// none, and the directory and those above it.
    ///
    /// # Errors
    /// If another process has it open for writing, the directory holds something else, or it is
    /// damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Options for opening the store in this directory.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(path.as_ref())
    }

    /// The tree of this name; it is created if there is none.
    ///
    /// # Errors
    /// If the name is empty or too long, or the tree must be created and cannot be.
    pub fn tree(&self, name: &str) -> Result<Tree> {
        self.inner.check_open()?;
        let core = self.inner.catalog.open(&self.inner.engine, name)?;
        self.inner.check_still_open()?;
        Ok(Tree::new(Arc::clone(&self.inner), core, name))
    }

    /// The tree of this name, if there is one.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn find_tree(&self, name: &str) -> Result<Option<Tree>> {
        self.inner.check_open()?;
        let core = self.inner.catalog.find(&self.inner.engine, name)?;
        Ok(core.map(|core| Tree::new(Arc::clone(&self.inner), core, name)))
    }

    /// The names of all trees, in order.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn tree_names(&self) -> Result<Vec<String>> {
        self.inner.check_open()?;
        self.inner.catalog.names(&self.inner.engine)
    }

    /// Removes a tree and all its entries; `false` if there is none of this name. Every operation
    /// of a handle to it gives [`Error::TreeDropped`] from then on. The name can be used again at
    /// once, by a tree of its own.
    ///
    /// It is as durable as a put. What the tree has taken is given back in the background, which
    /// costs a walk over the page table, however many entries there were; no page is read for it.
    /// If a thousand trees and more wait for that, which may need a commit, a drop does it itself.
    ///
    /// LINEARIZES: where handles begin to fail.
    ///
    /// # Errors
    /// If the store cannot be written: the tree is as it was. If only the sync fails that the
    /// policy wants after it, the tree is dropped, and a later sync makes that durable; so it is
    /// with a put. To call it again is such a sync: `Ok`, `false` by then, says that the policy is
    /// satisfied.
    pub fn drop_tree(&self, name: &str) -> Result<bool> {
        self.inner.check_open()?;
        let removed = self.inner.catalog.remove(&self.inner.engine, name)?;
        if removed {
            self.inner.catalog.keep_up(&self.inner.engine);
        }
        self.inner.after_write(0)?;
        Ok(removed)
    }

    /// Makes every write that is visible now durable. Callers that come while another one syncs
    /// share its work.
    ///
    /// # Errors
    /// If the log cannot be written. A full disk can be tried again once there is room; after any
    /// other failure the store takes no more writes until it is opened again.
    pub fn sync(&self) -> Result<()> {
        self.inner.check_open()?;
        self.inner.sync()
    }

    /// The version up to which all writes are durable.
    pub fn durable_version(&self) -> u64 {
        self.inner.engine.store.log.durable_version()
    }

    /// Makes everything durable, and makes sure that opening the store reads nothing that was
    /// written before.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        self.inner.engine.checkpoint()?;
        self.inner.engine.store.log.reclaim()?;
        Ok(())
    }

    /// Cleans now: moves what is live out of segments that are partly dead, and gives these back.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn clean(&self, options: CleanOptions<'_>) -> Result<CleanReport> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        self.inner.clean(options)
    }

    /// A store that is open for reading only, as of the last commit by now: a view of its own, with
    /// trees of its own. This one stays as it was, and holds disk space back until it is dropped.
    /// A store that is open for writing is always as of now, and this is another handle to it.
    ///
    /// It costs what an opening does: about 60 bytes are read for each page of the store, and what
    /// was written since the last checkpoint; no page is.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn refreshed(&self) -> Result<Self> {
        self.inner.check_open()?;
        match &self.inner.again {
            Some((builder, disk)) => builder.clone().open_on(Arc::clone(disk)),
            None => Ok(self.clone()),
        }
    }

    /// What the store holds and has done. Walks the catalog and the page table; some microseconds
    /// for each thousand pages.
    pub fn stats(&self) -> Stats {
        stats::stats(self)
    }

    /// Reads everything that is live, and checks every checksum, every invariant that holds at
    /// rest, and that every page is one of a tree. Writers should be quiet: what they change
    /// meanwhile may be reported. What was damaged and has been given up is not, from when the
    /// removal has returned.
    ///
    /// # Errors
    /// [`Error::Damaged`] with all that is wrong, page by page; another error if that cannot be
    /// found out.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.inner.check_open()?;
        verify::verify(self)
    }

    /// Evicts every page that can be evicted, and says how many; for tests.
    #[doc(hidden)]
    pub fn evict_pages(&self) -> u64 {
        let engine = &self.inner.engine;
        // The first look at a page that was used lately only forgets that it was.
        let evict = |id| match engine.try_evict(id) {
            Evicted::Referenced => engine.try_evict(id),
            other => other,
        };
        let evicted = (1..engine.page_count()).map(evict);
        evicted.filter(|evicted| matches!(evicted, Evicted::Freed(_))).count() as u64
    }

    /// Syncs, writes a checkpoint, stops the background threads and releases the lock when the
    /// last handle is gone. Dropping the last handle does the same and ignores errors.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), and what background work has failed with. A close that has failed
    /// can be tried again through another handle; nothing else can be done with the store. An
    /// iterator that is left gives what it has read of its page, and then [`Error::Closed`].
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Asked after a write, before it is said to be done: a write beside a close is in the commit
    /// of that close, or its caller hears that the store was closed.
    ///
    /// 1. Thread A, a writer, finds the store open and installs its record.
    /// 2. Thread B, which closes, sets `closed` and then opens the cut of the last commit.
    /// 3. A loads `closed`.
    ///
    /// ORDERING: store buffering, a `SeqCst` fence on each side (here and in `close`): if A does
    /// not see `closed`, then B's cut sees A's record.
    fn check_still_open(&self) -> Result<()> {
        sync::atomic::fence(Ordering::SeqCst);
        self.check_open()
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.engine.store.read_only { Err(Error::ReadOnly) } else { self.engine.store.check() }
    }

    pub(crate) fn sync(&self) -> Result<()> {
        if self.engine.store.read_only {
            return Ok(());
        }
        let synced = self.engine.sync();
        self.engine.store.note_sync(&synced, false);
        if synced.is_ok() && self.engine.store.log.is_tight() {
            // There may be room again; if not, puts stay refused.
            let _full = self.engine.fill_reserve();
        }
        if let Some(workers) = &*self.workers.lock().unwrap_or_else(PoisonError::into_inner) {
            workers.after_commit(&self.engine);
        }
        synced
    }

    /// What follows one write of an operation that makes many: it is durable when all of them are
    /// to be, at [`after_many`](Self::after_many).
    fn after_one_of_many(&self, bytes: usize) -> Result<()> {
        if self.policy == SyncPolicy::Always {
            self.engine.store.count_user(bytes);
            return self.check_still_open();
        }
        self.after_write(bytes)
    }

    /// What follows the last write of an operation that makes many, and may have failed behind some
    /// of them.
    fn after_many<R>(&self, done: Result<R>) -> Result<R> {
        let synced = if self.policy == SyncPolicy::Always { self.sync() } else { Ok(()) };
        done.and_then(|done| synced.map(|()| done))
    }

    /// What the policy wants done after a write of this many bytes.
    pub(crate) fn after_write(&self, bytes: usize) -> Result<()> {
        self.engine.store.count_user(bytes);
        self.check_still_open()?;
        match self.policy {
            SyncPolicy::Manual | SyncPolicy::EveryMillis(_) => Ok(()),
            SyncPolicy::Always => self.sync(),
            SyncPolicy::EveryWrites(every) => {
                // The writer that makes the last of them leads the sync.
                if (self.writes.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every.max(1)) {
                    self.sync()
                } else {
                    Ok(())
                }
            }
        }
    }

    fn clean(&self, options: CleanOptions<'_>) -> Result<CleanReport> {
        let CleanOptions { budget_bytes, target_ratio, mut progress } = options;
        // A comparison with NaN is false, so this refuses it too.
        if !(1.0..=f64::MAX).contains(&target_ratio) {
            let what = format!("a target ratio of {target_ratio} is not possible; give at least 1");
            return Err(Error::InvalidOption { what });
        }
        let log = &self.engine.store.log;
        self.engine.sync()?;
        self.engine.make_all_disk_room()?;
        self.catalog.finish_all_drops(&self.engine)?;
        // Leaves that have run empty are live until they are merged.
        self.engine.merge_dry()?;
        let mut sparse = SparseWalk::default();
        for _ in 0..MOST_WALKS {
            let merges = self.engine.counters.merges.load(Ordering::Relaxed);
            while sparse.step(&self.engine)? {}
            self.engine.sync()?;
            // Ids of merged pages wait for a commit that is newer than they are.
            self.engine.free_buried()?;
            if !self.engine.store.buried.is_empty() {
                self.engine.commit_for_buried()?;
                self.engine.free_buried()?;
            }
            if self.engine.counters.merges.load(Ordering::Relaxed) == merges {
                break;
            }
        }
        let disk_before = log.disk_bytes();
        let mut report = CleanReport { end: CleanEnd::Budget, ..CleanReport::default() };
        let budget = budget_bytes.unwrap_or(u64::MAX);
        let mut stopped = false;
        let mut progress = |moved_bytes, segments| {
            let freed_bytes = disk_before.saturating_sub(log.disk_bytes());
            let now = CleanProgress { moved_bytes, freed_bytes, segments };
            let go_on = progress.as_mut().is_none_or(|progress| progress(&now));
            // It may have closed the store.
            go_on && self.check_open().is_ok()
        };
        // Each round folds some pages or gains a segment, so the first that does neither is the
        // last.
        let mut folding = Folding::default();
        // What users replace meanwhile is the next cleaning's.
        let mut folds = true;
        loop {
            // Besides the reserve for a full disk, which no cleaning gives back.
            let disk = log.used_bytes();
            let (smallest, next) = self.segment_sizes();
            let target = (self.engine.needed_bytes() as f64 * target_ratio) as u64;
            let excess = disk.saturating_sub(target.saturating_add(smallest));
            if excess == 0 {
                report.end = CleanEnd::Reached;
                break;
            }
            let (mut folded, most) = (0, (disk / FOLD_SHARE).max(next));
            while folds
                && folded < most
                && report.moved_bytes < budget
                && folding.is_wanted(&self.engine, excess)
            {
                stopped = !progress(report.moved_bytes, report.segments);
                if stopped {
                    break;
                }
                let bytes = match folding.step(&self.engine) {
                    Err(Error::Log(error)) if error.is_full() => break,
                    step => step?,
                };
                folds = bytes.is_some();
                folded += bytes.unwrap_or(0);
                report.moved_bytes += bytes.unwrap_or(0);
            }
            if stopped {
                self.check_open()?;
                report.end = CleanEnd::Stopped;
                break;
            }
            // What is moved needs a segment to go to, and one that dies may be kept for use.
            // And each may have a tail in which no page did fit.
            let tails = log.segments().len() as u64 * self.engine.limits.leaf_bytes as u64;
            let least = next + tails;
            let dead = self.engine.gain_after_checkpoint();
            // The checkpoint of this round leaves them, for the next one to empty.
            let leaves_some = log.segments().iter().any(|segment| log.is_spent(segment));
            if folded == 0
                && dead <= next
                && self.engine.gain_within_reach(Reach::Anything) <= least
            {
                report.end = CleanEnd::NothingToGain;
                break;
            }
            if dead <= next {
                if report.moved_bytes >= budget {
                    report.end = CleanEnd::Budget;
                    break;
                }
                let (moved, emptied) = (report.moved_bytes, report.segments);
                let left = budget - moved;
                let goal = disk - target;
                let cleaned = self.engine.clean(goal, left, Reach::Anything, |cleaned| {
                    let go_on = progress(moved + cleaned.moved_bytes, emptied + cleaned.segments);
                    stopped |= !go_on;
                    go_on
                });
                let cleaned = match cleaned {
                    // What a full disk lets be moved has been.
                    Err(Error::Log(error)) if error.is_full() => {
                        report.end = CleanEnd::NothingToGain;
                        break;
                    }
                    cleaned => cleaned?,
                };
                report.moved_bytes += cleaned.moved_bytes;
                report.segments += cleaned.segments;
            }
            stopped |= !stopped && !progress(report.moved_bytes, report.segments);
            self.check_open()?;
            self.engine.checkpoint()?;
            self.engine.free_buried()?;
            log.reclaim()?;
            if stopped || log.used_bytes() >= disk && !leaves_some && folded == 0 {
                report.end = if stopped { CleanEnd::Stopped } else { CleanEnd::NothingToGain };
                break;
            }
        }
        report.freed_bytes = disk_before.saturating_sub(log.disk_bytes());
        report.disk_bytes = log.disk_bytes();
        report.held_bytes = log.held_bytes();
        report.live_bytes = log.live_bytes();
        Ok(report)
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

    /// Closes, once: who comes second waits for the first. After a failure the next call tries
    /// again; operations stay refused.
    fn close(&self) -> Result<()> {
        let mut done = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if *done {
            return Ok(());
        }
        self.closed.store(true, Ordering::SeqCst);
        // See `check_still_open`.
        sync::atomic::fence(Ordering::SeqCst);
        if self.engine.store.log.is_forked() {
            // The threads are the parent's, and so is the log: there is nothing to join or write.
            if let Ok(mut workers) = self.workers.try_lock() {
                let _of_the_parent = workers.take().map(|workers| Box::leak(Box::new(workers)));
            }
            *done = true;
            return Ok(());
        }
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(workers) = workers {
            workers.stop();
        }
        if !self.engine.store.read_only {
            self.engine.store.closing.store(true, Ordering::Relaxed);
            // What the first commit makes free, the checkpoint says.
            self.engine.sync()?;
            self.catalog.finish_all_drops(&self.engine)?;
            self.engine.free_buried()?;
            if !self.engine.is_checkpointed() {
                self.engine.checkpoint()?;
            }
            self.engine.store.log.reclaim()?;
        }
        *done = true;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ignored = self.close();
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db(durable up to {})", self.durable_version())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner")
    }
}

/// What [`Db::clean`] is to do.
pub struct CleanOptions<'a> {
    /// Most bytes to move; `None` is no limit.
    pub budget_bytes: Option<u64>,
    /// Bytes on disk per live byte to be reached. Default: 1.1. If it takes that, pages are written
    /// anew whose parts say things twice.
    pub target_ratio: f64,
    /// Called between the steps, of about a MiB each, and before each checkpoint, which gives back
    /// what was emptied; `false` stops the cleaning. A step waits for its turn to commit, behind
    /// the commits of those that write. It may use the store in any way; if it closes it, the
    /// cleaning ends with [`Error::Closed`].
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
    /// Bytes of disk given back.
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
    /// Bytes of disk given back.
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
    /// Why it ended.
    pub end: CleanEnd,
}

/// Why a cleaning has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanEnd {
    /// The target was reached, up to one smallest segment and what is held for readers.
    #[default]
    Reached,
    /// [`CleanOptions::budget_bytes`] were moved.
    Budget,
    /// [`CleanOptions::progress`] has stopped it.
    Stopped,
    /// What is left could be moved, and would take as much space again.
    NothingToGain,
}
