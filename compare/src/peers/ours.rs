//! bwtree's map.

use super::{Handle, Index, from};
use crate::keys::Key;
use crate::values::Value;
use bwtree::Map;
use std::ops::ControlFlow;

impl<K: Key, V: Value> Index<K, V> for Map<K, V> {
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

impl<K: Key, V: Value> Handle<K, V> for &Map<K, V> {
    fn insert(&mut self, key: &K, value: V) {
        self.put(key, value);
    }
    fn get(&mut self, key: &K) -> Option<V> {
        Map::get(self, key)
    }
    fn remove(&mut self, key: &K) -> bool {
        Map::remove(self, key).is_some()
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let mut left = count;
        let _all = self.session().scan(from(start), |key, value| {
            if left > 0 {
                see(K::view_lent(key), value);
                left -= 1;
            }
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    fn get_many(&mut self, keys: &[K], found: &mut Vec<Option<V>>) {
        *found = self.multi_get(keys);
    }
}
