//! How much the cleaner may relocate now: in proportion to what writers add, and more near the
//! bound.
//!
//! Cleaning that runs in bursts stalls the log, and cleaning that waits runs out of room. So the
//! cleaner earns bytes as writers write them:
//!
//! ```text
//!   relocated per byte written
//!     ^                              /    STEEPEST x the sustaining rate
//!     |                            _/
//!     |                         _-       1 x: what keeps the disk where it is
//!     |                    _--
//!     |_______________----
//!     live     three quarters  bound  --> disk bytes
//! ```
//!
//! The *sustaining rate* follows from how full a victim is. At the bound the average utilisation is
//! `u = live / bound`; relocating `u` bytes gives `1 - u` back, so each byte written needs
//! `u / (1 - u)` relocated. Below three quarters of the allowed garbage nothing is earned at all:
//! garbage that is left alone for a while costs less to clean, and the more of it there is, the
//! emptier are the victims.
//!
//! Above the bound the cleaner also gets what it takes to come back to it, writers or none.

use crate::schedule::CleaningSchedule;

/// Part of the allowed garbage up to which the cleaner rests.
pub const RESTING_FRACTION: f64 = 0.75;

/// Multiple of the sustaining rate that is reached at the bound.
pub const STEEPEST: f64 = 4.0;

/// Largest sustaining rate that is used, however tight the target.
const MAX_SUSTAINING_RATE: f64 = 16.0;

/// What the pacing of one step is computed from. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogUse {
    /// Written by callers since the last step, without what cleaning itself wrote.
    pub written_bytes: u64,
    /// On disk now.
    pub disk_bytes: u64,
    /// Of these, live.
    pub live_bytes: u64,
}

/// Whether cleaning still gets anywhere: what makes it end on a store that is at rest.
///
/// What a segment will give back is an estimate. Where it is wrong (parts of a size that leaves the
/// same tails in the new segments as in the old ones) a store above its bound would be rewritten
/// for ever. So at rest each live byte is moved about once for each new low of the garbage; then
/// the cleaner waits until there is more garbage than there was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Least garbage seen since it last rose.
    lowest_bytes: u64,
    /// Bytes moved since then beyond what writers paid for.
    moved_bytes: u64,
}

impl Progress {
    /// Bytes moved for one byte written that are put down to the writers.
    const PAID_PER_BYTE: u64 = 64;
    /// Changes of the garbage below this part of it, or this many bytes, are none.
    const STEP_SHARE: u64 = 16;
    const STEP_BYTES: u64 = 256 << 10;

    /// Whether to clean now.
    pub fn goes_on(&mut self, log: LogUse) -> bool {
        let garbage = log.disk_bytes.saturating_sub(log.live_bytes);
        let step = (self.lowest_bytes / Self::STEP_SHARE).max(Self::STEP_BYTES);
        if garbage > self.lowest_bytes.saturating_add(step)
            || garbage.saturating_add(step) < self.lowest_bytes
        {
            *self = Self { lowest_bytes: garbage, moved_bytes: 0 };
        }
        self.moved_bytes <= log.live_bytes
    }

    /// Takes note of what a step has moved while this much was written.
    pub fn moved(&mut self, moved_bytes: u64, written_bytes: u64) {
        let paid = written_bytes.saturating_mul(Self::PAID_PER_BYTE);
        self.moved_bytes = self.moved_bytes.saturating_add(moved_bytes.saturating_sub(paid));
    }
}

/// Live bytes that the cleaner may relocate in this step.
#[must_use]
pub fn relocation_bytes(log: LogUse, schedule: &CleaningSchedule) -> u64 {
    let bound = schedule.bound_bytes(log.live_bytes);
    let sustaining = sustaining_rate(log.live_bytes, bound);
    let earned = log.written_bytes as f64 * sustaining * steepness(log, bound);
    let overdue = log.disk_bytes.saturating_sub(bound) as f64 * sustaining;
    // Nothing is ever relocated twice for one step.
    ((earned + overdue) as u64).min(log.live_bytes)
}

/// Bytes that the disk is above the point where the cleaner rests: the goal for choosing victims.
#[must_use]
pub fn goal_bytes(disk_bytes: u64, live_bytes: u64, schedule: &CleaningSchedule) -> u64 {
    let bound = schedule.bound_bytes(live_bytes);
    let garbage = bound.saturating_sub(live_bytes) as f64;
    disk_bytes.saturating_sub(live_bytes.saturating_add((garbage * RESTING_FRACTION) as u64))
}

/// Bytes to relocate per byte written that keep a store at its bound.
fn sustaining_rate(live_bytes: u64, bound_bytes: u64) -> f64 {
    let garbage = bound_bytes.saturating_sub(live_bytes);
    if garbage == 0 {
        return MAX_SUSTAINING_RATE;
    }
    (live_bytes as f64 / garbage as f64).min(MAX_SUSTAINING_RATE)
}

/// Multiple of the sustaining rate: 0 while resting, rising as a square to [`STEEPEST`].
fn steepness(log: LogUse, bound_bytes: u64) -> f64 {
    let allowed = bound_bytes.saturating_sub(log.live_bytes) as f64;
    let garbage = log.disk_bytes.saturating_sub(log.live_bytes) as f64;
    if allowed <= 0.0 {
        return if garbage > 0.0 { STEEPEST } else { 0.0 };
    }
    let filled = (garbage / allowed - RESTING_FRACTION) / (1.0 - RESTING_FRACTION);
    let filled = filled.clamp(0.0, 1.0);
    STEEPEST * filled * filled
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn schedule() -> CleaningSchedule {
        CleaningSchedule::new().with_slack_bytes(0)
    }

    fn at(written_mib: u64, disk_mib: u64) -> u64 {
        let log = LogUse {
            written_bytes: written_mib * MIB,
            disk_bytes: disk_mib * MIB,
            live_bytes: 1000 * MIB,
        };
        relocation_bytes(log, &schedule())
    }

    #[test]
    fn below_three_quarters_of_the_garbage_the_cleaner_rests() {
        assert_eq!(at(100, 1000), 0);
        assert_eq!(at(100, 1375), 0);
        assert!(at(100, 1385) > 0);
    }

    #[test]
    fn it_is_proportional_to_what_was_written() {
        let one = at(1, 1400);
        assert!(one > 0);
        assert!(at(10, 1400).abs_diff(10 * one) <= 10);
        assert_eq!(at(0, 1400), 0);
    }

    #[test]
    fn it_rises_steeply_towards_the_bound_and_never_falls() {
        let rates: Vec<u64> = (1000..=1600).step_by(10).map(|disk| at(10, disk)).collect();
        assert!(rates.is_sorted());
        let (half_way, near, bound) = (at(10, 1437), at(10, 1495), at(10, 1500));
        assert!(near > 3 * half_way, "{near} {half_way}");
        // Live 1000 in 1500: a victim is two thirds full, so 2 per byte sustains, here times 4.
        assert_eq!(bound, 10 * MIB * 2 * 4);
    }

    #[test]
    fn above_the_bound_it_works_without_writers() {
        assert_eq!(at(0, 1500), 0);
        assert_eq!(at(0, 1600), 200 * MIB);
    }

    #[test]
    fn it_never_exceeds_the_live_bytes() {
        assert_eq!(at(0, 100_000), 1000 * MIB);
        let empty = LogUse { written_bytes: 100, disk_bytes: 100 * MIB, live_bytes: 0 };
        assert_eq!(relocation_bytes(empty, &schedule()), 0);
    }

    #[test]
    fn at_rest_cleaning_that_gains_nothing_ends() {
        let log = LogUse { written_bytes: 0, disk_bytes: 200 * MIB, live_bytes: 100 * MIB };
        let (mut progress, mut moved) = (Progress::default(), 0);
        while progress.goes_on(log) {
            progress.moved(10 * MIB, 0);
            moved += 10 * MIB;
            assert!(moved < 1000 * MIB, "it never ends");
        }
        assert!(moved >= 100 * MIB);
        // More garbage is a new reason, and so is less: something was gained.
        assert!(progress.goes_on(LogUse { disk_bytes: 220 * MIB, ..log }));
        progress.moved(500 * MIB, 0);
        assert!(!progress.goes_on(LogUse { disk_bytes: 221 * MIB, ..log }));
        assert!(progress.goes_on(LogUse { disk_bytes: 190 * MIB, ..log }));
    }

    #[test]
    fn where_writers_pay_for_it_cleaning_goes_on() {
        let log = LogUse { written_bytes: MIB, disk_bytes: 200 * MIB, live_bytes: 100 * MIB };
        let mut progress = Progress::default();
        for _ in 0..1000 {
            assert!(progress.goes_on(log));
            progress.moved(4 * MIB, log.written_bytes);
        }
    }

    #[test]
    fn the_slack_lets_a_small_store_be() {
        let log = LogUse { written_bytes: MIB, disk_bytes: 4 * MIB, live_bytes: MIB / 2 };
        assert_eq!(relocation_bytes(log, &CleaningSchedule::default()), 0);
        assert_eq!(goal_bytes(4 * MIB, MIB / 2, &CleaningSchedule::default()), 0);
    }

    #[test]
    fn the_goal_leads_back_to_where_the_cleaner_rests() {
        assert_eq!(goal_bytes(1500 * MIB, 1000 * MIB, &schedule()), 125 * MIB);
        assert_eq!(goal_bytes(1375 * MIB, 1000 * MIB, &schedule()), 0);
        assert_eq!(goal_bytes(0, 1000 * MIB, &schedule()), 0);
    }

    #[test]
    fn a_simulated_store_stays_within_its_bound() {
        // Uniform updates: each byte written makes one dead; cleaning a byte costs what the
        // average segment says. The disk must settle below the bound.
        let live = 1000.0 * MIB as f64;
        let (mut disk, mut highest, mut relocated) = (live, 0.0_f64, 0.0);
        let steps = 10_000;
        for _ in 0..steps {
            let written = MIB as f64;
            disk += written;
            let log = LogUse {
                written_bytes: written as u64,
                disk_bytes: disk as u64,
                live_bytes: live as u64,
            };
            let moved = relocation_bytes(log, &schedule()) as f64;
            let used = live / disk;
            disk -= moved * (1.0 - used) / used;
            relocated += moved;
            highest = highest.max(disk / live);
        }
        assert!(highest < 1.5, "{highest}");
        let amplification = relocated / (f64::from(steps) * MIB as f64);
        assert!(amplification < 3.0, "{amplification}");
    }
}
