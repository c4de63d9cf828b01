//! No log: the store of a map in memory, and how its values lie in pages.
//!
//! Every value takes eight bytes in its page. Plain numbers lie there themselves; anything else
//! lies behind an `Arc` whose pointer the page owns, because a bitwise copy by a consolidation
//! would be unsound for a value with interior mutability or a destructor (C1). A reader takes a
//! count under its pin and clones after it, so that no code of the user's runs pinned.
#![expect(unsafe_code, reason = "a page owns one count of each Arc whose pointer it holds")]

use crate::engine::{Engine, Meter, Store};
use core::any::TypeId;
use core::convert::Infallible;
use core::marker::PhantomData;
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

/// A value that was read: a copy, or a count of its own.
#[derive(Debug)]
pub(crate) enum Held<V> {
    Plain(V),
    Shared(Arc<V>),
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
    pub(crate) fn disown(slot: [u8; 8]) {
        if !is_plain::<V>() {
            InMemory::<V>::release(u64::from_le_bytes(slot));
        }
    }

    /// The value of a slot in a page. To be called pinned, with a slot found under that pin.
    #[inline]
    pub(crate) fn from_slot(slot: &[u8]) -> Self {
        if is_plain::<V>() {
            debug_assert!(slot.len() == 8);
            // SAFETY: the slot was written by `into_slot` from a value of this very type.
            return Self::Plain(unsafe { core::ptr::read_unaligned(slot.as_ptr().cast::<V>()) });
        }
        let pointer = pointer::<V>(crate::engine::handle_of(slot));
        // SAFETY: the pin keeps the page's count alive while another is taken.
        Self::Shared(unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        })
    }

    /// The bytes of the slot that this was read from. As long as this lives, no other value of
    /// the map gets the same ones, unless it is plain and equal.
    pub(crate) fn slot(&self) -> [u8; 8] {
        match self {
            Self::Plain(value) => Self::into_slot(value.clone()),
            Self::Shared(value) => (Arc::as_ptr(value).expose_provenance() as u64).to_le_bytes(),
        }
    }

    /// The value.
    pub(crate) fn value(&self) -> &V {
        match self {
            Self::Plain(value) => value,
            Self::Shared(value) => value,
        }
    }

    /// The value, as the user's own.
    #[inline]
    pub(crate) fn into_value(self) -> V {
        match self {
            Self::Plain(value) => value,
            Self::Shared(value) => Arc::try_unwrap(value).unwrap_or_else(|value| (*value).clone()),
        }
    }
}
