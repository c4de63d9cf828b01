//! A set of slabs, from which the lowest is taken first.

use sync::atomic::{AtomicU64, Ordering};

/// A set of slabs. What it says is a hint.
#[derive(Debug)]
pub(super) struct SlabSet(Box<[AtomicU64]>);

impl SlabSet {
    /// An empty set, for so many slabs.
    pub(super) fn new(slabs: usize) -> Self {
        Self((0..slabs.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn insert(&self, slab: usize) {
        // ORDERING: Release: who finds the slab sees why it is here.
        self.0[slab / 64].fetch_or(1 << (slab % 64), Ordering::Release);
    }

    pub(super) fn remove(&self, slab: usize) {
        let (word, bit) = (&self.0[slab / 64], 1 << (slab % 64));
        // ORDERING: AcqRel, so that what follows is not done before it; see `Pool::try_hold`.
        word.fetch_and(!bit, Ordering::AcqRel);
    }

    /// The lowest of those from `first` to `end`.
    pub(super) fn next(&self, first: usize, end: usize) -> Option<usize> {
        let words = self.0.iter().enumerate().take(end.div_ceil(64)).skip(first / 64);
        for (at, word) in words {
            let from = if at == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
            // ORDERING: Acquire pairs with the Release in `insert`.
            let found = word.load(Ordering::Acquire) & from;
            if found != 0 {
                return Some(at * 64 + found.trailing_zeros() as usize).filter(|&slab| slab < end);
            }
        }
        None
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_comes_first() {
        let set = SlabSet::new(200);
        assert_eq!(set.next(0, 200), None);
        for slab in [199, 63, 64, 128] {
            set.insert(slab);
        }
        assert_eq!(set.next(0, 200), Some(63));
        assert_eq!(set.next(64, 200), Some(64));
        assert_eq!(set.next(65, 200), Some(128));
        assert_eq!(set.next(129, 199), None);
        set.remove(63);
        assert_eq!(set.next(0, 64), None);
        assert_eq!(set.next(0, 65), Some(64));
    }
}
