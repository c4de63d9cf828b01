//! `Db`: named trees over one log.

mod background;
mod bounds;
mod builder;
mod catalog;
mod clean;
mod ends;
mod held;
mod lost;
mod owned;
mod range;
mod removal;
mod stats;
mod tree;
mod value;
mod verify;

pub use bounds::ByteRange;
pub use builder::{Builder, SyncPolicy};
pub use clean::{CleanEnd, CleanOptions, CleanProgress, CleanReport};
pub use owned::ByteValue;
pub use range::{Keys, Range, Values};
pub use removal::ExtractIf;
pub use stats::{MemoryStats, Stats, TreeStats};
pub use tree::Tree;
pub use verify::VerifyReport;

use crate::error::{Error, Result};
use crate::paging::DurableEngine;
use background::Workers;
use catalog::Catalog;
use core::fmt;
use gc::{Evictable, Evicted};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use sync::atomic::{AtomicU32, Ordering};

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

    /// What the store holds and has done. Walks the catalog and the page table: about 60 us for
    /// each thousand pages, and below 1 ms for each thousand trees. For the depth of a tree of
    /// several pages its root is read, if it is not in memory.
    pub fn stats(&self) -> Stats {
        stats::stats(self)
    }

    /// Reads everything that is live, and checks every checksum, every invariant that holds at
    /// rest, and that every page is one of a tree; whether the files are there, and as long as they
    /// were; and what an opening after a crash would read. Writers should be quiet: what they
    /// change meanwhile may be reported, if it is found twice. What was damaged and has been given
    /// up is not, from when the removal has returned. Cleaning, and merges of pages, wait while the
    /// trees are walked, which is the second half of the check; whoever waits comes before the next
    /// check.
    ///
    /// What costs no key to mend is reported once, and mended: inner pages, the catalog, what lies
    /// in two places, pages that are in memory, files that were removed and are still open, and
    /// what only an opening would miss, by a checkpoint. A store that has passed can be opened.
    ///
    /// # Errors
    /// [`Error::Damaged`] with all that is wrong, page by page; another error if that cannot be
    /// found out; [`Error::Closed`] soon after another handle has closed the store.
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
    /// last handle is gone. What others have removed of its files and is still open is saved.
    /// Dropping the last handle does the same and ignores errors.
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
        self.engine.store.check_open()
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
                if self
                    .writes
                    .fetch_add(1, Ordering::Relaxed)
                    .wrapping_add(1)
                    .is_multiple_of(every.max(1))
                {
                    self.sync()
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Closes, once: who comes second waits for the first. After a failure the next call tries
    /// again; operations stay refused.
    fn close(&self) -> Result<()> {
        let mut done = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if *done {
            return Ok(());
        }
        self.engine.store.closed.store(true, Ordering::SeqCst);
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
        // Who waits for memory, or for a commit, is not to wait for it.
        self.engine.store.budget.wake();
        let _evictor = workers.map(Workers::stop_writing);
        if !self.engine.store.read_only {
            self.engine.store.closing.store(true, Ordering::Relaxed);
            // What the first commit makes free, the checkpoint says.
            self.engine.sync()?;
            // What others did to the files can be made good for as long as they are open.
            drop(verify::check_files(&self.engine)?);
            verify::make_openable(&self.engine)?;
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
