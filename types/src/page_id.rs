//! A page id names a logical page; it never says where the page is.

use core::fmt;

/// The name of a logical page: an index into the mapping table.
///
/// A page keeps its id while its place changes: resident, on disk, replaced by a consolidation.
/// An id never changes its meaning while a thread that may know it is pinned (invariant I1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageId(u32);

impl PageId {
    /// No page: the right link of the last page of a level.
    pub const NONE: Self = Self(0);

    /// The page id with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, as it stands in links and in the log.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The number as an index into the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether this names no page.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether this names a page.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
