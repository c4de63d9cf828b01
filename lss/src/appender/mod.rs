//! The one appender: parts into frames, frames into segments, groups of frames into commits.
//!
//! # A commit
//!
//! 1. The background frame is written, and what is not durable yet of its file and of the segments
//!    that the streams have left is synced, all of them together (`appender/syncs.rs`).
//! 2. If the group has made segments, the directory is synced, once for all (`segments.rs`).
//! 3. The foreground frame is written as COMMIT, with or without parts.
//! 4. The foreground file is synced. Only then is the group durable.
//! 5. If the group has opened segments, a link says so outside of them (`link.rs`).
//!
//! So on the common path there is one sync, and a COMMIT never names what is not durable. A sync of
//! a segment that the group has opened ends the group if it fails, and nothing else: nothing that
//! was acknowledged is in there.
//!
//! # A rollback
//!
//! Positions and sequence go back to the last COMMIT and the *attempt* in all later frames is one
//! higher. What the voided frames leave on disk can't join a later group: recovery takes a group
//! only if all its frames carry the same attempt, and never a lower one after a higher. A voided
//! group has no COMMIT of its own: if writing it failed halfway, or its sync in a segment of the
//! group's own, its header is wiped and synced before the rollback returns.

mod syncs;

use core::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use types::{Address, PageId};

use crate::error::Error;
use crate::frame::{self, FrameBuffer, Header, SEQUENCE_LIMIT};
use crate::io::File;
use crate::link::{LINK_BYTES, Link, ROOM_FOR_LINKS};
use crate::log::Log;
use crate::open_segment::Segment;
use crate::options::Options;
use crate::part::{self, FIRST_RESERVED_KIND, MAX_PART_BYTES, MAX_REFS, Stream};
use crate::recovery::Place;
use crate::reserve::Claim;
use crate::segment;
use crate::superblock::Position;
use crate::turn::Turn;

/// The right to append, alone, until it is dropped.
#[derive(Debug)]
pub struct Appender<'a> {
    pub(crate) log: &'a Log,
    pub(crate) state: Turn<'a, AppendState>,
}

/// A stream: its open segment and its open frame.
#[derive(Debug)]
struct StreamState {
    segment: Option<Arc<Segment>>,
    /// Where the open frame starts.
    offset: u32,
    buffer: FrameBuffer,
    /// Whether the open segment has bytes that are not known to be durable.
    unsynced: bool,
}

impl StreamState {
    /// Bytes that still fit in the open segment, with links behind them.
    fn room(&self) -> u64 {
        let end = u64::from(self.offset) + ROOM_FOR_LINKS;
        self.segment.as_ref().map_or(0, |segment| segment.size.saturating_sub(end))
    }
}

/// The streams' places just behind a COMMIT.
#[derive(Debug, Default)]
struct Mark {
    sequence: u64,
    places: [(Option<Arc<Segment>>, u32); 2],
}

/// What only the appender touches.
#[derive(Debug)]
pub(crate) struct AppendState {
    streams: [StreamState; 2],
    /// Segments that the streams have left since the last COMMIT, and that are still to be synced.
    unsynced: Vec<Arc<Segment>>,
    next_sequence: u64,
    pub(crate) attempt: u32,
    /// Parts of checkpoints whose superblock was not written for lack of room. A superblock that is
    /// half on disk may still name them: they are dead when the next one is durable.
    pub(crate) unnamed: Vec<Address>,
    /// Where a rollback goes back to.
    committed: Mark,
    /// Everything up to this sequence is durable and counts: until the first superblock of an
    /// opening is durable, that is what recovery had found (`older.rs`).
    pub(crate) durable: u64,
    /// Parts appended since the last COMMIT.
    fresh: Vec<Address>,
    /// Bytes that the group will have by estimate, beyond what it has.
    expected: u64,
    /// Segments opened since the last COMMIT.
    opened: Vec<Arc<Segment>>,
    /// The home of the next link, if the foreground stream has left it, and where in it.
    left: Option<(Arc<Segment>, u32)>,
    /// What free segments are wanted for.
    pub(crate) claim: Claim,
    /// What has stopped the group: only a rollback goes on from here.
    stopped: Option<Error>,
    /// A COMMIT whose writing or sync failed: it may be whole on disk.
    doubtful_commit: Option<(Arc<Segment>, u32)>,
    /// Frames that recovery took without proof that they are durable.
    pub(crate) unproven: Vec<Place>,
    /// Files of an opening that never came to life.
    pub(crate) orphans: Vec<String>,
}

impl AppendState {
    /// The state after a recovery that ended with `sequence`.
    pub(crate) fn new(
        options: &Options,
        sequence: u64,
        unproven: Vec<Place>,
        orphans: Vec<String>,
    ) -> Self {
        let stream = || StreamState {
            segment: None,
            offset: 0,
            buffer: FrameBuffer::new(options.frame_bytes as usize),
            unsynced: false,
        };
        Self {
            streams: [stream(), stream()],
            unsynced: Vec::new(),
            next_sequence: sequence + 1,
            attempt: 0,
            unnamed: Vec::new(),
            committed: Mark { sequence, places: Default::default() },
            durable: sequence,
            fresh: Vec::new(),
            expected: 0,
            opened: Vec::new(),
            left: None,
            claim: Claim::Commit,
            stopped: None,
            doubtful_commit: None,
            unproven,
            orphans,
        }
    }

    /// Whether anything was appended since the last COMMIT.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.fresh.is_empty() || self.next_sequence != self.committed.sequence + 1
    }

    /// The last COMMIT.
    pub(crate) fn committed_sequence(&self) -> u64 {
        self.committed.sequence
    }

    /// Whether a segment was opened since the last COMMIT.
    fn has_opened(&self, segment: &Segment) -> bool {
        self.opened.iter().any(|opened| opened.id == segment.id)
    }

    /// The segments that the streams write to.
    pub(crate) fn open_segments(&self) -> impl Iterator<Item = &Segment> {
        self.streams.iter().filter_map(|stream| stream.segment.as_deref())
    }

    /// Whether this stream writes to this segment.
    pub(crate) fn is_open_segment(&self, stream: Stream, segment: u32) -> bool {
        let open = &self.streams[stream.index()].segment;
        open.as_ref().is_some_and(|open| open.id == segment)
    }

    /// Where the streams go on.
    pub(crate) fn positions(&self) -> [Position; 2] {
        [0, 1].map(|index| {
            let stream: &StreamState = &self.streams[index];
            stream.segment.as_ref().map_or_else(Position::default, |s| Position {
                segment: s.id,
                offset: stream.offset,
            })
        })
    }
}

impl Appender<'_> {
    /// Tells how many bytes the open group will have, by estimate: segments are sized for that.
    pub fn expect(&mut self, bytes: u64) {
        self.state.expected = bytes;
    }

    /// Appends a part and says where it will lie. It can be read when it is committed.
    ///
    /// `tag` and `refs` mean nothing to the log; recovery gives them back.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: the next segment can't be had;
    /// the group can only be rolled back.
    /// [`Error::Misuse`]: a reserved kind, or [`Appender::begin`] was not called.
    /// [`Error::TooLarge`]: more than [`MAX_PART_BYTES`] or [`MAX_REFS`]; nothing was appended.
    /// A failed write of what was appended poisons the log, and so does a failed sync of a segment
    /// with older commits in it.
    pub fn append(
        &mut self,
        stream: Stream,
        page: PageId,
        kind: u8,
        tag: u64,
        refs: &[Address],
        payload: &[u8],
    ) -> Result<Address, Error> {
        self.check_ready()?;
        if kind >= FIRST_RESERVED_KIND {
            return Err(Error::Misuse { what: "kinds from 0xC0 on belong to the log" });
        }
        self.add(stream, (page, kind, tag), refs, payload)
    }

    /// Makes everything appended since the last commit durable, as `version`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: nothing of the group is committed,
    /// and it can only be rolled back. Other failures poison the log; whether the group is
    /// committed is then known only after reopening.
    pub fn commit(&mut self, version: u64) -> Result<(), Error> {
        self.check_ready()?;
        self.commit_group(version)
    }

    /// Voids everything appended since the last commit. Addresses given out since then mean
    /// nothing any more and will be given out again.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`]: a COMMIT that was refused may be whole on the disk, and
    /// can't be wiped now; it is to be called again. [`Error::Poisoned`], or a failure to give an
    /// abandoned segment back.
    pub fn rollback(&mut self) -> Result<(), Error> {
        self.check_writable()?;
        if !self.state.is_dirty() && self.state.stopped.is_none() {
            return Ok(());
        }
        // If this passes, only another rollback goes on from here.
        let doubtful = self.wipe_commit()?;
        let state = &mut *self.state;
        state.expected = 0;
        state.unsynced.clear();
        for address in state.fresh.drain(..) {
            self.log.segments.retire(address);
        }
        for segment in state.streams.iter().filter_map(|stream| stream.segment.as_ref()) {
            segment.void(state.next_sequence);
        }
        let mut opened = mem::take(&mut state.opened);
        for segment in &opened {
            segment.void(state.next_sequence);
        }
        for (stream, (segment, offset)) in state.streams.iter_mut().zip(&state.committed.places) {
            stream.buffer.clear();
            stream.segment.clone_from(segment);
            stream.offset = *offset;
            // Voided frames may lie there unsynced: they are overwritten or never looked at.
            stream.unsynced = segment.is_some();
            if let Some(segment) = segment {
                segment.activate();
                segment.wrote(u64::from(*offset), state.committed.sequence);
            }
        }
        let is_doubtful = doubtful.is_some();
        let wiped = doubtful.filter(|(home, _)| opened.iter().all(|segment| segment.id != home.id));
        if is_doubtful && self.log.segments.look_for_readers().map_or(true, |readers| readers > 0) {
            // A reader may have met the COMMIT, and then it needs what is voided.
            for segment in opened.drain(..) {
                segment.abandon();
            }
            for (stream, place) in state.streams.iter_mut().zip(&mut state.committed.places) {
                if let Some(left) = stream.segment.take() {
                    left.seal();
                }
                stream.unsynced = false;
                *place = (None, 0);
            }
            // No reader needs the bytes behind the last frame, nor those of the COMMIT.
            state.left = state.left.take().or(wiped);
        } else if state.committed.places[Stream::Foreground.index()].0.is_some() {
            state.left = None;
        }
        self.log.segments.void(&mut opened);
        state.next_sequence = state.committed.sequence + 1;
        state.attempt += 1;
        state.stopped = None;
        self.log.segments.tally.rollbacks.add(1);
        match self.log.reclaim_dead() {
            // What could not be given back now is given back by the next reclaiming.
            Err(error) if !error.stops_one_group() => Err(error),
            _ => Ok(()),
        }
    }

    /// Wipes a COMMIT that was refused and may be whole on disk; says where it was.
    fn wipe_commit(&mut self) -> Result<Option<(Arc<Segment>, u32)>, Error> {
        let Some((segment, offset)) = self.state.doubtful_commit.clone() else { return Ok(None) };
        segment
            .file
            .write_at(&[0; frame::HEADER_BYTES], u64::from(offset))
            .map_err(|e| self.log.segments.failed("write", segment.id, e))
            .map_err(|error| self.log.fail_unless_one_group(error))?;
        self.log.segments.sync(&segment).map_err(|error| self.log.fail(error))?;
        self.state.doubtful_commit = None;
        Ok(Some((segment, offset)))
    }

    /// Lets what is appended from now on, up to dropping this appender, have the segments that are
    /// kept for making room on a full disk. It must give back more than it takes.
    pub fn use_reserve(&mut self) {
        self.state.claim = Claim::Relief;
    }

    /// As [`use_reserve`](Self::use_reserve), up to the last segment: for a commit that gives back
    /// a segment of the reserve's size at once, as long as no checkpoint is needed for it. An
    /// opening after a crash finds the one or the other.
    pub fn use_last_segment(&mut self) {
        self.state.claim = Claim::Exchange;
    }

    /// Where appends that use the reserve have most room, and how much without a new segment; and
    /// the sizes of the free segments that they may have: all but the last one, and all.
    pub fn reserved_room(&self) -> (Stream, u64, [Vec<u64>; 2]) {
        let stream = self.roomier();
        let room = self.state.streams[stream.index()].room();
        let free = [Claim::Relief, Claim::Exchange].map(|claim| self.log.segments.takeable(claim));
        (stream, room, free)
    }

    /// The stream with more room in its open segment: what goes there needs no new one as soon. The
    /// foreground stream if that needs one in any case, for the COMMIT: it has room for the rest.
    pub fn roomier(&self) -> Stream {
        let [foreground, background] = [Stream::Foreground, Stream::Background]
            .map(|stream| self.state.streams[stream.index()].room());
        let needs_one = foreground < frame::HEADER_BYTES as u64;
        if needs_one || foreground >= background { Stream::Foreground } else { Stream::Background }
    }

    /// The appender can be used: begun, not poisoned, not waiting for a rollback.
    pub(crate) fn check_ready(&self) -> Result<(), Error> {
        self.check_writable()?;
        if !self.log.has_begun() {
            return Err(Error::Misuse { what: "begin comes before the first append" });
        }
        match &self.state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if self.log.options.read_only {
            return Err(Error::ReadOnly);
        }
        self.log.check_opener()?;
        self.log.check_poison()
    }

    /// Appends a part of any kind.
    pub(crate) fn add(
        &mut self,
        stream: Stream,
        name: (PageId, u8, u64),
        refs: &[Address],
        payload: &[u8],
    ) -> Result<Address, Error> {
        limit("a part", payload.len(), MAX_PART_BYTES)?;
        limit("a list of references", refs.len(), MAX_REFS)?;
        let frame_bytes = self.log.options.frame_bytes as usize;
        let index = stream.index();
        let open = &self.state.streams[index];
        if !open.buffer.is_empty() {
            let bytes = open.buffer.bytes_with(payload.len(), refs.len());
            if bytes > frame_bytes || !self.fits(index, bytes) {
                self.write_frame(stream, None)?;
            }
        }
        // The room is made sure of before anything of the frame is written (R12).
        let bytes = self.state.streams[index].buffer.bytes_with(payload.len(), refs.len());
        self.make_room(stream, bytes)?;
        let open = &mut self.state.streams[index];
        let Some(segment) = &open.segment else {
            return Err(Error::Misuse { what: "a stream with room has a segment" });
        };
        let address = Address {
            segment: segment.id,
            offset: open.buffer.push((segment.id, open.offset), name, refs, payload),
            len: payload.len() as u32,
        };
        self.state.fresh.push(address);
        self.state.expected = self.state.expected.saturating_sub(part::live_bytes(address));
        self.log.segments.adopt(address);
        self.log.segments.tally.parts.add(1);
        Ok(address)
    }

    pub(crate) fn commit_group(&mut self, version: u64) -> Result<(), Error> {
        if !self.state.streams[Stream::Background.index()].buffer.is_empty() {
            self.write_frame(Stream::Background, None)?;
        }
        if self.state.streams[Stream::Foreground.index()].buffer.is_empty() {
            self.make_room(Stream::Foreground, frame::HEADER_BYTES)?;
        }
        self.leave(Stream::Background);
        self.sync_left()?;
        self.sync_entries()?;
        let commit = self.state.streams[Stream::Foreground.index()].offset;
        let sequence = self.write_frame(Stream::Foreground, Some(version))?;
        self.sync_commit(commit)?;
        // The first group of an opening is proven, and counts, by its superblock.
        if self.log.has_begun() {
            self.link(sequence)?;
            self.state.durable = sequence;
        }
        let state = &mut *self.state;
        state.committed.sequence = sequence;
        for (place, stream) in state.committed.places.iter_mut().zip(&state.streams) {
            place.0.clone_from(&stream.segment);
            place.1 = stream.offset;
        }
        state.fresh.clear();
        state.expected = 0;
        state.opened.drain(..).for_each(|segment| segment.settle());
        state.left = None;
        self.log.segments.tally.commits.add(1);
        // ORDERING: Release, paired with the Acquire of `durable_version`: who sees the version
        // may read its parts.
        self.log.durable_version.store(version, Ordering::Release);
        self.log.appender.wake(version);
        Ok(())
    }

    /// Says outside of the segments that a group has opened that it is durable, up to this
    /// sequence.
    fn link(&mut self, durable: u64) -> Result<(), Error> {
        let state = &mut *self.state;
        let opened = |at: usize| state.streams[at].segment.clone().filter(|s| state.has_opened(s));
        let next = [0, 1].map(|at| opened(at).map_or(0, |segment| segment.id));
        let fits_here = next[Stream::Foreground.index()] == 0;
        let open = &mut state.streams[Stream::Foreground.index()];
        let (home, offset) = match (&state.left, &open.segment) {
            _ if next == [0; 2] => return Ok(()),
            (Some((home, offset)), _) => (Arc::clone(home), *offset),
            (None, Some(home)) if fits_here => (Arc::clone(home), open.offset),
            // A rollback may have left none.
            _ => return Ok(()),
        };
        if home.file.open_for_write().is_err() {
            // The group is no less durable.
            return Ok(());
        }
        let (generation, attempt) = (self.log.segments.generation, state.attempt);
        let link = Link { segment: home.id, generation, durable, next, attempt };
        let bytes = link.encode(self.log.segments.store, offset);
        if let Err(error) = home.file.write_at(&bytes, u64::from(offset)) {
            let error = self.log.segments.failed("write", home.id, error);
            // The same.
            return if error.is_passing() { Ok(()) } else { Err(self.log.fail(error)) };
        }
        self.log.segments.tally.bytes_written.add(LINK_BYTES);
        self.log.segments.sync(&home).map_err(|error| self.log.fail(error))?;
        if fits_here {
            open.offset += LINK_BYTES as u32;
            home.wrote(u64::from(open.offset), durable);
        }
        Ok(())
    }

    /// Whether a frame of this size still fits in the stream's segment, and links behind it.
    fn fits(&self, index: usize, bytes: usize) -> bool {
        bytes as u64 <= self.state.streams[index].room()
    }

    /// Whether the stream leaves its open segment though there is room: it is spent.
    fn leaves_spent(&self, index: usize) -> bool {
        let open = &self.state.streams[index];
        let spent = |segment: &Arc<Segment>| {
            !self.state.has_opened(segment) && self.log.segments.is_spent(segment)
        };
        open.buffer.is_empty() && open.segment.as_ref().is_some_and(spent)
    }

    /// Opens the next segment of a stream whose frame is empty, if this size does not fit, or if
    /// the open one is spent.
    fn make_room(&mut self, stream: Stream, bytes: usize) -> Result<(), Error> {
        let index = stream.index();
        if self.fits(index, bytes) && !self.leaves_spent(index) {
            return Ok(());
        }
        self.leave(stream);
        if self.has_left_many() {
            self.sync_left()?;
        }
        let state = &self.state;
        let bytes = (bytes as u64 + ROOM_FOR_LINKS, state.expected);
        let begun = self.log.segments.begin(stream, state.next_sequence, bytes, state.claim);
        let next = begun.map_err(|error| self.refuse(error))?;
        let state = &mut *self.state;
        let open = &mut state.streams[index];
        if let Some(left) = open.segment.replace(Arc::clone(&next)) {
            left.seal();
            let end = open.offset;
            if stream == Stream::Foreground && state.left.is_none() && !state.has_opened(&left) {
                state.left = Some((left, end));
            }
        }
        let open = &mut state.streams[index];
        open.offset = segment::HEADER_BYTES as u32;
        open.unsynced = true;
        state.opened.push(next);
        Ok(())
    }

    /// Seals the open frame and writes it; returns its sequence.
    fn write_frame(&mut self, stream: Stream, commit: Option<u64>) -> Result<u64, Error> {
        let state = &mut *self.state;
        let sequence = state.next_sequence;
        let open = &mut state.streams[stream.index()];
        let Some(segment) = &open.segment else {
            return Err(Error::Misuse { what: "a stream with a frame has a segment" });
        };
        limit("a sequence", sequence as usize, SEQUENCE_LIMIT as usize - 1)?;
        let header = Header {
            commit: commit.is_some(),
            stream,
            segment: segment.id,
            generation: self.log.segments.generation,
            sequence,
            durable: state.durable,
            version: commit.unwrap_or(0),
            attempt: state.attempt,
            payload_bytes: 0,
            directory_bytes: 0,
            directory_checksum: 0,
        };
        if let Err(error) = segment.file.open_for_write() {
            let error = self.log.segments.refused("open", segment.id, error);
            return Err(self.refuse(error));
        }
        let bytes = open.buffer.seal(header, self.log.segments.store, open.offset);
        open.unsynced = true;
        let written = bytes.len();
        if let Err(error) = segment.file.write_at(bytes, u64::from(open.offset)) {
            if commit.is_some() {
                state.doubtful_commit = Some((Arc::clone(segment), open.offset));
            }
            let error = self.log.segments.failed("write", segment.id, error);
            return Err(self.refuse(error));
        }
        open.offset += written as u32;
        segment.wrote(u64::from(open.offset), sequence);
        open.buffer.clear();
        state.next_sequence += 1;
        let tally = &self.log.segments.tally;
        tally.frames.add(1);
        tally.bytes_written.add(written as u64);
        self.log.since_checkpoint.fetch_add(written as u64, Ordering::Relaxed);
        self.log.last_sequence.store(sequence, Ordering::Relaxed);
        Ok(sequence)
    }

    /// What an error means: it stops the group, or it poisons the log.
    fn refuse(&mut self, error: Error) -> Error {
        if error.stops_one_group() {
            self.state.stopped = Some(error.clone());
            error
        } else {
            self.log.fail(error)
        }
    }
}

pub(crate) fn limit(what: &'static str, size: usize, most: usize) -> Result<(), Error> {
    if size <= most {
        return Ok(());
    }
    Err(Error::TooLarge { what, size: size as u64, most: most as u64 })
}

const _: () = assert!(part::stored_bytes(MAX_PART_BYTES) < u32::MAX as usize / 2);
