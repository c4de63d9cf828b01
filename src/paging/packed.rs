//! A location as the table keeps it: every number in as few bytes as it needs.
//!
//! There is one for each page, whether that is in memory or not, so these are what a store costs
//! that is many times larger than its memory: with a dozen delta parts some 100 bytes instead of
//! 330. A reader of the table unpacks one; it costs far less than to read a page. Where they lie:
//! `mapping/src/places.rs`.

use super::place::Place;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use types::varint::{put, put_address, take, take_address, unzigzag, zigzag};
use types::{Address, PageId};

/// Added to the number of delta parts if the entries are not counted.
const UNCOUNTED: u64 = 1 << 20;

/// A [`Place`], packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedPlace<'a> {
    bytes: &'a [u8],
}

/// Packed locations of pages, in the order in which these came first.
#[derive(Debug, Default)]
pub(crate) struct PackedPlaces {
    /// In pieces: see [`Pieces`](types::Pieces). Behind the last that is in use come empty ones.
    pieces: Vec<Vec<u8>>,
    /// How many of them are in use.
    used: usize,
    found: Vec<Found>,
    /// Where in `found` a page is.
    index: HashMap<PageId, u32>,
}

/// In which piece the location of a page is, and where in it.
#[derive(Debug)]
struct Found {
    id: PageId,
    piece: u32,
    range: Range<u32>,
}

/// What is known of the bytes that the log has of a page, without reading it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reckoned {
    /// Of its parts, and of the values that they name.
    pub(crate) bytes: u64,
    /// Of these, those that others have taken the place of, about.
    pub(crate) superseded: u64,
    /// Of the others, those that may be superseded too: the page was written to without being
    /// read, and how long what it had there was, is not known.
    pub(crate) unknown: u64,
    /// Bytes that a leaf may have in memory, about.
    pub(crate) grown: u64,
}

/// What a small record takes in a delta part, at the least, about.
const SMALL_RECORD_BYTES: u64 = 16;

/// Bytes that an entry has in memory beyond those in an image, about.
const LONGER_IN_MEMORY: u64 = 4;

/// Bytes of a piece, about.
const PIECE_BYTES: usize = 32 << 10;

/// Empty pieces that are kept: 2 MiB; and pages for which the lists have room when they are.
const MAX_SPARE_PIECES: usize = 64;
pub(super) const MAX_SPARE_PAGES: usize = 1 << 15;

impl PackedPlaces {
    /// How many pages have one.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// Sets the location of a page. One that it had takes memory still.
    pub(crate) fn insert(&mut self, id: PageId, place: &Place) {
        let is_full = |piece: &Vec<u8>| piece.len() > PIECE_BYTES - PIECE_BYTES / 16;
        if self.pieces[..self.used].last().is_none_or(is_full) {
            if self.used == self.pieces.len() {
                self.pieces.push(Vec::with_capacity(if self.used == 0 { 0 } else { PIECE_BYTES }));
            }
            self.used += 1;
        }
        let at = self.used - 1;
        let piece = &mut self.pieces[at];
        let start = piece.len() as u32;
        PackedPlace::write(place, piece);
        let found = Found { id, piece: at as u32, range: start..piece.len() as u32 };
        match self.index.entry(id) {
            Entry::Occupied(old) => self.found[*old.get() as usize] = found,
            Entry::Vacant(new) => {
                new.insert(self.found.len() as u32);
                self.found.push(found);
            }
        }
    }

    /// Forgets all of them; their memory is kept for the next ones, up to a bound.
    pub(crate) fn clear(&mut self) {
        self.found.clear();
        self.found.shrink_to(MAX_SPARE_PAGES);
        self.index.clear();
        self.index.shrink_to(MAX_SPARE_PAGES);
        self.pieces.truncate(MAX_SPARE_PIECES);
        self.pieces.iter_mut().for_each(Vec::clear);
        self.used = 0;
    }

    pub(crate) fn get(&self, id: PageId) -> Option<PackedPlace<'_>> {
        self.index.get(&id).map(|at| self.at(&self.found[*at as usize]))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PageId, PackedPlace<'_>)> {
        self.found.iter().map(|found| (found.id, self.at(found)))
    }

    fn at(&self, Found { piece, range, .. }: &Found) -> PackedPlace<'_> {
        let bytes = &self.pieces[*piece as usize];
        PackedPlace { bytes: &bytes[range.start as usize..range.end as usize] }
    }
}

impl<'a> PackedPlace<'a> {
    /// What [`bytes`](Self::bytes) has given.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Packs a location behind these bytes.
    pub(crate) fn write(place: &Place, out: &mut Vec<u8>) {
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

    /// What of it is something to another process: all behind version and serial.
    pub(crate) fn lasting(self) -> &'a [u8] {
        let mut rest = self.bytes;
        let _own = (take(&mut rest), take(&mut rest));
        rest
    }

    /// The whole of it.
    pub(crate) fn unpack(self) -> Place {
        // What was packed can be unpacked.
        Self::parse(self.bytes).unwrap_or_default()
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
    pub(crate) fn without_lists(self) -> Place {
        let mut bytes = self.bytes;
        let head = head(&mut bytes).and_then(|(place, ..)| {
            Some(Place { image: take_address(&mut bytes, &mut 0)?, ..place })
        });
        head.unwrap_or_default()
    }

    /// Whether this is a part of the page.
    pub(crate) fn has_part(self, part: Address) -> bool {
        let mut bytes = self.bytes;
        let deltas = head(&mut bytes).map_or(0, |(_, deltas, _)| deltas);
        listed(bytes).take(1 + deltas).any(|at| at == part)
    }

    /// Whether the image of the page, a delta part, or a value that they name lies in one of these
    /// segments.
    pub(crate) fn lies_in(self, segments: &HashSet<u32>) -> bool {
        let mut bytes = self.bytes;
        head(&mut bytes).is_some()
            && listed(bytes).any(|at| !at.is_none() && segments.contains(&at.segment))
    }

    /// Whether such a value does.
    pub(crate) fn has_values_in(self, segments: &HashSet<u32>) -> bool {
        let mut bytes = self.bytes;
        let (deltas, values) =
            head(&mut bytes).map_or((0, 0), |(_, deltas, values)| (deltas, values));
        values > 0 && listed(bytes).skip(1 + deltas).any(|at| segments.contains(&at.segment))
    }

    /// Whether the other one, which comes after it, has all of its parts, and neither has values:
    /// then nothing of the page has died between the two. May say no where that is not so.
    pub(crate) fn goes_on_in(self, newer: Self) -> bool {
        let (mut bytes, mut newer) = (self.bytes, newer.bytes);
        let no_values = |bytes: &mut &[u8]| head(bytes).is_some_and(|(_, _, values)| values == 0);
        no_values(&mut bytes) && no_values(&mut newer) && newer.starts_with(bytes)
    }

    /// What is known of the bytes of a page without reading it.
    pub(crate) fn reckoned(self) -> Reckoned {
        let mut bytes = self.bytes;
        let sum = head(&mut bytes).and_then(|(place, deltas, values)| {
            let mut segment = 0;
            let mut next = || Some(u64::from(take_address(&mut bytes, &mut segment)?.len));
            // And the largest of them.
            let mut sum = |most: usize| {
                (0..most).try_fold((0, 0), |(sum, largest): (u64, u64), _| {
                    let bytes = next()?;
                    Some((sum + bytes, largest.max(bytes)))
                })
            };
            let ((image, _), (records, _)) = (sum(1)?, sum(deltas)?);
            let parts = image + records;
            let (of_image, largest) = sum(place.image_values.min(values))?;
            let all = of_image + sum(values.saturating_sub(place.image_values))?.0;
            // Each record may stand in place of a value, and its own lie in it: that is not known,
            // and an image to find it out costs little beside them. Nor is it known which, if
            // nobody has read the page for it: then it may be the largest.
            let each =
                if place.uncounted { largest } else { of_image / place.image_values.max(1) as u64 };
            let replaced = records.div_ceil(SMALL_RECORD_BYTES).saturating_mul(each);
            let values = place.superseded(of_image, all).max(replaced.min(of_image));
            let of_parts = place.superseded(image, parts);
            let unknown = if place.uncounted { image.min(parts - of_parts) } else { 0 };
            let entries = u64::try_from(place.count.max(place.image_count)).unwrap_or(0);
            let most = if place.uncounted { parts } else { parts - of_parts };
            let grown = if entries > 1 { most + entries * LONGER_IN_MEMORY } else { 0 };
            Some(Reckoned { bytes: parts + all, superseded: of_parts + values, unknown, grown })
        });
        sum.unwrap_or_default()
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// The addresses behind the head of a location.
fn listed(mut bytes: &[u8]) -> impl Iterator<Item = Address> {
    let mut segment = 0;
    core::iter::from_fn(move || take_address(&mut bytes, &mut segment))
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
        let (mut state, mut packed) = (7, PackedPlaces::default());
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
            let id = PageId::new(round as u32 % 100 + 1);
            packed.insert(id, &place);
            let packed = packed.get(id).unwrap();
            assert_eq!(packed.unpack(), place);
            for part in place.parts().chain([Address { segment: 1, offset: 2, len: 3 }]) {
                assert_eq!(packed.has_part(part), place.has_part(part));
            }
            let last = place.addresses().last();
            for at in [image].into_iter().chain(last).filter(|at| !at.is_none()) {
                let segment = at.segment;
                let inside = |at: Address| at.segment == segment;
                let segments = HashSet::from([segment]);
                assert_eq!(packed.lies_in(&segments), place.addresses().any(inside));
                let values = place.values.iter().copied().any(inside);
                assert_eq!(packed.has_values_in(&segments), values);
            }
            // One more part, another image, and one part less.
            let mut next = PackedPlaces::default();
            let mut goes_on = |change: &dyn Fn(&mut Place)| {
                let mut newer = Place { flushed: one(), count: one() as i32, ..place.clone() };
                change(&mut newer);
                next.insert(id, &newer);
                packed.goes_on_in(next.get(id).unwrap())
            };
            let alike = place.values.is_empty();
            assert_eq!(goes_on(&|place| place.deltas.push(Address { segment: 9, ..image })), alike);
            assert_eq!(goes_on(&|_| ()), alike);
            assert!(!goes_on(&|place| place.image = Address { len: image.len ^ 1, ..image }));
            assert!(
                !goes_on(&|place| place.deltas.truncate(place.deltas.len().wrapping_sub(1)))
                    || place.deltas.is_empty()
            );
            assert!(!goes_on(&|place| place.values.push(image)));
            let lists = (Vec::new(), Vec::new());
            let without = Place { deltas: lists.0, values: lists.1, ..place };
            assert_eq!(packed.without_lists(), without);
        }
    }

    #[test]
    fn a_page_with_a_dozen_delta_parts_takes_110_bytes() {
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
        let mut bytes = Vec::new();
        PackedPlace::write(&place, &mut bytes);
        assert!(bytes.len() <= 110, "{}", bytes.len());
    }
}
