//! Where to split a page, and the shortest key between two.

use crate::base::{HEADER_BYTES, ROW_BYTES};
use crate::entry::{Entry, Layout, Shape};
use crate::heap::Extents;
use crate::key::KeyRef;

/// Where to split these entries: that many go to the left page, the others to the right. At least
/// one goes to each.
///
/// The bytes are shared out evenly, or 9 to 1 where the page grows at its end: then the left page
/// will not be written again, and the right one has room for what comes.
///
/// # Panics
/// If there are fewer than two entries.
#[must_use]
pub fn split_index(entries: &[Entry<'_>], append_pattern: bool) -> usize {
    assert!(entries.len() >= 2, "{} entries to split", entries.len());
    let bytes = |entry: &Entry<'_>| ROW_BYTES + entry.key.len() + entry.value.len();
    let sizes: Vec<usize> = entries.iter().map(bytes).collect();
    index_at(&sizes, append_pattern)
}

/// The same, of entries with these many bytes.
pub(crate) fn index_at(sizes: &[usize], append_pattern: bool) -> usize {
    let total: usize = sizes.iter().sum();
    let wanted = if append_pattern { total / 10 * 9 } else { total / 2 };
    let mut left = 0;
    for (at, bytes) in sizes.iter().enumerate() {
        let with = left + bytes;
        if with >= wanted {
            // Before or behind the entry that crosses the line: what is nearer.
            let index = if with - wanted < wanted - left { at + 1 } else { at };
            return index.clamp(1, sizes.len() - 1);
        }
        left = with;
    }
    sizes.len() - 1
}

/// How full [`Contents::cuts`](crate::Contents::cuts) makes a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Bytes of a base page, without those of its fences that are above [`FENCE_BYTES`].
    pub bytes: usize,
    /// Entries that a page has even if they take more than `bytes`, as long as they take no more
    /// than `most_bytes`.
    pub entries: usize,
    /// Bytes that a page of more than the fewest entries never exceeds.
    pub most_bytes: usize,
}

/// Bytes of the two fences of a page that count as its own. What is above them is left out of every
/// limit: where keys begin alike for thousands of bytes, two fences alone could fill a page.
pub const FENCE_BYTES: usize = 64;

/// Bytes of fences of these lengths that no limit counts.
#[must_use]
pub const fn uncounted(fence_bytes: usize) -> usize {
    fence_bytes.saturating_sub(FENCE_BYTES)
}

/// Fewest entries that a cut leaves in a page.
fn fewest(shape: &Shape<'_>) -> usize {
    // Levels of single children would go on for ever.
    1 + usize::from(shape.level > 0)
}

/// How many rows a page in [`Layout::Fixed8`] holds in that many bytes.
pub(crate) fn rows_in(shape: &Shape<'_>, fill: Fill) -> usize {
    (fill.bytes.saturating_sub(HEADER_BYTES) / ROW_BYTES).max(fewest(shape))
}

/// Where to cut the entries of a page in [`Layout::Var`]: see
/// [`Contents::cuts`](crate::Contents::cuts). Each has so many bytes before its key.
pub(crate) fn cuts(
    entries: &[Entry<'_>],
    item_head: usize,
    shape: &Shape<'_>,
    fill: Fill,
) -> Vec<usize> {
    let size = |entry: &Entry<'_>| item_head + entry.key.len() + entry.value.len();
    let page = |fences, count, heap_bytes| {
        let tags = if shape.level == 0 { count } else { 0 };
        Extents::new(fences, tags, count, 0, heap_bytes).bytes
    };
    let mut cuts = Vec::new();
    let (mut begin, mut low, mut low_len) = (0, KeyRef::from(shape.low), shape.low.len());
    let (mut held, mut shared) = (0, low_len);
    for end in 1..=entries.len() {
        let last = &entries[end - 1];
        // The high key of a page is no longer than the key behind it, and begins as that does.
        let next = entries.get(end).map(|entry| entry.key).or(shape.high.map(KeyRef::from));
        let high_len = next.map_or(0, KeyRef::len);
        held += size(last);
        shared = next.map_or(0, |next| shared_prefix(low, next, shared));
        let heap_bytes = held - shared * (end - begin);
        let bytes = page(low_len + high_len, end - begin, heap_bytes);
        let enough = end - begin > fill.entries || bytes > fill.most_bytes;
        if bytes - uncounted(low_len + high_len) <= fill.bytes
            || end - begin <= fewest(shape)
            || !enough
        {
            continue;
        }
        begin = end - 1;
        cuts.push(begin);
        low = last.key;
        low_len = match shape.level {
            0 => shared_prefix(entries[begin - 1].key, low, low.len()) + 1,
            _ => low.len(),
        };
        held = size(last);
        shared = next.map_or(0, |next| shared_prefix(low, next, low_len));
    }
    cuts
}

/// How many of their first `limit` bytes two keys share.
fn shared_prefix(left: KeyRef<'_>, right: KeyRef<'_>, limit: usize) -> usize {
    left.bytes().zip(right.bytes()).take(limit).take_while(|(left, right)| left == right).count()
}

/// The shortest key `s` with `left_last < s <= right_first`: in [`Layout::Fixed8`] all of
/// `right_first`, else as much of it as tells the two apart.
///
/// # Panics
/// If `left_last` is not below `right_first`.
#[must_use]
pub fn shortest_separator(
    left_last: KeyRef<'_>,
    right_first: KeyRef<'_>,
    layout: Layout,
) -> Vec<u8> {
    assert!(left_last < right_first, "no key between these two");
    match layout {
        Layout::Fixed8 => right_first.to_vec(),
        Layout::Var => {
            let same = left_last
                .bytes()
                .zip(right_first.bytes())
                .take_while(|(left, right)| left == right)
                .count();
            right_first.bytes().take(same + 1).collect()
        }
    }
}
