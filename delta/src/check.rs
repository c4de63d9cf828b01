//! Whether a base page is what it must be.

use types::PageId;

use crate::base::{
    AT_ABSORBED, AT_HEADS, AT_HEAP, AT_HIGH_LEN, AT_LINKS, AT_LOW_LEN, AT_OFFSETS, AT_PREFIX_LEN,
    AT_TAGS, AT_VALUE_LEN, Base, HAS_HIGH, HAS_MERGING, HEADER_BYTES, IS_UNIFORM, IS_VAR, IS_WIDE,
    ROW_BYTES,
};
use crate::entry::{KNOWN_FLAGS, Layout, Shape, Side};
use crate::hash::fingerprint;
use crate::heap::{Extents, Heap, NARROW_BYTES};
use crate::inner::child_of;
use crate::interpolation::Line;
use crate::key::KeyRef;
use crate::plain::{head, second_head, u16_at};

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
    let known = match flags & IS_VAR {
        0 => HAS_HIGH | HAS_MERGING,
        _ => IS_VAR | HAS_HIGH | HAS_MERGING | IS_UNIFORM | IS_WIDE,
    };
    if flags & !known != 0 {
        return Err("unknown flags of a page");
    }
    let len = base.byte_len();
    if len > bytes.len() || !len.is_multiple_of(8) {
        return Err("the length of the page is wrong");
    }
    let links = field(AT_ABSORBED) + usize::from(flags & HAS_MERGING != 0);
    let (low_len, high_len) = (field(AT_LOW_LEN), field(AT_HIGH_LEN));
    if flags & HAS_HIGH == 0 && high_len != 0 {
        return Err("a high key where there is none");
    }
    if flags & IS_VAR != 0 {
        return check_heap(base, low_len + high_len, links);
    }
    let high_fits = high_len == 8 || flags & HAS_HIGH == 0;
    if !matches!(low_len, 0 | 8) || !high_fits {
        return Err("a fence that is not eight bytes long");
    }
    if HEADER_BYTES + ROW_BYTES * base.count() + 4 * links > len {
        return Err("the page is shorter than its entries");
    }
    Ok(())
}

/// That the parts of a page in [`Layout::Var`] lie where they must, and each item in the heap.
fn check_heap(base: Base<'_>, fences: usize, links: usize) -> Result<(), &'static str> {
    let (count, flags, len) = (base.count(), base.flags(), base.byte_len());
    let tags = if base.is_leaf() { count } else { 0 };
    // With the fewest bytes of heap that make the page wide, or with none.
    let least = if flags & IS_WIDE != 0 { NARROW_BYTES + 1 } else { 0 };
    let extents = Extents::new(fences, tags, count, links, least);
    let places = [
        (AT_TAGS, extents.tags),
        (AT_OFFSETS, extents.offsets),
        (AT_HEADS, extents.heads),
        (AT_LINKS, extents.links),
        (AT_HEAP, extents.heap),
    ];
    if places.iter().any(|(field, place)| base.place(*field) != *place) {
        return Err("the parts of the page lie elsewhere");
    }
    if extents.heap > len {
        return Err("the page is shorter than its entries");
    }
    if flags & IS_UNIFORM == 0 && u16_at(base.bytes(), AT_VALUE_LEN) != 0 {
        return Err("one length for values of many");
    }
    let heap = Heap { bytes: &base.bytes()[extents.heap..len], ..base.heap() };
    if heap.offset(0) != 0 {
        return Err("the heap does not begin with the first entry");
    }
    if (0..count).any(|at| heap.checked_item(at).is_none()) {
        return Err("an entry lies outside the heap");
    }
    let used = heap.offset(count);
    if used > heap.bytes.len() || (used > NARROW_BYTES) != (flags & IS_WIDE != 0) {
        return Err("the heap has another size");
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
    let behind = |key: &[u8]| head(key.get(shape.prefix().len()..).unwrap_or_default());
    if head(header) != behind(shape.low) || head(&header[8..]) != behind(high) {
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
            let heap = base.heap();
            for (at, key_head) in base.heads().iter().enumerate() {
                if u64::from_le_bytes(*key_head) != head(heap.item(at).suffix) {
                    return Err("the head of a key is wrong");
                }
            }
            for (at, second) in base.second_heads().iter().enumerate() {
                if u64::from_le_bytes(*second) != second_head(heap.item(at).suffix) {
                    return Err("the second head of a key is wrong");
                }
            }
            if !base.is_leaf() && base.count() > 0 && !heap.item(0).suffix.is_empty() {
                return Err("the key of the first child is stored");
            }
            let tagged = base.is_leaf().then(|| base.tags().iter().zip(base.entries()));
            if tagged.into_iter().flatten().any(|(tag, e)| *tag != fingerprint(&e.key.to_vec())) {
                return Err("the tag of a key is wrong");
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
