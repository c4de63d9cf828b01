//! Token: what the word of a page that is away says of it.
//!
//! ```text
//!   60       25 24        2    1         0
//!   serial      count       counted   posted
//! ```
//!
//! *Serial* is new at each eviction, so a token that is seen twice means that the page was away all
//! the time between.
//!
//! *Count* is what the number of entries of the tree has of this page. If it is *counted*, that is
//! how many entries the page has; else records were written that nobody has compared with what is
//! below them, and who brings the page in finds out how many there are. It stands in the word so
//! that one CAS changes what is known of the page together with where it is.
//!
//! *Posted*: the page above gives the page the range that it has, see [`partial`](super::partial).

use super::place::Place;

/// What a word says of a page that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    serial: u64,
    pub(crate) count: i32,
    pub(crate) counted: bool,
    pub(crate) posted: bool,
}

const COUNT_BITS: u32 = 23;
const COUNT_SHIFT: u32 = 2;
const SERIAL_SHIFT: u32 = COUNT_SHIFT + COUNT_BITS;
/// Evictions after which serials begin anew: at 50,000 in a second, in two weeks. Only who has
/// stopped in the middle of one page-in for so long could take one for another.
const SERIALS: u64 = 1 << (61 - SERIAL_SHIFT);

impl Token {
    /// `None` if a page has more entries than a token can say.
    pub(crate) fn new(serial: u64, count: i64, counted: bool, posted: bool) -> Option<Self> {
        let fits = -(1 << (COUNT_BITS - 1))..1 << (COUNT_BITS - 1);
        let count = fits.contains(&count).then_some(count as i32)?;
        Some(Self { serial: serial % SERIALS, count, counted, posted })
    }

    /// Of a page that was found in the log: what is above it may not know of its splits.
    pub(crate) fn recovered(serial: u64, place: &Place) -> Self {
        let of_place = Self::new(serial, place.count.into(), !place.uncounted, false);
        // So many it cannot have: they are counted when it is read.
        let unknown = Self { serial: serial % SERIALS, count: 0, counted: false, posted: false };
        of_place.unwrap_or(unknown)
    }

    pub(crate) fn bits(self) -> u64 {
        let count = u64::from(self.count.cast_unsigned()) & ((1 << COUNT_BITS) - 1);
        self.serial << SERIAL_SHIFT
            | count << COUNT_SHIFT
            | u64::from(self.counted) << 1
            | u64::from(self.posted)
    }

    pub(crate) fn of(bits: u64) -> Self {
        let unused = 32 - COUNT_BITS;
        let count = ((bits >> COUNT_SHIFT) as u32) << unused;
        Self {
            serial: bits >> SERIAL_SHIFT,
            count: count.cast_signed() >> unused,
            counted: bits & 2 != 0,
            posted: bits & 1 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_their_bits() {
        for count in [0, 1, -1, 27, -4_194_304, 4_194_303] {
            for (counted, posted) in [(false, false), (false, true), (true, false), (true, true)] {
                for serial in [0, 1, 77, SERIALS - 1] {
                    let token = Token::new(serial, count, counted, posted).unwrap();
                    assert_eq!(Token::of(token.bits()), token);
                    assert!(token.bits() < 1 << 61);
                    assert_eq!(i64::from(token.count), count);
                }
            }
        }
        assert_eq!(Token::new(1, 1 << 22, true, true), None);
        assert_eq!(Token::new(1, -(1 << 22) - 1, true, true), None);
        assert_eq!(Token::new(SERIALS + 5, 0, true, true), Token::new(5, 0, true, true));
    }
}
