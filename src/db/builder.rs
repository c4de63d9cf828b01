//! Options for opening a store, each with its default, range and effect.

use super::background::{Workers, unless_one_group};
use super::catalog::Catalog;
use super::{Db, Inner};
use crate::engine::{Engine, Limits};
use crate::error::{Error, Result};
use crate::paging::LogStore;
use delta::Layout;
use gc::{Budget, CleaningSchedule};
use lss::io::{Disk, FileDisk};
use lss::{Log, Options};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sync::atomic::AtomicU32;

/// When writes become durable without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Only when [`Db::sync`] is called, the store is closed, memory runs short, or a background
    /// duty (cleaning, giving back what removals have left) needs a commit.
    Manual,
    /// The writer that makes the Nth write since the last sync syncs before its call returns.
    EveryWrites(u32),
    /// A background thread syncs this often, or as soon as its last sync has returned, if that took
    /// longer: writers that are faster than the disk are held back by the memory budget, not by
    /// this. A crash takes what came since the last sync began.
    EveryMillis(u64),
    /// Every write is durable when its call returns; concurrent writers share syncs.
    Always,
}

/// Options for opening a store.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `open`"]
pub struct Builder {
    path: PathBuf,
    memory_budget_bytes: u64,
    sync_policy: SyncPolicy,
    cleaning: CleaningSchedule,
    read_only: bool,
    create: bool,
    limits: Limits,
    options: Options,
    background: bool,
    /// Pages that a step of a drop takes away, and bytes that one of a checkpoint writes.
    steps: Option<(usize, u64)>,
    patience: Option<Duration>,
}

/// Least memory budget: some hundred pages.
const LEAST_BUDGET_BYTES: u64 = 1 << 20;

impl Builder {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            memory_budget_bytes: 256 << 20,
            sync_policy: SyncPolicy::EveryMillis(100),
            cleaning: CleaningSchedule::new(),
            read_only: false,
            create: true,
            limits: Limits::of(Layout::Var),
            options: Options::default(),
            background: true,
            steps: None,
            patience: None,
        }
    }

    /// Bytes of memory for pages, values and the table. Default: 256 MiB; least: 1 MiB.
    ///
    /// Above nine tenths of it pages are evicted; above all of it writers wait for that. The table
    /// takes some 260 bytes for each page of the store and cannot be evicted: what it takes beyond
    /// three quarters of the budget comes on top.
    pub fn memory_budget_bytes(mut self, bytes: u64) -> Self {
        self.memory_budget_bytes = bytes;
        self
    }

    /// When writes become durable by themselves. Default: every 100 ms.
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Self {
        self.sync_policy = policy;
        self
    }

    /// When and how far the log is cleaned. Default: every 100 ms, to 1.5 bytes on disk per live
    /// byte and 8 MiB.
    pub fn cleaning(mut self, schedule: CleaningSchedule) -> Self {
        self.cleaning = schedule;
        self
    }

    /// Most files of the log that are open at a time. Default: 256; fewer than 8 are taken for 8.
    ///
    /// A store has a file for about a 128th of its data, of 64 KiB to 128 MiB. One that is not open
    /// is opened when something in it is read. Besides these, each thread that reads may have one
    /// open for that long, and the store has four for itself.
    pub fn max_open_files(mut self, files: usize) -> Self {
        self.options.max_open_files = files;
        self
    }

    /// Open for reading only: nothing in the store is changed. Default: no.
    ///
    /// Any number of such openings work beside one another and beside one for writing, in this
    /// process or others of the machine. What is read is the store as it was at its last commit
    /// when it was opened, whatever is written since; see [`Db::refreshed`] for what is newer. Of a
    /// commit that was being synced at that moment a power failure may still leave nothing.
    ///
    /// The opening writes one small file into the directory, and removes it at the end. A process
    /// that is killed leaves it, and the next writer removes it. In a directory that can't be
    /// written to, openings for reading and for writing keep each other out.
    ///
    /// While it is open, the writer gives nothing back of what there was at the opening: what is
    /// rewritten takes disk space twice. [`Stats::held_bytes`](crate::Stats) tells how much.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Create the store if the directory holds none. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Pages and segments so small that a few entries make the store do everything; for tests.
    #[doc(hidden)]
    pub fn tiny(mut self) -> Self {
        self.limits =
            Limits { leaf_bytes: 560, inner_bytes: 400, area_bytes: 320, min_children: 4 };
        self.options.segment_bytes_min = 16 << 10;
        self.options.segment_bytes_max = 16 << 10;
        self.options.frame_bytes = 2048;
        self.steps = Some((4, 512));
        self
    }

    /// Leaves that split above so many bytes; for tests of stores whose pages are too large.
    #[doc(hidden)]
    pub fn leaf_bytes(mut self, bytes: usize) -> Self {
        self.limits.leaf_bytes = bytes;
        self
    }

    /// How long a writer waits for memory while no file is synced; for tests.
    #[doc(hidden)]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// No background threads; for tests that count on every step.
    #[doc(hidden)]
    pub fn without_background(mut self) -> Self {
        self.background = false;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If an option is impossible, another process has the store open for writing and this is not
    /// for reading only, the directory holds
    /// something else or nothing, or what it holds is damaged.
    pub fn open(self) -> Result<Db> {
        // Before anything is made on disk.
        self.validate()?;
        if self.path.as_os_str().is_empty() {
            let what = "the path of the store is empty; name a directory".to_owned();
            return Err(Error::InvalidOption { what });
        }
        let disk: Arc<dyn Disk> = if self.create && !self.read_only {
            let created = FileDisk::create(&self.path).map_err(|source| {
                let path = self.path.display().to_string();
                lss::Error::of_call("create the directory", path, source)
            });
            Arc::new(created?)
        } else {
            Arc::new(FileDisk::new(&self.path))
        };
        self.open_on(disk)
    }

    /// Opens the store on this disk, in place of the directory; for tests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_on(self, disk: Arc<dyn Disk>) -> Result<Db> {
        self.validate()?;
        let options = Options { create: self.create, read_only: self.read_only, ..self.options };
        let again = self.read_only.then(|| (self.clone(), Arc::clone(&disk)));
        let (log, recovered) = Log::open(disk, options)?;
        let budget = Arc::new(Budget::new(self.memory_budget_bytes));
        let mut store = LogStore::new(log, budget, self.read_only);
        if let Some(steps) = self.steps {
            (store.give_back_pages, store.checkpoint_step_bytes) = steps;
        }
        store.patience = self.patience.unwrap_or(store.patience);
        let engine = Arc::new(Engine::new(store, self.limits));
        let counts = engine.recover(recovered)?;
        let catalog = Arc::new(Catalog::load(&engine, &counts)?);
        let workers = match (self.read_only, self.background) {
            (true, true) => Some(Workers::for_reading(&engine)?),
            (true, false) => None,
            (false, true) => {
                // On a full disk it stays as it was found.
                unless_one_group(engine.fill_reserve())?;
                Some(Workers::start(&engine, &catalog, self.sync_policy, self.cleaning)?)
            }
            (false, false) => {
                // On a full disk a store opens as well.
                unless_one_group(catalog.finish_all_drops(&engine))?;
                None
            }
        };
        let inner = Inner {
            engine,
            catalog,
            again,
            policy: self.sync_policy,
            writes: AtomicU32::new(0),
            workers: Mutex::new(workers),
            closing: Mutex::new(false),
        };
        Ok(Db { inner: Arc::new(inner) })
    }

    fn validate(&self) -> Result<()> {
        if self.memory_budget_bytes < LEAST_BUDGET_BYTES {
            let what = format!(
                "a memory budget of {} bytes is too small; give at least {LEAST_BUDGET_BYTES}",
                self.memory_budget_bytes
            );
            return Err(Error::InvalidOption { what });
        }
        match self.sync_policy {
            SyncPolicy::EveryWrites(0) | SyncPolicy::EveryMillis(0) => {
                let what = "a sync policy of every 0 is not possible; use SyncPolicy::Always";
                return Err(Error::InvalidOption { what: what.into() });
            }
            _ => {}
        }
        Ok(self.cleaning.validate()?)
    }
}
