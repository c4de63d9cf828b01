//! Chunks: the mapping table as it lies in the log, 512 page ids each.
//!
//! A chunk is the places of its pages in ascending order. All numbers are little endian; a place
//! is as long as its lists. Nothing is believed: a length that does not fit is an error.

use super::place::Place;
use crate::error::{Error, Result};
use types::{Address, PageId};

/// Page ids of a chunk.
pub(crate) const CHUNK_PAGES: u32 = 512;

/// The chunk that a page id is in.
pub(crate) fn chunk_of(id: PageId) -> u32 {
    id.number() / CHUNK_PAGES
}

/// The bytes of a chunk; empty if there are no places.
pub(crate) fn encode(places: impl Iterator<Item = (PageId, Place)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, place) in places {
        out.extend_from_slice(&((id.number() % CHUNK_PAGES) as u16).to_le_bytes());
        out.extend_from_slice(&(place.deltas.len() as u16).to_le_bytes());
        out.extend_from_slice(&(place.values.len() as u32).to_le_bytes());
        out.extend_from_slice(&place.tree.to_le_bytes());
        out.extend_from_slice(&place.merged_into.number().to_le_bytes());
        out.extend_from_slice(&place.count.to_le_bytes());
        out.extend_from_slice(&place.image.encode());
        for address in place.deltas.iter().chain(&place.values) {
            out.extend_from_slice(&address.encode());
        }
    }
    out
}

/// The places in a chunk.
pub(crate) fn decode(chunk: u32, bytes: &[u8]) -> Result<Vec<(PageId, Place)>> {
    let damaged = || Error::Corrupt { what: format!("chunk {chunk} of the table is damaged") };
    let mut rest = bytes;
    let mut places: Vec<(PageId, Place)> = Vec::new();
    while !rest.is_empty() {
        let (place, used) = decode_place(chunk, rest).ok_or_else(damaged)?;
        if places.last().is_some_and(|(last, _)| *last >= place.0) {
            return Err(damaged());
        }
        places.push(place);
        rest = &rest[used..];
    }
    Ok(places)
}

const HEAD_BYTES: usize = 32;

fn decode_place(chunk: u32, bytes: &[u8]) -> Option<((PageId, Place), usize)> {
    let half =
        |at: usize| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let number = u32::from(half(0)?);
    let (deltas, values) = (half(2)? as usize, word(4)? as usize);
    let end = deltas.checked_add(values)?.checked_mul(Address::ENCODED_BYTES)?;
    let lists = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(end)?)?;
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
    let live = place.is_merged() == place.image.is_none();
    let id = PageId::new(chunk.checked_mul(CHUNK_PAGES)?.checked_add(number)?);
    (number < CHUNK_PAGES && live && id.is_some()).then_some(((id, place), HEAD_BYTES + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_places() -> Vec<(PageId, Place)> {
        let at = |n: u32| Address { segment: n, offset: n * 64, len: n + 5 };
        let live = Place {
            tree: 7,
            count: -3,
            image_count: -3,
            image: at(1),
            deltas: vec![at(2), at(3)],
            values: vec![at(4)],
            image_values: 1,
            ..Place::default()
        };
        let merged = Place { tree: 7, merged_into: PageId::new(9), ..Place::default() };
        vec![(PageId::new(513), live), (PageId::new(1023), merged)]
    }

    #[test]
    fn places_come_back() {
        let places = some_places();
        let bytes = encode(places.iter().cloned());
        assert_eq!(decode(1, &bytes).unwrap(), places);
    }

    #[test]
    fn damage_is_an_error_or_other_places_but_never_a_panic() {
        let places = some_places();
        let bytes = encode(places.iter().cloned());
        for cut in 1..bytes.len() {
            let _either = decode(1, &bytes[..cut]);
            let mut damaged = bytes.clone();
            damaged[cut] ^= 0xff;
            let _either = decode(1, &damaged);
        }
        assert!(decode(1, &bytes[..bytes.len() - 1]).is_err());
    }
}
