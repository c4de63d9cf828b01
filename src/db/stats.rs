//! What a store holds and has done.

use super::Db;
use crate::engine::TreeCore;
use gc::Category;
use sync::atomic::Ordering;
use types::PageId;

/// What a store holds and has done, at about one moment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The trees, by name.
    pub trees: Vec<TreeStats>,
    /// Pages of all trees, in memory or not.
    pub pages: u64,
    /// Pages in memory.
    pub resident_pages: u64,
    /// Bytes in the log that are live.
    pub live_bytes: u64,
    /// Bytes of the log's files.
    pub disk_bytes: u64,
    /// Bytes of the log's files that are not live.
    pub dead_bytes: u64,
    /// Stores that are open for reading only beside this one, in any process.
    pub readers: u64,
    /// Bytes of the log's files that are kept for these alone, and given back when they are closed;
    /// of a store that is open for reading only, those in which nothing is live.
    pub held_bytes: u64,
    /// Bytes of the log's files that are kept free, so that removals, cleaning and closing work on
    /// a full disk. No cleaning gives them back. Unknown to a store that is open for reading only.
    pub reserve_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes written to the log since it was opened.
    pub bytes_written: u64,
    /// Bytes of keys and values that were written since the store was opened.
    pub user_bytes_written: u64,
    /// Of the bytes written to the log, those that cleaning wrote.
    pub cleaning_bytes_written: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Commits.
    pub commits: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Consolidations of leaves.
    pub consolidations: u64,
    /// Splits of pages.
    pub splits: u64,
    /// Merges of pages.
    pub merges: u64,
    /// Records that consolidations could not fold, because a commit under way does not have them,
    /// or because the log did not yet.
    pub records_carried: u64,
    /// Pages that were evicted.
    pub evictions: u64,
    /// Pages that were brought back.
    pub page_ins: u64,
    /// Writes to pages that were not in memory and were not read for them, see
    /// [`Tree::put`](super::Tree::put).
    pub blind_writes: u64,
    /// Pages that could not be read when they were wanted, and have not been given up since.
    pub damaged_pages: u64,
    /// Memory, by what holds it.
    pub memory: MemoryStats,
    /// The version up to which all writes are durable.
    pub durable_version: u64,
}

/// One tree.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TreeStats {
    /// Its name.
    pub name: String,
    /// Its entries, as far as they are counted without reading pages, see
    /// [`Tree::len`](super::Tree::len).
    pub entries: u64,
    /// Its pages that the log knows.
    pub pages: u64,
    /// Its levels; 0 if its root cannot be read.
    pub depth: u32,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The budget.
    pub budget: u64,
    /// Pages, with those that wait for their epoch, and what lies free between them.
    pub pages: u64,
    /// The mapping table.
    pub table: u64,
    /// Separated values.
    pub values: u64,
    /// Frames of the log that are not written yet, and the lists of commits, at most.
    pub log: u64,
    /// All of it.
    pub total: u64,
}

pub(super) fn stats(db: &Db) -> Stats {
    let engine = &db.inner.engine;
    let (log, counters) = (&engine.store.log, &engine.counters);
    let written = log.counters();
    let budget = &engine.store.budget;
    let mut by_tree = std::collections::HashMap::<u32, u64>::new();
    // As many as could be listed.
    let (readers, held) = log.look_for_readers().unwrap_or_default();
    let (mut pages, mut resident_pages) = (0, 0);
    let guard = engine.pin();
    for id in (1..engine.table.id_limit()).map(PageId::new) {
        let place = engine.place_without_lists(id, &guard).filter(|place| !place.is_merged());
        let resident = matches!(engine.table.load(id, &guard), mapping::Word::Resident(_));
        pages += u64::from(resident || place.is_some());
        resident_pages += u64::from(resident);
        if let Some(place) = place {
            *by_tree.entry(place.tree).or_default() += 1;
        }
    }
    drop(guard);
    let trees = db.inner.catalog.trees(engine).unwrap_or_default();
    let depth = |core: &TreeCore, pages: u64| match engine.table.load(core.root, &engine.pin()) {
        mapping::Word::Resident(chain) => u32::from(delta::Base::new(chain.base()).level()) + 1,
        // It has no level above its only page, which need not be read for that.
        _ if pages == 1 => 1,
        _ => engine.top_level(core).map_or(0, |top| u32::from(top) + 1),
    };
    let pages_of = |core: &TreeCore| by_tree.get(&core.id).copied().unwrap_or(0);
    let read = |counter: &sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Stats {
        trees: trees
            .into_iter()
            .map(|(name, core)| TreeStats {
                name,
                entries: core.len(),
                depth: depth(&core, pages_of(&core)),
                pages: pages_of(&core),
            })
            .collect(),
        pages,
        resident_pages,
        live_bytes: log.live_bytes(),
        disk_bytes: log.disk_bytes(),
        dead_bytes: log.disk_bytes().saturating_sub(log.live_bytes()),
        readers: readers as u64,
        held_bytes: held.bytes,
        reserve_bytes: log.spare_bytes(),
        segments: log.segments().len() as u64,
        bytes_written: written.bytes_written,
        user_bytes_written: read(&engine.store.user_bytes),
        cleaning_bytes_written: read(&engine.store.cleaning_bytes),
        syncs: written.syncs,
        commits: written.commits,
        checkpoints: written.checkpoints,
        consolidations: read(&counters.consolidations),
        splits: read(&counters.splits),
        merges: read(&counters.merges),
        records_carried: read(&counters.carried),
        evictions: read(&counters.evictions),
        page_ins: read(&counters.page_ins),
        blind_writes: read(&engine.store.blind_writes),
        damaged_pages: engine.store.damaged_pages(),
        memory: MemoryStats {
            budget: budget.limit_bytes(),
            pages: [Category::Pages, Category::Garbage, Category::Slack]
                .map(|category| budget.held_bytes(category))
                .iter()
                .sum(),
            table: budget.held_bytes(Category::Table),
            values: budget.held_bytes(Category::Values),
            log: budget.held_bytes(Category::Log),
            total: budget.total(),
        },
        durable_version: log.durable_version(),
    }
}
