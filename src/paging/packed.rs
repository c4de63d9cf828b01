//! A location as the table keeps it: every number in as few bytes as it needs.
//!
//! There is one for each page, whether that is in memory or not, so these are what a store costs
//! that is many times larger than its memory: with a dozen delta parts some 140 bytes instead of
//! 330. A reader of the table unpacks one; it costs far less than to read a page.

use super::place::Place;
use types::{Address, PageId};

/// What an allocation takes besides its bytes, about: its header, and what it is rounded up by.
const ALLOCATION_BYTES: usize = 16;

/// A [`Place`], packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedPlace {
    bytes: Box<[u8]>,
}

impl PackedPlace {
    pub(crate) fn of(place: &Place) -> Self {
        let mut out = Vec::with_capacity(48 + 8 * (place.deltas.len() + place.values.len()));
        put(&mut out, place.flushed);
        for number in [place.serial, place.tree, place.merged_into.number()] {
            put(&mut out, u64::from(number));
        }
        for number in [place.count, place.image_count] {
            put(&mut out, zigzag(i64::from(number)));
        }
        for number in [place.image_values, place.deltas.len(), place.values.len()] {
            put(&mut out, number as u64);
        }
        let mut segment = 0;
        let lists = place.deltas.iter().chain(&place.values);
        for address in std::iter::once(&place.image).chain(lists) {
            put_address(&mut out, address, &mut segment);
        }
        Self { bytes: out.into_boxed_slice() }
    }

    /// The whole of it.
    pub(crate) fn unpack(&self) -> Place {
        let mut bytes = self.bytes.iter();
        let (mut place, deltas, values) = head(&mut bytes);
        let mut segment = 0;
        place.image = address(&mut bytes, &mut segment);
        place.deltas = (0..deltas).map(|_| address(&mut bytes, &mut segment)).collect();
        place.values = (0..values).map(|_| address(&mut bytes, &mut segment)).collect();
        place
    }

    /// All but the lists of delta parts and values, which are empty; without an allocation.
    pub(crate) fn without_lists(&self) -> Place {
        let mut bytes = self.bytes.iter();
        let (place, ..) = head(&mut bytes);
        Place { image: address(&mut bytes, &mut 0), ..place }
    }

    /// Bytes of memory that this takes, those that the allocator adds included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (size_of::<Self>() + self.bytes.len() + 2 * ALLOCATION_BYTES) as u64
    }
}

/// The numbers in front of the addresses, and how many delta parts and values there are.
fn head(bytes: &mut std::slice::Iter<'_, u8>) -> (Place, usize, usize) {
    let place = Place {
        flushed: take(bytes),
        serial: take(bytes) as u32,
        tree: take(bytes) as u32,
        merged_into: PageId::new(take(bytes) as u32),
        count: unzigzag(take(bytes)) as i32,
        image_count: unzigzag(take(bytes)) as i32,
        image_values: take(bytes) as usize,
        ..Place::default()
    };
    (place, take(bytes) as usize, take(bytes) as usize)
}

/// The parts of a page often lie in segments with numbers close to one another, at offsets that
/// are multiples of eight.
fn put_address(out: &mut Vec<u8>, address: &Address, segment: &mut u32) {
    put(out, zigzag(i64::from(address.segment) - i64::from(*segment)));
    *segment = address.segment;
    let offset = u64::from(address.offset);
    put(out, if offset.is_multiple_of(8) { (offset / 8) << 1 } else { (offset << 1) | 1 });
    put(out, u64::from(address.len));
}

fn address(bytes: &mut std::slice::Iter<'_, u8>, segment: &mut u32) -> Address {
    *segment = (i64::from(*segment) + unzigzag(take(bytes))) as u32;
    let offset = take(bytes);
    let offset = if offset & 1 == 0 { (offset >> 1) * 8 } else { offset >> 1 };
    Address { segment: *segment, offset: offset as u32, len: take(bytes) as u32 }
}

/// Seven bits a byte, the lowest first; the last byte has its high bit clear (LEB128).
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut std::slice::Iter<'_, u8>) -> u64 {
    let (mut number, mut shift) = (0, 0);
    for &byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut state = 7;
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
                merged_into: PageId::new(one() as u32),
            };
            let packed = PackedPlace::of(&place);
            assert_eq!(packed.unpack(), place);
            let lists = (Vec::new(), Vec::new());
            let without = Place { deltas: lists.0, values: lists.1, ..place };
            assert_eq!(packed.without_lists(), without);
        }
    }

    #[test]
    fn a_page_with_a_dozen_delta_parts_takes_150_bytes() {
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
        let bytes = PackedPlace::of(&place).memory_bytes();
        assert!(bytes <= 160, "{bytes}");
    }
}
