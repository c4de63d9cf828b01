//! One budget of memory, in bytes held, over everything that holds some.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// Longest sleep of a waiting thread before it asks again whether there is any hope: a failure may
/// happen where no call of [`Budget::wake`] follows.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Category {
    /// Pages with their delta areas.
    Pages = 0,
    /// The mapping table.
    Table,
    /// Values that lie outside of their page.
    Values,
    /// What is retired and waits for its epoch.
    Garbage,
    /// What lies free between pages and cannot be used for anything else.
    Slack,
    /// Frames of the log that are not written yet, and the lists of a commit.
    Log,
}

impl Category {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Pages, Self::Table, Self::Values, Self::Garbage, Self::Slack, Self::Log];
}

/// How urgent it is to give memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Nothing to do.
    None,
    /// Above nine tenths of the limit: evict in the background.
    Evict,
    /// Above the limit: who wants more must wait, unpinned.
    Stall,
}

/// Bytes held, by category, against one limit.
///
/// The counters are exact once everyone has added what it took: a category that is seen between a
/// `sub` and its `add` in another thread may stand below 0 and counts as 0.
pub struct Budget {
    limit_bytes: u64,
    held: [CachePadded<AtomicI64>; Category::ALL.len()],
    /// Writers in [`Budget::wait_below`].
    waiting: CachePadded<AtomicU32>,
    /// Guards nothing but the moment between a look at the total and going to sleep.
    gate: Mutex<()>,
    room: Condvar,
}

impl Budget {
    /// A budget with nothing held.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            held: Default::default(),
            waiting: CachePadded::default(),
            gate: Mutex::new(()),
            room: Condvar::new(),
        }
    }

    /// A budget that counts and never presses.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Counts bytes that were taken.
    pub fn add(&self, category: Category, bytes: u64) {
        // A plain counter.
        self.held[category as usize].fetch_add(bytes as i64, Ordering::Relaxed);
    }

    /// Counts bytes that were given back, and wakes who waits for them.
    pub fn sub(&self, category: Category, bytes: u64) {
        // ORDERING: SeqCst, as `waiting` below: partner of `wait_below`, which adds to `waiting`
        // and then reads the counters. Of the two one sees the other, so no wake-up is lost.
        self.held[category as usize].fetch_sub(bytes as i64, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever saw the old total holds the gate until it sleeps.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.room.notify_all();
        }
    }

    /// Bytes held by one category.
    #[must_use]
    pub fn held_bytes(&self, category: Category) -> u64 {
        // ORDERING: SeqCst, for `wait_below`, see `sub`.
        self.held[category as usize].load(Ordering::SeqCst).max(0) as u64
    }

    /// Bytes held in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        Category::ALL.iter().fold(0, |sum: u64, &one| sum.saturating_add(self.held_bytes(one)))
    }

    /// How urgent it is to give memory back.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let total = self.total();
        if total > self.limit_bytes {
            Pressure::Stall
        } else if total > self.evict_above_bytes() {
            Pressure::Evict
        } else {
            Pressure::None
        }
    }

    /// Bytes to evict now: 0 without pressure, else down to 85 % of the limit.
    ///
    /// The step between 85 % and the 90 % at which eviction begins keeps the evictor from being
    /// woken for every page.
    #[must_use]
    pub fn goal_bytes(&self) -> u64 {
        let total = self.total();
        if total <= self.evict_above_bytes() {
            return 0;
        }
        total - self.part_of_limit(85)
    }

    /// Waits until at most `bytes` are held, or the time is over. Says whether there is room.
    ///
    /// Never call this while pinned: the memory that is waited for may be garbage that the pin
    /// keeps.
    pub fn wait_below(&self, bytes: u64, timeout: Duration) -> bool {
        self.wait_below_unless(bytes, timeout, || false)
    }

    /// Waits as [`wait_below`](Self::wait_below) does, and ends early when `hopeless` says that no
    /// memory will come. It is asked at the start, after each [`wake`](Self::wake), and some times
    /// a second.
    pub fn wait_below_unless(
        &self,
        bytes: u64,
        timeout: Duration,
        hopeless: impl Fn() -> bool,
    ) -> bool {
        if self.total() <= bytes {
            return true;
        }
        let deadline = Instant::now().checked_add(timeout);
        // ORDERING: SeqCst, before the total is read again: see `sub`.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let room = self.wait_until(bytes, deadline, hopeless);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        room
    }

    /// Makes every waiting thread look again, at the total and at whether there is any hope.
    pub fn wake(&self) {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.room.notify_all();
    }

    fn wait_until(
        &self,
        bytes: u64,
        deadline: Option<Instant>,
        hopeless: impl Fn() -> bool,
    ) -> bool {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while self.total() > bytes {
            let left =
                deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() || hopeless() {
                return false;
            }
            gate = match self.room.wait_timeout(gate, left.min(LOOK_AGAIN)) {
                Ok((gate, _)) => gate,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Bytes above which memory is given back in the background.
    #[must_use]
    pub fn evict_above_bytes(&self) -> u64 {
        self.part_of_limit(90)
    }

    fn part_of_limit(&self, percent: u64) -> u64 {
        (u128::from(self.limit_bytes) * u128::from(percent) / 100) as u64
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Budget");
        out.field("limit_bytes", &self.limit_bytes);
        for category in Category::ALL {
            out.field(&format!("{category:?}"), &self.held_bytes(category));
        }
        out.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn a_waiting_thread_gives_up_when_there_is_no_hope() {
        let budget = Budget::new(1000);
        budget.add(Category::Pages, 2000);
        let failed = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let hopeless = || failed.load(Ordering::Relaxed);
                budget.wait_below_unless(1000, Duration::from_secs(60), hopeless)
            });
            thread::sleep(Duration::from_millis(5));
            failed.store(true, Ordering::Relaxed);
            budget.wake();
            assert!(!waiting.join().unwrap());
        });
    }

    #[test]
    fn each_category_counts_for_itself_and_for_the_total() {
        let budget = Budget::new(1000);
        for (i, category) in Category::ALL.into_iter().enumerate() {
            assert_eq!(category as usize, i);
            budget.add(category, 10 + i as u64);
        }
        assert_eq!(budget.total(), 75);
        assert_eq!(budget.held_bytes(Category::Garbage), 13);
        budget.sub(Category::Garbage, 13);
        assert_eq!(budget.total(), 62);
    }

    #[test]
    fn pressure_begins_above_nine_tenths_and_above_the_limit() {
        let budget = Budget::new(1000);
        budget.add(Category::Pages, 900);
        assert_eq!((budget.pressure(), budget.goal_bytes()), (Pressure::None, 0));
        budget.add(Category::Values, 1);
        assert_eq!((budget.pressure(), budget.goal_bytes()), (Pressure::Evict, 51));
        budget.add(Category::Table, 99);
        assert_eq!(budget.pressure(), Pressure::Evict);
        budget.add(Category::Slack, 1);
        assert_eq!((budget.pressure(), budget.goal_bytes()), (Pressure::Stall, 151));
        assert!(Pressure::None < Pressure::Evict && Pressure::Evict < Pressure::Stall);
    }

    #[test]
    fn an_unlimited_budget_never_presses() {
        let budget = Budget::unlimited();
        budget.add(Category::Pages, 1 << 60);
        assert_eq!(budget.pressure(), Pressure::None);
    }

    #[test]
    fn a_counter_below_zero_counts_as_zero() {
        let budget = Budget::new(10);
        budget.sub(Category::Pages, 5);
        budget.add(Category::Table, 3);
        assert_eq!(budget.total(), 3);
        budget.add(Category::Pages, 6);
        assert_eq!(budget.held_bytes(Category::Pages), 1);
    }

    #[test]
    fn waiting_ends_at_once_with_room_and_in_time_without() {
        let budget = Budget::new(10);
        assert!(budget.wait_below(10, Duration::ZERO));
        budget.add(Category::Pages, 11);
        assert!(!budget.wait_below(10, Duration::ZERO));
        let start = Instant::now();
        assert!(!budget.wait_below(10, Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn whoever_waits_is_woken_every_time() {
        let budget = Budget::new(10);
        let rounds = 2000;
        let meet = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        meet.wait();
                        // Far longer than the test: a lost wake-up shows as a failure.
                        assert!(budget.wait_below(10, Duration::from_mins(1)));
                        meet.wait();
                    }
                });
            }
            for round in 0..rounds {
                budget.add(Category::Values, 100);
                meet.wait();
                for _ in 0..round % 64 {
                    std::hint::spin_loop();
                }
                budget.sub(Category::Values, 100);
                meet.wait();
            }
        });
        assert_eq!(budget.total(), 0);
    }

    #[test]
    fn counts_of_many_threads_add_up() {
        let budget = Budget::new(10);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..10_000 {
                        budget.add(Category::Pages, i);
                        budget.sub(Category::Pages, i / 2);
                    }
                });
            }
        });
        let each: u64 = (0..10_000).map(|i| i - i / 2).sum();
        assert_eq!(budget.total(), 4 * each);
    }
}
