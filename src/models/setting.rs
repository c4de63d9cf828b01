//! The setting of a model: a small tree, planted page by page, and its operations on byte keys.
//!
//! A tree of numbers has the same keys and values, each in the last of eight bytes: a model that
//! is given a layout runs in both.

use super::join;
use crate::engine::{
    Change, Decision, Engine, Found, Limits, Meter, Store, TreeCore, first_version,
};
use crate::memory::{InMemory, NoMeter};
use crate::paging::LogStore;
use core::cell::Cell;
use core::convert::Infallible;
use core::fmt::Debug;
use delta::{Base, Contents, Entry, Hashed, Layout, Number, Probe, Shape};
use gc::{Budget, Evictable, Evicted};
use lss::io::MemoryDisk;
use lss::{Log, Options, Recovered};
use std::sync::Arc;
use sync::atomic::{AtomicU64, Ordering};
use sync::epoch::Guard;
use types::PageId;

/// Area for one record with a one-byte key and value: each write consolidates its page.
pub(super) const ONE: usize = 32;

/// Pages that split at four entries of two bytes. They never merge.
pub(super) fn splitting(area_bytes: usize) -> Limits {
    Limits { leaf_bytes: 146, inner_bytes: 4096, area_bytes, min_children: 2 }
}

/// Pages that never split. With one entry or none they merge.
pub(super) fn merging(area_bytes: usize) -> Limits {
    Limits { leaf_bytes: 520, inner_bytes: 4096, area_bytes, min_children: 2 }
}

/// Pages that neither split nor merge.
pub(super) fn lasting(area_bytes: usize) -> Limits {
    Limits { leaf_bytes: 250, inner_bytes: 4096, area_bytes, min_children: 2 }
}

/// Area for one record of a tree of numbers.
pub(super) const PAIR: usize = 24;

/// Pages of numbers that split at four entries. They never merge: see [`splitting`].
pub(super) fn splitting_numbers(records: usize) -> Limits {
    Limits { leaf_bytes: 120, inner_bytes: 4096, area_bytes: records * PAIR, min_children: 2 }
}

/// Pages of numbers that never split. With one entry or none they merge: see [`merging`].
pub(super) fn merging_numbers(records: usize) -> Limits {
    Limits { leaf_bytes: 380, inner_bytes: 4096, area_bytes: records * PAIR, min_children: 2 }
}

/// Key or value of a tree in this layout.
fn bytes_of(layout: Layout, byte: &u8) -> Vec<u8> {
    match layout {
        Layout::Var => vec![*byte],
        Layout::Fixed8 => u64::from(*byte).to_be_bytes().to_vec(),
    }
}

/// What [`bytes_of`] has made bytes of.
fn byte_of(bytes: &[u8]) -> u8 {
    bytes.last().copied().unwrap_or_default()
}

/// The number of the only tree.
const TREE: u32 = 1;
/// The root is the first page.
pub(super) const ROOT: PageId = PageId::new(1);

/// A store with versions and without a log: models look at the cuts themselves.
#[derive(Debug)]
pub(super) struct Unlogged;

impl Store for Unlogged {
    const DURABLE: bool = true;
    type Error = Infallible;
    type Meter = NoMeter;

    fn meter(&self) -> &NoMeter {
        &NoMeter
    }

    fn owns(_flags: u8) -> bool {
        false
    }

    fn release(_handle: u64) {}

    fn admit(_engine: &Engine<Self>) -> Result<(), Infallible> {
        Ok(())
    }

    fn page_in(_engine: &Engine<Self>, _id: PageId) -> Result<(), Infallible> {
        Ok(())
    }

    fn buried(_engine: &Engine<Self>, _id: PageId, _guard: &Guard) {}

    fn end(_engine: &mut Engine<Self>) {}
}

/// A tree and its engine.
#[derive(Debug)]
pub(super) struct Setting<S: Store> {
    pub(super) engine: Engine<S>,
    pub(super) tree: Arc<TreeCore>,
}

/// In how many executions of a model something was done at all.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) consolidations: u64,
    pub(super) carried: u64,
    pub(super) splits: u64,
    pub(super) merges: u64,
}

impl Done {
    /// By what a model is called that is about it.
    pub(super) fn by_word(&self) -> [(&'static str, u64); 4] {
        [
            ("consolidate", self.consolidations),
            ("carry", self.carried),
            ("split", self.splits),
            ("merge", self.merges),
        ]
    }
}

std::thread_local! {
    /// All threads of a model are one for the system.
    static DONE: Cell<Done> = const {
        Cell::new(Done { consolidations: 0, carried: 0, splits: 0, merges: 0 })
    };
}

/// What was done since it was last asked.
pub(super) fn take_done() -> Done {
    DONE.take()
}

impl<S: Store> Drop for Setting<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let counters = &self.engine.counters;
        let some = |counter: &AtomicU64| u64::from(counter.load(Ordering::Relaxed) > 0);
        let mut done = DONE.get();
        done.consolidations += some(&counters.consolidations);
        done.carried += some(&counters.carried);
        done.splits += some(&counters.splits);
        done.merges += some(&counters.merges);
        DONE.set(done);
    }
}

/// A leaf to be planted: where it begins, and its keys, each with value 1.
pub(super) type Leaf<'a> = (u8, &'a [u8]);

/// How many leaves their root names: all, or it is the only one.
fn all(leaves: &[Leaf<'_>]) -> usize {
    if leaves.len() == 1 { 0 } else { leaves.len() }
}

impl Setting<InMemory<u64>> {
    pub(super) fn in_memory(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaves, all(leaves), Layout::Var))
    }

    /// The same, but the root does not name the last leaf: its split was not posted.
    pub(super) fn half_split(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaves, leaves.len() - 1, Layout::Var))
    }

    /// A tree of numbers.
    pub(super) fn of_numbers(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaves, all(leaves), Layout::Fixed8))
    }

    /// The same, but the root does not name the last leaf: its split was not posted.
    pub(super) fn half_split_numbers(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaves, leaves.len() - 1, Layout::Fixed8))
    }

    /// A tree of one leaf, with an inner page over it as its root.
    pub(super) fn under_a_root(limits: Limits, leaf: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaf, 1, Layout::Var))
    }

    /// The same of numbers.
    pub(super) fn numbers_under_a_root(limits: Limits, leaf: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(InMemory::new(), limits, leaf, 1, Layout::Fixed8))
    }

    /// A tree of numbers with a directory over the keys from `first` to `last`, which knows the
    /// leaves of the keys in `known`.
    pub(super) fn directed(
        limits: Limits,
        leaves: &[Leaf<'_>],
        (first, last): (u8, u8),
        known: &[u8],
    ) -> Arc<Self> {
        let it = Self::of_numbers(limits, leaves);
        let guard = it.engine.pin();
        let range = || Some((u64::from(first), u64::from(last)));
        (1..leaves.len().max(2)).for_each(|_| it.tree.directory.split(range, &guard));
        for &key in known {
            it.get(key);
            let hint = it.tree.directory.hint(u64::from(key), &guard);
            assert!(hint.is_some(), "no hint for key {key}");
        }
        it
    }
}

impl Setting<InMemory<u64>> {
    /// The hashes of these keys hint at the leaves that they are in.
    pub(super) fn hint_by_hash(&self, keys: &[u8]) {
        self.tree.hints.grow(1 << 10);
        for &key in keys {
            self.get(key);
            let hint = self.tree.hints.hint(delta::hash(&[key]));
            assert!(hint.is_some(), "no hint for key {key}");
        }
    }
}

impl Setting<Unlogged> {
    pub(super) fn unlogged(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Arc::new(Self::planted(Unlogged, limits, leaves, all(leaves), Layout::Var))
    }
}

/// A page that is planted by itself: a leaf with its keys, each with value 1, or an inner page with
/// its level and its children, each with the key from which on it is named; or one that was merged
/// into another one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Planted<'a> {
    Leaf(&'a [u8]),
    Inner(u8, &'a [(u8, u32)]),
    MergedInto(u32),
}

impl Setting<Unlogged> {
    /// A tree as a crash may leave it. Each page has its id, and where it begins; those of a level
    /// follow one another, and the one in front ends where the next one begins.
    pub(super) fn as_left(limits: Limits, pages: &[(u32, u8, Planted<'_>)]) -> Arc<Self> {
        let engine = Engine::new(Unlogged, limits);
        let tree = Arc::new(TreeCore::new(TREE, ROOT, Layout::Var));
        for number in 1..=pages.len() as u32 {
            assert_eq!(engine.table.allocate(), Ok(PageId::new(number)));
        }
        let level_of = |page: &Planted<'_>| match page {
            Planted::Leaf(_) => Some(0),
            Planted::Inner(level, _) => Some(*level),
            Planted::MergedInto(_) => None,
        };
        let bytes = |low: u8| if low == 0 { Vec::new() } else { vec![low] };
        for (at, (id, low, page)) in pages.iter().enumerate() {
            let level = level_of(page);
            let next = pages[at + 1..].iter().find(|next| level_of(&next.2) == level);
            let (low, high) = (bytes(*low), next.map(|next| bytes(next.1)));
            let entries: Vec<(Vec<u8>, Vec<u8>)> = match page {
                Planted::Leaf(keys) => keys.iter().map(|key| (vec![*key], vec![1])).collect(),
                Planted::Inner(_, children) => children
                    .iter()
                    .map(|(low, child)| {
                        let (value, len) = delta::child_value(Layout::Var, PageId::new(*child));
                        (bytes(*low), value[..len].to_vec())
                    })
                    .collect(),
                Planted::MergedInto(into) => {
                    engine.table.set_merged(PageId::new(*id), PageId::new(*into), 1);
                    continue;
                }
            };
            let entries: Vec<Entry<'_>> =
                entries.iter().map(|(key, value)| Entry::new(key, value)).collect();
            let shape = Shape {
                level: level.unwrap_or(0),
                low: &low,
                high: high.as_deref(),
                right: next.map_or(PageId::NONE, |next| PageId::new(next.0)),
                ..Shape::whole(Layout::Var)
            };
            plant(&engine, PageId::new(*id), &shape, &entries);
            if shape.level == 0 {
                tree.count(entries.len() as i64);
            }
        }
        Arc::new(Self { engine, tree })
    }
}

impl<S: Store> Setting<S> {
    /// An inner page that names some of the leaves is the root, and leaf `k` has page id `k + 2`;
    /// or it names none, and the root is the only leaf.
    fn planted(
        store: S,
        limits: Limits,
        leaves: &[Leaf<'_>],
        named: usize,
        layout: Layout,
    ) -> Self {
        let engine = Engine::new(store, limits);
        let tree = Arc::new(TreeCore::new(TREE, ROOT, layout));
        let whole = Shape::whole(layout);
        let lows: Vec<Vec<u8>> = leaves.iter().map(|leaf| bytes_of(layout, &leaf.0)).collect();
        let first = 1 + usize::from(named > 0);
        let id_of = |at: usize| PageId::new((first + at) as u32);
        for number in 1..first + leaves.len() {
            assert_eq!(engine.table.allocate(), Ok(PageId::new(number as u32)));
        }
        let one = bytes_of(layout, &1);
        for (at, (_, keys)) in leaves.iter().enumerate() {
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| bytes_of(layout, key)).collect();
            let entries: Vec<Entry<'_>> = keys.iter().map(|key| Entry::new(key, &one)).collect();
            let last = at + 1 == leaves.len();
            let shape = Shape {
                low: if at == 0 { &[] } else { &lows[at] },
                high: (!last).then(|| lows[at + 1].as_slice()),
                right: if last { PageId::NONE } else { id_of(at + 1) },
                ..whole
            };
            plant(&engine, id_of(at), &shape, &entries);
            tree.count(entries.len() as i64);
        }
        if named > 0 {
            let ids: Vec<([u8; 8], usize)> =
                (0..named).map(|at| delta::child_value(layout, id_of(at))).collect();
            let lowest: &[u8] = if layout == Layout::Fixed8 { &[0; 8] } else { &[] };
            let entries: Vec<Entry<'_>> = (0..named)
                .map(|at| {
                    Entry::new(if at == 0 { lowest } else { &lows[at] }, &ids[at].0[..ids[at].1])
                })
                .collect();
            plant(&engine, ROOT, &Shape { level: 1, ..whole }, &entries);
        }
        Self { engine, tree }
    }
}

fn plant<S: Store>(engine: &Engine<S>, id: PageId, shape: &Shape<'_>, entries: &[Entry<'_>]) {
    let mut bytes = vec![0; delta::base_bytes(shape, entries)];
    delta::write_base(shape, entries, &mut bytes);
    let contents = Contents::of(Base::new(&bytes));
    let page = engine.build(shape, &contents, &[], 0, engine.smo_birth(TREE, first_version::<S>()));
    engine.store.meter().add(page.page().size_bytes());
    engine.table.set_resident(id, page);
    engine.list(id);
}

impl<S: Store> Setting<S>
where
    S::Error: Debug,
{
    /// Gives `key` this value, and returns the one that it had.
    pub(super) fn put(&self, key: u8, value: u8) -> Option<u8> {
        let value = bytes_of(self.tree.layout, &value);
        self.set(key, Change::Put { flags: 0, value: &value })
    }

    pub(super) fn remove(&self, key: u8) -> Option<u8> {
        self.set(key, Change::Remove)
    }

    fn set(&self, key: u8, change: Change<'_>) -> Option<u8> {
        match self.tree.layout {
            Layout::Var => self.set_by(Hashed::new(&[key]), change),
            Layout::Fixed8 => self.set_by(number(key), change),
        }
    }

    fn set_by(&self, key: impl Probe, change: Change<'_>) -> Option<u8> {
        let decide = |found: Option<Found<'_>>| {
            Decision::Write(change, found.map(|found| byte_of(found.value)))
        };
        sure(self.engine.update(&self.tree, key, decide, &Cell::new(0)))
    }

    pub(super) fn get(&self, key: u8) -> Option<u8> {
        match self.tree.layout {
            Layout::Var => self.get_by(Hashed::new(&[key])),
            Layout::Fixed8 => self.get_by(number(key)),
        }
    }

    fn get_by(&self, key: impl Probe) -> Option<u8> {
        sure(self.engine.read(&self.tree, key, |found| found.map(|found| byte_of(found.value))))
    }

    /// The value that a key had as of a cut that is open.
    pub(super) fn get_as_of(&self, key: u8, cut: u64) -> Option<u8> {
        let read = |found: Option<Found<'_>>| found.map(|found| byte_of(found.value));
        sure(match self.tree.layout {
            Layout::Var => self.engine.read_as_of(&self.tree, &[key][..], cut, read),
            Layout::Fixed8 => self.engine.read_as_of(&self.tree, number(key), cut, read),
        })
    }

    /// Keys and values, page by page. Nobody may be writing if they are to be of one moment.
    pub(super) fn content(&self) -> Vec<(u8, u8)> {
        let mut from = Some(Vec::new());
        let mut entries = Vec::new();
        while let Some(key) = from {
            let (here, next) = sure(self.engine.retrying(|guard| {
                let leaf = self.engine.leaf(&self.tree, key.as_slice(), guard)?;
                let read = |entry: Entry<'_>| (byte_of(&entry.key.to_vec()), byte_of(entry.value));
                let here: Vec<_> = self.engine.merged(&leaf, leaf.base.low()).map(read).collect();
                Ok((here, leaf.base.high().map(<[u8]>::to_vec)))
            }));
            entries.extend(here);
            from = next;
        }
        entries
    }

    /// Every invariant that can be checked at rest holds, and the tree has just these entries.
    pub(super) fn expect(&self, entries: &[(u8, u8)]) {
        assert_eq!(self.content(), entries, "entries of the tree");
        if let Err(what) = sure(crate::verify::check_all(&self.engine, &self.tree)) {
            panic!("{what}");
        }
    }

    /// Tries to merge the page with this id, in which `key` lies.
    pub(super) fn merge(&self, id: PageId, key: u8) {
        let guard = self.engine.pin();
        let key = bytes_of(self.tree.layout, &key);
        let _away = self.engine.try_merge(&self.tree, id, &key, 0, &guard);
    }
}

/// A key of a tree of numbers.
pub(super) fn number(key: u8) -> Number {
    Number::new(u64::from(key).to_be_bytes())
}

fn sure<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("an operation fails: {error:?}"),
    }
}

/// A tree over a log in memory.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) disk: MemoryDisk,
    pub(super) setting: Setting<LogStore>,
}

fn opened(disk: &MemoryDisk) -> (LogStore, Recovered) {
    let options = Options {
        segment_bytes_min: 16 << 10,
        segment_bytes_max: 16 << 10,
        frame_bytes: 512,
        store_id: Some(1),
        ..Options::default()
    };
    let (log, recovered) = sure(Log::open(Arc::new(disk.clone()), options));
    (LogStore::new(log, Arc::new(Budget::new(1 << 20)), false), recovered)
}

impl Logged {
    /// A tree with these leaves, all of them committed.
    pub(super) fn new(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Self::naming(limits, leaves, all(leaves))
    }

    /// The same, but the root does not name the last leaf: its split was not posted.
    pub(super) fn half_split(limits: Limits, leaves: &[Leaf<'_>]) -> Arc<Self> {
        Self::naming(limits, leaves, leaves.len() - 1)
    }

    /// A tree of one leaf, with an inner page over it as its root.
    pub(super) fn under_a_root(limits: Limits, leaf: &[Leaf<'_>]) -> Arc<Self> {
        Self::naming(limits, leaf, 1)
    }

    fn naming(limits: Limits, leaves: &[Leaf<'_>], named: usize) -> Arc<Self> {
        let disk = MemoryDisk::new();
        let (store, recovered) = opened(&disk);
        let empty = Engine::new(store, limits);
        sure(empty.recover(recovered));
        drop(empty);
        let (store, _) = opened(&disk);
        let setting = Setting::planted(store, limits, leaves, named, Layout::Var);
        setting.engine.store.trees.insert(TREE, Arc::clone(&setting.tree));
        sure(setting.engine.store.log.appender().begin([], &[], 0));
        sure(setting.engine.sync());
        Arc::new(Self { disk, setting })
    }

    /// Gives `key` this value without reading its page, if that is away and this can be done.
    pub(super) fn put_blind(&self, key: u8, value: u8) {
        let Setting { engine, tree } = &self.setting;
        let (key, change) = ([key], Change::Put { flags: 0, value: &[value] });
        let record = change.record(&key, 0);
        let key = Hashed::new(&key);
        let blind = |away, guard: &Guard| engine.write_blind(tree, away, key, record, guard);
        let decide = |_: Option<Found<'_>>| Decision::Write(change, ());
        sure(engine.update_or(tree, key, decide, &Cell::new(0), blind));
    }

    /// Empties the leaves that are inside this range, and returns how many entries they had.
    pub(super) fn empty(&self, start: u8, end: u8) -> u64 {
        let Setting { engine, tree } = &self.setting;
        sure(engine.empty_some(tree, &[start], Some(&[end]))).entries
    }

    /// Tries to evict a page until it has no mark of a reader.
    pub(super) fn evict(&self, id: u32) {
        while self.setting.engine.try_evict(id) == Evicted::Referenced {}
    }

    /// The tree has these entries, and counts them.
    pub(super) fn expect(&self, entries: &[(u8, u8)]) {
        let Setting { engine, tree } = &self.setting;
        engine.count_pages(tree);
        assert_eq!(tree.len(), entries.len() as u64, "entries that are counted");
        self.setting.expect(entries);
        assert_eq!(tree.len(), entries.len() as u64, "entries that are counted");
    }

    /// Syncs, and returns what a crash right after that would leave.
    pub(super) fn sync(&self) -> MemoryDisk {
        sure(self.setting.engine.sync());
        MemoryDisk::with_files(self.disk.files())
    }

    /// Frees the ids of buried pages that can be freed.
    pub(super) fn free_buried(&self) {
        sure(self.setting.engine.free_buried());
    }
}

/// What a store that is opened on this disk has in its tree, after a check of the whole tree.
pub(super) fn recovered(disk: &MemoryDisk, limits: Limits) -> Vec<(u8, u8)> {
    let (store, recovered) = opened(disk);
    let engine = Engine::new(store, limits);
    let counts = sure(engine.recover(recovered));
    let tree = Arc::new(TreeCore::new(TREE, ROOT, Layout::Var));
    tree.adopt(counts.get(&TREE).copied().unwrap_or_default());
    engine.store.trees.insert(TREE, Arc::clone(&tree));
    let setting = Setting { engine, tree };
    // Before the pages are read: they are counted then, whatever the log says of them.
    setting.engine.count_pages(&setting.tree);
    let counted = setting.tree.len();
    let content = setting.content();
    assert_eq!(counted, content.len() as u64, "entries that the log counts");
    setting.expect(&content);
    assert_eq!(setting.tree.len(), content.len() as u64, "entries that are counted");
    content
}

/// Waits for two threads.
pub(super) fn join_both<A, B>(
    first: sync::thread::JoinHandle<A>,
    second: sync::thread::JoinHandle<B>,
) -> (A, B) {
    (join(first), join(second))
}
