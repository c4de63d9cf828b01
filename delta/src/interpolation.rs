//! The line through the keys of a page: where a key should be, and how far that is off at most.

use crate::base::ROW_BYTES;
use crate::plain::head;

/// A search follows the line where it is off by no more than this, else it halves.
pub(crate) const MAX_ERROR: u8 = 16;

/// Bits behind the point of a position on the line.
const FRACTION_BITS: u32 = 40;

/// About how many keys of a page a line is held against.
const SAMPLES: usize = 16;

/// A line from the first key of a run to its last, as positions over keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// The first key.
    pub(crate) first: u64,
    /// The last key minus the first.
    pub(crate) span: u64,
    /// Positions per key distance, as a fixed-point number.
    pub(crate) scale: u64,
    /// Leading zeros of the span: a distance shifted by them uses all bits of the product.
    pub(crate) shift: u8,
    /// How far the line is off at most, over the keys it was held against; above 254 as 255.
    pub(crate) error: u8,
}

impl Line {
    /// A line that no search follows: of a page in [`Layout::Var`](crate::Layout::Var).
    pub(crate) const NONE: Self = Self { first: 0, span: 0, scale: 0, shift: 0, error: u8::MAX };

    /// The line from the first of `count` ascending keys to the last, not held against any yet.
    pub(crate) fn between(first: u64, last: u64, count: usize) -> Self {
        let (last_position, span) = (count as u64 - 1, last.wrapping_sub(first));
        debug_assert!(last_position < 1 << 23, "{last_position} keys in one page");
        if span == 0 {
            return Self { first, error: 0, ..Self::NONE };
        }
        let shift = span.leading_zeros();
        let scale = (u128::from(last_position) << (64 + FRACTION_BITS)) / u128::from(span << shift);
        Self { first, span, scale: scale as u64, shift: shift as u8, error: 0 }
    }

    /// The line for rows with ascending keys, at most 2^23 of them. It is held against some of the
    /// keys only: a search is right however far the line is off.
    pub(crate) fn fit(rows: &[[u8; ROW_BYTES]]) -> Self {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Self::NONE;
        };
        let mut line = Self::between(head(first), head(last), rows.len());
        let step = (rows.len() / SAMPLES).max(1);
        let mut error = 0;
        for (sample, row) in rows.iter().step_by(step).enumerate() {
            error = error.max(line.position(head(row)).abs_diff(sample * step));
        }
        line.error = u8::try_from(error).unwrap_or(u8::MAX);
        line
    }

    /// Where this key should be: from 0 to the last position.
    #[inline]
    pub(crate) fn position(&self, key: u64) -> usize {
        let distance = key.saturating_sub(self.first).min(self.span) << self.shift;
        let product = (u128::from(distance) * u128::from(self.scale)) >> 64;
        ((product as u64 + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, MAX_ERROR, ROW_BYTES};

    fn rows(keys: &[u64]) -> Vec<[u8; ROW_BYTES]> {
        keys.iter().map(|key| ((*key as u128) << 64).to_be_bytes()).collect()
    }

    #[test]
    fn even_keys_are_hit_and_skewed_ones_told() {
        let dense: Vec<u64> = (0..10_000).map(|i| (1 << 60) + 3 * i).collect();
        let line = Line::fit(&rows(&dense));
        assert_eq!(line.error, 0);
        assert_eq!(line.position(0), 0);
        assert_eq!(line.position(u64::MAX), 9_999);

        let skewed: Vec<u64> = (0..64).map(|i| 1 << i).collect();
        assert!(Line::fit(&rows(&skewed)).error > MAX_ERROR);
        assert_eq!(Line::fit(&rows(&[0, u64::MAX])).error, 0);
    }

    #[test]
    fn no_key_and_one_key_have_a_line() {
        assert_eq!(Line::fit(&[]), Line::NONE);
        let one = Line::fit(&rows(&[7]));
        assert_eq!((one.error, one.position(0), one.position(9)), (0, 0, 0));
    }
}
