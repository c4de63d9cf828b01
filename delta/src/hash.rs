//! The hash of a key: what a search may know of it before it looks at it.
//!
//! In memory only: never written to the log.

// The odd number nearest 2^64 divided by the golden ratio: its products spread over all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number that depends on all bytes of the key.
#[inline]
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    let start = SPREAD ^ key.len() as u64;
    let Some(last) = key.last_chunk::<8>() else { return mix(start, few(key)) };
    // The last eight bytes may overlap those before them: so there is no rest.
    let words = key[..key.len() - 1].as_chunks::<8>().0;
    let hash = words.iter().fold(start, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, u64::from_le_bytes(*last))
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(SPREAD);
    product as u64 ^ (product >> 64) as u64
}

/// Fewer than eight bytes as one number, different ones of one length as different numbers.
fn few(key: &[u8]) -> u64 {
    match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => key.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// A number from 1 to 255 that depends on all bytes of the key, for skipping records and entries
/// without looking at their keys. 0 is kept for "no record".
#[inline]
#[must_use]
pub fn fingerprint(key: &[u8]) -> u8 {
    fingerprint_of(hash(key))
}

/// The fingerprint of the key with this hash.
#[inline]
pub(crate) fn fingerprint_of(hash: u64) -> u8 {
    (((hash >> 32) * 255) >> 32) as u8 + 1
}
