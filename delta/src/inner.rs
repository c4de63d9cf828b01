//! An inner page with a child more or a child less.

use types::PageId;

use crate::base::Base;
use crate::entry::{Entry, Layout, Side};

/// The value of an inner page's entry: the page id of the child, as bytes and how many of them
/// count. The value is `&bytes[..len]`.
#[must_use]
pub fn child_value(layout: Layout, child: PageId) -> ([u8; 8], usize) {
    let len = match layout {
        Layout::Fixed8 => 8,
        Layout::Var => 4,
    };
    (u64::from(child.number()).to_le_bytes(), len)
}

/// The child in the value of an inner page's entry, or [`PageId::NONE`] where the bytes are not
/// what [`child_value`] gives.
#[must_use]
pub fn child_of(layout: Layout, value: &[u8]) -> PageId {
    let mut raw = [0; 8];
    let (_, len) = child_value(layout, PageId::NONE);
    if value.len() != len {
        return PageId::NONE;
    }
    raw[..len].copy_from_slice(value);
    u32::try_from(u64::from_le_bytes(raw)).map_or(PageId::NONE, PageId::new)
}

/// The children of an inner page and one more, for the keys from `separator` up to the next; or
/// `None` if the page has a child with this separator already, as after someone else has posted
/// it, or the separator is outside the fences.
///
/// `child` is what [`child_value`] gives for it.
#[must_use]
pub fn inner_with_child<'a>(
    base: Base<'a>,
    separator: &'a [u8],
    child: &'a [u8],
) -> Option<Vec<Entry<'a>>> {
    if base.side(separator) != Side::Inside {
        return None;
    }
    let before = base.child_index(separator);
    if base.separator(before) == separator {
        return None;
    }
    let mut entries = Vec::with_capacity(base.count() + 1);
    entries.extend(base.entries().take(before + 1));
    entries.push(Entry::new(separator, child));
    entries.extend(base.entries().skip(before + 1));
    Some(entries)
}

/// The children of an inner page without the one at this position, whose keys go to its left
/// neighbour.
///
/// # Panics
/// If there is no such child, or it is the first: that has no left neighbour here.
#[must_use]
pub fn inner_without_child(base: Base<'_>, at: usize) -> Vec<Entry<'_>> {
    assert!(at > 0 && at < base.count(), "child {at} of {} can't be left out", base.count());
    let mut entries = Vec::with_capacity(base.count() - 1);
    entries.extend(base.entries().take(at));
    entries.extend(base.entries().skip(at + 1));
    entries
}
