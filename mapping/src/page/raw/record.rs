//! The records of a page over raw bytes: reserved, written once, installed, and read.
#![expect(unsafe_code, reason = "records are bytes of the page that they lie in")]

use super::PageRef;
use crate::page::{
    Head, MOST_MARKS, MOST_PAIRS, PAIR_BYTES, Records, VERSIONS, Written, nears_end,
};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;
use sync::atomic::{AtomicU64, Ordering};

// A pair's head: the slot of the record before it, counted from 1, then the mark.
const SLOTS: u64 = 0xFF;
const MARK_SHIFT: u32 = 8;
const MARKS: u64 = MOST_MARKS as u64;
const IN_ORDER: u64 = 1 << 21;
const STAMP_SHIFT: u32 = 22;

/// A record that was reached through a page word.
#[derive(Clone, Copy)]
pub struct RecordRef<'g> {
    pub(super) page: PageRef<'g>,
    pub(super) record: NonNull<u8>,
    pub(super) records: Records,
}

/// Bytes of a page's area that belong to one writer until it installs them. They are not looked at
/// before they are written.
pub struct Reservation<'g> {
    pub(super) page: PageRef<'g>,
    pub(super) offset: u32,
    pub(super) slot: u32,
    pub(super) payload_bytes: u32,
    pub(super) records: Records,
}

impl<'g> PageRef<'g> {
    /// Bytes of the area, and how many of them are reserved.
    pub fn area(self) -> (usize, usize) {
        let used = self.header().tail.load(Ordering::Relaxed) & u64::from(u32::MAX);
        (self.area_bytes(), (used as usize).min(self.area_bytes()))
    }

    /// Takes all of the area that is left, so that nobody reserves anything any more: to be done by
    /// who is about to replace the page, and would lose to each record that comes before.
    ///
    /// Whoever has a reservation can still install it, so the next CAS may fail as often.
    pub fn seal(self) {
        let header = self.header();
        let (area_bytes, used) = self.area();
        if used < area_bytes {
            // ORDERING: Relaxed, as in `reserve`.
            expect_room(header.tail.fetch_add(area_bytes as u64, Ordering::Relaxed));
        }
    }

    /// Reserves room for a record with this payload, of the kind that the page has; `None` if the
    /// area is full.
    ///
    /// # Panics
    /// If the page has records of the other kind, or a pair is to have other than 16 bytes.
    #[inline]
    pub fn reserve(self, records: Records, payload_bytes: usize) -> Option<Reservation<'g>> {
        assert!(records == self.records(), "a record of another kind");
        let header = self.header();
        let area_bytes = self.area_bytes() as u64;
        let capacity = match records {
            // Before it is added to anything.
            Records::Sized if payload_bytes as u64 > area_bytes => return None,
            Records::Sized => area_bytes,
            Records::Pairs => {
                assert!(payload_bytes == PAIR_BYTES, "a pair of {payload_bytes} bytes");
                area_bytes.min(MOST_PAIRS * records.bytes(PAIR_BYTES) as u64)
            }
        };
        let bytes = records.bytes(payload_bytes) as u64;
        let fits = |tail: u64| (tail & u64::from(u32::MAX)) + bytes <= capacity;
        // The load comes first so that no number of overshooting writers wraps the counter.
        if !fits(header.tail.load(Ordering::Relaxed)) {
            return None;
        }
        // ORDERING: Relaxed; a reservation publishes nothing, the CAS of the word does.
        let tail = header.tail.fetch_add((1 << 32) | bytes, Ordering::Relaxed);
        if !fits(tail) {
            expect_room(tail);
            return None;
        }
        Some(Reservation {
            page: self,
            offset: (self.area_start() as u64 + (tail & u64::from(u32::MAX))) as u32,
            slot: (tail >> 32) as u32,
            payload_bytes: payload_bytes as u32,
            records,
        })
    }
}

/// Who overshoots adds less than 2^20 to the lower half of the tail, after a look at it. That has
/// room for 2,048 threads that do so at one moment, and as many again until this has ended the
/// process: bytes that were reserved twice would be worse.
#[inline]
fn expect_room(tail: u64) {
    if tail as u32 > u32::MAX / 2 {
        std::process::abort();
    }
}

/// The payload of a record while it is written, from its first byte to its last.
#[derive(Debug)]
pub struct Payload<'r> {
    start: NonNull<u8>,
    written: usize,
    bytes: usize,
    reserved: PhantomData<&'r mut [u8]>,
}

impl Payload<'_> {
    /// Appends bytes.
    ///
    /// # Panics
    /// If there is no room for them.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes - self.written;
        assert!(bytes.len() <= room, "{} bytes where {room} were left", bytes.len());
        // SAFETY: the range lies in what was reserved for this writer alone, and is not published.
        unsafe {
            let end = self.start.as_ptr().add(self.written);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len());
        }
        self.written += bytes.len();
    }
}

impl<'g> Reservation<'g> {
    /// How a word names this record.
    #[inline]
    pub(in crate::page) fn head(&self) -> Head {
        (self.offset / 8) as Head
    }

    /// The page that it lies in.
    #[inline]
    pub(in crate::page) fn page(&self) -> PageRef<'g> {
        self.page
    }

    /// How the record lies.
    #[inline]
    pub(in crate::page) fn records(&self) -> Records {
        self.records
    }

    /// Whether this is the record with which the area becomes nearly full.
    #[inline]
    pub(in crate::page) fn nears_end(&self) -> bool {
        let before = self.offset as usize - self.page.area_start();
        let behind = before + self.records.bytes(self.payload_bytes as usize);
        nears_end((before, behind), self.page.area_bytes())
    }

    /// The first word of the record.
    #[inline]
    fn start(&self) -> *mut u64 {
        // SAFETY: reserved bytes lie in the page, at a multiple of 8.
        unsafe { self.page.page.as_ptr().cast::<u8>().add(self.offset as usize).cast() }
    }

    /// Writes the record, once: others may look at it from then on.
    ///
    /// `mark` is kept in [`Records::Pairs`] only, and at most [`MOST_MARKS`].
    ///
    /// # Panics
    /// If `fill` puts more or fewer bytes than were reserved.
    #[inline]
    pub fn write(
        self,
        fingerprint: u8,
        mark: u16,
        fill: impl FnOnce(&mut Payload<'_>),
    ) -> Written<'g> {
        debug_assert!(u64::from(mark) <= MARKS);
        // What it follows is told when that is known. That it has no version, and its length, may
        // be looked at before.
        self.word().store(0, Ordering::Relaxed);
        let head_words = match self.records {
            Records::Sized => {
                self.link(0, mark, false);
                2
            }
            Records::Pairs => 1,
        };
        // SAFETY: the payload lies behind the head, in what was reserved.
        let start = unsafe { NonNull::new_unchecked(self.start().add(head_words).cast::<u8>()) };
        let bytes = self.payload_bytes as usize;
        let mut payload = Payload { start, written: 0, bytes, reserved: PhantomData };
        fill(&mut payload);
        assert!(payload.written == bytes, "bytes of a record are missing");
        if let Some(place) = self.page.slots().get(self.slot as usize) {
            // ORDERING: before the Release of the fingerprint, for `find_sized`.
            place.store(self.head(), Ordering::Relaxed);
        }
        if let Some(word) = self.page.header().fingerprints.get(self.slot as usize / 8) {
            // ORDERING: before the Release of the installing CAS, for `may_hold`; Release itself
            // for `find_pair` and `find_sized`, which look at the record before that CAS.
            let byte = u64::from(fingerprint) << (self.slot % 8 * 8);
            word.fetch_or(byte, Ordering::Release);
        }
        Written { record: self, mark, rises: false }
    }

    /// Stamp of a sized record, head of a pair.
    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: the first word of a record is only ever used as an atomic.
        unsafe { AtomicU64::from_ptr(self.start()) }
    }

    /// Whether it lies in the slot behind that of this record; of a pair.
    #[inline]
    pub(in crate::page) fn is_behind(&self, newest: Head) -> bool {
        u64::from(self.slot) == self.page.slot_of(newest)
    }

    /// Names the record that this one follows: not yet installed, so it has no version.
    #[inline]
    pub(in crate::page) fn link(&self, prev: Head, mark: u16, in_order: bool) {
        match self.records {
            Records::Sized => {
                let head = u64::from(prev) | u64::from(self.payload_bytes) << 16;
                // SAFETY: the second word of a sized record is only ever used as this atomic.
                let link = unsafe { AtomicU64::from_ptr(self.start().add(1)) };
                // ORDERING: Relaxed; who reads it before the record is installed wants the length
                // only, which is the same each time.
                link.store(head, Ordering::Relaxed);
            }
            Records::Pairs => {
                let order = if in_order { IN_ORDER } else { 0 };
                let word = self.page.slot_of(prev) | u64::from(mark) << MARK_SHIFT | order;
                self.word().store(word, Ordering::Relaxed);
            }
        }
    }
}

impl<'g> RecordRef<'g> {
    /// Stamp of a sized record, head of a pair.
    #[inline]
    fn word(self) -> &'g AtomicU64 {
        // SAFETY: the first eight bytes of a record are only ever used as this atomic.
        unsafe { self.record.cast::<AtomicU64>().as_ref() }
    }

    /// The second word of a sized record.
    #[inline]
    fn link(self) -> u64 {
        // SAFETY: the second word of a sized record is only ever used as this atomic.
        let link = unsafe { self.record.add(8).cast::<AtomicU64>().as_ref() };
        // ORDERING: Relaxed; it was written before the installing CAS, and the length before the
        // fingerprint.
        link.load(Ordering::Relaxed)
    }

    /// How the record lies.
    #[inline]
    pub fn records(self) -> Records {
        self.records
    }

    /// The record before this one, 0 if this is the oldest.
    #[inline]
    pub fn prev(self) -> Head {
        match self.records {
            Records::Sized => self.link() as Head,
            // ORDERING: Relaxed; all but the stamp was written before the installing CAS.
            Records::Pairs => self.page.head_of(self.word().load(Ordering::Relaxed) & SLOTS),
        }
    }

    /// The mark of a pair; 0 of a sized record.
    #[inline]
    pub fn mark(self) -> u16 {
        match self.records {
            Records::Sized => 0,
            // ORDERING: Relaxed, as in `prev`.
            Records::Pairs => (self.word().load(Ordering::Relaxed) >> MARK_SHIFT & MARKS) as u16,
        }
    }

    /// Whether this pair and all before it lie in the order of their keys, in the first slots.
    #[inline]
    pub(in crate::page) fn is_in_order(self) -> bool {
        // ORDERING: Relaxed, as in `prev`.
        self.word().load(Ordering::Relaxed) & IN_ORDER != 0
    }

    /// The payload.
    #[inline]
    pub fn payload(self) -> &'g [u8] {
        let (at, len) = match self.records {
            Records::Sized => (16, (self.link() >> 16) as usize),
            Records::Pairs => (8, PAIR_BYTES),
        };
        // SAFETY: the payload lies behind the head, is written once, before its fingerprint, and
        // is immutable once installed (I2).
        unsafe { slice::from_raw_parts(self.record.as_ptr().add(at), len) }
    }

    /// The record before this one, and mark, key and value, of an installed pair.
    #[inline]
    pub(super) fn linked_pair(self) -> (Head, (u16, [u8; 8], &'g [u8; 8])) {
        // ORDERING: Relaxed; all but the stamp was written before the installing CAS.
        let word = self.word().load(Ordering::Relaxed);
        // SAFETY: as in `pair`.
        let value = unsafe { self.record.add(16).cast::<[u8; 8]>().as_ref() };
        let mark = (word >> MARK_SHIFT & MARKS) as u16;
        (self.page.head_of(word & SLOTS), (mark, self.pair_key(), value))
    }

    /// The key of a pair that has been written, installed or not.
    #[inline]
    pub(in crate::page) fn pair_key(self) -> [u8; 8] {
        debug_assert_eq!(self.records, Records::Pairs);
        // SAFETY: the key is the first word of the payload, and is written once, before its
        // fingerprint.
        unsafe { self.record.add(8).cast::<[u8; 8]>().read() }
    }

    /// The version of the record; 0 while it has none.
    #[inline]
    pub fn version(self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `set_version`: who reads a version sees what
        // was done before the record was given it.
        let word = self.word().load(Ordering::Acquire);
        match self.records {
            Records::Sized => word,
            Records::Pairs => word >> STAMP_SHIFT,
        }
    }

    /// Gives the record this version if it has none, and returns the one that it has.
    ///
    /// # Panics
    /// If a pair cannot hold the version: it has 42 bits.
    #[inline]
    pub fn set_version(self, version: u64) -> u64 {
        let (unset, set, shift) = match self.records {
            Records::Sized => (0, version, 0),
            Records::Pairs => {
                assert!(version < VERSIONS, "version {version} of a pair");
                let word = self.word().load(Ordering::Relaxed);
                let bare = word & ((1 << STAMP_SHIFT) - 1);
                (bare, bare | version << STAMP_SHIFT, STAMP_SHIFT)
            }
        };
        let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
        match self.word().compare_exchange(unset, set, ok, fail) {
            Ok(_) => version,
            Err(word) => word >> shift,
        }
    }
}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record of {} bytes", self.payload().len())
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.payload_bytes, self.offset)
    }
}
