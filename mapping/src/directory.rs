//! The directory: which leaf a key was in, so that a search need not start at the root.
//!
//! It cuts the range of the keys into buckets of equal width, two to four for each leaf, and
//! remembers for each bucket the leaf that covers its beginning. What it says is a *hint*: whoever
//! follows it looks at the fences of the page that the id names now, and goes on to the right,
//! or starts at the root, where they do not cover the key. So a hint may be old, or name an id that
//! is free or was given to another page: under a pin an id that is Resident and covers the key is
//! the leaf of the key, however one came by it (I1, I12). An Unborn page counts as absent (A1).
//!
//! Buckets of equal width are of use where keys are spread evenly. Where they are not, many leaves
//! share a bucket and hints miss. Misses are counted, hits are not (a read writes nothing shared);
//! what misses more often than splits explain switches itself off until the tree has doubled.
#![expect(unsafe_code, reason = "the hints are replaced as a whole and live as long as the pin")]

use core::fmt;
use core::ptr::{self, NonNull};
use sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use sync::epoch::Guard;
use types::PageId;

/// Leaves from which on a directory pays.
#[cfg(not(loom))]
const SMALLEST: u64 = 32;
#[cfg(loom)]
const SMALLEST: u64 = 2;

/// Misses that a bucket, and every split, are allowed.
const PATIENCE: u64 = 8;

/// The directory of a tree.
pub struct Directory {
    hints: AtomicPtr<Hints>,
    leaves: AtomicU64,
}

struct Hints {
    /// Leading bits that all keys share, and what they are.
    shared: u32,
    prefix: u64,
    /// Log2 of the number of buckets.
    bits: u32,
    misses: AtomicU64,
    buckets: Box<[AtomicU32]>,
}

impl Hints {
    fn new(leaves: u64, first: u64, last: u64) -> Self {
        let shared = (first ^ last).leading_zeros().min(63);
        // Twice as many as leaves by the time that it is replaced, four times as many now.
        let bits = (leaves * 4).ilog2().min(64 - shared);
        let prefix = if shared == 0 { 0 } else { first & !(u64::MAX >> shared) };
        let buckets = (0..1_usize << bits).map(|_| AtomicU32::new(0)).collect();
        Self { shared, prefix, bits, misses: AtomicU64::new(0), buckets }
    }

    /// The bucket of a key.
    #[inline]
    fn bucket(&self, key: u64) -> Option<usize> {
        let rest = key ^ self.prefix;
        // Bits that differ from the prefix: the key is outside.
        let inside = rest.leading_zeros() >= self.shared;
        inside.then(|| ((rest << self.shared) >> (64 - self.bits)) as usize)
    }

    /// The smallest key of a bucket.
    fn start(&self, bucket: usize) -> u64 {
        self.prefix | (bucket as u64) << (64 - self.bits) >> self.shared
    }

    fn is_off(&self) -> bool {
        self.misses.load(Ordering::Relaxed) > PATIENCE * self.buckets.len() as u64
    }
}

impl Directory {
    /// A directory without hints.
    pub fn new() -> Self {
        Self { hints: AtomicPtr::new(ptr::null_mut()), leaves: AtomicU64::new(1) }
    }

    #[inline]
    fn hints<'g>(&self, _guard: &'g Guard) -> Option<&'g Hints> {
        // ORDERING: Acquire pairs with the Release in `grow`.
        let hints = NonNull::new(self.hints.load(Ordering::Acquire))?;
        // SAFETY: replaced hints are retired under epochs, and the guard was taken before.
        Some(unsafe { hints.as_ref() })
    }

    /// The leaf that covers this key, or one to the left of it, or any other page.
    #[inline]
    pub fn hint(&self, key: u64, guard: &Guard) -> Option<PageId> {
        let hints = self.hints(guard)?;
        // ORDERING: Relaxed; a hint is believed only after a look at the page.
        let id = hints.buckets[hints.bucket(key)?].load(Ordering::Relaxed);
        (id != 0).then(|| PageId::new(id))
    }

    /// The leaf `id`, which begins at `low`, was found to cover `key`, by a few steps to the right
    /// of the hint.
    #[inline]
    pub fn learn(&self, key: u64, id: PageId, low: u64, guard: &Guard) {
        if let Some(hints) = self.hints(guard)
            && let Some(at) = hints.bucket(key)
            && low <= hints.start(at)
        {
            hints.buckets[at].store(id.number(), Ordering::Relaxed);
        }
    }

    /// The same, from the root: there was no hint, or it was wrong.
    pub fn learn_anew(&self, key: u64, id: PageId, low: u64, guard: &Guard) {
        let Some(hints) = self.hints(guard) else { return };
        let Some(at) = hints.bucket(key) else { return };
        let bucket = &hints.buckets[at];
        let known = bucket.load(Ordering::Relaxed) != 0;
        if known {
            hints.misses.fetch_add(1, Ordering::Relaxed);
        }
        if hints.is_off() {
            if known {
                bucket.store(0, Ordering::Relaxed);
            }
        } else if low <= hints.start(at) || !known {
            bucket.store(id.number(), Ordering::Relaxed);
        }
    }

    /// A leaf was split. `range` tells about the first and the last key of the tree; it is asked
    /// when there are so many more leaves that the directory is made anew.
    pub fn split(&self, range: impl FnOnce() -> Option<(u64, u64)>, guard: &Guard) {
        let leaves = self.leaves.fetch_add(1, Ordering::Relaxed) + 1;
        let old = self.hints.load(Ordering::Acquire);
        if let Some(hints) = self.hints(guard) {
            let _ = hints.misses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |misses| {
                // What is off stays off.
                (!hints.is_off()).then(|| misses.saturating_sub(PATIENCE))
            });
            if leaves * 2 <= hints.buckets.len() as u64 {
                return;
            }
        } else if leaves < SMALLEST {
            return;
        }
        let Some((first, last)) = range().filter(|(first, last)| first < last) else { return };
        let new = Hints::new(leaves, first, last);
        if let Some(old) = self.hints(guard).filter(|hints| !hints.is_off()) {
            // What covers the beginning of an old bucket is not far left of what is in it.
            for (at, bucket) in new.buckets.iter().enumerate() {
                if let Some(known) = old.bucket(new.start(at)) {
                    let id = old.buckets[known].load(Ordering::Relaxed);
                    bucket.store(id, Ordering::Relaxed);
                }
            }
        }
        let new = Box::into_raw(Box::new(new));
        let (order, fail) = (Ordering::AcqRel, Ordering::Relaxed);
        // ORDERING: Release publishes the hints.
        let (gone, used) = match self.hints.compare_exchange(old, new, order, fail) {
            Ok(old) => (old, true),
            Err(_) => (new, false),
        };
        let Some(gone) = NonNull::new(gone) else { return };
        // SAFETY: unlinked by the CAS, or never linked; this caller alone frees it.
        let gone = unsafe { Box::from_raw(gone.as_ptr()) };
        if used {
            guard.defer(move || drop(gone));
        }
    }

    /// Bytes of memory that the hints take.
    pub fn memory_bytes(&self, guard: &Guard) -> usize {
        self.hints(guard).map_or(0, |hints| size_of_val(&*hints.buckets))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(hints) = NonNull::new(self.hints.load(Ordering::Relaxed)) {
            // SAFETY: `&mut self`: nobody uses the hints, which came from a box.
            drop(unsafe { Box::from_raw(hints.as_ptr()) });
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use sync::epoch::Collector;

    #[test]
    fn buckets_cut_the_range_below_the_shared_prefix() {
        let hints = Hints::new(64, 0x1200, 0x12ff);
        assert_eq!((hints.shared, hints.bits), (56, 8));
        assert_eq!((hints.bucket(0x1200), hints.bucket(0x12ff)), (Some(0), Some(255)));
        assert_eq!((hints.bucket(0x1300), hints.bucket(0x11ff)), (None, None));
        assert_eq!((hints.start(0), hints.start(255)), (0x1200, 0x12ff));
        let whole = Hints::new(64, 0, u64::MAX);
        assert_eq!((whole.shared, whole.bits), (0, 8));
        assert_eq!((whole.bucket(0), whole.bucket(u64::MAX)), (Some(0), Some(255)));
        assert_eq!(whole.start(255), 255 << 56);
    }

    #[test]
    fn a_hint_is_of_the_leaf_that_covers_the_beginning_of_a_bucket() {
        let (directory, collector) = (Directory::new(), Collector::new());
        let guard = collector.pin();
        (0..100).for_each(|_| directory.split(|| Some((0, u64::MAX)), &guard));
        let key = 1 << 60;
        assert_eq!(directory.hint(key, &guard), None);
        directory.learn_anew(key + 9, PageId::new(7), key + 5, &guard);
        assert_eq!(directory.hint(key, &guard), Some(PageId::new(7)), "better than none");
        directory.learn_anew(key + 3, PageId::new(6), key - 5, &guard);
        assert_eq!(directory.hint(key, &guard), Some(PageId::new(6)));
        directory.learn_anew(key + 9, PageId::new(7), key + 5, &guard);
        assert_eq!(directory.hint(key, &guard), Some(PageId::new(6)), "not of the beginning");
    }

    #[test]
    fn what_misses_all_the_time_is_switched_off() {
        let (directory, collector) = (Directory::new(), Collector::new());
        let guard = collector.pin();
        (0..100).for_each(|_| directory.split(|| Some((0, u64::MAX)), &guard));
        for n in 0..10_000 {
            directory.learn_anew(n, PageId::new(1 + n as u32), n, &guard);
        }
        assert_eq!(directory.hint(5, &guard), None);
        directory.learn_anew(5, PageId::new(5), 0, &guard);
        assert_eq!(directory.hint(5, &guard), None, "and stays off");
    }
}
