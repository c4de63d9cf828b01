//! Entries to a base page.

use crate::base::{
    AT_ABSORBED, AT_BYTES, AT_COUNT, AT_ERROR, AT_FIRST, AT_FLAGS, AT_HIGH, AT_HIGH_LEN, AT_LEVEL,
    AT_LOW, AT_LOW_LEN, AT_PREFIX_LEN, AT_RIGHT, AT_SCALE, AT_SHIFT, AT_SPAN, HAS_HIGH,
    HAS_MERGING, HEADER_BYTES, IS_VAR, ROW_BYTES,
};
use crate::entry::{Entry, Layout, Shape};
use crate::interpolation::Line;
use crate::plain::{align8, head, put};
use crate::rows::{OFFSET_BITS, Slot};

/// Exact bytes of the base page with this shape and these entries: a multiple of eight.
#[must_use]
pub fn base_bytes(shape: &Shape<'_>, entries: &[Entry<'_>]) -> usize {
    let mut bytes = HEADER_BYTES + ROW_BYTES * entries.len() + link_bytes(shape);
    if shape.layout == Layout::Var {
        let prefix_len = shape.prefix().len();
        bytes += shape.low.len() + shape.high.map_or(0, <[u8]>::len);
        for (at, entry) in entries.iter().enumerate() {
            bytes += stored_suffix_len(shape, at, entry, prefix_len) + entry.value.len();
        }
    }
    align8(bytes)
}

/// Bytes of what a page links to besides its children and its right neighbour.
fn link_bytes(shape: &Shape<'_>) -> usize {
    4 * (shape.absorbed.len() + usize::from(shape.merging.is_some()))
}

/// Bytes of a page in [`Layout::Fixed8`] with that many rows.
#[inline]
pub(crate) fn fixed_bytes(shape: &Shape<'_>, count: usize) -> usize {
    align8(HEADER_BYTES + ROW_BYTES * count + link_bytes(shape))
}

/// Writes the base page with this shape and these entries.
///
/// The entries are sorted by key, each key once, all inside the fences; in an inner page the key of
/// entry 0 counts as the low key whatever it is. There is no upper limit but 16 MiB: a page may be
/// larger than anyone wants it to stay.
///
/// # Panics
/// If `out` is not [`base_bytes`] long, or the page is larger than 16 MiB, or an entry has sizes
/// that its layout can't hold: in [`Layout::Fixed8`] other than eight bytes, in [`Layout::Var`]
/// more than 65,535.
pub fn write_base(shape: &Shape<'_>, entries: &[Entry<'_>], out: &mut [u8]) {
    assert_eq!(out.len(), base_bytes(shape, entries), "bytes for a base page");
    assert!(out.len() < 1 << OFFSET_BITS, "a base page of {} bytes", out.len());
    debug_assert!(shape.level > 0 || shape.merging.is_none());

    let line = match shape.layout {
        Layout::Fixed8 => write_pairs(shape, entries, &mut out[HEADER_BYTES..]),
        Layout::Var => Line::NONE,
    };
    let mut at = HEADER_BYTES + ROW_BYTES * entries.len();
    let mut linked = Vec::new();
    links(shape, &mut linked);
    put(out, at, &linked);
    at += linked.len();
    if shape.layout == Layout::Var {
        at = write_var(shape, entries, out, at);
    }
    out[at..].fill(0);
    let len = out.len();
    put(out, 0, &header(shape, entries.len(), &line, len));
    debug_assert_eq!(crate::check(crate::Base::new(out)), Ok(()));
}

/// Bytes of the key of an entry of a Var page that lie in its heap.
#[inline]
fn stored_suffix_len(shape: &Shape<'_>, at: usize, entry: &Entry<'_>, prefix_len: usize) -> usize {
    if at == 0 && shape.level > 0 { 0 } else { entry.key.len() - prefix_len }
}

/// The header of a base page of this many bytes.
pub(crate) fn header(
    shape: &Shape<'_>,
    count: usize,
    line: &Line,
    bytes: usize,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let out = &mut header;
    let high = shape.high.unwrap_or_default();
    let mut flags = 0;
    if shape.layout == Layout::Var {
        flags |= IS_VAR;
    } else {
        let fits = |key: &[u8]| key.is_empty() || key.len() == 8;
        assert!(fits(shape.low) && fits(high), "fences of eight bytes");
    }
    if shape.high.is_some() {
        flags |= HAS_HIGH;
    }
    if shape.merging.is_some() {
        flags |= HAS_MERGING;
    }
    put(out, AT_LOW, &head(shape.low).to_be_bytes());
    put(out, AT_HIGH, &head(high).to_be_bytes());
    put(out, AT_FIRST, &line.first.to_le_bytes());
    put(out, AT_SPAN, &line.span.to_le_bytes());
    put(out, AT_SCALE, &line.scale.to_le_bytes());
    put(out, AT_COUNT, &(count as u32).to_le_bytes());
    put(out, AT_RIGHT, &shape.right.number().to_le_bytes());
    out[AT_FLAGS] = flags;
    out[AT_LEVEL] = shape.level;
    out[AT_SHIFT] = line.shift;
    out[AT_ERROR] = line.error;
    put(out, AT_PREFIX_LEN, &u16_len(shape.prefix().len()));
    put(out, AT_ABSORBED, &u16_len(shape.absorbed.len()));
    put(out, AT_LOW_LEN, &u16_len(shape.low.len()));
    put(out, AT_HIGH_LEN, &u16_len(high.len()));
    put(out, AT_BYTES, &(bytes as u32).to_le_bytes());
    header
}

/// A length as it lies in the header.
fn u16_len(len: usize) -> [u8; 2] {
    let Ok(len) = u16::try_from(len) else {
        panic!("{len} don't fit the header");
    };
    len.to_le_bytes()
}

/// Writes the pairs of a Fixed8 page and returns the line through their keys.
fn write_pairs(shape: &Shape<'_>, entries: &[Entry<'_>], out: &mut [u8]) -> Line {
    let (rows, _) = out.as_chunks_mut::<ROW_BYTES>();
    let rows = &mut rows[..entries.len()];
    for (at, (row, entry)) in rows.iter_mut().zip(entries).enumerate() {
        debug_assert_eq!(entry.flags, 0, "no flags in Fixed8");
        let (key, value) = row.split_at_mut(8);
        if at == 0 && shape.level > 0 {
            key.copy_from_slice(&head(shape.low).to_be_bytes());
        } else {
            assert_eq!(entry.key.len(), 8, "bytes of a key in Fixed8");
            entry.key.copy_to(key);
        }
        value.copy_from_slice(entry.value);
    }
    let searched = if shape.level == 0 { &*rows } else { rows.get(1..).unwrap_or_default() };
    Line::fit(searched)
}

/// Appends merging and absorbed.
pub(crate) fn links(shape: &Shape<'_>, out: &mut Vec<u8>) {
    let merging = shape.merging.is_some().then_some(&shape.merging);
    for id in merging.into_iter().chain(shape.absorbed) {
        out.extend_from_slice(&id.number().to_le_bytes());
    }
}

/// Writes heads, slots, fences and heap of a Var page; `at` is where the fences go. Returns where
/// the heap ends.
fn write_var(shape: &Shape<'_>, entries: &[Entry<'_>], out: &mut [u8], mut at: usize) -> usize {
    let prefix_len = shape.prefix().len();
    for fence in [shape.low, shape.high.unwrap_or_default()] {
        put(out, at, fence);
        at += fence.len();
    }
    let slots_at = HEADER_BYTES + 8 * entries.len();
    for (index, entry) in entries.iter().enumerate() {
        let suffix_len = stored_suffix_len(shape, index, entry, prefix_len);
        assert!(
            u16::try_from(suffix_len.max(entry.value.len())).is_ok(),
            "an entry of {suffix_len} and {} bytes doesn't fit a page",
            entry.value.len()
        );
        if suffix_len > 0 {
            entry.key.skip(prefix_len).copy_to(&mut out[at..]);
        }
        put(out, at + suffix_len, entry.value);
        let slot =
            Slot { offset: at, suffix_len, value_len: entry.value.len(), flags: entry.flags };
        let key_head = head(slot.suffix(out));
        put(out, HEADER_BYTES + 8 * index, &key_head.to_le_bytes());
        put(out, slots_at + 8 * index, &slot.encode());
        at += suffix_len + entry.value.len();
    }
    at
}
