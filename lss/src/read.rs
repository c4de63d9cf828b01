//! Reading one part: exactly its bytes, compared with its checksum.

use bytes::Bytes;
use types::{Address, PageId};

use crate::error::Error;
use crate::io::File;
use crate::open_segment::Segment;
use crate::part::{self, CHECKSUM_BYTES, Seed};
use crate::segments::Segments;

/// Reads a part from its segment and checks it.
pub(crate) fn read_part(
    segments: &Segments,
    segment: &Segment,
    address: Address,
    page: PageId,
    kinds: &[u8],
) -> Result<Bytes, Error> {
    whole(address, |to| read_part_into(segments, segment, address, (page, kinds), to))
}

/// A part that is read into memory of its own.
pub(crate) fn whole(
    address: Address,
    read: impl FnOnce((&mut Vec<u8>, usize)) -> Result<(), Error>,
) -> Result<Bytes, Error> {
    let mut payload = Vec::new();
    read((&mut payload, 0))?;
    payload.truncate(address.len as usize);
    Ok(Bytes::from(payload))
}

/// The same, to this place in a buffer.
pub(crate) fn read_part_into(
    segments: &Segments,
    segment: &Segment,
    address: Address,
    (page, kinds): (PageId, &[u8]),
    (buffer, at): (&mut Vec<u8>, usize),
) -> Result<(), Error> {
    let offset = u64::from(address.offset);
    let wrong = |what: &str| Error::corrupt(segments.path(segment.id), offset, what);
    let end = at + address.len as usize + CHECKSUM_BYTES;
    // Looked at before any memory is taken for it (R10).
    if part::end(address) > segment.size {
        return Err(wrong("a part reaches beyond the end of its segment"));
    }
    if buffer.capacity() == 0 {
        // Much of it comes zeroed from the system, if it is asked for like this.
        *buffer = vec![0; end];
    } else if buffer.len() < end {
        buffer.resize(end, 0);
    }
    let read = &mut buffer[at..end];
    segment.file.read_at(read, offset).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound && segments.get(segment.id).is_none() {
            // It was removed since the segment was found, and had not been open.
            Error::Gone { address }
        } else if e.kind() == std::io::ErrorKind::UnexpectedEof {
            wrong("the file ends inside a part")
        } else {
            Error::of_call("read", segments.path(segment.id), e)
        }
    })?;
    let (payload, stored) = read.split_at(address.len as usize);
    let seed = Seed::of(segment.format, segment.id, address.offset);
    let is_of = |kind| stored == part::checksum(seed, page, kind, payload).to_le_bytes();
    if !kinds.iter().copied().any(is_of) {
        let kind = kinds[0];
        return Err(wrong(&format!(
            "the checksum of the part of page {page}, kind {kind}, is wrong"
        )));
    }
    Ok(())
}
