//! Peers whose readers take no latch and check afterwards, or are lock-free.

use super::{Handle, Index, from};
use crate::keys::Key;
use crate::values::Value;
use bplustree::BPlusTree;
use concurrent_map::ConcurrentMap;
use crossbeam_skiplist::SkipMap;
use scc::{Guard, TreeIndex};
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

impl<K: Key, V: Value> Index<K, V> for BPlusTree<K, V> {
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

impl<K: Key, V: Value> Handle<K, V> for &BPlusTree<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        BPlusTree::insert(self, key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        self.lookup(key, |value| *value)
    }
    fn remove(&mut self, key: &K) -> bool {
        BPlusTree::remove(self, key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let mut entries = self.raw_iter();
        entries.seek(start);
        for _ in 0..count {
            let Some((key, value)) = entries.next() else { return };
            see(key.view(), value);
        }
    }
}

impl<K: Key, V: Value> Index<K, V> for ferntree::Tree<K, V> {
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

impl<K: Key, V: Value> Handle<K, V> for &ferntree::Tree<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        self.insert_defer(key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        self.get_optimistic(key)
    }
    fn remove(&mut self, key: &K) -> bool {
        self.remove_defer(key)
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let mut entries = self.range(Bound::Included(start), Bound::Unbounded);
        for _ in 0..count {
            let Some((key, value)) = entries.next() else { return };
            see(key.view(), value);
        }
    }
}

/// A concurrent map, from which each thread takes a clone, as its documentation has it.
pub(super) struct Concurrent<K: Key, V: Value>(Mutex<ConcurrentMap<K, V>>);

impl<K: Key, V: Value> Index<K, V> for Concurrent<K, V> {
    type Handle<'a> = ConcurrentMap<K, V>;

    fn with_room(_: usize) -> Self {
        Self(Mutex::new(ConcurrentMap::new()))
    }
    fn handle(&self) -> ConcurrentMap<K, V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn count(&self) -> Option<usize> {
        None // Its own count lags.
    }
}

impl<K: Key, V: Value> Handle<K, V> for ConcurrentMap<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        Self::insert(self, key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        Self::get(self, key)
    }
    fn remove(&mut self, key: &K) -> bool {
        Self::remove(self, key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        for (key, value) in self.range::<K, _>(from(start)).take(count) {
            see(key.view(), &value);
        }
    }
}

impl<K: Key, V: Value> Index<K, V> for TreeIndex<K, V> {
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

impl<K: Key, V: Value> Handle<K, V> for &TreeIndex<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        self.upsert_sync(key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        self.peek_with(key, |_, value| *value)
    }
    fn remove(&mut self, key: &K) -> bool {
        self.remove_sync(key)
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let guard = Guard::new();
        for (key, value) in self.range::<K, _>(from(start), &guard).take(count) {
            see(key.view(), value);
        }
    }
    /// By its iterator: `range` from below the lowest key does not come back after many removals.
    fn all(&mut self, _: usize, mut see: impl FnMut(&K::View, &V)) {
        for (key, value) in self.iter(&Guard::new()) {
            see(key.view(), value);
        }
    }
}

impl<K: Key, V: Value> Index<K, V> for SkipMap<K, V> {
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

impl<K: Key, V: Value> Handle<K, V> for &SkipMap<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        SkipMap::insert(self, key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        SkipMap::get(self, key).map(|entry| *entry.value())
    }
    fn remove(&mut self, key: &K) -> bool {
        SkipMap::remove(self, key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        for entry in self.range::<K, _>(from(start)).take(count) {
            see(entry.key().view(), entry.value());
        }
    }
}
