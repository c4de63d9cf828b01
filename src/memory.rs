//! No log: the store of a map in memory, and how its values lie in pages.
//!
//! Every value takes eight bytes in its page. Plain numbers lie there themselves; anything else
//! lies behind an `Arc` whose pointer the page owns, because a bitwise copy by a consolidation
//! would be unsound for a value with interior mutability or a destructor (C1). A reader takes a
//! count under its pin and clones after it, so that no code of the user's runs pinned.
#![expect(unsafe_code, reason = "a page owns one count of each Arc whose pointer it holds")]

use crate::engine::{Engine, Meter, Store, handle_of};
use core::any::TypeId;
use core::convert::Infallible;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use std::sync::Arc;
use sync::epoch::Guard;
use types::PageId;

/// The store of a map in memory.
#[derive(Debug)]
pub(crate) struct InMemory<V>(PhantomData<fn() -> V>);

/// Counts nothing: a map in memory has no budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoMeter;

impl Meter for NoMeter {
    fn add(&self, _bytes: usize) {}
    fn sub(&self, _bytes: usize) {}
}

impl<V> InMemory<V> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V: Send + Sync + 'static> Store for InMemory<V> {
    const DURABLE: bool = false;
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
        !is_plain::<V>()
    }

    fn release(handle: u64) {
        // SAFETY: the page that held the handle owned one count, and gives it up here.
        drop(unsafe { Arc::from_raw(pointer::<V>(handle)) });
    }

    fn retain(handle: u64) {
        // SAFETY: the caller knows of an owner, who keeps its count meanwhile.
        unsafe { Arc::increment_strong_count(pointer::<V>(handle)) };
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

fn pointer<V>(handle: u64) -> *const V {
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
    value: PhantomData<Arc<V>>,
}

impl<V: 'static> Drop for Held<V> {
    #[inline]
    fn drop(&mut self) {
        if !is_plain::<V>() {
            // SAFETY: the count was taken in `from_slot`.
            drop(unsafe { Arc::from_raw(pointer::<V>(handle_of(&self.slot))) });
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
    pub(crate) fn into_slot(value: V) -> [u8; 8] {
        if !is_plain::<V>() {
            let pointer = Arc::into_raw(Arc::new(value));
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
            InMemory::<V>::release(handle_of(slot));
        }
    }

    /// The value of a slot in a page. To be called pinned, with a slot found under that pin.
    #[inline]
    pub(crate) fn from_slot(slot: &[u8]) -> Self {
        let Ok(slot) = <[u8; 8]>::try_from(slot) else { unreachable!("slots have eight bytes") };
        if !is_plain::<V>() {
            // SAFETY: the pin keeps the page's count alive while another is taken.
            unsafe { Arc::increment_strong_count(pointer::<V>(handle_of(&slot))) };
        }
        Self { slot, value: PhantomData }
    }

    /// Shows the value of a slot in a page, without a count of its own. To be called pinned, with a
    /// slot found under that pin.
    #[inline]
    pub(crate) fn lend<R>(slot: &[u8], look: impl FnOnce(&V) -> R) -> R {
        let Ok(slot) = <[u8; 8]>::try_from(slot) else { unreachable!("slots have eight bytes") };
        // The count is the page's, which the pin keeps alive.
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
        // SAFETY: our count keeps the value alive, or in `lend` the page's.
        unsafe { &*pointer::<V>(handle_of(&self.slot)) }
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
        Arc::try_unwrap(value).unwrap_or_else(|value| (*value).clone())
    }
}
