//! Where a key is or would be: interpolation and a few steps, else *branchy* binary search.
//!
//! Branches are wanted here: the processor runs ahead on a guess and so fetches the next line of
//! memory while it still waits for this one. A search without branches waits for each in turn.

use crate::base::{Base, ROW_BYTES};
use crate::entry::Layout;
use crate::heap::TAG_GROUP;
use crate::interpolation::{Line, MAX_ERROR};
use crate::plain::{cmp_behind, cmp_behind_head, head, same, second_head};

use core::cmp::Ordering;

impl Base<'_> {
    /// Where this key is in a leaf: its position, or else the position at which it would stand, as
    /// [`slice::binary_search`]. Right for any key, inside the fences or not.
    ///
    /// # Errors
    /// No error: the position at which the key would stand.
    #[inline]
    pub fn search(self, key: &[u8]) -> Result<usize, usize> {
        debug_assert!(self.is_leaf(), "search is for leaves, child_index for inner");
        self.locate(0, key)
    }

    /// In an inner page: the position of the child that this key belongs to. A key below the low
    /// key gets the first child, a key not below the high key the last.
    #[inline]
    #[must_use]
    pub fn child_index(self, key: &[u8]) -> usize {
        debug_assert!(!self.is_leaf(), "child_index is for inner pages");
        match self.locate(1, key) {
            Ok(at) => at,
            Err(at) => at - 1,
        }
    }

    /// Where this key is or would be in a page of any level. The first child is at the low key.
    pub(crate) fn position(self, key: &[u8]) -> Result<usize, usize> {
        if self.is_leaf() {
            return self.search(key);
        }
        if key == self.low() { Ok(0) } else { self.locate(1, key) }
    }

    /// As `search`, over the entries from `start` on.
    #[inline]
    fn locate(self, start: usize, key: &[u8]) -> Result<usize, usize> {
        match self.layout() {
            Layout::Fixed8 => locate_fixed(&self.pairs()[start..], &self.line(), key)
                .map(|at| at + start)
                .map_err(|at| at + start),
            Layout::Var => self.locate_var(start, key),
        }
    }

    #[inline]
    fn locate_var(self, start: usize, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        // Mostly there is no prefix, and then no call to compare it.
        let suffix = if prefix.is_empty() {
            key
        } else if let Some(suffix) = key.strip_prefix(prefix) {
            suffix
        } else {
            return Err(if key < prefix { start } else { self.count() });
        };
        self.locate_suffix(start, suffix)
    }

    /// Where the key with this suffix is or would be, over the entries from `start` on.
    #[inline]
    pub(crate) fn locate_suffix(self, start: usize, suffix: &[u8]) -> Result<usize, usize> {
        let (heads, wanted) = (self.heads(), head(suffix));
        let (mut low, mut high) = (start, heads.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let here = u64::from_le_bytes(heads[middle]);
            if here == wanted {
                return self.locate_among_equals(low, middle, high, suffix);
            }
            if here < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Err(low)
    }

    /// The same from `low` up to `high`, where the head at `middle` is that of the suffix. Only
    /// where heads are the same the keys are looked at.
    fn locate_among_equals(
        self,
        low: usize,
        middle: usize,
        high: usize,
        suffix: &[u8],
    ) -> Result<usize, usize> {
        let (heap, heads, wanted) = (self.heap(), self.heads(), head(suffix));
        let (second_heads, second) = (self.second_heads(), second_head(suffix));
        let (mut low, mut middle, mut high) = (low, middle, high);
        loop {
            let order = match u64::from_le_bytes(heads[middle]).cmp(&wanted) {
                Ordering::Equal => match second_heads.get(middle) {
                    Some(here) => u64::from_le_bytes(*here)
                        .cmp(&second)
                        .then_with(|| cmp_behind::<16>(heap.suffix(middle), suffix)),
                    None => cmp_behind_head(heap.suffix(middle), suffix),
                },
                order => order,
            };
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
            if low >= high {
                return Err(low);
            }
            middle = low + (high - low) / 2;
        }
    }

    /// Where the key with this hash is in a leaf in [`Layout::Var`] whose fences are around it.
    #[inline]
    pub(crate) fn find_tagged(self, key: &[u8], tag: u8) -> Option<usize> {
        debug_assert!(self.is_leaf() && self.layout() == Layout::Var);
        debug_assert!(key.starts_with(self.prefix()), "a key outside the fences");
        let suffix = key.get(self.prefix_len()..)?;
        let heap = self.heap();
        for (group, tags) in self.tag_groups().iter().enumerate() {
            // So that the compiler looks at all of them at once.
            if tags.iter().fold(0, |any, here| any | u8::from(*here == tag)) == 0 {
                continue;
            }
            for (word, tags) in tags.as_chunks::<8>().0.iter().enumerate() {
                let mut equal = equal_bytes(u64::from_le_bytes(*tags), tag);
                while equal != 0 {
                    let at = group * TAG_GROUP + word * 8 + equal.trailing_zeros() as usize / 8;
                    equal &= equal - 1;
                    if same(heap.suffix(at), suffix) {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

/// Which bytes of a word are this one: the upper bit of each that is.
#[inline]
fn equal_bytes(word: u64, wanted: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let x = word ^ LOW.wrapping_mul(u64::from(wanted));
    !(((x & REST) + REST) | x | REST)
}

/// Where this key is or would be among pairs.
#[inline]
fn locate_fixed(pairs: &[[u8; ROW_BYTES]], line: &Line, key: &[u8]) -> Result<usize, usize> {
    let wanted = head(key);
    let at = lower_bound(pairs, line, wanted);
    let found = pairs.get(at).is_some_and(|pair| head(pair) == wanted);
    match key.len().cmp(&8) {
        Ordering::Equal if found => Ok(at),
        // A longer key stands right behind the one it starts with.
        Ordering::Greater if found => Err(at + 1),
        _ => Err(at),
    }
}

/// The first position whose key is not below `wanted`.
#[inline]
pub(crate) fn lower_bound(pairs: &[[u8; ROW_BYTES]], line: &Line, wanted: u64) -> usize {
    if line.error > MAX_ERROR {
        return lower_bound_by_halves(pairs, wanted);
    }
    let guess = line.position(wanted).min(pairs.len());
    let (before, behind) = pairs.split_at(guess);
    match behind.first() {
        Some(pair) if head(pair) < wanted => {
            let steps = behind.iter().position(|pair| head(pair) >= wanted);
            steps.map_or(pairs.len(), |steps| guess + steps)
        }
        _ => before.iter().rposition(|pair| head(pair) < wanted).map_or(0, |at| at + 1),
    }
}

#[inline]
fn lower_bound_by_halves(pairs: &[[u8; ROW_BYTES]], wanted: u64) -> usize {
    let (mut low, mut high) = (0, pairs.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let here = head(&pairs[middle]);
        if here == wanted {
            return middle;
        }
        if here < wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
