//! Maps from entries, and what std's traits make of a map.

use super::Map;
use super::load::Stretch;
use crate::key::Key;
use core::fmt;

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// Inserts many entries, in the order in which they come: the one way in for all of them.
    pub(super) fn load(&self, entries: impl IntoIterator<Item = (K, V)>) {
        let mut stretch = Stretch::of(&self.shared);
        entries.into_iter().for_each(|(key, value)| stretch.push(&key, value));
    }

    fn with(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let map = Self::new();
        map.load(entries);
        map
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of two entries with the same key the later one counts.
impl<K: Key, V: Clone + Send + Sync + 'static> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::with(entries)
    }
}

/// Of two entries with the same key the later one counts.
impl<K: Key, V: Clone + Send + Sync + 'static, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        Self::with(entries)
    }
}

/// Inserts one entry after the other; values that keys have are replaced.
///
/// Once some keys in a row have ascended, those that follow are collected as long as they do, up to
/// 4096 of them, and go in together: faster, into pages that are nearly full, and each page's part
/// of them in one step. Until then nobody sees them. If the iterator panics, what it has given so
/// far is in the map.
impl<K: Key, V: Clone + Send + Sync + 'static> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.load(entries);
    }
}

/// As a shared map needs it: `(&map).extend(entries)`.
impl<K: Key, V: Clone + Send + Sync + 'static> Extend<(K, V)> for &Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.load(entries);
    }
}

impl<'a, K, V> Extend<(&'a K, &'a V)> for Map<K, V>
where
    K: Key + Copy,
    V: Copy + Send + Sync + 'static,
{
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.load(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<'a, K, V> Extend<(&'a K, &'a V)> for &Map<K, V>
where
    K: Key + Copy,
    V: Copy + Send + Sync + 'static,
{
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.load(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Key + fmt::Debug, V: Clone + Send + Sync + fmt::Debug + 'static> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
