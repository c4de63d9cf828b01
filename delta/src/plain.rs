//! Plain loads and stores: integers at byte offsets, and the order-keeping head of a key.

use core::cmp::Ordering;

/// The little-endian `u16` at this offset.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut raw = [0; 2];
    raw.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(raw)
}

/// The little-endian `u32` at this offset.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// The little-endian `u64` at this offset.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Puts bytes at this offset.
#[inline]
pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The first eight bytes as a big-endian number, padded with zeros.
///
/// Heads keep the order: `head(a) < head(b)` means `a < b`. Equal heads decide nothing, since the
/// padding looks like zero bytes of a key: see [`cmp_behind_head`].
#[inline]
pub(crate) fn head(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*whole);
    }
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(padded)
}

/// The eight bytes behind the head, as a head.
#[inline]
pub(crate) fn second_head(bytes: &[u8]) -> u64 {
    head(bytes.get(8..).unwrap_or_default())
}

/// The order of two byte strings with equal heads.
#[inline]
pub(crate) fn cmp_behind_head(left: &[u8], right: &[u8]) -> Ordering {
    // Mostly the next eight bytes tell, without a call.
    if let (Some(left), Some(right)) = (left.first_chunk::<16>(), right.first_chunk::<16>()) {
        let order = head(&left[8..]).cmp(&head(&right[8..]));
        if order != Ordering::Equal {
            return order;
        }
    }
    cmp_behind::<8>(left, right)
}

/// The order of two byte strings whose first so many bytes, padded with zeros, are the same.
#[inline]
pub(crate) fn cmp_behind<const COUNT: usize>(left: &[u8], right: &[u8]) -> Ordering {
    // If either has no more bytes, one is the start of the other: the shorter one is smaller.
    match (left.get(COUNT..), right.get(COUNT..)) {
        (Some(left), Some(right)) => left.cmp(right),
        _ => left.len().cmp(&right.len()),
    }
}

/// Whether two byte strings are the same: short ones at less than a call costs.
#[inline]
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let (Some(left_end), Some(right_end)) = (left.last_chunk::<8>(), right.last_chunk::<8>())
    else {
        return left.iter().eq(right);
    };
    // The last eight bytes may overlap those before them: so there is no rest.
    let mut words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    left_end == right_end && words.all(|(left, right)| left == right)
}

/// The next multiple of eight.
#[inline]
pub(crate) const fn align8(bytes: usize) -> usize {
    (bytes + 7) & !7
}

/// How many bytes two byte strings share at their start.
pub(crate) fn shared_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}
