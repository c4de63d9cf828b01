//! The resident page: one allocation with a header, an immutable base page and a delta area.
//!
//! ```text
//!    0  serial u32 | base bytes u32 | area bytes u32 | flags (reference bit, tree)
//!   16  tail: records reserved (upper half) and area bytes reserved (lower half)
//!   24  base version: largest version folded into the base
//!   32  listed: the last interval in which the page was put on the dirty list
//!   40  fingerprints of the first 24 records, a byte each
//!   64  base page .. delta area
//! ```
//!
//! The serial changes with every SMO and is kept by consolidation: a page whose image in the log
//! has another serial has another range, or other children, than the log knows.
//!
//! A record is a head and a payload that this crate does not look into. There are two kinds, one
//! for all records of a page, see [`Records`]:
//!
//! ```text
//!   sized   stamp u64 | prev:16, length:48 | payload, padded to 8      16 bytes and the payload
//!   pairs   prev:16, mark:4, stamp:44 | payload of 16                  24 bytes
//! ```
//!
//! Reserving loads the tail before it adds to it, so that overshooting cannot wrap it.
//!
//! The same code runs in production over raw bytes and under loom over cells that loom watches:
//! `raw` and `modelled` give the same operations.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod raw;

#[cfg(loom)]
pub use modelled::{PageBox, PageRef, RecordRef, Reservation};
#[cfg(not(loom))]
pub use raw::{PageBox, PageRef, RecordRef, Reservation};

#[cfg(loom)]
pub(crate) use modelled::Page;
#[cfg(not(loom))]
pub(crate) use raw::Page;

/// What a page starts its life with, besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Largest version folded into the base.
    pub base_version: u64,
    /// Number of the SMO that made the page.
    pub serial: u32,
    /// The tree that the page is of, below 2^24.
    pub tree: u32,
}

/// Records that have a fingerprint; later ones in the same page have none.
pub(crate) const FINGERPRINTS: usize = 24;

/// How the records of a page lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Payloads of any length.
    Sized,
    /// Payloads of two words, and a mark of four bits.
    Pairs,
}

impl Records {
    /// Bytes of area that a record with this payload takes.
    ///
    /// # Panics
    /// In a debug build, if a pair has another payload than one of 16 bytes.
    #[inline]
    pub const fn bytes(self, payload_bytes: usize) -> usize {
        match self {
            Self::Sized => 16 + payload_bytes.next_multiple_of(8),
            Self::Pairs => {
                debug_assert!(payload_bytes == PAIR_BYTES);
                8 + PAIR_BYTES
            }
        }
    }
}

/// Payload of a record in [`Records::Pairs`].
pub(crate) const PAIR_BYTES: usize = 16;

/// Versions in [`Records::Pairs`] are below this.
#[cfg(not(loom))]
pub(crate) const VERSIONS: u64 = 1 << 44;

/// Which record of a page is the newest: 0 is none.
pub type Head = u16;

/// A page as it was seen in its word: the page and its newest record then.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'g> {
    page: PageRef<'g>,
    head: Head,
}

impl<'g> Chain<'g> {
    pub(crate) fn new(page: PageRef<'g>, head: Head) -> Self {
        Self { page, head }
    }

    /// The page.
    #[inline]
    pub fn page(self) -> PageRef<'g> {
        self.page
    }

    /// The newest record, 0 if there is none.
    #[inline]
    pub fn head(self) -> Head {
        self.head
    }

    /// The bytes of the base page.
    #[inline]
    pub fn base(self) -> &'g [u8] {
        self.page.base()
    }

    /// The newest record.
    #[inline]
    pub fn newest(self) -> Option<RecordRef<'g>> {
        (self.head != 0).then(|| self.page.record(self.head))
    }

    /// The records, newest first.
    #[inline]
    pub fn records(self) -> impl Iterator<Item = RecordRef<'g>> {
        let mut head = self.head;
        core::iter::from_fn(move || {
            if head == 0 {
                return None;
            }
            let record = self.page.record(head);
            head = record.prev();
            Some(record)
        })
    }
}

/// The fingerprint words have a byte equal to `wanted`, or too many records to tell.
#[inline]
fn any_byte(words: impl IntoIterator<Item = u64>, wanted: u8) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let pattern = LOW.wrapping_mul(u64::from(wanted));
    words.into_iter().any(|word| {
        let x = word ^ pattern;
        x.wrapping_sub(LOW) & !x & HIGH != 0
    })
}
