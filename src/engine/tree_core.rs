//! What a tree is besides its pages: its root, its layout, and how many entries it has.

use core::cell::Cell;
use delta::Layout;
use mapping::{Directory, HashHints};
use std::sync::OnceLock;
use sync::CachePadded;
use sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use types::PageId;

/// What is counted by each thread for itself, or nearly, has so many counts.
#[cfg(not(any(loom, shuttle)))]
pub(crate) const SHARDS: usize = 16;
#[cfg(any(loom, shuttle))]
pub(crate) const SHARDS: usize = 1;

/// States of a tree; each is followed by the next, and only by that.
const LIVE: u8 = 0;
const DROPPED: u8 = 1;
const GONE: u8 = 2;

/// Entries of a tree, about, and how many of its pages are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) entries: i64,
    pub(crate) uncounted: u32,
}

/// Bits of a count that are entries; those above them count how often they were changed.
const ENTRIES_BITS: u32 = 40;

const CHANGE: i64 = 1 << ENTRIES_BITS;

/// The entries of a sum of counts.
fn entries_of(counted: i64) -> i64 {
    counted << (64 - ENTRIES_BITS) >> (64 - ENTRIES_BITS)
}

/// One tree. Its root keeps its page id for as long as the tree is there.
#[derive(Debug)]
pub(crate) struct TreeCore {
    pub(crate) id: u32,
    pub(crate) root: PageId,
    pub(crate) layout: Layout,
    /// Its name, of a tree in a store.
    pub(crate) name: Box<str>,
    /// Whether it was dropped, and whether its pages are being given back.
    state: AtomicU8,
    /// Entries that were counted while the tree was a leaf.
    first: AtomicI64,
    /// Those that were counted since, by threads: a small tree is not to take 2 KiB for this.
    entries: OnceLock<Box<[CachePadded<AtomicI64>; SHARDS]>>,
    /// Pages whose entries are not counted: records were written to them that nobody has compared
    /// with what is below them. Of a tree in a store.
    uncounted: AtomicU32,
    /// Hints to the leaves of a tree of numbers.
    pub(crate) directory: Directory,
    /// Hints to the leaves of a tree of keys of any length, in memory.
    pub(crate) hints: HashHints,
}

impl TreeCore {
    pub(crate) fn new(id: u32, root: PageId, layout: Layout) -> Self {
        let tree = Self {
            id,
            root,
            layout,
            name: Box::default(),
            state: AtomicU8::new(LIVE),
            first: AtomicI64::new(0),
            entries: OnceLock::new(),
            uncounted: AtomicU32::new(0),
            directory: Directory::new(),
            hints: HashHints::new(),
        };
        // Loom does not see that who finds the counts in their cell finds them whole.
        if cfg!(loom) {
            tree.grown();
        }
        tree
    }

    /// The tree with this name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Counts entries that have come (positive) or gone, pinned since these were installed.
    #[inline]
    pub(crate) fn count(&self, net: i64) {
        if net != 0 {
            let count = self.entries.get().map_or(&self.first, |entries| &entries[shard()]);
            count.fetch_add(net + CHANGE, Ordering::Relaxed);
        }
    }

    /// The sum of all counts: entries, and how often their number was changed.
    fn counted(&self) -> i64 {
        let shards = self.entries.get().into_iter().flat_map(|entries| entries.iter());
        let counts = shards.map(|shard| shard.load(Ordering::Relaxed));
        counts.fold(self.first.load(Ordering::Relaxed), i64::wrapping_add)
    }

    /// How often the number of entries was changed, modulo 2^24.
    pub(crate) fn changes(&self) -> u64 {
        let counted = self.counted();
        counted.wrapping_sub(entries_of(counted)) as u64 >> ENTRIES_BITS
    }

    /// The tree has grown by a level: from now on each thread counts for itself.
    pub(crate) fn grown(&self) {
        // Who comes second, at the next level, finds it there.
        self.entries.get_or_init(|| Box::new(core::array::from_fn(|_| CachePadded::default())));
    }

    /// The entries of one more page are not counted. Said before the page's word says so.
    pub(crate) fn uncounted_page(&self) {
        self.uncounted.fetch_add(1, Ordering::SeqCst);
    }

    /// The entries of one page are counted now. Said after they were added.
    pub(crate) fn counted_page(&self) {
        self.uncounted.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether there are pages whose entries are not counted.
    pub(crate) fn has_uncounted(&self) -> bool {
        self.uncounted.load(Ordering::SeqCst) > 0
    }

    /// Counts what a recovery has found of the tree.
    pub(crate) fn adopt(&self, found: Count) {
        self.count(found.entries);
        self.uncounted.fetch_add(found.uncounted, Ordering::SeqCst);
    }

    /// How many entries there are, as far as they are counted. Exact when no operation is under way
    /// and every page is counted.
    pub(crate) fn len(&self) -> u64 {
        entries_of(self.counted()).max(0) as u64
    }

    /// No operation of a user may begin any more: each looks at this under the pin of each attempt,
    /// and so does background work before it changes the shape of the tree.
    pub(crate) fn set_dropped(&self) {
        // ORDERING: SeqCst with the loads below: an attempt that is pinned after this sees it, and
        // pages are given back only after all that were pinned before are gone.
        self.state.store(DROPPED, Ordering::SeqCst);
    }

    /// The drop has failed, and nothing of it is to be seen.
    pub(crate) fn set_live(&self) {
        self.state.store(LIVE, Ordering::SeqCst);
    }

    /// Nothing may descend in it any more, and no commit writes it: the appender says so.
    pub(crate) fn set_gone(&self) {
        self.state.store(GONE, Ordering::SeqCst);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.state.load(Ordering::SeqCst) != LIVE
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state.load(Ordering::SeqCst) == GONE
    }
}

/// The count of this thread.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        // Nothing that has to be registered: one load tells.
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let shard = SHARD.get();
    if shard < SHARDS {
        return shard;
    }
    SHARD.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    SHARD.get()
}

/// The count of this thread.
#[cfg(any(loom, shuttle))]
pub(crate) fn shard() -> usize {
    let _: Option<Cell<AtomicUsize>> = None;
    0
}
