//! The store with a log: what an engine over it does where one in memory does nothing.

use super::chunk::ChangedPages;
use super::cut::CutLists;
use super::evacuate::Relief;
use super::rest::Rest;
use super::values::Separated;
use crate::damage::Damage;
use crate::engine::{Engine, Meter, Span, Store, TreeCore, Vacancy};
use crate::error::{Error, Result};
use core::cell::Cell;
use dashmap::DashMap;
use gc::{Budget, Category, Pressure, Waker};
use lss::Log;
use mapping::DirtyList;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use sync::epoch::Guard;
use types::limits::TREE_NUMBERS;
use types::{Address, PageId};

/// Number of the catalog, the tree of all trees.
pub(crate) const CATALOG: u32 = 0;

/// Number of the tree that has the same entries as the catalog. Its pages go to the other stream,
/// which never shares a segment with the one that a commit uses otherwise.
pub(crate) const CATALOG_COPY: u32 = TREE_NUMBERS - 1;

/// The kinds of parts; [`super::values::VALUE`] is 3.
///
/// A moved part is an image or a delta part as it was, at another place: cleaning has moved it.
pub(crate) const IMAGE: u8 = 1;
pub(crate) const DELTA: u8 = 2;
pub(crate) const MERGED: u8 = 4;
pub(crate) const FREED: u8 = 5;
pub(crate) const MOVED_IMAGE: u8 = 6;
pub(crate) const MOVED_DELTA: u8 = 7;
/// A delta part of records that were not compared with what is below them.
pub(crate) const BLIND: u8 = 8;

/// The kinds that an image, and a delta part, can be of.
pub(super) const IMAGES: &[u8] = &[IMAGE, MOVED_IMAGE];
pub(super) const DELTAS: &[u8] = &[DELTA, BLIND, MOVED_DELTA];

/// How long who brings a page in waits for memory before doing it anyway.
const READ_PATIENCE: Duration = Duration::from_millis(10);

/// When memory runs short, writes of this part of the budget may wait for their commit. Whoever
/// comes then waits for the commit that is under way. What a commit covers stays in memory until it
/// is over: so no writer waits for one that is as large as the memory.
const UNDURABLE_SHARE: u64 = 16;

/// Where nothing can be evicted, writes go this part of the budget above it before the evictor
/// looks again, by about so many bytes each.
const OVERDRAFT_SHARE: u64 = 16;
const OVERDRAFT_STEP: i64 = 512;

/// Garbage is handed over when all of it is more than this part of the budget.
const GARBAGE_SHARE: u64 = 64;
/// A thread keeps this part of the budget to itself before it hands over: that takes 2 KiB, be it
/// one page or sixty-four. What is kept by a thread that does nothing more is never freed; a
/// hundred of these have a tenth of the budget, which the evictor can do without.
const KEPT_SHARE: u64 = 1024;

std::thread_local! {
    /// Bytes that this thread has retired since it last handed garbage over, about.
    static RETIRED: Cell<u64> = const { Cell::new(0) };
}

/// A value is large if it takes more than this part of the budget.
const LARGE_SHARE: u64 = 16;

/// Most pages of dropped trees that one commit takes away: a sync that comes meanwhile waits for
/// it.
const GIVE_BACK_PAGES: usize = 8192;

/// How long a writer waits for memory while no file is synced, before it gives up.
const BUDGET_PATIENCE: Duration = Duration::from_secs(60);

/// Moves of values that are remembered in any case.
const MIN_FORWARDED: usize = 1024;

/// An engine over a log.
pub(crate) type DurableEngine = Engine<LogStore>;

/// The log, and what is needed to bring pages there and back.
#[derive(Debug)]
pub(crate) struct LogStore {
    pub(crate) log: Log,
    pub(crate) read_only: bool,
    pub(crate) budget: Arc<Budget>,
    meter: BudgetMeter,
    /// Page-ins under way: who comes second waits for the first (I/O, never an index path).
    pub(crate) page_ins: DashMap<PageId, Arc<Mutex<()>>>,
    /// Separated values that the cut under way moves, by their old addresses: a page that comes
    /// back before its new place is published shares them, so that they move in it too.
    pub(crate) moving: DashMap<Address, Arc<Separated>>,
    cut_lists: Mutex<CutLists>,
    /// Every tree that has been opened, by number.
    pub(crate) trees: DashMap<u32, Arc<TreeCore>>,
    /// Pages that were merged away; their ids are free once a commit has that.
    pub(crate) buried: DirtyList,
    /// Pages that recovery found merged away: a parent may still name them.
    pub(crate) unfinished: Mutex<Vec<PageId>>,
    /// Ids that were freed since the last cut, to be recorded.
    pub(crate) freed: Mutex<Vec<PageId>>,
    /// Held by who takes a checkpoint, and taken before the appender.
    checkpointing: Mutex<()>,
    changed: Mutex<ChangedPages>,
    /// Most bytes that a step of a checkpoint writes, if that is less than others may. Tests shrink
    /// it.
    pub(crate) checkpoint_step_bytes: u64,
    /// Segments that were emptied but for parts of chunks.
    pub(crate) leaving: Mutex<BTreeSet<u32>>,
    /// Leaves of which the last commits have written little: they may have run empty.
    dry: Mutex<Vec<PageId>>,
    rest: Rest,
    /// Segments with something in them that cannot be read and so cannot be moved: no victims.
    pub(crate) stuck: Mutex<BTreeSet<u32>>,
    /// Pages that could not be read when they were wanted.
    pub(super) damaged: Mutex<BTreeMap<PageId, Damage>>,
    /// Inner pages are rebuilt one at a time.
    pub(super) rebuilding: Mutex<()>,
    /// Pages that nothing may lead to any more, since inner pages were damaged; see `strays`.
    pub(super) strays: Mutex<BTreeSet<PageId>>,
    /// Trees of which damaged pages were given up: there may be more.
    pub(super) suspects: Mutex<BTreeSet<u32>>,
    /// Most pages of dropped trees that one commit takes away. Tests shrink it.
    pub(crate) give_back_pages: usize,
    /// Held by who puts a large value.
    large: Mutex<()>,
    /// How long a writer waits for memory while no file is synced. Tests shrink it.
    pub(crate) patience: Duration,
    /// The first failure of background work.
    failure: OnceLock<Arc<str>>,
    /// Whether the last background sync failed, on a full disk for one, and with what error.
    sync_failing: AtomicBool,
    sync_failure: Mutex<Option<Error>>,
    /// Wakes the evictor.
    pub(crate) evictor: OnceLock<Waker>,
    pub(crate) user_bytes: AtomicU64,
    pub(crate) cleaning_bytes: AtomicU64,
    /// Bytes that writes may still take above the budget: there are some only while nothing can be
    /// evicted, nor made so by a sync.
    overdraft: AtomicI64,
    /// What the last commit covers that has begun.
    pub(crate) cutting: AtomicU64,
    /// Commits whose pages can be evicted.
    pub(crate) published: AtomicU64,
    /// Locations that they have changed.
    pub(crate) relocated: AtomicU64,
    /// How many, when the last round of a [`SparseWalk`](super::sparse::SparseWalk) began.
    pub(crate) walked: AtomicU64,
    /// Live bytes, bytes of segments in use, and the version, when a cleaning on demand had nothing
    /// more to gain, and the bits of what it aimed at.
    pub(crate) exhausted: Mutex<Option<([u64; 3], u64)>>,
    /// Bytes of parts that other parts of their pages have taken the place of, about.
    pub(super) superseded: AtomicU64,
    /// Bytes of parts of which that is not known, and how many of 1,024 of them a look has found to
    /// be superseded.
    pub(super) unknown: AtomicU64,
    pub(super) hidden_share: AtomicU64,
    /// Bytes of pages that may have outgrown their bound while nobody read them.
    pub(super) outgrown: AtomicU64,
    /// Writes to pages that were not read for them.
    pub(crate) blind_writes: AtomicU64,
    pub(crate) removal_bytes: AtomicU64,
    /// Of the bytes of puts and removals, at least so many are durable.
    pub(crate) committed_bytes: AtomicU64,
    /// What is known from earlier steps that made room on a full disk.
    pub(crate) relief: Mutex<Relief>,
    /// Where values are that were moved on a full disk, by their old addresses: handles in memory
    /// may still have these.
    forwarded: DashMap<Address, Address>,
    /// Entries of that, when those of values that are gone were last taken out.
    forwarded_before: AtomicU32,
    /// The disk had little more room than the reserve when it was last looked at.
    pub(crate) nearly_full: AtomicBool,
    /// No operation begins any more, and one that takes long ends.
    pub(crate) closed: AtomicBool,
    /// The background has ended: what is left goes into the reserve if need be.
    pub(crate) closing: AtomicBool,
}

/// Counts pages and values against the budget.
#[derive(Debug, Clone)]
pub(crate) struct BudgetMeter {
    budget: Arc<Budget>,
    category: Category,
}

impl Meter for BudgetMeter {
    fn add(&self, bytes: usize) {
        self.budget.add(self.category, bytes as u64);
    }

    fn sub(&self, bytes: usize) {
        self.budget.sub(self.category, bytes as u64);
    }

    fn retire(&self, bytes: usize, others: usize) -> bool {
        self.budget.add(Category::Garbage, bytes as u64);
        self.budget.sub(self.category, bytes as u64);
        let limit = self.budget.limit_bytes();
        let mine = RETIRED.get() + (bytes + others) as u64;
        let is_enough = mine >= limit / KEPT_SHARE;
        let garbage = || self.budget.held_bytes(Category::Garbage);
        let much = is_enough && (others > 0 || garbage() > limit / GARBAGE_SHARE);
        RETIRED.set(if much { 0 } else { mine });
        much
    }

    fn freed(&self, bytes: usize) {
        self.budget.sub(Category::Garbage, bytes as u64);
    }
}

impl LogStore {
    pub(crate) fn new(log: Log, budget: Arc<Budget>, read_only: bool) -> Self {
        let meter = BudgetMeter { budget: Arc::clone(&budget), category: Category::Pages };
        Self {
            log,
            read_only,
            budget,
            meter,
            page_ins: DashMap::new(),
            moving: DashMap::new(),
            cut_lists: Mutex::default(),
            trees: DashMap::new(),
            buried: DirtyList::new(),
            unfinished: Mutex::default(),
            freed: Mutex::default(),
            checkpointing: Mutex::default(),
            changed: Mutex::default(),
            checkpoint_step_bytes: u64::MAX,
            leaving: Mutex::default(),
            dry: Mutex::default(),
            rest: Rest::default(),
            stuck: Mutex::default(),
            rebuilding: Mutex::default(),
            strays: Mutex::default(),
            suspects: Mutex::default(),
            damaged: Mutex::default(),
            give_back_pages: GIVE_BACK_PAGES,
            large: Mutex::default(),
            patience: BUDGET_PATIENCE,
            failure: OnceLock::new(),
            sync_failing: AtomicBool::new(false),
            sync_failure: Mutex::default(),
            evictor: OnceLock::new(),
            user_bytes: AtomicU64::new(0),
            cleaning_bytes: AtomicU64::new(0),
            overdraft: AtomicI64::new(0),
            cutting: AtomicU64::new(0),
            published: AtomicU64::new(0),
            relocated: AtomicU64::new(0),
            walked: AtomicU64::new(super::sparse::NEVER_WALKED),
            exhausted: Mutex::new(None),
            superseded: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            hidden_share: AtomicU64::new(0),
            outgrown: AtomicU64::new(0),
            blind_writes: AtomicU64::new(0),
            removal_bytes: AtomicU64::new(0),
            committed_bytes: AtomicU64::new(0),
            relief: Mutex::default(),
            forwarded: DashMap::new(),
            forwarded_before: AtomicU32::new(0),
            nearly_full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
    }

    /// What counts separated values.
    pub(crate) fn value_meter(&self) -> BudgetMeter {
        BudgetMeter { budget: Arc::clone(&self.budget), category: Category::Values }
    }

    /// Background work has failed: no more writes (R8).
    pub(crate) fn fail(&self, what: String) {
        let _first = self.failure.set(what.into());
        self.budget.wake();
    }

    /// Takes note of how a sync ended. After one that failed, on a full disk for one, puts are
    /// refused until a sync succeeds: nothing that they write would become durable. Removals go on,
    /// since they make room.
    pub(crate) fn note_sync(&self, synced: &Result<()>, in_background: bool) {
        let failure = match synced {
            Ok(()) => None,
            Err(error) if error.stops_one_group() && in_background => Some(error.clone()),
            // A commit needs a page that cannot be read: none of it is lost, and none is durable.
            Err(error) if error.is_damage() && in_background => Some(error.clone()),
            // Its caller has the error, or nothing can be written at all any more.
            Err(_) => return self.budget.wake(),
        };
        if failure.is_none() && !self.sync_is_failing() {
            return;
        }
        let mut kept = self.sync_failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync_failing.store(failure.is_some(), Ordering::Release);
        *kept = failure;
        drop(kept);
        self.budget.wake();
    }

    /// Whether the last background sync failed and the next may not: on a full disk for one.
    pub(crate) fn sync_is_failing(&self) -> bool {
        self.sync_failing.load(Ordering::Acquire)
    }

    /// Whether the disk had little more room than the reserve when it was last looked at.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.nearly_full.load(Ordering::Relaxed)
    }

    /// Whether what becomes dirty now can be expected to be written soon.
    pub(crate) fn can_write(&self) -> bool {
        !self.read_only && !self.sync_is_failing() && self.check().is_ok()
    }

    /// Refuses a put while background syncs fail.
    pub(crate) fn check_put(&self) -> Result<()> {
        if !self.sync_is_failing() {
            return Ok(());
        }
        let kept = self.sync_failure.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().map_or(Ok(()), Err)
    }

    /// An error if the store was closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The failure that keeps the store from writing, if there is one.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(what) = self.failure.get() {
            return Err(Error::Background { what: Arc::clone(what) });
        }
        match self.log.poisoned() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The same as [`at_rest`](Self::at_rest), if there is nothing to wait for.
    pub(crate) fn try_at_rest(&self) -> Option<MutexGuard<'_, ()>> {
        self.rest.try_take()
    }

    /// Waits until no background work changes the shape of trees, and keeps it from that.
    pub(crate) fn at_rest(&self) -> MutexGuard<'_, ()> {
        self.rest.take()
    }

    /// Never empties this segment: something in it cannot be read.
    pub(crate) fn leave_alone(&self, segment: u32) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(segment);
    }

    /// Where a value is now that was moved from here on a full disk.
    pub(crate) fn forwarded(&self, old: Address) -> Option<Address> {
        self.forwarded.get(&old).map(|new| *new)
    }

    /// Takes note that values have moved, and forgets earlier moves of what is gone by now, so that
    /// there are no more than twice as many as there are such values. Called by who has the
    /// appender.
    pub(crate) fn forward(&self, moved: impl IntoIterator<Item = (Address, Address)>) {
        for (old, new) in moved {
            self.forwarded.insert(old, new);
        }
        let before = self.forwarded_before.load(Ordering::Relaxed) as usize;
        if self.forwarded.len() > 2 * before + MIN_FORWARDED {
            // The last move of a value: its segment is there as long as the value is. Those before
            // it lead to that one.
            let is_there = |new: &Address| self.log.holds(*new) || self.forwarded(*new).is_some();
            let gone: Vec<Address> =
                self.forwarded.iter().filter(|e| !is_there(e.value())).map(|e| *e.key()).collect();
            for old in gone {
                self.forwarded.remove(&old);
            }
            self.forwarded_before.store(self.forwarded.len() as u32, Ordering::Relaxed);
        }
    }

    /// Takes note that this tree can be found by its number.
    pub(crate) fn insert_tree(&self, tree: Arc<TreeCore>) {
        self.trees.insert(tree.id, tree);
    }

    /// Waits until no checkpoint is being taken, and keeps others from taking one. Never called by
    /// who has the appender.
    pub(crate) fn checkpointing(&self) -> MutexGuard<'_, ()> {
        self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages whose location has changed since their chunk was written last.
    pub(crate) fn changed(&self) -> MutexGuard<'_, ChangedPages> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cut_lists(&self) -> MutexGuard<'_, CutLists> {
        self.cut_lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dry(&self) -> MutexGuard<'_, Vec<PageId>> {
        self.dry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The evictor says whether it has found nothing to evict, and nothing that a sync would let it
    /// evict. Then to wait for memory is in vain: pages that stay in memory, and the table, take
    /// all of the budget. Writers go on, above it, by as much as is then dirty.
    pub(crate) fn set_exhausted(&self, exhausted: bool) {
        let most = if exhausted { self.budget.limit_bytes() / OVERDRAFT_SHARE } else { 0 };
        self.overdraft.store(most as i64, Ordering::Release);
        if exhausted {
            self.budget.wake();
        }
    }

    fn is_exhausted(&self) -> bool {
        self.overdraft.load(Ordering::Acquire) > 0
    }

    /// Wakes the evictor if memory runs short, and lets it get ahead. Who brings pages in calls
    /// this: it does not depend on room, but must not outrun the evictor either. Never pinned, and
    /// never by who has the appender.
    pub(crate) fn make_room(&self) {
        let pressure = self.budget.pressure();
        if pressure != Pressure::None
            && let Some(evictor) = self.evictor.get()
            && !evictor.is_stopped()
        {
            evictor.wake();
            if pressure == Pressure::Stall && !self.is_exhausted() {
                self.budget.wait_below(self.budget.limit_bytes(), READ_PATIENCE);
            }
        }
    }

    /// What one who puts a value of this length must hold meanwhile. Whoever is let in may take the
    /// memory above the budget by the value: of large ones, one at a time.
    pub(crate) fn turn_of_large(&self, len: usize) -> Option<MutexGuard<'_, ()>> {
        let large = len as u64 > self.budget.limit_bytes() / LARGE_SHARE;
        large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts bytes that a user has written.
    pub(crate) fn count_user(&self, bytes: usize) {
        self.user_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl DurableEngine {
    /// Lets the commit that is under way get ahead, if too much waits for the next one: until it is
    /// durable, or memory has come back all the same, as that of replaced pages does.
    fn wait_for_commit(&self) {
        let store = &self.store;
        if self.undurable_memory() <= store.budget.limit_bytes() / UNDURABLE_SHARE {
            return;
        }
        let wanted = store.cutting.load(Ordering::Relaxed);
        let is_over = || {
            store.log.durable_version() >= wanted
                || store.sync_is_failing()
                || store.check().is_err()
                || store.is_closed()
        };
        if is_over() {
            return;
        }
        // What was retired by this thread may be what is waited for. Only then is it handed over
        // before more has come together: see `KEPT_SHARE`.
        self.pin().flush();
        store.budget.wait_below_unless(store.budget.evict_above_bytes(), store.patience, is_over);
    }

    /// The tree of this number, unless it was dropped. Who is pinned may then change its shape.
    pub(crate) fn tree(&self, number: u32) -> Option<Arc<TreeCore>> {
        let tree = self.store.trees.get(&number).map(|tree| Arc::clone(&tree));
        tree.filter(|tree| !tree.is_dropped())
    }

    /// Whether the pages of this tree are being given back.
    pub(crate) fn is_gone(&self, number: u32) -> bool {
        self.store.trees.get(&number).is_some_and(|tree| tree.is_gone())
    }
}

impl Store for LogStore {
    const DURABLE: bool = true;
    type Error = Error;
    type Meter = BudgetMeter;

    fn meter(&self) -> &BudgetMeter {
        &self.meter
    }

    fn owns(flags: u8) -> bool {
        flags & delta::FLAG_SEPARATED != 0
    }

    fn release(handle: u64) {
        Separated::release(handle);
    }

    fn weight(handle: u64) -> usize {
        Separated::from_handle(&handle.to_le_bytes()).weight()
    }

    fn admit(engine: &Engine<Self>) -> Result<()> {
        let store = &engine.store;
        if store.read_only {
            return Err(Error::ReadOnly);
        }
        store.check()?;
        match store.budget.pressure() {
            Pressure::None => return Ok(()),
            Pressure::Evict => engine.wait_for_commit(),
            Pressure::Stall => {
                if let Some(evictor) = store.evictor.get() {
                    evictor.wake();
                    let limit = store.budget.limit_bytes();
                    let hopeless = || {
                        store.sync_is_failing()
                            || store.check().is_err()
                            || store.is_exhausted()
                            || store.is_closed()
                    };
                    if !hopeless() {
                        // What was retired by this thread may be what is waited for.
                        engine.pin().flush();
                    }
                    let (mut synced, mut since) = (store.log.counters().syncs, Instant::now());
                    while !store.budget.wait_below_unless(limit, store.patience, hopeless) {
                        store.check()?;
                        // On a full disk a removal goes on, and one put of each thread that waited;
                        // so does what the one who closes does, and what comes before it.
                        if store.sync_is_failing() || store.is_closed() {
                            break;
                        }
                        if store.is_exhausted() {
                            store.overdraft.fetch_sub(OVERDRAFT_STEP, Ordering::AcqRel);
                            break;
                        }
                        // There was no hope for a moment, and there is again.
                        if since.elapsed() < store.patience {
                            continue;
                        }
                        // What is being synced will be evicted, however long that takes.
                        let now = store.log.counters().syncs;
                        if now == synced {
                            return Err(Error::OutOfBudget { budget_bytes: limit });
                        }
                        (synced, since) = (now, Instant::now());
                    }
                }
            }
        }
        if let Some(evictor) = store.evictor.get() {
            evictor.wake();
        }
        Ok(())
    }

    fn go_on(engine: &Engine<Self>) -> Result<()> {
        engine.store.check_open()
    }

    fn page_in(engine: &Engine<Self>, id: PageId) -> Result<()> {
        engine.store.make_room();
        super::mend::page_in(engine, id)
    }

    fn vacant(engine: &Engine<Self>, id: PageId, span: Span<'_>) -> Result<Option<Vacancy>> {
        match super::fetch::vacant(engine, id, span) {
            // To bring it in tells more.
            Err(error) if error.is_damage() => Ok(None),
            vacant => vacant,
        }
    }

    fn buried(engine: &Engine<Self>, id: PageId, _guard: &Guard) {
        engine.store.buried.push(id, engine.clock.now());
    }

    fn end(engine: &mut Engine<Self>) {
        engine.release_values();
    }
}
