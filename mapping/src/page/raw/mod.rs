//! The resident page over raw bytes: what production runs.
#![expect(unsafe_code, reason = "one allocation holds atomics, immutable bytes and an area")]
#![expect(
    clippy::cast_ptr_alignment,
    reason = "pages are 64-aligned, and all offsets in them multiples of 8"
)]

mod ahead;
mod record;

pub use ahead::prefetch;
pub(crate) use ahead::{prefetch_base, prefetch_behind};
pub use record::{Payload, RecordRef, Reservation};

use super::{
    Birth, CLOSED, Chain, FINGERPRINTS, Head, Match, Owners, PAIR_BYTES, Records, equal_bytes,
};
use crate::history::History;
use crate::memory;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;
use sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering};

const HEADER_BYTES: usize = 64;
const REFERENCED: u32 = 1;
const PAIRS: u32 = 2;
const AGED: u32 = 4;
const SLOTS: u32 = 8;
/// Bytes that tell where the records are that have a fingerprint.
const SLOTS_BYTES: usize = 2 * FINGERPRINTS;
const TREE_SHIFT: u32 = 8;

// What a scan notes of a page: that there was one, and how many records it saw, modulo 4.
const SCANNED: u32 = 16;
const SEEN_SHIFT: u32 = 5;
const SEEN: u32 = 3;

/// Records from which on a scan gains by their being folded.
const WORTH_FOLDING: u64 = 4;

/// Bytes that a head of 16 bits in units of 8 bytes reaches.
const REACHED: usize = (Head::MAX as usize + 1) * 8;

/// Larger pages are refused, so that no sum of sizes overflows.
const LARGEST: usize = 1 << 31;

#[repr(C, align(64))]
pub(crate) struct Page {
    serial: u32,
    base_bytes: u32,
    /// In words of eight bytes, as heads are.
    area_words: u16,
    owners: Owners,
    flags: AtomicU32,
    tail: AtomicU64,
    base_version: AtomicU64,
    /// The history if `AGED`, else what `listed` says.
    aside: AtomicPtr<History>,
    fingerprints: [AtomicU64; FINGERPRINTS / 8],
}

const _: () =
    assert!(size_of::<Page>() == HEADER_BYTES && memory::ALIGN.is_multiple_of(align_of::<Page>()));

/// A page that nobody else can see yet, or a share of one that nobody finds any more.
pub struct PageBox {
    page: NonNull<Page>,
    head: Head,
    sketch: u64,
}

// SAFETY: a page is bytes and atomics; the box is its only owner.
unsafe impl Send for PageBox {}
// SAFETY: shared access reads immutable bytes and atomics only.
unsafe impl Sync for PageBox {}

/// A published page, protected by the pin it was found under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageRef<'g> {
    page: NonNull<Page>,
    pin: PhantomData<&'g ()>,
}

/// A page that is being written, from its first byte to its last.
#[derive(Debug)]
pub struct PageWriter {
    page: PageBox,
    written: usize,
}

impl PageWriter {
    /// A page with room for a base page and a delta area.
    ///
    /// A page that a head of 16 bits in units of 8 bytes does not reach to the end (512 KiB) can
    /// have no area: it takes no record.
    ///
    /// # Panics
    /// If such a page is to have an area, or the base page is no multiple of 8 bytes or has more
    /// than 2 GiB.
    pub fn new(base_bytes: usize, area_bytes: usize, records: Records, birth: Birth) -> Self {
        let possible = base_bytes.is_multiple_of(8) && base_bytes <= LARGEST;
        assert!(possible, "a base page of {base_bytes} bytes");
        assert!(area_bytes <= REACHED, "an area of {area_bytes} bytes is too large");
        // Pairs are all of one size: their places need not be told.
        let has_slots = records == Records::Sized && area_bytes > 0;
        let (slots, slots_bytes) = if has_slots { (SLOTS, SLOTS_BYTES) } else { (0, 0) };
        let size = PageBox::size_for(base_bytes, area_bytes + slots_bytes);
        assert!(size <= REACHED || area_bytes == 0, "a page of {size} bytes is too large");
        let page = memory::allocate(size).cast::<Page>();
        let padded_bytes = size - HEADER_BYTES - base_bytes - slots_bytes;
        let pairs = if records == Records::Pairs { PAIRS } else { 0 };
        // SAFETY: the allocation is large enough, aligned for `Page` and ours alone.
        unsafe {
            page.write(Page {
                serial: birth.serial,
                base_bytes: base_bytes as u32,
                area_words: (padded_bytes / 8) as u16,
                owners: Owners::one(),
                flags: AtomicU32::new(birth.tree << TREE_SHIFT | slots | pairs | REFERENCED),
                // What padding leaves behind the base page of a page without an area is none.
                tail: AtomicU64::new(if area_bytes > 0 { 0 } else { padded_bytes as u64 }),
                base_version: AtomicU64::new(birth.base_version),
                aside: AtomicPtr::new(core::ptr::null_mut()),
                fingerprints: Default::default(),
            });
            let end = page.cast::<u8>().add(size - slots_bytes);
            end.write_bytes(0, slots_bytes);
        }
        Self { page: PageBox { page, head: 0, sketch: 0 }, written: 0 }
    }

    /// Appends bytes of the base page.
    ///
    /// # Panics
    /// If it has no room for them.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let room = self.page.page().header().base_bytes as usize - self.written;
        assert!(bytes.len() <= room, "{} bytes where {room} were left", bytes.len());
        // SAFETY: the range lies in the base page of an allocation that is ours alone.
        unsafe {
            let end = self.page.page.as_ptr().cast::<u8>().add(HEADER_BYTES + self.written);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len());
        }
        self.written += bytes.len();
    }

    /// What has been written of the base page.
    #[inline]
    pub fn written(&mut self) -> &mut [u8] {
        // SAFETY: these bytes of an allocation that is ours alone have been written.
        unsafe {
            let start = self.page.page.as_ptr().cast::<u8>().add(HEADER_BYTES);
            slice::from_raw_parts_mut(start, self.written)
        }
    }

    /// The page, with this sketch, see [`Table::load_ahead`](crate::Table::load_ahead). What is not
    /// written yet of a record's bytes is not read before it is.
    ///
    /// # Panics
    /// If bytes of the base page are missing.
    pub fn finish(self, sketch: u64) -> PageBox {
        let bytes = self.page.page().header().base_bytes as usize;
        assert_eq!(self.written, bytes, "bytes of a base page");
        let mut page = self.page;
        page.sketch = sketch;
        page
    }
}

impl PageBox {
    /// Bytes of memory that a page with this base and area takes.
    pub fn size_for(base_bytes: usize, area_bytes: usize) -> usize {
        (HEADER_BYTES + base_bytes + area_bytes.next_multiple_of(8)).next_multiple_of(memory::ALIGN)
    }

    /// Puts a record with a known version on top, as a consolidation carries it over.
    ///
    /// # Panics
    /// If the area has no room: its size is the caller's to compute.
    pub fn carry(&mut self, version: u64, fingerprint: u8, mark: u16, payload: &[u8]) {
        let page = self.page();
        let Some(reservation) = page.reserve(page.records(), payload.len()) else {
            panic!("the area of a page under construction is too small")
        };
        let record = reservation.write(fingerprint, mark, |out| out.put(payload));
        record.link(Chain::new(page, self.head));
        let record = record.installed();
        record.record().set_version(version);
        self.head = record.head();
    }

    /// Gives the page its history. To be done once, before it is published; not with pages that
    /// are listed.
    pub fn remember(&mut self, history: Option<Arc<History>>) {
        if let Some(history) = history {
            // SAFETY: the page is ours alone.
            let header = unsafe { self.page.as_mut() };
            *header.flags.get_mut() |= AGED;
            *header.aside.get_mut() = Arc::into_raw(history).cast_mut();
        }
    }

    /// The page, as long as the box is borrowed.
    pub fn page(&self) -> PageRef<'_> {
        PageRef { page: self.page, pin: PhantomData }
    }

    /// The sketch that it was finished with.
    pub(crate) fn sketch(&self) -> u64 {
        self.sketch
    }

    pub(crate) fn into_raw(self) -> (*mut Page, Head) {
        let raw = (self.page.as_ptr(), self.head);
        let _ = core::mem::ManuallyDrop::new(self);
        raw
    }

    /// Takes a page back that was published by [`PageBox::into_raw`].
    ///
    /// # Safety
    /// The caller has a share of `page`, which came from `into_raw` or [`PageRef::own`] and has not
    /// been taken back yet. Whoever may look at the page is pinned or has another share by the time
    /// that the box is dropped, and nobody else but this caller can be found to look at it.
    pub(crate) unsafe fn from_raw(page: *mut Page, head: Head) -> Self {
        // SAFETY: `into_raw` never gives a null pointer.
        let page = unsafe { NonNull::new_unchecked(page) };
        Self { page, head, sketch: 0 }
    }
}

impl Drop for PageBox {
    fn drop(&mut self) {
        if !self.page().header().owners.is_last() {
            return;
        }
        if let Some(aside) = self.page().aside() {
            let history = aside.load(Ordering::Relaxed);
            if !history.is_null() && history.addr() & CLOSED == 0 {
                // SAFETY: the page has a count of its history until that is closed.
                drop(unsafe { Arc::from_raw(history) });
            }
        }
        let size = self.page().size_bytes();
        // SAFETY: the page was allocated with this very size, and the box was its last owner.
        unsafe { memory::release(self.page.cast::<u8>(), size) };
    }
}

impl<'g> PageRef<'g> {
    /// A reference to a published page.
    ///
    /// # Safety
    /// `page` was published, and the pin of `'g` was taken before it could be retired.
    pub(crate) unsafe fn from_raw(page: *mut Page) -> Self {
        // SAFETY: published pages are not null.
        let page = unsafe { NonNull::new_unchecked(page) };
        Self { page, pin: PhantomData }
    }

    pub(crate) fn as_raw(self) -> *mut Page {
        self.page.as_ptr()
    }

    /// A share of a page that was found under a pin, and its newest record that counts.
    pub(crate) fn own(self, head: Head) -> (*mut Page, Head) {
        self.header().owners.add();
        (self.as_raw(), head)
    }

    #[inline]
    fn header(self) -> &'g Page {
        // SAFETY: the page lives at least as long as the pin; the header is shared and atomic
        // where it changes.
        unsafe { self.page.as_ref() }
    }

    #[inline]
    fn area_start(self) -> usize {
        HEADER_BYTES + self.header().base_bytes as usize
    }

    #[inline]
    fn area_bytes(self) -> usize {
        usize::from(self.header().area_words) * 8
    }

    /// The bytes of the base page.
    #[inline]
    pub fn base(self) -> &'g [u8] {
        let len = self.header().base_bytes as usize;
        // SAFETY: the base lies behind the header and is never written after publication; the
        // pointer's provenance is the whole allocation.
        unsafe { slice::from_raw_parts(self.page.as_ptr().cast::<u8>().add(HEADER_BYTES), len) }
    }

    /// Bytes of memory that the page takes.
    pub fn size_bytes(self) -> usize {
        self.area_start() + self.area_bytes() + size_of_val(self.slots())
    }

    /// Where the records are that have a fingerprint: their heads.
    #[inline]
    fn slots(self) -> &'g [AtomicU16] {
        let header = self.header();
        if header.flags.load(Ordering::Relaxed) & SLOTS == 0 {
            return &[];
        }
        let at = self.area_start() + self.area_bytes();
        // SAFETY: a page with slots has them behind its area, aligned as that is; they are only
        // ever used as these atomics.
        unsafe {
            let start = self.page.as_ptr().cast::<u8>().add(at).cast::<AtomicU16>();
            slice::from_raw_parts(start, FINGERPRINTS)
        }
    }

    /// Largest version folded into the base; 0 while it is not decided, see
    /// [`date_page`](crate::date_page).
    #[inline]
    pub fn base_version(self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `decide`.
        self.header().base_version.load(Ordering::Acquire)
    }

    /// Says what the base version is. All who do this say the same.
    pub(crate) fn decide(self, version: u64) {
        self.header().base_version.store(version, Ordering::Release);
    }

    /// Where the history hangs; none if the page never had one.
    #[inline]
    pub(super) fn aside(self) -> Option<&'g AtomicPtr<History>> {
        let header = self.header();
        let aged = header.flags.load(Ordering::Relaxed) & AGED != 0;
        aged.then_some(&header.aside)
    }

    /// The tree that the page is of.
    #[inline]
    pub fn tree(self) -> u32 {
        self.header().flags.load(Ordering::Relaxed) >> TREE_SHIFT
    }

    /// Changes with each SMO: an image with another serial has another range, or other children.
    #[inline]
    pub fn serial(self) -> u32 {
        self.header().serial
    }

    /// The last interval in which the page was put on the dirty list.
    ///
    /// # Panics
    /// If the page has a history.
    #[inline]
    pub(crate) fn listed(self) -> &'g AtomicU64 {
        assert!(self.aside().is_none(), "a page with a history is not listed");
        // SAFETY: pointers have 64 bits here, and this one is only ever used as a number.
        unsafe { AtomicU64::from_ptr(self.header().aside.as_ptr().cast()) }
    }

    /// Marks the page as used lately. Writes only where the mark is not there yet.
    #[inline]
    pub fn touch(self) {
        let flags = &self.header().flags;
        if flags.load(Ordering::Relaxed) & REFERENCED == 0 {
            flags.fetch_or(REFERENCED, Ordering::Relaxed);
        }
    }

    /// Takes the mark of [`PageRef::touch`] away and says whether it was there.
    pub fn take_touch(self) -> bool {
        self.header().flags.fetch_and(!REFERENCED, Ordering::Relaxed) & REFERENCED != 0
    }

    /// Whether this is asked for the second time since it last had a new record, and it has so many
    /// that folding them is worth a copy of the page. Notes in the page what was seen, until then.
    #[inline]
    pub fn is_quiet(self) -> bool {
        let header = self.header();
        let reserved = header.tail.load(Ordering::Relaxed) >> 32;
        reserved >= WORTH_FOLDING && self.seen_as(reserved)
    }

    #[cold]
    fn seen_as(self, reserved: u64) -> bool {
        let flags = &self.header().flags;
        let before = flags.load(Ordering::Relaxed);
        let seen = SCANNED | (reserved as u32 & SEEN) << SEEN_SHIFT;
        let noted = before & !(SCANNED | SEEN << SEEN_SHIFT) | seen;
        if noted == before {
            return true;
        }
        // Who is not the only one at it need not be noted.
        let (ok, fail) = (Ordering::Relaxed, Ordering::Relaxed);
        let _lost = flags.compare_exchange(before, noted, ok, fail);
        false
    }

    /// Whether a record of a key with this fingerprint may be in the area. Never a false no for a
    /// record that is reachable from the word the page was found by.
    #[inline]
    pub fn may_hold(self, fingerprint: u8) -> bool {
        let header = self.header();
        // ORDERING: Relaxed; each record's byte and its share of the tail were set before the CAS
        // that made it reachable, and the word was loaded with Acquire.
        let reserved = header.tail.load(Ordering::Relaxed) >> 32;
        reserved > FINGERPRINTS as u64
            || header
                .fingerprints
                .iter()
                .any(|word| equal_bytes(word.load(Ordering::Relaxed), fingerprint) != 0)
    }

    /// Whether the next record will have no fingerprint: who looks for one will have to walk.
    #[inline]
    pub fn is_past_fingerprints(self) -> bool {
        self.header().tail.load(Ordering::Relaxed) >> 32 >= FINGERPRINTS as u64
    }

    /// See [`Chain::find_pair`](super::Chain::find_pair).
    #[inline]
    pub(super) fn find_pair(self, fingerprint: u8, key: [u8; 8]) -> Match<'g> {
        if self.records() == Records::Sized {
            return Match::Walk;
        }
        let place = |slot| self.head_of(slot as u64 + 1);
        self.find(fingerprint, place, |record| record.pair_key() == key)
    }

    /// See [`Chain::find_sized`](super::Chain::find_sized).
    #[inline]
    pub(super) fn find_sized(
        self,
        fingerprint: u8,
        is_of_key: impl Fn(&'g [u8]) -> bool,
    ) -> Match<'g> {
        let slots = self.slots();
        if slots.is_empty() {
            return Match::Walk;
        }
        // ORDERING: Relaxed; the place was stored before the fingerprint that was seen.
        let place = |slot: usize| slots[slot].load(Ordering::Relaxed);
        self.find(fingerprint, place, |record| is_of_key(record.payload()))
    }

    /// The record with this fingerprint that is of the key.
    #[inline]
    fn find(
        self,
        fingerprint: u8,
        place: impl Fn(usize) -> Head,
        is_of_key: impl Fn(RecordRef<'g>) -> bool,
    ) -> Match<'g> {
        let header = self.header();
        let reserved = header.tail.load(Ordering::Relaxed) >> 32;
        if reserved > FINGERPRINTS as u64 {
            return Match::Walk;
        }
        let mut found = Match::None;
        for (at, word) in header.fingerprints.iter().enumerate() {
            // ORDERING: Acquire pairs with the Release in `write`: where a fingerprint is, its
            // record has been written, and its key is not written again.
            let mut equal = equal_bytes(word.load(Ordering::Acquire), fingerprint);
            while equal != 0 {
                let slot = at * 8 + equal.trailing_zeros() as usize / 8;
                equal &= equal - 1;
                if fingerprint == 0 {
                    // That of slots without a record.
                    return Match::Walk;
                }
                let record = self.record(place(slot));
                if !is_of_key(record) {
                    continue;
                }
                if matches!(found, Match::One(_)) || record.version() == 0 {
                    return Match::Walk;
                }
                found = Match::One(record);
            }
        }
        found
    }

    /// The slot of a pair, counted from 1; 0 for none.
    #[inline]
    pub(super) fn slot_of(self, head: Head) -> u64 {
        if head == 0 {
            return 0;
        }
        let behind = usize::from(head) - self.area_start() / 8;
        (behind / (Records::Pairs.bytes(PAIR_BYTES) / 8)) as u64 + 1
    }

    /// The pair in this slot, counted from 1; 0 for none.
    #[inline]
    pub(super) fn head_of(self, slot: u64) -> Head {
        if slot == 0 {
            return 0;
        }
        let words = (slot as usize - 1) * (Records::Pairs.bytes(PAIR_BYTES) / 8);
        (self.area_start() / 8 + words) as Head
    }

    /// How its records lie.
    #[inline]
    pub fn records(self) -> Records {
        if self.header().flags.load(Ordering::Relaxed) & PAIRS != 0 {
            Records::Pairs
        } else {
            Records::Sized
        }
    }

    /// What the record that `head` names follows, and its mark, key and value; of a pair.
    #[inline]
    pub(super) fn pair(self, head: Head) -> (Head, (u16, [u8; 8], &'g [u8; 8])) {
        debug_assert_eq!(self.records(), Records::Pairs);
        // SAFETY: heads come from words and records of this page, so the offset is inside it.
        let record = unsafe { self.page.cast::<u8>().add(usize::from(head) * 8) };
        RecordRef { page: self, record, records: Records::Pairs }.linked_pair()
    }

    /// The record that `head` names.
    #[inline]
    pub(super) fn record(self, head: Head) -> RecordRef<'g> {
        self.record_of(self.records(), head)
    }

    /// The same, where it is known how the records of the page lie.
    #[inline]
    pub(super) fn record_of(self, records: Records, head: Head) -> RecordRef<'g> {
        debug_assert_eq!(records, self.records());
        debug_assert!(head != 0 && usize::from(head) * 8 < self.size_bytes());
        // SAFETY: heads come from words and records of this page, so the offset is inside it.
        let record = unsafe { self.page.cast::<u8>().add(usize::from(head) * 8) };
        RecordRef { page: self, record, records }
    }
}

impl fmt::Debug for PageBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.page().fmt(f)
    }
}

impl fmt::Debug for PageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (area, used) = self.area();
        write!(f, "page of {} bytes, area {used} of {area}", self.size_bytes())
    }
}
