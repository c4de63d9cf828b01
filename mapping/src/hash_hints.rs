//! Hash hints: which leaf a key of bytes was in, so that a search need not start at the root.
//!
//! What the [`Directory`](crate::Directory) is for numbers: what it says is believed only after a
//! look at the fences of the page, so it may be old, of another key, or lost. It knows keys by
//! their hash: a *set* of four entries each, and in an entry eight bits of the hash and the id.
//! What comes into a set pushes the oldest out: who is in the way is forgotten, and found by a
//! descent when it is looked for next.
//!
//! It grows with the tree, a *chunk* of sets at a time, as in linear hashing: the chunk that comes
//! is a copy of the one that has kept its keys so far. Half of what lies in either is of no use
//! then, and is pushed out in time. So no hash has to be known to grow, and nobody waits for it.

use core::fmt;
use std::sync::OnceLock;
use sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use types::PageId;

/// Keys from which on hints pay.
const FEWEST_KEYS: u64 = 1024;

/// Sets of a chunk.
#[cfg(not(any(loom, shuttle)))]
const SETS: usize = 1024;
#[cfg(any(loom, shuttle))]
const SETS: usize = 2;

/// Entries of a set: a quarter of a line of memory.
const WAYS: usize = 4;

/// Keys for each eight entries.
const KEYS_PER_EIGHT: u64 = 5;

/// Bits of an entry that are the id.
const ID_BITS: u32 = 24;

/// Chunks come in groups, each as large as all before it.
const GROUPS: usize = 24;

type Chunk = [[AtomicU32; WAYS]; SETS];
type Group = Box<[OnceLock<Box<Chunk>>]>;

/// The hints of a tree.
pub struct HashHints {
    /// Trees that have no use for hints, or have few keys, do without.
    groups: OnceLock<Box<[OnceLock<Group>; GROUPS]>>,
    chunks: AtomicUsize,
    /// Whether a thread is adding a chunk; others leave it to that one.
    growing: AtomicBool,
}

/// Where a chunk is: its group, and which it is in there.
#[inline]
fn place(chunk: usize) -> (usize, usize) {
    match chunk.checked_ilog2() {
        None => (0, 0),
        Some(bits) => (bits as usize + 1, chunk - (1 << bits)),
    }
}

/// The chunk of a hash, of so many.
#[inline]
fn chunk_of(hash: u64, chunks: usize) -> usize {
    let mask = chunks.next_power_of_two() - 1;
    let chunk = (hash as usize / SETS) & mask;
    // It has not come yet: its keys are in the one it will be a copy of.
    if chunk < chunks { chunk } else { chunk & (mask >> 1) }
}

/// What an entry has of a hash: eight bits of it that neither set nor chunk are told by.
#[inline]
fn mark(hash: u64) -> u32 {
    (hash >> 16) as u32 & (!0 << ID_BITS)
}

impl HashHints {
    /// No hints.
    pub fn new() -> Self {
        let groups = OnceLock::new();
        Self { groups, chunks: AtomicUsize::new(0), growing: AtomicBool::new(false) }
    }

    #[inline]
    fn chunk(&self, chunk: usize) -> Option<&Chunk> {
        let (group, at) = place(chunk);
        self.groups.get()?.get(group)?.get()?.get(at)?.get().map(|chunk| &**chunk)
    }

    #[inline]
    fn set(&self, hash: u64) -> Option<&[AtomicU32; WAYS]> {
        // ORDERING: Relaxed; a chunk is there or not, and what it says is looked at.
        let chunks = self.chunks.load(Ordering::Relaxed);
        if chunks == 0 {
            return None;
        }
        Some(&self.chunk(chunk_of(hash, chunks))?[hash as usize % SETS])
    }

    /// The leaf of the key with this hash, or any other page.
    #[inline]
    pub fn hint(&self, hash: u64) -> Option<PageId> {
        let mark = mark(hash);
        // ORDERING: Relaxed; a hint is believed only after a look at the page.
        let entries = self.set(hash)?.iter().map(|entry| entry.load(Ordering::Relaxed));
        let mut entries = entries.map(|entry| entry ^ mark);
        let id = entries.find(|id| id >> ID_BITS == 0 && *id != 0)?;
        Some(PageId::new(id))
    }

    /// The key with this hash was found in the leaf `id`.
    #[inline]
    pub fn learn(&self, hash: u64, id: PageId) {
        let (Some(set), mark) = (self.set(hash), mark(hash)) else { return };
        if id.number() >> ID_BITS != 0 {
            return;
        }
        let mut coming = mark | id.number();
        // Two threads at once may lose an entry or have one twice: no harm.
        for entry in set {
            let before = entry.load(Ordering::Relaxed);
            if before != coming {
                entry.store(coming, Ordering::Relaxed);
            }
            if (before ^ mark) >> ID_BITS == 0 {
                return;
            }
            coming = before;
        }
    }

    /// Adds a chunk if there are so many keys that one is needed.
    pub fn grow(&self, keys: u64) {
        let chunks = self.chunks.load(Ordering::Relaxed);
        let room = (chunks * SETS * WAYS) as u64 / 8 * KEYS_PER_EIGHT;
        // ORDERING: Acquire and Release hand the chunks from one who adds to the next.
        if keys < FEWEST_KEYS.max(room) || self.growing.swap(true, Ordering::Acquire) {
            return;
        }
        if self.chunks.load(Ordering::Relaxed) == chunks && self.add(chunks) {
            // ORDERING: Release; who sees the number finds the chunk, by its lock.
            self.chunks.store(chunks + 1, Ordering::Release);
        }
        self.growing.store(false, Ordering::Release);
    }

    /// Adds this chunk; nobody else adds one. `false` if there is no place for it.
    fn add(&self, chunk: usize) -> bool {
        let (group, at) = place(chunk);
        let groups = || Box::new(core::array::from_fn(|_| OnceLock::new()));
        let Some(group) = self.groups.get_or_init(groups).get(group) else { return false };
        let places = || (0..(chunk + 1).next_power_of_two().div_ceil(2)).map(|_| OnceLock::new());
        let Some(place) = group.get_or_init(|| places().collect()).get(at) else { return false };
        let parent = chunk.checked_ilog2().and_then(|bits| self.chunk(chunk - (1 << bits)));
        let copy = |set: usize, way: usize| {
            let known = parent.map_or(0, |parent| parent[set][way].load(Ordering::Relaxed));
            AtomicU32::new(known)
        };
        let made = (0..SETS).map(|set| core::array::from_fn(|way| copy(set, way)));
        let Ok(made) = made.collect::<Vec<_>>().into_boxed_slice().try_into() else { return false };
        place.set(made).is_ok()
    }

    /// Bytes of memory that the hints take.
    pub fn memory_bytes(&self) -> usize {
        self.chunks.load(Ordering::Relaxed) * size_of::<Chunk>()
    }
}

impl Default for HashHints {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HashHints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashHints")
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn spread(n: u64) -> u64 {
        let product = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (product >> 50) as u64
    }

    #[test]
    fn every_chunk_has_its_place() {
        let places: Vec<_> = (0..8).map(place).collect();
        let wanted = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (3, 3)];
        assert_eq!(places, wanted);
        for chunks in 1..40 {
            for n in 0..10_000 {
                assert!(chunk_of(spread(n), chunks) < chunks);
            }
        }
    }

    #[test]
    fn what_was_learnt_is_known_while_the_hints_grow() {
        let hints = HashHints::new();
        hints.learn(5, PageId::new(1));
        assert_eq!((hints.hint(5), hints.memory_bytes()), (None, 0), "too few keys");
        let (keys, mut known) = (200_000, 0);
        for n in 0..keys {
            hints.grow(n);
            hints.learn(spread(n), PageId::new(n as u32 % 1000 + 1));
        }
        let bytes = hints.memory_bytes() as u64;
        assert!(bytes * 10 > keys * 60 && bytes * 10 < keys * 68, "{bytes} bytes");
        for n in 0..keys {
            let hint = hints.hint(spread(n));
            known += u64::from(hint == Some(PageId::new(n as u32 % 1000 + 1)));
        }
        // Some are pushed out, more where a chunk was copied lately.
        assert!(known * 10 > keys * 7, "{known} of {keys}");
        for _ in 0..2 {
            for n in (0..keys).filter(|n| hints.hint(spread(*n)).is_none()) {
                hints.learn(spread(n), PageId::new(n as u32 % 1000 + 1));
            }
        }
        let known = (0..keys).filter(|n| hints.hint(spread(*n)).is_some()).count() as u64;
        assert!(known * 100 > keys * 88, "{known} of {keys}");
    }

    #[test]
    fn a_key_has_one_hint_the_last_one() {
        let hints = HashHints::new();
        hints.grow(1 << 20);
        for id in 1..100 {
            hints.learn(7, PageId::new(id));
            assert_eq!(hints.hint(7), Some(PageId::new(id)));
        }
        let others = [1 << 40, 2 << 40, 3 << 40];
        for other in others {
            hints.learn(7 ^ other, PageId::new(9));
        }
        assert_eq!(hints.hint(7), Some(PageId::new(99)), "a set has room for four");
        hints.learn(7, PageId::new(1 << 24));
        assert_eq!(hints.hint(7), Some(PageId::new(99)), "an id that is too large");
    }
}
