//! The chunk directory: where the parts of each chunk of the caller's table lie, and data too long
//! for a slot.

use std::collections::{BTreeMap, HashMap};

use types::Address;
use types::varint::{put, put_address, take, take_address};

use crate::copies::Copied;
use crate::fields::Fields;
use crate::part::{
    KIND_CHUNK_DIRECTORY, KIND_SINGLE_CHUNKS_DIRECTORY, KIND_WHOLE_CHUNKS_DIRECTORY,
};

/// A chunk: a base, and on top of it what has changed since, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The chunk is as of the commit with this sequence.
    pub(crate) as_of: u64,
    /// The base, then the deltas.
    pub(crate) parts: Vec<Copied>,
}

impl Chunk {
    /// The places of all parts, copies among them.
    pub(crate) fn places(&self) -> impl Iterator<Item = Address> {
        self.parts.iter().flat_map(|part| part.places())
    }
}

/// The chunks of a checkpoint by index.
pub(crate) type Chunks = BTreeMap<u32, Chunk>;

/// Bytes of the parts of chunks, and of the list of them, that lie in one place only.
pub(crate) fn uncopied_bytes(chunks: &Chunks, directory: Copied) -> u64 {
    let parts = chunks.values().flat_map(|chunk| &chunk.parts).chain([&directory]);
    parts.filter(|part| part.is_single()).map(|part| u64::from(part.at.len)).sum()
}

/// There is no copy.
const NO_COPY: u64 = 0;
/// The copy is as far from the part as that of the last part in the same segment.
const AS_FAR: u64 = 1;
/// Segment and offset of the copy follow.
const ELSEWHERE: u64 = 2;

/// How far copies are from what they copy, by the segment of that: parts and their copies are
/// written in one order, so one byte tells most of them.
#[derive(Debug, Default)]
struct Distances(HashMap<u32, (u32, u32)>);

impl Distances {
    /// Where the copy of a part is if it is as far from it as the last one.
    fn expected(&self, at: Address) -> Option<Address> {
        let &(segment, distance) = self.0.get(&at.segment)?;
        Some(Address { segment, offset: at.offset.wrapping_add(distance), len: at.len })
    }

    fn learn(&mut self, at: Address, copy: Address) {
        self.0.insert(at.segment, (copy.segment, copy.offset.wrapping_sub(at.offset)));
    }

    fn put_copy(&mut self, part: Copied, out: &mut Vec<u8>) {
        if part.copy.is_none() {
            put(out, NO_COPY);
        } else if self.expected(part.at) == Some(part.copy) {
            put(out, AS_FAR);
        } else {
            for number in [ELSEWHERE, part.copy.segment.into(), part.copy.offset.into()] {
                put(out, number);
            }
            self.learn(part.at, part.copy);
        }
    }

    fn take_copy(&mut self, at: Address, bytes: &mut &[u8]) -> Option<Address> {
        match take(bytes)? {
            NO_COPY => Some(Address::NONE),
            AS_FAR => self.expected(at),
            ELSEWHERE => {
                let (segment, offset) =
                    (take(bytes)?.try_into().ok()?, take(bytes)?.try_into().ok()?);
                let copy = Address { segment, offset, len: at.len };
                self.learn(at, copy);
                Some(copy)
            }
            _ => None,
        }
    }
}

/// The list: number of chunks, length of the data; for each chunk by how much its index is above
/// that of the one before, its sequence, number of parts, the parts, each followed by where its
/// copy is ([`Distances`]); then the data. All are [`varint`](types::varint)s.
pub(crate) fn encode(chunks: &Chunks, meta: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, chunks.len() as u64);
    put(&mut out, meta.len() as u64);
    let (mut last, mut segment) = (0, 0);
    let mut distances = Distances::default();
    for (&index, chunk) in chunks {
        put(&mut out, u64::from(index - last));
        put(&mut out, chunk.as_of);
        put(&mut out, chunk.parts.len() as u64);
        for &part in &chunk.parts {
            put_address(&mut out, part.at, &mut segment);
            distances.put_copy(part, &mut out);
        }
        last = index;
    }
    out.extend_from_slice(meta);
    out
}

/// The chunks and the data in these bytes, or `None` if they are no chunk directory of this kind.
pub(crate) fn decode(kind: u8, bytes: &[u8]) -> Option<(Chunks, Vec<u8>)> {
    match kind {
        KIND_WHOLE_CHUNKS_DIRECTORY => decode_whole(bytes),
        KIND_SINGLE_CHUNKS_DIRECTORY => decode_lines(bytes, false),
        KIND_CHUNK_DIRECTORY => decode_lines(bytes, true),
        _ => None,
    }
}

fn decode_lines(mut bytes: &[u8], copied: bool) -> Option<(Chunks, Vec<u8>)> {
    let rest = &mut bytes;
    let (count, meta_bytes) = (take(rest)?, take(rest)?);
    let mut chunks = Chunks::new();
    let (mut index, mut segment) = (0_u32, 0);
    let mut distances = Distances::default();
    for _ in 0..count {
        index = index.checked_add(u32::try_from(take(rest)?).ok()?)?;
        let mut chunk = Chunk { as_of: take(rest)?, parts: Vec::new() };
        for _ in 0..take(rest)? {
            let mut part = Copied::single(take_address(rest, &mut segment)?);
            if copied {
                part.copy = distances.take_copy(part.at, rest)?;
            }
            chunk.parts.push(part);
        }
        if chunk.parts.is_empty() || chunks.insert(index, chunk).is_some() {
            return None;
        }
    }
    (rest.len() as u64 == meta_bytes).then(|| (chunks, rest.to_vec()))
}

/// The same for a directory of the older kind: count 4, length of the data 4, for each chunk index
/// 4 and its only part 12, then the data.
fn decode_whole(bytes: &[u8]) -> Option<(Chunks, Vec<u8>)> {
    let mut fields = Fields::new(bytes);
    let (count, meta_bytes) = (fields.u32()?, fields.u32()?);
    let mut chunks = Chunks::new();
    for _ in 0..count {
        let index = fields.u32()?;
        let part = Address::decode(fields.take(Address::ENCODED_BYTES)?)?;
        if chunks.insert(index, Chunk { as_of: 0, parts: vec![Copied::single(part)] }).is_some() {
            return None;
        }
    }
    let meta = fields.take(meta_bytes as usize)?.to_vec();
    fields.is_empty().then_some((chunks, meta))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> Address {
        Address { segment: n, offset: 64, len: 100 }
    }

    #[test]
    fn a_directory_comes_back_and_no_prefix_of_it_is_one() {
        let copied = |&n: &u32| match n {
            1 => Copied::single(at(n)),
            n => Copied { at: at(n), copy: at(n + 100) },
        };
        let chunk =
            |as_of, parts: &[u32]| Chunk { as_of, parts: parts.iter().map(copied).collect() };
        let chunks = Chunks::from([(0, chunk(9, &[1])), (7, chunk(1 << 40, &[1, 2, 3]))]);
        let bytes = encode(&chunks, b"data");
        assert_eq!(decode(KIND_CHUNK_DIRECTORY, &bytes), Some((chunks, b"data".to_vec())));
        for len in 0..bytes.len() {
            assert_eq!(decode(KIND_CHUNK_DIRECTORY, &bytes[..len]), None);
        }
    }

    #[test]
    fn the_kind_before_has_no_copies() {
        let mut bytes = vec![1, 0, 3, 9, 2];
        let mut segment = 0;
        for n in [5, 6] {
            put_address(&mut bytes, at(n), &mut segment);
        }
        let parts = [5, 6].map(|n| Copied::single(at(n))).to_vec();
        let chunks = Chunks::from([(3, Chunk { as_of: 9, parts })]);
        assert_eq!(decode(KIND_SINGLE_CHUNKS_DIRECTORY, &bytes), Some((chunks, Vec::new())));
    }

    #[test]
    fn the_older_kind_has_whole_chunks() {
        let mut bytes = vec![2, 0, 0, 0, 1, 0, 0, 0];
        for index in [3_u32, 5] {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(&at(index).encode());
        }
        bytes.push(b'm');
        let chunk = |n| Chunk { as_of: 0, parts: vec![Copied::single(at(n))] };
        let chunks = Chunks::from([(3, chunk(3)), (5, chunk(5))]);
        assert_eq!(decode(KIND_WHOLE_CHUNKS_DIRECTORY, &bytes), Some((chunks, b"m".to_vec())));
    }
}
