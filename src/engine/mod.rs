//! The engine: one mapping table, the trees over it, and what every path through them shares.
//!
//! | file | what it does |
//! |---|---|
//! | `descent` | root to leaf; right links; helping unfinished SMOs on the way |
//! | `lookup` | one key in one page: records first, then the base page |
//! | `many` | many keys at once: their cache misses at the same time |
//! | `update` | the only retry loop: decide, reserve, install |
//! | `bulk` | many entries in ascending order, a leaf at a time |
//! | `consolidate` | chain to base page; when to split or merge |
//! | `past` | what leaves were, for the cuts of a tree in memory |
//! | `merged` | the entries of a leaf in order, records over base page |
//! | `scan` | one page of entries at a time, forward and back |
//! | `show` | the same where they lie, under a pin |
//! | `batch` | what a scan has read of one page |
//! | `neighbour` | the outermost entry of a range, exactly |
//! | `unread` | what of a range has not been read yet |
//! | `cursor` | what an iterator holds between two pages: entries, never a pin |
//!
//! The engine is generic over its [`Store`]: [`InMemory`](crate::memory::InMemory) has no log,
//! and everything that concerns versions, listing and paging is compiled away with it.

mod batch;
mod bulk;
mod consolidate;
mod cursor;
mod descent;
mod lookup;
mod many;
mod merged;
mod neighbour;
mod past;
mod scan;
mod show;
mod tree_core;
mod unread;
mod update;

pub(crate) use batch::{Batch, Shown};
pub(crate) use bulk::{Ascending, Item};
pub(crate) use consolidate::{FoldLimit, Folded, fence_excess};
pub(crate) use cursor::Cursor;
pub(crate) use descent::{Away, Covering, MISLED, Stop, Wanted};
pub(crate) use lookup::Found;
pub(crate) use many::GROUP;
pub(crate) use neighbour::{End, Span, Vacancy, within};
pub(crate) use past::{AsOf, Moment, Now, Past};
pub(crate) use scan::Wish;
pub(crate) use tree_core::{Count, SHARDS, TreeCore, shard};
pub(crate) use unread::Unread;
pub(crate) use update::{Change, Decision, Unseen};

use delta::{Base, Contents, Fill, Layout, Op, Position, Record, Shape, Sheet, uncounted};
use mapping::{
    Birth, Clock, DirtyList, PageBox, PageRef, PageWriter, RecordRef, Records, Table, TableFull,
    Unlinked, Word,
};
use sync::atomic::{AtomicU64, Ordering};
use sync::epoch::{Collector, Guard};
use types::PageId;

/// What lies under the index: nothing, or a log.
pub(crate) trait Store: Send + Sync + Sized + 'static {
    /// Whether records have versions and pages have places in a log.
    const DURABLE: bool;

    /// Whether the tree can have values that are not pages' own: whoever displaces one by a CAS has
    /// it then, and gives it to [`displaced`](Self::displaced).
    fn holds_values() -> bool {
        false
    }

    /// Bytes of the longest key.
    const MAX_KEY_BYTES: usize = types::limits::MAX_KEY_BYTES;

    /// What an operation can fail with; uninhabited in memory.
    type Error;

    /// Counts memory as it comes and goes; outlives the engine in deferred actions.
    type Meter: Meter;

    /// The meter.
    fn meter(&self) -> &Self::Meter;

    /// Whether a value with these flags is a handle that its page owns.
    fn owns(flags: u8) -> bool;

    /// Gives the ownership behind a handle back.
    fn release(handle: u64);

    /// Bytes that the value behind a handle takes, if that is counted. Its page is there still.
    fn weight(_handle: u64) -> usize {
        0
    }

    /// What asks for the memory of a value that is likely to be looked at soon, if values lie
    /// elsewhere than in their pages. Known where this is compiled.
    #[inline]
    fn ahead() -> Option<fn(&[u8])> {
        None
    }

    /// Takes a value that this thread, which is pinned, has displaced: at this version its key got
    /// another one, or none.
    fn displaced(_engine: &Engine<Self>, _value: &[u8], _hidden_at: u64, _guard: &Guard) {}

    /// Takes a value that was kept for cuts, and that none sees any more.
    fn dead(_engine: &Engine<Self>, _handle: u64) {}

    /// Gives every value back. Nobody else uses the engine any more.
    fn end(engine: &mut Engine<Self>);

    /// Called by every operation that writes, before it is pinned: waits for memory, or refuses.
    fn admit(engine: &Engine<Self>) -> Result<(), Self::Error>;

    /// Asked before each page by what walks over all of a tree: nobody waits for it any more if the
    /// store was closed.
    fn go_on(_engine: &Engine<Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Brings a page back from the log. Called unpinned.
    fn page_in(engine: &Engine<Self>, id: PageId) -> Result<(), Self::Error>;

    /// Looks at a leaf that is away without bringing it in: whether it has no entry in the range.
    /// Called unpinned.
    fn vacant(
        _engine: &Engine<Self>,
        _id: PageId,
        _span: Span<'_>,
    ) -> Result<Option<Vacancy>, Self::Error> {
        Ok(None)
    }

    /// The page was merged away and buried; its id can be freed when the store's conditions hold.
    fn buried(engine: &Engine<Self>, id: PageId, guard: &Guard);
}

/// Counts memory.
pub(crate) trait Meter: Clone + Send + 'static {
    /// Bytes that have come into use.
    fn add(&self, bytes: usize);
    /// Bytes that have gone.
    fn sub(&self, bytes: usize);

    /// Bytes that were taken are garbage now, until they are [`freed`](Self::freed). Others, which
    /// are counted elsewhere, become free with them. Says whether there is so much of it that it
    /// should be handed over at once.
    fn retire(&self, _bytes: usize, _others: usize) -> bool {
        false
    }

    /// Garbage was given back.
    fn freed(&self, bytes: usize) {
        self.sub(bytes);
    }
}

/// Sizes that shape the tree. Tests shrink them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A leaf above this many bytes of base page splits.
    pub(crate) leaf_bytes: usize,
    /// An inner page above this many bytes splits.
    pub(crate) inner_bytes: usize,
    /// Bytes of delta area that a leaf gets.
    pub(crate) area_bytes: usize,
    /// Children that an inner page may have even if it is above `inner_bytes` by their separators.
    pub(crate) min_children: usize,
}

/// Bytes that no page of more than two entries is meant to exceed, however long its keys are.
const MAX_BASE_BYTES: usize = 128 << 10;
/// Bytes of the largest record but for its key: a value in the page, as long as may be, and a head.
const MAX_UNKEYED_BYTES: usize = types::limits::MAX_INLINE_VALUE_BYTES + 64;
/// Pages that one page may have absorbed before a commit knows of it: each takes room in the page.
pub(crate) const MAX_ABSORBED: usize = 256;

impl Limits {
    /// What production uses for a layout.
    pub(crate) fn of(layout: Layout) -> Self {
        match layout {
            Layout::Fixed8 => {
                // Rounded up to what pages are multiples of, an area has 24 records in the mean.
                Self {
                    leaf_bytes: 4096 + 192,
                    inner_bytes: 4096,
                    area_bytes: 22 * 24,
                    min_children: 2,
                }
            }
            Layout::Var => {
                Self { leaf_bytes: 8192, inner_bytes: 8192, area_bytes: 2048, min_children: 24 }
            }
        }
    }

    fn page_bytes(self, level: u8) -> usize {
        if level == 0 { self.leaf_bytes } else { self.inner_bytes }
    }

    /// Bytes of base page above which a page of this shape splits (I15). Long fences and the list
    /// of absorbed pages do not count: they are bounded by themselves.
    pub(crate) fn split_above(self, shape: &Shape<'_>) -> usize {
        let fences = uncounted(shape.fence_bytes());
        self.page_bytes(shape.level) + fences + size_of_val(shape.absorbed)
    }

    /// Whether an inner page with this base is within bounds: by its bytes, or by having so few
    /// children that levels of smaller ones would pile up.
    pub(crate) fn inner_fits(self, shape: &Shape<'_>, children: usize, bytes: usize) -> bool {
        bytes <= self.split_above(shape)
            || children <= 2
            || (children <= self.min_children && bytes <= MAX_BASE_BYTES)
    }

    /// Bytes that a page of this shape never exceeds, its area and carried records included (I15):
    /// two leaves may have become one by a merge that the next write undoes, records that a cut
    /// keeps from being folded make a page split as its entries do, and an area has room for the
    /// record that it was made for.
    pub(crate) fn largest_page<S: Store>(self, shape: &Shape<'_>) -> usize {
        match shape.level {
            0 => {
                let record = S::MAX_KEY_BYTES + MAX_UNKEYED_BYTES;
                4 * (self.split_above(shape) + self.area_bytes + record)
                    + size_of::<PageId>() * 2 * MAX_ABSORBED
            }
            _ => self.split_above(shape).max(MAX_BASE_BYTES + shape.fence_bytes()),
        }
    }

    /// How full pages are that are made of sorted input, or cut out of a page that is too large.
    pub(crate) fn fill(self, level: u8) -> Fill {
        Fill {
            bytes: self.page_bytes(level) / 16 * 15,
            entries: if level == 0 { 1 } else { self.min_children },
            most_bytes: MAX_BASE_BYTES,
        }
    }

    /// A page below this many bytes asks to be merged.
    pub(crate) fn merge_below(self, level: u8) -> usize {
        self.page_bytes(level) / 4
    }

    /// Two pages are merged if they have at most this many bytes together.
    pub(crate) fn merge_up_to(self, level: u8) -> usize {
        self.page_bytes(level) / 10 * 7
    }
}

/// One mapping table and what all its trees share.
#[derive(Debug)]
pub(crate) struct Engine<S: Store> {
    /// Shared with deferred actions that give page ids back.
    pub(crate) table: std::sync::Arc<Table>,
    pub(crate) clock: Clock,
    /// Pages that have something for the next cut; in memory, where that writes nothing, pages that
    /// have a history.
    pub(crate) dirty: DirtyList,
    pub(crate) epoch: Collector,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) store: S,
    /// The last serial given to an SMO; the last token given to an eviction.
    serials: AtomicU64,
}

/// What has happened to the pages so far. Counters only; nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) consolidations: AtomicU64,
    pub(crate) splits: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) page_ins: AtomicU64,
    /// Records that a consolidation, a split or a merge has carried over because a cut was open or
    /// the log does not hold them yet.
    pub(crate) carried: AtomicU64,
    /// Entries that the list of pages with a history has got since it was gone through.
    pub(crate) histories: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The records of a chain with their versions, newest first.
pub(crate) type Versioned<'g> = Vec<(u64, Record<'g>)>;

impl<S: Store> Engine<S> {
    pub(crate) fn new(store: S, limits: Limits) -> Self {
        Self {
            table: std::sync::Arc::new(Table::new()),
            clock: Clock::new(1),
            dirty: DirtyList::new(),
            epoch: if S::DURABLE { Collector::of_stores() } else { Collector::new() },
            limits,
            counters: Counters::default(),
            store,
            serials: AtomicU64::new(0),
        }
    }

    pub(crate) fn pin(&self) -> Guard {
        self.epoch.pin()
    }

    /// Counts a page that has come into use.
    pub(crate) fn charge(&self, bytes: usize) {
        self.store.meter().add(bytes);
    }

    /// Counts a page that has not come into use after all.
    pub(crate) fn discharge(&self, bytes: usize) {
        self.store.meter().sub(bytes);
    }

    /// A number that no SMO or eviction of this process has had.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Puts a page on the dirty list for the running interval.
    pub(crate) fn list(&self, id: PageId) {
        if S::DURABLE {
            self.dirty.push(id, self.clock.now());
        }
    }

    /// The version of a record that was reached through its page's word, which is given one if it
    /// has none.
    #[inline]
    pub(crate) fn version(&self, id: PageId, page: PageRef<'_>, record: RecordRef<'_>) -> u64 {
        if S::DURABLE {
            mapping::stamp(record, page, id, &self.clock, &self.dirty)
        } else {
            mapping::date(record, &self.clock)
        }
    }

    /// A fresh tree's root: an empty leaf, listed. In memory it gets an area with its first entry:
    /// a map that stays empty is to be small.
    pub(crate) fn plant(&self, tree: u32, layout: Layout) -> Result<PageId, TableFull> {
        let id = self.table.allocate()?;
        let birth = self.smo_birth(tree, first_version::<S>());
        let (shape, contents) = (Shape::whole(layout), Contents::empty(layout));
        let page = if S::DURABLE {
            self.build(&shape, &contents, &[], 0, birth)
        } else {
            Self::build_of(&shape, &contents, &[], (contents.base_bytes(&shape), 0), birth)
        };
        self.charge(page.page().size_bytes());
        self.table.set_resident(id, page);
        self.list(id);
        Ok(id)
    }

    /// The birth of a page made by an SMO: it has a serial of its own, so that it will be written
    /// as an image.
    pub(crate) fn smo_birth(&self, tree: u32, base_version: u64) -> Birth {
        // 0 is no serial: it marks places that no page of this process was written to.
        let serial = (self.next_serial() % u64::from(u32::MAX)) as u32 + 1;
        Birth { base_version, serial, tree }
    }

    /// A page of this shape with these contents, and these records (newest first) on top.
    ///
    /// A leaf that is larger than a leaf may be, as one that comes back from the log or out of a
    /// merge can be, gets no area: the first writer that wants room in it splits it (I15).
    pub(crate) fn build(
        &self,
        shape: &Shape<'_>,
        contents: &Contents<'_>,
        carried: &[(u64, Record<'_>)],
        need: usize,
        birth: Birth,
    ) -> PageBox {
        let base_bytes = contents.base_bytes(shape);
        let room = if shape.level == 0 {
            let held = record_bytes(shape.layout, carried);
            let too_large = base_bytes > self.limits.split_above(shape) && contents.len() > 1;
            held + if too_large { 0 } else { self.limits.area_bytes.max(need) }
        } else {
            0
        };
        Self::build_of(shape, contents, carried, (base_bytes, room), birth)
    }

    /// The same, with as much area for new records as was asked for, and no more.
    pub(crate) fn build_exact(
        shape: &Shape<'_>,
        contents: &Contents<'_>,
        carried: &[(u64, Record<'_>)],
        need: usize,
        birth: Birth,
    ) -> PageBox {
        let room = record_bytes(shape.layout, carried) + need;
        Self::build_of(shape, contents, carried, (contents.base_bytes(shape), room), birth)
    }

    /// The same, with a base and an area of these sizes.
    #[inline]
    fn build_of(
        shape: &Shape<'_>,
        contents: &Contents<'_>,
        carried: &[(u64, Record<'_>)],
        (base_bytes, room): (usize, usize),
        birth: Birth,
    ) -> PageBox {
        let (layout, records) = (shape.layout, records_of(shape.layout));
        let mut page = NewPage(PageWriter::new(base_bytes, room, records, birth));
        contents.write(shape, &mut page);
        let sketch = Base::new(page.written()).sketch();
        let mut page = page.0.finish(sketch);
        let mut scratch = Vec::new();
        for (version, record) in carried.iter().rev() {
            scratch.clear();
            let fingerprint = delta::fingerprint(record.key);
            record.put_payload(layout, fingerprint, |bytes| scratch.extend_from_slice(bytes));
            let mark = record.mark(layout, Position::UNKNOWN);
            page.carry(*version, fingerprint, mark, &scratch);
        }
        page
    }

    /// Retires an unlinked page and the values that no page owns any more.
    pub(crate) fn retire(&self, page: Unlinked, dropped: Vec<u64>, guard: &Guard) {
        let (bytes, meter) = (page.page().size_bytes(), self.store.meter().clone());
        // A value apart from its page can have any size.
        let values = dropped.iter().map(|handle| S::weight(*handle)).sum();
        let much = meter.retire(bytes, values);
        if dropped.is_empty() {
            // Small enough that deferring it allocates nothing.
            page.retire(guard, move || meter.freed(bytes));
        } else {
            page.retire(guard, move || {
                meter.freed(bytes);
                dropped.into_iter().for_each(S::release);
            });
        }
        // Else a thread keeps up to some dozens of pages to itself before others may free them.
        if much || bytes > 16 << 10 {
            guard.flush();
        }
    }
}

/// A page that `delta` writes into the memory that `mapping` will publish.
struct NewPage(PageWriter);

impl Sheet for NewPage {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }

    #[inline]
    fn written(&mut self) -> &mut [u8] {
        self.0.written()
    }
}

/// The base version of the first leaf of a tree. In memory 0 stands for one that is not decided.
pub(crate) fn first_version<S: Store>() -> u64 {
    u64::from(!S::DURABLE)
}

/// How the records of pages in this layout lie.
#[inline]
fn records_of(layout: Layout) -> Records {
    match layout {
        Layout::Fixed8 => Records::Pairs,
        Layout::Var => Records::Sized,
    }
}

/// Bytes of the payload of a record in an area.
#[inline]
pub(crate) fn payload_len(layout: Layout, record: &Record<'_>) -> usize {
    Record::payload_len(layout, record.key.len(), record.value.len())
}

/// Bytes that these records take in the area of a page.
pub(crate) fn record_bytes(layout: Layout, carried: &[(u64, Record<'_>)]) -> usize {
    carried.iter().map(|(_, r)| records_of(layout).bytes(payload_len(layout, r))).sum()
}

/// What a record says.
#[inline]
pub(crate) fn change(record: RecordRef<'_>) -> Record<'_> {
    match record.records() {
        Records::Pairs => Record::pair(record.mark(), record.payload()),
        Records::Sized => Record::decode(record.payload()),
    }
}

/// The handle in a value that a page owns.
pub(crate) fn handle_of(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_le_bytes)
}

/// The handles among values that were left out of a page.
pub(crate) fn handles<S: Store>(dropped: &[(u8, &[u8])]) -> Vec<u64> {
    dropped.iter().filter(|(flags, _)| S::owns(*flags)).map(|(_, value)| handle_of(value)).collect()
}

impl<S: Store> Engine<S> {
    /// Makes a cleared id available once nobody who may know it is pinned any more.
    pub(crate) fn reuse_later(&self, id: PageId, guard: &Guard) {
        // Not an owner: the pages of a tree that was dropped must not wait for an epoch.
        let table = std::sync::Arc::downgrade(&self.table);
        guard.defer(move || {
            if let Some(table) = table.upgrade() {
                table.release(id);
            }
        });
    }

    /// Releases every value that a page owns. Nobody else uses the engine any more.
    pub(crate) fn release_values(&mut self) {
        let guard = self.pin();
        for number in 1..self.table.id_limit() {
            let Some(leaf) = self.resident_leaf(PageId::new(number), &guard) else { continue };
            let owned = |flags: u8, value: &[u8]| {
                if S::owns(flags) {
                    S::release(handle_of(value));
                }
            };
            leaf.base.entries().for_each(|entry| owned(entry.flags, entry.value));
            for record in leaf.chain.records().map(change) {
                if record.op == Op::Put {
                    owned(record.flags, record.value);
                }
            }
        }
    }

    /// Calls `take`, pinned, with every value that a page of this id has now.
    pub(crate) fn each_value(&self, id: PageId, take: impl FnMut(&[u8])) {
        let guard = self.pin();
        if let Some(leaf) = self.resident_leaf(id, &guard) {
            self.merged(&leaf, leaf.base.low()).map(|entry| entry.value).for_each(take);
        }
    }

    /// Whether a page of this id is a leaf now.
    pub(crate) fn is_leaf(&self, id: PageId) -> bool {
        self.resident_leaf(id, &self.pin()).is_some()
    }

    fn resident_leaf<'g>(&'g self, id: PageId, guard: &'g Guard) -> Option<Stop<'g>> {
        let Word::Resident(chain) = self.table.load(id, guard) else { return None };
        let base = Base::new(chain.base());
        base.is_leaf().then_some(Stop { id, chain, base, parent: PageId::NONE })
    }
}

impl<S: Store> Drop for Engine<S> {
    fn drop(&mut self) {
        S::end(self);
    }
}
