//! What a tree is besides its pages: its root, its layout, and how many entries it has.

use core::cell::Cell;
use delta::Layout;
use mapping::{Directory, HashHints};
use sync::CachePadded;
use sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use types::PageId;

/// What is counted by each thread for itself, or nearly, has so many counts.
#[cfg(not(any(loom, shuttle)))]
pub(crate) const SHARDS: usize = 16;
#[cfg(any(loom, shuttle))]
pub(crate) const SHARDS: usize = 1;

/// One tree. Its root keeps its page id for ever.
#[derive(Debug)]
pub(crate) struct TreeCore {
    pub(crate) id: u32,
    pub(crate) root: PageId,
    pub(crate) layout: Layout,
    /// No operation may begin on it any more; checked under the pin of each attempt.
    dropped: AtomicBool,
    entries: [CachePadded<AtomicI64>; SHARDS],
    /// Hints to the leaves of a tree of numbers.
    pub(crate) directory: Directory,
    /// Hints to the leaves of a tree of keys of any length, in memory.
    pub(crate) hints: HashHints,
}

impl TreeCore {
    pub(crate) fn new(id: u32, root: PageId, layout: Layout) -> Self {
        let entries = core::array::from_fn(|_| CachePadded::new(AtomicI64::new(0)));
        Self {
            id,
            root,
            layout,
            dropped: AtomicBool::new(false),
            entries,
            directory: Directory::new(),
            hints: HashHints::new(),
        }
    }

    /// Counts entries that have come (positive) or gone.
    #[inline]
    pub(crate) fn count(&self, net: i64) {
        if net != 0 {
            self.entries[shard()].fetch_add(net, Ordering::Relaxed);
        }
    }

    /// How many entries there are. Exact when no operation is under way.
    pub(crate) fn len(&self) -> u64 {
        let sum: i64 = self.entries.iter().map(|shard| shard.load(Ordering::Relaxed)).sum();
        sum.max(0) as u64
    }

    pub(crate) fn set_dropped(&self) {
        // ORDERING: SeqCst with the load below: an attempt that is pinned after this sees it, and
        // the root is used again only after all that were pinned before are gone.
        self.dropped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
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
