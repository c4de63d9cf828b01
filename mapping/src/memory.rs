//! Where the memory of pages, and of values beside them, comes from: the arena, or the global
//! allocator.
//!
//! The global allocator has what the arena does not take: large pages, what is wanted while every
//! shard is in use, and everything where there is no arena: on other systems than Linux, under
//! Miri, and with `--cfg bwtree_system_pages`, so that sanitizers see each page by itself.
#![expect(unsafe_code, reason = "allocates and frees")]

use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// What the memory of a page is aligned to, and its size a multiple of: two lines, so that the
/// header and that of the base page are such a pair as processors fetch together.
pub(crate) const ALIGN: usize = 128;

#[cfg(all(target_os = "linux", not(any(miri, bwtree_system_pages))))]
mod from {
    use super::NonNull;
    use crate::arena::{Pool, Space};
    use core::cell::Cell;
    use std::sync::LazyLock;

    /// Larger pages are not from the arena: a slab has room for few of them.
    const LARGEST: usize = 32 << 10;

    static POOL: LazyLock<Option<Pool<Space>>> = LazyLock::new(Pool::new);

    std::thread_local! {
        // Nothing to drop: pages are freed while a thread drops its thread-locals.
        static HOME: Cell<usize> = const { Cell::new(0) };
    }

    #[inline]
    pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
        let pool = POOL.as_ref().filter(|_| bytes <= LARGEST)?;
        HOME.with(|home| pool.allocate(bytes, home))
    }

    #[inline]
    pub(super) unsafe fn release(memory: NonNull<u8>, bytes: usize) -> bool {
        let Some(pool) = POOL.as_ref() else { return false };
        // SAFETY: the caller's promise.
        HOME.with(|home| unsafe { pool.release(memory, bytes, home) })
    }

    pub(super) fn resident_bytes() -> Option<u64> {
        POOL.as_ref().map(Pool::resident_bytes)
    }

    pub(super) fn used_bytes() -> Option<u64> {
        POOL.as_ref().map(Pool::used_bytes)
    }
}

#[cfg(not(all(target_os = "linux", not(any(miri, bwtree_system_pages)))))]
mod from {
    use super::NonNull;

    pub(super) fn allocate(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(super) unsafe fn release(_memory: NonNull<u8>, _bytes: usize) -> bool {
        false
    }

    pub(super) fn resident_bytes() -> Option<u64> {
        None
    }

    pub(super) fn used_bytes() -> Option<u64> {
        None
    }
}

/// Bytes of memory that the arena of this process has from the system, at most; `None` where pages
/// come from the global allocator.
pub fn arena_bytes() -> Option<u64> {
    from::resident_bytes()
}

/// What the arena has in slabs that are held, and kept although they are empty.
const APART_BYTES: u64 = 4 << 20;

/// Of so many bytes of pages and blocks, those that lie free between them: each takes its share of
/// what the arena of this process has from the system and nothing uses. At most as many: where
/// large pages make room for small ones, as much lies free between these. And nothing of what there
/// is however few pages there are: they are not to blame for whole slabs.
pub fn arena_slack(bytes: u64) -> u64 {
    let (Some(there), Some(used)) = (from::resident_bytes(), from::used_bytes()) else { return 0 };
    let free = there.saturating_sub(used).saturating_sub(APART_BYTES);
    let share = u128::from(free) * u128::from(bytes.min(used)) / u128::from(used.max(1));
    (share as u64).min(bytes)
}

/// Bytes in memory from where pages have theirs: what comes and goes with pages, allocated by one
/// thread and freed by another, leaves no holes in the heaps of threads, which they keep.
#[derive(Debug)]
pub struct Block {
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: nobody but its owner knows the memory, and through a shared reference it is only read.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// Most bytes of a block: what is longer goes back to the system by itself.
    pub const MOST_BYTES: usize = 32 << 10;

    /// A copy of these bytes.
    ///
    /// # Panics
    /// If there are more than [`MOST_BYTES`](Self::MOST_BYTES).
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let len = bytes.len();
        assert!(len <= Self::MOST_BYTES, "a block of {len} bytes");
        let memory = allocate(Self::allocated(len));
        // SAFETY: new memory of as many bytes or more.
        unsafe { memory.copy_from_nonoverlapping(NonNull::from(bytes).cast(), len) };
        Self { memory, len }
    }

    fn allocated(len: usize) -> usize {
        len.max(1).next_multiple_of(ALIGN)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so many bytes were written when it was made, and nobody writes to it.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with so many bytes, and its owner goes.
        unsafe { release(self.memory, Self::allocated(self.len)) };
    }
}

/// Memory for a page: so many bytes, a multiple of [`ALIGN`] and not 0, aligned to it.
#[inline]
pub(crate) fn allocate(bytes: usize) -> NonNull<u8> {
    debug_assert!(bytes > 0 && bytes.is_multiple_of(ALIGN));
    from::allocate(bytes).unwrap_or_else(|| allocate_globally(bytes))
}

#[cold]
fn allocate_globally(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Frees the memory of a page.
///
/// # Safety
/// It came from [`allocate`] with so many bytes, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn release(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    if !unsafe { from::release(memory, bytes) } {
        // SAFETY: what is not from the arena was allocated with this layout.
        unsafe { dealloc(memory.as_ptr(), layout(bytes)) };
    }
}

fn layout(bytes: usize) -> Layout {
    // SAFETY: 64 is a power of two, and pages are far smaller than `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(bytes, ALIGN) }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_copies_from_where_pages_are() {
        let bytes: Vec<u8> = (0..Block::MOST_BYTES).map(|at| at as u8).collect();
        let lens = [0, 1, 127, 128, 129, 1025, 8192, Block::MOST_BYTES];
        let blocks = lens.map(|len| Block::copy_of(&bytes[..len]));
        for (block, len) in blocks.iter().zip(lens) {
            assert_eq!(block.as_ref(), &bytes[..len]);
        }
        // Freed by another thread.
        let freed = std::thread::spawn(move || drop(blocks)).join();
        assert!(freed.is_ok());
        let more = vec![0; Block::MOST_BYTES + 1];
        assert!(std::panic::catch_unwind(|| Block::copy_of(&more)).is_err());
    }
}
