//! The chunk directory: where each chunk of the caller's table lies, and data too long for a slot.

use std::collections::BTreeMap;

use types::Address;

use crate::fields::Fields;

/// The chunks of a checkpoint by index.
pub(crate) type Chunks = BTreeMap<u32, Address>;

/// Bytes of the list: count 4, length of the data 4, then 16 a chunk, then the data.
pub(crate) fn encode(chunks: &Chunks, meta: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + chunks.len() * 16 + meta.len());
    out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    for (index, address) in chunks {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&address.encode());
    }
    out.extend_from_slice(meta);
    out
}

/// The chunks and the data in these bytes, or `None` if they are no chunk directory.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Chunks, Vec<u8>)> {
    let mut fields = Fields::new(bytes);
    let (count, meta_bytes) = (fields.u32()?, fields.u32()?);
    let mut chunks = Chunks::new();
    for _ in 0..count {
        let index = fields.u32()?;
        let address = Address::decode(fields.take(Address::ENCODED_BYTES)?)?;
        if chunks.insert(index, address).is_some() {
            return None;
        }
    }
    let meta = fields.take(meta_bytes as usize)?.to_vec();
    fields.is_empty().then_some((chunks, meta))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_back_and_no_prefix_of_it_is_one() {
        let address = Address { segment: 1, offset: 64, len: 100 };
        let chunks = Chunks::from([(0, address), (7, address)]);
        let bytes = encode(&chunks, b"data");
        assert_eq!(decode(&bytes), Some((chunks, b"data".to_vec())));
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
    }
}
