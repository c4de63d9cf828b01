//! What an opening gives to the caller.

use types::{Address, PageId};

use crate::error::Error;
use crate::log::Log;
use crate::part::{FIRST_RESERVED_KIND, Line};
use crate::scan::{Found, Window};

/// What an opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The version of the last whole commit; 0 for a new store.
    pub version: u64,
    /// The caller's data of the last checkpoint.
    pub meta: Vec<u8>,
    /// The chunks of the last checkpoint, by index, which
    /// [`Log::chunk_parts`](crate::Log::chunk_parts) reads.
    pub chunks: Vec<RecoveredChunk>,
    /// The frames of the parts committed since, which
    /// [`FrameReader`](crate::FrameReader) reads, in the order in which they were
    /// appended to each stream and committed.
    pub frames: Vec<RecoveredFrame>,
}

/// A chunk of the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredChunk {
    /// Its index.
    pub index: u32,
    /// It has everything in it that lies in frames up to this sequence. Parts among
    /// those of [`Recovered::frames`] that are not newer are in it already.
    pub as_of: u64,
}

/// A frame that was committed after the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredFrame {
    pub(crate) found: Found,
    /// The version of the commit that holds it.
    pub(crate) version: u64,
}

/// A part that was committed after the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredPart {
    /// The page it belongs to.
    pub page: PageId,
    /// Its kind.
    pub kind: u8,
    /// The caller's word.
    pub tag: u64,
    /// The caller's references.
    pub refs: Vec<Address>,
    /// Where its payload lies.
    pub address: Address,
    /// The version of the commit that holds it.
    pub version: u64,
    /// The sequence of the frame that holds it.
    pub sequence: u64,
}

/// Reads the parts in the frames that an opening has found, in their order, before anything is
/// written. What is needed of all that lies behind a checkpoint is in memory a frame at a time; of
/// small frames many are read at once.
#[derive(Debug)]
pub struct FrameReader<'a> {
    log: &'a Log,
    /// Of each stream, the segment that it was in last.
    windows: [Option<(u32, Window)>; 2],
}

impl Log {
    /// A reader of the frames of [`Recovered::frames`].
    pub fn frame_reader(&self) -> FrameReader<'_> {
        FrameReader { log: self, windows: [None, None] }
    }
}

impl FrameReader<'_> {
    /// The parts in a frame that are not the log's own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]: it is not there any more. [`Error::Io`]: the system refused to read;
    /// [`Error::Refused`]: it did for now.
    pub fn parts(
        &mut self,
        frame: &RecoveredFrame,
    ) -> Result<impl Iterator<Item = RecoveredPart> + use<>, Error> {
        let RecoveredFrame { found, version } = *frame;
        let lines = self.window(&found).map_or(Ok(None), |window| found.lines(window))?;
        let lines = lines.ok_or_else(|| {
            let what = "the frame was there, and is not";
            Error::corrupt(self.log.segments.path(found.segment), found.offset.into(), what)
        })?;
        let of_pages = lines.into_iter().filter(|line| line.kind < FIRST_RESERVED_KIND);
        Ok(of_pages.map(move |line: Line| RecoveredPart {
            page: line.page,
            kind: line.kind,
            tag: line.tag,
            refs: line.refs,
            address: Address { segment: found.segment, offset: line.offset, len: line.len },
            version,
            sequence: found.header.sequence,
        }))
    }

    /// The segment of a frame; `None` if it is not there.
    fn window(&mut self, found: &Found) -> Option<&mut Window> {
        let window = &mut self.windows[found.header.stream.index()];
        if window.as_ref().is_none_or(|(segment, _)| *segment != found.segment) {
            let segments = &self.log.segments;
            let segment = segments.get(found.segment);
            *window = segment.map(|segment| {
                let path = segments.path(found.segment);
                (found.segment, Window::new(&segment.file, path, segment.size))
            });
        }
        window.as_mut().map(|(_, window)| window)
    }
}
