//! The mapping table: a page id is a promise, the table says where it is kept today.
//!
//! ```text
//!   page id --> slot { page word, place }
//!                       |          '--> what the log holds of the page (the appender writes it)
//!                       '-> Resident(page, head) | Capped(page, head) | Unborn(page)
//!                           Merged(into, clock)  | Disk(token)        | Free(next)
//!
//!   page = header | base page (immutable) | delta area: records, newest named by `head`
//! ```
//!
//! # Protocol
//!
//! 1. The page word is the only point of serialisation. An update *reserves* bytes in the area of
//!    the page that it saw, writes its record there, and moves `head` by one CAS
//!    ([`Table::append`]). Consolidation, split, merge, eviction and page-in each publish a whole
//!    page by one CAS of the word that they saw.
//! 2. A page is read-only once it is published, save for the free part of its area, its stamps,
//!    its `listed` word, its fingerprints and its reference bit.
//! 3. Whoever unlinks a page retires it; it is freed when nobody pinned then is pinned any more.
//!    An offset is installed at most once in the life of a page, so a word that was seen under a
//!    pin cannot come back under the same pin: no ABA.
//! 4. A fresh page is **Unborn** until the page that links to it is installed. Who meets it by a
//!    link makes it Resident first ([`Table::birth`]); who meets it any other way finds nothing.
//!
//! # Versions
//!
//! [`Clock`], [`DirtyList`] and [`stamp()`] give every record of a durable tree a version, such
//! that a record stamped `v` is in the commit of every cut `>= v` (I13); [`date`] gives one to
//! those of a tree in memory, and [`date_page`] to pages that were made of sorted input. What a cut
//! of a tree in memory needs of pages that were replaced is their [`History`]. The module docs tell
//! how.

#[cfg(any(
    all(test, loom),
    all(target_os = "linux", not(any(miri, bwtree_system_pages, loom, shuttle)))
))]
mod arena;
mod block;
mod buckets;
mod clock;
mod directory;
mod dirty;
mod hash_hints;
mod history;
mod ids;
mod kept;
#[cfg(not(any(loom, shuttle)))]
mod memory;
mod misuse;
mod page;
mod places;
mod registry;
mod stack;
mod stamp;
mod table;
mod word;

pub use clock::{Clock, OpenCut};
pub use directory::Directory;
pub use dirty::{DirtyList, Listed};
pub use hash_hints::HashHints;
pub use history::{History, Old};
pub use kept::Kept;
#[cfg(not(any(loom, shuttle)))]
pub use memory::{Block, arena_bytes, arena_slack};
pub use page::{
    Birth, Chain, Head, Installed, MOST_MARKS, Match, PageBox, PageRef, PageWriter, Payload,
    RecordRef, Records, Reservation, Written, prefetch,
};
pub use places::PlaceBytes;
pub use stack::Stack;
pub use stamp::{date, date_page, date_successors, stamp};
pub use table::{Table, TableFull, Unlinked};
pub use word::Word;

const _: () = assert!(usize::BITS == 64, "page words need 64-bit pointers");

/// Bytes, in a model, which has no arena.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub struct Block(Box<[u8]>);

#[cfg(any(loom, shuttle))]
impl Block {
    /// Most bytes of a block.
    pub const MOST_BYTES: usize = 32 << 10;

    /// A copy of these bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

#[cfg(any(loom, shuttle))]
impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Nothing lies free between the pages of a model, which has no arena.
#[cfg(any(loom, shuttle))]
pub fn arena_slack(_bytes: u64) -> u64 {
    0
}
