//! The free runs of a slab, by length: one that fits is found in a few steps.

use super::slab::Run;

/// Shorter runs are forgotten until their neighbours are free: no page is that small.
#[cfg(not(loom))]
const SHORTEST: u32 = 8;
#[cfg(loom)]
const SHORTEST: u32 = 1;

/// Log2 of the number of bins for each doubling of length.
const FINE: u32 = 3;
/// Bins for runs of less than 2^16 units.
const BINS: usize = (17 - FINE as usize) << FINE;
/// The end of a list.
const NONE: u16 = u16::MAX;

const _: () = assert!(BINS <= 128, "a bit for each bin");

/// A run in the list of its bin.
#[derive(Debug, Clone, Copy)]
struct Link {
    run: Run,
    next: u16,
}

/// Free runs of one slab.
#[derive(Debug)]
pub(super) struct Runs {
    links: Vec<Link>,
    heads: [u16; BINS],
    /// The bins that have runs.
    filled: u128,
}

/// The bin of a run.
#[inline]
fn bin(units: u32) -> u32 {
    let power = units.max(1).ilog2().max(FINE);
    ((power - FINE) << FINE) + (units >> (power - FINE))
}

/// The first bin of which all runs have at least so many units.
#[inline]
fn bin_above(units: u32) -> u32 {
    let low = (1 << (units.max(1).ilog2().max(FINE) - FINE)) - 1;
    bin(units + low)
}

impl Default for Runs {
    fn default() -> Self {
        Self { links: Vec::new(), heads: [NONE; BINS], filled: 0 }
    }
}

impl Runs {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.filled = 0;
    }

    /// Adds a run.
    #[inline]
    pub(super) fn add(&mut self, run: Run) {
        // A slab has fewer than 2^16 runs that are not too short.
        if run.units >= SHORTEST && self.links.len() < usize::from(NONE) {
            self.links.push(Link { run, next: NONE });
            self.link(self.links.len() as u16 - 1);
        }
    }

    fn link(&mut self, at: u16) {
        let link = &mut self.links[usize::from(at)];
        let bin = bin(link.run.units);
        let head = &mut self.heads[bin as usize];
        link.next = if self.filled & (1 << bin) == 0 { NONE } else { *head };
        *head = at;
        self.filled |= 1 << bin;
    }

    /// Takes a run out of the list of `bin`: the one behind `before`, or the first.
    fn unlink(&mut self, bin: u32, before: Option<u16>) -> u16 {
        let head = self.heads[bin as usize];
        let at = before.map_or(head, |before| self.links[usize::from(before)].next);
        let next = self.links[usize::from(at)].next;
        match before {
            Some(before) => self.links[usize::from(before)].next = next,
            None if next == NONE => self.filled &= !(1 << bin),
            None => self.heads[bin as usize] = next,
        }
        at
    }

    /// A run of at least so many units, out of its list.
    fn find(&mut self, units: u32) -> Option<u16> {
        let (own, above) = (bin(units), bin_above(units));
        if own != above && self.filled & (1 << own) != 0 {
            // Some of its own bin may be long enough.
            let (mut before, mut at) = (None, self.heads[own as usize]);
            while at != NONE {
                let link = self.links[usize::from(at)];
                if link.run.units >= units {
                    return Some(self.unlink(own, before));
                }
                (before, at) = (Some(at), link.next);
            }
        }
        let filled = self.filled.checked_shr(above).unwrap_or(0);
        (filled != 0).then(|| self.unlink(above + filled.trailing_zeros(), None))
    }

    /// Takes so many units from one of the shortest runs that have them.
    #[inline]
    pub(super) fn take(&mut self, units: u32) -> Option<Run> {
        let at = self.find(units)?;
        let link = &mut self.links[usize::from(at)];
        let taken = Run { first: link.run.first, units };
        link.run = Run { first: taken.first + units, units: link.run.units - units };
        if link.run.units >= SHORTEST {
            self.link(at);
        }
        Some(taken)
    }

    /// Whether there is a run of so many units.
    pub(super) fn has(&mut self, units: u32) -> bool {
        let Some(at) = self.find(units) else { return false };
        self.link(at);
        true
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_order_and_all_of_a_bin_above_fits() {
        let mut last = 0;
        for units in 1..1 << 16 {
            let this = bin(units);
            assert!(this == last || this == last + 1, "{units} units: bin {this} after {last}");
            assert!((this as usize) < BINS);
            let above = bin_above(units);
            assert!(above == this || above == this + 1);
            assert_eq!(above == this, units == 1 || bin(units - 1) < this, "{units} units");
            last = this;
        }
    }

    #[test]
    fn a_run_that_fits_is_found_and_what_is_left_of_it_stays() {
        let mut runs = Runs::default();
        let run = |first, units| Run { first, units };
        for run in [run(0, 40), run(100, 41), run(200, 60), run(300, 7)] {
            runs.add(run);
        }
        assert!(runs.has(60) && !runs.has(61));
        assert_eq!(runs.take(41), Some(run(100, 41)));
        assert_eq!(runs.take(41), Some(run(200, 41)));
        assert_eq!(runs.take(41), None);
        assert_eq!(runs.take(19), Some(run(241, 19)));
        assert_eq!(runs.take(20), Some(run(0, 20)));
        assert_eq!(runs.take(20), Some(run(20, 20)));
        assert_eq!(runs.take(1), None, "seven units are too few to be kept");
        runs.add(run(0, 32 << 10));
        assert_eq!(runs.take(32 << 10), Some(run(0, 32 << 10)));
        runs.add(run(0, 50));
        runs.clear();
        assert_eq!(runs.take(1), None);
    }

    #[test]
    fn no_unit_is_given_twice() {
        let mut runs = Runs::default();
        let mut used = vec![false; 4096];
        for at in 0..16 {
            runs.add(Run { first: at * 256, units: 256 - at });
        }
        let mut taken = 0;
        for step in 0..400_u32 {
            let units = 8 + step * 37 % 50;
            let Some(run) = runs.take(units) else { continue };
            assert_eq!(run.units, units);
            for unit in run.first..run.first + units {
                assert!(!std::mem::replace(&mut used[unit as usize], true), "unit {unit}");
            }
            taken += units;
        }
        assert!(taken > 3700, "{taken} units of 3976");
    }
}
