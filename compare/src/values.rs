//! The values: each tells the number of its key, so that every answer is checked.

use std::fmt::Debug;

/// Bits of a value for the number; the rest tell versions apart. Bit 63 stays free for peers that
/// need one.
const NUMBER_BITS: u32 = 40;

/// A value of a peer.
pub(crate) trait Value:
    Copy + Debug + PartialEq + Send + Sync + ferntree::OptimisticRead + 'static
{
    /// Bytes of the value.
    const BYTES: usize;
    /// The value of the `number`th key, of some version.
    fn of(number: u64, version: u64) -> Self;
    /// The number that it was made of, if it is whole.
    fn number(&self) -> Option<u64>;
    /// The value in bytes, for peers that know nothing else.
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R;
    /// The value of such bytes.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Value for u64 {
    const BYTES: usize = 8;

    fn of(number: u64, version: u64) -> Self {
        number | (version & 0xf_ffff) << NUMBER_BITS
    }
    fn number(&self) -> Option<u64> {
        Some(self & ((1 << NUMBER_BITS) - 1))
    }
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        then(&self.to_le_bytes())
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// A value of 100 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wide([u8; 100]);

ferntree::impl_optimistic_read_boxed!(Wide);

impl Value for Wide {
    const BYTES: usize = 100;

    fn of(number: u64, version: u64) -> Self {
        let head = u64::of(number, version).to_le_bytes();
        let mut bytes = [version as u8; 100];
        bytes[..8].copy_from_slice(&head);
        bytes[92..].copy_from_slice(&head);
        Self(bytes)
    }
    fn number(&self) -> Option<u64> {
        let head = u64::from_bytes(&self.0[..8])?;
        (self.0[92..] == self.0[..8]).then(|| head.number()).flatten()
    }
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        then(&self.0)
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values_tell_their_number<V: Value>() {
        for number in [0, 1, 9_999_999, (1 << NUMBER_BITS) - 1] {
            let value = V::of(number, u64::MAX);
            assert_eq!(value.number(), Some(number));
            assert_eq!(value.with_bytes(<[u8]>::len), V::BYTES);
            assert_eq!(value.with_bytes(V::from_bytes), Some(value));
            assert_ne!(value, V::of(number, 0));
        }
        assert_eq!(V::from_bytes(&[0; 7]), None);
    }

    #[test]
    fn values_of_both_sizes_tell_their_number() {
        values_tell_their_number::<u64>();
        values_tell_their_number::<Wide>();
    }

    #[test]
    fn a_torn_value_tells_nothing() {
        let Wide(mut bytes) = Wide::of(7, 1);
        bytes[99] ^= 1;
        assert_eq!(Wide(bytes).number(), None);
    }
}
