//! Peers that are tries: congee (an adaptive radix tree) and masstree (a trie of B+-trees).

use super::{Handle, Index};
use crate::keys::Key;
use crate::values::Value;
use masstree::{LeafPolicy, MassTreeGeneric, RangeBound, SeizeAllocator, TreeAllocator};

/// Congee: keys and values of 8 bytes.
pub(super) type Congee = congee::Congee<usize, usize>;

impl Index<u64, u64> for Congee {
    type Handle<'a> = &'a Self;

    fn with_room(_: usize) -> Self {
        Self::default()
    }
    fn handle(&self) -> &Self {
        self
    }
    fn count(&self) -> Option<usize> {
        None
    }
}

/// Entries of a scan that fit on the stack.
const SHORT_SCAN: usize = 128;

impl Handle<u64, u64> for &Congee {
    fn insert(&mut self, key: &u64, value: u64) {
        let inserted = Congee::insert(self, *key as usize, value as usize, &self.pin());
        assert!(inserted.is_ok(), "congee is out of memory");
    }
    fn get(&mut self, key: &u64) -> Option<u64> {
        Congee::get(self, &(*key as usize), &self.pin()).map(|value| value as u64)
    }
    fn remove(&mut self, key: &u64) -> bool {
        Congee::remove(self, &(*key as usize), &self.pin()).is_some()
    }
    fn scan(&mut self, start: &u64, count: usize, mut see: impl FnMut(&u64, &u64)) {
        let (mut short, mut long);
        let buffer = if count <= SHORT_SCAN {
            short = [(0, 0); SHORT_SCAN];
            &mut short[..count]
        } else {
            long = vec![(0, 0); count];
            &mut long[..]
        };
        let found = self.range(&(*start as usize), &usize::MAX, buffer, &self.pin());
        for (key, value) in &buffer[..found] {
            see(&(*key as u64), &(*value as u64));
        }
    }
}

/// Masstree, of values that lie in the leaf or of others.
type Mass<P> = MassTreeGeneric<P, SeizeAllocator<P>>;

impl<K: Key, V: Value, P> Index<K, V> for Mass<P>
where
    P: LeafPolicy<Value = V>,
    SeizeAllocator<P>: TreeAllocator<P> + Sync,
    Self: Sync,
{
    type Handle<'a> = &'a Self;

    fn with_room(_: usize) -> Self {
        Self::with_allocator(SeizeAllocator::new())
    }
    fn handle(&self) -> &Self {
        self
    }
    fn count(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl<K: Key, V: Value, P> Handle<K, V> for &Mass<P>
where
    P: LeafPolicy<Value = V>,
    SeizeAllocator<P>: TreeAllocator<P>,
{
    fn insert(&mut self, key: &K, value: V) {
        key.with_bytes(|key| Mass::insert(self, key, value));
    }
    fn get(&mut self, key: &K) -> Option<V> {
        key.with_bytes(|key| Mass::get(self, key))
    }
    fn remove(&mut self, key: &K) -> bool {
        key.with_bytes(|key| Mass::remove(self, key)).is_ok_and(|old| old.is_some())
    }
    fn scan(&mut self, start: &K, count: usize, mut see: impl FnMut(&K::View, &V)) {
        let guard = self.guard();
        let mut left = count;
        start.with_bytes(|start| {
            let visit = |key: &[u8], value: P::Output| {
                K::view_bytes(key, |key| see(key, &P::clone_value_from_output(&value)));
                left -= 1;
                left > 0
            };
            let start = RangeBound::Included(start);
            MassTreeGeneric::scan(self, start, RangeBound::Unbounded, visit, &guard);
        });
    }
}
