//! The background threads of a store: one flushes and evicts, one cleans and checkpoints.
//!
//! A full disk is no reason to end: the next round tries again. Any other failure, and any panic,
//! is kept and given to every later write (R8).

use super::SyncPolicy;
use crate::error::{Error, Result};
use crate::paging::sparse::SparseWalk;
use crate::paging::{DurableEngine, Place};
use gc::pacing::{LogUse, goal_bytes, relocation_bytes};
use gc::{Category, CleaningSchedule, Failure, Next, Pressure, Reach, Sweeper, Worker};
use std::sync::Arc;
use std::time::Duration;

/// How often the flusher looks at the memory when nobody wakes it.
const MEMORY_TICK: Duration = Duration::from_millis(50);

/// The threads of a store.
#[derive(Debug)]
pub(crate) struct Workers {
    flusher: Worker,
    cleaner: Worker,
    schedule: CleaningSchedule,
}

impl Workers {
    pub(crate) fn start(
        engine: &Arc<DurableEngine>,
        policy: SyncPolicy,
        schedule: CleaningSchedule,
    ) -> Result<Self> {
        let flusher = start_flusher(engine, policy)?;
        let _once = engine.store.evictor.set(flusher.waker());
        let cleaner = start_cleaner(engine, schedule)?;
        Ok(Self { flusher, cleaner, schedule })
    }

    /// Wakes the cleaner early if the log has outgrown its bound.
    pub(crate) fn after_commit(&self, engine: &DurableEngine) {
        let log = &engine.store.log;
        if self.schedule.enabled && log.disk_bytes() > self.schedule.bound_bytes(log.live_bytes()) {
            self.cleaner.wake();
        }
    }

    pub(crate) fn stop(self) {
        self.flusher.ask_to_stop();
        self.cleaner.ask_to_stop();
        self.flusher.stop();
        self.cleaner.stop();
    }
}

fn spawn(
    engine: &Arc<DurableEngine>,
    name: &'static str,
    tick: Duration,
    mut body: impl FnMut(&DurableEngine) -> Result<Next> + Send + 'static,
) -> Result<Worker> {
    let (failed, engine) = (Arc::clone(engine), Arc::clone(engine));
    let body = move |_| match body(&engine) {
        Err(error) if is_full(&error) => Ok(Next::Wait),
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

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Log(error) if error.is_full())
}

fn start_flusher(engine: &Arc<DurableEngine>, policy: SyncPolicy) -> Result<Worker> {
    let tick = match policy {
        SyncPolicy::EveryMillis(millis) => Duration::from_millis(millis),
        _ => MEMORY_TICK,
    };
    let mut sweeper = Sweeper::default();
    let mut last_sync = std::time::Instant::now();
    spawn(engine, "bwtree-flush", tick.min(MEMORY_TICK), move |engine| {
        if matches!(policy, SyncPolicy::EveryMillis(_)) && last_sync.elapsed() >= tick {
            last_sync = std::time::Instant::now();
            engine.sync()?;
        }
        engine.count_table();
        engine.store.log.prepare()?;
        relieve(engine, &mut sweeper)
    })
}

/// Evicts down to the budget; what is dirty is written first.
fn relieve(engine: &DurableEngine, sweeper: &mut Sweeper) -> Result<Next> {
    let budget = &engine.store.budget;
    if budget.goal_bytes() == 0 {
        return Ok(Next::Wait);
    }
    // Garbage is as good as gone; to evict more in its place would leave no page in memory.
    let goal = budget.goal_bytes().saturating_sub(budget.held_bytes(Category::Garbage));
    let swept = sweeper.run(engine, goal);
    if swept.freed_bytes < goal && swept.dirty > 0 {
        engine.sync()?;
        sweeper.run(engine, goal - swept.freed_bytes);
    }
    // Evicted pages are garbage until their epoch has passed: help it along.
    for _ in 0..4 {
        engine.pin().flush();
    }
    Ok(if budget.pressure() == Pressure::Stall { Next::Again } else { Next::Wait })
}

fn start_cleaner(engine: &Arc<DurableEngine>, schedule: CleaningSchedule) -> Result<Worker> {
    let (mut written_before, mut hand) = (0, 0);
    let mut sparse = SparseWalk::default();
    spawn(engine, "bwtree-clean", schedule.interval, move |engine| {
        let log = &engine.store.log;
        engine.store.check()?;
        if gc::checkpointing::is_due(log.bytes_since_checkpoint(), log.live_bytes()) {
            engine.checkpoint()?;
        }
        engine.free_buried()?;
        hand = engine.settle_pages(hand);
        let more = sparse.step(engine)?;
        log.reclaim()?;
        let moved = engine.store.cleaning_bytes.load(sync::atomic::Ordering::Relaxed);
        let written = log.counters().bytes_written.saturating_sub(moved);
        let use_now = LogUse {
            written_bytes: written.saturating_sub(written_before),
            disk_bytes: log.disk_bytes(),
            live_bytes: log.live_bytes(),
        };
        written_before = written;
        let next = if more { Next::Again } else { Next::Wait };
        if !schedule.enabled {
            return Ok(next);
        }
        let goal = goal_bytes(use_now.disk_bytes, use_now.live_bytes, &schedule);
        let budget = relocation_bytes(use_now, &schedule);
        if goal > 0 && (budget > 0 || use_now.written_bytes > 0) {
            engine.clean(goal, budget, Reach::Worthwhile, |_| true)?;
        }
        Ok(next)
    })
}

impl DurableEngine {
    /// Brings the share of the mapping table and its places in the budget up to date.
    pub(crate) fn count_table(&self) {
        let budget = &self.store.budget;
        // A place is an allocation of its own, and its lists are short.
        let places = self.table.id_limit() as usize * (size_of::<Place>() + 64);
        let now = (self.table.memory_bytes() + places) as u64;
        let held = budget.held_bytes(Category::Table);
        match now.checked_sub(held) {
            Some(more) => budget.add(Category::Table, more),
            None => budget.sub(Category::Table, held - now),
        }
    }
}
