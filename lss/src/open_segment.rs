//! A segment of an open log: its file, what it is doing, and how much in it is live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::part::Stream;
use crate::pool::PooledFile;

/// What a segment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentState {
    /// A stream writes to it.
    Active,
    /// It is read and, when nothing in it is live, reclaimed.
    Sealed,
    /// Nothing in it is live, and a store that is open for reading may read it.
    Held,
    /// It is prepared for a stream to come.
    Free,
}

/// A segment as the cleaner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub id: u32,
    /// Whose it is; `None` if it is free, or if that is not known any more.
    pub stream: Option<Stream>,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes written to it, header included; of a segment from before the opening, all.
    pub written: u64,
    /// Bytes of live parts in it, their checksums and padding included.
    pub live: u64,
    /// What it is doing.
    pub state: SegmentState,
    /// No frame in it has a higher sequence; of a segment from before the opening, the last
    /// sequence that recovery took.
    pub last_sequence: u64,
}

/// A segment and its file. Who holds it can read it, whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    /// The version of the format that its frames are in.
    pub(crate) format: u32,
    pub(crate) file: Arc<PooledFile>,
    pub(crate) size: u64,
    pub(crate) stream: AtomicU8,
    pub(crate) state: AtomicU8,
    pub(crate) live: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) last_sequence: AtomicU64,
    /// The highest sequence of a frame in it that a rollback voided; 0 if there is none.
    pub(crate) voided: AtomicU64,
    /// Holds only frames that a rollback voided.
    pub(crate) abandoned: AtomicBool,
    /// Has no header of this store, and no part was ever live in it: it is left alone.
    pub(crate) stray: AtomicBool,
    /// Free and kept for a large part of the next commits: how many there had been, and one more.
    promised: AtomicU64,
    /// Was prepared by an earlier opening and holds no frame that recovery looks at.
    pub(crate) unused: AtomicBool,
    /// No frame in it has a lower sequence; 0 if that is not known.
    pub(crate) first_sequence: AtomicU64,
    /// The look for readers at which it was found dead; 0 if it was not.
    pub(crate) held: AtomicU64,
    /// Its length, header and entry may not be durable, and nothing that counts is in it: if it
    /// does not come to life, its file goes.
    unsettled: AtomicBool,
}

const STATE_ACTIVE: u8 = 0;
const STATE_SEALED: u8 = 1;
const NO_STREAM: u8 = 0xFF;

impl Segment {
    pub(crate) fn sealed(
        id: u32,
        file: Arc<PooledFile>,
        size: u64,
        stream: Option<Stream>,
        format: u32,
    ) -> Self {
        Self {
            id,
            format,
            file,
            size,
            stream: AtomicU8::new(stream.map_or(NO_STREAM, |s| s as u8)),
            state: AtomicU8::new(STATE_SEALED),
            live: AtomicU64::new(0),
            written: AtomicU64::new(size),
            last_sequence: AtomicU64::new(0),
            voided: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
            stray: AtomicBool::new(false),
            promised: AtomicU64::new(0),
            unused: AtomicBool::new(false),
            first_sequence: AtomicU64::new(0),
            held: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
        }
    }

    // ORDERING: the words of a segment are written under the appender's or the map's lock and are
    // read as estimates elsewhere; Relaxed is enough, the locks order what must be ordered.

    pub(crate) fn activate(&self) {
        self.unused.store(false, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        self.state.store(STATE_ACTIVE, Ordering::Relaxed);
    }

    pub(crate) fn seal(&self) {
        self.state.store(STATE_SEALED, Ordering::Relaxed);
    }

    /// Takes note that its file is new, or that a sync of it has failed.
    pub(crate) fn unsettle(&self) {
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// Takes note that length, header and entry are durable.
    pub(crate) fn settle(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        !self.unsettled.load(Ordering::Relaxed)
    }

    /// Takes note that frames up to this sequence were voided in it.
    pub(crate) fn void(&self, sequence: u64) {
        self.voided.fetch_max(sequence, Ordering::Relaxed);
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.seal();
    }

    /// Counts the file as none of this store until a part in it is live.
    pub(crate) fn leave_alone(&self) {
        self.stray.store(true, Ordering::Relaxed);
    }

    /// Keeps a free segment for the next commits, after so many.
    pub(crate) fn promise(&self, commits: u64) {
        self.promised.store(commits + 1, Ordering::Relaxed);
    }

    /// Whether it is kept for a commit to come: that of the part may be the next but one.
    pub(crate) fn is_promised(&self, commits: u64) -> bool {
        let promised = self.promised.load(Ordering::Relaxed);
        promised > 0 && commits <= promised
    }

    /// Keeps a dead segment for readers, as of this look if it is not kept already.
    pub(crate) fn hold(&self, look: u64) {
        // A failure says that it is held.
        let _held = self.held.compare_exchange(0, look, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) != 0
    }

    /// Marks a segment that an earlier opening has prepared and not used: it is settled by its use
    /// (`Segments::renew`).
    pub(crate) fn mark_unused(&self) {
        self.settle();
        self.unused.store(true, Ordering::Relaxed);
    }

    /// Whether it is known to have been in use.
    pub(crate) fn has_stream(&self) -> bool {
        self.stream.load(Ordering::Relaxed) != NO_STREAM
    }

    pub(crate) fn is_stray(&self) -> bool {
        self.stray.load(Ordering::Relaxed)
    }

    pub(crate) fn wrote(&self, end: u64, sequence: u64) {
        self.written.store(end, Ordering::Relaxed);
        self.last_sequence.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn info(&self, state: SegmentState) -> SegmentInfo {
        SegmentInfo {
            id: self.id,
            stream: Stream::from_byte(self.stream.load(Ordering::Relaxed)),
            size: self.size,
            written: self.written.load(Ordering::Relaxed),
            live: self.live.load(Ordering::Relaxed),
            state,
            last_sequence: self.last_sequence.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn state(&self) -> SegmentState {
        if self.state.load(Ordering::Relaxed) == STATE_ACTIVE {
            SegmentState::Active
        } else if self.is_held() {
            SegmentState::Held
        } else {
            SegmentState::Sealed
        }
    }

    /// Whether nothing needs it, with recovery starting behind `checkpoint`.
    pub(crate) fn is_dead(&self, checkpoint: u64) -> bool {
        self.state() != SegmentState::Active
            && self.live.load(Ordering::Relaxed) == 0
            && !self.is_stray()
            && (self.abandoned.load(Ordering::Relaxed)
                || self.last_sequence.load(Ordering::Relaxed) <= checkpoint)
    }
}
