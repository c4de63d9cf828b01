//! `Map`: the ordered map in memory, std `BTreeMap`'s names on `&self`.
//!
//! | file | what it does |
//! |---|---|
//! | `point` | one key: look, insert, remove, exchange, update |
//! | `entry` | one key in two calls: look, then decide |
//! | `ends` | the neighbours of a key, the ends of a range, and taking them away |
//! | `bounds` | what is taken for a range |
//! | `many` | many keys in one call, many calls under one pin |
//! | `iter` | ranges, from both ends, holding no pin |
//! | `scan` | ranges whose entries are lent |
//! | `removal` | many keys, one after the other |
//! | `snapshot` | the map as it was at one moment |
//! | `build` | maps from entries, and what std's traits make of a map |
//! | `load` | many entries on their way in, as long as their keys ascend |
//! | `fresh` | a value on its way into a page |
//! | `retired` | values that were displaced, on their way to being dropped |
//! | `serde` | a map as a map of serde, behind the feature `serde` |
//!
//! # What is one step
//!
//! Every operation on one key, and every search for a neighbour, is linearizable: it takes effect
//! at one moment between its call and its return, which its documentation names after the word
//! `LINEARIZES`. An operation of an [`Entry`] begins with [`Map::entry`].
//!
//! Not one step are:
//!
//! - iteration ([`Iter`], [`Keys`], [`Values`]) and [`scan`](Map::scan), which see each entry at
//!   its own moment: in order, none twice, and all that were there throughout; `Debug` and
//!   `Serialize` go by it;
//! - [`pop_first`](Map::pop_first) and its kin: the entry was the outermost at one moment, and is
//!   removed, if it still has that value, at a later one;
//! - [`retain`](Map::retain), [`extract_if`](Map::extract_if),
//!   [`remove_range`](Map::remove_range), [`clear`](Map::clear), `extend`: one key after the other,
//!   each of them one step, but for `extend` with ascending keys: that is one page after the other;
//! - [`multi_get`](Map::multi_get): each key for itself;
//! - [`len`](Map::len) and [`is_empty`](Map::is_empty), which lag behind what is under way.
//!
//! Whoever needs all of it at one moment takes a [`Snapshot`]: that is one step, and whatever is
//! read of it is of that moment.
//!
//! # What runs when
//!
//! Closures, and the `Clone`, `PartialEq` and `Drop` of values, run unpinned: they may use the same
//! map, take as long as they like, and panic. Which closures may run twice is said with each
//! method.
//!
//! # Destructors
//!
//! A value that was replaced or removed is *displaced*. It is dropped by an operation of the same
//! map, when no snapshot sees it any more and no thread is inside an operation, or a [`Session`],
//! that began before it was displaced:
//!
//! - [`clear`](Map::clear), [`remove_range`](Map::remove_range), [`retain`](Map::retain), `extend`
//!   and the end of a [`Snapshot`] drop all that can be dropped, before they return;
//! - of the other operations of a thread every 96th drops up to 256, reads included, and one that
//!   displaces counts as four of them, or more if `V` itself is larger than 1 KiB. So at most 24
//!   displaced values of each thread wait (threads beyond the 16th share a count). What a long pin
//!   or snapshot has held back goes by the same steps, so it takes a while;
//! - a thread inside a [`Session`] leaves it to the session: to its [`refresh`](Session::refresh),
//!   which comes every 128 operations, and to its end.
//!
//! A destructor that blocks blocks its thread and holds no other value back. Operations that it
//! calls run no destructors themselves. If one panics, the others run all the same, and the panic
//! is resumed at the end of the operation that ran it, which has taken effect; its result is lost.
//! If several panic, the first is resumed; if the thread is panicking already, none is.
//!
//! Dropping a map drops its values, the displaced ones included, and goes on after a panic in the
//! same way.

mod bounds;
mod build;
mod ends;
mod entry;
mod fresh;
mod iter;
mod load;
mod many;
mod point;
mod removal;
pub(crate) mod retired;
mod scan;
#[cfg(feature = "serde")]
mod serde;
pub mod snapshot;

pub use bounds::KeyRange;
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{IntoIter, Iter, Keys, Prefix, Range, Values};
pub use many::Session;
pub use point::{CompareExchangeError, KeyTooLong};
pub use removal::ExtractIf;
pub use snapshot::Snapshot;

use crate::engine::{
    Batch, Change, Decision, End, Engine, Found, Limits, Moment, Span, Store, TreeCore, Unread,
    Wish,
};
use crate::key::{EncodeKey, Key};
use crate::memory::{Held, InMemory};
use core::cell::Cell;
use core::convert::Infallible;
use core::marker::PhantomData;
use delta::{Hashed, KeyRef, Layout, Number};
use retired::Effort;
use types::PageId;
/// Longest key of a [`Map`], as it is encoded, in bytes: 32 KiB.
///
/// A `String` or `Vec<u8>` by itself is as many bytes as it has; inside a tuple or an `Option` a
/// few more, and one more for each zero. Inserting a longer key panics, [`Map::try_insert`] refuses
/// it; one that is looked for is not there.
pub use types::limits::MAX_MAP_KEY_BYTES as MAX_KEY_BYTES;

/// A concurrent ordered map in memory.
///
/// Shared by reference between any number of threads. No operation takes a latch, and none waits
/// for another. Keys are stored in an order-preserving encoding (see [`Key`]); values can be of
/// any type that can be cloned and shared. Numbers lie in the pages themselves, other values
/// behind an [`Arc`](std::sync::Arc).
///
/// Every single-key operation is linearizable, and so is every search for a neighbour. What is not
/// one step is listed in the [module](crate::map)'s documentation.
///
/// A value that was replaced or removed is dropped by one of the next operations, when no thread
/// and no snapshot is left that could see it; see [Destructors](crate::map#destructors).
///
/// Cost of an operation on one key or neighbour: `O(log n)`, plus a copy of one page (about 4 KiB)
/// every two dozen writes of a page.
///
/// ```
/// let map = bwtree::Map::new();
/// map.insert("one".to_string(), 1);
/// map.insert("two".to_string(), 2);
/// std::thread::scope(|scope| {
///     scope.spawn(|| map.insert("three".to_string(), 3));
///     scope.spawn(|| map.remove("two"));
/// });
/// let keys: Vec<_> = map.keys().collect();
/// assert_eq!(keys, ["one", "three"]);
/// ```
///
/// Values move between threads, and are looked at and dropped by any of them:
///
/// ```compile_fail
/// let map: bwtree::Map<u64, std::rc::Rc<u64>> = bwtree::Map::new();
/// ```
pub struct Map<K, V: Clone + Send + Sync + 'static> {
    shared: Box<Shared<V>>,
    keys: PhantomData<fn(K) -> K>,
}

struct Shared<V: Clone + Send + Sync + 'static> {
    engine: Engine<InMemory<V>>,
    tree: TreeCore,
    /// Bytes of every key, if all have as many.
    key_bytes: Option<usize>,
}

/// What an operation in memory gives: it cannot fail.
fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Every call into the engine.
impl<V: Clone + Send + Sync + 'static> Shared<V> {
    /// A key's bytes as a number, where the pages hold numbers. A query can have other bytes than
    /// any key has: those of a short `[u8]` where keys are `[u8; 8]`.
    #[inline]
    fn number(&self, key: &[u8]) -> Option<Number> {
        if self.tree.layout == Layout::Fixed8 { key.try_into().ok().map(Number::new) } else { None }
    }

    /// Whether an entry can have this key.
    #[inline]
    fn can_be(&self, key: &[u8]) -> bool {
        match self.key_bytes {
            Some(bytes) => key.len() == bytes,
            None => key.len() <= MAX_KEY_BYTES,
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, key: &[u8]) -> ! {
        match self.key_bytes {
            Some(_) => panic!("a key of {} bytes: no key is like that", key.len()),
            None => panic!("{}", KeyTooLong::<()> { len: key.len(), value: () }),
        }
    }

    /// Reads one key; `read` runs pinned. Displaced values are left to the operation of which this
    /// may be the first step: a panic of theirs comes when it is done.
    #[inline]
    fn read<Q, R>(&self, key: &Q, mut read: impl FnMut(Option<Found<'_>>) -> R) -> R
    where
        Q: EncodeKey + ?Sized,
    {
        key.with_encoded(|key| match self.number(key) {
            Some(number) => sure(self.engine.read(&self.tree, number, &mut read)),
            None => sure(self.engine.read(&self.tree, Hashed::new(key), &mut read)),
        })
    }

    /// Reads a group of numbers; `read` runs pinned.
    #[inline]
    fn read_group(&self, numbers: &[Number], mut read: impl FnMut(usize, Option<Found<'_>>)) {
        let engine = &self.engine;
        sure(engine.retrying(|guard| engine.read_group(&self.tree, numbers, &mut read, guard)));
    }

    /// Changes one key; `decide` runs pinned, and may run again. `taken` is counted up at the CAS.
    #[inline]
    fn update<'a, Q, R>(
        &self,
        key: &Q,
        mut decide: impl FnMut(Option<Found<'_>>) -> Decision<'a, R>,
        taken: &Cell<usize>,
    ) -> R
    where
        Q: EncodeKey + ?Sized,
    {
        let result = key.with_encoded(|key| match self.number(key) {
            Some(number) => sure(self.engine.update(&self.tree, number, decide, taken)),
            None if !self.can_be(key) => match decide(None) {
                Decision::Keep(result) | Decision::Write(Change::Remove, result) => result,
                Decision::Write(..) => self.refuse(key),
            },
            None => sure(self.engine.update(&self.tree, Hashed::new(key), decide, taken)),
        });
        self.look_after(result)
    }

    /// Reads the outermost entry of a range; `read` runs pinned.
    #[inline]
    fn end<R>(
        &self,
        span: Span<'_>,
        end: End,
        read: impl FnMut(KeyRef<'_>, Found<'_>) -> R,
    ) -> Option<R> {
        self.look_after(sure(self.engine.end_of(&self.tree, span, end, read)))
    }

    /// Reads a page of a range, as of a moment; `read` runs pinned.
    #[inline]
    fn page<T>(
        &self,
        unread: (&Unread, impl Moment),
        wish: Wish,
        read: impl FnMut(Found<'_>) -> T,
    ) -> (Batch<T>, Option<Unread>) {
        self.look_after(sure(self.engine.scan_page(&self.tree, unread, wish, read)))
    }

    /// The end of an operation that has come to this, and that holds nothing else: every so often
    /// it looks after the values that were displaced.
    #[inline]
    fn look_after<R>(&self, result: R) -> R {
        if self.engine.store.is_due() { self.look_after_some(result) } else { result }
    }

    #[cold]
    #[inline(never)]
    fn look_after_some<R>(&self, result: R) -> R {
        let panic = InMemory::look_after(&self.engine, Effort::Some);
        retired::go_on(result, panic)
    }

    /// The end of an operation that may have displaced many values, none of them in its result.
    fn look_after_all<R>(&self, result: R) -> R {
        if InMemory::<V>::holds_values() {
            let panic = InMemory::look_after(&self.engine, Effort::All);
            return retired::go_on(result, panic);
        }
        result
    }

    /// The value of a key; a [step](Self::read).
    #[inline]
    fn held<Q: EncodeKey + ?Sized>(&self, key: &Q) -> Option<Held<V>> {
        self.read(key, |found| found.map(|found| Held::from_slot(found.value)))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// An empty map. Allocates one page.
    ///
    /// # Panics
    /// Never: a fresh mapping table has room for a page.
    ///
    /// ```
    /// let map: bwtree::Map<u64, String> = bwtree::Map::new();
    /// assert!(map.is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        let layout = if K::FIXED8 { Layout::Fixed8 } else { Layout::Var };
        Self::with_limits(Limits::of(layout))
    }

    /// An empty map with pages so small that a few entries split and merge them: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tiny_pages() -> Self {
        Self::with_limits(Limits {
            leaf_bytes: 400,
            inner_bytes: 300,
            area_bytes: 300,
            min_children: 2,
        })
    }

    fn with_limits(limits: Limits) -> Self {
        let layout = if K::FIXED8 { Layout::Fixed8 } else { Layout::Var };
        let engine = Engine::new(InMemory::new(), limits);
        let Ok(root) = engine.plant(0, layout) else { unreachable!("an empty table is full") };
        let tree = TreeCore::new(0, root, layout);
        Self {
            shared: Box::new(Shared { engine, tree, key_bytes: K::FIXED_BYTES }),
            keys: PhantomData,
        }
    }

    /// How many entries there are: `O(1)`. It lags behind operations that are under way, and is
    /// exact when there are none.
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a'), (2, 'b')].into();
    /// assert_eq!(map.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.shared.tree.len() as usize
    }

    /// Whether there are no entries. As [`len`](Self::len).
    ///
    /// ```
    /// let map: bwtree::Map<_, _> = [(1, 'a')].into();
    /// map.remove(&1);
    /// assert!(map.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many leaves there are, empty ones included: for tests.
    #[doc(hidden)]
    pub fn leaf_count(&self) -> usize {
        let engine = &self.shared.engine;
        (1..engine.table.id_limit()).filter(|id| engine.is_leaf(PageId::new(*id))).count()
    }

    /// The engine and the tree: for tests.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn inside(&self) -> (&Engine<InMemory<V>>, &TreeCore) {
        (&self.shared.engine, &self.shared.tree)
    }

    /// Checks the tree's invariants; for tests. Nobody may be writing.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        let Shared { engine, tree, .. } = &*self.shared;
        sure(crate::verify::check_all(engine, tree))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use mapping::Word;

    /// Bytes of a map that was never written to: what it is itself, its table, its page.
    fn empty_bytes<V: Clone + Send + Sync + 'static>() -> usize {
        let map: Map<u64, V> = Map::new();
        let (engine, tree) = map.inside();
        let guard = engine.pin();
        let Word::Resident(root) = engine.table.load(tree.root, &guard) else { panic!("no root") };
        size_of::<Shared<V>>()
            + size_of_val(&*engine.table)
            + 16
            + engine.table.memory_bytes()
            + root.page().size_bytes()
    }

    /// It was 6.1 KiB, most of it counts of entries by threads and a hundred places for pages.
    #[test]
    fn an_empty_map_is_small() {
        let bytes = empty_bytes::<u64>();
        assert!(bytes <= 1024, "{bytes} bytes");
    }

    /// Pages are folded once in some eighty entries where keys rise, and once in some twenty where
    /// they do not; records are found in both.
    #[test]
    fn where_keys_rise_pages_are_folded_seldom() {
        let folded = |key: fn(u64) -> u64| {
            let map: Map<u64, u64> = Map::new();
            (0..100_000).for_each(|n| assert_eq!(map.insert(key(n), n), None));
            (0..100_000).for_each(|n| assert_eq!(map.get(&key(n)), Some(n)));
            map.inside().0.counters.consolidations.load(sync::atomic::Ordering::Relaxed)
        };
        let (rising, mixed) = (folded(|n| n), folded(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        assert!(rising < 100_000 / 60, "{rising} times");
        assert!((100_000 / 30..100_000 / 15).contains(&mixed), "{mixed} times");
    }
}
