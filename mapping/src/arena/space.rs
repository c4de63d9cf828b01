//! Addresses for all slabs there can be, in one row, and the system that gives memory to them.
//!
//! Taken once, and never given back: an address says by itself whether it belongs here, and to
//! which slab. Addresses cost nothing; memory comes when they are touched, and goes when a slab
//! gives it back.
#![expect(unsafe_code, reason = "maps memory, and makes pointers into it")]

use super::pool::{MOST_SLABS, Memory, Place, Pool, Sizes};
use super::slab::Run;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};

/// Bytes of a unit: what pages are aligned to, and multiples of.
const UNIT_BYTES: usize = crate::memory::ALIGN;
/// Bytes of a slab: a large page of x86-64, and of most others.
const SLAB_BYTES: usize = 2 << 20;
/// Bytes that memory is given back in.
const PAGE_BYTES: usize = 4096;
/// Fewer addresses than this many slabs are of no use.
const FEWEST_SLABS: usize = 64;
/// Slabs that are kept although they are empty.
const MOST_KEPT: u32 = 2;
/// Bytes that may have memory and be free, beside a quarter of what is in use.
const SLACK_BYTES: u64 = 2 * SLAB_BYTES as u64;
/// Most shards.
const MOST_SHARDS: usize = 64;

/// A row of addresses.
#[derive(Debug)]
pub(crate) struct Space {
    start: NonNull<u8>,
    slabs: usize,
}

// SAFETY: the addresses belong to nobody; pages in them to those who took them from the pool.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// As many addresses as the system gives, up to `MOST_SLABS` slabs.
    fn new() -> Option<Self> {
        let mut slabs = MOST_SLABS;
        while slabs >= FEWEST_SLABS {
            if let Some(start) = Self::map((slabs + 1) * SLAB_BYTES) {
                let skip = start.align_offset(SLAB_BYTES);
                // SAFETY: there is one slab more than is used, to begin at a multiple.
                let start = NonNull::new(unsafe { start.cast::<u8>().add(skip) })?;
                return Some(Self { start, slabs });
            }
            slabs /= 4;
        }
        None
    }

    fn map(bytes: usize) -> Option<*mut u8> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, wherever the system likes.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), flags) };
        mapped.ok().map(<*mut _>::cast)
    }

    fn pointer(&self, slab: usize, offset: usize) -> NonNull<u8> {
        debug_assert!(slab < self.slabs && offset < SLAB_BYTES);
        // SAFETY: inside the mapping.
        unsafe { self.start.add(slab * SLAB_BYTES + offset) }
    }

    /// The offset of an address, if it is one of these.
    #[inline]
    fn offset(&self, address: NonNull<u8>) -> Option<usize> {
        let offset = address.as_ptr().addr().wrapping_sub(self.start.as_ptr().addr());
        (offset < self.slabs * SLAB_BYTES).then_some(offset)
    }

    fn advise(&self, slab: usize, advice: Advice) {
        let start = self.pointer(slab, 0).as_ptr().cast();
        // SAFETY: what is advised concerns how memory is mapped, and not what is in it. A system
        // that does not take the advice does without.
        let _refused = unsafe { madvise(start, SLAB_BYTES, advice) };
    }
}

impl Memory for Space {
    fn open(&self, slab: usize) -> bool {
        let start = self.pointer(slab, 0).as_ptr().cast();
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: a slab of our mapping, in which nothing is yet.
        unsafe { mprotect(start, SLAB_BYTES, access).is_ok() }
    }

    fn expect_use(&self, slab: usize, large_pages: bool) {
        if large_pages {
            self.advise(slab, Advice::LinuxHugepage);
        }
    }

    fn expect_gaps(&self, slab: usize) {
        // Or the system fills them some time later, to make a large page again.
        self.advise(slab, Advice::LinuxNoHugepage);
    }

    fn give_back(&self, slab: usize, first_page: u32, pages: u32) {
        let bytes = pages as usize * PAGE_BYTES;
        let start = self.pointer(slab, first_page as usize * PAGE_BYTES).as_ptr().cast();
        // SAFETY: the pool says that nothing is in use there, and keeps it so meanwhile.
        let _refused = unsafe { madvise(start, bytes, Advice::LinuxDontNeed) };
    }
}

impl Pool<Space> {
    /// Slabs over addresses of our own. `None` if the system gives none.
    pub(crate) fn new() -> Option<Self> {
        let space = Space::new()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sizes = Sizes {
            slabs: space.slabs,
            units: (SLAB_BYTES / UNIT_BYTES) as u32,
            page_units: (PAGE_BYTES / UNIT_BYTES) as u32,
            shards: (cores * 2).next_power_of_two().min(MOST_SHARDS),
            most_kept: MOST_KEPT,
            slack: SLACK_BYTES / UNIT_BYTES as u64,
        };
        Some(Self::with(space, sizes))
    }

    /// Memory of so many bytes, a multiple of 64, at a multiple of 64.
    #[inline]
    pub(crate) fn allocate(&self, bytes: usize, home: &Cell<usize>) -> Option<NonNull<u8>> {
        let place = self.take((bytes / UNIT_BYTES) as u32, home)?;
        Some(self.memory.pointer(place.slab, place.run.first as usize * UNIT_BYTES))
    }

    /// Takes memory back. `false` if it is not from here.
    ///
    /// # Safety
    /// If it is from here, `allocate` gave it with so many bytes, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn release(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        home: &Cell<usize>,
    ) -> bool {
        let Some(offset) = self.memory.offset(memory) else { return false };
        let (first, units) = (offset % SLAB_BYTES / UNIT_BYTES, bytes / UNIT_BYTES);
        let run = Run { first: first as u32, units: units as u32 };
        self.free(Place { slab: offset / SLAB_BYTES, run }, home);
        true
    }

    /// Bytes of memory that the slabs have, at most: what was touched of the first is not known.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_pages() * PAGE_BYTES as u64
    }

    /// Bytes of the pages in it, about.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.units_in_use() * UNIT_BYTES as u64
    }
}
