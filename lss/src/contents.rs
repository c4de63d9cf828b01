//! What lies in a segment, told by the directories of its frames: so who empties the segment need
//! not look at the whole table for it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use types::{Address, PageId, Pieces};

use crate::chunks::Chunk;
use crate::error::Error;
use crate::frame::{HEADER_BYTES, Header};
use crate::io::File;
use crate::link::{LINK_BYTES, Link};
use crate::log::Log;
use crate::open_segment::Segment;
use crate::part::{self, FIRST_RESERVED_KIND};
use crate::segment;

/// A walk over the frames of a segment, front to back. Costs two small reads a frame.
///
/// It may name parts that are dead, or that a rollback has voided; and it does not get past a
/// frame whose header is damaged. A caller that must find all that is live compares what it has
/// found with [`live_bytes`](Self::live_bytes).
#[derive(Debug)]
pub struct Contents<'a> {
    log: &'a Log,
    segment: Arc<Segment>,
    /// Where the next frame starts.
    at: u64,
}

impl Log {
    /// A walk over the parts in a segment; `None` if it was given back.
    ///
    /// While the walk is there, the file of the segment is not used again.
    pub fn contents(&self, segment: u32) -> Option<Contents<'_>> {
        let segment = self.segments.get(segment)?;
        Some(Contents { log: self, segment, at: segment::HEADER_BYTES as u64 })
    }
}

impl Contents<'_> {
    /// Live bytes of the segment that are the caller's: all but chunks of the table, and the list
    /// of them.
    pub fn live_bytes(&self) -> u64 {
        let chunks = self.log.chunks();
        let directory = self.log.durable.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = chunks.values().flat_map(Chunk::places);
        let own = parts.chain(directory.places()).filter(|a| a.segment == self.segment.id);
        let own: u64 = own.map(part::live_bytes).sum();
        self.segment.live.load(Ordering::Relaxed).saturating_sub(own)
    }

    /// The parts of the next frame that are not the log's own, or `None` behind the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: the system refused to read; [`Error::Refused`]: it did for now.
    pub fn next_frame(&mut self) -> Result<Option<Pieces<(PageId, Address)>>, Error> {
        loop {
            let Ok(offset) = u32::try_from(self.at) else { return Ok(None) };
            let Some(bytes) = self.bytes(self.at, HEADER_BYTES as u64)? else { return Ok(None) };
            let store = self.log.segments.store;
            let header = Header::decode(&bytes, store, offset);
            if header.is_none() && Link::decode(&bytes, store, offset).is_some() {
                self.at += LINK_BYTES;
                continue;
            }
            let Some(header) = header.filter(|header| header.segment == self.segment.id) else {
                return Ok(None);
            };
            let directory = self.at + HEADER_BYTES as u64 + u64::from(header.payload_bytes);
            self.at += header.frame_bytes();
            let lines = self
                .bytes(directory, u64::from(header.directory_bytes))?
                .and_then(|bytes| header.lines(offset, &bytes));
            // A damaged directory names nothing.
            let Some(lines) = lines else { continue };
            let of_pages = lines.into_iter().filter(|line| line.kind < FIRST_RESERVED_KIND);
            let address = |line: part::Line| Address {
                segment: self.segment.id,
                offset: line.offset,
                len: line.len,
            };
            return Ok(Some(of_pages.map(|line| (line.page, address(line))).collect()));
        }
    }

    /// These bytes of the file, or `None` if it has not as many.
    fn bytes(&self, at: u64, len: u64) -> Result<Option<Vec<u8>>, Error> {
        if at.checked_add(len).is_none_or(|end| end > self.segment.size) {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        match self.segment.file.read_at(&mut bytes, at) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            // It was given back meanwhile, and there is nothing in it.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.log.segments.get(self.segment.id).is_none() =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(Error::of_call("read", self.log.segments.path(self.segment.id), error))
            }
        }
    }
}
