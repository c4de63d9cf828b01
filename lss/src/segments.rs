//! The segments of an open log: which there are, what is live in them, how they come and go.
//!
//! A segment is *active* while a stream writes to it, then *sealed*, and *free* while it waits,
//! prepared, for a stream. A sealed one is reclaimed when nothing in it is live and recovery would
//! not read it: it lies before the replay start of the durable superblock (invariant I8). Numbers
//! are never used twice, so who still holds an old address finds the segment gone and nothing else.
//!
//! # A segment that is made for a group
//!
//! A segment that is prepared is durable, with a header and its entry in the directory, before it
//! is used. One that is made while a group is being appended is *unsettled*: nothing of it need be
//! durable before the COMMIT. Its sync is that of its frames, which the stream makes when it leaves
//! it, and one sync of the directory, right before the COMMIT is written, is for all that the group
//! has made. So a commit costs one sync for each segment that it fills, and not three.
//!
//! Until that COMMIT is durable a crash may leave anything of it: no entry, though one that is made
//! later has one; no bytes; fewer bytes than its header says; zeros in place of the header, with
//! frames behind them. Recovery takes no frame in such a file for whole unless it is proven durable
//! (`Opening::replay`), and removes a file that is too short. What a rollback finds unsettled is
//! removed and never kept for use. On a full disk segments are made as prepared ones are, so that a
//! system that finds out late that it has no room says so while the reserve can still be taken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use types::Address;

use crate::FORMAT_VERSION;
use crate::counters::Tally;
use crate::error::Error;
use crate::io::{Disk, File};
use crate::open_segment::{Segment, SegmentInfo, SegmentState};
use crate::options::Options;
use crate::part::{self, Stream};
use crate::pool::FilePool;
use crate::readers::Readers;
use crate::reserve::Claim;
use crate::segment::{HEADER_BYTES, SegmentHeader, file_name};

/// A segment is about this part of what is live, within the limits of the options: the open and the
/// prepared ones are garbage as far as the disk is concerned, and the fewer segments there are, the
/// fewer of them are much emptier than the rest.
const LIVE_PER_SEGMENT: u64 = 128;

/// Up to [`SMALL_SEGMENT_BYTES`] it is a larger part: each segment costs a sync.
const LIVE_PER_SMALL_SEGMENT: u64 = 64;
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;

/// A part that begins a segment and is larger than this part of one gets a segment to its size.
const LARGE_PARTS_PER_SEGMENT: u64 = 8;

/// An open segment that is larger than so many of the next one is left when less than this part of
/// it is live.
const SPENT_SEGMENTS: u64 = 4;
const SPENT_SHARE: u64 = 8;

/// Smaller parts share a segment in any case: a file for each would be too many.
const LARGE_PART_BYTES: u64 = 64 << 10;

/// All segments of a log.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) disk: Arc<dyn Disk>,
    pool: Arc<FilePool>,
    pub(crate) store: u64,
    /// The generation of this opening.
    pub(crate) generation: u64,
    pub(crate) tally: Arc<Tally>,
    options: Options,
    pub(crate) map: RwLock<HashMap<u32, Arc<Segment>>>,
    pub(crate) free: Mutex<Vec<Segment>>,
    /// The disk was full when a segment was last wanted, and the reserve is not whole.
    pub(crate) tight: AtomicBool,
    /// Bytes of the largest part that a checkpoint has written.
    largest_chunk: AtomicU64,
    /// Bytes that a segment should have for the next checkpoint.
    expected_chunk: AtomicU64,
    next: AtomicU32,
    /// Numbers of files that were found and are not, or may not be, segments of this store.
    taken: HashSet<u32>,
    live: AtomicU64,
    reclaiming: Mutex<()>,
    /// Segments of which something was lost, and nobody has looked yet what an opening would miss.
    pub(crate) harmed: Mutex<BTreeSet<u32>>,
    pub(crate) readers: Readers,
}

impl Segments {
    pub(crate) fn new(
        (disk, pool): (Arc<dyn Disk>, Arc<FilePool>),
        (store, generation): (u64, u64),
        options: Options,
        tally: Arc<Tally>,
        found: Vec<Segment>,
        (next, taken): (u32, HashSet<u32>),
    ) -> Self {
        let map = found.into_iter().map(|s| (s.id, Arc::new(s))).collect();
        Self {
            disk,
            pool,
            store,
            generation,
            tally,
            options,
            map: RwLock::new(map),
            free: Mutex::new(Vec::new()),
            tight: AtomicBool::new(false),
            largest_chunk: AtomicU64::new(0),
            expected_chunk: AtomicU64::new(0),
            next: AtomicU32::new(next),
            taken,
            live: AtomicU64::new(0),
            reclaiming: Mutex::new(()),
            harmed: Mutex::default(),
            readers: Readers::default(),
        }
    }

    pub(crate) fn path(&self, id: u32) -> String {
        format!("{}/{}", self.disk.place(), file_name(id))
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Segment>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&id).cloned()
    }

    pub(crate) fn next_id(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// The segment of a part, if it is there and its file reaches as far.
    pub(crate) fn holds(&self, address: Address) -> Option<Arc<Segment>> {
        self.get(address.segment).filter(|segment| part::end(address) <= segment.size)
    }

    /// Counts a part as live. `false` if its segment is not there, or ends before it.
    pub(crate) fn adopt(&self, address: Address) -> bool {
        let Some(segment) = self.holds(address) else {
            return false;
        };
        let bytes = part::live_bytes(address);
        segment.stray.store(false, Ordering::Relaxed);
        segment.live.fetch_add(bytes, Ordering::Relaxed);
        self.live.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Counts a part as dead.
    pub(crate) fn retire(&self, address: Address) {
        let Some(segment) = self.get(address.segment) else {
            return;
        };
        let bytes = part::live_bytes(address);
        let less = |live: u64| {
            debug_assert!(live >= bytes, "a part is retired once");
            Some(live.saturating_sub(bytes))
        };
        for live in [&segment.live, &self.live] {
            // The closure always answers, so there is no failure to look at.
            let _ = live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn infos(&self) -> Vec<SegmentInfo> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut infos: Vec<_> =
            map.values().filter(|s| !s.is_stray()).map(|s| s.info(s.state())).collect();
        drop(map);
        infos.extend(self.free().iter().map(|s| s.info(SegmentState::Free)));
        infos.sort_unstable_by_key(|info| info.id);
        infos
    }

    /// Bytes of the segments that are in use; the free ones, and those that are held, come on top.
    pub(crate) fn used_bytes(&self) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.values().filter(|s| !s.is_stray() && !s.is_held()).map(|s| s.size).sum()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.used_bytes() + self.held_bytes() + self.free().iter().map(|s| s.size).sum::<u64>()
    }

    /// Bytes of the next segment: a power of two that grows with what is live, and holds a chunk of
    /// the table in any case.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes_for(self.live_bytes())
    }

    fn wanted_bytes_for(&self, live: u64) -> u64 {
        let min = u64::from(self.options.segment_bytes_min);
        let max = u64::from(self.options.segment_bytes_max);
        let least = self.least_reserved_bytes();
        let small = (live / LIVE_PER_SMALL_SEGMENT).min(SMALL_SEGMENT_BYTES);
        let wanted = small.max(live / LIVE_PER_SEGMENT).next_power_of_two().clamp(min, max);
        wanted.max(least.next_power_of_two())
    }

    /// Bytes that a segment of the reserve has at least: it must hold any chunk, which can grow on
    /// a full disk.
    pub(crate) fn least_reserved_bytes(&self) -> u64 {
        let expected = self.expected_chunk.load(Ordering::Relaxed);
        2 * self.largest_chunk.load(Ordering::Relaxed).max(expected)
    }

    /// Takes note of the size of a part that a checkpoint writes.
    pub(crate) fn note_chunk(&self, bytes: u64) {
        self.largest_chunk.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Takes note of what the next checkpoint writes, until it is told anew: a store from which
    /// most was removed does not keep large segments for what is written by then.
    pub(crate) fn expect_chunk(&self, bytes: u64) {
        self.expected_chunk.store(bytes, Ordering::Relaxed);
    }

    /// Most bytes of a segment that begins with a frame of these: no limit for ordinary parts; to
    /// size for a part so large that a few of them would fill a segment and leave a tail that no
    /// cleaning can win back, since the next segment would get the same. What a large part brings
    /// with it, and the COMMIT, fit behind it.
    fn most_bytes_for(&self, needed: u64) -> u64 {
        if needed > LARGE_PART_BYTES && needed > self.wanted_bytes() / LARGE_PARTS_PER_SEGMENT {
            (needed + needed / 32).next_multiple_of(4096)
        } else {
            u64::MAX
        }
    }

    /// Whether next to nothing is live in an open segment that is far larger than the next one: a
    /// large part had it made to its size, and what follows would keep it for as long as it is not
    /// full. Once it is left, it is emptied as any other.
    pub(crate) fn is_spent(&self, segment: &Segment) -> bool {
        segment.live.load(Ordering::Relaxed) < segment.size / SPENT_SHARE
            && segment.size > SPENT_SEGMENTS * self.wanted_bytes()
            && !self.is_tight()
    }

    /// Opens a segment for a stream, with room for a frame of `frame_bytes`, for a group that will
    /// have about `expected` bytes more.
    ///
    /// Nothing has been written to it but its header, which becomes durable with the first frame.
    pub(crate) fn begin(
        &self,
        stream: Stream,
        first_sequence: u64,
        (frame_bytes, expected): (u64, u64),
        claim: Claim,
    ) -> Result<Arc<Segment>, Error> {
        let needed = HEADER_BYTES as u64 + frame_bytes;
        let most = self.most_bytes_for(needed);
        let segment = self.obtain((needed, most), expected, claim)?;
        let begun = self
            .renew(&segment)
            .and_then(|()| self.write_header(&segment, Some(stream), first_sequence));
        if let Err(error) = begun {
            if !segment.is_settled() {
                self.unmake(segment.id, &error);
            } else if error.is_passing() {
                // A header that is half there is written over by the next use.
                self.free().push(segment);
            } else {
                // A file that could not be synced is not trusted again. One that stays is found
                // unused by an opening.
                let _left = self.remove(segment.id);
            }
            return Err(error);
        }
        segment.stream.store(stream as u8, Ordering::Relaxed);
        segment.first_sequence.store(first_sequence, Ordering::Relaxed);
        segment.wrote(HEADER_BYTES as u64, 0);
        segment.activate();
        let segment = Arc::new(segment);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(segment.id, Arc::clone(&segment));
        Ok(segment)
    }

    /// A segment of at least the first size and, if the disk is not full, of at most the second:
    /// one that is free, or a new one. The reserve is touched only if none can be created.
    ///
    /// A new one is sized for what will be live when the group is committed: what it has appended
    /// counts already, and what it will append by estimate. Else the first commit of a store would
    /// make most of its segments for a store that has next to nothing in it.
    fn obtain(
        &self,
        (needed, most): (u64, u64),
        expected: u64,
        claim: Claim,
    ) -> Result<Segment, Error> {
        let at_first = if claim == Claim::Opening { claim } else { Claim::Commit };
        if let Some(segment) = self.take_free(needed, most, at_first) {
            return Ok(segment);
        }
        let sized = |wanted: u64| wanted.min(most).max(needed).next_multiple_of(4096);
        let usual = sized(self.wanted_bytes());
        let made = if self.is_tight() {
            self.create(usual)
        } else {
            let size = sized(self.wanted_bytes_for(self.live_bytes() + expected));
            self.make(size).or_else(|error| {
                if !error.is_full() || size == usual {
                    return Err(error);
                }
                // There is no room for this, which does not say that there is none for less.
                self.tight.store(false, Ordering::Relaxed);
                self.create(usual)
            })
        };
        made.or_else(|error| {
            if !error.is_full() {
                return Err(error);
            }
            let reserved = self.take_free(needed, u64::MAX, claim);
            let needed = needed.next_multiple_of(4096);
            reserved.map_or_else(|| self.join_free(needed, claim), |s| Ok(Some(s)))?.ok_or(error)
        })
    }

    /// Creates a segment file: allocated, with a header, durable, and durably in the directory.
    pub(crate) fn create(&self, size: u64) -> Result<Segment, Error> {
        let segment = self.make(size)?;
        let settle = || {
            self.write_header(&segment, None, 0)?;
            self.sync_unused(&segment)?;
            // Nothing depends on an entry that is not in use yet, but others may wait for theirs.
            self.sync_entry(segment.id)
        };
        settle().inspect_err(|error| self.unmake(segment.id, error))?;
        segment.settle();
        Ok(segment)
    }

    /// Makes a segment file, allocated and unsettled.
    fn make(&self, size: u64) -> Result<Segment, Error> {
        self.check_linked()?;
        let id = self.take_id()?;
        let make = || {
            let file =
                self.pool.open(file_name(id), true).map_err(|e| self.refused("create", id, e))?;
            file.allocate(size).map_err(|e| self.refused("allocate", id, e))?;
            Ok(Segment::sealed(id, file, size, None, FORMAT_VERSION))
        };
        let segment = make().inspect_err(|error| self.unmake(id, error))?;
        segment.unsettle();
        self.tally.segments_created.add(1);
        Ok(segment)
    }

    /// Takes back what could not be made whole; if it can't be removed, the next try empties it.
    fn unmake(&self, id: u32, error: &Error) {
        self.note_full(error);
        if error.stops_one_group() {
            let _left = self.disk.remove(&file_name(id));
            self.return_id(id);
        }
    }

    /// Makes the entries of segments durable, of which this is one.
    pub(crate) fn sync_entry(&self, id: u32) -> Result<(), Error> {
        self.disk.sync_directory().map_err(|e| self.failed("sync the entry of", id, e))
    }

    fn take_id(&self) -> Result<u32, Error> {
        let step = |id: u32| id.checked_add(1);
        loop {
            let id = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
            let id = id.map_err(|id| Error::TooLarge {
                what: "a segment number",
                size: u64::from(id) + 1,
                most: u64::from(u32::MAX),
            })?;
            if !self.taken.contains(&id) {
                return Ok(id);
            }
        }
    }

    /// Takes back a number of which no file came to be, unless another was given out since.
    pub(crate) fn return_id(&self, id: u32) {
        // If another was given out, this one stays unused.
        let _unused = self.next.compare_exchange(id + 1, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn header(
        &self,
        segment: &Segment,
        stream: Option<Stream>,
        first_sequence: u64,
    ) -> SegmentHeader {
        SegmentHeader {
            format: FORMAT_VERSION,
            store: self.store,
            generation: self.generation,
            first_sequence,
            id: segment.id,
            stream,
            size: segment.size,
        }
    }

    pub(crate) fn write_header(
        &self,
        segment: &Segment,
        stream: Option<Stream>,
        first_sequence: u64,
    ) -> Result<(), Error> {
        let header = self.header(segment, stream, first_sequence);
        segment
            .file
            .write_at(&header.encode(), 0)
            .map_err(|e| self.refused("write", segment.id, e))?;
        self.tally.bytes_written.add(HEADER_BYTES as u64);
        Ok(())
    }

    /// Gives back every dead segment save those in `keep` and those that readers need;
    /// returns the bytes freed. After an error that does not end all, those that were not given
    /// back are still there.
    pub(crate) fn reclaim(&self, checkpoint: u64, keep: [u32; 2]) -> Result<u64, Error> {
        // One at a time, so that no more spares are kept than there is place for.
        let _alone = self.reclaiming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dead = self.take_dead(checkpoint, keep)?.into_iter();
        if dead.len() == 0 {
            return Ok(0);
        }
        let mut freed = 0;
        let mut recycled = Vec::new();
        let mut refused = None;
        for segment in dead.by_ref() {
            let size = segment.size;
            match self.give_back(segment, checkpoint, &mut recycled) {
                Ok(()) => freed += size,
                Err((error, kept)) => {
                    refused = Some(error);
                    self.put_back(kept);
                    break;
                }
            }
        }
        self.put_back(dead);
        self.sync_directory()?;
        self.free().append(&mut recycled);
        self.note_room();
        refused.map_or(Ok(freed), Err)
    }

    /// Gives the file of a dead segment a new number, or removes it. If it could do neither, the
    /// segment is handed back.
    fn give_back(
        &self,
        segment: Arc<Segment>,
        checkpoint: u64,
        recycled: &mut Vec<Segment>,
    ) -> Result<(), (Error, Option<Arc<Segment>>)> {
        // Voided frames may have sequences from behind the checkpoint. With a new header under the
        // segment's old name, as a crash may leave it, it would look like a damaged one.
        let may_recycle = segment.voided.load(Ordering::Relaxed) <= checkpoint
            && segment.is_settled()
            && self.is_wanted(segment.size, recycled.len())
            && segment.file.len().is_ok_and(|len| len >= segment.size);
        // A reader that found the segment before it left the map still holds it; its file must keep
        // its bytes.
        let segment = match Arc::try_unwrap(segment) {
            Ok(segment) if may_recycle => match self.recycle(&segment) {
                Ok(spare) => {
                    recycled.push(spare);
                    return Ok(());
                }
                Err((error, _)) if !error.stops_one_group() => return Err((error, None)),
                // Its name has changed already.
                Err((_, Some(id))) => return self.remove(id).map_err(|error| (error, None)),
                Err((_, None)) => Arc::new(segment),
            },
            Ok(segment) => Arc::new(segment),
            Err(shared) => shared,
        };
        self.remove(segment.id).map_err(|error| (error, Some(segment)))
    }

    /// Puts dead segments back that could not be given back.
    pub(crate) fn put_back(&self, kept: impl IntoIterator<Item = Arc<Segment>>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.extend(kept.into_iter().map(|segment| {
            segment.held.store(0, Ordering::Relaxed);
            (segment.id, segment)
        }));
    }

    /// Bytes of the dead segments.
    pub(crate) fn dead_bytes(&self, checkpoint: u64, keep: [u32; 2]) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let is_unused = |s: &Segment| s.unused.load(Ordering::Relaxed);
        let is_dead = |s: &Segment| !keep.contains(&s.id) && s.is_dead(checkpoint);
        map.values().filter(|s| is_dead(s) && !is_unused(s)).map(|s| s.size).sum()
    }

    /// Takes the dead segments that no reader needs out of the map: from here on nobody finds
    /// them. A dead segment stays dead.
    fn take_dead(&self, checkpoint: u64, keep: [u32; 2]) -> Result<Vec<Arc<Segment>>, Error> {
        let is_dead = |s: &Segment| !keep.contains(&s.id) && s.is_dead(checkpoint);
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let dead: Vec<Arc<Segment>> = map.values().filter(|s| is_dead(s)).cloned().collect();
        drop(map);
        let listed: Vec<&Segment> = dead.iter().map(|segment| &**segment).collect();
        let let_go = match self.let_go(&listed) {
            Ok(let_go) => let_go,
            Err(error) => return self.check_linked().and(Err(error)),
        };
        drop(dead);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<_> = let_go.iter().filter_map(|id| map.remove(id)).collect();
        // In one order, so that a seed repeats a run.
        taken.sort_unstable_by_key(|segment| segment.id);
        Ok(taken)
    }

    /// Gives the file a new number. Frames in it can't come to life again: their headers name the
    /// old one. An error says the new number if the file has it.
    fn recycle(&self, old: &Segment) -> Result<Segment, (Error, Option<u32>)> {
        self.check_linked().map_err(|error| (error, None))?;
        let id = self.take_id().map_err(|error| (error, None))?;
        self.disk.rename(&file_name(old.id), &file_name(id)).map_err(|error| {
            self.return_id(id);
            (self.refused("rename", old.id, error), None)
        })?;
        let segment =
            Segment::sealed(id, old.file.renamed(file_name(id)), old.size, None, FORMAT_VERSION);
        self.write_header(&segment, None, 0)
            .and_then(|()| self.sync_unused(&segment))
            .map_err(|error| (error, Some(id)))?;
        self.tally.segments_recycled.add(1);
        Ok(segment)
    }

    pub(crate) fn remove(&self, id: u32) -> Result<(), Error> {
        match self.disk.remove(&file_name(id)) {
            // It has another name, or none, and that is what is wanted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_linked()?,
            removed => removed.map_err(|error| self.refused("remove", id, error))?,
        }
        self.tally.segments_removed.add(1);
        Ok(())
    }

    pub(crate) fn sync(&self, segment: &Segment) -> Result<(), Error> {
        self.tally.syncs.add(1);
        // A sync that fails may have lost older bytes of the file too, so even a full disk is told
        // as a failure and never as room to make.
        segment.file.sync_data().map_err(|e| Error::io("sync", self.path(segment.id), e))
    }

    /// Syncs a segment that has nothing in it but its header, or frames of the open group: nothing
    /// that was acknowledged is lost if that fails.
    pub(crate) fn sync_unused(&self, segment: &Segment) -> Result<(), Error> {
        self.tally.syncs.add(1);
        segment.file.sync_data().map_err(|e| self.refused("sync", segment.id, e))
    }

    /// Syncs several segments, and says for each what the system has said.
    pub(crate) fn sync_all(&self, segments: &[Arc<Segment>]) -> Vec<io::Result<()>> {
        self.tally.syncs.add(segments.len() as u64);
        let files: Vec<&dyn File> =
            segments.iter().map(|segment| -> &dyn File { &*segment.file }).collect();
        self.disk.sync_files(&files)
    }

    pub(crate) fn sync_directory(&self) -> Result<(), Error> {
        self.disk.sync_directory().map_err(|e| Error::io("sync directory", self.disk.place(), e))
    }

    /// The error of a call that changes no byte that counts.
    pub(crate) fn refused(&self, op: &'static str, id: u32, error: io::Error) -> Error {
        self.with_held(Error::of_attempt(op, self.path(id), error))
    }

    /// The error of a write to a segment: only what passes has changed no byte that counts.
    pub(crate) fn failed(&self, op: &'static str, id: u32, error: io::Error) -> Error {
        self.with_held(Error::of_call(op, self.path(id), error))
    }

    fn with_held(&self, error: Error) -> Error {
        match error {
            Error::Full { file, .. } => Error::Full { file, held: self.held_back() },
            error => error,
        }
    }
}
