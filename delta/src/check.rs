//! Whether a base page is what it must be.

use types::PageId;

use crate::base::{
    AT_ABSORBED, AT_HIGH_LEN, AT_LOW_LEN, AT_PREFIX_LEN, Base, HAS_HIGH, HAS_MERGING, HEADER_BYTES,
    IS_VAR, ROW_BYTES,
};
use crate::entry::{KNOWN_FLAGS, Layout, Shape, Side};
use crate::inner::child_of;
use crate::interpolation::Line;
use crate::key::KeyRef;
use crate::plain::{head, u16_at};
use crate::rows::Slot;

/// Whether everything that a search relies on is true of this page. Looks at every byte of it that
/// means something, and doesn't panic whatever they are.
///
/// # Errors
/// What is wrong, if something is.
pub fn check(base: Base<'_>) -> Result<(), &'static str> {
    check_extents(base)?;
    let shape = base.shape(&[]);
    if shape.high.is_some_and(|high| shape.low >= high) {
        return Err("the low key is not below the high key");
    }
    if base.is_leaf() {
        if base.flags() & HAS_MERGING != 0 {
            return Err("a leaf that merges a child");
        }
    } else if base.count() == 0 {
        return Err("an inner page without children");
    }
    if base.flags() & HAS_MERGING != 0 && base.merging().is_none() {
        return Err("merging names no page");
    }
    if base.absorbed().any(PageId::is_none) {
        return Err("absorbed names no page");
    }
    check_heads(base, &shape)?;
    check_entries(base, &shape)
}

/// That all lengths and offsets are inside the page.
fn check_extents(base: Base<'_>) -> Result<(), &'static str> {
    let bytes = base.bytes();
    let field = |at| u16_at(bytes, at) as usize;
    let flags = base.flags();
    if flags & !(IS_VAR | HAS_HIGH | HAS_MERGING) != 0 {
        return Err("unknown flags of a page");
    }
    let len = base.byte_len();
    if len > bytes.len() || !len.is_multiple_of(8) {
        return Err("the length of the page is wrong");
    }
    let links = field(AT_ABSORBED) + usize::from(flags & HAS_MERGING != 0);
    let mut end = HEADER_BYTES + ROW_BYTES * base.count() + 4 * links;
    let (low_len, high_len) = (field(AT_LOW_LEN), field(AT_HIGH_LEN));
    if flags & HAS_HIGH == 0 && high_len != 0 {
        return Err("a high key where there is none");
    }
    if flags & IS_VAR == 0 {
        let high_fits = high_len == 8 || flags & HAS_HIGH == 0;
        if !matches!(low_len, 0 | 8) || !high_fits {
            return Err("a fence that is not eight bytes long");
        }
    } else {
        end += low_len + high_len;
    }
    if end > len {
        return Err("the page is shorter than its entries");
    }
    if flags & IS_VAR != 0 {
        for slot in base.heads_and_slots().1 {
            let slot = Slot::decode(*slot);
            if slot.offset < end || slot.offset + slot.suffix_len + slot.value_len > len {
                return Err("an entry lies outside the heap");
            }
        }
    }
    Ok(())
}

/// That heads, prefix and interpolation are those of the keys.
fn check_heads(base: Base<'_>, shape: &Shape<'_>) -> Result<(), &'static str> {
    if field_prefix(base) != shape.prefix().len() {
        return Err("the prefix is not that of the fences");
    }
    let header = base.bytes();
    let high = shape.high.unwrap_or_default();
    if head(header) != head(shape.low) || head(&header[8..]) != head(high) {
        return Err("the head of a fence is wrong");
    }
    let first = usize::from(!base.is_leaf());
    match base.layout() {
        Layout::Fixed8 => {
            let searched = base.pairs().get(first..).unwrap_or_default();
            if base.line() != Line::fit(searched) {
                return Err("the interpolation is not that of the keys");
            }
        }
        Layout::Var => {
            let (heads, slots) = base.heads_and_slots();
            for (key_head, slot) in heads.iter().zip(slots) {
                let suffix = Slot::decode(*slot).suffix(base.bytes());
                if u64::from_le_bytes(*key_head) != head(suffix) {
                    return Err("the head of a key is wrong");
                }
            }
        }
    }
    Ok(())
}

fn field_prefix(base: Base<'_>) -> usize {
    u16_at(base.bytes(), AT_PREFIX_LEN) as usize
}

/// That the entries are sorted, inside the fences and of the right kind.
fn check_entries(base: Base<'_>, shape: &Shape<'_>) -> Result<(), &'static str> {
    let mut last: Option<KeyRef<'_>> = None;
    for (at, entry) in base.entries().enumerate() {
        if last.is_some_and(|last| last >= entry.key) {
            return Err("the keys are not in ascending order");
        }
        last = Some(entry.key);
        let implied = at == 0 && !base.is_leaf();
        if !implied {
            // The pieces can't be compared with a fence without a copy; the order of the entries
            // makes the first and the last enough.
            let edge = at == 0 || at + 1 == base.count();
            if edge && shape.side(&entry.key.to_vec()) != Side::Inside {
                return Err("a key outside the fences");
            }
        }
        if entry.flags & !KNOWN_FLAGS != 0 {
            return Err("unknown flags of an entry");
        }
        if !base.is_leaf() && child_of(base.layout(), entry.value).is_none() {
            return Err("a child that is no page");
        }
    }
    Ok(())
}
