//! The sketch of a page: what of it fits into a word beside its address.
//!
//! A search waits for the header of its page, and only then knows where in the page to look, and
//! waits again. By the sketch it knows about where before it has seen the page, and asks for both
//! at once. It need not be right: that costs a wait, as without it.
//!
//! ```text
//! a leaf of numbers   first key >> shift, lower 40 bits | rows over keys, 17 bits | shift, 6 bits
//! ```
//!
//! Any other page has 0: what is looked for in those lies at their front.

use core::ops::Range;

use crate::base::{Base, HEADER_BYTES, ROW_BYTES};
use crate::entry::Layout;

/// Bytes at the beginning of a page in [`Layout::Var`] that a search for a key is about to look at:
/// header, fences, and of a leaf tags and offsets.
pub const FRONT_BYTES: usize = 9 * 64;

/// Bits of the distance of a key from the first: so far a row is told.
const DISTANCE_BITS: u32 = 16;
const FIRST_BITS: u32 = 40;
const SHIFT_BITS: u32 = 6;
const SCALE_BITS: u32 = 64 - FIRST_BITS - SHIFT_BITS;

const FIRST: u64 = (1 << FIRST_BITS) - 1;

impl Base<'_> {
    /// The sketch of the page.
    #[must_use]
    pub fn sketch(self) -> u64 {
        match (self.layout(), self.level()) {
            (Layout::Fixed8, 0) => self.sketch_of_numbers(),
            _ => 0,
        }
    }

    fn sketch_of_numbers(self) -> u64 {
        let line = self.line();
        if line.span == 0 {
            return 0;
        }
        let shift = (64 - line.span.leading_zeros()).saturating_sub(DISTANCE_BITS);
        let rows = (self.count() as u64 - 1).min(line.span);
        let scale = (rows << DISTANCE_BITS) / ((line.span >> shift) + 1);
        let scale = scale.min((1 << SCALE_BITS) - 1);
        (line.first >> shift & FIRST) << (SCALE_BITS + SHIFT_BITS)
            | scale << SHIFT_BITS
            | u64::from(shift)
    }
}

/// How far a row may be from where it should be: so far random keys of a page are off the line
/// through them, and what a search walks has to come from memory as well.
const REACH: usize = 8;

/// By the sketch of a leaf of numbers: the bytes of the row that this key should be in, of those
/// around it, and of so many others in front of them and behind.
#[inline]
pub(crate) fn rows_ahead(sketch: u64, key: u64, (front, behind): (usize, usize)) -> Range<usize> {
    let row = row_ahead(sketch, key);
    let start = row.saturating_sub(REACH + front);
    HEADER_BYTES + ROW_BYTES * start..HEADER_BYTES + ROW_BYTES * (row + REACH + behind + 1)
}

/// Where the row with this key should be.
#[inline]
fn row_ahead(sketch: u64, key: u64) -> usize {
    let shift = sketch & ((1 << SHIFT_BITS) - 1);
    let scale = sketch >> SHIFT_BITS & ((1 << SCALE_BITS) - 1);
    let first = sketch >> (SCALE_BITS + SHIFT_BITS);
    let distance = (key >> shift).wrapping_sub(first) & FIRST;
    // No row is further from the first.
    ((distance.min(1 << DISTANCE_BITS) * scale) >> DISTANCE_BITS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Shape};
    use crate::{base_bytes, write_base};

    /// How many rows the sketch is off at most, over all keys of a page.
    fn error(numbers: impl Iterator<Item = u64>) -> usize {
        let keys: Vec<[u8; 8]> = numbers.map(u64::to_be_bytes).collect();
        let entries: Vec<_> = keys.iter().map(|key| Entry::new(key, key)).collect();
        let shape = Shape::whole(Layout::Fixed8);
        let mut bytes = vec![0; base_bytes(&shape, &entries)];
        write_base(&shape, &entries, &mut bytes);
        let sketch = Base::new(&bytes).sketch();
        let off = |(at, key): (usize, &_)| row_ahead(sketch, u64::from_be_bytes(*key)).abs_diff(at);
        keys.iter().enumerate().map(off).max().unwrap_or(0)
    }

    #[test]
    fn keys_on_a_line_are_hit_wherever_it_lies() {
        for step in [1, 2, 3, 1000, 1 << 30, (1 << 47) + 12345, u64::MAX / 300] {
            for first in [0, 1, 77, 1 << 20, (1 << 40) - 5, 1 << 41, 1 << 62] {
                let last = u128::from(first) + u128::from(step) * 299;
                if last < 1 << 64 {
                    let found = error((0..300).map(|n| first + n * step));
                    assert!(found <= 1, "off by {found}, from {first} by {step}");
                }
            }
        }
        assert_eq!((error(0..0), error(5..6)), (0, 0));
    }

    #[test]
    fn any_word_gives_a_place_near_a_page() {
        let mut word = 1_u64;
        for _ in 0..1000 {
            word = word.wrapping_mul(0xd129_42f2_9df5_3b5d).wrapping_add(1);
            let Range { start, end } = rows_ahead(word, word.rotate_left(20), (0, 0));
            assert!(start < end && end < 4 << 20, "{start}..{end} of {word:x}");
        }
    }
}
