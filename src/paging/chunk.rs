//! Chunks: the mapping table as it lies in the log, 512 page ids each.
//!
//! A part of a chunk has a line for each of some pages, in ascending order: the location as the
//! table keeps it ([`PackedPlace`]), or that the page has none any more. Nothing is believed: a
//! length that does not fit is an error.

use super::packed::PackedPlace;
use super::place::Place;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use types::varint::{put, take};
use types::{Address, PageId};

/// Page ids of a chunk.
pub(crate) const CHUNK_PAGES: u32 = 512;

/// The first bytes of a part. One without them is of the older kind, whose lines have fixed fields:
/// they begin with a number below 512.
const PACKED: [u8; 2] = [0xff, 0xff];

/// What stands for the version and the serial of a location, which mean nothing to who reads it.
const OWN: [u8; 2] = [0, 0];

/// The chunk that a page id is in.
pub(crate) fn chunk_of(id: PageId) -> u32 {
    id.number() / CHUNK_PAGES
}

/// Pages of one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkPages {
    bits: [u64; (CHUNK_PAGES / 64) as usize],
    /// The chunk has to be written whole.
    pub(crate) whole: bool,
}

impl ChunkPages {
    /// Adds a page; `false` if it was there.
    fn insert(&mut self, id: PageId) -> bool {
        let (word, bit) = Self::split(id.number() % CHUNK_PAGES);
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        new
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let (word, bit) = Self::split(number);
        self.bits[word] & bit != 0
    }

    fn split(number: u32) -> (usize, u64) {
        ((number / 64) as usize, 1 << (number % 64))
    }

    fn len(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Pages whose location has changed since their chunk was written last.
#[derive(Debug, Default)]
pub(crate) struct ChangedPages {
    chunks: BTreeMap<u32, ChunkPages>,
    pages: u64,
}

impl ChangedPages {
    pub(crate) fn insert(&mut self, id: PageId) {
        if self.chunks.entry(chunk_of(id)).or_default().insert(id) {
            self.pages += 1;
        }
    }

    /// This chunk has to be written whole.
    pub(crate) fn insert_whole(&mut self, chunk: u32) {
        self.chunks.entry(chunk).or_default().whole = true;
    }

    pub(crate) fn take(&mut self, chunk: u32) -> Option<ChunkPages> {
        let taken = self.chunks.remove(&chunk)?;
        self.pages -= taken.len();
        Some(taken)
    }

    pub(crate) fn put_back(&mut self, chunk: u32, pages: ChunkPages) {
        let there = self.chunks.entry(chunk).or_default();
        self.pages -= there.len();
        for (word, bits) in there.bits.iter_mut().zip(pages.bits) {
            *word |= bits;
        }
        there.whole |= pages.whole;
        self.pages += there.len();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Number of pages.
    pub(crate) fn len(&self) -> u64 {
        self.pages
    }

    /// The chunks that they are in.
    pub(crate) fn chunks(&self) -> Vec<u32> {
        self.chunks.keys().copied().collect()
    }
}

/// The bytes of a part of a chunk; empty if there are no lines.
#[derive(Debug, Default)]
pub(crate) struct ChunkBytes {
    pub(crate) bytes: Vec<u8>,
    /// How many of the pages have no location.
    pub(crate) gone: usize,
}

impl ChunkBytes {
    /// Adds the line of a page. Pages come in ascending order.
    pub(crate) fn add(&mut self, id: PageId, place: Option<PackedPlace<'_>>) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&PACKED);
        }
        self.gone += usize::from(place.is_none());
        let (own, lasting) = place.map_or((&[][..], &[][..]), |place| (&OWN[..], place.lasting()));
        put(&mut self.bytes, u64::from(id.number() % CHUNK_PAGES));
        put(&mut self.bytes, (own.len() + lasting.len()) as u64);
        self.bytes.extend_from_slice(own);
        self.bytes.extend_from_slice(lasting);
    }
}

/// The lines of a part of a chunk: the location of each page, or that it has none any more.
pub(crate) fn decode(chunk: u32, bytes: &[u8]) -> Result<Vec<(PageId, Option<Place>)>> {
    let damaged = || Error::Corrupt { what: format!("chunk {chunk} of the table is damaged") };
    let (mut rest, packed) = match bytes.strip_prefix(&PACKED) {
        Some(lines) => (lines, true),
        None => (bytes, false),
    };
    let mut lines: Vec<(PageId, Option<Place>)> = Vec::new();
    while !rest.is_empty() {
        let line = if packed { packed_line(&mut rest) } else { fixed_line(&mut rest) };
        let (number, place) = line.ok_or_else(damaged)?;
        let is_live = |place: &Place| place.is_merged() == place.image.is_none();
        let id = chunk.checked_mul(CHUNK_PAGES).and_then(|first| first.checked_add(number));
        let id = PageId::new(id.ok_or_else(damaged)?);
        let ascending = lines.last().is_none_or(|(last, _)| *last < id);
        if number >= CHUNK_PAGES || id.is_none() || !ascending || !place.iter().all(is_live) {
            return Err(damaged());
        }
        lines.push((id, place));
    }
    Ok(lines)
}

fn packed_line(rest: &mut &[u8]) -> Option<(u32, Option<Place>)> {
    let number = u32::try_from(take(rest)?).ok()?;
    let bytes = usize::try_from(take(rest)?).ok()?;
    let (place, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    if place.is_empty() {
        return Some((number, None));
    }
    // What this process knows of a page is nothing to the next one.
    let place = Place { flushed: 0, serial: 0, ..PackedPlace::parse(place)? };
    Some((number, Some(place)))
}

/// A line of the older kind. It does not say what is the image's of the values and the count.
fn fixed_line(rest: &mut &[u8]) -> Option<(u32, Option<Place>)> {
    const HEAD_BYTES: usize = 32;
    let bytes = *rest;
    let half =
        |at: usize| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let (deltas, values) = (half(2)? as usize, word(4)? as usize);
    let end = deltas.checked_add(values)?.checked_mul(Address::ENCODED_BYTES)?;
    let end = HEAD_BYTES.checked_add(end)?;
    let lists = bytes.get(HEAD_BYTES..end)?;
    let mut addresses = lists.chunks_exact(Address::ENCODED_BYTES).map_while(Address::decode);
    let mut place = Place {
        tree: word(8)?,
        merged_into: PageId::new(word(12)?),
        count: word(16)?.cast_signed(),
        image: Address::decode(bytes.get(20..HEAD_BYTES)?)?,
        deltas: addresses.by_ref().take(deltas).collect(),
        values: addresses.collect(),
        ..Place::default()
    };
    (place.image_values, place.image_count) = (place.values.len(), place.count);
    *rest = &bytes[end..];
    Some((u32::from(half(0)?), Some(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_places() -> Vec<(PageId, Option<Place>)> {
        let at = |n: u32| Address { segment: n, offset: n * 64, len: n + 5 };
        let live = Place {
            tree: 7,
            count: -3,
            image_count: 5,
            image: at(1),
            deltas: vec![at(2), at(3)],
            values: vec![at(4), at(9)],
            image_values: 1,
            ..Place::default()
        };
        let merged = Place { tree: 7, merged_into: PageId::new(9), ..Place::default() };
        vec![
            (PageId::new(513), Some(live)),
            (PageId::new(514), None),
            (PageId::new(1023), Some(merged)),
        ]
    }

    fn encoded(lines: &[(PageId, Option<Place>)]) -> Vec<u8> {
        let mut bytes = ChunkBytes::default();
        for (id, place) in lines {
            let mut place = place.clone();
            // Both are this process's own.
            if let Some(place) = &mut place {
                (place.flushed, place.serial) = (77, 78);
            }
            let mut packed = Vec::new();
            if let Some(place) = &place {
                PackedPlace::write(place, &mut packed);
            }
            bytes.add(*id, place.as_ref().map(|_| PackedPlace::of(&packed)));
        }
        bytes.bytes
    }

    #[test]
    fn places_come_back() {
        let lines = some_places();
        assert_eq!(decode(1, &encoded(&lines)).unwrap(), lines);
        assert!(ChunkBytes::default().bytes.is_empty() && decode(1, &[]).unwrap().is_empty());
    }

    #[test]
    fn lines_of_the_older_kind_are_read() {
        let at = |n: u32| Address { segment: n, offset: n * 64, len: n + 5 };
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        for word in [1_u32, 7, 0, 12] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for address in [at(1), at(2), at(4)] {
            bytes.extend_from_slice(&address.encode());
        }
        let place = Place {
            tree: 7,
            count: 12,
            image_count: 12,
            image: at(1),
            deltas: vec![at(2)],
            values: vec![at(4)],
            image_values: 1,
            ..Place::default()
        };
        assert_eq!(decode(1, &bytes).unwrap(), [(PageId::new(513), Some(place))]);
        assert!(decode(1, &bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn damage_is_an_error_or_other_places_but_never_a_panic() {
        let bytes = encoded(&some_places());
        for cut in 1..bytes.len() {
            let _either = decode(1, &bytes[..cut]);
            for flip in [0xff, 0x80, 1] {
                let mut damaged = bytes.clone();
                damaged[cut] ^= flip;
                let _either = decode(1, &damaged);
            }
        }
        assert!(decode(1, &bytes[..bytes.len() - 1]).is_err());
        // A list that would be longer than there is memory.
        let huge = [&PACKED[..], &[1, 12], &[1; 7], &[0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
        assert!(decode(1, &huge).is_err());
    }

    #[test]
    fn what_has_changed_is_taken_by_chunks_and_put_back() {
        let mut changed = ChangedPages::default();
        let ids = [1, 2, 64, 511, 512, 5000].map(PageId::new);
        ids.iter().chain(&ids).for_each(|&id| changed.insert(id));
        assert_eq!((changed.len(), changed.chunks()), (6, vec![0, 1, 9]));
        let taken = changed.take(0).unwrap();
        assert!((0..512).filter(|&n| taken.contains(n)).eq([1, 2, 64, 511]));
        assert_eq!(changed.len(), 2);
        changed.insert(PageId::new(1));
        changed.insert(PageId::new(3));
        changed.put_back(0, ChunkPages { whole: true, ..taken });
        assert_eq!(changed.len(), 7);
        let taken = changed.take(0).unwrap();
        assert!(taken.whole && (0..512).filter(|&n| taken.contains(n)).eq([1, 2, 3, 64, 511]));
        assert_eq!(changed.take(0), None);
        changed.insert_whole(4);
        assert_eq!((changed.len(), changed.chunks()), (2, vec![1, 4, 9]));
    }
}
