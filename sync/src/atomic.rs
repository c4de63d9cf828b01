//! Atomic types and fences.

#[cfg(not(any(loom, shuttle)))]
pub use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering, fence,
};

#[cfg(loom)]
pub use modelled::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering, fence,
};

#[cfg(shuttle)]
pub use shuttle::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering, fence,
};

/// Loom's atomics, and a second way to explore.
///
/// Of the accesses to an atomic loom remembers the last one only. So a load of a thread hides what
/// others have loaded before from a store of that thread, and interleavings that differ in the
/// order of such a load and that store are left out (tokio-rs/loom, issues 166 and 392). Where
/// `LOOM_NEWEST=1` is set, each load is an exchange that fails. No two accesses to one atomic are
/// then independent of each other, and none is hidden; but a load gives the newest value only. So
/// the first way is the one that knows weak memory, and the second the one that knows all orders.
#[cfg(loom)]
mod modelled {
    use core::ops::{Deref, DerefMut};
    use loom::sync::atomic as inner;
    pub use loom::sync::atomic::{Ordering, fence};
    use std::sync::LazyLock;

    static NEWEST: LazyLock<bool> =
        LazyLock::new(|| std::env::var("LOOM_NEWEST").is_ok_and(|set| set == "1"));

    macro_rules! atomics {
        ($($name:ident $(<$param:ident>)? ($value:ty) $any:expr;)*) => {$(
            /// As std's.
            #[derive(Debug)]
            pub struct $name $(<$param>)? (inner::$name $(<$param>)?);

            impl $(<$param>)? $name $(<$param>)? {
                /// An atomic with this value.
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(inner::$name::new(value))
                }

                /// The value; the newest one, if that is what is to be explored.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    if !*NEWEST {
                        return self.0.load(order);
                    }
                    match self.0.compare_exchange($any, $any, order, order) {
                        Ok(value) | Err(value) => value,
                    }
                }
            }

            impl $(<$param>)? Default for $name $(<$param>)? {
                fn default() -> Self {
                    Self(Default::default())
                }
            }

            impl $(<$param>)? Deref for $name $(<$param>)? {
                type Target = inner::$name $(<$param>)?;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }

            impl $(<$param>)? DerefMut for $name $(<$param>)? {
                fn deref_mut(&mut self) -> &mut Self::Target {
                    &mut self.0
                }
            }
        )*};
    }

    // Where there is this value it is put there again. So it is one that is not there.
    atomics! {
        AtomicBool(bool) false;
        AtomicI64(i64) i64::MIN;
        AtomicPtr<T>(*mut T) core::ptr::without_provenance_mut(usize::MAX);
        AtomicU8(u8) u8::MAX;
        AtomicU16(u16) u16::MAX;
        AtomicU32(u32) u32::MAX;
        AtomicU64(u64) u64::MAX;
        AtomicUsize(usize) usize::MAX;
    }
}
