//! Peers whose readers take a lock: of a leaf (indexset, bf-tree), or of all.

use super::{Handle, Index, from};
use crate::keys::Key;
use crate::values::Value;
use bf_tree::{LeafInsertResult, LeafReadResult, ScanReturnField};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// `BTreeMap` of std, under one lock.
pub(super) type Locked<K, V> = RwLock<BTreeMap<K, V>>;

impl<K: Key, V: Value> Index<K, V> for Locked<K, V> {
    type Handle<'a> = &'a Self;

    fn with_room(_: usize) -> Self {
        Self::default()
    }
    fn handle(&self) -> &Self {
        self
    }
    fn count(&self) -> Option<usize> {
        Some(self.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

impl<K: Key, V: Value> Handle<K, V> for &Locked<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        let key = key.clone();
        self.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        self.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
    fn remove(&mut self, key: &K) -> bool {
        self.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let map = self.read().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in map.range::<K, _>(from(start)).take(count) {
            see(key.view(), value);
        }
    }
}

/// The concurrent map of indexset.
pub(super) type IndexSet<K, V> = indexset::concurrent::map::BTreeMap<K, V>;

impl<K: Key, V: Value> Index<K, V> for IndexSet<K, V> {
    type Handle<'a> = &'a Self;

    fn with_room(_: usize) -> Self {
        Self::new()
    }
    fn handle(&self) -> &Self {
        self
    }
    fn count(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl<K: Key, V: Value> Handle<K, V> for &IndexSet<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        IndexSet::insert(self, key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        IndexSet::get(self, key).map(|entry| entry.get().value)
    }
    fn remove(&mut self, key: &K) -> bool {
        IndexSet::remove(self, key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        for (key, value) in self.range::<K, _>(from(start)).take(count) {
            see(key.view(), value);
        }
    }
}

/// bf-tree as a cache that is large enough to hold all, so that it has no disk.
pub(super) struct BfTree(bf_tree::BfTree);

/// Bytes that an entry takes, apart from its key and value: metadata, and pages that are half full.
const BF_ENTRY_BYTES: usize = 64;

impl<K: Key, V: Value> Index<K, V> for BfTree
where
    Self: Sync,
{
    type Handle<'a> = &'a Self;
    const RESERVES: bool = true;

    fn with_room(entries: usize) -> Self {
        let entry = 2 * (K::MAX_BYTES + V::BYTES) + BF_ENTRY_BYTES;
        let room = (entries * entry).next_power_of_two().max(32 << 20);
        let mut config = bf_tree::Config::new(":cache:", room);
        config.cb_max_key_len(K::MAX_BYTES).cb_min_record_size(16);
        match bf_tree::BfTree::with_config(config, None) {
            Ok(tree) => Self(tree),
            Err(error) => panic!("bf-tree does not take its configuration: {error:?}"),
        }
    }
    fn handle(&self) -> &Self {
        self
    }
    fn count(&self) -> Option<usize> {
        None
    }
}

impl<K: Key, V: Value> Handle<K, V> for &BfTree {
    fn insert(&mut self, key: &K, value: V) {
        let done = key.with_bytes(|key| value.with_bytes(|value| self.0.insert(key, value)));
        assert_eq!(done, LeafInsertResult::Success, "bf-tree does not take {key:?}");
    }
    fn get(&mut self, key: &K) -> Option<V> {
        let mut buffer = [0; 128];
        match key.with_bytes(|key| self.0.read(key, &mut buffer)) {
            LeafReadResult::Found(bytes) => V::from_bytes(&buffer[..bytes as usize]),
            _ => None,
        }
    }
    fn remove(&mut self, key: &K) -> bool {
        key.with_bytes(|key| self.0.delete(key));
        true
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let both = ScanReturnField::KeyAndValue;
        let entries = start.with_bytes(|start| self.0.scan_with_count(start, count, both));
        let Ok(mut entries) = entries else { return };
        let mut buffer = [0; 256];
        while let Some((key, value)) = entries.next(&mut buffer) {
            let (key, value) = (&buffer[..key], V::from_bytes(&buffer[key..key + value]));
            let Some(value) = value else { return };
            K::view_bytes(key, |key| see(key, &value));
        }
    }
}
