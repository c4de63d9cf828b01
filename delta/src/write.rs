//! Entries to a base page.

use crate::base::{
    AT_ABSORBED, AT_BYTES, AT_COUNT, AT_ERROR, AT_FIRST, AT_FLAGS, AT_HEADS, AT_HEAP, AT_HIGH,
    AT_HIGH_LEN, AT_LEVEL, AT_LINKS, AT_LOW, AT_LOW_LEN, AT_OFFSETS, AT_PREFIX_LEN, AT_RIGHT,
    AT_SCALE, AT_SHIFT, AT_SPAN, AT_TAGS, AT_VALUE_LEN, HAS_HIGH, HAS_MERGING, HEADER_BYTES,
    IS_VAR, ROW_BYTES,
};
use crate::entry::{Entry, Layout, Shape};
use crate::hash::fingerprint;
use crate::heap::{Extents, ITEM_HEAD_BYTES, item_head_bytes};
use crate::interpolation::Line;
use crate::key::KeyRef;
use crate::plain::{align8, head, put, second_head};

/// A base page has fewer bytes.
const MOST_BYTES: usize = 1 << 24;

/// Exact bytes of the base page with this shape and these entries: a multiple of eight.
#[must_use]
pub fn base_bytes(shape: &Shape<'_>, entries: &[Entry<'_>]) -> usize {
    match shape.layout {
        Layout::Fixed8 => fixed_bytes(shape, entries.len()),
        Layout::Var => extents(shape, entries).bytes,
    }
}

/// Bytes of what a page links to besides its children and its right neighbour.
fn link_bytes(shape: &Shape<'_>) -> usize {
    4 * (shape.absorbed.len() + usize::from(shape.merging.is_some()))
}

/// Where the parts of a page in [`Layout::Var`] go.
fn extents(shape: &Shape<'_>, entries: &[Entry<'_>]) -> Extents {
    let value_len = uniform(entries);
    let (prefix_len, item_head) = (shape.prefix().len(), item_head_bytes(value_len));
    let heap_bytes = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            item_head + stored_suffix_len(shape, at, entry, prefix_len) + entry.value.len()
        })
        .sum();
    Extents::of(shape, entries.len(), heap_bytes, value_len)
}

/// How long all values are, if they are of one length and there are no flags.
pub(crate) fn uniform(entries: &[Entry<'_>]) -> Option<usize> {
    let len = entries.first().map_or(8, |first| first.value.len());
    let same = |entry: &Entry<'_>| entry.value.len() == len && entry.flags == 0;
    entries.iter().all(same).then_some(len)
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
    assert!(out.len() < MOST_BYTES, "a base page of {} bytes", out.len());
    debug_assert!(shape.level > 0 || shape.merging.is_none());

    match shape.layout {
        Layout::Fixed8 => {
            let line = write_pairs(shape, entries, &mut out[HEADER_BYTES..]);
            let mut at = HEADER_BYTES + ROW_BYTES * entries.len();
            let mut linked = Vec::new();
            links(shape, &mut linked);
            put(out, at, &linked);
            at += linked.len();
            out[at..].fill(0);
            let len = out.len();
            put(out, 0, &header(shape, entries.len(), &line, len));
        }
        Layout::Var => write_var(shape, entries, out),
    }
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
    let prefix_len = shape.prefix().len();
    put(out, AT_LOW, &head(&shape.low[prefix_len..]).to_be_bytes());
    put(out, AT_HIGH, &head(high.get(prefix_len..).unwrap_or_default()).to_be_bytes());
    put(out, AT_FIRST, &line.first.to_le_bytes());
    put(out, AT_SPAN, &line.span.to_le_bytes());
    put(out, AT_SCALE, &line.scale.to_le_bytes());
    put(out, AT_COUNT, &(count as u32).to_le_bytes());
    put(out, AT_RIGHT, &shape.right.number().to_le_bytes());
    out[AT_FLAGS] = flags;
    out[AT_LEVEL] = shape.level;
    out[AT_SHIFT] = line.shift;
    out[AT_ERROR] = line.error;
    put(out, AT_PREFIX_LEN, &u16_len(prefix_len));
    put(out, AT_ABSORBED, &u16_len(shape.absorbed.len()));
    put(out, AT_LOW_LEN, &u16_len(shape.low.len()));
    put(out, AT_HIGH_LEN, &u16_len(high.len()));
    put(out, AT_BYTES, &(bytes as u32).to_le_bytes());
    header
}

/// The header of a page in [`Layout::Var`].
pub(crate) fn var_header(shape: &Shape<'_>, count: usize, extents: &Extents) -> [u8; HEADER_BYTES] {
    let mut out = header(shape, count, &Line::NONE, extents.bytes);
    let places = [
        (AT_TAGS, extents.tags),
        (AT_OFFSETS, extents.offsets),
        (AT_HEADS, extents.heads),
        (AT_LINKS, extents.links),
        (AT_HEAP, extents.heap),
    ];
    for (field, place) in places {
        put(&mut out, field, &(place as u32).to_le_bytes());
    }
    put(&mut out, AT_VALUE_LEN, &u16_len(extents.value_len.unwrap_or(0)));
    out[AT_FLAGS] |= extents.flags();
    out
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

/// Writes a page in [`Layout::Var`].
fn write_var(shape: &Shape<'_>, entries: &[Entry<'_>], out: &mut [u8]) {
    let extents = extents(shape, entries);
    out.fill(0);
    put(out, 0, &var_header(shape, entries.len(), &extents));
    put(out, HEADER_BYTES, shape.low);
    put(out, HEADER_BYTES + shape.low.len(), shape.high.unwrap_or_default());
    let mut linked = Vec::new();
    links(shape, &mut linked);
    put(out, extents.links, &linked);
    let (mut offset, mut scratch, prefix_len) = (0, Vec::new(), shape.prefix().len());
    for (at, entry) in entries.iter().enumerate() {
        extents.put_offset(out, at, offset);
        let implied = stored_suffix_len(shape, at, entry, prefix_len) == 0;
        let key = if implied { KeyRef::default() } else { entry.key.skip(prefix_len) };
        let start = extents.heap + offset;
        offset += put_item(&mut out[start..], &extents, key, entry);
        let suffix = &out[start + item_head_bytes(extents.value_len)..][..key.len()];
        let (key_head, second) = (head(suffix), second_head(suffix));
        put(out, extents.heads + 8 * at, &key_head.to_le_bytes());
        if shape.level > 0 {
            put(out, extents.heads + 8 * (entries.len() + at), &second.to_le_bytes());
        }
        if shape.level == 0 {
            scratch.clear();
            entry.key.extend_into(&mut scratch);
            out[extents.tags + at] = fingerprint(&scratch);
        }
    }
    extents.put_offset(out, entries.len(), offset);
}

/// Writes what lies in the heap of an entry, and says how many bytes that are.
fn put_item(out: &mut [u8], extents: &Extents, suffix: KeyRef<'_>, entry: &Entry<'_>) -> usize {
    let value = entry.value;
    assert!(
        u16::try_from(suffix.len().max(value.len())).is_ok(),
        "an entry of {} and {} bytes doesn't fit a page",
        suffix.len(),
        value.len()
    );
    let mut at = 0;
    if extents.value_len.is_none() {
        put(out, 0, &item_head(entry.flags, value.len()));
        at += ITEM_HEAD_BYTES;
    }
    at += suffix.copy_to(&mut out[at..]);
    put(out, at, value);
    at + value.len()
}

/// What lies before the suffix of an item in a page that is not uniform.
pub(crate) fn item_head(flags: u8, value_len: usize) -> [u8; ITEM_HEAD_BYTES] {
    let [low, high] = (value_len as u16).to_le_bytes();
    [flags, low, high]
}
