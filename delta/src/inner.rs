//! The value of an inner page's entry: its child.

use types::PageId;

use crate::entry::Layout;

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
