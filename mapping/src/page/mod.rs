//! The resident page: one allocation with a header, an immutable base page and a delta area.
//!
//! ```text
//!    0  serial u32 | base bytes u32 | area words u16 | owners u16 | flags (reference bit, tree)
//!   16  tail: records reserved (upper half) and area bytes reserved (lower half)
//!   24  base version: largest version folded into the base; 0 while it is not decided
//!   32  listed: the last interval in which the page was put on the dirty list; in memory, where
//!       there is no such list, the history: what the page was, for the cuts that need it
//!   40  fingerprints of the first 24 records, a byte each
//!   64  base page .. delta area .. of sized records: where the first 24 of them are, u16 each
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
//!   pairs   slot of prev:8, mark:13, in order:1, stamp:42 | payload    24 bytes
//! ```
//!
//! A pair is *in order* if its key is above those of all that the page had when it was installed,
//! which whoever made it says, and if the pairs before it are, and lie in the slots before its own.
//! So behind the newest one, if it is in order, lie all records of the chain, in the order of their
//! keys: a page that only grows at its end can have many of them, and be searched in a few steps.
//!
//! Reserving loads the tail before it adds to it, so that overshooting cannot wrap it.
//!
//! # Who may do what
//!
//! Safe code can't misuse a page, because each step takes what only the step before it gives:
//!
//! ```text
//!   PageWriter    finish   -> PageBox      only when all of the base page is written
//!   Chain         reserve  -> Reservation  bytes of the area that are nobody else's
//!   Reservation   write    -> Written      only when all of the payload is written
//!   Written       append   -> Installed    a record of the page that was seen, on its newest one
//!   Chain         a CAS    -> Unlinked     by [`Table`](crate::Table): of each page once
//!   Unlinked      retire                   gives up the word's share of the page, once
//! ```
//!
//! A page is freed by the last of its *owners*: what its id's word had, and each
//! [`Old`](crate::Old) that names it. A [`Chain`] borrows the pin and the table, or the `Old`, that
//! it was found by, and a record borrows what its chain does. Heads are given out, and never taken:
//! so each one that is followed came from a word or a record of the same page.
//!
//! The same code runs in production over raw bytes and under loom over cells that loom watches:
//! `raw` and `modelled` give the same operations.

mod aside;
#[cfg(any(loom, shuttle))]
mod modelled;
#[cfg(not(any(loom, shuttle)))]
mod raw;

#[cfg(any(loom, shuttle))]
pub use modelled::{PageBox, PageRef, PageWriter, Payload, RecordRef, Reservation};
#[cfg(not(any(loom, shuttle)))]
pub use raw::{PageBox, PageRef, PageWriter, Payload, RecordRef, Reservation};

#[cfg(any(loom, shuttle))]
pub use modelled::prefetch;
#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{Page, prefetch_base, prefetch_behind};
#[cfg(not(any(loom, shuttle)))]
pub use raw::prefetch;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use raw::{Page, prefetch_base, prefetch_behind};

use aside::CLOSED;
use core::cmp;
use sync::atomic::{AtomicU16, Ordering};

/// What a page starts its life with, besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Largest version folded into the base; 0 if it is to be decided later.
    pub base_version: u64,
    /// Number of the SMO that made the page.
    pub serial: u32,
    /// The tree that the page is of, below [`TREE_NUMBERS`](types::limits::TREE_NUMBERS).
    pub tree: u32,
}

/// Records that have a fingerprint; later ones in the same page have none.
pub(crate) const FINGERPRINTS: usize = 24;

/// How the records of a page lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Payloads of any length.
    Sized,
    /// Payloads of two words, and a mark of at most [`MOST_MARKS`]; 255 of them in a page.
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

/// The largest mark of a record in [`Records::Pairs`].
pub const MOST_MARKS: u16 = (1 << 13) - 1;

/// Records of a page in [`Records::Pairs`].
#[cfg(not(any(loom, shuttle)))]
pub(crate) const MOST_PAIRS: u64 = 255;

/// Versions in [`Records::Pairs`] are below this.
#[cfg(not(any(loom, shuttle)))]
pub(crate) const VERSIONS: u64 = 1 << 42;

/// Which record of a page is the newest: 0 is none.
pub type Head = u16;

/// Whether a record that lies from one byte of the area to another is the one with which that
/// becomes nearly full: seven eighths of it.
#[inline]
const fn nears_end(record: (usize, usize), area_bytes: usize) -> bool {
    let (before, behind) = record;
    before * 8 < area_bytes * 7 && area_bytes * 7 <= behind * 8
}

/// How many own a page: the word of its id, or who has unlinked it, and each [`Old`](crate::Old)
/// that names it.
struct Owners(AtomicU16);

impl Owners {
    fn one() -> Self {
        Self(AtomicU16::new(1))
    }

    /// One more, by who has found the page under a pin: so there is one.
    fn add(&self) {
        let more = |owners: u16| owners.checked_add(1);
        // ORDERING: Relaxed, as for an `Arc`; whoever gives it up orders what was done before.
        let added = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        assert!(added.is_ok(), "too many own a page");
    }

    /// One less. Says whether it was the last: then nobody uses the page any more.
    fn is_last(&self) -> bool {
        // ORDERING: Acquire pairs with the Release below. Who is the only one stays that: another
        // would have to be pinned since before the page was unlinked, or come by an `Old`.
        self.0.load(Ordering::Acquire) == 1 || self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// A record that is written, and not installed yet.
#[derive(Debug)]
pub struct Written<'g> {
    record: Reservation<'g>,
    mark: u16,
    rises: bool,
}

impl<'g> Written<'g> {
    /// The newest record of a chain of the same page.
    ///
    /// # Panics
    /// If the chain is of another page.
    #[inline]
    pub fn newest_of(&self, seen: Chain<'g>) -> Option<RecordRef<'g>> {
        self.expect_page(seen);
        (seen.head() != 0).then(|| seen.page.record_of(self.record.records(), seen.head()))
    }

    /// Says of a pair whether its key is above those of all records of the chain that it will be
    /// installed on, and of the base page.
    #[inline]
    pub fn set_rises(&mut self, rises: bool) {
        self.rises = rises;
    }

    /// Links it to the newest record that was seen.
    #[inline]
    pub(crate) fn link(&self, seen: Chain<'_>) {
        self.expect_page(seen);
        let in_order = self.rises && self.record.is_behind(seen.head()) && seen.is_in_order();
        self.record.link(seen.head(), self.mark, in_order);
    }

    #[inline]
    fn expect_page(&self, seen: Chain<'_>) {
        assert!(self.record.page() == seen.page, "a record of another page");
    }

    /// How a word names it.
    #[inline]
    pub(crate) fn head(&self) -> Head {
        self.record.head()
    }

    /// The CAS of the word has succeeded.
    #[inline]
    pub(crate) fn installed(self) -> Installed<'g> {
        Installed(self.record)
    }
}

/// A record that was installed just now.
#[derive(Debug)]
pub struct Installed<'g>(Reservation<'g>);

impl<'g> Installed<'g> {
    #[inline]
    fn head(&self) -> Head {
        self.0.head()
    }

    /// The record.
    #[inline]
    pub fn record(&self) -> RecordRef<'g> {
        self.0.page().record_of(self.0.records(), self.0.head())
    }

    /// Whether this is the record with which the area becomes nearly full.
    #[inline]
    pub fn nears_end(&self) -> bool {
        self.0.nears_end()
    }
}

/// A page as it was seen in its word: the page and its newest record then.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'g> {
    page: PageRef<'g>,
    /// The newest record, and above it [`UNLINKED`]: one number, so that it is copied as one.
    seen: u32,
}

/// That the page was found by an [`Old`](crate::Old). If it was not, its id's word had it when the
/// pin was there, so its history lives as long as that.
const UNLINKED: u32 = 1 << Head::BITS;

impl<'g> Chain<'g> {
    /// Of a page that was loaded from a word.
    #[inline]
    pub(crate) fn new(page: PageRef<'g>, head: Head) -> Self {
        Self { page, seen: u32::from(head) }
    }

    /// Of a page that an [`Old`](crate::Old) names.
    #[inline]
    pub(crate) fn old(page: PageRef<'g>, head: Head) -> Self {
        Self { page, seen: u32::from(head) | UNLINKED }
    }

    /// The page.
    #[inline]
    pub fn page(self) -> PageRef<'g> {
        self.page
    }

    /// The newest record, 0 if there is none.
    #[inline]
    pub fn head(self) -> Head {
        self.seen as Head
    }

    /// The bytes of the base page.
    #[inline]
    pub fn base(self) -> &'g [u8] {
        self.page.base()
    }

    /// The newest record.
    #[inline]
    pub fn newest(self) -> Option<RecordRef<'g>> {
        (self.head() != 0).then(|| self.page.record(self.head()))
    }

    /// Whether the records are pairs that lie in the order of their keys, and in the first slots.
    #[inline]
    pub fn is_in_order(self) -> bool {
        self.page.records() == Records::Pairs && self.newest().is_none_or(RecordRef::is_in_order)
    }

    /// How many records there are, if they are [in order](Self::is_in_order).
    #[inline]
    pub fn in_order(self) -> Option<usize> {
        self.is_in_order().then(|| self.page.slot_of(self.head()) as usize)
    }

    /// The record with this key, of records that are [in order](Self::is_in_order), without
    /// walking; if they are not, [`Match::Walk`].
    pub fn search(self, key: [u8; 8]) -> Match<'g> {
        if !self.is_in_order() {
            return Match::Walk;
        }
        // All of these slots are of records that were installed before the newest one.
        let (mut low, mut high) = (0, self.page.slot_of(self.head()));
        while low < high {
            let middle = u64::midpoint(low, high);
            let record = self.page.record(self.page.head_of(middle + 1));
            match record.pair_key().cmp(&key) {
                cmp::Ordering::Less => low = middle + 1,
                cmp::Ordering::Equal => return Match::One(record),
                cmp::Ordering::Greater => high = middle,
            }
        }
        Match::None
    }

    /// The newest record with this key, of records in [`Records::Pairs`], without walking.
    ///
    /// A fingerprint says where its record lies, so that one look at it tells. What that may find:
    ///
    /// 1. A record that was reserved and not installed. It has no version then, and the answer is
    ///    [`Match::Walk`]. A record with a version was installed in this page and is immutable.
    /// 2. A record that was installed after the chain was seen: at that moment, which is after
    ///    the operation began, it was the newest of its key. (An update that goes on from here
    ///    fails at its CAS.)
    /// 3. Only one record of the key: another one whose fingerprint was not there yet when it was
    ///    looked for was not installed then.
    #[inline]
    pub fn find_pair(self, fingerprint: u8, key: [u8; 8]) -> Match<'g> {
        if self.head() == 0 { Match::None } else { self.page.find_pair(fingerprint, key) }
    }

    /// Mark, key and value of the records, newest first, of records in [`Records::Pairs`].
    ///
    /// # Panics
    /// If they are not.
    #[inline]
    pub fn pairs(self) -> impl Iterator<Item = (u16, [u8; 8], &'g [u8; 8])> {
        assert!(self.page.records() == Records::Pairs, "records of another kind");
        let mut head = self.head();
        core::iter::from_fn(move || {
            if head == 0 {
                return None;
            }
            let (prev, pair) = self.page.pair(head);
            head = prev;
            Some(pair)
        })
    }

    /// The chain as it was before the newest records of which `newer` says yes.
    #[must_use]
    pub fn before(self, newer: impl FnMut(&RecordRef<'g>) -> bool) -> Self {
        let mut head = self.head();
        for record in self.records().take_while(newer) {
            head = record.prev();
        }
        Self { page: self.page, seen: self.seen & UNLINKED | u32::from(head) }
    }

    /// The newest record for whose payload `is_of_key` holds, of records in [`Records::Sized`],
    /// without walking.
    ///
    /// The page tells for each fingerprint where its record lies. The rest is as in
    /// [`find_pair`](Self::find_pair): a payload is written once, before its fingerprint.
    #[inline]
    pub fn find_sized(self, fingerprint: u8, is_of_key: impl Fn(&'g [u8]) -> bool) -> Match<'g> {
        if self.head() == 0 { Match::None } else { self.page.find_sized(fingerprint, is_of_key) }
    }

    /// The records, newest first.
    #[inline]
    pub fn records(self) -> impl Iterator<Item = RecordRef<'g>> {
        let mut head = self.head();
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

/// What the fingerprints know of a key.
#[derive(Clone, Copy, Debug)]
pub enum Match<'g> {
    /// No record of the chain is of this key.
    None,
    /// This record is, and is the newest one of the key, at some moment since the chain was seen.
    One(RecordRef<'g>),
    /// There may be several, or one that is not known to be installed: the chain has to be walked.
    Walk,
}

/// Which bytes of a word of fingerprints equal `wanted`: the upper bit of each that does.
#[inline]
fn equal_bytes(word: u64, wanted: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let x = word ^ LOW.wrapping_mul(u64::from(wanted));
    // Exact for each byte: no carry leaves the byte it comes up in.
    !(((x & REST) + REST) | x | REST)
}
