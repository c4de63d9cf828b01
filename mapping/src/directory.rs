//! The directory: which leaf a key was in, so that a search need not start at the root.
//!
//! It cuts the range of the keys into buckets of equal width, one or two for each leaf, and
//! remembers for each bucket the leaf that covers its beginning, and the one behind that if it
//! begins in the bucket, with the place where it does. What it says is a *hint*: whoever
//! follows it looks at the fences of the page that the id names now, and goes on to the right,
//! or starts at the root, where they do not cover the key. So a hint may be old, or name an id that
//! is free or was given to another page: under a pin an id that is Resident and covers the key is
//! the leaf of the key, however one came by it (I1, I12). An Unborn page counts as absent (A1).
//!
//! Buckets of equal width are of use where keys are spread evenly. Where they are not, many leaves
//! share a bucket and hints miss. Misses are counted, hits are not (a read writes nothing shared);
//! what misses more often than splits explain switches itself off until it is made anew: at the
//! split after which the tree has doubled, or by which it was asked for as many keys outside of its
//! range as it has buckets.
#![expect(unsafe_code, reason = "the hints are replaced as a whole and live as long as the pin")]

use core::fmt;
use core::ptr::{self, NonNull};
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
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
    /// Searches for keys that differ from the prefix, and were from the root.
    outside: AtomicU64,
    /// See [`Bucket`].
    buckets: Box<[AtomicU64]>,
}

/// What is known of a bucket, in a word: two page ids of 28 bits, 0 for none, and the place from 0
/// to 255 in the bucket where the second leaf begins.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bucket(u64);

const ID_BITS: u32 = 28;
const PLACE_BITS: u32 = 8;
/// The bits of the first id.
const FIRST: u64 = ((1 << ID_BITS) - 1) << PLACE_BITS;

impl Bucket {
    const EMPTY: Self = Self(0);

    #[inline]
    fn first(self) -> u32 {
        ((self.0 & FIRST) >> PLACE_BITS) as u32
    }

    #[inline]
    fn second(self) -> u32 {
        (self.0 >> (PLACE_BITS + ID_BITS)) as u32
    }

    #[inline]
    fn cut(self) -> u8 {
        self.0 as u8
    }

    /// The leaf for this place; 0 if none is known.
    #[inline]
    fn at(self, place: u8) -> u32 {
        if place > self.cut() && self.second() != 0 { self.second() } else { self.first() }
    }

    fn with_first(self, id: u32) -> Self {
        Self(self.0 & !FIRST | u64::from(id) << PLACE_BITS)
    }

    fn with_second(self, id: u32, cut: u8) -> Self {
        Self(self.0 & FIRST | u64::from(id) << (PLACE_BITS + ID_BITS) | u64::from(cut))
    }
}

impl Hints {
    fn new(leaves: u64, first: u64, last: u64) -> Self {
        let shared = (first ^ last).leading_zeros().min(63);
        // As many as leaves by the time that it is replaced, twice as many now.
        let bits = (leaves * 2).ilog2().min(64 - shared);
        let prefix = if shared == 0 { 0 } else { first & !(u64::MAX >> shared) };
        let buckets = (0..1_usize << bits).map(|_| AtomicU64::new(0)).collect();
        let none = || AtomicU64::new(0);
        Self { shared, prefix, bits, misses: none(), outside: none(), buckets }
    }

    /// The bucket of a key, and its place in it.
    #[inline]
    fn bucket(&self, key: u64) -> Option<(usize, u8)> {
        let rest = key ^ self.prefix;
        // Bits that differ from the prefix: the key is outside.
        let inside = rest.leading_zeros() >= self.shared;
        let rest = rest << self.shared;
        let place = (rest << self.bits >> (64 - PLACE_BITS)) as u8;
        inside.then(|| ((rest >> (64 - self.bits)) as usize, place))
    }

    #[inline]
    fn known(&self, at: usize) -> Bucket {
        // ORDERING: Relaxed; a hint is believed only after a look at the page.
        Bucket(self.buckets[at].load(Ordering::Relaxed))
    }

    fn set(&self, at: usize, bucket: Bucket) {
        self.buckets[at].store(bucket.0, Ordering::Relaxed);
    }

    /// The smallest key of a bucket.
    fn start(&self, bucket: usize) -> u64 {
        self.prefix | (bucket as u64) << (64 - self.bits) >> self.shared
    }

    /// Whether a new one would be of more use: there are more leaves than buckets, or keys outside
    /// of it, as where they rise. Each new one covers all keys that there are, so that a bit less
    /// is shared each time it is for those outside.
    fn is_outgrown(&self, leaves: u64) -> bool {
        let buckets = self.buckets.len() as u64;
        leaves > buckets || self.outside.load(Ordering::Relaxed) > buckets
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
        let (at, place) = hints.bucket(key)?;
        let id = hints.known(at).at(place);
        (id != 0).then(|| PageId::new(id))
    }

    /// The leaf `id`, which begins at `low`, was found to cover `key`, by a few steps to the right
    /// of the hint.
    pub fn learn(&self, key: u64, id: PageId, low: u64, guard: &Guard) {
        let Some(hints) = self.hints(guard) else { return };
        let Some((at, _)) = hints.bucket(key) else { return };
        let known = hints.known(at);
        let better = if low <= hints.start(at) {
            known.with_first(id.number())
        } else {
            let Some((_, cut)) = hints.bucket(low) else { return };
            // Of several leaves that begin in the bucket the first is remembered.
            if known.second() != 0 && cut > known.cut() {
                return;
            }
            known.with_second(id.number(), cut)
        };
        if better != known && id.number() < 1 << ID_BITS {
            hints.set(at, better);
        }
    }

    /// The same, from the root: there was no hint, or it was wrong.
    pub fn learn_anew(&self, key: u64, id: PageId, low: u64, guard: &Guard) {
        let Some(hints) = self.hints(guard) else { return };
        let Some((at, place)) = hints.bucket(key) else {
            // Once it is outgrown there is nothing more to count, and nothing shared to write.
            if !hints.is_outgrown(0) {
                hints.outside.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let known = hints.known(at);
        if known != Bucket::EMPTY {
            hints.misses.fetch_add(1, Ordering::Relaxed);
        }
        if hints.is_off() {
            if known != Bucket::EMPTY {
                hints.set(at, Bucket::EMPTY);
            }
            return;
        }
        // What was wrong is forgotten.
        let known = match known.at(place) {
            0 => known,
            id if id == known.first() => known.with_first(0),
            _ => known.with_second(0, 0),
        };
        hints.set(at, known);
        self.learn(key, id, low, guard);
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
            if !hints.is_outgrown(leaves) {
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
                if let Some((known, place)) = old.bucket(new.start(at)) {
                    let id = old.known(known).at(place);
                    bucket.store(Bucket::EMPTY.with_first(id).0, Ordering::Relaxed);
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
        assert_eq!((hints.shared, hints.bits), (56, 7));
        assert_eq!((hints.bucket(0x1200), hints.bucket(0x12ff)), (Some((0, 0)), Some((127, 128))));
        assert_eq!((hints.bucket(0x1300), hints.bucket(0x11ff)), (None, None));
        assert_eq!((hints.start(0), hints.start(127)), (0x1200, 0x12fe));
        let whole = Hints::new(64, 0, u64::MAX);
        assert_eq!((whole.shared, whole.bits), (0, 7));
        assert_eq!((whole.bucket(0), whole.bucket(u64::MAX)), (Some((0, 0)), Some((127, 255))));
        assert_eq!(whole.start(127), 127 << 57);
    }

    #[test]
    fn a_hint_is_of_one_of_two_leaves_of_a_bucket() {
        let (directory, collector) = (Directory::new(), Collector::new());
        let guard = collector.pin();
        (0..100).for_each(|_| directory.split(|| Some((0, u64::MAX)), &guard));
        let (key, step) = (1 << 60, 1 << 50);
        let hint = |place: u64| directory.hint(key + place * step, &guard).map(PageId::number);
        let learn = |place: u64, id, low: u64| {
            directory.learn(key + place * step, PageId::new(id), low, &guard);
        };
        assert_eq!(hint(0), None);
        learn(9, 7, key + 5 * step);
        assert_eq!((hint(4), hint(5), hint(6)), (None, None, Some(7)), "on its right it is sure");
        learn(3, 6, key - 5);
        assert_eq!((hint(4), hint(5), hint(6)), (Some(6), Some(6), Some(7)));
        learn(9, 8, key + 8 * step);
        assert_eq!(hint(9), Some(7), "the first that begins in it is remembered");
        learn(4, 9, key + 3 * step);
        assert_eq!((hint(3), hint(4), hint(9)), (Some(6), Some(9), Some(9)));

        // From the root: what was wrong is forgotten, and the other not.
        directory.learn_anew(key + 9 * step, PageId::new(5), key + 8 * step, &guard);
        assert_eq!((hint(3), hint(8), hint(9)), (Some(6), Some(6), Some(5)));
        directory.learn_anew(key, PageId::new(4), key, &guard);
        assert_eq!((hint(3), hint(8), hint(9)), (Some(4), Some(4), Some(5)));
        // Ids that are too large are not remembered.
        learn(0, 1 << 28, key);
        assert_eq!(hint(0), Some(4));
    }

    #[test]
    fn keys_that_rise_beyond_it_make_it_anew() {
        let (directory, collector) = (Directory::new(), Collector::new());
        let guard = collector.pin();
        (0..100).for_each(|_| directory.split(|| Some((0, 1000)), &guard));
        let found = |key| {
            directory.learn_anew(key, PageId::new(1), 0, &guard);
            directory.hint(key, &guard).is_some()
        };
        assert!(found(1000) && !found(1024), "1024 is outside");
        directory.split(|| Some((0, 1024)), &guard);
        assert!(!found(1024), "one does not count");
        (0..256).for_each(|_| assert!(!found(1024)));
        directory.split(|| Some((0, 1024)), &guard);
        assert!(found(1024) && found(2047) && !found(2048));
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
