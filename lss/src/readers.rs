//! What is held back for readers: stores that are open for reading only beside the one that writes.
//!
//! # The rule
//!
//! A reader has *registered* ([`Disk::register`](crate::io::Disk::register)) before it reads
//! anything, and ends up with a *view*: the state as of one commit, which it reads from the disk
//! for as long as it lives. What is in a segment changes only when the segment has died and is
//! given back. So each segment that has died is *held* first: it keeps its name and its bytes. Then
//! comes a *look* at who is registered, and what no living reader can need is let go.
//!
//! Looks are numbered. A reader needs a held segment unless one of these is true:
//!
//! 1. It was first seen by a later look than the one at which the segment was held.
//! 2. It has told the sequence of its view, and the segment was begun behind that.
//!
//! So a reader holds back at most what there was when its opening had ended, however much is
//! written while it lives, and nothing from when it is dead. While no reader is registered a look
//! is a list of the directory, taken when something has died; nothing is ever written for it.
//!
//! # Why a reader that was not seen needs nothing that is let go
//!
//! A segment dies when the last part in it is dead as of a commit that is in the files, and when
//! recovery starts behind it as of a superblock that is in its file. From then on a recovery from
//! the files finds its state without the segment: that is what makes a crash harmless (I8). The
//! rest is store buffering, with files in place of words:
//!
//! 1. The writer, W, writes commit or superblock, and holds the segment.
//! 2. W lists the readers.
//! 3. A reader, R, registers.
//! 4. R reads the superblock, then the frames behind it.
//!
//! If 2 does not find R, then 3 has come after the begin of 2, so 4 after 1: R recovers what was
//! written in 1, or something later. ORDERING: a `SeqCst` fence between 1 and 2 and one between 3
//! and 4, on top of what the calls of the system order among themselves. If 2 finds R, the segment
//! stays.
//!
//! Against the second part: a view is told when the opening has ended, and everything in it lies in
//! frames up to its sequence. Sequences go up for the whole life of a store, over generations too.
//!
//! # Who else changes bytes
//!
//! - A segment that is free was let go, or never held a frame that counts: no reader needs it.
//! - A link (`link.rs`) is written behind the last frame of a commit, where nothing is that a
//!   reader needs.
//! - An opening for writing finds dead segments and does not know since when. It holds them at its
//!   first look, which finds every reader that may need them. That look may be the one before it
//!   uses some at once ([`Segments::take_unused`]).
//! - A rollback voids frames of which no COMMIT was written, and no reader takes them. If it was
//!   the write of the COMMIT that failed, a reader may have seen it whole: then what was voided is
//!   left as it is, and the streams go on elsewhere (`Appender::rollback`).

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, HeldBack};
use crate::io::Reader;
use crate::open_segment::Segment;
use crate::segments::Segments;

/// The readers that the last look has found.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looks: u64,
    readers: HashMap<String, Seen>,
}

/// A reader, and the look that found it first.
#[derive(Debug)]
struct Seen {
    first: u64,
    process: u32,
    view: Option<u64>,
}

impl Seen {
    fn needs(&self, segment: &Segment) -> bool {
        self.first <= segment.held.load(Ordering::Relaxed) && self.may_read(segment)
    }

    /// Whether the segment was begun when its view was found.
    fn may_read(&self, segment: &Segment) -> bool {
        let begun = segment.first_sequence.load(Ordering::Relaxed);
        self.view.is_none_or(|view| begun <= view)
    }
}

impl Known {
    /// The number of the look that comes next; 0 is none.
    fn next(&self) -> u64 {
        self.looks + 1
    }

    fn take(&mut self, found: Vec<Reader>) {
        self.looks += 1;
        let mut before = std::mem::take(&mut self.readers);
        for Reader { name, process, view } in found {
            let first = before.remove(&name).map_or(self.looks, |seen| seen.first);
            self.readers.insert(name, Seen { first, process, view });
        }
    }
}

impl Readers {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segments {
    /// Looks who is registered; returns how many there are.
    pub(crate) fn look_for_readers(&self) -> Result<usize, Error> {
        let mut known = self.readers.known();
        self.look(&mut known)?;
        Ok(known.readers.len())
    }

    fn look(&self, known: &mut Known) -> Result<(), Error> {
        // ORDERING: store buffering with the fence of `enter` in `open.rs`.
        fence(Ordering::SeqCst);
        let found = self.disk.readers();
        let failed = |e| Error::of_attempt("list the readers of", self.disk.place(), e);
        known.take(found.map_err(failed)?);
        Ok(())
    }

    /// Whether one of the readers of the last look needs this segment, if it dies now.
    pub(crate) fn would_be_held(&self, segment: &Segment) -> bool {
        self.readers.known().readers.values().any(|reader| reader.may_read(segment))
    }

    /// How many readers there were at the last look.
    pub(crate) fn known_readers(&self) -> usize {
        self.readers.known().readers.len()
    }

    /// Holds these dead segments, looks, and says which of them no reader needs.
    pub(crate) fn let_go(&self, dead: &[&Segment]) -> Result<Vec<u32>, Error> {
        let mut known = self.readers.known();
        if dead.is_empty() && known.readers.is_empty() {
            return Ok(Vec::new());
        }
        let look = known.next();
        for segment in dead {
            segment.hold(look);
        }
        self.look(&mut known)?;
        let needed = |s: &Segment| known.readers.values().any(|reader| reader.needs(s));
        Ok(dead.iter().filter(|segment| !needed(segment)).map(|segment| segment.id).collect())
    }

    /// What readers hold back, as of the last look.
    pub(crate) fn held_back(&self) -> HeldBack {
        let bytes = self.held_bytes();
        let mut processes: Vec<u32> =
            self.readers.known().readers.values().map(|reader| reader.process).collect();
        processes.sort_unstable();
        processes.dedup();
        HeldBack { bytes, processes }
    }

    /// Bytes of the segments that are held.
    pub(crate) fn held_bytes(&self) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.values().filter(|segment| segment.is_held()).map(|segment| segment.size).sum()
    }
}
