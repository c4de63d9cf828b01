//! Places: some bytes for each page id, in memory of their own.
//!
//! ```text
//!   cell of an id --> entry { id, length, bytes }        entries lie one behind the other in
//!   block             an entry | an entry | ... | free   blocks, which come from the system
//! ```
//!
//! There is one for each page, whether that is in memory or not, so they are what a store costs
//! that is many times larger than its memory; they change with each commit, and come in all
//! lengths. In the memory of an allocator they leave holes as large as all of them. So they are
//! kept as a log keeps pages: a new entry goes behind the newest, what it replaces is dead, and
//! when more than a fifth is dead the block with the least in it is *emptied*: what is live in it
//! goes behind the newest as well, and the block goes back to the system.
//!
//! # Protocol
//!
//! 1. One thread at a time changes anything. Readers wait for nobody: a cell points to an entry,
//!    which does not change once a cell has.
//! 2. A block is given back when nobody who was pinned when it had been emptied is pinned any more:
//!    no cell names an entry of it since. An entry that was moved says the same as before.
//! 3. An entry is live if the cell of its id points to it.
#![expect(unsafe_code, reason = "cells point into blocks, which live as long as the pin")]

use crate::block::{Block, Head, entry_bytes};
use crate::buckets::Buckets;
use core::ptr::{self, NonNull};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::epoch::Guard;
use types::PageId;

/// Blocks are a power of two, and about so many.
const BLOCKS: u64 = 64;
#[cfg(not(loom))]
const SMALLEST_BLOCK: usize = 64 << 10;
#[cfg(loom)]
const SMALLEST_BLOCK: usize = 256;
const LARGEST_BLOCK: usize = 4 << 20;
/// Of what is live, so much may be dead before a block is emptied, beside one block.
const DEAD_SHARE: u64 = 4;
/// The blocks, and what is in them.
#[derive(Debug, Default)]
struct Blocks {
    open: Option<Block>,
    /// By where they begin.
    full: BTreeMap<usize, Block>,
    /// Bytes of live entries, and of all.
    live: usize,
    used: usize,
    /// Live entries.
    count: u64,
    held: Arc<AtomicU64>,
}

impl Blocks {
    fn add(&mut self, id: PageId, bytes: &[u8]) -> NonNull<Head> {
        let size = entry_bytes(bytes.len());
        if self.open.as_ref().is_none_or(|open| !open.has_room(size)) {
            let block = (self.live as u64 / BLOCKS).next_power_of_two() as usize;
            let block = block.clamp(SMALLEST_BLOCK, LARGEST_BLOCK).max(size);
            let full = self.open.replace(Block::new(block, &self.held));
            self.full.extend(full.map(|full| (full.start(), full)));
        }
        let Some(open) = &mut self.open else { unreachable!("one was opened") };
        self.live += size;
        self.used += size;
        open.add(id, bytes)
    }

    /// An entry is dead.
    fn lose(&mut self, entry: NonNull<Head>) {
        // SAFETY: a cell pointed to it until now, so its block is there.
        let size = entry_bytes(unsafe { entry.as_ref() }.len as usize);
        let at = entry.addr().get();
        let block = match self.open.as_mut().filter(|open| open.has(at)) {
            Some(open) => Some(open),
            None => self.full.range_mut(..=at).next_back().map(|(_, block)| block),
        };
        if let Some(block) = block {
            block.live -= size;
        }
        self.live -= size;
    }

    /// Takes a block out that is to be emptied, if there is any.
    fn victim(&mut self) -> Option<Block> {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        if self.used <= self.live + self.live / DEAD_SHARE as usize + open {
            return None;
        }
        let by_share = |(_, block): &(&usize, &Block)| block.live * 1024 / block.used.max(1);
        let at = *self.full.iter().min_by_key(by_share)?.0;
        let block = self.full.remove(&at)?;
        self.used -= block.used;
        Some(block)
    }
}

/// The places.
pub(crate) struct Places {
    cells: Buckets<AtomicPtr<Head>>,
    /// For who changes anything.
    blocks: Mutex<Blocks>,
}

/// How much there is of places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceBytes {
    /// How many there are.
    pub count: u64,
    /// Bytes that they take.
    pub live: u64,
    /// Bytes of memory that the system has given for them.
    pub held: u64,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { cells: Buckets::new(), blocks: Mutex::default() }
    }

    /// Bytes of memory of the cells.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.cells.memory_bytes()
    }

    pub(crate) fn bytes(&self) -> PlaceBytes {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        PlaceBytes {
            count: blocks.count,
            live: blocks.live as u64,
            held: blocks.held.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn get<'g>(&'g self, id: PageId, _guard: &'g Guard) -> Option<&'g [u8]> {
        // ORDERING: Acquire pairs with the Release in `point`.
        let entry = NonNull::new(self.cells.get(id.index())?.load(Ordering::Acquire))?;
        // SAFETY: a cell points to a whole entry, whose block lives while the guard and this do.
        unsafe {
            let len = entry.as_ref().len as usize;
            Some(core::slice::from_raw_parts(entry.add(1).cast().as_ptr(), len))
        }
    }

    /// Sets the bytes of an id, or takes them away.
    pub(crate) fn set(&self, id: PageId, bytes: Option<&[u8]>, guard: &Guard) {
        let blocks = &mut *self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        self.cells.grow(id.index());
        let new = bytes.map(|bytes| blocks.add(id, bytes));
        blocks.count += u64::from(new.is_some());
        if let Some(old) = self.point(id, new) {
            blocks.count -= 1;
            blocks.lose(old);
        }
        // What is emptied makes others fuller: in the end nothing is to be emptied.
        while let Some(victim) = blocks.victim() {
            self.empty(&victim, blocks);
            guard.defer(move || drop(victim));
            // It is large: it must not wait in this thread until more has come together.
            guard.flush();
        }
    }

    /// Moves what is live in a block.
    fn empty(&self, victim: &Block, blocks: &mut Blocks) {
        blocks.live -= victim.live;
        for entry in victim.entries() {
            // SAFETY: the block is there.
            let head = unsafe { *entry.as_ref() };
            let id = PageId::new(head.id);
            // ORDERING: Relaxed; only who has the blocks changes cells.
            let cell = self.cells.get(id.index()).map(|cell| cell.load(Ordering::Relaxed));
            if cell == Some(entry.as_ptr()) {
                // SAFETY: the bytes lie behind the head.
                let bytes = unsafe {
                    core::slice::from_raw_parts(entry.add(1).cast().as_ptr(), head.len as usize)
                };
                self.point(id, Some(blocks.add(id, bytes)));
            }
        }
    }

    /// Makes the cell of an id point to an entry. Returns where it pointed.
    fn point(&self, id: PageId, entry: Option<NonNull<Head>>) -> Option<NonNull<Head>> {
        let Some(cell) = self.cells.get(id.index()) else { panic!("page id {id} has no place") };
        let entry = entry.map_or(ptr::null_mut(), NonNull::as_ptr);
        // ORDERING: Release publishes the entry; what was there was written by who has the blocks.
        NonNull::new(cell.swap(entry, Ordering::AcqRel))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};
    use sync::epoch::Collector;

    /// Lets all that was deferred happen, and tells what there is then. Tests beside this one share
    /// the epochs, and are pinned for as long as they like.
    fn settled(places: &Places, collector: &Collector, most: u64) -> PlaceBytes {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            collector.pin().flush();
            let bytes = places.bytes();
            if bytes.held <= most {
                return bytes;
            }
            assert!(Instant::now() < end, "{bytes:?}, at most {most}");
            std::thread::yield_now();
        }
    }

    fn bytes_of(id: u32, round: u32) -> Vec<u8> {
        let len = (id.wrapping_mul(2_654_435_761) ^ round.wrapping_mul(40_503)) % 300;
        (0..len).map(|at| (at ^ id ^ round) as u8).collect()
    }

    #[test]
    fn places_are_what_was_set_last_and_take_little_more() {
        let (places, collector) = (Places::new(), Collector::new());
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        let mut state = 1_u64;
        for round in 0..60_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = (state >> 33) as u32 % 4000 + 1;
            let guard = collector.pin();
            if state >> 60 == 0 {
                places.set(PageId::new(id), None, &guard);
                last.remove(&id);
            } else {
                places.set(PageId::new(id), Some(&bytes_of(id, round)), &guard);
                last.insert(id, round);
            }
        }
        let guard = collector.pin();
        for id in 0..=4001 {
            let wanted = last.get(&id).map(|round| bytes_of(id, *round));
            assert_eq!(places.get(PageId::new(id), &guard), wanted.as_deref());
        }
        drop(guard);
        let live: usize =
            last.iter().map(|(id, round)| entry_bytes(bytes_of(*id, *round).len())).sum();
        let most = live as u64 * 5 / 4 + 2 * SMALLEST_BLOCK as u64;
        let bytes = settled(&places, &collector, most);
        assert_eq!((bytes.count, bytes.live), (last.len() as u64, live as u64));
        assert!(bytes.held >= bytes.live);
    }

    #[test]
    fn what_a_pinned_reader_has_stays_and_what_nobody_has_goes() {
        let (places, collector) = (Places::new(), Collector::new());
        let set = |round| {
            let guard = collector.pin();
            (1..2000)
                .for_each(|id| places.set(PageId::new(id), Some(&bytes_of(id, round)), &guard));
        };
        set(1);
        let guard = collector.pin();
        let seen: Vec<&[u8]> =
            (1..2000).filter_map(|id| places.get(PageId::new(id), &guard)).collect();
        (2..10).for_each(set);
        for (id, seen) in (1..).zip(&seen) {
            assert_eq!(*seen, bytes_of(id, 1));
        }
        drop(guard);
        let guard = collector.pin();
        (1..2000).for_each(|id| places.set(PageId::new(id), None, &guard));
        drop(guard);
        let bytes = settled(&places, &collector, 2 * SMALLEST_BLOCK as u64);
        assert_eq!((bytes.count, bytes.live), (0, 0));
    }

    #[test]
    fn long_places_have_blocks_of_their_own() {
        let (places, collector) = (Places::new(), Collector::new());
        let guard = collector.pin();
        for len in [3 * SMALLEST_BLOCK, 1, SMALLEST_BLOCK, 0, SMALLEST_BLOCK - entry_bytes(0)] {
            places.set(PageId::new(7), Some(&vec![5; len]), &guard);
            assert_eq!(places.get(PageId::new(7), &guard).map(<[u8]>::len), Some(len));
        }
    }
}
