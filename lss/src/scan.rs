//! Finding frames in a segment file.
//!
//! Behind a bad frame the search goes on in steps of 64 bytes: a later frame may prove that the
//! bad one was durable, and then it is damage and not a torn tail. So may a link.

use std::io;
use std::sync::Arc;

use types::Pieces;

use crate::error::Error;
use crate::frame::{HEADER_BYTES, Header};
use crate::io::File;
use crate::link::Link;
use crate::part::{self, CHECKSUM_BYTES, Line, Seed};
use crate::pool::PooledFile;

/// Bytes read at once.
const WINDOW_BYTES: u64 = 256 << 10;

/// A file read front to back through a window.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<PooledFile>,
    path: String,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The first `len` bytes of a file that has at least as many.
    pub(crate) fn new(file: &Arc<PooledFile>, path: String, len: u64) -> Self {
        Self { file: Arc::clone(file), path, len, start: 0, bytes: Vec::new() }
    }

    /// `n` bytes from `offset`, or `None` if the file ends before.
    pub(crate) fn get(&mut self, offset: u64, n: u64) -> Result<Option<&[u8]>, Error> {
        let Some(end) = offset.checked_add(n).filter(|&end| end <= self.len) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let ahead = n.max(WINDOW_BYTES).min(self.len - offset);
            self.start = offset;
            self.bytes.resize(ahead as usize, 0);
            if let Err(error) = self.file.read_at(&mut self.bytes, offset) {
                self.bytes.clear();
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    return Ok(None);
                }
                return Err(Error::of_call("read", &self.path, error));
            }
        }
        let at = (offset - self.start) as usize;
        Ok(self.bytes.get(at..at + n as usize))
    }

    /// Whether the payload of a line is what the line says.
    pub(crate) fn holds(
        &mut self,
        (format, segment): (u32, u32),
        line: &Line,
    ) -> Result<bool, Error> {
        let mut rest = u64::from(line.len);
        let mut at = u64::from(line.offset);
        let seed = Seed::of(format, segment, line.offset);
        let mut sum = part::checksum(seed, line.page, line.kind, &[]);
        while rest > 0 {
            let step = rest.min(WINDOW_BYTES);
            let Some(piece) = self.get(at, step)? else {
                return Ok(false);
            };
            sum = crc32c::crc32c_append(sum, piece);
            at += step;
            rest -= step;
        }
        let stored = self.get(at, CHECKSUM_BYTES as u64)?;
        Ok(sum == line.checksum && stored == Some(&sum.to_le_bytes()))
    }
}

/// A frame whose header and directory are whole. What is in the directory is read again when it is
/// needed: behind a checkpoint there may be more of it than there is memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Found {
    /// The lines of its directory, or `None` if that is not what it says.
    pub(crate) fn lines(&self, window: &mut Window) -> Result<Option<Pieces<Line>>, Error> {
        let (payload_bytes, directory_bytes) =
            (u64::from(self.header.payload_bytes), u64::from(self.header.directory_bytes));
        let at = u64::from(self.offset) + HEADER_BYTES as u64 + payload_bytes;
        let directory = window.get(at, directory_bytes)?;
        Ok(directory.and_then(|directory| self.header.lines(self.offset, directory)))
    }
}

/// What a scan has found so far, over all segments.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) frames: Vec<Found>,
    /// Sequence, segment and offset of frames with a whole header and a bad directory.
    pub(crate) broken: Vec<(u64, u32, u64)>,
    /// Links, which are no frames.
    pub(crate) links: Vec<Link>,
    /// Everything up to this sequence was durable, some frame or link says.
    pub(crate) durable: u64,
}

/// Which frames count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) store: u64,
    pub(crate) generation: u64,
    /// Only frames behind this sequence.
    pub(crate) after: u64,
}

impl Scan {
    /// Adds the frames of one segment, from `offset` on.
    pub(crate) fn segment(
        &mut self,
        window: &mut Window,
        id: u32,
        offset: u64,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let mut at = offset.next_multiple_of(HEADER_BYTES as u64);
        while let Ok(place) = u32::try_from(at)
            && let Some(bytes) = window.get(at, HEADER_BYTES as u64)?
        {
            let header = Header::decode(bytes, wanted.store, place).filter(|header| {
                header.segment == id
                    && header.generation == wanted.generation
                    && header.sequence > wanted.after
            });
            let link = Link::decode(bytes, wanted.store, place).filter(|link| {
                link.segment == id
                    && link.generation == wanted.generation
                    && link.durable > wanted.after
            });
            let step = match header {
                Some(header) => self.frame(window, header, id, place)?,
                None => HEADER_BYTES as u64,
            };
            if let Some(link) = link {
                self.durable = self.durable.max(link.durable);
                self.links.push(link);
            }
            at += step;
        }
        Ok(())
    }

    /// Takes a frame whose header is whole; returns how far to go on.
    fn frame(
        &mut self,
        window: &mut Window,
        header: Header,
        id: u32,
        offset: u32,
    ) -> Result<u64, Error> {
        self.durable = self.durable.max(header.durable);
        let found = Found { header, segment: id, offset };
        if found.lines(window)?.is_none() {
            // It may be what a rollback left, half overwritten: what lies inside is looked at.
            self.broken.push((header.sequence, id, u64::from(offset)));
            return Ok(HEADER_BYTES as u64);
        }
        self.frames.push(found);
        Ok(header.frame_bytes())
    }
}
