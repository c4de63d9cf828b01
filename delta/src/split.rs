//! Where to split a page, and the shortest key between two.

use crate::base::ROW_BYTES;
use crate::entry::{Entry, Layout};
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
    let total: usize = entries.iter().map(bytes).sum();
    let wanted = if append_pattern { total / 10 * 9 } else { total / 2 };
    let mut left = 0;
    for (at, entry) in entries.iter().enumerate() {
        let with = left + bytes(entry);
        if with >= wanted {
            // Before or behind the entry that crosses the line: what is nearer.
            let index = if with - wanted < wanted - left { at + 1 } else { at };
            return index.clamp(1, entries.len() - 1);
        }
        left = with;
    }
    entries.len() - 1
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
