//! Lines of a page that are asked for before they are looked at.
#![expect(unsafe_code, reason = "prefetches")]

use super::{HEADER_BYTES, Page, PageRef};
use crate::page::{Head, PAIR_BYTES, Records};
use core::ops::Range;
use sync::atomic::Ordering;

/// Asks for the line of memory at this address, whatever is there.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that could be seen, and faults at no address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for these bytes, counted from where the page begins, if this is one.
#[inline]
fn prefetch_lines(page: *const Page, bytes: Range<usize>) {
    let mut at = bytes.start;
    // A range with steps takes twice the instructions.
    while at < bytes.end {
        prefetch(page.cast::<u8>().wrapping_add(at));
        at += 64;
    }
}

/// Asks for these bytes of the base page, if this is a page.
#[inline]
pub(crate) fn prefetch_base(page: *const Page, bytes: Range<usize>) {
    prefetch_lines(page, bytes.start + HEADER_BYTES..bytes.end + HEADER_BYTES);
}

/// Asks for what lies behind this record, the newest one, if this is a page: that is where the next
/// will be.
#[inline]
pub(crate) fn prefetch_behind(page: *const Page, newest: Head) {
    let next = usize::from(newest) * 8 + Records::Pairs.bytes(PAIR_BYTES);
    prefetch(page.cast::<u8>().wrapping_add(next));
}

impl PageRef<'_> {
    /// Asks for what every search in the page looks at: its header and that of its base page.
    #[inline]
    pub fn prefetch(self) {
        let start = self.page.as_ptr().cast::<u8>();
        prefetch(start);
        prefetch(start.wrapping_add(HEADER_BYTES));
    }

    /// Asks for where the next record will lie.
    #[inline]
    pub fn prefetch_area(self) {
        let used = self.used_bytes();
        prefetch(self.page.as_ptr().cast::<u8>().wrapping_add(self.area_start() + used));
    }

    /// Asks for the records, however many there are.
    #[inline]
    pub fn prefetch_records(self) {
        let used = self.used_bytes();
        let area = self.area_start();
        prefetch_lines(self.page.as_ptr(), area..area + used.min(1024));
    }

    /// Asks for these bytes of the base page.
    #[inline]
    pub fn prefetch_base(self, bytes: Range<usize>) {
        prefetch_base(self.page.as_ptr(), bytes);
    }

    /// Asks for all of the page: it is about to be copied.
    pub fn prefetch_all(self) {
        self.prefetch_records();
        self.prefetch_base(0..self.header().base_bytes as usize);
    }

    /// Bytes of the area that are reserved, or a few more.
    #[inline]
    fn used_bytes(self) -> usize {
        self.header().tail.load(Ordering::Relaxed) as u32 as usize
    }
}
