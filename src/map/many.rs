//! Many keys in one call, and many calls under one pin.

use super::bounds::{KeyRange, spanned};
use super::retired::{Effort, go_on};
use super::{Map, Shared};
use crate::engine::{Found, GROUP, Store, Unread};
use crate::key::{EncodeKey, Key};
use crate::memory::{Held, InMemory};
use core::borrow::Borrow;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::ops::{ControlFlow, Deref};
use delta::Number;
use sync::epoch::Guard;
use types::PageId;

impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// The values of up to [`GROUP`] keys.
    fn group<Q>(&self, keys: &[&Q], held: &mut [Option<Held<V>>; GROUP])
    where
        Q: EncodeKey + ?Sized,
    {
        let mut numbers = [Number::new([0; 8]); GROUP];
        let all_numbers = numbers.iter_mut().zip(keys).all(|(number, key)| {
            let encoded = key.with_encoded(|key| self.number(key));
            encoded.is_some_and(|encoded| {
                *number = encoded;
                true
            })
        });
        if all_numbers {
            let read = |at: usize, found: Option<Found<'_>>| {
                held[at] = found.map(|found| Held::from_slot(found.value));
            };
            self.read_group(&numbers[..keys.len()], read);
        } else {
            let _guard = self.engine.pin();
            for (held, key) in held.iter_mut().zip(keys) {
                *held = self.held(*key);
            }
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// The values of many keys, in the order of the keys.
    ///
    /// Cheaper than one [`get`](Self::get) after the other, above all where the map is larger than
    /// the processor's caches: the keys are looked for in groups of 16, whose waits for memory
    /// overlap (keys of 8 bytes).
    ///
    /// LINEARIZES: each key for itself, at the load of its leaf's page word. Values are cloned
    /// unpinned, group by group.
    ///
    /// ```
    /// let map: bwtree::Map<u64, char> = [(1, 'a'), (3, 'c')].into();
    /// assert_eq!(map.multi_get(&[1, 2, 3]), [Some('a'), None, Some('c')]);
    /// let words: bwtree::Map<String, usize> = [("a".to_owned(), 1)].into();
    /// assert_eq!(words.multi_get(["a", "b"]), [Some(1), None]);
    /// ```
    #[doc(alias = "get_many")]
    pub fn multi_get<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: EncodeKey + ?Sized + 'q,
    {
        let mut keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        loop {
            let Some(first) = keys.next() else { return self.shared.look_after(values) };
            let mut group = [first; GROUP];
            let mut len = 1;
            for (place, key) in group[1..].iter_mut().zip(&mut keys) {
                *place = key;
                len += 1;
            }
            let mut held = [const { None }; GROUP];
            self.shared.group(&group[..len], &mut held);
            values.extend(held.into_iter().take(len).map(|held| held.map(Held::into_value)));
        }
    }

    /// The map, pinned for a run of operations of this thread.
    ///
    /// Each operation of a map pins its thread, about 10 ns; within a session it finds it pinned.
    /// See [`Session`] for what that costs others.
    ///
    /// ```
    /// let map: bwtree::Map<u64, u64> = bwtree::Map::new();
    /// let session = map.session();
    /// for n in 0..1000 {
    ///     session.insert(n, n * n);
    /// }
    /// assert_eq!(session.get(&31), Some(961));
    /// ```
    #[must_use]
    pub fn session(&self) -> Session<'_, K, V> {
        let guard = RefCell::new(Some(self.shared.engine.pin()));
        Session { map: self, guard, operations: Cell::new(0) }
    }
}

/// A [`Map`] with its thread pinned, for a run of operations: it derefs to the map.
///
/// While it lives, no page that any thread unlinks is freed, from any map of the process; every 128
/// operations it lets go for a moment so that memory can be. So end it, or call
/// [`refresh`](Self::refresh), before the thread does something else for long. Closures, and the
/// `Clone` of values, run pinned in a session; the destructors of values that were displaced run
/// when it lets go, and when it ends.
///
/// It stays with its thread.
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// let map: bwtree::Map<u64, u64> = bwtree::Map::new();
/// send(map.session());
/// ```
pub struct Session<'m, K, V: Clone + Send + Sync + 'static> {
    map: &'m Map<K, V>,
    /// None only while destructors run.
    guard: RefCell<Option<Guard>>,
    operations: Cell<u32>,
}

/// Operations after which a session lets go for a moment.
const RUN: u32 = 128;

impl<K, V: Clone + Send + Sync + 'static> Session<'_, K, V> {
    /// Lets go for a moment, so that what was unlinked before now can be freed.
    pub fn refresh(&self) {
        self.operations.set(0);
        let Ok(mut guard) = self.guard.try_borrow_mut() else { return };
        if let Some(guard) = &mut *guard {
            guard.repin();
            // A pin that is only renewed never gets round to freeing by itself.
            guard.flush();
        }
        if InMemory::<V>::holds_values() {
            let engine = &self.map.shared.engine;
            *guard = None;
            let panic = InMemory::look_after(engine, Effort::Some);
            *guard = Some(engine.pin());
            drop(guard);
            go_on((), panic);
        }
    }
}

impl<K, V: Clone + Send + Sync + 'static> Drop for Session<'_, K, V> {
    fn drop(&mut self) {
        *self.guard.get_mut() = None;
        if InMemory::<V>::holds_values() {
            go_on((), InMemory::look_after(&self.map.shared.engine, Effort::Some));
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Session<'_, K, V> {
    /// Shows the entries whose keys lie in `range` to `see`, in order, until it breaks off; returns
    /// what it broke off with.
    ///
    /// As [`Map::scan`], but entries are shown where they lie: nothing is copied, and `see` runs
    /// pinned. The session lets go between two pages every 128 pages.
    ///
    /// LINEARIZES: each entry at the load of the word of its page; all together are not one step.
    ///
    /// Cost: `O(log n)` for each page, `O(1)` for each entry in it.
    ///
    /// # Panics
    /// As [`Map::scan`].
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let map: bwtree::Map<u64, u64> = (0..1000).map(|n| (n, n * n)).collect();
    /// let (session, mut sum) = (map.session(), 0);
    /// let _all = session.scan(10..13, |_, square| {
    ///     sum += square;
    ///     ControlFlow::<()>::Continue(())
    /// });
    /// assert_eq!(sum, 100 + 121 + 144);
    /// ```
    #[track_caller]
    pub fn scan<Q, R, B>(
        &self,
        range: R,
        mut see: impl FnMut(&K::Lent, &V) -> ControlFlow<B>,
    ) -> ControlFlow<B>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        let layout = self.map.shared.tree.layout;
        let mut unread = spanned(range, |span| Unread::of(span, layout));
        let mut see = |key: &[u8], len, slot: &[u8]| {
            K::lend(key, len, |key| Held::lend(slot, |value| see(key, value)))
        };
        let (mut near, mut memory) = (PageId::NONE, Vec::new());
        while let Some(left) = unread {
            let Shared { engine, tree, .. } = &*self.shared;
            // Which of both is known where this is compiled.
            unread = super::sure(match left {
                Unread::Numbers(first, last) if K::FIXED8 => {
                    let see = |row: &[u8; 16]| see(&row[..8], 8, &row[8..]);
                    engine.show_numbers(tree, (first, last), see)
                }
                Unread::Bytes(start, end) if !K::FIXED8 => {
                    let (span, page) = ((&*start, end.as_deref()), (&mut near, &mut memory));
                    engine.show_items(tree, span, page, |(key, len), slot| see(key, len, slot))
                }
                _ => unreachable!("a range in another layout"),
            })?;
        }
        ControlFlow::Continue(())
    }
}

impl<K, V: Clone + Send + Sync + 'static> Deref for Session<'_, K, V> {
    type Target = Map<K, V>;

    #[inline]
    fn deref(&self) -> &Map<K, V> {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations == RUN {
            // No operation is under way here but those that a closure of one was called from, and
            // each of those holds a pin of its own while it needs one.
            self.refresh();
        }
        self.map
    }
}

impl<K, V: Clone + Send + Sync + 'static> fmt::Debug for Session<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}
