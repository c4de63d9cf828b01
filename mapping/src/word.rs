//! The page word: 64 bits that say where a page is now.
//!
//! ```text
//!   63        48 47                                3 2   0
//!   head         pointer (pages are 64-aligned)      tag      Resident, Capped, Unborn, Merged,
//!                                                             Partial
//!   token                                            tag      Disk
//!   next free page id                                tag      Free
//! ```
//!
//! The word is an `AtomicPtr` so that the pointer keeps its provenance; addresses above 2^47 would
//! collide with the head and are refused when a page is published.

use crate::page::{Chain, Head, Page, PageRef};
use types::PageId;

pub(crate) const FREE: usize = 0;
pub(crate) const RESIDENT: usize = 1;
pub(crate) const CAPPED: usize = 2;
pub(crate) const UNBORN: usize = 3;
pub(crate) const MERGED: usize = 4;
pub(crate) const DISK: usize = 5;
pub(crate) const PARTIAL: usize = 6;

pub(crate) const TAG_BITS: u32 = 3;
const TAG_MASK: usize = (1 << TAG_BITS) - 1;
const HEAD_SHIFT: u32 = 48;
const POINTER_MASK: usize = ((1 << HEAD_SHIFT) - 1) & !TAG_MASK;

/// A word exactly as it was seen, to be named in a CAS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen(pub(crate) *mut Page);

/// What a page word says.
#[derive(Clone, Copy, Debug)]
pub enum Word<'g> {
    /// The id names no page.
    Free,
    /// The page is in memory.
    Resident(Chain<'g>),
    /// The page is in memory and being merged into its left neighbour: it takes no more records
    /// and answers nothing itself.
    Capped(Chain<'g>),
    /// The page has been made, but the page that links to it may not have been installed.
    Unborn,
    /// The page was merged into `into` when the clock read `clock`.
    Merged {
        /// The page that absorbed it.
        into: PageId,
        /// The clock when this word was set.
        clock: u64,
    },
    /// The page is in the log only. The token is new at each eviction.
    Disk(u64),
    /// The page is in the log, but for records that were written without reading it: what is in
    /// memory is a page of these, whose base is empty and has, as its version, the token.
    Partial(Chain<'g>),
}

/// What a Merged word points to.
#[derive(Debug)]
pub(crate) struct Tomb {
    pub(crate) into: PageId,
    pub(crate) clock: u64,
}

const _: () = assert!(align_of::<Tomb>() > TAG_MASK);

impl Seen {
    pub(crate) fn tag(self) -> usize {
        self.0.addr() & TAG_MASK
    }

    pub(crate) fn pointer(self) -> *mut Page {
        self.0.map_addr(|word| word & POINTER_MASK)
    }

    pub(crate) fn head(self) -> Head {
        (self.0.addr() >> HEAD_SHIFT) as Head
    }

    /// The upper 61 bits: a token or the next free id.
    pub(crate) fn number(self) -> u64 {
        (self.0.addr() >> TAG_BITS) as u64
    }

    /// A word with a pointer.
    ///
    /// # Panics
    /// If the address needs more than 48 bits or has bits where the tag goes.
    #[inline]
    pub(crate) fn with_pointer(pointer: *mut Page, head: Head, tag: usize) -> Self {
        assert!(pointer.addr() & !POINTER_MASK == 0, "a page address above 2^48");
        Self::joined(pointer, head, tag)
    }

    pub(crate) fn with_number(number: u64, tag: usize) -> Self {
        Self(core::ptr::without_provenance_mut((number as usize) << TAG_BITS | tag))
    }

    /// A word with a page that is published: so its address is known to fit.
    #[inline]
    pub(crate) fn of(page: PageRef<'_>, head: Head, tag: usize) -> Self {
        Self::joined(page.as_raw(), head, tag)
    }

    #[inline]
    fn joined(pointer: *mut Page, head: Head, tag: usize) -> Self {
        Self(pointer.map_addr(|p| p | usize::from(head) << HEAD_SHIFT | tag))
    }
}
