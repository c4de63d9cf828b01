//! Pieces: a list whose memory is in pieces of a bounded size.
//!
//! For lists that come with each commit, as long as the store is busy, and go with it. A vector
//! moves to twice the memory again and again, and what an allocator has given once in one piece of
//! some MiB it keeps: then each thread that has ever written a commit has as much for good.

use core::mem::size_of;

/// Bytes of a piece.
const PIECE_BYTES: usize = 32 << 10;

/// A list. It is added to at the end, and gone through from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces<T> {
    pieces: Vec<Vec<T>>,
}

impl<T> Pieces<T> {
    const MOST: usize = {
        let most = PIECE_BYTES / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        if most == 0 { 1 } else { most }
    };

    /// An empty list.
    pub const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Adds an element. Takes time O(1), amortised.
    pub fn push(&mut self, element: T) {
        if let Some(last) = self.pieces.last_mut().filter(|last| last.len() < Self::MOST) {
            last.push(element);
            return;
        }
        // The first one grows: most lists are short.
        let mut piece = Vec::with_capacity(if self.pieces.is_empty() { 1 } else { Self::MOST });
        piece.push(element);
        self.pieces.push(piece);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Each piece is freed when the next one begins.
impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = core::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

impl<T> FromIterator<T> for Pieces<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut pieces = Self::new();
        elements.into_iter().for_each(|element| pieces.push(element));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_order_and_no_piece_is_large() {
        for most in [0_u64, 1, 4096, 4097, 100_000] {
            let pieces: Pieces<u64> = (0..most).collect();
            assert_eq!((pieces.len() as u64, pieces.is_empty()), (most, most == 0));
            assert!(pieces.iter().copied().eq(0..most));
            let large = |piece: &Vec<u64>| piece.capacity() * size_of::<u64>() > PIECE_BYTES;
            assert!(!pieces.pieces.iter().any(large));
            assert!(pieces.into_iter().eq(0..most));
        }
        assert_eq!(core::iter::repeat_n((), 40_000).collect::<Pieces<()>>().len(), 40_000);
    }
}
