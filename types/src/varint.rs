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
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
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
        let numbers = [0, 1, 127, 128, 300, 1 << 31, 1 << 62, u64::MAX - 1, u64::MAX];
        for number in numbers {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert!(bytes.len() <= 10 && (number < 128) == (bytes.len() == 1));
            (0..bytes.len()).for_each(|len| assert_eq!(take(&mut &bytes[..len]), None));
            let mut rest = &bytes[..];
            assert_eq!((take(&mut rest), rest.len()), (Some(number), 0));
            let signed = number.cast_signed();
            assert_eq!(unzigzag(zigzag(signed)), signed);
        }
        let addresses = numbers.map(|n| Address {
            segment: (n >> 1) as u32,
            offset: n as u32,
            len: (n >> 3) as u32,
        });
        let (mut bytes, mut segment) = (Vec::new(), 0);
        for address in addresses {
            put_address(&mut bytes, address, &mut segment);
        }
        let (mut rest, mut segment) = (&bytes[..], 0);
        let taken = addresses.map(|_| take_address(&mut rest, &mut segment).unwrap());
        assert_eq!((taken, rest.len()), (addresses, 0));
        // More than ten bytes are no number.
        assert_eq!(take(&mut &[0x80; 20][..]), None);
    }
}
