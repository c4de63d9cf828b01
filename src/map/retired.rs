//! Displaced values: kept for the snapshots that see them, then for the readers that may, then
//! dropped, unpinned, by an operation of their map.
//!
//! A value behind an `Arc` belongs to the tree from the CAS that installs it to the CAS that
//! displaces it: a record for its key, or pages of sorted input. Then it belongs to the thread that
//! won this CAS. Pages own no values. The pointer of a displaced value stays in old pages and
//! records, where only a reader that was pinned before looks at it, or a snapshot that sees it.
//!
//! ```text
//!   displaced -> does an open cut see it? -- yes --> kept for the newest such cut, until it closes
//!                    | no                                  |
//!                    v                                     |
//!                  dead, in the shard of a thread <--------'
//!                    |  a turn takes all of them; one turn at a time
//!                    v
//!                  waiting, until no thread is pinned that was when the turn began
//!                    v
//!                  ripe -> taken one by one, and dropped by the thread that took it, unpinned
//! ```
//!
//! # Which cuts see a value
//!
//! A cut sees a value if its version is at least the one that the key got the value at, and less
//! than the one at which it was displaced. For the first the clock is read when the value is made,
//! which is no later: a cut may keep more than it sees, but only what was on its way in when it was
//! opened. The second is the version of the record, or of the pages, that displaced the value. It
//! is known before the registry is looked at, so no cut is missed (A8): a cut that is not in the
//! registry then is closed, or sees what displaced the value.
//!
//! How it is kept, and goes from cut to cut, is told in `mapping::Clock`.
//!
//! # When the dead are dropped
//!
//! Each operation adds to a count of its thread, more if it displaces a value. When the count is
//! full ([`DUE`]) the operation begins a turn, helps the epoch on, and drops what is ripe; if no
//! other thread is pinned, the turn ends at once. No thread waits: what is in use by another thread
//! is left to it, and a thread that is stopped delays destructors only. While a destructor runs its
//! thread holds nothing but the value, so one that blocks holds no other value back, and one that
//! uses the map finds it usable. What it displaces is left to later operations: destructors do not
//! nest.
//!
//! The epoch knows of one flag for each turn, and of no value. So the collector runs no code of a
//! user, and when a map is dropped all of its values are at hand.

use crate::engine::{SHARDS, shard};
use crate::memory::ask_for_counts;
use core::cell::Cell;
use core::mem::{self, ManuallyDrop, take};
use mapping::Stack;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use sync::CachePadded;
use sync::atomic::{AtomicBool, AtomicU32, Ordering};
use sync::epoch::{Collector, Guard};
use sync::lock::TryLock;

/// What a destructor has panicked with.
pub(crate) type Panic = Box<dyn Any + Send>;

/// From this count on an operation looks after the dead: so many operations of a thread.
const DUE: u32 = 96;

/// What an operation counts more that displaces a small value: 24 of them are [`DUE`].
const DISPLACED: u32 = 3;

/// Bytes of a value that count as one operation more.
const BYTES: usize = 1 << 10;

/// Most destructors that an operation on one key runs.
const MOST: usize = 256;

/// The displaced values of a map.
#[derive(Debug)]
pub(crate) struct Retired {
    shards: [CachePadded<Shard>; SHARDS],
    /// What found no shard free.
    beside: Stack<u64>,
    turn: TryLock<Turn>,
    /// Nobody is pinned any more who was when the turn began.
    passed: Arc<AtomicBool>,
    /// What one displacement counts.
    weight: u32,
}

/// What threads that share it have displaced, and count.
#[derive(Debug, Default)]
struct Shard {
    count: AtomicU32,
    /// Whether there are any dead; set by who has these.
    has_dead: AtomicBool,
    dead: TryLock<Vec<u64>>,
}

/// The values that are past their threads.
#[derive(Debug, Default)]
struct Turn {
    is_under_way: bool,
    waiting: Vec<u64>,
    ripe: VecDeque<u64>,
}

std::thread_local! {
    /// Whether this thread runs destructors now.
    static DROPPING: Cell<bool> = const { Cell::new(false) };
}

/// Values that are dropped between one whose counts are asked for and that one.
const SOON: usize = 6;

/// How much of the dead is to be looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What an operation on one key does.
    Some,
    /// All that can be dropped now.
    All,
}

impl Retired {
    /// Nothing is retired yet, of values of this size.
    pub(crate) fn new(value_bytes: usize) -> Self {
        let weight = (value_bytes / BYTES).min(DUE as usize) as u32 + DISPLACED;
        Self {
            shards: Default::default(),
            beside: Stack::new(),
            turn: TryLock::default(),
            passed: Arc::new(AtomicBool::new(false)),
            weight,
        }
    }

    /// Counts an operation of this thread. Says whether it is to look after the dead.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // A hint for each thread: a count that two threads lose is made up for by others.
        let count = &self.shards[shard()].count;
        let now = count.load(Ordering::Relaxed) + 1;
        count.store(if now < DUE { now } else { 0 }, Ordering::Relaxed);
        now >= DUE
    }

    /// Takes a value that no open cut sees.
    pub(crate) fn add(&self, handle: u64) {
        let home = shard();
        let count = &self.shards[home].count;
        count.store(count.load(Ordering::Relaxed).saturating_add(self.weight), Ordering::Relaxed);
        for at in 0..SHARDS {
            if let Some(mut dead) = self.shards[(home + at) % SHARDS].dead.try_lock() {
                dead.push(handle);
                self.shards[(home + at) % SHARDS].has_dead.store(true, Ordering::Relaxed);
                return;
            }
        }
        self.beside.push(handle);
    }

    /// Looks after the dead: drops what can be dropped by `release`. Returns the first panic of a
    /// destructor.
    ///
    /// Does nothing on a thread that is pinned, or that is running a destructor.
    #[cold]
    pub(crate) fn look_after(
        &self,
        epoch: &Collector,
        effort: Effort,
        release: fn(u64),
    ) -> Option<Panic> {
        if epoch.is_pinned() || DROPPING.get() {
            return None;
        }
        let (rounds, most) = if effort == Effort::All { (8, usize::MAX) } else { (3, MOST) };
        for _ in 0..rounds {
            let guard = epoch.pin();
            if !self.advance(&guard) {
                break;
            }
            // Moves the epoch on by one, if no thread is pinned that was before.
            guard.flush();
            if effort == Effort::Some && self.passed.load(Ordering::Relaxed) {
                break;
            }
        }
        self.end_turn();
        self.drop_ripe(most, release)
    }

    /// Begins a turn if there is none under way, and says whether there is one.
    fn advance(&self, guard: &Guard) -> bool {
        let Some(mut turn) = self.turn.try_lock() else { return false };
        self.ripen(&mut turn);
        if !turn.is_under_way {
            for shard in &self.shards {
                if shard.has_dead.load(Ordering::Relaxed)
                    && let Some(mut dead) = shard.dead.try_lock()
                {
                    turn.waiting.append(&mut dead);
                    dead.shrink_to(4 * DUE as usize);
                    shard.has_dead.store(false, Ordering::Relaxed);
                }
            }
            if !self.beside.is_empty() {
                turn.waiting.extend(self.beside.take());
            }
            if turn.waiting.is_empty() {
                return false;
            }
            turn.is_under_way = true;
            self.passed.store(false, Ordering::Relaxed);
            // ORDERING: Release pairs with the Acquire in `ripen`: whoever drops a value comes
            // behind all who were pinned.
            let passed = Arc::clone(&self.passed);
            guard.defer(move || passed.store(true, Ordering::Release));
        }
        true
    }

    fn ripen(&self, turn: &mut Turn) {
        if turn.is_under_way && self.passed.load(Ordering::Acquire) {
            turn.is_under_way = false;
            turn.ripe.extend(turn.waiting.drain(..));
            turn.waiting.shrink_to(4 * DUE as usize);
        }
    }

    fn end_turn(&self) {
        if let Some(mut turn) = self.turn.try_lock() {
            self.ripen(&mut turn);
        }
    }

    fn next_ripe(&self) -> Option<u64> {
        let mut turn = self.turn.try_lock()?;
        let next = turn.ripe.pop_front();
        if let Some(later) = turn.ripe.get(SOON) {
            ask_for_counts(*later);
        }
        if turn.ripe.is_empty() {
            turn.ripe.shrink_to(4 * DUE as usize);
        }
        next
    }

    fn drop_ripe(&self, most: usize, release: fn(u64)) -> Option<Panic> {
        let mut panic = None;
        DROPPING.set(true);
        for _ in 0..most {
            let Some(handle) = self.next_ripe() else { break };
            release_into(handle, release, &mut panic);
        }
        DROPPING.set(false);
        panic
    }

    /// Everything that is left. Nobody else uses the map any more.
    pub(crate) fn take_all(&mut self) -> Vec<u64> {
        let mut all: Vec<u64> = self.beside.take().collect();
        for shard in &self.shards {
            shard.dead.try_lock().iter_mut().for_each(|dead| all.append(dead));
        }
        if let Some(mut turn) = self.turn.try_lock() {
            all.append(&mut turn.waiting);
            all.extend(take(&mut turn.ripe));
        }
        all
    }
}

/// Releases a value. A panic of its destructor goes no further: the first is put into `panic`.
pub(crate) fn release_into(handle: u64, release: fn(u64), panic: &mut Option<Panic>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| release(handle))) {
        if panic.is_none() {
            *panic = Some(payload);
        } else {
            swallow(|| drop(payload));
        }
    }
}

/// Drops something where a panic would end the process, or hide another one: what it panics with is
/// lost, but for the message.
pub(crate) fn swallow(drop: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(drop))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| mem::drop(payload)))
    {
        // There could be no end to it.
        let _leaked = ManuallyDrop::new(again);
    }
}

/// The end of an operation that has come to this: a panic of a destructor that it has run goes on
/// from here, unless the thread is panicking already.
pub(crate) fn go_on<R>(result: R, panic: Option<Panic>) -> R {
    match panic {
        None => result,
        Some(panic) if std::thread::panicking() => {
            swallow(|| drop(panic));
            result
        }
        Some(panic) => {
            swallow(|| drop(result));
            std::panic::resume_unwind(panic)
        }
    }
}
