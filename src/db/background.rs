//! The background threads of a store: one evicts, one flushes, one has the duties of the log.
//!
//! | thread | does | never |
//! |---|---|---|
//! | evictor | evicts what is clean, down to the budget | takes the appender, or ends on an error |
//! | flusher | syncs, as the policy says or when the evictor asks | waits for cleaning to be over |
//! | cleaner | duties of the log: drops, checkpoints, merged pages, quiet pages, cleaning | |
//!
//! What stops one group and has lost nothing is no reason to end, be it a full disk or a file that
//! can't be made: the next round tries again, and until a sync succeeds puts are refused. Any other
//! failure, and any panic, is kept and given to every later write (R8); the evictor goes on, so
//! that reads have a bound on their memory.
//!
//! Every duty makes its own progress, and ends: an idle store comes within its bound and then
//! writes nothing.

use super::SyncPolicy;
use super::catalog::Catalog;
use super::verify;
use crate::error::{Error, Result};
use crate::paging::DurableEngine;
use crate::paging::clean::Cleaned;
use crate::paging::folding::Folding;
use crate::paging::sparse::SparseWalk;
use gc::pacing::{LogUse, Progress, goal_bytes, relocation_bytes};
use gc::{
    Category, CleaningSchedule, Failure, Next, Pressure, Reach, Sweeper, Swept, Wake, Worker,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync::atomic::{AtomicBool, Ordering};

/// How often the evictor and the flusher look at the memory when no thread wakes them.
const MEMORY_TICK: Duration = Duration::from_millis(50);

/// Longest time between two looks at the duties of the log, however rarely it is cleaned.
const DUTY_TICK: Duration = Duration::from_millis(100);

/// A store to which nobody has written for this long is idle. Commits of its own duties are no
/// reason to call it busy: each would put the next one off.
const IDLE_AFTER: Duration = Duration::from_millis(300);

/// Users that write at most so much in that time are quiet.
const QUIET_BYTES: u64 = 128 << 10;
/// While users write that little, so many bytes of pages are looked at to be written anew for each
/// of theirs; and beside that those of the whole store in so many seconds.
const FOLDED_PER_USER_BYTE: u64 = 2;
const FOLD_ALL_SECONDS: u64 = 60;
/// So many at a time.
const MIN_FOLDED_BYTES: u64 = 256 << 10;

/// Bytes above its bound that the disk may take while pages are written anew: as long as it takes
/// more, cleaning comes first.
const FOLD_AHEAD_BYTES: u64 = 4 << 20;

/// Commits that merged pages may have in a row for themselves while no other comes. Each frees
/// some, unless something is wrong; then this is the end.
const MAX_OWN_COMMITS: u32 = 16;

/// Turns over all pages of an idle store, after which there is nothing left to fold.
const IDLE_TURNS: u64 = 2;

/// Bytes that one turn of cleaning is to win at most, or half of what the disk is above its bound
/// by. Between two turns the other duties have theirs, and a checkpoint is one of them.
const TURN_BYTES: u64 = 64 << 20;

/// Least cost at which one step of cleaning is put down, so that steps that do nothing end too.
const MIN_STEP_COST_BYTES: u64 = 64 << 10;

/// After a turn that found too little, the evictor rests this many times as long as it took, if
/// nothing happens.
const FRUITLESS_REST: u32 = 8;

/// When memory runs short, a sync is asked for once writes of this part of the budget are not
/// durable: what a commit covers stays in memory until it is over, and writers go on meanwhile.
const DIRTY_SHARE: u64 = 32;

/// The threads of a store.
#[derive(Debug)]
pub(crate) struct Workers {
    evictor: Worker,
    /// Of a store that is open for writing.
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    flusher: Worker,
    cleaner: Worker,
    schedule: CleaningSchedule,
}

impl Workers {
    pub(crate) fn start(
        engine: &Arc<DurableEngine>,
        catalog: &Arc<Catalog>,
        policy: SyncPolicy,
        schedule: CleaningSchedule,
    ) -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let flusher = start_flusher(engine, policy, Arc::clone(&asked))?;
        let waker = flusher.waker();
        let evictor = start_evictor(engine, move || {
            asked.store(true, Ordering::Release);
            waker.wake();
        })?;
        let cleaner = start_cleaner(engine, catalog, schedule)?;
        Ok(Self { evictor, writing: Some(Writing { flusher, cleaner, schedule }) })
    }

    /// The threads of a store that is open for reading only: all of its pages are clean.
    pub(crate) fn for_reading(engine: &Arc<DurableEngine>) -> Result<Self> {
        Ok(Self { evictor: start_evictor(engine, || ())?, writing: None })
    }

    /// Wakes the cleaner early if the log has outgrown its bound.
    pub(crate) fn after_commit(&self, engine: &DurableEngine) {
        let Some(Writing { cleaner, schedule, .. }) = &self.writing else { return };
        let log = &engine.store.log;
        if schedule.enabled && log.used_bytes() > schedule.bound_bytes(log.live_bytes()) {
            cleaner.wake();
        }
    }

    /// Ends the threads that write. What they are at may bring pages in, and so may what comes
    /// behind them: the evictor goes on until what is handed back is dropped.
    pub(crate) fn stop_writing(self) -> Worker {
        if let Some(Writing { flusher, cleaner, .. }) = self.writing {
            flusher.ask_to_stop();
            cleaner.ask_to_stop();
            flusher.stop();
            cleaner.stop();
        }
        self.evictor
    }
}

fn spawn(
    engine: &Arc<DurableEngine>,
    name: &'static str,
    tick: Duration,
    mut body: impl FnMut(&Arc<DurableEngine>, Wake) -> Result<Next> + Send + 'static,
) -> Result<Worker> {
    let (failed, engine) = (Arc::clone(engine), Arc::clone(engine));
    let body = move |wake| match body(&engine, wake) {
        Err(error) if error.stops_one_group() || matches!(error, Error::Closed) => Ok(Next::Wait),
        result => result,
    };
    let on_failure = move |failure: Failure<Error>| {
        failed.store.fail(match failure {
            Failure::Error(error) => format!("{name} has failed: {error}"),
            Failure::Panic(panic) => format!("{name} has panicked: {panic}"),
        });
    };
    Worker::spawn(name, tick, body, on_failure).map_err(|source| {
        let source = Arc::new(source);
        Error::Log(lss::Error::Io { op: "start a thread", file: name.into(), source })
    })
}

/// What has stopped one group is no reason to refuse an opening: the background tries again.
pub(super) fn unless_one_group(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.stops_one_group() => Ok(()),
        done => done,
    }
}

/// A page that cannot be read stops the duty that wanted it, for this time, and no other.
fn unless_damaged(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.is_damage() => Ok(()),
        done => done,
    }
}

fn start_flusher(
    engine: &Arc<DurableEngine>,
    policy: SyncPolicy,
    asked: Arc<AtomicBool>,
) -> Result<Worker> {
    let every = match policy {
        SyncPolicy::EveryMillis(millis) => Some(Duration::from_millis(millis)),
        _ => None,
    };
    let mut last_sync = Instant::now();
    let tick = every.unwrap_or(MEMORY_TICK).min(MEMORY_TICK);
    spawn(engine, "bwtree-flush", tick, move |engine, _| {
        let store = &engine.store;
        // A full disk is noted by it, and puts are refused; what is dirty is synced all the same.
        let prepared = engine.fill_reserve();
        let due = every.is_some_and(|every| last_sync.elapsed() >= every);
        if asked.swap(false, Ordering::AcqRel) || due || store.sync_is_failing() {
            last_sync = Instant::now();
            let before = store.log.durable_version();
            let synced = engine.sync();
            store.note_sync(&synced, true);
            unless_damaged(synced)?;
            // Pages have become clean; if none has, the evictor would only ask again.
            if store.log.durable_version() != before
                && store.budget.pressure() != Pressure::None
                && let Some(evictor) = store.evictor.get()
            {
                evictor.wake();
            }
            engine.merge_dry()?;
            if prepared.is_ok() {
                engine.fill_reserve()?;
            }
        }
        prepared?;
        Ok(Next::Wait)
    })
}

fn start_evictor(
    engine: &Arc<DurableEngine>,
    ask_for_sync: impl Fn() + Send + 'static,
) -> Result<Worker> {
    let mut sweep = Sweep::default();
    let evictor = spawn(engine, "bwtree-evict", MEMORY_TICK, move |engine, _| {
        engine.count_table();
        Ok(relieve(engine, &mut sweep, &ask_for_sync))
    })?;
    let _once = engine.store.evictor.set(evictor.waker());
    Ok(evictor)
}

/// The evictor's hand, and what it knows.
#[derive(Debug, Default)]
struct Sweep {
    sweeper: Sweeper,
    fruitless: Option<Fruitless>,
}

/// The hand went round and found too little that is clean: commits and page-ins make more of it.
/// Until there were some it does not go round all the time, which costs a look at every page.
#[derive(Debug)]
struct Fruitless {
    published: u64,
    page_ins: u64,
    dirty: u32,
    again_at: Instant,
}

impl Sweep {
    fn run(&mut self, engine: &DurableEngine, goal_bytes: u64) -> Swept {
        let published = engine.store.published.load(Ordering::Acquire);
        let page_ins = engine.counters.page_ins.load(Ordering::Relaxed);
        let begun = Instant::now();
        if let Some(last) = &self.fruitless
            && last.dirty > 0
            && last.published == published
            && (page_ins - last.page_ins) * (engine.limits.leaf_bytes as u64) < goal_bytes
            && begun < last.again_at
        {
            return Swept { dirty: last.dirty, ..Swept::default() };
        }
        let swept = self.sweeper.run(engine, goal_bytes);
        let now = Instant::now();
        let again_at = now + (FRUITLESS_REST * (now - begun)).min(MEMORY_TICK);
        let dirty = swept.dirty;
        let fruitless = swept.freed_bytes < goal_bytes;
        self.fruitless = fruitless.then_some(Fruitless { published, page_ins, dirty, again_at });
        swept
    }
}

/// Evicts down to the budget, and asks for a sync if what is left is dirty.
fn relieve(engine: &DurableEngine, sweep: &mut Sweep, ask: impl FnOnce()) -> Next {
    let budget = &engine.store.budget;
    if budget.goal_bytes() == 0 {
        engine.store.set_exhausted(false);
        return Next::Wait;
    }
    // Garbage is as good as gone; to evict more in its place would leave no page in memory.
    let garbage = budget.held_bytes(Category::Garbage);
    let goal = budget.goal_bytes().saturating_sub(garbage);
    let swept = sweep.run(engine, goal);
    let dirty = engine.undurable_bytes();
    if swept.freed_bytes < goal && swept.dirty > 0 || dirty > budget.limit_bytes() / DIRTY_SHARE {
        ask();
    }
    // What cannot be evicted is above the budget by itself.
    engine.store.set_exhausted(goal > 0 && swept.freed_bytes == 0 && swept.dirty == 0);
    // Evicted pages are garbage until their epoch has passed: help it along.
    for _ in 0..4 {
        engine.pin().flush();
    }
    if budget.pressure() != Pressure::Stall {
        return Next::Wait;
    }
    if swept.freed_bytes == 0 {
        if garbage == 0 {
            // Only a sync helps, and the flusher wakes this thread after it.
            return Next::Wait;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Next::Again
}

fn start_cleaner(
    engine: &Arc<DurableEngine>,
    catalog: &Arc<Catalog>,
    schedule: CleaningSchedule,
) -> Result<Worker> {
    let mut duties = Duties {
        catalog: Arc::clone(catalog),
        schedule,
        last_clean: Instant::now(),
        written_before: 0,
        user_before: 0,
        overspent: 0,
        progress: Progress::default(),
        cleans_on: false,
        clock_before: 0,
        last_written: 0,
        still_since: Instant::now(),
        user_mark: 0,
        marked: Instant::now(),
        quiet: false,
        folding: Folding::and_splitting(),
        fold_allowance: 0,
        fold_mark: (0, Instant::now()),
        hand: 0,
        looked_at: 0,
        sparse: SparseWalk::default(),
        durable_before: 0,
        own_commits: 0,
        wants_commit: false,
    };
    spawn(engine, "bwtree-clean", schedule.interval.min(DUTY_TICK), move |engine, wake| {
        duties.run(engine, wake == Wake::Asked)
    })
}

/// What the log's thread remembers from tick to tick.
struct Duties {
    catalog: Arc<Catalog>,
    schedule: CleaningSchedule,
    last_clean: Instant,
    written_before: u64,
    user_before: u64,
    /// Bytes that were moved beyond what was allowed.
    overspent: u64,
    progress: Progress,
    /// The last turn of cleaning has left something for the next.
    cleans_on: bool,
    /// The clock at the last look at pages.
    clock_before: u64,
    /// What users had written when more than that was last found, and when that was.
    last_written: u64,
    still_since: Instant,
    /// What users had written at a moment, when that was, and whether it was little before.
    user_mark: u64,
    marked: Instant,
    quiet: bool,
    folding: Folding,
    /// Bytes of pages that may be looked at to be written anew while users write a little; what
    /// they had written when that was reckoned last, and when.
    fold_allowance: u64,
    fold_mark: (u64, Instant),
    /// The next page to look at, and how many were looked at since the clock moved.
    hand: u32,
    looked_at: u64,
    sparse: SparseWalk,
    durable_before: u64,
    own_commits: u32,
    /// A duty has changed pages that no caller may ever sync.
    wants_commit: bool,
}

impl Duties {
    fn run(&mut self, engine: &Arc<DurableEngine>, asked: bool) -> Result<Next> {
        engine.store.check()?;
        let log = &engine.store.log;
        unless_damaged(engine.make_all_disk_room())?;
        let mut drops_done = true;
        unless_damaged(self.catalog.finish_drops(engine).map(|done| drops_done = done))?;
        let (bytes, frames) = (log.bytes_since_checkpoint(), log.frames_since_checkpoint());
        let budget = engine.store.budget.limit_bytes();
        let is_due = gc::checkpointing::is_due(bytes, frames, log.live_bytes(), budget);
        if is_due || log.uncopied_bytes() > 0 {
            unless_damaged(engine.checkpoint())?;
        }
        unless_damaged(verify::make_openable(engine))?;
        unless_damaged(self.free_merged(engine))?;
        let settled = self.settle(engine);
        engine.merge_dry()?;
        let merges_done = !self.sparse.step(engine, self.still_since.elapsed())?;
        log.reclaim()?;
        let mut folded = false;
        unless_damaged(self.fold(engine).map(|some| folded = some))?;
        if asked || folded || self.cleans_on || self.last_clean.elapsed() >= self.schedule.interval
        {
            self.last_clean = Instant::now();
            unless_damaged(self.clean(engine))?;
        }
        let done = drops_done && settled && merges_done && !folded && !self.cleans_on;
        Ok(if done { Next::Wait } else { Next::Again })
    }

    /// Writes pages anew that take more than they need, if users are quiet and the disk is above
    /// its bound for what is needed. Says whether there is more to do at once.
    fn fold(&mut self, engine: &DurableEngine) -> Result<bool> {
        let written = engine.store.user_bytes.load(Ordering::Relaxed);
        let much = written - self.user_mark > QUIET_BYTES;
        if much || self.marked.elapsed() >= IDLE_AFTER {
            (self.user_mark, self.marked, self.quiet) = (written, Instant::now(), !much);
        }
        if !self.schedule.enabled || !self.quiet || !self.may_fold(engine, written) {
            return Ok(false);
        }
        self.folding.survey(engine)?;
        let log = &engine.store.log;
        let on_disk = log.disk_bytes().saturating_sub(log.held_bytes());
        let excess = on_disk.saturating_sub(self.schedule.bound_bytes(engine.needed_bytes()));
        if !self.folding.is_wanted(engine, excess) {
            return Ok(false);
        }
        // What is dead by now goes first, or the disk would hold all that is folded twice; and
        // where the disk is full, room is made in another way.
        if on_disk > self.schedule.bound_bytes(log.live_bytes()) + FOLD_AHEAD_BYTES
            || log.is_tight()
            || engine.store.is_nearly_full()
        {
            return Ok(false);
        }
        // Pages that were split wait for a commit.
        self.wants_commit = true;
        let step = self.folding.step(engine);
        self.fold_allowance = self.fold_allowance.saturating_sub(self.folding.looked_at());
        match step {
            Err(Error::Log(error)) if error.is_full() => Ok(false),
            step => Ok(step?.is_some()),
        }
    }

    /// Whether pages may be written anew now. In a store that is idle they may. What a user who
    /// writes a little all the time replaces makes a few of all pages worth it again and again: for
    /// each of their bytes a few may be looked at, and beside that all of the store in a minute.
    fn may_fold(&mut self, engine: &DurableEngine, written: u64) -> bool {
        let (user, at) = std::mem::replace(&mut self.fold_mark, (written, Instant::now()));
        let live = engine.store.log.live_bytes();
        let by_time = (live / FOLD_ALL_SECONDS) as f64 * at.elapsed().as_secs_f64();
        let more = FOLDED_PER_USER_BYTE * (written - user) + by_time as u64;
        let most = (live / FOLD_ALL_SECONDS).max(MIN_FOLDED_BYTES);
        self.fold_allowance = (self.fold_allowance + more).min(most);
        self.still_since.elapsed() >= IDLE_AFTER || self.fold_allowance >= MIN_FOLDED_BYTES
    }

    /// Frees the ids of merged pages. They wait for a commit: if no other has come since the last
    /// tick, this makes one.
    fn free_merged(&mut self, engine: &DurableEngine) -> Result<()> {
        let log = &engine.store.log;
        engine.free_buried()?;
        if log.durable_version() != self.durable_before {
            self.own_commits = 0;
        }
        let dirty = self.wants_commit && !engine.dirty.is_empty();
        let waits = dirty || !engine.store.buried.is_empty();
        if waits && log.durable_version() == self.durable_before {
            if self.own_commits < MAX_OWN_COMMITS {
                self.own_commits += 1;
                engine.commit_for_buried()?;
                engine.free_buried()?;
                self.wants_commit = false;
            }
        } else if !waits {
            self.own_commits = 0;
            self.wants_commit = false;
        }
        self.durable_before = log.durable_version();
        Ok(())
    }

    /// Folds pages that have gone quiet. `false` if there is more to do at once: what an idle store
    /// still folds makes commits, and these are to come soon and then no more.
    fn settle(&mut self, engine: &DurableEngine) -> bool {
        let now = engine.clock.now();
        if now != self.clock_before {
            self.clock_before = now;
            self.looked_at = 0;
        }
        let written = engine.store.user_bytes.load(Ordering::Relaxed);
        if written != self.last_written {
            self.last_written = written;
            self.still_since = Instant::now();
        }
        let pages = u64::from(engine.table.id_limit());
        if self.looked_at > IDLE_TURNS * pages {
            return true;
        }
        let idle = self.still_since.elapsed() >= IDLE_AFTER;
        let from = if self.hand >= engine.table.id_limit() { 0 } else { self.hand };
        let (hand, folded) = engine.settle_pages(from, idle);
        self.hand = hand;
        self.wants_commit |= folded > 0;
        if idle {
            self.looked_at += u64::from(hand.saturating_sub(from)).max(1);
        }
        !idle || folded == 0
    }

    fn clean(&mut self, engine: &DurableEngine) -> Result<()> {
        self.cleans_on = false;
        let log = &engine.store.log;
        let moved = engine.store.cleaning_bytes.load(Ordering::Relaxed);
        let written = log.counters().bytes_written.saturating_sub(moved);
        let now = LogUse {
            written_bytes: written.saturating_sub(self.written_before),
            // What is kept in reserve is no garbage: no cleaning could win it.
            disk_bytes: log.used_bytes(),
            live_bytes: log.live_bytes(),
        };
        self.written_before = written;
        // What the duties write themselves earns nothing, or they would feed on one another.
        let user = engine.store.user_bytes.load(Ordering::Relaxed);
        let by_users = user - self.user_before;
        self.user_before = user;
        let now = LogUse { written_bytes: if by_users > 0 { now.written_bytes } else { 0 }, ..now };
        if !self.schedule.enabled {
            return Ok(());
        }
        let bytes_before = log.counters().bytes_written;
        // At rest the bound holds with the reserve: there is time to make room for it elsewhere.
        let on_disk = log.disk_bytes().saturating_sub(log.held_bytes());
        let bound = self.schedule.bound_bytes(now.live_bytes);
        let taken = if by_users > 0 { now.disk_bytes } else { on_disk };
        let goal = goal_bytes(taken, now.live_bytes, &self.schedule);
        let allowed = relocation_bytes(LogUse { disk_bytes: taken, ..now }, &self.schedule);
        let budget = allowed.saturating_sub(self.overspent);
        self.overspent = self.overspent.saturating_sub(allowed);
        let excess = taken.saturating_sub(bound);
        let turn = TURN_BYTES.max(excess / 2);
        let wanted = goal > 0 && (budget > 0 || now.written_bytes > 0);
        let wanted = wanted && self.progress.goes_on(now);
        let cleaned = if wanted {
            engine.clean(goal.min(turn), budget, Reach::Worthwhile, |_| {
                engine.store.check_open().is_ok()
            })?
        } else {
            Cleaned::default()
        };
        self.cleans_on = goal > turn && cleaned.segments > 0;
        // A step is moved whole, however little of it was allowed: the next ones pay for it.
        self.overspent += cleaned.moved_bytes.saturating_sub(budget);
        let waiting = cleaned.waiting_bytes.max(engine.gain_after_checkpoint());
        let nothing_else = cleaned.moved_bytes == 0;
        if gc::checkpointing::is_worthwhile(waiting, now.live_bytes, excess, nothing_else) {
            engine.checkpoint()?;
            log.reclaim()?;
        }
        if wanted {
            let cost = log.counters().bytes_written - bytes_before;
            self.progress.moved(cost.max(MIN_STEP_COST_BYTES), by_users);
        }
        Ok(())
    }
}
