//! The peers: what an index must do to be measured, and the list of them.
//!
//! Each peer is used through its plain interface: a guard, if it wants one, is taken for one
//! operation. The measuring code is generic over the peer, so that no call is dynamic.

mod latched;
mod optimistic;
mod ours;
mod radix;
mod unordered;

use crate::index::{Cell, CellOptions, measure};
use crate::keys::{Key, KeySet};
use crate::values::{Value, Wide};

/// A map that threads share.
pub(crate) trait Index<K: Key, V: Value>: Sync + Sized {
    /// What one thread uses the map through.
    type Handle<'a>: Handle<K, V>
    where
        Self: 'a;
    /// Whether it has an order; without one it is not asked for scans.
    const ORDERED: bool = true;
    /// Whether it takes its memory in advance, so that heap bytes tell nothing.
    const RESERVES: bool = false;

    /// An empty map; a map that must be told its size in advance is told `entries`.
    fn with_room(entries: usize) -> Self;
    /// For one thread.
    fn handle(&self) -> Self::Handle<'_>;
    /// Entries, if the map can tell without a scan.
    fn count(&self) -> Option<usize>;
}

/// A map, seen from one thread.
pub(crate) trait Handle<K: Key, V: Value> {
    /// Inserts a key or replaces its value.
    fn insert(&mut self, key: &K, value: V);
    /// A copy of the value.
    fn get(&mut self, key: &K) -> Option<V>;
    /// Removes a key; whether it was there, which a map that does not say takes for granted.
    fn remove(&mut self, key: &K) -> bool;
    /// Shows at most `count` entries from `from` on.
    fn scan(&mut self, from: &K, count: usize, see: impl FnMut(&K::View, &V));

    /// Shows all entries, of which there should be `count`.
    fn all(&mut self, count: usize, see: impl FnMut(&K::View, &V)) {
        self.scan(&K::lowest(), count + 1, see);
    }

    /// The values of several keys, in `found`.
    fn get_many(&mut self, keys: &[K], found: &mut Vec<Option<V>>) {
        found.clear();
        for key in keys {
            found.push(self.get(key));
        }
    }
}

/// Everything from a key on.
fn from<K>(key: &K) -> (std::ops::Bound<&K>, std::ops::Bound<&K>) {
    (std::ops::Bound::Included(key), std::ops::Bound::Unbounded)
}

/// A peer as the command line and the tables know it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: &'static str,
    /// The package whose version is told.
    pub(crate) package: &'static str,
    /// The only keys that it takes, if it does not take all.
    only_u64_to_u64: bool,
}

impl Peer {
    const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package, only_u64_to_u64: false }
    }

    /// Why it cannot be measured with such keys and values.
    pub(crate) fn refuses(&self, keys: KeySet, value_bytes: usize) -> Option<&'static str> {
        let plain = keys != KeySet::Strings && value_bytes == u64::BYTES;
        (self.only_u64_to_u64 && !plain).then_some("takes 8-byte keys and values only")
    }
}

/// All peers, in the order of the tables.
pub(crate) const PEERS: &[Peer] = &[
    Peer::new("bwtree", "bwtree"),
    Peer::new("bplustree", "bplustree"),
    Peer { only_u64_to_u64: true, ..Peer::new("congee", "congee") },
    Peer::new("indexset", "indexset"),
    Peer::new("ferntree", "ferntree"),
    Peer::new("concurrent-map", "concurrent-map"),
    Peer::new("scc", "scc"),
    Peer::new("skiplist", "crossbeam-skiplist"),
    Peer::new("masstree", "masstree"),
    Peer::new("bf-tree", "bf-tree"),
    Peer::new("rwlock-btreemap", "std"),
    Peer::new("dashmap", "dashmap"),
];

/// Measures the peer that the options name.
pub(crate) fn dispatch(
    options: &CellOptions,
    count: Option<crate::CountBytes>,
) -> Result<Cell, String> {
    let wide = options.value == Wide::BYTES;
    match (options.keys, wide) {
        (KeySet::Strings, false) => any::<String, u64, masstree::MassTree<u64>>(options, count),
        (KeySet::Strings, true) => any::<String, Wide, masstree::MassTree15<Wide>>(options, count),
        (_, true) => any::<u64, Wide, masstree::MassTree15<Wide>>(options, count),
        (_, false) if options.peer == "congee" => {
            measure::<u64, u64, radix::Congee>(options, count)
        }
        (_, false) => any::<u64, u64, masstree::MassTree<u64>>(options, count),
    }
}

/// The peers that take any key and value; masstree has one type for small values, one for others.
fn any<K: Key, V: Value, Mass: Index<K, V>>(
    options: &CellOptions,
    count: Option<crate::CountBytes>,
) -> Result<Cell, String> {
    match options.peer.as_str() {
        "bwtree" => measure::<K, V, bwtree::Map<K, V>>(options, count),
        "bplustree" => measure::<K, V, bplustree::BPlusTree<K, V>>(options, count),
        "indexset" => measure::<K, V, latched::IndexSet<K, V>>(options, count),
        "ferntree" => measure::<K, V, ferntree::Tree<K, V>>(options, count),
        "concurrent-map" => measure::<K, V, optimistic::Concurrent<K, V>>(options, count),
        "scc" => measure::<K, V, scc::TreeIndex<K, V>>(options, count),
        "skiplist" => measure::<K, V, crossbeam_skiplist::SkipMap<K, V>>(options, count),
        "masstree" => measure::<K, V, Mass>(options, count),
        "bf-tree" => measure::<K, V, latched::BfTree>(options, count),
        "rwlock-btreemap" => measure::<K, V, latched::Locked<K, V>>(options, count),
        "dashmap" => measure::<K, V, dashmap::DashMap<K, V>>(options, count),
        other => Err(format!("no peer {other}, or it does not take such keys or values")),
    }
}
