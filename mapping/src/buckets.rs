//! An array that grows without moving: bucket `k` has `FIRST << k` elements, and comes when the
//! first of them is needed.
#![expect(unsafe_code, reason = "a bucket is published by a pointer, and freed with the array")]

use core::ptr::{self, NonNull};
use sync::atomic::{AtomicPtr, Ordering};

const FIRST: usize = 8;
#[cfg(not(loom))]
const BUCKETS: usize = 29;
#[cfg(loom)]
const BUCKETS: usize = 2;

/// The array.
pub(crate) struct Buckets<T> {
    buckets: [AtomicPtr<T>; BUCKETS],
}

/// Which bucket an element is in, and where in it.
#[inline]
fn place_of(index: usize) -> (usize, usize) {
    let n = index + FIRST;
    let bucket = (n / FIRST).ilog2() as usize;
    (bucket, n - (FIRST << bucket))
}

impl<T: Default> Buckets<T> {
    pub(crate) fn new() -> Self {
        Self { buckets: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// The element; `None` if its bucket has not come.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (bucket, at) = place_of(index);
        // ORDERING: Acquire pairs with the Release in `grow`.
        let elements = NonNull::new(self.buckets.get(bucket)?.load(Ordering::Acquire))?;
        // SAFETY: a bucket has `FIRST << bucket` elements, never moves and lives as long as the
        // array.
        Some(unsafe { elements.add(at).as_ref() })
    }

    /// Makes sure that there is an element. `false` if there can be none.
    pub(crate) fn grow(&self, index: usize) -> bool {
        let (bucket, _) = place_of(index);
        let Some(cell) = self.buckets.get(bucket) else { return false };
        // ORDERING: Acquire pairs with the Release below.
        if !cell.load(Ordering::Acquire).is_null() {
            return true;
        }
        let elements: Box<[T]> = (0..FIRST << bucket).map(|_| T::default()).collect();
        let elements = Box::into_raw(elements).cast::<T>();
        let (null, release, acquire) = (ptr::null_mut(), Ordering::Release, Ordering::Acquire);
        // ORDERING: Release publishes the elements.
        if cell.compare_exchange(null, elements, release, acquire).is_err() {
            // SAFETY: nobody has seen this bucket.
            drop(unsafe { Self::boxed(elements, bucket) });
        }
        true
    }

    unsafe fn boxed(elements: *mut T, bucket: usize) -> Box<[T]> {
        // SAFETY: the caller owns the bucket, which came from a box of this length.
        unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(elements, FIRST << bucket)) }
    }

    /// Bytes of memory that the elements take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let held = |(bucket, cell): (usize, &AtomicPtr<T>)| {
            let has_come = !cell.load(Ordering::Relaxed).is_null();
            if has_come { (FIRST << bucket) * size_of::<T>() } else { 0 }
        };
        self.buckets.iter().enumerate().map(held).sum()
    }
}

impl<T> Buckets<T> {
    /// Takes all elements out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        let taken = self.buckets.iter().enumerate().filter_map(|(bucket, cell)| {
            // ORDERING: Relaxed; `&mut self`: nobody else uses the array.
            let elements = cell.swap(ptr::null_mut(), Ordering::Relaxed);
            let elements = ptr::slice_from_raw_parts_mut(elements, FIRST << bucket);
            // SAFETY: what the cell owned is ours now, and came from a box of this length.
            (!elements.is_null()).then(|| unsafe { Box::from_raw(elements) })
        });
        taken.flatten()
    }
}

impl<T> Drop for Buckets<T> {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}
