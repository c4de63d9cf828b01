//! No log: the store of a map in memory, and how its values lie in pages.
//!
//! Every value takes eight bytes in its page. Plain numbers lie there themselves; anything else
//! lies behind an `Arc` of which the tree has a count, because a bitwise copy by a consolidation
//! would be unsound for a value with interior mutability or a destructor (C1). The count is the
//! tree's from the CAS that installs the pointer to the one that displaces it, whatever page the
//! pointer is copied to; what becomes of it then is told in [`retired`](crate::map::retired). A
//! reader takes a count of its own under its pin and clones after it, so that no code of the user's
//! runs pinned.
#![expect(unsafe_code, reason = "the tree has one count of each Arc whose pointer is in a page")]

use crate::engine::{Engine, Meter, Store, handle_of};
use crate::map::retired::{Effort, Panic, Retired, go_on, release_into, swallow};
use core::any::TypeId;
use core::convert::Infallible;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use mapping::Kept;
use std::sync::Arc;
use sync::epoch::Guard;
use types::PageId;

/// The store of a map in memory.
#[derive(Debug)]
pub(crate) struct InMemory<V> {
    /// None where values are plain.
    retired: Option<Box<Retired>>,
    values: PhantomData<fn() -> V>,
}

/// What is behind the pointer of a value that is not plain.
struct Body<V> {
    /// What the clock read when the value was made: its key gets it no earlier.
    born: u64,
    value: V,
}

/// Bytes of a value that are asked for before it is looked at, at the most.
const MOST_AHEAD: usize = 256;

/// Counts nothing: a map in memory has no budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoMeter;

impl Meter for NoMeter {
    fn add(&self, _bytes: usize) {}
    fn sub(&self, _bytes: usize) {}
}

impl<V: 'static> InMemory<V> {
    pub(crate) fn new() -> Self {
        let retired = (!is_plain::<V>()).then(|| Box::new(Retired::new(size_of::<V>())));
        Self { retired, values: PhantomData }
    }

    /// Counts an operation. Says whether it is to look after the values that were displaced.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !is_plain::<V>() && self.retired.as_ref().is_some_and(|retired| retired.is_due())
    }
}

impl<V: Send + Sync + 'static> InMemory<V> {
    /// Looks after the values that were displaced, see [`Retired::look_after`].
    pub(crate) fn look_after(engine: &Engine<Self>, effort: Effort) -> Option<Panic> {
        let retired = engine.store.retired.as_ref()?;
        retired.look_after(&engine.epoch, effort, Self::release)
    }
}

impl<V: Send + Sync + 'static> Store for InMemory<V> {
    const DURABLE: bool = false;
    const MAX_KEY_BYTES: usize = types::limits::MAX_MAP_KEY_BYTES;
    type Error = Infallible;
    type Meter = NoMeter;

    fn meter(&self) -> &NoMeter {
        &NoMeter
    }

    fn holds_values() -> bool {
        !is_plain::<V>()
    }

    #[inline]
    fn owns(_flags: u8) -> bool {
        false
    }

    #[inline]
    fn ahead() -> Option<fn(&[u8])> {
        (!is_plain::<V>()).then_some(ask_for::<V>)
    }

    fn release(handle: u64) {
        // SAFETY: the handle stands for one count, which its owner gives up here.
        drop(unsafe { Arc::from_raw(pointer::<V>(handle)) });
    }

    #[inline]
    fn displaced(engine: &Engine<Self>, value: &[u8], hidden_at: u64, guard: &Guard) {
        if let Some(retired) = engine.store.retired.as_ref().filter(|_| !is_plain::<V>()) {
            let handle = handle_of(value);
            if engine.clock.none_open() {
                // The value itself is not looked at: that would be one more line to wait for.
                retired.add(handle);
            } else {
                // SAFETY: the tree's count is the caller's, who has displaced the value.
                let born = unsafe { (*pointer::<V>(handle)).born };
                let kept = Kept::Value(handle);
                let free = |kept| engine.let_go(kept, guard);
                engine.clock.keep((born, hidden_at), kept, guard, free);
            }
        }
    }

    fn dead(engine: &Engine<Self>, handle: u64) {
        if let Some(retired) = &engine.store.retired {
            retired.add(handle);
        }
    }

    /// Drops all values, unpinned, one after the other, and goes on after one that panics. In the
    /// end the first panic is resumed, unless the thread is panicking already.
    fn end(engine: &mut Engine<Self>) {
        let Some(mut retired) = engine.store.retired.take() else { return };
        let (mut panic, mut handles) = (None, retired.take_all());
        let kept = engine.clock.take_kept(&engine.epoch.pin());
        handles.extend(kept.into_iter().filter_map(|kept| match kept {
            Kept::Value(handle) => Some(handle),
            Kept::Page(_) => None,
        }));
        for number in 1..=engine.table.id_limit() {
            handles.drain(..).for_each(|handle| release_into(handle, Self::release, &mut panic));
            engine.each_value(PageId::new(number), |value| handles.push(handle_of(value)));
        }
        go_on((), panic);
    }

    #[inline]
    fn admit(_engine: &Engine<Self>) -> Result<(), Infallible> {
        Ok(())
    }

    fn page_in(_engine: &Engine<Self>, _id: PageId) -> Result<(), Infallible> {
        Ok(())
    }

    fn buried(engine: &Engine<Self>, id: PageId, guard: &Guard) {
        // Without a log the epoch alone decides; the id is cleared at once and used again later.
        if engine.table.clear_merged(id, guard) {
            engine.reuse_later(id, guard);
        }
    }
}

/// Asks for the first lines of the value of a slot, its counts among them.
#[inline]
fn ask_for<V>(slot: &[u8]) {
    /// Of the counts of an `Arc`, which lie in front of what it holds.
    const COUNTS: usize = 2 * size_of::<usize>();
    let begin = pointer::<V>(handle_of(slot)).cast::<u8>().wrapping_sub(COUNTS);
    let bytes = (COUNTS + size_of::<Body<V>>()).min(MOST_AHEAD);
    (0..bytes).step_by(64).for_each(|at| mapping::prefetch(begin.wrapping_add(at)));
}

/// Asks for the counts of a value, which are looked at when it is dropped.
pub(crate) fn ask_for_counts(handle: u64) {
    mapping::prefetch(pointer::<()>(handle).cast::<u8>().wrapping_sub(2 * size_of::<usize>()));
}

fn pointer<V>(handle: u64) -> *const Body<V> {
    core::ptr::with_exposed_provenance(handle as usize)
}

/// Whether values of this type lie in their page. Known when the code is generated.
#[inline]
pub(crate) fn is_plain<V: 'static>() -> bool {
    macro_rules! any {
        ($($plain:ty),*) => { [$(TypeId::of::<$plain>()),*] };
    }
    let plain = any![
        (),
        bool,
        char,
        u8,
        u16,
        u32,
        u64,
        usize,
        i8,
        i16,
        i32,
        i64,
        isize,
        f32,
        f64,
        [u8; 8],
        [u8; 4]
    ];
    plain.contains(&TypeId::of::<V>())
}

/// A value that was read: a copy of a plain one, or a count of its own. It is the eight bytes of
/// the slot, so that a scan of plain values copies bytes and drops nothing.
// As aligned as any plain value.
#[repr(C, align(8))]
pub(crate) struct Held<V: 'static> {
    /// Of a plain value its bytes, else the pointer of an `Arc`.
    slot: [u8; 8],
    value: PhantomData<Arc<Body<V>>>,
}

impl<V: 'static> Drop for Held<V> {
    #[inline]
    fn drop(&mut self) {
        if !is_plain::<V>() {
            // SAFETY: the count was taken in `from_slot`.
            let value = unsafe { Arc::from_raw(pointer::<V>(handle_of(&self.slot))) };
            if std::thread::panicking() {
                // Another panic would end the process.
                swallow(|| drop(value));
            }
        }
    }
}

impl<V: 'static> Clone for Held<V> {
    fn clone(&self) -> Self {
        if !is_plain::<V>() {
            // SAFETY: our count keeps the value alive while another is taken.
            unsafe { Arc::increment_strong_count(pointer::<V>(handle_of(&self.slot))) };
        }
        Self { slot: self.slot, value: PhantomData }
    }
}

impl<V> core::fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Held")
    }
}

impl<V: Clone + Send + Sync + 'static> Held<V> {
    /// The eight bytes that stand for `value` in a page, which becomes its owner once they are
    /// installed. Until then they are the caller's: see [`Held::disown`].
    pub(crate) fn into_slot(value: V, engine: &Engine<InMemory<V>>) -> [u8; 8] {
        if !is_plain::<V>() {
            let pointer = Arc::into_raw(Arc::new(Body { born: engine.clock.now(), value }));
            return (pointer.expose_provenance() as u64).to_le_bytes();
        }
        let mut slot = [0; 8];
        // SAFETY: a plain value has at most eight bytes, no padding and no destructor.
        unsafe {
            core::ptr::copy_nonoverlapping(
                (&raw const value).cast::<u8>(),
                slot.as_mut_ptr(),
                size_of::<V>(),
            );
        }
        slot
    }

    /// Drops the value of a slot that was not installed.
    pub(crate) fn disown(slot: &[u8]) {
        if !is_plain::<V>() {
            drop(Self { slot: slot_of(slot), value: PhantomData });
        }
    }

    /// The value of a slot in a page. To be called pinned, with a slot found under that pin.
    #[inline]
    pub(crate) fn from_slot(slot: &[u8]) -> Self {
        let slot = slot_of(slot);
        if !is_plain::<V>() {
            // SAFETY: the pin keeps the tree's count alive while another is taken.
            unsafe { Arc::increment_strong_count(pointer::<V>(handle_of(&slot))) };
        }
        Self { slot, value: PhantomData }
    }

    /// Shows the value of a slot in a page, without a count of its own. To be called pinned, with a
    /// slot found under that pin.
    #[inline]
    pub(crate) fn lend<R>(slot: &[u8], look: impl FnOnce(&V) -> R) -> R {
        let slot = slot_of(slot);
        // The count is the tree's, which the pin keeps alive.
        let held = ManuallyDrop::new(Self { slot, value: PhantomData });
        look(held.value())
    }

    /// The bytes of the slot that this was read from. As long as this lives, no other value of
    /// the map gets the same ones, unless it is plain and equal.
    pub(crate) fn slot(&self) -> [u8; 8] {
        self.slot
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &V {
        if is_plain::<V>() {
            // SAFETY: the slot was written by `into_slot` from a value of this very type, which
            // begins where the slot does and is no more aligned.
            return unsafe { &*(&raw const self.slot).cast::<V>() };
        }
        // SAFETY: our count keeps the value alive, or in `lend` the tree's.
        unsafe { &(*pointer::<V>(handle_of(&self.slot))).value }
    }

    /// The value, as the user's own.
    #[inline]
    pub(crate) fn into_value(self) -> V {
        if is_plain::<V>() {
            return self.value().clone();
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: our count, which `this` does not give back any more.
        let value = unsafe { Arc::from_raw(pointer::<V>(handle_of(&this.slot))) };
        match Arc::try_unwrap(value) {
            Ok(body) => body.value,
            Err(body) => {
                let value = body.value.clone();
                // Not behind the end of this, where a panic would leak what is returned.
                drop(body);
                value
            }
        }
    }
}

#[inline]
fn slot_of(bytes: &[u8]) -> [u8; 8] {
    let Ok(slot) = bytes.try_into() else { unreachable!("slots have eight bytes") };
    slot
}
