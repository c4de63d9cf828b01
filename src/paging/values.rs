//! Separated values: what is too long for a page lies in the log as a part of its own.
//!
//! A page holds an eight-byte handle, and owns one count of what is behind it. A value that was
//! just written is in memory until its page is evicted; one that came back with its page is read
//! from the log each time. In an image a value is its address.
#![expect(unsafe_code, reason = "a page owns one count of each Arc whose pointer it holds")]

use super::store::{BudgetMeter, LogStore};
use crate::engine::{Meter, Versioned, handle_of};
use crate::error::{Error, Result};
use bytes::Bytes;
use delta::{Base, FLAG_SEPARATED, Op};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sync::atomic::{AtomicU64, Ordering};
use types::{Address, PageId};

/// The kind of a value's part. It names no page: a value stays where it is when its page splits.
pub(crate) const VALUE: u8 = 3;

/// What a value in memory takes besides its bytes and what is known of it: the owner of its bytes,
/// half of the unit that its length is rounded up to, and what the allocator needs for all that.
const OVERHEAD_BYTES: usize = 256;

/// The values outside a leaf that these records, the newest first, have taken the place of. They
/// are dead with the commit that has the records, though parts of the page still name them: a
/// recovery that finds one gone looks whether an entry names it, too; see `recover`.
pub(super) fn displaced(
    base: Base<'_>,
    records: &Versioned<'_>,
    address: impl Fn(&[u8]) -> Address,
) -> HashSet<Address> {
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let older = records.iter().map(|(_, record)| record).filter(|record| !seen.insert(record.key));
    let puts = older.filter(|r| r.op == Op::Put && r.flags & FLAG_SEPARATED != 0);
    let mut displaced: HashSet<Address> = puts.map(|record| address(record.value)).collect();
    let of_base = seen.iter().filter_map(|key| base.search(key).ok()).map(|at| base.entry(at));
    let separated = of_base.filter(|entry| entry.flags & FLAG_SEPARATED != 0);
    displaced.extend(separated.map(|entry| address(entry.value)));
    displaced
}

/// A value outside its page.
#[derive(Debug)]
pub(crate) struct Separated {
    len: u32,
    /// Segment and offset of its part, once a commit with it is durable; else 0.
    place: AtomicU64,
    bytes: Mutex<InMemory>,
    meter: BudgetMeter,
}

/// What is in memory of a value.
#[derive(Debug, Default)]
struct InMemory {
    bytes: Option<Bytes>,
    /// Whether the budget knows of them.
    counted: bool,
}

impl Separated {
    /// A value that is in memory only, and not counted yet.
    pub(crate) fn new(bytes: Bytes, meter: BudgetMeter) -> Arc<Self> {
        let len = bytes.len() as u32;
        let bytes = Mutex::new(InMemory { bytes: Some(bytes), counted: false });
        Arc::new(Self { len, place: AtomicU64::new(0), bytes, meter })
    }

    /// Counts the bytes: a page has the value now, so a commit and an eviction can free them.
    /// Before that a writer would wait for memory that it holds itself.
    pub(crate) fn count(&self) {
        let mut held = self.in_memory();
        if held.bytes.is_some() && !held.counted {
            held.counted = true;
            self.meter.add(self.weight());
        }
    }

    /// The page of the value is evicted: the bytes go, although an iterator may still have seen the
    /// value, since it can be read from the log. One that no commit has had is dead.
    pub(crate) fn leave_memory(&self) {
        if !self.address().is_none() {
            let left = core::mem::take(&mut *self.in_memory());
            if left.counted {
                self.meter.sub(self.weight());
            }
        }
    }

    fn in_memory(&self) -> MutexGuard<'_, InMemory> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value that is in the log only.
    pub(crate) fn at(address: Address, meter: BudgetMeter) -> Arc<Self> {
        let place = AtomicU64::new(pack(address));
        Arc::new(Self { len: address.len, place, bytes: Mutex::default(), meter })
    }

    /// Where the value lies in the log; none as long as no commit with it is durable.
    pub(crate) fn address(&self) -> Address {
        // ORDERING: Acquire pairs with the Release in `moved_to`: the part can be read.
        unpack(self.place.load(Ordering::Acquire), self.len)
    }

    /// The address as the parts of the page have it by now: a value that was moved on a full disk
    /// is followed.
    pub(crate) fn current(&self, store: &LogStore) -> Address {
        loop {
            let address = self.address();
            let Some(now) = store.forwarded(address) else { return address };
            // ORDERING: as in `moved_to`. It fails if the appender has moved the value on since.
            let _lost = self.place.compare_exchange(
                pack(address),
                pack(now),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }

    /// A commit with the value at this address is durable.
    pub(crate) fn moved_to(&self, address: Address) {
        self.place.store(pack(address), Ordering::Release);
    }

    /// Bytes of the value.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of memory that it is counted for.
    pub(super) fn weight(&self) -> usize {
        self.len() + size_of::<Self>() + OVERHEAD_BYTES
    }

    /// Whether its bytes are in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.in_memory().bytes.is_some()
    }

    /// The value. Reads the log if need be, so never called pinned.
    pub(crate) fn load(&self, store: &LogStore) -> Result<Bytes> {
        let held = self.in_memory().bytes.clone();
        if let Some(bytes) = held {
            return Ok(bytes);
        }
        loop {
            let address = self.address();
            match store.log.read(address, PageId::NONE, VALUE) {
                // It was moved between the two loads, or on a full disk, and its old segment is
                // gone.
                Err(lss::Error::Gone { .. }) if self.current(store) != address => {}
                result => return result.map_err(Error::from),
            }
        }
    }

    /// The handle that stands for one count of this.
    pub(crate) fn into_handle(self: Arc<Self>) -> [u8; 8] {
        (Arc::into_raw(self).expose_provenance() as u64).to_le_bytes()
    }

    /// Another count of what a handle in a page stands for. To be called pinned, with a handle
    /// found under that pin.
    pub(crate) fn from_handle(handle: &[u8]) -> Arc<Self> {
        let pointer = core::ptr::with_exposed_provenance(handle_of(handle) as usize);
        // SAFETY: the page's own count is alive at least as long as the pin.
        unsafe {
            Arc::<Self>::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        }
    }

    /// Gives the count behind a handle back.
    pub(crate) fn release(handle: u64) {
        let pointer = core::ptr::with_exposed_provenance::<Self>(handle as usize);
        // SAFETY: the page that held the handle owned one count, and gives it up here.
        drop(unsafe { Arc::from_raw(pointer) });
    }
}

impl Drop for Separated {
    fn drop(&mut self) {
        if self.in_memory().counted {
            self.meter.sub(self.weight());
        }
    }
}

fn pack(address: Address) -> u64 {
    u64::from(address.segment) << 32 | u64::from(address.offset)
}

fn unpack(place: u64, len: u32) -> Address {
    match place {
        0 => Address::NONE,
        _ => Address { segment: (place >> 32) as u32, offset: place as u32, len },
    }
}
