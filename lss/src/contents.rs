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
use crate::part::{self, FIRST_RESERVED_KIND, Stream};
use crate::recovered::{RecoveredFrame, RecoveredPart};
use crate::scan::{Found, WINDOW_BYTES};
use crate::segment;

/// Frames are small of which so many fit what is read at once.
const SMALL_FRAMES: u64 = 4;

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

    /// Reads the frames that an opening has found. For the opening, before anything is written.
    pub fn frame_reader(&self) -> FrameReader<'_> {
        FrameReader { log: self, ahead: Default::default() }
    }
}

/// Reads the parts in frames, in their order: what is needed of all that lies behind a checkpoint
/// is in memory a frame at a time. Of small frames many are read at once.
#[derive(Debug)]
pub struct FrameReader<'a> {
    log: &'a Log,
    /// Of each stream.
    ahead: [Option<Ahead>; 2],
}

/// Some bytes of a segment, from a position on.
#[derive(Debug)]
struct Ahead {
    segment: Arc<Segment>,
    start: u64,
    bytes: Vec<u8>,
}

impl FrameReader<'_> {
    /// The parts in a frame that are not the log's own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]: it is not there any more. [`Error::Io`], [`Error::Refused`]: see
    /// [`Contents::next_frame`].
    pub fn parts(
        &mut self,
        frame: &RecoveredFrame,
    ) -> Result<impl Iterator<Item = RecoveredPart> + use<>, Error> {
        let RecoveredFrame { found, version } = *frame;
        let lines = match self.directory(&found)? {
            Some(directory) => found.header.lines(found.offset, directory),
            None => None,
        };
        let lines = lines.ok_or_else(|| {
            let what = "the frame was there, and is not";
            Error::corrupt(self.log.segments.path(found.segment), found.offset.into(), what)
        })?;
        let of_pages = lines.into_iter().filter(|line| line.kind < FIRST_RESERVED_KIND);
        let part = move |line: part::Line| RecoveredPart {
            page: line.page,
            kind: line.kind,
            tag: line.tag,
            refs: line.refs,
            address: Address { segment: found.segment, offset: line.offset, len: line.len },
            version,
            sequence: found.header.sequence,
        };
        Ok(of_pages.map(part))
    }

    fn directory(&mut self, found: &Found) -> Result<Option<&[u8]>, Error> {
        let ahead = &mut self.ahead[usize::from(found.header.stream == Stream::Background)];
        let (from, len) = (found.directory(), u64::from(found.header.directory_bytes));
        let has = |ahead: &Ahead| {
            let end = ahead.start + ahead.bytes.len() as u64;
            ahead.segment.id == found.segment && ahead.start <= from && from + len <= end
        };
        let is_there = ahead.as_ref().is_some_and(has);
        if !is_there {
            let Some(segment) = self.log.segments.get(found.segment) else { return Ok(None) };
            // Behind a large frame its directory is a small part of what would be read.
            let many = found.header.frame_bytes() < WINDOW_BYTES / SMALL_FRAMES;
            let wanted = if many { len.max(WINDOW_BYTES) } else { len };
            let wanted = wanted.min(segment.size.saturating_sub(from)).max(len);
            let Some(bytes) = bytes(self.log, &segment, from, wanted)? else { return Ok(None) };
            *ahead = Some(Ahead { segment, start: from, bytes });
        }
        Ok(ahead.as_ref().and_then(|ahead| {
            let at = (from - ahead.start) as usize;
            ahead.bytes.get(at..at + len as usize)
        }))
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
            let Some(found) = bytes(self.log, &self.segment, self.at, HEADER_BYTES as u64)? else {
                return Ok(None);
            };
            let store = self.log.segments.store;
            let header = Header::decode(&found, store, offset);
            if header.is_none() && Link::decode(&found, store, offset).is_some() {
                self.at += LINK_BYTES;
                continue;
            }
            let Some(header) = header.filter(|header| header.segment == self.segment.id) else {
                return Ok(None);
            };
            let directory = self.at + HEADER_BYTES as u64 + u64::from(header.payload_bytes);
            self.at += header.frame_bytes();
            let len = u64::from(header.directory_bytes);
            let lines = bytes(self.log, &self.segment, directory, len)?
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
}

/// These bytes of the file, or `None` if it has not as many.
fn bytes(log: &Log, segment: &Segment, at: u64, len: u64) -> Result<Option<Vec<u8>>, Error> {
    if at.checked_add(len).is_none_or(|end| end > segment.size) {
        return Ok(None);
    }
    let mut bytes = vec![0; len as usize];
    match segment.file.read_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        // It was given back meanwhile, and there is nothing in it.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && log.segments.get(segment.id).is_none() =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::of_call("read", log.segments.path(segment.id), error)),
    }
}
