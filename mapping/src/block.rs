//! Blocks: memory from the system for entries that lie one behind the other.
#![expect(unsafe_code, reason = "maps memory, and writes entries into it")]

use core::mem::size_of;
use core::ptr::{self, NonNull};
use std::sync::Arc;
use sync::atomic::{AtomicU64, Ordering};
use types::PageId;

/// Memory is counted in units of this.
const UNIT_BYTES: usize = 4096;

#[cfg(all(target_os = "linux", not(any(miri, loom, shuttle, bwtree_system_pages))))]
mod system {
    use core::ptr::{self, NonNull};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    /// Memory of so many bytes, all zeros.
    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever the system likes.
        let mapped =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) }.ok()?;
        // SAFETY: of our mapping; what is advised does not concern what is in it. Large pages would
        // have memory that nobody has touched.
        let _refused = unsafe { madvise(mapped, bytes, Advice::LinuxNoHugepage) };
        NonNull::new(mapped.cast())
    }

    /// # Safety
    /// `map` gave it with so many bytes, and nobody uses it any more.
    pub(super) unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        let _whole = unsafe { munmap(memory.as_ptr().cast(), bytes) };
    }
}

#[cfg(not(all(target_os = "linux", not(any(miri, loom, shuttle, bwtree_system_pages)))))]
mod system {
    use core::ptr::NonNull;
    use std::alloc::{Layout, alloc, dealloc};

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, 16).ok()
    }

    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a block is not empty.
        NonNull::new(unsafe { alloc(layout(bytes)?) })
    }

    /// # Safety
    /// `map` gave it with so many bytes, and nobody uses it any more.
    pub(super) unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
        if let Some(layout) = layout(bytes) {
            // SAFETY: the caller's promise.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
    }
}

/// What is in front of the bytes of an entry.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) id: u32,
    pub(crate) len: u32,
}

const HEAD_BYTES: usize = size_of::<Head>();

/// Memory for entries. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Block {
    memory: NonNull<u8>,
    pub(crate) bytes: usize,
    /// Bytes of its entries: the next one goes behind them.
    pub(crate) used: usize,
    /// Bytes of those that are live, as its owner says.
    pub(crate) live: usize,
    /// Bytes that the system has had to give for all blocks.
    held: Arc<AtomicU64>,
}

// SAFETY: the memory is the block's own.
unsafe impl Send for Block {}

impl Block {
    pub(crate) fn new(bytes: usize, held: &Arc<AtomicU64>) -> Self {
        let Some(memory) = system::map(bytes) else { panic!("no memory of {bytes} bytes") };
        Self { memory, bytes, used: 0, live: 0, held: Arc::clone(held) }
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> usize {
        self.memory.addr().get()
    }

    /// Whether this is an address in it.
    pub(crate) fn has(&self, at: usize) -> bool {
        (self.start()..self.start() + self.bytes).contains(&at)
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes - self.used >= bytes
    }

    /// Adds an entry, for which there is room.
    pub(crate) fn add(&mut self, id: PageId, bytes: &[u8]) -> NonNull<Head> {
        let size = entry_bytes(bytes.len());
        assert!(self.has_room(size), "the block is full");
        let Ok(len) = u32::try_from(bytes.len()) else { panic!("a place of {size} bytes") };
        let head = Head { id: id.number(), len };
        // SAFETY: there is room for the entry, which nobody has seen, and which is aligned, as
        // blocks and the sizes of entries are.
        let entry = unsafe {
            let entry = self.memory.add(self.used).cast::<Head>();
            entry.write(head);
            ptr::copy_nonoverlapping(bytes.as_ptr(), entry.add(1).cast().as_ptr(), bytes.len());
            entry
        };
        let touched = self.touched();
        self.used += size;
        self.live += size;
        self.held.fetch_add((self.touched() - touched) as u64, Ordering::Relaxed);
        entry
    }

    /// Bytes that the system has had to give.
    fn touched(&self) -> usize {
        self.used.next_multiple_of(UNIT_BYTES).min(self.bytes)
    }

    /// All entries, live or dead.
    pub(crate) fn entries(&self) -> impl Iterator<Item = NonNull<Head>> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            let next = at;
            (next < self.used).then(|| {
                // SAFETY: an entry begins where the one before it ends.
                let entry = unsafe { self.memory.add(next).cast::<Head>() };
                // SAFETY: it lives as long as the block.
                at += entry_bytes(unsafe { entry.as_ref() }.len as usize);
                entry
            })
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.held.fetch_sub(self.touched() as u64, Ordering::Relaxed);
        // SAFETY: it came from `system::map`, with so many bytes; who has it knows that nobody
        // looks at it.
        unsafe { system::unmap(self.memory, self.bytes) };
    }
}

/// Bytes that an entry with so many bytes takes.
pub(crate) fn entry_bytes(len: usize) -> usize {
    (HEAD_BYTES + len).next_multiple_of(align_of::<Head>())
}
