//! The files of an open log, as others leave them: still in the directory, and as long as they
//! were.
//!
//! Nobody else is to touch them, and somebody does: a program that clears old files out of `/tmp`,
//! the repair of a file system. What was lost of a part is found by who reads it, and is the affair
//! of one page or value. The files themselves would be missed by the next opening only:
//!
//! - *A file that was cut short.* One that lies before the checkpoint is a segment that ends there
//!   (`Opening::live_segments`); if no live part of it is lost, nothing is. In one that streams
//!   write to an opening looks for frames, and whatever is too short there was never finished. So
//!   such a one gets its length again, before each commit is acknowledged and before each
//!   checkpoint; one that is prepared does before it is used, and none is used again that has not
//!   its length.
//! - *A file that was removed.* Who has it open reads it all the same, and what is live in it is
//!   saved if it is moved in time ([`Log::check_files`]). If streams write to it, or it is the
//!   superblock, nothing that is written from then on lasts: no commit is acknowledged, and the log
//!   fails. One that is prepared is not used.
//!
//! What an opening after a crash would read besides, [`Log::check_recovery`] reads as it would.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::error::Error;
use crate::io::File;
use crate::log::Log;
use crate::open_segment::{Segment, SegmentState};
use crate::segment::{HEADER_BYTES, file_name};
use crate::segments::Segments;

/// A file of an open log that is not as the log has left it.
#[derive(Debug)]
pub struct ChangedFile {
    /// The segment.
    pub segment: u32,
    /// Its file is not in the directory any more. The log still has it open, and what is live in it
    /// should be moved. Else it was cut short, or its header was damaged, and it has that again, if
    /// this log may write.
    pub is_removed: bool,
    /// What was found, with the name of the file.
    pub found: Error,
}

/// Whether the file of a segment still has its name, if that can be told.
pub(crate) fn has_file(segment: &Segment) -> bool {
    match segment.file.is_linked(&file_name(segment.id)) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(is_linked) => is_linked,
    }
}

impl Segments {
    /// An error if the directory was removed: no file can be made in it or lasts in it.
    pub(crate) fn check_linked(&self) -> Result<(), Error> {
        let path = self.disk.place();
        match self.disk.is_linked() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Removed { path }),
            Err(error) => Err(Error::of_attempt("look at", path, error)),
        }
    }

    /// An error if the file of a segment that is written to was removed. If somebody has cut it
    /// short, it gets its length again.
    pub(crate) fn check_file(&self, segment: &Segment) -> Result<(), Error> {
        match segment.file.is_linked(&file_name(segment.id)) {
            Ok(true) => self.lengthen(segment),
            Ok(false) => Err(Error::Removed { path: self.path(segment.id) }),
            Err(error) => Err(self.refused("look at", segment.id, error)),
        }
    }

    /// Gives the file of a segment its length again if somebody has cut it short: recovery, which
    /// may look for frames in it, would take it for one that was never finished. What was lost is
    /// found by who reads it.
    pub(crate) fn lengthen(&self, segment: &Segment) -> Result<(), Error> {
        let is_short = || Ok(segment.file.len()? < segment.size);
        let lengthened = is_short().and_then(|is_short| {
            if is_short {
                self.harmed().insert(segment.id);
                segment.file.allocate(segment.size)?;
            }
            Ok(())
        });
        lengthened.map_err(|error| self.refused("allocate", segment.id, error))
    }

    fn harmed(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.harmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments that are written to or have something live in them, in one order.
    fn in_use(&self) -> Vec<Arc<Segment>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let in_use = |s: &&Arc<Segment>| {
            s.state() == SegmentState::Active || s.live.load(Ordering::Relaxed) > 0
        };
        let mut all: Vec<_> = map.values().filter(in_use).map(Arc::clone).collect();
        all.sort_unstable_by_key(|segment| segment.id);
        all
    }
}

impl Log {
    /// Looks whether the files that have something live in them are still in the directory, and as
    /// long as they were; those that are too short get their length again, if this log may write.
    ///
    /// # Errors
    ///
    /// As the system says of the directory, or of a file that is not to be lengthened.
    pub fn check_files(&self) -> Result<Vec<ChangedFile>, Error> {
        let segments = &self.segments;
        let looked_at = segments.in_use();
        let names = segments.disk.list();
        let names = names.map_err(|e| Error::of_attempt("list", segments.disk.place(), e))?;
        let names: HashSet<String> = names.into_iter().collect();
        let mut changed = Vec::new();
        // First, without opening any: none is closed for another that nobody can open again.
        let is_removed = |segment: &Segment| {
            let is_linked = |file: &dyn File| file.is_linked(&file_name(segment.id));
            matches!(segment.file.if_open(is_linked), Some(Ok(false)))
        };
        let (there, gone): (Vec<_>, Vec<_>) = looked_at
            .into_iter()
            .partition(|segment| names.contains(&file_name(segment.id)) && !is_removed(segment));
        for segment in gone {
            segment.file.keep_open();
            let is_open = segment.file.if_open(|_| ()).is_some();
            // One that was given back meanwhile is none of the log's any more. Nor is every one a
            // reader's: what it counts as live may be dead, as a value that was replaced is, and
            // given back by who writes.
            let is_ours = !self.options.read_only && segments.get(segment.id).is_some();
            if is_ours && !is_open {
                // What lay there is missed by who reads it.
                segments.harmed().insert(segment.id);
            } else if is_ours {
                let found = Error::corrupt(segments.path(segment.id), 0, "the file was removed");
                changed.push(ChangedFile { segment: segment.id, is_removed: true, found });
            }
        }
        for segment in there {
            let (id, size) = (segment.id, segment.size);
            let mut mended = |at, what: String| {
                let found = Error::corrupt(segments.path(id), at, what);
                changed.push(ChangedFile { segment: id, is_removed: false, found });
            };
            let len = match segment.file.len() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                len => len.map_err(|error| segments.refused("measure", id, error))?,
            };
            if len < size {
                if !self.options.read_only {
                    // Who has the turn alone writes and syncs.
                    let _turn = self.appender();
                    segments.lengthen(&segment)?;
                    segments.sync_unused(&segment)?;
                }
                mended(len, format!("the file was cut short, from {size} bytes to {len}"));
            }
            if segment.state() == SegmentState::Active && !self.has_header(&segment)? {
                mended(0, "the segment's header was damaged".to_owned());
            }
        }
        Ok(changed)
    }

    /// The segments whose files were found cut short, and got their length again, or removed and
    /// not open, since this was asked last. What an opening would read may be lost: parts of pages,
    /// chunks, or frames behind the checkpoint ([`check_chunks`](Self::check_chunks),
    /// [`check_recovery`](Self::check_recovery)); the next checkpoint makes do without the frames.
    pub fn take_harmed(&self) -> BTreeSet<u32> {
        core::mem::take(&mut *self.segments.harmed())
    }

    /// The caller could not do what [`take_harmed`](Self::take_harmed) asks for.
    pub fn put_back_harmed(&self, segments: BTreeSet<u32>) {
        self.segments.harmed().extend(segments);
    }

    /// Whether a segment that is written to has the header that it was begun with; if not, and this
    /// log may write, it gets that again: an opening takes no frame in such a one.
    fn has_header(&self, segment: &Segment) -> Result<bool, Error> {
        let segments = &self.segments;
        let _turn = self.appender();
        if segment.state() != SegmentState::Active {
            return Ok(true);
        }
        let mut found = [0; HEADER_BYTES];
        let read = segment.file.read_at(&mut found, 0);
        let stream = segment.info(SegmentState::Active).stream;
        let header =
            segments.header(segment, stream, segment.first_sequence.load(Ordering::Relaxed));
        if read.is_ok() && found == header.encode() {
            return Ok(true);
        }
        if !self.options.read_only {
            segments.write_header(segment, header.stream, header.first_sequence)?;
            segments.sync_unused(segment)?;
        }
        Ok(false)
    }
}
