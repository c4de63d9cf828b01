//! Many entries on their way into a map: what comes in ascending order goes in together.
//!
//! An entry is put as it comes, until some in a row have ascended: from then on they are collected.
//! A stretch of them is put when a key comes that does not ascend, when there are very many, and in
//! the end, also if the end is a panic of who makes the entries: so none is lost. Of two entries in
//! a row with the same key the later one counts.

use super::fresh::Fresh;
use super::{Shared, sure};
use crate::engine::{Ascending, Item};
use crate::key::EncodeKey;
use crate::memory::Held;
use core::cell::Cell;
use core::cmp::Ordering;
use core::marker::PhantomData;
use delta::Layout;

/// Keys in a row that have to ascend before more of them are collected.
const BEGIN: usize = 8;
/// Most entries of a stretch.
const ENTRIES: usize = 4096;
/// From this many bytes of keys on a stretch takes no more.
const BYTES: usize = 1 << 20;

/// Entries that were collected and are not put yet. Their values are its own.
pub(super) struct Stretch<'m, V: Clone + Send + Sync + 'static> {
    shared: &'m Shared<V>,
    /// How many keys in a row have ascended.
    ascended: usize,
    /// The last key, where keys have eight bytes.
    last: Option<u64>,
    /// Keys and values of eight bytes each.
    rows: Vec<[u8; 16]>,
    /// Keys of any length, one behind the other, and where each lies. The last one is there in any
    /// case.
    keys: Vec<u8>,
    items: Vec<Item>,
    /// Where the last key begins.
    last_at: Option<usize>,
}

impl<'m, V: Clone + Send + Sync + 'static> Stretch<'m, V> {
    pub(super) fn of(shared: &'m Shared<V>) -> Self {
        let (rows, keys, items) = (Vec::new(), Vec::new(), Vec::new());
        Self { shared, ascended: 0, last: None, rows, keys, items, last_at: None }
    }

    /// Takes an entry.
    pub(super) fn push<Q: EncodeKey>(&mut self, key: &Q, value: V) {
        if self.shared.tree.layout == Layout::Fixed8 {
            key.with_encoded(|key| self.push_row(key, value));
        } else {
            key.with_encoded(|key| self.push_item(key, value));
        }
    }

    fn push_row(&mut self, key: &[u8], value: V) {
        let Ok(key) = <[u8; 8]>::try_from(key) else { panic!("a key of {} bytes", key.len()) };
        let number = u64::from_be_bytes(key);
        let order = self.last.replace(number).map_or(Ordering::Less, |last| last.cmp(&number));
        if let (Ordering::Equal, Some(last)) = (order, self.rows.last_mut()) {
            return replace(&mut last[8..], value, self.shared);
        }
        let new = Fresh::new(value, self.shared);
        if !self.ascends(order) || self.rows.len() >= ENTRIES {
            self.put();
        }
        let mut row = [0; 16];
        row[..8].copy_from_slice(&key);
        row[8..].copy_from_slice(new.slot());
        new.taken().set(1);
        self.rows.push(row);
        if self.ascended <= BEGIN {
            self.put();
        }
    }

    fn push_item(&mut self, key: &[u8], value: V) {
        if !self.shared.can_be(key) {
            self.shared.refuse(key);
        }
        let order = self.last_at.map_or(Ordering::Less, |at| self.keys[at..].cmp(key));
        if let (Ordering::Equal, Some(last)) = (order, self.items.last_mut()) {
            return replace(&mut last.value, value, self.shared);
        }
        let new = Fresh::new(value, self.shared);
        let full = self.items.len() >= ENTRIES || self.keys.len() >= BYTES;
        if !self.ascends(order) || full {
            self.put();
        }
        if self.items.is_empty() {
            self.keys.clear();
        }
        let begin = self.keys.len();
        self.last_at = Some(begin);
        self.keys.extend_from_slice(key);
        let item = Item { begin, end: self.keys.len(), value: *new.slot() };
        new.taken().set(1);
        self.items.push(item);
        if self.ascended <= BEGIN {
            self.put();
        }
    }

    /// Counts a key that is in this order to the one before. Says whether it ascends.
    #[inline]
    fn ascends(&mut self, order: Ordering) -> bool {
        self.ascended = if order == Ordering::Less { self.ascended + 1 } else { 0 };
        order == Ordering::Less
    }

    /// Puts what was collected.
    fn put(&mut self) {
        if self.rows.is_empty() && self.items.is_empty() {
            return;
        }
        let (rows, items) = (core::mem::take(&mut self.rows), core::mem::take(&mut self.items));
        let mut left = Left::<V> { rows, items, taken: Cell::new(0), values: PhantomData };
        let Shared { engine, tree, .. } = self.shared;
        let Left { rows, items, taken, .. } = &left;
        // One of the two is empty.
        sure(engine.put_ascending(tree, Ascending::Rows(rows), taken));
        sure(engine.put_ascending(tree, Ascending::Items(&self.keys, items), taken));
        // To be filled again.
        (self.rows, self.items) =
            (core::mem::take(&mut left.rows), core::mem::take(&mut left.items));
        self.rows.clear();
        self.items.clear();
        // Each entry can have displaced a value.
        if left.taken.get() > BEGIN {
            self.shared.look_after_all(());
        } else {
            self.shared.look_after(());
        }
    }
}

/// Entries that are being put. Dropped, as it is when that panics, it drops the values that the
/// tree has not taken.
struct Left<V: Clone + Send + Sync + 'static> {
    rows: Vec<[u8; 16]>,
    items: Vec<Item>,
    taken: Cell<usize>,
    values: PhantomData<V>,
}

impl<V: Clone + Send + Sync + 'static> Drop for Left<V> {
    fn drop(&mut self) {
        let rows = self.rows.iter().map(|row| &row[8..]);
        let slots = rows.chain(self.items.iter().map(|item| &item.value[..]));
        slots.skip(self.taken.get()).for_each(Held::<V>::disown);
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Stretch<'_, V> {
    fn drop(&mut self) {
        self.put();
        self.shared.look_after_all(());
    }
}

/// Puts a value in the place of one that no page has seen, and drops that.
fn replace<V: Clone + Send + Sync + 'static>(slot: &mut [u8], value: V, shared: &Shared<V>) {
    let new = Fresh::new(value, shared);
    let mut old = *new.slot();
    new.taken().set(1);
    slot.swap_with_slice(&mut old);
    Held::<V>::disown(&old);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Map;
    use crate::engine::{Engine, Store};
    use crate::key::Key;
    use delta::Base;
    use mapping::Word;
    use types::PageId;

    /// Bytes of all pages, and base page bytes of each leaf but the last of the level.
    fn pages<S: Store>(engine: &Engine<S>) -> (usize, Vec<usize>) {
        let guard = engine.pin();
        let (mut bytes, mut leaves) = (0, Vec::new());
        for number in 1..engine.table.id_limit() {
            let Word::Resident(chain) = engine.table.load(PageId::new(number), &guard) else {
                continue;
            };
            let base = Base::new(chain.base());
            bytes += chain.page().size_bytes();
            if base.is_leaf() && base.high().is_some() {
                leaves.push(base.byte_len());
            }
        }
        (bytes, leaves)
    }

    fn loaded<K: Key>(count: u64, key: impl Fn(u64) -> K) -> (f64, Vec<f64>) {
        let map: Map<K, u64> = (0..count).map(|number| (key(number), number)).collect();
        assert_eq!(map.check(), Ok(()));
        assert_eq!(map.len() as u64, count);
        let engine = &map.shared.engine;
        let (bytes, leaves) = pages(engine);
        let fill = |bytes: usize| bytes as f64 / engine.limits.leaf_bytes as f64;
        (bytes as f64 / count as f64, leaves.into_iter().map(fill).collect())
    }

    #[test]
    fn a_sorted_load_of_numbers_fills_its_pages() {
        let (bytes, fills) = loaded(1_000_000, |number| number);
        assert!(bytes < 19.1, "{bytes} bytes per key");
        assert!(fills.len() > 3000, "{} leaves", fills.len());
        let odd = fills.iter().find(|fill| !(0.9..0.95).contains(*fill));
        assert_eq!(odd, None);
    }

    #[test]
    fn a_sorted_load_of_texts_fills_its_pages() {
        let (_, fills) = loaded(200_000, |number| format!("user/{number:08}/name"));
        assert!(fills.len() > 500, "{} leaves", fills.len());
        // The last of a stretch had no high key yet, hence no prefix to cut off; it shrinks later.
        let mean = fills.iter().sum::<f64>() / fills.len() as f64;
        assert!((0.92..0.95).contains(&mean), "{mean} full");
        let odd = fills.iter().find(|fill| !(0.7..0.95).contains(*fill));
        assert_eq!(odd, None);
    }
}
