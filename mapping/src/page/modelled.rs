//! The resident page under loom: the same operations over cells that loom watches.
#![expect(unsafe_code, reason = "payloads live in loom's UnsafeCell, which reports races")]

use super::{
    Birth, CLOSED, Chain, FINGERPRINTS, Head, Match, Owners, Records, Written, equal_bytes,
};
use crate::history::History;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::sync::Arc;
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::cell::UnsafeCell;

/// Most records of a modelled page.
const SLOTS: usize = 8;

#[repr(align(64))]
pub(crate) struct Page {
    base: Vec<u8>,
    area_bytes: usize,
    birth: Birth,
    records_are: Records,
    owners: Owners,
    tail: AtomicU64,
    /// The base version that was given after the page was published.
    decided: AtomicU64,
    listed: AtomicU64,
    /// The history of a page that was born with one.
    aside: Option<AtomicPtr<History>>,
    fingerprints: [AtomicU64; FINGERPRINTS / 8],
    records: Vec<Record>,
}

struct Record {
    stamp: AtomicU64,
    prev: AtomicU64,
    body: UnsafeCell<Body>,
}

#[derive(Default)]
struct Body {
    mark: u16,
    payload: Vec<u8>,
}

/// A page that nobody else can see yet, or no longer.
pub struct PageBox {
    page: NonNull<Page>,
    head: Head,
}

// SAFETY: as in production.
unsafe impl Send for PageBox {}
// SAFETY: as in production.
unsafe impl Sync for PageBox {}

/// A published page, protected by the pin it was found under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageRef<'g> {
    page: NonNull<Page>,
    pin: PhantomData<&'g ()>,
}

/// A record that was reached through a page word.
#[derive(Clone, Copy)]
pub struct RecordRef<'g>(&'g Record, Records);

/// A slot of a page's area that belongs to one writer until it installs it.
pub struct Reservation<'g> {
    page: PageRef<'g>,
    slot: usize,
    payload_bytes: usize,
    /// Bytes of the area that were reserved before.
    before: usize,
}

/// A page that is being written.
#[derive(Debug)]
pub struct PageWriter(PageBox);

impl PageWriter {
    /// A page with room for a base page and a delta area.
    pub fn new(base_bytes: usize, area_bytes: usize, records: Records, birth: Birth) -> Self {
        let record = || Record {
            stamp: AtomicU64::new(0),
            prev: AtomicU64::new(0),
            body: UnsafeCell::new(Body::default()),
        };
        let page = Page {
            base: Vec::with_capacity(base_bytes),
            area_bytes,
            birth,
            records_are: records,
            owners: Owners::one(),
            tail: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            listed: AtomicU64::new(0),
            aside: None,
            fingerprints: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
            records: (0..SLOTS).map(|_| record()).collect(),
        };
        // SAFETY: a box is never null.
        let page = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(page))) };
        Self(PageBox { page, head: 0 })
    }

    /// Appends bytes of the base page.
    pub fn put(&mut self, bytes: &[u8]) {
        // SAFETY: `&mut self` is the only user of the page.
        unsafe { (*self.0.page.as_ptr()).base.extend_from_slice(bytes) }
    }

    /// What has been written of the base page.
    pub fn written(&mut self) -> &mut [u8] {
        // SAFETY: `&mut self` is the only user of the page.
        unsafe { &mut (*self.0.page.as_ptr()).base }
    }

    /// The page. Models do without sketches.
    pub fn finish(self, _sketch: u64) -> PageBox {
        self.0
    }
}

impl PageBox {
    /// Bytes of memory that a page with this base and area takes in production.
    pub fn size_for(base_bytes: usize, area_bytes: usize) -> usize {
        64 + base_bytes + area_bytes.next_multiple_of(8)
    }

    /// Puts a record with a known version on top, as a consolidation carries it over.
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

    /// Gives the page its history.
    pub fn remember(&mut self, history: Option<Arc<History>>) {
        if let Some(history) = history {
            // SAFETY: the page is ours alone.
            unsafe { self.page.as_mut() }.aside =
                Some(AtomicPtr::new(Arc::into_raw(history).cast_mut()));
        }
    }

    /// The page, as long as the box is borrowed.
    pub fn page(&self) -> PageRef<'_> {
        PageRef { page: self.page, pin: PhantomData }
    }

    pub(crate) fn sketch(&self) -> u64 {
        0
    }

    pub(crate) fn into_raw(self) -> (*mut Page, Head) {
        let raw = (self.page.as_ptr(), self.head);
        let _ = core::mem::ManuallyDrop::new(self);
        raw
    }

    /// Takes a page back that was published by [`PageBox::into_raw`].
    ///
    /// # Safety
    /// As in production.
    pub(crate) unsafe fn from_raw(page: *mut Page, head: Head) -> Self {
        // SAFETY: `into_raw` never gives a null pointer.
        let page = unsafe { NonNull::new_unchecked(page) };
        Self { page, head }
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
        // SAFETY: the box was the last owner of what `Box::into_raw` gave.
        drop(unsafe { Box::from_raw(self.page.as_ptr()) });
    }
}

/// Nothing to do in a model.
pub fn prefetch(_address: *const u8) {}

pub(crate) fn prefetch_base(_page: *const Page, _bytes: core::ops::Range<usize>) {}

pub(crate) fn prefetch_behind(_page: *const Page, _newest: Head) {}

impl<'g> PageRef<'g> {
    /// A reference to a published page.
    ///
    /// # Safety
    /// As in production.
    pub(crate) unsafe fn from_raw(page: *mut Page) -> Self {
        // SAFETY: published pages are not null.
        let page = unsafe { NonNull::new_unchecked(page) };
        Self { page, pin: PhantomData }
    }

    pub(crate) fn as_raw(self) -> *mut Page {
        self.page.as_ptr()
    }

    /// A share of the page.
    pub(crate) fn own(self, head: Head) -> (*mut Page, Head) {
        self.header().owners.add();
        (self.as_raw(), head)
    }

    fn header(self) -> &'g Page {
        // SAFETY: the page lives at least as long as the pin.
        unsafe { self.page.as_ref() }
    }

    /// The bytes of the base page.
    pub fn base(self) -> &'g [u8] {
        &self.header().base
    }

    /// Nothing to do in a model.
    pub fn prefetch(self) {}

    /// Nothing to do in a model.
    pub fn prefetch_area(self) {}

    /// Nothing to do.
    pub fn prefetch_records(self) {}

    /// Nothing to do.
    pub fn prefetch_all(self) {}

    /// Nothing to do in a model.
    pub fn prefetch_base(self, _bytes: core::ops::Range<usize>) {}

    /// Bytes of memory that the page takes in production.
    pub fn size_bytes(self) -> usize {
        PageBox::size_for(self.header().base.len(), self.header().area_bytes)
    }

    /// Largest version folded into the base; 0 while it is not decided.
    pub fn base_version(self) -> u64 {
        let born = self.header().birth.base_version;
        // What was decided at birth costs a model no step.
        if born == 0 { self.header().decided.load(Ordering::Acquire) } else { born }
    }

    /// Says what the base version is.
    pub(crate) fn decide(self, version: u64) {
        self.header().decided.store(version, Ordering::Release);
    }

    /// Where the history hangs; none if the page never had one.
    pub(super) fn aside(self) -> Option<&'g AtomicPtr<History>> {
        self.header().aside.as_ref()
    }

    /// The tree that the page is of.
    pub fn tree(self) -> u32 {
        self.header().birth.tree
    }

    /// Changes with each SMO.
    pub fn serial(self) -> u32 {
        self.header().birth.serial
    }

    /// The last interval in which the page was put on the dirty list.
    pub(crate) fn listed(self) -> &'g AtomicU64 {
        &self.header().listed
    }

    /// Nothing to do in a model.
    pub fn touch(self) {}

    /// In a model no page was used lately.
    pub fn take_touch(self) -> bool {
        false
    }

    /// Whether a record of a key with this fingerprint may be in the area.
    pub fn may_hold(self, fingerprint: u8) -> bool {
        let equal = |word: &AtomicU64| equal_bytes(word.load(Ordering::Relaxed), fingerprint) != 0;
        self.header().fingerprints.iter().any(equal)
    }

    /// See [`Chain::find_pair`](super::Chain::find_pair).
    pub(super) fn find_pair(self, fingerprint: u8, key: [u8; 8]) -> Match<'g> {
        if self.records() == Records::Sized {
            return Match::Walk;
        }
        self.find(fingerprint, |payload| payload[..8] == key)
    }

    /// See [`Chain::find_sized`](super::Chain::find_sized).
    pub(super) fn find_sized(
        self,
        fingerprint: u8,
        is_of_key: impl Fn(&'g [u8]) -> bool,
    ) -> Match<'g> {
        self.find(fingerprint, is_of_key)
    }

    fn find(self, fingerprint: u8, is_of_key: impl Fn(&'g [u8]) -> bool) -> Match<'g> {
        let mut found = Match::None;
        // The slots of a model all have fingerprints in the first word.
        let equal = equal_bytes(self.header().fingerprints[0].load(Ordering::Acquire), fingerprint);
        for slot in (0..SLOTS).filter(|slot| equal >> (slot * 8) & 0x80 != 0) {
            let record = self.record(slot as Head + 1);
            if !is_of_key(record.payload()) {
                continue;
            }
            if matches!(found, Match::One(_)) || record.version() == 0 {
                return Match::Walk;
            }
            found = Match::One(record);
        }
        found
    }

    /// The slot of a record, counted from 1; 0 for none.
    pub(super) fn slot_of(self, head: Head) -> u64 {
        head.into()
    }

    /// The record in this slot, counted from 1; 0 for none.
    pub(super) fn head_of(self, slot: u64) -> Head {
        slot as Head
    }

    /// In a model all records have fingerprints.
    pub fn is_past_fingerprints(self) -> bool {
        false
    }

    /// How its records lie.
    pub fn records(self) -> Records {
        self.header().records_are
    }

    /// Bytes of the area, and how many of them are reserved.
    pub fn area(self) -> (usize, usize) {
        let used = (self.header().tail.load(Ordering::Relaxed) & u64::from(u32::MAX)) as usize;
        (self.header().area_bytes, used.min(self.header().area_bytes))
    }

    /// Takes all of the area that is left.
    pub fn seal(self) {
        let (area_bytes, used) = self.area();
        if used < area_bytes {
            self.header().tail.fetch_add(area_bytes as u64, Ordering::Relaxed);
        }
    }

    /// Reserves room for a record with this payload; `None` if the area is full.
    pub fn reserve(self, records: Records, payload_bytes: usize) -> Option<Reservation<'g>> {
        let header = self.header();
        assert!(records == header.records_are, "a record of another kind");
        let bytes = header.records_are.bytes(payload_bytes) as u64;
        let fits = |tail: u64| {
            (tail & u64::from(u32::MAX)) + bytes <= header.area_bytes as u64
                && tail >> 32 < SLOTS as u64
        };
        if !fits(header.tail.load(Ordering::Relaxed)) {
            return None;
        }
        let tail = header.tail.fetch_add((1 << 32) | bytes, Ordering::Relaxed);
        let (slot, before) = ((tail >> 32) as usize, tail as u32 as usize);
        fits(tail).then(|| Reservation { page: self, slot, payload_bytes, before })
    }

    /// What the record that `head` names follows, and its mark, key and value, of a pair.
    pub(super) fn pair(self, head: Head) -> (Head, (u16, [u8; 8], &'g [u8; 8])) {
        let record = self.record(head);
        let [key, value] = record.payload().as_chunks::<8>().0 else { unreachable!("of a pair") };
        (record.prev(), (record.mark(), *key, value))
    }

    /// In a model no page is quiet.
    pub fn is_quiet(self) -> bool {
        false
    }

    /// The record that `head` names.
    pub(super) fn record_of(self, records: Records, head: Head) -> RecordRef<'g> {
        debug_assert_eq!(records, self.records());
        self.record(head)
    }

    /// The record that `head` names.
    pub(super) fn record(self, head: Head) -> RecordRef<'g> {
        RecordRef(&self.header().records[usize::from(head) - 1], self.records())
    }
}

/// The payload of a record while it is written.
#[derive(Debug)]
pub struct Payload<'r>(&'r mut Vec<u8>);

impl Payload<'_> {
    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl<'g> Reservation<'g> {
    /// How a word names this record.
    pub(super) fn head(&self) -> Head {
        self.slot as Head + 1
    }

    /// The page that it lies in.
    pub(super) fn page(&self) -> PageRef<'g> {
        self.page
    }

    /// How the record lies.
    pub(super) fn records(&self) -> Records {
        self.page.records()
    }

    /// Whether this is the record with which the area becomes nearly full.
    pub(super) fn nears_end(&self) -> bool {
        let header = self.page.header();
        let behind = self.before + header.records_are.bytes(self.payload_bytes);
        super::nears_end((self.before, behind), header.area_bytes)
    }

    /// Writes the record.
    pub fn write(
        self,
        fingerprint: u8,
        mark: u16,
        fill: impl FnOnce(&mut Payload<'_>),
    ) -> Written<'g> {
        let mut payload = Vec::with_capacity(self.payload_bytes);
        fill(&mut Payload(&mut payload));
        assert!(payload.len() == self.payload_bytes, "bytes of a record are missing");
        self.page.header().records[self.slot].body.with_mut(|body| {
            // SAFETY: the slot is this writer's until it is installed; loom checks that.
            unsafe { *body = Body { mark, payload } }
        });
        let byte = u64::from(fingerprint) << (self.slot % 8 * 8);
        self.page.header().fingerprints[self.slot / 8].fetch_or(byte, Ordering::Release);
        Written { record: self, mark, rises: false }
    }

    /// Whether it lies in the slot behind that of this record.
    pub(super) fn is_behind(&self, newest: Head) -> bool {
        self.slot as u64 == self.page.slot_of(newest)
    }

    /// Names the record that this one follows.
    pub(super) fn link(&self, prev: Head, _mark: u16, in_order: bool) {
        let word = u64::from(prev) | u64::from(in_order) << Head::BITS;
        self.page.header().records[self.slot].prev.store(word, Ordering::Relaxed);
    }
}

impl<'g> RecordRef<'g> {
    fn body(self) -> &'g Body {
        // SAFETY: an installed record is immutable; loom checks the access.
        self.0.body.with(|body| unsafe { &*body })
    }

    /// How the record lies.
    pub fn records(self) -> Records {
        self.1
    }

    /// The record before this one, 0 if this is the oldest.
    pub fn prev(self) -> Head {
        self.0.prev.load(Ordering::Relaxed) as Head
    }

    /// Whether this pair and all before it lie in the order of their keys, in the first slots.
    pub(super) fn is_in_order(self) -> bool {
        self.0.prev.load(Ordering::Relaxed) >> Head::BITS != 0
    }

    /// The key of a pair.
    pub(super) fn pair_key(self) -> [u8; 8] {
        self.payload().first_chunk().copied().unwrap_or_default()
    }

    /// The mark of a pair; 0 of a sized record.
    pub fn mark(self) -> u16 {
        self.body().mark
    }

    /// The payload.
    pub fn payload(self) -> &'g [u8] {
        &self.body().payload
    }

    /// The version of the record; 0 while it has none.
    pub fn version(self) -> u64 {
        self.0.stamp.load(Ordering::Acquire)
    }

    /// Gives the record this version if it has none, and returns the one that it has.
    pub fn set_version(self, version: u64) -> u64 {
        let (ok, fail) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.stamp.compare_exchange(0, version, ok, fail).map_or_else(|had| had, |_| version)
    }
}

impl fmt::Debug for PageBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("page")
    }
}

impl fmt::Debug for PageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("page")
    }
}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("record")
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.slot)
    }
}
