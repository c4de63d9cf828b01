//! The record of a slab: which units are in use, how many, and who allocates in it.

use sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Nobody holds the slab.
pub(super) const NOBODY: u32 = 0;
/// Someone who gives memory back holds it. Shards hold it by their number, plus one.
pub(super) const GIVER: u32 = u32::MAX;

const IN_USE: u64 = u32::MAX as u64;
const FREED: u32 = 32;

/// Of a slab, one part in so many that is freed makes it roomy.
const ROOMY_PART: u32 = 16;

/// Units in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) units: u32,
}

/// What the units of a slab are used for.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Slab {
    /// Units in use (lower half), and units freed since the last sweep (upper half).
    pub(super) count: AtomicU64,
    pub(super) holder: AtomicU32,
    /// Pages of the system that have no memory. Changed by the holder only.
    pub(super) absent: AtomicU32,
    used: Box<[AtomicU64]>,
}

/// What freeing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    /// Units in use now.
    pub(super) in_use: u32,
    /// Units freed since the last sweep.
    pub(super) since: u32,
}

impl Slab {
    /// A slab of so many units, a multiple of 64, and pages of the system, none of them there.
    pub(super) fn new(units: u32, pages: u32) -> Self {
        Self {
            count: AtomicU64::new(0),
            holder: AtomicU32::new(NOBODY),
            absent: AtomicU32::new(pages),
            used: (0..units / 64).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Makes `who` the holder.
    ///
    /// # Errors
    /// Who holds it.
    pub(super) fn hold(&self, who: u32) -> Result<(), u32> {
        // ORDERING: Acquire pairs with the Release in `let_go`: bits that earlier holders have set
        // are seen. So does that of the failure: see `let_go`.
        let (acquire, relaxed) = (Ordering::AcqRel, Ordering::Acquire);
        self.holder.compare_exchange(NOBODY, who, acquire, relaxed).map(drop)
    }

    /// Sets how many pages of the system have no memory, and says how many had none. Only by the
    /// holder.
    pub(super) fn set_absent(&self, pages: u32) -> u32 {
        // ORDERING: Relaxed; the next holder synchronises with this one.
        self.absent.swap(pages, Ordering::Relaxed)
    }

    /// Whether some pages of the system have no memory, about.
    pub(super) fn has_gaps(&self) -> bool {
        // ORDERING: Relaxed: a hint to who looks for a slab.
        self.absent.load(Ordering::Relaxed) > 0
    }

    /// Gives the slab up. Says whether nothing in it is in use, which nobody else may have noticed.
    pub(super) fn let_go(&self) -> bool {
        // ORDERING: either this read-modify-write of the count comes after that of whoever frees
        // the last unit, and sees zero; or it comes before, and by AcqRel on both sides who frees
        // sees that nobody holds the slab any more. So one of the two gives the memory back.
        self.holder.swap(NOBODY, Ordering::AcqRel);
        self.is_unused()
    }

    /// Whether nothing is in use. While it is held by the caller that stays true.
    pub(super) fn is_unused(&self) -> bool {
        // ORDERING: AcqRel: see `let_go`; and what was done with the pages has been done.
        self.count.fetch_add(0, Ordering::AcqRel) & IN_USE == 0
    }

    /// Units freed since the last sweep from which on it is worth the next.
    pub(super) fn roomy_units(&self) -> u32 {
        self.used.len() as u32 * 64 / ROOMY_PART
    }

    /// Whether so many have been freed.
    pub(super) fn is_roomy(&self) -> bool {
        // ORDERING: Relaxed: a hint; the sweep reads the count itself.
        (self.count.load(Ordering::Relaxed) >> FREED) as u32 >= self.roomy_units()
    }

    /// Reads which units are in use, into the memory of an earlier sweep. Only by the holder.
    pub(super) fn sweep(&self, earlier: Sweep) -> Sweep {
        // ORDERING: AcqRel, before the bits are read: what is counted before this is seen below.
        self.count.fetch_and(IN_USE, Ordering::AcqRel);
        let mut used = earlier.used;
        used.clear();
        // ORDERING: Acquire pairs with the Release in `free`: whoever used the page is done.
        used.extend(self.used.iter().map(|word| word.load(Ordering::Acquire)));
        Sweep { used, at: 0, start: 0 }
    }

    /// Sets the bits of a free run. Only by the holder.
    #[inline]
    pub(super) fn mark(&self, run: Run) {
        for (word, bits) in words(run) {
            // ORDERING: Relaxed; the next holder synchronises with this one.
            self.used[word].fetch_or(bits, Ordering::Relaxed);
        }
        self.count.fetch_add(u64::from(run.units), Ordering::Relaxed);
    }

    /// Clears the bits of a run that is in use. By its owner.
    #[inline]
    pub(super) fn free(&self, run: Run) -> Freed {
        for (word, bits) in words(run) {
            // ORDERING: Release, after the last use of the page; see `sweep`.
            self.used[word].fetch_and(!bits, Ordering::Release);
        }
        let units = u64::from(run.units);
        // ORDERING: AcqRel: see `let_go`.
        let old = self.count.fetch_add((units << FREED).wrapping_sub(units), Ordering::AcqRel);
        let new = old.wrapping_add((units << FREED).wrapping_sub(units));
        Freed { in_use: (new & IN_USE) as u32, since: (new >> FREED) as u32 }
    }
}

/// Words that are gone through at once.
const STEP: usize = 32;

/// The units of a slab that were in use at one moment, and how far they were gone through.
///
/// That takes a while, with some hundred runs. So it is done step by step, as more are needed.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    used: Vec<u64>,
    /// The next word.
    at: usize,
    /// The end of what is in use before.
    start: u32,
}

impl Sweep {
    /// Calls `found` with every free run, in order.
    pub(super) fn all(mut self, mut found: impl FnMut(Run)) {
        while self.step(u32::MAX, &mut found) {}
    }

    /// Whether it has begun, and has not come to the end.
    pub(super) fn is_under_way(&self) -> bool {
        0 < self.at && self.at < self.used.len()
    }

    /// Goes a step on, and calls `found` with every free run, in order; one that goes on behind the
    /// step is cut there if it has `enough` units. Says whether there was anything left.
    pub(super) fn step(&mut self, enough: u32, mut found: impl FnMut(Run)) -> bool {
        if self.at >= self.used.len() {
            return false;
        }
        let Self { used, at, start } = self;
        let mut report = |start: u32, end: u32| {
            if end > start {
                found(Run { first: start, units: end - start });
            }
        };
        let end = (*at + STEP).min(used.len());
        for (word, first) in used[*at..end].iter().zip((*at as u32 * 64..).step_by(64)) {
            let mut used = *word;
            while used != 0 {
                let skip = used.trailing_zeros();
                report(*start, first + skip);
                let end = skip + (used >> skip).trailing_ones();
                *start = first + end;
                used = used.checked_shr(end).map_or(0, |rest| rest << end);
            }
        }
        *at = end;
        let stop = end as u32 * 64;
        if end == used.len() || stop - *start >= enough {
            report(*start, stop);
            *start = stop;
        }
        true
    }
}

/// The words that a run lies in, and its bits in each.
#[inline]
fn words(run: Run) -> impl Iterator<Item = (usize, u64)> {
    let (mut at, end) = (run.first, run.first + run.units);
    core::iter::from_fn(move || {
        (at < end).then(|| {
            let (word, bit) = (at / 64, at % 64);
            let count = (64 - bit).min(end - at);
            at += count;
            (word as usize, (u64::MAX >> (64 - count)) << bit)
        })
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn free_runs(slab: &Slab) -> Vec<(u32, u32)> {
        let mut out = Vec::new();
        slab.sweep(Sweep::default()).all(|run| out.push((run.first, run.units)));
        out
    }

    #[test]
    fn a_sweep_finds_what_lies_between_pages() {
        let slab = Slab::new(256, 4);
        assert_eq!(free_runs(&slab), [(0, 256)]);
        let runs = [(0, 1), (5, 59), (64, 64), (130, 100), (255, 1)];
        let runs = runs.map(|(first, units)| Run { first, units });
        for run in runs {
            slab.mark(run);
        }
        assert_eq!(free_runs(&slab), [(1, 4), (128, 2), (230, 25)]);
        assert_eq!(slab.free(runs[1]), Freed { in_use: 166, since: 59 });
        assert_eq!(slab.free(runs[2]), Freed { in_use: 102, since: 123 });
        assert_eq!(free_runs(&slab), [(1, 129), (230, 25)]);
        assert_eq!(slab.free(runs[0]), Freed { in_use: 101, since: 1 });
        slab.free(runs[3]);
        slab.free(runs[4]);
        assert!(slab.is_unused());
        assert_eq!(free_runs(&slab), [(0, 256)]);
    }

    #[test]
    fn a_slab_has_one_holder() {
        let slab = Slab::new(64, 1);
        assert_eq!(slab.hold(3), Ok(()));
        assert_eq!(slab.hold(2), Err(3));
        assert!(slab.let_go());
        assert_eq!(slab.hold(2), Ok(()));
        slab.mark(Run { first: 0, units: 1 });
        assert!(!slab.let_go());
    }
}
