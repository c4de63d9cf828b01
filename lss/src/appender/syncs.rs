//! The syncs of a group: what it has written is durable before its COMMIT is.
//!
//! A group may fill many segments, and a sync takes what it takes, however little there is to be
//! made durable. So segments are synced when some have come together, all at the same time if the
//! disk can do that, or before the COMMIT is written: until then no order among them is needed.

use core::iter::once_with;
use std::sync::Arc;

use super::{AppendState, Appender};
use crate::error::Error;
use crate::open_segment::Segment;
use crate::part::Stream;

/// So many segments, which their streams have left, are synced together at the most.
const MAX_TOGETHER: usize = 16;

/// Each keeps its descriptor until then, so they are no more than one in so many that may be open.
const OPEN_FILES_EACH: usize = 4;

impl AppendState {
    /// The segments that the streams write to, and those besides that the open group has filled.
    fn written_segments(&self) -> impl Iterator<Item = &Segment> {
        let is_open = |id| self.open_segments().any(|open| open.id == id);
        let left = self.opened.iter().map(|segment| &**segment);
        self.open_segments().chain(left.filter(move |segment| !is_open(segment.id)))
    }
}

impl Appender<'_> {
    /// Looks whether the superblock and the files that are written to still have their names.
    pub(crate) fn look_at_files(&self) -> impl Iterator<Item = Result<(), Error>> {
        let written = self.state.written_segments();
        let looks = written.map(|segment| self.log.segments.check_file(segment));
        once_with(|| self.log.superblock.check_linked()).chain(looks)
    }

    /// Puts the open segment of a stream on the list of those to be synced, if it has anything that
    /// is not durable.
    pub(super) fn leave(&mut self, stream: Stream) {
        let state = &mut *self.state;
        let open = &mut state.streams[stream.index()];
        if core::mem::take(&mut open.unsynced) {
            state.unsynced.extend(open.segment.clone());
        }
    }

    /// Whether as many have come together as are to be synced together.
    pub(super) fn has_left_many(&self) -> bool {
        let most = MAX_TOGETHER.min(self.log.options.max_open_files / OPEN_FILES_EACH);
        self.state.unsynced.len() >= most
    }

    /// Syncs the segments of that list.
    pub(super) fn sync_left(&mut self) -> Result<(), Error> {
        let left = core::mem::take(&mut self.state.unsynced);
        let segments = &self.log.segments;
        let mut refused = Ok(());
        for (segment, synced) in left.iter().zip(segments.sync_all(&left)) {
            let Err(error) = synced else { continue };
            if !self.state.has_opened(segment) {
                // It may have lost older bytes of the file too.
                let error = Error::io("sync", segments.path(segment.id), error);
                return Err(self.log.fail(error));
            }
            segment.unsettle();
            let error = segments.refused("sync", segment.id, error);
            segments.note_full(&error);
            refused = refused.and(Err(error));
        }
        refused.map_err(|error| self.refuse(error))
    }

    /// Makes the entries of the segments durable that the group has made.
    pub(super) fn sync_entries(&mut self) -> Result<(), Error> {
        let Some(made) = self.state.opened.iter().find(|segment| !segment.is_settled()) else {
            return Ok(());
        };
        let synced = self.log.segments.sync_entry(made.id);
        synced.inspect_err(|error| self.log.segments.note_full(error)).map_err(|e| self.refuse(e))
    }

    /// Syncs the open segment of the foreground stream, with the COMMIT of the group at this
    /// offset.
    pub(super) fn sync_commit(&mut self, commit: u32) -> Result<(), Error> {
        let open = &self.state.streams[Stream::Foreground.index()];
        let (true, Some(segment)) = (open.unsynced, open.segment.clone()) else { return Ok(()) };
        let segments = &self.log.segments;
        if !self.state.has_opened(&segment) {
            segments.sync(&segment).map_err(|error| self.log.fail(error))?;
        } else if let Err(error) = segments.sync_unused(&segment) {
            segment.unsettle();
            segments.note_full(&error);
            self.state.doubtful_commit = Some((Arc::clone(&segment), commit));
            return Err(self.refuse(error));
        }
        // What lies in a file that has no name any more, or without a superblock, is acknowledged
        // to nobody. A look that fails says nothing.
        let is_removal = |error: &Error| matches!(error, Error::Removed { .. });
        if let Some(error) = self.look_at_files().filter_map(Result::err).find(is_removal) {
            return Err(self.log.fail(error));
        }
        self.state.streams[Stream::Foreground.index()].unsynced = false;
        Ok(())
    }
}
