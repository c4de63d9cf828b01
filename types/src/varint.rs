//! Numbers in as few bytes as they need: seven bits a byte, the lowest first; the high bit is set
//! in all bytes but the last (LEB128).

use crate::Address;

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes the number in front, or `None` if there is none.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    // The high bits of up to eight bytes at once say where it ends; the sevens move together.
    if let Some(word) = bytes.first_chunk() {
        let word = u64::from_le_bytes(*word);
        let end = !word & 0x8080_8080_8080_8080;
        if end != 0 {
            // All up to the last byte's high bit.
            let word = word & (end ^ (end - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
            let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
            let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
            *bytes = &bytes[end.trailing_zeros() as usize / 8 + 1..];
            return Some((word & 0x0fff_ffff) | (word >> 32) << 28);
        }
    }
    take_slowly(bytes)
}

/// The same byte by byte: near the end, and of more than eight bytes.
fn take_slowly(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(number);
        }
    }
    None
}

/// A signed number as one that is small if that is close to 0.
#[must_use]
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The reverse of [`zigzag`].
#[must_use]
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Appends an address. Those that are close in the log have segments close to one another, and
/// offsets that are multiples of eight: `segment` is that of the last one, 0 before the first.
pub fn put_address(out: &mut Vec<u8>, address: Address, segment: &mut u32) {
    put(out, zigzag(i64::from(address.segment) - i64::from(*segment)));
    *segment = address.segment;
    let offset = u64::from(address.offset);
    put(out, if offset.is_multiple_of(8) { (offset / 8) << 1 } else { (offset << 1) | 1 });
    put(out, u64::from(address.len));
}

/// Takes the address in front; see [`put_address`].
#[inline]
pub fn take_address(bytes: &mut &[u8], segment: &mut u32) -> Option<Address> {
    *segment = i64::from(*segment).wrapping_add(unzigzag(take(bytes)?)) as u32;
    let offset = take(bytes)?;
    let offset = if offset & 1 == 0 { (offset >> 1).wrapping_mul(8) } else { offset >> 1 };
    Some(Address { segment: *segment, offset: offset as u32, len: take(bytes)? as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_come_back_and_no_prefix_of_one_does() {
        let ends = (7..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        let some = [0, 1, 300, 0x0123_4567_89ab_cdef, u64::MAX - 1, u64::MAX];
        let numbers: Vec<u64> = some.into_iter().chain(ends).collect();
        for &number in &numbers {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert!(bytes.len() <= 10 && (number < 128) == (bytes.len() == 1));
            (0..bytes.len()).for_each(|len| assert_eq!(take(&mut &bytes[..len]), None));
            // With others behind it, whatever they are.
            for behind in [&[][..], &[0; 9], &[0xff; 9]] {
                let all = [&bytes, behind].concat();
                let mut rest = &all[..];
                assert_eq!((take(&mut rest), rest), (Some(number), behind));
            }
            let signed = number.cast_signed();
            assert_eq!(unzigzag(zigzag(signed)), signed);
        }
        let address =
            |n: &u64| Address { segment: (n >> 1) as u32, offset: *n as u32, len: (n >> 3) as u32 };
        let addresses: Vec<Address> = numbers.iter().map(address).collect();
        let (mut bytes, mut segment) = (Vec::new(), 0);
        for &address in &addresses {
            put_address(&mut bytes, address, &mut segment);
        }
        let (mut rest, mut segment) = (&bytes[..], 0);
        let taken = addresses.iter().map(|_| take_address(&mut rest, &mut segment).unwrap());
        assert_eq!((taken.collect::<Vec<_>>(), rest.len()), (addresses, 0));
        // More than ten bytes are no number.
        assert_eq!(take(&mut &[0x80; 20][..]), None);
    }
}
