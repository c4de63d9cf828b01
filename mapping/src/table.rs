//! The table: loads, installs and frees page words. Every publication of a page happens here (I3).
//!
//! A word owns what it points to. What is loaded borrows the pin, since what is unlinked is freed
//! by way of the epoch, and the table, which frees all else when it is dropped. A CAS names the
//! page and the newest record that were seen: it succeeds only if that is what the word has, and
//! gives the word's share of it to the caller, once, as an [`Unlinked`].
//!
//! Beside the word of a page lies its *sketch*: a number by which the owner tells, before the page
//! is looked at, where in it a search will look. So the two can be waited for at the same time.
#![expect(unsafe_code, reason = "words own pages; what a word points to lives as long as the pin")]

use crate::buckets::Buckets;
use crate::page::{
    Chain, Installed, Page, PageBox, PageRef, Written, prefetch, prefetch_base, prefetch_behind,
};
use crate::places::{PlaceBytes, Places};
use crate::word::{CAPPED, DISK, FREE, MERGED, PARTIAL, RESIDENT, Seen, Tomb, UNBORN, Word};
use core::fmt;
use core::ops::Range;
use core::ptr;
use std::sync::OnceLock;
use sync::Advice;
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::epoch::Guard;
use types::PageId;

/// One page: its word, and the sketch of the page that was published last, or of one before.
#[derive(Default)]
struct Slot {
    word: AtomicPtr<Page>,
    sketch: Advice,
}

/// The mapping table.
pub struct Table {
    slots: Buckets<Slot>,
    /// None in a tree in memory.
    places: OnceLock<Box<Places>>,
    pub(crate) next: AtomicU64,
    pub(crate) free: AtomicU64,
}

/// No page id is left (2^32 pages, or the tiny table of a model).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull;

/// A page that a CAS of this caller has unlinked: whoever is pinned may look at it still, and
/// nobody finds it any more, but by an [`Old`](crate::Old).
///
/// Dropping it leaks the page.
#[must_use = "a page that is not retired is leaked"]
#[derive(Debug)]
pub struct Unlinked(*mut Page);

impl Unlinked {
    /// The page, as long as this is borrowed.
    pub fn page(&self) -> PageRef<'_> {
        // SAFETY: this has the share of the page that its id's word had.
        unsafe { PageRef::from_raw(self.0) }
    }

    /// Once nobody pinned now is pinned any more, runs `before` with the page still there, and
    /// frees that, unless an [`Old`](crate::Old) names it: then the last of these does.
    pub fn retire(self, guard: &Guard, before: impl FnOnce() + Send + 'static) {
        // A pointer and no more: what fits three words is deferred without an allocation.
        let page = Carry(self.0);
        guard.defer(move || {
            before();
            // SAFETY: the share that this had, given up once; nobody found the page since, and the
            // epoch passed.
            drop(unsafe { PageBox::from_raw(page.get(), 0) });
        });
    }
}

/// Lets a deferred action own a pointer.
struct Carry<T>(*mut T);
// SAFETY: what is carried is owned by the action alone and is `Send` itself.
unsafe impl<T: Send> Send for Carry<T> {}

impl<T> Carry<T> {
    fn get(self) -> *mut T {
        self.0
    }
}

impl Table {
    /// An empty table. Id 0 is [`PageId::NONE`] and never handed out.
    pub fn new() -> Self {
        Self {
            slots: Buckets::new(),
            places: OnceLock::new(),
            next: AtomicU64::new(1),
            free: AtomicU64::new(0),
        }
    }

    #[inline]
    fn slot(&self, id: PageId) -> Option<&Slot> {
        self.slots.get(id.index())
    }

    /// Makes sure that `id` has a slot.
    pub(crate) fn grow(&self, id: PageId) -> Result<(), TableFull> {
        if self.slots.grow(id.index()) { Ok(()) } else { Err(TableFull) }
    }

    /// Bytes of memory that the table itself takes, without what it is told of places.
    pub fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.places.get().map_or(0, |places| places.memory_bytes())
    }

    /// What the word of `id` says. An id without a slot is Free.
    #[inline]
    pub fn load<'g>(&'g self, id: PageId, guard: &'g Guard) -> Word<'g> {
        let Some(slot) = self.slot(id) else {
            return Word::Free;
        };
        Self::read(slot.seen(), guard)
    }

    /// As [`load`](Self::load), and asks for the bytes of the base page that `ahead` makes of the
    /// sketch, which is 0 if there is none, and may be that of another page; and for where the next
    /// record will lie.
    #[inline]
    pub fn load_ahead<'g>(
        &'g self,
        id: PageId,
        ahead: impl FnOnce(u64) -> Range<usize>,
        guard: &'g Guard,
    ) -> Word<'g> {
        let Some(slot) = self.slot(id) else {
            return Word::Free;
        };
        let seen = slot.seen();
        prefetch_base(seen.pointer(), ahead(slot.sketch.get()));
        prefetch_behind(seen.pointer(), seen.head());
        Self::read(seen, guard)
    }

    /// Asks for the word of `id`, which is to be loaded soon.
    #[inline]
    pub fn prefetch(&self, id: PageId) {
        if let Some(slot) = self.slot(id) {
            prefetch(ptr::from_ref(slot).cast());
        }
    }

    #[inline]
    fn read(seen: Seen, _guard: &Guard) -> Word<'_> {
        // SAFETY: the word was published, and the guard was taken before it was loaded, so what it
        // points to is not freed while the guard and the table live, which the callers borrow.
        let page = || unsafe { PageRef::from_raw(seen.pointer()) };
        let chain = || Chain::new(page(), seen.head());
        match seen.tag() {
            RESIDENT => Word::Resident(chain()),
            CAPPED => Word::Capped(chain()),
            PARTIAL => Word::Partial(chain()),
            UNBORN => Word::Unborn,
            MERGED => {
                // SAFETY: a Merged word points to a tomb, retired under epochs like a page.
                let tomb = unsafe { &*seen.pointer().cast::<Tomb>() };
                Word::Merged { into: tomb.into, clock: tomb.clock }
            }
            DISK => Word::Disk(seen.number()),
            _ => Word::Free,
        }
    }

    #[inline]
    fn swap(&self, id: PageId, seen: Seen, new: Seen) -> bool {
        self.slot(id).is_some_and(|slot| {
            let (new, order) = (new.0, Ordering::SeqCst);
            // ORDERING: Release publishes what `new` points to; Acquire orders it after what is
            // replaced; SeqCst for `stamp::date`. Failure teaches nothing.
            slot.word.compare_exchange(seen.0, new, order, Ordering::Relaxed).is_ok()
        })
    }

    /// Publishes a record on top of the chain that was seen.
    ///
    /// # Errors
    /// The record, if the word has changed.
    ///
    /// # Panics
    /// If the record was reserved in another page.
    #[inline]
    pub fn append<'g>(
        &self,
        id: PageId,
        seen: Chain<'_>,
        record: Written<'g>,
    ) -> Result<Installed<'g>, Written<'g>> {
        self.append_to(RESIDENT, id, seen, record)
    }

    /// As [`append`](Self::append), on top of a Partial page.
    ///
    /// # Errors
    /// The record, if the word has changed.
    ///
    /// # Panics
    /// If the record was reserved in another page.
    pub fn append_partial<'g>(
        &self,
        id: PageId,
        seen: Chain<'_>,
        record: Written<'g>,
    ) -> Result<Installed<'g>, Written<'g>> {
        self.append_to(PARTIAL, id, seen, record)
    }

    #[inline]
    fn append_to<'g>(
        &self,
        tag: usize,
        id: PageId,
        seen: Chain<'_>,
        record: Written<'g>,
    ) -> Result<Installed<'g>, Written<'g>> {
        record.link(seen);
        let old = Seen::of(seen.page(), seen.head(), tag);
        let won = self.swap(id, old, Seen::of(seen.page(), record.head(), tag));
        if won { Ok(record.installed()) } else { Err(record) }
    }

    /// Publishes a whole new page in place of a Resident one, and gives that.
    ///
    /// # Errors
    /// The new page, if the word has changed.
    pub fn replace(&self, id: PageId, seen: Chain<'_>, page: PageBox) -> Result<Unlinked, PageBox> {
        self.exchange(id, (seen, RESIDENT), (page, RESIDENT))
    }

    /// Publishes a page of records in place of `Disk(token)`: Disk -> Partial.
    ///
    /// # Errors
    /// The page, if the word has changed.
    pub fn begin_partial(&self, id: PageId, token: u64, page: PageBox) -> Result<(), PageBox> {
        self.publish(id, Seen::with_number(token, DISK), page, PARTIAL)
    }

    /// As [`replace`](Self::replace), a Partial page by one with more room.
    ///
    /// # Errors
    /// The new page, if the word has changed.
    pub fn replace_partial(
        &self,
        id: PageId,
        seen: Chain<'_>,
        page: PageBox,
    ) -> Result<Unlinked, PageBox> {
        self.exchange(id, (seen, PARTIAL), (page, PARTIAL))
    }

    /// Publishes a page read from the log, with the records of the Partial page that was seen:
    /// Partial -> Resident.
    ///
    /// # Errors
    /// The new page, if the word has changed.
    pub fn complete(
        &self,
        id: PageId,
        seen: Chain<'_>,
        page: PageBox,
    ) -> Result<Unlinked, PageBox> {
        self.exchange(id, (seen, PARTIAL), (page, RESIDENT))
    }

    /// The page that a CAS of this caller has taken out of a word. No other CAS has: a page is in
    /// one word, once, and while anyone has seen it under a pin its address is not used again.
    fn unlinked(seen: Chain<'_>) -> Unlinked {
        Unlinked(seen.page().as_raw())
    }

    /// Publishes a page read from the log in place of `Disk(token)`.
    ///
    /// # Errors
    /// The page, if the word has changed.
    pub fn page_in(&self, id: PageId, token: u64, page: PageBox) -> Result<(), PageBox> {
        self.publish(id, Seen::with_number(token, DISK), page, RESIDENT)
    }

    /// Publishes a page with a tag in place of one that was seen with a tag, and gives that.
    fn exchange(
        &self,
        id: PageId,
        (seen, old_tag): (Chain<'_>, usize),
        (page, tag): (PageBox, usize),
    ) -> Result<Unlinked, PageBox> {
        self.publish(id, Seen::of(seen.page(), seen.head(), old_tag), page, tag)?;
        Ok(Self::unlinked(seen))
    }

    fn publish(&self, id: PageId, old: Seen, page: PageBox, tag: usize) -> Result<(), PageBox> {
        let sketch = page.sketch();
        let (raw, head) = page.into_raw();
        if self.swap(id, old, Seen::with_pointer(raw, head, tag)) {
            self.set_sketch(id, sketch);
            return Ok(());
        }
        // SAFETY: the CAS failed, so nobody has seen the page.
        Err(unsafe { PageBox::from_raw(raw, head) })
    }

    fn set_sketch(&self, id: PageId, sketch: u64) {
        if let Some(slot) = self.slot(id) {
            slot.sketch.set(sketch);
        }
    }

    /// Sets the word of a freshly allocated id to Unborn. What another word had is leaked.
    pub fn set_unborn(&self, id: PageId, page: PageBox) {
        self.set_page(id, page, UNBORN);
    }

    fn set_page(&self, id: PageId, page: PageBox, tag: usize) {
        self.set_sketch(id, page.sketch());
        let (raw, head) = page.into_raw();
        self.set(id, Seen::with_pointer(raw, head, tag));
    }

    /// Sets the word of an id that nobody else can reach to a page: a root, or at recovery.
    pub fn set_resident(&self, id: PageId, page: PageBox) {
        self.set_page(id, page, RESIDENT);
    }

    /// Sets the word of an id that nobody else can reach to Disk, at recovery.
    pub fn set_disk(&self, id: PageId, token: u64) {
        self.set(id, Seen::with_number(token, DISK));
    }

    /// Sets the word of an id that nobody else can reach to Merged, at recovery.
    pub fn set_merged(&self, id: PageId, into: PageId, clock: u64) {
        let tomb = Box::into_raw(Box::new(Tomb { into, clock }));
        self.set(id, Seen::with_pointer(tomb.cast(), 0, MERGED));
    }

    fn set(&self, id: PageId, word: Seen) {
        let Some(slot) = self.slot(id) else { panic!("page id {id} has no slot") };
        // ORDERING: Release publishes the page to whoever loads the word.
        slot.word.store(word.0, Ordering::Release);
    }

    /// Takes an Unborn page back after the split that made it has failed: no epoch is needed, for
    /// whoever meets an Unborn word without coming by a link does not look at the page.
    pub fn take_unborn(&self, id: PageId) -> Option<PageBox> {
        let slot = self.slot(id)?;
        let seen = Seen(slot.word.load(Ordering::Relaxed));
        if seen.tag() != UNBORN || !self.swap(id, seen, Seen::with_number(0, FREE)) {
            return None;
        }
        // SAFETY: the word was the only way to the page, and nobody follows an Unborn word.
        Some(unsafe { PageBox::from_raw(seen.pointer(), seen.head()) })
    }

    /// Makes an Unborn page Resident. To be called only by who installed, or came over, the link
    /// of an installed page; anybody may, and it is done once.
    pub fn birth(&self, id: PageId) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        // ORDERING: Acquire, so that the page behind the word is visible to who goes on to read it.
        let seen = Seen(slot.word.load(Ordering::Acquire));
        seen.tag() == UNBORN
            && self.swap(id, seen, Seen::with_pointer(seen.pointer(), seen.head(), RESIDENT))
    }

    /// Resident -> Capped: from now on the page takes no record.
    pub fn cap(&self, id: PageId, seen: Chain<'_>) -> bool {
        let word = |tag| Seen::of(seen.page(), seen.head(), tag);
        self.swap(id, word(RESIDENT), word(CAPPED))
    }

    /// Capped -> Merged. Gives the capped page to the winner.
    pub fn bury(&self, id: PageId, seen: Chain<'_>, into: PageId, clock: u64) -> Option<Unlinked> {
        let tomb = Box::into_raw(Box::new(Tomb { into, clock }));
        let old = Seen::of(seen.page(), seen.head(), CAPPED);
        let won = self.swap(id, old, Seen::with_pointer(tomb.cast(), 0, MERGED));
        if !won {
            // SAFETY: the CAS failed, so nobody has seen the tomb.
            drop(unsafe { Box::from_raw(tomb) });
            return None;
        }
        Some(Self::unlinked(seen))
    }

    /// Merged -> Free. The id is not handed out again before [`Table::release`].
    pub fn clear_merged(&self, id: PageId, guard: &Guard) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let seen = Seen(slot.word.load(Ordering::Acquire));
        if seen.tag() != MERGED || !self.swap(id, seen, Seen::with_number(0, FREE)) {
            return false;
        }
        let tomb = Carry(seen.pointer().cast::<Tomb>());
        // SAFETY: the tomb is unlinked; nobody pinned now can be left when this runs.
        guard.defer(move || drop(unsafe { Box::from_raw(tomb.get()) }));
        true
    }

    /// Resident, Partial or Capped, as it was seen -> Free. Gives the page to the winner. The id is
    /// not handed out again before [`Table::release`].
    pub fn clear(&self, id: PageId, seen: Word<'_>) -> Option<Unlinked> {
        let (chain, tag) = match seen {
            Word::Resident(chain) => (chain, RESIDENT),
            Word::Capped(chain) => (chain, CAPPED),
            Word::Partial(chain) => (chain, PARTIAL),
            Word::Unborn | Word::Merged { .. } | Word::Disk(_) | Word::Free => return None,
        };
        self.take_out(id, chain, tag, Seen::with_number(0, FREE))
    }

    /// Disk -> Free, else as [`clear`](Self::clear).
    pub fn clear_disk(&self, id: PageId, token: u64) -> bool {
        self.swap(id, Seen::with_number(token, DISK), Seen::with_number(0, FREE))
    }

    /// Resident -> Disk. Gives the page to the winner.
    pub fn evict(&self, id: PageId, seen: Chain<'_>, token: u64) -> Option<Unlinked> {
        self.take_out(id, seen, RESIDENT, Seen::with_number(token, DISK))
    }

    /// Partial -> Disk. Gives the page of records to the winner.
    pub fn evict_partial(&self, id: PageId, seen: Chain<'_>, token: u64) -> Option<Unlinked> {
        self.take_out(id, seen, PARTIAL, Seen::with_number(token, DISK))
    }

    fn take_out(&self, id: PageId, seen: Chain<'_>, tag: usize, new: Seen) -> Option<Unlinked> {
        let won = self.swap(id, Seen::of(seen.page(), seen.head(), tag), new);
        won.then(|| Self::unlinked(seen))
    }

    /// What is known of the page's place in the log: the bytes that were set last.
    pub fn place<'g>(&'g self, id: PageId, guard: &'g Guard) -> Option<&'g [u8]> {
        self.places.get()?.get(id, guard)
    }

    /// Sets what is known of the page's place, or that nothing is. Only one thread at a time does
    /// this, the appender; another one waits for it.
    ///
    /// # Panics
    /// If there can be no such id, or if there are more than 4 GiB.
    pub fn set_place(&self, id: PageId, place: Option<&[u8]>, guard: &Guard) {
        self.places.get_or_init(|| Box::new(Places::new())).set(id, place, guard);
    }

    /// How much there is of what [`set_place`](Self::set_place) has set.
    pub fn place_bytes(&self) -> PlaceBytes {
        self.places.get().map_or_else(PlaceBytes::default, |places| places.bytes())
    }

    /// One more than the largest id ever handed out.
    pub fn id_limit(&self) -> u32 {
        self.next.load(Ordering::Acquire).min(u64::from(u32::MAX)) as u32
    }

    pub(crate) fn next_free(&self, id: PageId) -> u64 {
        self.slot(id).map_or(0, |slot| Seen(slot.word.load(Ordering::Acquire)).number())
    }

    pub(crate) fn set_next_free(&self, id: PageId, next: u64) {
        self.set(id, Seen::with_number(next, FREE));
    }
}

impl Slot {
    #[inline]
    fn seen(&self) -> Seen {
        // ORDERING: Acquire pairs with every Release CAS of the word: the page, its records and
        // their fingerprints are visible. SeqCst for `stamp::date`.
        Seen(self.word.load(Ordering::SeqCst))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for slot in self.slots.drain() {
            let seen = Seen(slot.word.load(Ordering::Relaxed));
            match seen.tag() {
                RESIDENT | CAPPED | UNBORN | PARTIAL => {
                    // SAFETY: the word owns its page; replaced pages were retired instead.
                    drop(unsafe { PageBox::from_raw(seen.pointer(), 0) });
                }
                MERGED => {
                    // SAFETY: the word owns its tomb.
                    drop(unsafe { Box::from_raw(seen.pointer().cast::<Tomb>()) });
                }
                _ => {}
            }
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}
