//! What one thread at a time allocates from: up to two slabs that nobody else allocates in.
//!
//! Two, so that pages of different sizes find their places: what is too large for the first slab's
//! runs is taken from the second, and the first is left when neither has room.

use super::runs::Runs;
use super::slab::{Run, Slab, Sweep};

/// The free runs of a slab, and the sweep that they come from.
#[derive(Debug, Default)]
pub(super) struct Free {
    runs: Runs,
    sweep: Sweep,
}

impl Free {
    /// What `look`, which wants so many units, finds among the runs. While that is nothing, the
    /// sweep goes on.
    #[inline]
    fn find<R>(
        &mut self,
        slab: &Slab,
        units: u32,
        look: impl Fn(&mut Runs, u32) -> Option<R>,
    ) -> Option<R> {
        loop {
            let found = look(&mut self.runs, units);
            if found.is_some() || !self.find_more(slab, units) {
                return found;
            }
        }
    }

    /// Goes on with the sweep; or begins anew, if enough was freed behind it: what lies before it
    /// may never have been touched.
    #[cold]
    fn find_more(&mut self, slab: &Slab, units: u32) -> bool {
        if self.sweep.is_under_way() && slab.is_roomy() {
            self.begin(slab);
        }
        let Self { runs, sweep } = self;
        sweep.step(units, |run| runs.add(run))
    }

    fn begin(&mut self, slab: &Slab) {
        self.runs.clear();
        self.sweep = slab.sweep(core::mem::take(&mut self.sweep));
    }
}

/// A slab that is held, and its free runs.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slab: usize,
    /// It is empty, and is kept nevertheless.
    pub(super) kept: bool,
    free: Free,
}

impl Held {
    /// Sweeps a slab that the caller has become the holder of.
    pub(super) fn sweep(at: usize, slab: &Slab, mut free: Free) -> Self {
        free.begin(slab);
        Self { slab: at, kept: false, free }
    }

    /// Whether a page of so many units fits.
    pub(super) fn has(&mut self, slab: &Slab, units: u32) -> bool {
        self.free.find(slab, units, |runs, units| runs.has(units).then_some(())).is_some()
    }
}

/// The slabs of a shard, the one that is served from first first.
#[derive(Debug, Default)]
pub(super) struct Shard {
    held: [Option<Held>; 2],
    /// Of a slab that was given up, for the next.
    spare: Free,
}

impl Shard {
    /// The slabs that it holds.
    pub(super) fn held(&mut self) -> impl Iterator<Item = &mut Held> {
        self.held.iter_mut().flatten()
    }

    /// Where the free runs of the next slab are kept.
    pub(super) fn free(&mut self) -> Free {
        core::mem::take(&mut self.spare)
    }

    /// Takes them back.
    pub(super) fn put_back(&mut self, held: Held) {
        self.spare = held.free;
    }

    /// Takes a run of so many units from one of its slabs.
    #[inline]
    pub(super) fn take<'a>(
        &mut self,
        slabs: impl Fn(usize) -> &'a Slab,
        units: u32,
    ) -> Option<(&mut Held, Run)> {
        self.held().find_map(|held| {
            let run = held.free.find(slabs(held.slab), units, Runs::take);
            run.map(|run| (held, run))
        })
    }

    /// Adds a slab; if it has two, the first of them is given up.
    pub(super) fn add(&mut self, held: Held) -> Option<Held> {
        if self.held[0].is_none() {
            self.held[0] = Some(held);
            return None;
        }
        let second = self.held[1].replace(held);
        if second.is_some() { core::mem::replace(&mut self.held[0], second) } else { None }
    }

    /// Gives one up.
    pub(super) fn remove(&mut self, slab: usize) -> Option<Held> {
        let found = self.held.iter_mut().find(|held| held.as_ref().is_some_and(|h| h.slab == slab));
        let removed = found?.take();
        if self.held[0].is_none() {
            self.held.swap(0, 1);
        }
        removed
    }
}
