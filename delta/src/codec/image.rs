//! Images: a whole page.

use types::PageId;
use types::limits::MAX_KEY_BYTES;

use super::VERSION;
use super::error::DecodeError;
use super::key_len;
use super::reader::{Reader, error};
use crate::entry::{Entry, KNOWN_FLAGS, Layout, Shape};
use crate::inner::child_of;
use crate::key::KeyRef;

const HEADER_BYTES: usize = 20;
const VAR_HEADER_BYTES: usize = 7;
const PAIR_BYTES: usize = 16;

const LAYOUT_FIXED8: u8 = 1;
const LAYOUT_VAR: u8 = 2;

const HAS_HIGH: u8 = 1;

/// No tree is higher: 2^32 pages, each with two children or more, make half as many levels.
const MAX_LEVEL: u8 = 64;

/// A decoded image: everything in it has been checked, so a base page can be written from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image<'a> {
    layout: Layout,
    level: u8,
    low: &'a [u8],
    high: Option<&'a [u8]>,
    right: PageId,
    absorbed: Vec<PageId>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Image<'a> {
    /// What the page is besides its entries. No child is being merged away.
    #[must_use]
    pub fn shape(&self) -> Shape<'_> {
        Shape {
            layout: self.layout,
            level: self.level,
            low: self.low,
            high: self.high,
            right: self.right,
            merging: PageId::NONE,
            absorbed: &self.absorbed,
        }
    }

    /// The entries, in strictly ascending order of their keys.
    #[must_use]
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The entries, to put handles in the place of what stands for separated values in the log.
    /// The keys must stay as they are.
    #[must_use]
    pub fn entries_mut(&mut self) -> &mut [Entry<'a>] {
        &mut self.entries
    }
}

/// Exact bytes of the image with this shape and these entries.
#[must_use]
pub fn image_bytes(shape: &Shape<'_>, entries: &[Entry<'_>]) -> usize {
    let fences = shape.low.len() + shape.high.map_or(0, <[u8]>::len);
    let fixed = HEADER_BYTES + 4 * shape.absorbed.len() + fences;
    fixed
        + match shape.layout {
            Layout::Fixed8 => PAIR_BYTES * entries.len(),
            Layout::Var => {
                let prefix_len = shape.prefix().len();
                let implied = usize::from(shape.level > 0);
                let keys: usize =
                    entries.iter().skip(implied).map(|e| e.key.len() - prefix_len).sum();
                let values: usize = entries.iter().map(|e| e.value.len()).sum();
                VAR_HEADER_BYTES * entries.len() + keys + values
            }
        }
}

/// Appends the image with this shape and these entries, which are as
/// [`write_base`](crate::write_base) wants them. The value of an entry with
/// [`FLAG_SEPARATED`](crate::FLAG_SEPARATED) is what shall stand in the log for it.
///
/// # Panics
/// If the sizes of an entry don't fit its layout, or a key is too long.
pub fn encode_image(shape: &Shape<'_>, entries: &[Entry<'_>], out: &mut Vec<u8>) {
    out.reserve(image_bytes(shape, entries));
    let layout = match shape.layout {
        Layout::Fixed8 => LAYOUT_FIXED8,
        Layout::Var => LAYOUT_VAR,
    };
    let flags = if shape.high.is_some() { HAS_HIGH } else { 0 };
    let high = shape.high.unwrap_or_default();
    out.extend_from_slice(&[VERSION, shape.level, layout, flags]);
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&shape.right.number().to_le_bytes());
    out.extend_from_slice(&(shape.absorbed.len() as u32).to_le_bytes());
    out.extend_from_slice(&key_len(shape.low.len()));
    out.extend_from_slice(&key_len(high.len()));
    for id in shape.absorbed {
        out.extend_from_slice(&id.number().to_le_bytes());
    }
    out.extend_from_slice(shape.low);
    out.extend_from_slice(high);
    let prefix_len = shape.prefix().len();
    for (at, entry) in entries.iter().enumerate() {
        let implied = at == 0 && shape.level > 0;
        match shape.layout {
            Layout::Fixed8 => encode_pair(entry, implied, out),
            Layout::Var => {
                let suffix = if implied { KeyRef::default() } else { entry.key.skip(prefix_len) };
                out.push(entry.flags);
                out.extend_from_slice(&key_len(suffix.len()));
                out.extend_from_slice(&(entry.value.len() as u32).to_le_bytes());
                suffix.extend_into(out);
                out.extend_from_slice(entry.value);
            }
        }
    }
}

fn encode_pair(entry: &Entry<'_>, implied: bool, out: &mut Vec<u8>) {
    if implied {
        out.extend_from_slice(&[0; 8]);
    } else {
        assert_eq!(entry.key.len(), 8, "bytes of a key in Fixed8");
        entry.key.extend_into(out);
    }
    assert_eq!(entry.value.len(), 8, "bytes of a value in Fixed8");
    out.extend_from_slice(entry.value);
}

/// The image in these bytes.
///
/// # Errors
/// If they are not exactly one image, or its page could not be.
pub fn decode_image(bytes: &[u8]) -> Result<Image<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut image, count) = decode_shape(&mut reader)?;
    let least = match image.layout {
        Layout::Fixed8 => PAIR_BYTES,
        Layout::Var => VAR_HEADER_BYTES,
    };
    if count > reader.left() / least {
        return Err(error("more entries than bytes", 4));
    }
    if count == 0 && image.level > 0 {
        return Err(error("an inner page without children", 4));
    }
    let (low, high) = (image.low, image.high);
    let shape = Shape { level: image.level, low, high, ..Shape::whole(image.layout) };
    let prefix = shape.prefix();
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(count);
    for index in 0..count {
        let at = reader.at();
        let implied = index == 0 && shape.level > 0;
        let mut entry = match shape.layout {
            Layout::Fixed8 => decode_pair(&mut reader, implied)?,
            Layout::Var => decode_var(&mut reader, prefix)?,
        };
        if implied {
            if shape.layout == Layout::Var && entry.key.len() != prefix.len() {
                return Err(error("the key of the first child is not the low key", at));
            }
            entry.key = KeyRef::from(low);
        } else {
            if entry.key < low || high.is_some_and(|high| entry.key >= high) {
                return Err(error("a key outside the fences", at));
            }
            if entries.last().is_some_and(|last| last.key >= entry.key) {
                return Err(error("keys not in ascending order", at));
            }
        }
        if shape.level > 0 && (entry.flags != 0 || child_of(shape.layout, entry.value).is_none()) {
            return Err(error("a child that is no page", at));
        }
        entries.push(entry);
    }
    reader.end()?;
    image.entries = entries;
    Ok(image)
}

/// The image without its entries, and how many there shall be.
fn decode_shape<'a>(reader: &mut Reader<'a>) -> Result<(Image<'a>, usize), DecodeError> {
    if reader.u8()? != VERSION {
        return Err(error("unknown version of an image", 0));
    }
    let level = reader.u8()?;
    if level > MAX_LEVEL {
        return Err(error("a level that no tree has", 1));
    }
    let layout = match reader.u8()? {
        LAYOUT_FIXED8 => Layout::Fixed8,
        LAYOUT_VAR => Layout::Var,
        _ => return Err(error("unknown layout", 2)),
    };
    let flags = reader.u8()?;
    if flags & !HAS_HIGH != 0 {
        return Err(error("unknown flags of an image", 3));
    }
    let has_high = flags & HAS_HIGH != 0;
    let count = reader.u32()? as usize;
    let right = PageId::new(reader.u32()?);
    let absorbed_count = reader.u32()? as usize;
    if absorbed_count > u16::MAX as usize || absorbed_count > reader.left() / 4 {
        return Err(error("more absorbed pages than bytes", 12));
    }
    let low_len = reader.u16()? as usize;
    let high_len = reader.u16()? as usize;
    if low_len > MAX_KEY_BYTES || high_len > MAX_KEY_BYTES {
        return Err(error("a fence that is too long", 16));
    }
    if !has_high && high_len != 0 {
        return Err(error("a high key where there is none", 18));
    }
    if layout == Layout::Fixed8 && (!matches!(low_len, 0 | 8) || has_high && high_len != 8) {
        return Err(error("a fence that is not eight bytes long", 16));
    }
    let mut absorbed = Vec::with_capacity(absorbed_count);
    for _ in 0..absorbed_count {
        let at = reader.at();
        let id = PageId::new(reader.u32()?);
        if id.is_none() {
            return Err(error("absorbed names no page", at));
        }
        absorbed.push(id);
    }
    let fences_at = reader.at();
    let low = reader.bytes(low_len)?;
    let high = reader.bytes(high_len)?;
    let high = has_high.then_some(high);
    if high.is_some_and(|high| low >= high) {
        return Err(error("the low key is not below the high key", fences_at));
    }
    let image = Image { layout, level, low, high, right, absorbed, entries: Vec::new() };
    Ok((image, count))
}

fn decode_pair<'a>(reader: &mut Reader<'a>, implied: bool) -> Result<Entry<'a>, DecodeError> {
    let at = reader.at();
    let key = reader.bytes(8)?;
    if implied && key != [0; 8] {
        return Err(error("the key of the first child is not the low key", at));
    }
    Ok(Entry::new(key, reader.bytes(8)?))
}

fn decode_var<'a>(reader: &mut Reader<'a>, prefix: &'a [u8]) -> Result<Entry<'a>, DecodeError> {
    let at = reader.at();
    let flags = reader.u8()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(error("unknown flags of an entry", at));
    }
    let suffix_len = reader.u16()? as usize;
    if prefix.len() + suffix_len > MAX_KEY_BYTES {
        return Err(error("a key that is too long", at + 1));
    }
    let value_len = reader.u32()? as usize;
    if value_len > u16::MAX as usize {
        return Err(error("a value that is too long for a page", at + 3));
    }
    let suffix = reader.bytes(suffix_len)?;
    Ok(Entry { key: KeyRef::new(prefix, suffix), value: reader.bytes(value_len)?, flags })
}
