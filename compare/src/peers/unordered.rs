//! dashmap: no order, so the bound of what an ordered map can reach.

use super::{Handle, Index};
use crate::keys::Key;
use crate::values::Value;
use dashmap::DashMap;

impl<K: Key, V: Value> Index<K, V> for DashMap<K, V> {
    type Handle<'a> = &'a Self;
    const ORDERED: bool = false;

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

impl<K: Key, V: Value> Handle<K, V> for &DashMap<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        DashMap::insert(self, key.clone(), value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        DashMap::get(self, key).map(|entry| *entry.value())
    }
    fn remove(&mut self, key: &K) -> bool {
        DashMap::remove(self, key).is_some()
    }
    fn scan(&mut self, _: &K, _: usize, _: impl FnMut(&K::View, &V)) {}
}
