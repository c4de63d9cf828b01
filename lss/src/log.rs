//! The open log: what any thread may ask of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use types::{Address, PageId};

use crate::appender::{AppendState, Appender};
use crate::chunks::Chunks;
use crate::copies::Copied;
use crate::counters::Counters;
use crate::error::{Error, HeldBack};
use crate::io::{DiskLock, Registration};
use crate::open_segment::{SegmentInfo, SegmentState};
use crate::options::Options;
use crate::part;
use crate::read::{read_part_into, whole};
use crate::reserve::Claim;
use crate::segments::Segments;
use crate::superblock::{FILE_BYTES, Superblock, SuperblockFile};
use crate::turn::{Turn, Turns};

/// An open log. Shared by all threads; closing is dropping it.
#[derive(Debug)]
pub struct Log {
    pub(crate) options: Options,
    pub(crate) segments: Segments,
    pub(crate) superblock: SuperblockFile,
    /// The chunks of the durable checkpoint.
    pub(crate) chunks: RwLock<Chunks>,
    pub(crate) appender: Turns<AppendState>,
    pub(crate) durable_version: AtomicU64,
    pub(crate) since_checkpoint: AtomicU64,
    /// Of the last frame.
    pub(crate) last_sequence: AtomicU64,
    pub(crate) begun: AtomicBool,
    pub(crate) durable: Durable,
    pub(crate) poison: OnceLock<Error>,
    /// The process that opened the log, and the only one that may write.
    pub(crate) opener: u32,
    /// Last, so that the store is unlocked when all else is closed.
    pub(crate) hold: Hold,
}

/// What keeps others from changing what this log needs.
#[derive(Debug)]
pub(crate) enum Hold {
    /// The store is locked: alone, or against those that write.
    Locked { _lock: Box<dyn DiskLock> },
    /// It is registered as a reader.
    Registered(Box<dyn Registration>),
}

/// What the durable superblock says, as far as it is needed later.
#[derive(Debug)]
pub(crate) struct Durable {
    number: AtomicU64,
    sequence: AtomicU64,
    /// The segments in which recovery starts to read.
    positions: [AtomicU32; 2],
    pub(crate) directory: Mutex<Copied>,
    /// Bytes of chunks and their list that lie in one place only.
    pub(crate) uncopied: AtomicU64,
}

impl Durable {
    pub(crate) fn new(superblock: &Superblock, uncopied: u64) -> Self {
        Self {
            number: AtomicU64::new(superblock.number),
            sequence: AtomicU64::new(superblock.sequence),
            positions: superblock.positions.map(|p| AtomicU32::new(p.segment)),
            directory: Mutex::new(superblock.directory),
            uncopied: AtomicU64::new(uncopied),
        }
    }
}

impl Log {
    /// Reads a committed part: one exact read, checked against page and kind.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`]: the segment was given back meanwhile; look the address up again.
    /// [`Error::Corrupt`]: the bytes there are not this part. [`Error::Io`]: the system refused;
    /// [`Error::Refused`]: it did for now.
    pub fn read(&self, address: Address, page: PageId, kind: u8) -> Result<Bytes, Error> {
        self.read_any(address, page, &[kind])
    }

    /// Reads a committed part that is of one of these kinds.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_any(&self, address: Address, page: PageId, kinds: &[u8]) -> Result<Bytes, Error> {
        whole(address, |to| self.read_into(address, page, kinds, to))
    }

    /// Reads a committed part that is of one of these kinds to this place in a buffer, which is
    /// made longer if need be: behind the part its checksum is read.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_into(
        &self,
        address: Address,
        page: PageId,
        kinds: &[u8],
        to: (&mut Vec<u8>, usize),
    ) -> Result<(), Error> {
        let segment = self.segments.get(address.segment).ok_or(Error::Gone { address })?;
        read_part_into(&self.segments, &segment, address, (page, kinds), to)?;
        let tally = &self.segments.tally;
        tally.reads.add(1);
        tally.bytes_read.add(u64::from(address.len));
        Ok(())
    }

    /// Waits for the right to append and takes it. Threads get it in the order in which they ask.
    pub fn appender(&self) -> Appender<'_> {
        if self.is_forked() {
            // A thread of the opener, which does not exist here, may have held the lock. Every call
            // on this appender is refused.
            let state = AppendState::new(&self.options, 0, Vec::new(), Vec::new());
            return Appender { log: self, state: Turn::detached(state) };
        }
        self.appender_of(self.appender.take())
    }

    /// Waits until a commit covers `wanted` and returns `None`, or takes the right to append if its
    /// turn comes first. A thread that only wants its writes to be durable does not wait for the
    /// commits of others once one has covered it.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`], at once for all that wait; [`Error::Forked`].
    pub fn wait_durable_or_appender(&self, wanted: u64) -> Result<Option<Appender<'_>>, Error> {
        self.check_opener()?;
        let leave = || {
            if self.durable_version() >= wanted {
                Some(Ok(None))
            } else {
                self.check_poison().err().map(Err)
            }
        };
        match self.appender.take_unless(wanted, leave) {
            Ok(taken) => Ok(Some(self.appender_of(taken))),
            Err(answer) => answer,
        }
    }

    /// Takes the right to append if no thread has it.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`]; [`Error::Forked`].
    pub fn try_appender(&self) -> Result<Option<Appender<'_>>, Error> {
        self.check_opener()?;
        self.check_poison()?;
        Ok(self.appender.try_take().map(|taken| self.appender_of(taken)))
    }

    fn appender_of<'a>(&'a self, (state, panicked): (Turn<'a, AppendState>, bool)) -> Appender<'a> {
        if panicked {
            self.poison(Error::Misuse { what: "a thread panicked while it was appending" });
        }
        let mut appender = Appender { log: self, state };
        appender.state.claim = Claim::Commit;
        appender
    }

    /// The version of the last durable commit.
    pub fn durable_version(&self) -> u64 {
        // ORDERING: Acquire, paired with the Release in `commit`.
        self.durable_version.load(Ordering::Acquire)
    }

    /// Tells that a part is dead. Only when the commit that made it so is durable: a rollback
    /// can't take it back.
    pub fn retire(&self, address: Address) {
        self.segments.retire(address);
    }

    /// Tells, between opening and [`Appender::begin`], that a part is live. `false` if its segment
    /// is not there: then the part can't be read.
    pub fn adopt(&self, address: Address) -> bool {
        self.segments.adopt(address)
    }

    /// The file of a segment, whether it is there or not.
    pub fn file_of(&self, segment: u32) -> String {
        self.segments.path(segment)
    }

    /// All segments, by number.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.infos()
    }

    /// Bytes of all files of the log.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.disk_bytes() + FILE_BYTES
    }

    /// Bytes of the segments that are in use, without the free ones that are kept in reserve and
    /// those that are held for readers.
    pub fn used_bytes(&self) -> u64 {
        self.segments.used_bytes()
    }

    /// Bytes of the files that are neither in use nor held for readers: the free segments of the
    /// reserve, as many as there are now, and the superblock.
    pub fn spare_bytes(&self) -> u64 {
        self.disk_bytes().saturating_sub(self.used_bytes() + self.held_bytes())
    }

    /// Looks how many logs are open for reading only beside this one, and tells what is held back
    /// for them; a log that is one of them tells what it finds dead. A list of the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] or [`Error::Denied`] if they can't be listed; the log is unharmed.
    pub fn look_for_readers(&self) -> Result<(usize, HeldBack), Error> {
        let readers = self.segments.look_for_readers()?;
        if !matches!(self.hold, Hold::Registered(_)) {
            return Ok((readers, self.segments.held_back()));
        }
        let others = readers.saturating_sub(1);
        let (checkpoint, keep) = self.replay_start();
        let bytes = if others > 0 { self.segments.dead_bytes(checkpoint, keep) } else { 0 };
        Ok((others, HeldBack { bytes, processes: Vec::new() }))
    }

    /// How many there were at the last look; see [`look_for_readers`](Self::look_for_readers).
    /// There is one whenever something has died.
    pub fn known_readers(&self) -> usize {
        self.segments.known_readers()
    }

    /// Whether a reader of the last look needs this segment, so that it is not given back when it
    /// is empty.
    pub fn would_be_held(&self, segment: u32) -> bool {
        self.segments.get(segment).is_some_and(|segment| self.segments.would_be_held(&segment))
    }

    /// Bytes of the segments that are held for readers, as of the last look.
    pub fn held_bytes(&self) -> u64 {
        self.segments.held_bytes()
    }

    /// Bytes of all live parts, chunks included.
    pub fn live_bytes(&self) -> u64 {
        self.segments.live_bytes()
    }

    /// What was done since the opening.
    pub fn counters(&self) -> Counters {
        self.segments.tally.counters()
    }

    /// Bytes that recovery would have to follow.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.since_checkpoint.load(Ordering::Relaxed)
    }

    /// Frames that recovery would have to follow: it has some hundred bytes in memory for each.
    pub fn frames_since_checkpoint(&self) -> u64 {
        let checkpoint = self.durable.sequence.load(Ordering::Relaxed);
        self.last_sequence.load(Ordering::Relaxed).saturating_sub(checkpoint)
    }

    /// Whether this segment is given back as soon as nothing in it is live, without a checkpoint.
    pub fn is_free_when_empty(&self, segment: &SegmentInfo) -> bool {
        let (sequence, keep) = self.replay_start();
        segment.state == SegmentState::Sealed
            && segment.last_sequence <= sequence
            && !keep.contains(&segment.id)
    }

    /// Whether this is an open segment that the next checkpoint leaves, since next to nothing in it
    /// is live and it is far larger than the next one.
    pub fn is_spent(&self, segment: &SegmentInfo) -> bool {
        let open = self.segments.get(segment.id).filter(|_| segment.state == SegmentState::Active);
        open.is_some_and(|open| self.segments.is_spent(&open))
    }

    /// Gives back every segment in which nothing is live and which neither recovery nor a reader
    /// beside this log would read.
    /// Returns the bytes freed; files of the right size are kept for use. May be called any time;
    /// frees nothing before [`Appender::begin`].
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: what could not be given back stays
    /// for the next time. A failure to sync the directory poisons the log.
    pub fn reclaim(&self) -> Result<u64, Error> {
        if self.options.read_only || !self.has_begun() {
            return Ok(0);
        }
        self.check_opener()?;
        self.check_poison()?;
        self.reclaim_dead()
    }

    /// Makes one free segment ready, if the reserve for a full disk lacks one. `true` if there is
    /// more to do: the caller calls again.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: none can be made now, nothing else
    /// is the matter. Other failures poison the log.
    pub fn prepare(&self) -> Result<bool, Error> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        self.check_opener()?;
        self.check_poison()?;
        self.segments.prepare().map_err(|error| self.fail_unless_one_group(error))
    }

    /// Whether what is written counts: the first superblock of this opening is durable.
    pub(crate) fn has_begun(&self) -> bool {
        // ORDERING: set and asked under the appender's lock; for who reclaims, a late sight of it
        // only means to free nothing yet.
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether the disk was full when a segment was last wanted, and the reserve that was begun
    /// with it is not whole again. What makes the store larger is to be refused meanwhile.
    pub fn is_tight(&self) -> bool {
        self.segments.is_tight()
    }

    /// Whether a commit may have a free segment without touching the reserve that others need.
    pub fn has_commit_room(&self) -> bool {
        self.segments.commit_bytes() > 0
    }

    /// Whether the segment of this part is there.
    pub fn holds(&self, address: Address) -> bool {
        self.segments.get(address.segment).is_some()
    }

    /// An error while the log is tight.
    ///
    /// # Errors
    ///
    /// [`Error::Full`].
    pub fn check_room(&self) -> Result<(), Error> {
        if !self.is_tight() {
            return Ok(());
        }
        Err(Error::Full { file: self.segments.disk.place(), held: self.segments.held_back() })
    }

    /// Makes a free segment ready with room for a part of this many bytes, besides the reserve, if
    /// there is none.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn prepare_for(&self, bytes: u64) -> Result<(), Error> {
        self.check_opener()?;
        self.check_poison()?;
        self.segments.prepare_for(bytes).map_err(|error| self.fail_unless_one_group(error))
    }

    /// Tells how large the parts of the next checkpoint will be, by estimate: a chunk, and all
    /// together. Segments of the reserve are made so large that they can hold them.
    pub fn expect_checkpoint(&self, chunk_bytes: u64, all_bytes: u64) {
        let bytes = chunk_bytes.max(all_bytes / 3);
        self.segments.expect_chunk(part::stored_bytes(bytes as usize) as u64);
    }

    /// Bytes that a segment of the reserve has at least.
    pub fn reserved_segment_bytes(&self) -> u64 {
        self.segments.enough_bytes()
    }

    /// Bytes of the whole reserve for a full disk.
    pub fn reserve_bytes(&self) -> u64 {
        self.segments.reserve_bytes()
    }

    /// Bytes of a segment while the store is small.
    pub fn smallest_segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes_min)
    }

    /// Bytes that commits can be expected to find room for: prepared segments, and what the disk
    /// says is free on it. `None` if the disk can't say.
    pub fn room_bytes(&self) -> Option<u64> {
        let free = self.segments.disk.free_bytes().ok().flatten()?;
        Some(free.saturating_add(self.segments.commit_bytes()))
    }

    /// Whether this process is a fork of the one that opened the log. Then the log only reads, and
    /// threads and locks of the opener are not to be waited for.
    pub fn is_forked(&self) -> bool {
        std::process::id() != self.opener
    }

    /// An error in a fork of the process that opened the log.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`].
    pub fn check_opener(&self) -> Result<(), Error> {
        if self.is_forked() {
            return Err(Error::Forked { opener: self.opener });
        }
        Ok(())
    }

    /// The failure after which nothing more is written, if there was one.
    pub fn poisoned(&self) -> Option<Error> {
        self.poison.get().cloned()
    }

    /// Lets nothing more be written. The first cause stays.
    pub fn poison(&self, error: Error) {
        // A second cause changes nothing.
        let _ = self.poison.set(error);
        // Those that wait for a commit learn that none will come.
        self.appender.wake(u64::MAX - 1);
    }

    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned { cause: Arc::new(cause.clone()) }),
            None => Ok(()),
        }
    }

    /// Poisons the log and hands the error on.
    pub(crate) fn fail(&self, error: Error) -> Error {
        self.poison(error.clone());
        error
    }

    pub(crate) fn fail_unless_one_group(&self, error: Error) -> Error {
        if error.stops_one_group() { error } else { self.fail(error) }
    }

    pub(crate) fn reclaim_dead(&self) -> Result<u64, Error> {
        let (sequence, keep) = self.replay_start();
        // Before `begin` not every live part may be known: only what a rollback abandoned can go.
        let checkpoint = if self.has_begun() { sequence } else { 0 };
        // Two whole slots, if there is room for them by now; one is enough to go on.
        match self.superblock.complete(&self.segments.tally) {
            Err(error) if !error.is_passing() => return Err(self.fail(error)),
            _ => {}
        }
        let reclaimed = self.segments.reclaim(checkpoint, keep);
        reclaimed.map_err(|error| self.fail_unless_one_group(error))
    }

    /// Takes free segments into the reserve at an opening; every live part is known.
    pub(crate) fn take_unused(&self) {
        let (sequence, keep) = self.replay_start();
        self.segments.take_unused(sequence, keep);
    }

    /// The sequence of the durable checkpoint, and the segments in which a replay starts.
    fn replay_start(&self) -> (u64, [u32; 2]) {
        // ORDERING: Acquire, paired with the Release in `moved_checkpoint`: the positions are
        // those of this checkpoint or of a later one.
        let sequence = self.durable.sequence.load(Ordering::Acquire);
        (sequence, [0, 1].map(|at: usize| self.durable.positions[at].load(Ordering::Acquire)))
    }

    pub(crate) fn chunks(&self) -> RwLockReadGuard<'_, Chunks> {
        self.chunks.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_superblock(&self) -> u64 {
        self.durable.number.load(Ordering::Relaxed) + 1
    }

    /// Takes note that this superblock is durable, with so many bytes logged behind it; the old
    /// chunk directory is dead.
    pub(crate) fn moved_checkpoint(
        &self,
        superblock: &Superblock,
        logged_bytes: u64,
        uncopied: u64,
    ) {
        let durable = &self.durable;
        durable.number.store(superblock.number, Ordering::Relaxed);
        for (word, position) in durable.positions.iter().zip(superblock.positions) {
            word.store(position.segment, Ordering::Release);
        }
        // ORDERING: Release, after the positions; see `reclaim_dead`.
        durable.sequence.store(superblock.sequence, Ordering::Release);
        self.since_checkpoint.store(logged_bytes, Ordering::Relaxed);
        let mut directory = durable.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.places().for_each(|place| self.segments.retire(place));
        *directory = superblock.directory;
        durable.uncopied.store(uncopied, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;
    use crate::io::SimDisk;

    /// A child of `fork` wrote into the log of its parent, at the same positions.
    #[test]
    fn a_process_that_did_not_open_the_log_reads_and_writes_nothing() {
        let disk = SimDisk::new();
        let (mut log, _) = Log::open(Arc::new(disk.clone()), Options::default()).unwrap();
        let page = PageId::new(1);
        let mut appender = log.appender();
        appender.begin([], b"", 0).unwrap();
        let part = appender.append(Stream::Foreground, page, 1, 0, &[], b"part").unwrap();
        appender.commit(1).unwrap();
        drop(appender);
        let changes = disk.changes();
        // As the child sees it: the process that opened the log is another one.
        log.opener = log.opener.wrapping_add(1);
        let forked = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Forked { opener } if opener == log.opener), "{error}");
        };
        let mut appender = log.appender();
        forked(appender.append(Stream::Foreground, page, 1, 0, &[], b"more").map(drop));
        forked(appender.commit(2));
        forked(appender.rollback());
        forked(appender.checkpoint([], &[], b"").map(drop));
        forked(appender.begin([], b"", 1));
        drop(appender);
        forked(log.prepare().map(drop));
        forked(log.reclaim().map(drop));
        assert_eq!(log.read(part, page, 1).unwrap(), b"part"[..]);
        assert!(log.is_forked() && log.poisoned().is_none());
        drop(log);
        assert_eq!(disk.changes(), changes);
    }
}
