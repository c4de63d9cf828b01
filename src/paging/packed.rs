//! A location as the table keeps it: every number in as few bytes as it needs.
//!
//! There is one for each page, whether that is in memory or not, so these are what a store costs
//! that is many times larger than its memory: with a dozen delta parts some 140 bytes instead of
//! 330. A reader of the table unpacks one; it costs far less than to read a page.
//!
//! The memory of those that are replaced is used again for those that replace them
//! ([`PlacePool`]). An allocator keeps what each thread frees for that thread, and the threads that
//! commit take turns: opening, flushing and cleaning each left holes as large as all locations.

use super::place::Place;
use super::visit::is_crowded;
use std::sync::{Mutex, PoisonError};
use types::PageId;
use types::varint::{put, put_address, take, take_address, unzigzag, zigzag};

/// What an allocation takes besides its bytes, about: its header, and what it is rounded up by.
const ALLOCATION_BYTES: usize = 16;

/// Memory is taken in multiples of this, so that it fits another location later.
const GRAIN_BYTES: usize = 32;
/// Larger ones are not kept for use again.
const MAX_POOLED_BYTES: usize = 992;
/// Of the locations in use, one part in so many may be kept for use again.
const POOLED_PART: u64 = 4;

/// Added to the number of delta parts if the entries are not counted.
const UNCOUNTED: u64 = 1 << 20;

/// A [`Place`], packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedPlace {
    bytes: Vec<u8>,
}

/// Memory of locations that were replaced, by size.
#[derive(Debug, Default)]
pub(crate) struct PlacePool {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Where a location is packed, to see how long it is.
    scratch: Vec<u8>,
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    free: [Vec<Box<PackedPlace>>; MAX_POOLED_BYTES / GRAIN_BYTES + 1],
    free_bytes: u64,
    used_bytes: u64,
    used: u64,
}

impl PlacePool {
    /// Packs a location, into memory of another one that is gone, if there is any.
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is used again")]
    pub(crate) fn pack(&self, place: &Place) -> Box<PackedPlace> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = std::mem::take(&mut kept.scratch);
        scratch.clear();
        PackedPlace::write(place, &mut scratch);
        let grains = scratch.len().div_ceil(GRAIN_BYTES);
        let old = kept.free.get_mut(grains).and_then(Vec::pop);
        if let Some(old) = &old {
            kept.free_bytes -= old.memory_bytes();
        }
        let mut packed = old.unwrap_or_else(|| {
            Box::new(PackedPlace { bytes: Vec::with_capacity(grains * GRAIN_BYTES) })
        });
        packed.bytes.clear();
        packed.bytes.extend_from_slice(&scratch);
        kept.scratch = scratch;
        kept.used_bytes += packed.memory_bytes();
        kept.used += 1;
        packed
    }

    /// Takes a location that is not in use any more, for its memory.
    pub(crate) fn put(&self, place: Box<PackedPlace>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (grains, bytes) = (place.bytes.capacity() / GRAIN_BYTES, place.memory_bytes());
        kept.used_bytes -= bytes;
        kept.used -= 1;
        let enough = kept.free_bytes >= kept.used_bytes / POOLED_PART;
        if let Some(free) = kept.free.get_mut(grains).filter(|_| !enough) {
            free.push(place);
            kept.free_bytes += bytes;
        }
    }

    /// Bytes of a packed location, on average, at most.
    pub(crate) fn mean_bytes(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.used_bytes / kept.used.max(1)).saturating_sub(PackedPlace::OVERHEAD_BYTES)
    }

    /// Bytes of memory of all locations, and of what is kept for more.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.used_bytes + kept.free_bytes
    }
}

impl PackedPlace {
    fn write(place: &Place, out: &mut Vec<u8>) {
        put(out, place.flushed);
        for number in [place.serial, place.tree, place.merged_into.number()] {
            put(out, u64::from(number));
        }
        for number in [place.count, place.image_count] {
            put(out, zigzag(i64::from(number)));
        }
        let uncounted = if place.uncounted { UNCOUNTED } else { 0 };
        let deltas = place.deltas.len() as u64 | uncounted;
        for number in [place.image_values as u64, deltas, place.values.len() as u64] {
            put(out, number);
        }
        let mut segment = 0;
        let lists = place.deltas.iter().chain(&place.values);
        for address in std::iter::once(&place.image).chain(lists) {
            put_address(out, *address, &mut segment);
        }
    }

    /// The whole of it.
    pub(crate) fn unpack(&self) -> Place {
        // What was packed can be unpacked.
        Self::parse(&self.bytes).unwrap_or_default()
    }

    /// What these bytes say, if they are those of a packed location, whole.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Place> {
        let (mut place, deltas, values) = head(&mut bytes)?;
        let mut segment = 0;
        place.image = take_address(&mut bytes, &mut segment)?;
        // An address takes three bytes at least: nothing is set aside for more than there are.
        if deltas.checked_add(values)? > bytes.len() {
            return None;
        }
        place.deltas.reserve_exact(deltas);
        for _ in 0..deltas {
            place.deltas.push(take_address(&mut bytes, &mut segment)?);
        }
        place.values.reserve_exact(values);
        for _ in 0..values {
            place.values.push(take_address(&mut bytes, &mut segment)?);
        }
        bytes.is_empty().then_some(place)
    }

    /// All but the lists of delta parts and values, which are empty; without an allocation.
    pub(crate) fn without_lists(&self) -> Place {
        let mut bytes = &*self.bytes;
        let head = head(&mut bytes).and_then(|(place, ..)| {
            Some(Place { image: take_address(&mut bytes, &mut 0)?, ..place })
        });
        head.unwrap_or_default()
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a location takes in memory besides its bytes.
    const OVERHEAD_BYTES: u64 = (size_of::<Self>() + 2 * ALLOCATION_BYTES) as u64;

    /// Whether it is the location of a page with less than so many live bytes: a leaf, perhaps.
    pub(crate) fn is_small(&self, bytes: usize) -> bool {
        let place = self.without_lists();
        !place.is_merged() && place.live_bytes() < bytes
    }

    /// Whether the page was written to without being read until it has more parts than it should.
    pub(crate) fn wants_reading(&self) -> bool {
        self.without_lists().uncounted && is_crowded(&self.unpack())
    }

    /// Bytes of memory that this takes, those that the allocator adds included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        Self::OVERHEAD_BYTES + self.bytes.capacity() as u64
    }
}

/// The numbers in front of the addresses, and how many delta parts and values there are.
fn head(bytes: &mut &[u8]) -> Option<(Place, usize, usize)> {
    let mut place = Place {
        flushed: take(bytes)?,
        serial: take(bytes)? as u32,
        tree: take(bytes)? as u32,
        merged_into: PageId::new(take(bytes)? as u32),
        count: unzigzag(take(bytes)?) as i32,
        image_count: unzigzag(take(bytes)?) as i32,
        image_values: take(bytes)? as usize,
        ..Place::default()
    };
    let deltas = take(bytes)?;
    place.uncounted = deltas & UNCOUNTED != 0;
    Some((place, (deltas & !UNCOUNTED) as usize, take(bytes)? as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Address;

    fn number(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        // Of any length, and often one of the ends.
        match *state >> 60 {
            0 => 0,
            1 => u64::MAX,
            _ => (*state >> 8) >> (*state % 56),
        }
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let (mut state, pool) = (7, PlacePool::default());
        for round in 0..20_000_usize {
            let mut list = |most: usize| -> Vec<Address> {
                let mut one = || number(&mut state) as u32;
                (0..most).map(|_| Address { segment: one(), offset: one(), len: one() }).collect()
            };
            let (image, deltas, values) = (list(1)[0], list(round % 33), list(round % 5));
            let mut one = || number(&mut state);
            let place = Place {
                tree: one() as u32,
                flushed: one(),
                serial: one() as u32,
                image: if round.is_multiple_of(7) { Address::NONE } else { image },
                deltas,
                values,
                image_values: round % 3,
                count: one() as i32,
                image_count: one() as i32,
                uncounted: round.is_multiple_of(2),
                merged_into: PageId::new(one() as u32),
            };
            let packed = pool.pack(&place);
            assert_eq!(packed.unpack(), place);
            let lists = (Vec::new(), Vec::new());
            let without = Place { deltas: lists.0, values: lists.1, ..place };
            assert_eq!(packed.without_lists(), without);
            pool.put(packed);
        }
    }

    #[test]
    fn a_page_with_a_dozen_delta_parts_takes_190_bytes() {
        let at = |n: u32| Address { segment: 4000 - 3 * n, offset: 1_000_000 + 296 * n, len: 230 };
        let place = Place {
            tree: 1,
            flushed: 90_000,
            serial: 100_000,
            image: Address { len: 5000, ..at(0) },
            deltas: (1..=12).map(at).collect(),
            count: 30,
            image_count: 20,
            ..Place::default()
        };
        let bytes = PlacePool::default().pack(&place).memory_bytes();
        assert!(bytes <= 190, "{bytes}");
    }
}
