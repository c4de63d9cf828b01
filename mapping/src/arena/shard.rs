//! What one thread at a time allocates from: up to two slabs that nobody else allocates in.
//!
//! Two, so that pages of different sizes find their places: what is too large for the first slab's
//! runs is taken from the second, and the first is left when neither has room.

use super::runs::Runs;
use super::slab::{Run, Slab};

/// A slab that is held, and its free runs.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slab: usize,
    /// It is empty, and is kept nevertheless.
    pub(super) kept: bool,
    runs: Runs,
}

impl Held {
    /// Sweeps a slab that the caller has become the holder of.
    pub(super) fn sweep(at: usize, slab: &Slab, mut runs: Runs) -> Self {
        runs.clear();
        slab.sweep(|run| runs.add(run));
        Self { slab: at, kept: false, runs }
    }

    /// Whether a page of so many units fits.
    pub(super) fn has(&mut self, units: u32) -> bool {
        self.runs.has(units)
    }
}

/// The slabs of a shard, the one that is served from first first.
#[derive(Debug, Default)]
pub(super) struct Shard {
    held: [Option<Held>; 2],
    /// Of a slab that was given up, for the next.
    spare: Option<Runs>,
}

impl Shard {
    /// The slabs that it holds.
    pub(super) fn held(&mut self) -> impl Iterator<Item = &mut Held> {
        self.held.iter_mut().flatten()
    }

    /// Where the free runs of the next slab are kept.
    pub(super) fn runs(&mut self) -> Runs {
        self.spare.take().unwrap_or_else(Runs::new)
    }

    /// Takes them back.
    pub(super) fn put_back(&mut self, runs: Held) {
        self.spare = Some(runs.runs);
    }

    /// Takes a run of so many units from one of its slabs.
    #[inline]
    pub(super) fn take(&mut self, units: u32) -> Option<(&mut Held, Run)> {
        self.held().find_map(|held| held.runs.take(units).map(|run| (held, run)))
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
