//! Many keys removed, one after the other. Each removal is one step; all of them together are not.

use super::bounds::{KeyRange, spanned};
use super::iter::Walk;
use super::{Map, Shared};
use crate::engine::{End, Span};
use crate::key::{EncodeKey, Key};
use crate::memory::Held;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use std::ops::Bound;

impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// Removes `key` if `wanted` says so of the value that it has: `seen` first, then whatever has
    /// come in its place.
    fn remove_if<K: Key>(
        &self,
        key: &K,
        mut seen: Held<V>,
        mut wanted: impl FnMut(&K, &V) -> bool,
    ) -> Option<Held<V>> {
        while wanted(key, seen.value()) {
            if self.exchange(key, Some(&seen), None).is_ok() {
                return Some(seen);
            }
            seen = self.held(key)?;
        }
        None
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// Removes every entry of which `keep` says no, one after the other.
    ///
    /// An entry is removed only if it still has the value that `keep` has seen; if that has
    /// changed, `keep` runs again, on the new one. It runs unpinned. If it panics, what was removed
    /// before stays removed. Entries inserted meanwhile may be passed over.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// Cost: `O(n)`, and `O(log n)` for each entry that is removed.
    ///
    /// ```
    /// let map: bwtree::Map<u32, u32> = (0..10).map(|key| (key, key * key)).collect();
    /// map.retain(|key, _| key % 2 == 0);
    /// assert!(map.keys().eq([0, 2, 4, 6, 8]));
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut walk = self.all();
        while let Some((key, seen)) = walk.entry::<K>(End::First) {
            let _removed = self.shared.remove_if(&key, seen, |key, value| !keep(key, value));
        }
        drop(walk);
        self.shared.look_after_all(());
    }

    fn all(&self) -> Walk<'_, V, Held<V>> {
        Walk::new(&self.shared, (Bound::Unbounded, Bound::Unbounded))
    }

    /// An iterator that removes the entries in `range` of which `wanted` says yes, and gives them.
    ///
    /// It removes an entry when it gives it, not before: what is not asked for stays, and so does
    /// everything else once the iterator is dropped. An entry is removed only if it still has the
    /// value that `wanted` has seen; if that has changed, `wanted` runs again, on the new one. It
    /// runs unpinned. If it panics, what was given before stays removed.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// Cost: as [`range`](Self::range), and `O(log n)` for each entry that is removed.
    ///
    /// # Panics
    /// As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')].into();
    /// let mut odd = map.extract_if(2.., |key, _| key % 2 == 1);
    /// assert_eq!(odd.next(), Some((3, 'c')));
    /// assert_eq!(odd.next(), None);
    /// assert!(map.keys().eq([1, 2, 4]));
    /// ```
    #[track_caller]
    pub fn extract_if<Q, R, F>(&self, range: R, wanted: F) -> ExtractIf<'_, K, V, F>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
        F: FnMut(&K, &V) -> bool,
    {
        let walk = spanned(range, |span| Walk::new(&self.shared, span));
        ExtractIf { walk, wanted, keys: PhantomData }
    }

    /// Removes every entry whose key lies in `range`, one after the other, and returns how many
    /// there were. Entries inserted meanwhile may stay.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// Cost: `O(log n)` for each entry.
    ///
    /// # Panics
    /// As [`range`](Self::range).
    ///
    /// ```
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b'), (3, 'c')].into();
    /// assert_eq!(map.remove_range(2..), 2);
    /// assert_eq!(map.len(), 1);
    /// ```
    #[track_caller]
    pub fn remove_range<Q, R>(&self, range: R) -> u64
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.remove_all(span))
    }

    /// Removes every entry, one after the other. Entries inserted meanwhile may stay. The values
    /// are dropped before this returns, but for those that a snapshot or another thread may see.
    ///
    /// LINEARIZES: each removal at the CAS of its leaf's page word; all together are not one step.
    ///
    /// Cost: `O(log n)` for each entry.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a'), (2, 'b')].into();
    /// map.clear();
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&self) {
        self.remove_all((Bound::Unbounded, Bound::Unbounded));
    }

    fn remove_all(&self, span: Span<'_>) -> u64 {
        let mut walk: Walk<'_, V, ()> = Walk::new(&self.shared, span);
        let removed = core::iter::from_fn(|| walk.key::<K>(End::First));
        let count = removed.filter(|key| self.shared.delete(key)).count() as u64;
        self.shared.look_after_all(count)
    }
}

/// Removes entries of a [`Map`] and gives them, from both ends; see [`Map::extract_if`].
#[must_use = "it removes what it gives, and gives what it is asked for"]
pub struct ExtractIf<'a, K, V: Clone + Send + Sync + 'static, F> {
    walk: Walk<'a, V, Held<V>>,
    wanted: F,
    keys: PhantomData<fn() -> K>,
}

impl<K: Key, V: Clone + Send + Sync + 'static, F: FnMut(&K, &V) -> bool> ExtractIf<'_, K, V, F> {
    fn step(&mut self, end: End) -> Option<(K, V)> {
        while let Some((key, seen)) = self.walk.entry::<K>(end) {
            if let Some(value) = self.walk.shared.remove_if(&key, seen, &mut self.wanted) {
                return Some((key, value.into_value()));
            }
        }
        None
    }
}

impl<K, V, F> Iterator for ExtractIf<'_, K, V, F>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
    F: FnMut(&K, &V) -> bool,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.step(End::First)
    }
}

impl<K, V, F> DoubleEndedIterator for ExtractIf<'_, K, V, F>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
    F: FnMut(&K, &V) -> bool,
{
    fn next_back(&mut self) -> Option<(K, V)> {
        self.step(End::Last)
    }
}

impl<K, V, F> FusedIterator for ExtractIf<'_, K, V, F>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
    F: FnMut(&K, &V) -> bool,
{
}

impl<K, V: Clone + Send + Sync + 'static, F> fmt::Debug for ExtractIf<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtractIf")
    }
}
