//! Opening: lock, superblock, chunks, the segments' headers, the frames behind the checkpoint.
//!
//! Nothing on disk is changed here, save that a store is created. What has to change before the
//! first append is done by [`Appender::begin`](crate::Appender::begin), so a crash at any moment
//! of an opening leaves a store that opens to the same state (R5).
//!
//! # Beside a writer
//!
//! An opening for reading registers, in place of a lock, and another log may write meanwhile. Its
//! reads are of many moments, and yet it must find a state that a kill could have left, not older
//! than the last commit before it registered:
//!
//! - The superblock is that of one moment (`superblock.rs`). Every segment that a recovery from it
//!   needs was there then, and stays (`readers.rs`).
//! - Committed frames don't change. So whole groups from the superblock on, up to the first that
//!   was not found whole, are such a state, whenever each frame was read.
//! - A frame may say that others were durable which were written behind where the scan was by then.
//!   They are in the files when that scan has ended: a second one must find all that the first one
//!   was told of, and need not find what it is told of itself. So neither can be misled: what is
//!   damaged is damaged in the second scan too.
//! - A header is written before the first frame of its segment that counts. So one that is half
//!   written is none: what lies behind it was voided. It is damaged if a group has a frame there.
//! - A file that is removed or gets another name is none that counts. What that looks like is gone
//!   at the next look; damage is what two looks in a row say.

use core::mem;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, RwLock};

use types::{Address, PageId};

use crate::FORMAT_VERSION;
use crate::appender::AppendState;
use crate::chunks::{self, Chunk, Chunks};
use crate::copies::Copied;
use crate::counters::Tally;
use crate::error::Error;
use crate::files::{FoundFile, Owner, check_present, segment_files};
use crate::io::{Access, Disk, DiskLock, LOCK_FILE, LockFailure};
use crate::log::{Durable, Hold, Log};
use crate::older;
use crate::open_segment::Segment;
use crate::options::Options;
use crate::part;
use crate::pool::FilePool;
use crate::read::read_part;
use crate::recovered::{Recovered, RecoveredChunk};
use crate::recovery::{Place, Replay, Start, replay};
use crate::scan::{Found, Scan, Wanted, Window};
use crate::segment::{HEADER_BYTES, SegmentHeader, file_name};
use crate::segments::Segments;
use crate::superblock::{FILE, Superblock, SuperblockFile};
use crate::turn::Turns;

/// Looks of a reader at the log. All but the first two mean that what it has met at one was gone at
/// the next.
const MAX_LOOKS: u32 = 100;

/// Bytes at the end of a frame that hold more than its padding.
const FRAME_END_BYTES: u64 = 128;

impl Log {
    /// Opens the store on `disk`, or creates it. For reading only it opens beside one that writes,
    /// as of a commit not older than the last one before the call, and stays there.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Missing`], [`Error::NotAStore`], [`Error::UnsupportedFormat`];
    /// [`Error::Corrupt`] if what was durable is damaged; [`Error::Full`] or [`Error::Io`] if the
    /// system refuses.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Log, Recovered), Error> {
        let options = options.in_range();
        check_present(&*disk, options)?;
        let hold = enter(&*disk, options)?;
        // Looked at again, now that nobody else can change it.
        if !check_present(&*disk, options)? {
            create(&*disk, options)?;
        }
        let access = if options.read_only { Access::Read } else { Access::Write };
        let (superblock_file, superblock) = SuperblockFile::open(&*disk, access)?;
        let mut opening = Opening::new(disk, options, superblock);
        let (files, replayed) = opening.look()?;
        opening.finish(files, replayed, superblock_file, hold)
    }

    /// Looks, as a reader beside this log, at what an opening after a crash would: says why it
    /// would be refused, or what it would lose. Called by who keeps checkpoints from being taken.
    ///
    /// # Errors
    ///
    /// Any but damage.
    pub fn check_recovery(&self) -> Result<Option<Error>, Error> {
        self.superblock.check_linked()?;
        let disk = &self.segments.disk;
        let version = self.durable_version();
        let look = || {
            let (file, superblock) = SuperblockFile::open(&**disk, Access::Read)?;
            if self.superblock.is_whole() && !file.is_whole() {
                let path = format!("{}/{FILE}", disk.place());
                return Err(Error::corrupt(path, 0, "one of the two superblock slots is damaged"));
            }
            let options = Options { read_only: true, ..self.options };
            Opening::new(Arc::clone(disk), options, superblock).look()
        };
        match look() {
            Ok((_, replayed)) if replayed.version < version => {
                let what = format!(
                    "version {} is the last whole commit there, and {version} was durable",
                    replayed.version
                );
                Ok(Some(Error::corrupt(disk.place(), 0, what)))
            }
            Ok(_) => Ok(None),
            Err(error @ Error::Corrupt { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }
}

/// Keeps others from changing what is needed: by the lock, or as a registered reader.
fn enter(disk: &dyn Disk, options: Options) -> Result<Hold, Error> {
    if !options.read_only {
        return Ok(Hold::Locked { _lock: take_lock(disk, true)? });
    }
    match disk.register() {
        Ok(reader) => {
            // ORDERING: store buffering with the fence of `look` in `readers.rs`.
            fence(Ordering::SeqCst);
            Ok(Hold::Registered(reader))
        }
        // Where nothing can be written, readers keep writers out, and the other way round.
        Err(refusal) => match take_lock(disk, false) {
            Ok(lock) => Ok(Hold::Locked { _lock: lock }),
            Err(Error::Locked { path, owner, .. }) => {
                let owner = format!("{owner}; no reader can register beside it: {refusal}");
                let advice = "close it there first, or let this process write to the directory";
                Err(Error::Locked { path, owner, advice })
            }
            Err(error) => Err(error),
        },
    }
}

fn take_lock(disk: &dyn Disk, exclusive: bool) -> Result<Box<dyn DiskLock>, Error> {
    disk.lock(exclusive).map_err(|failure| match failure {
        LockFailure::Held(owner) => Error::Locked {
            path: disk.place(),
            owner,
            advice: "close it there first, or open it for reading only, which works beside it",
        },
        LockFailure::Io(e) => Error::of_call("lock", format!("{}/{LOCK_FILE}", disk.place()), e),
    })
}

fn create(disk: &dyn Disk, options: Options) -> Result<(), Error> {
    let random = || RandomState::new().build_hasher().finish();
    let first = Superblock::first(options.store_id.unwrap_or_else(random), Vec::new());
    SuperblockFile::create(disk, &first)
}

/// What is wrong with a segment that must be there.
fn wrong_with(found: Option<&FoundFile>) -> Option<&'static str> {
    match found {
        None => Some("the segment is missing"),
        Some(found) if found.owner == Owner::Other => Some("the segment is of another store"),
        Some(found) if found.size == 0 => Some("the segment is empty"),
        Some(found) if found.is_short() => Some("the segment is cut short"),
        Some(_) => None,
    }
}

/// These places, and header and last byte of each segment that they are in: a group that is not
/// proven to be durable may have made it.
fn with_ends(mut unproven: Vec<Place>, files: &[FoundFile]) -> Vec<Place> {
    let touched: HashSet<u32> = unproven.iter().map(|place| place.segment).collect();
    for found in files.iter().filter(|found| touched.contains(&found.id)) {
        let end = found.size.saturating_sub(1) as u32;
        for (offset, len) in [(0, HEADER_BYTES as u64), (end, 1)] {
            unproven.push(Place { segment: found.id, offset, len });
        }
    }
    unproven
}

/// An opening in progress.
#[derive(Debug)]
struct Opening {
    disk: Arc<dyn Disk>,
    pool: Arc<FilePool>,
    options: Options,
    superblock: Superblock,
    /// Files of an opening that never came to life.
    orphans: Vec<String>,
    /// Numbers of files that are segments of other stores.
    foreign: Vec<u32>,
    /// Numbers that no new segment may have.
    taken: HashSet<u32>,
    /// Segments with a frame, or what is left of one, behind the checkpoint.
    scanned: HashSet<u32>,
    /// Of a reader that looks again: up to where frames were durable at its first look.
    required: Option<u64>,
    /// The highest sequence of a frame behind the checkpoint, whether it counts or not.
    seen: u64,
}

impl Opening {
    fn new(disk: Arc<dyn Disk>, options: Options, superblock: Superblock) -> Self {
        let pool = FilePool::new(Arc::clone(&disk), options.read_only, options.max_open_files);
        Self {
            disk,
            pool,
            options,
            superblock,
            orphans: Vec::new(),
            foreign: Vec::new(),
            taken: HashSet::new(),
            scanned: HashSet::new(),
            required: None,
            seen: 0,
        }
    }

    fn path(&self, id: u32) -> String {
        format!("{}/{}", self.disk.place(), file_name(id))
    }

    fn found(&mut self) -> Result<Vec<FoundFile>, Error> {
        let store = (self.superblock.store, self.superblock.next_segment);
        let (files, taken) = segment_files(&*self.disk, &self.pool, store)?;
        self.taken = taken;
        Ok(files)
    }

    /// Finds the files and what they amount to.
    fn look(&mut self) -> Result<(Vec<FoundFile>, Replay), Error> {
        let mut before = String::new();
        for _ in 1..MAX_LOOKS {
            let looked = self.look_once();
            match looked {
                Err(error) if self.options.read_only && error.to_string() != before => {
                    before = error.to_string();
                }
                looked => return looked,
            }
        }
        self.look_once()
    }

    fn look_once(&mut self) -> Result<(Vec<FoundFile>, Replay), Error> {
        let files = self.found()?;
        let replayed = self.replay(&files);
        match &replayed {
            Ok(replayed) => self.check_superblock(&files, replayed.sequence)?,
            // Then what is missing is not what is wrong.
            Err(Error::Corrupt { .. }) => self.check_superblock(&files, self.seen)?,
            Err(_) => {}
        }
        Ok((files, replayed?))
    }

    /// An error if the superblock is older than the segments, of which recovery would take those
    /// up to this sequence.
    fn check_superblock(&self, files: &[FoundFile], taken: u64) -> Result<(), Error> {
        let place = (&*self.disk, self.options.read_only);
        older::check(place, files, &self.superblock, taken, &|id| self.path(id))
    }

    /// Reads the frames behind the checkpoint and follows them to the last whole commit.
    fn replay(&mut self, files: &[FoundFile]) -> Result<Replay, Error> {
        let superblock = &self.superblock;
        let wanted = Wanted {
            store: superblock.store,
            generation: superblock.generation,
            after: superblock.sequence,
        };
        let durable = superblock.sequence + u64::from(superblock.durable_behind);
        let mut scan = Scan { durable, ..Scan::default() };
        for found in files {
            let mut window = Window::new(&found.file, self.path(found.id), found.size);
            let start = match &found.header {
                Some(header) => self.scan_start(header),
                // Its creation was cut short, or it is none of this store; or a header was damaged.
                None => Some(HEADER_BYTES as u64),
            };
            if let Some(start) = start {
                scan.segment(&mut window, found.id, start, wanted)?;
            }
        }
        let seen = scan.frames.iter().map(|found| found.header.sequence);
        self.seen = seen.fold(superblock.sequence, u64::max);
        self.check_positions(files)?;
        let whole = scan.frames.iter().map(|found| found.segment);
        self.scanned = whole.chain(scan.broken.iter().map(|&(_, segment, _)| segment)).collect();
        let required = self.required.unwrap_or(scan.durable);
        self.required = Some(required);
        let superblock = &self.superblock;
        let by_id: HashMap<u32, &FoundFile> = files.iter().map(|f| (f.id, f)).collect();
        let mut verify = |frame: &Found| {
            let Some(found) = by_id.get(&frame.segment).filter(|found| !found.is_unfinished())
            else {
                return Ok(false);
            };
            let mut window = Window::new(&found.file, self.path(found.id), found.size);
            let format = found.header.map_or(FORMAT_VERSION, |header| header.format);
            let Some(lines) = frame.lines(&mut window)? else { return Ok(false) };
            for line in lines.iter() {
                if !window.holds((format, found.id), line)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let start = Start {
            sequence: superblock.sequence,
            version: superblock.version,
            attempt: superblock.attempt,
        };
        let lost = |id: u32| wrong_with(by_id.get(&id).copied()).unwrap_or("nothing is left in it");
        let replayed = replay(&scan, start, required, &mut verify, &|id| self.path(id), &lost)?;
        let mut short = files.iter().filter(|found| found.is_short());
        if let Some(found) = short.find(|found| replayed.segments.contains(&found.id)) {
            let size = found.header.map_or(0, |header| header.size);
            let what = format!("the file should have {size} bytes");
            return Err(Error::corrupt(self.path(found.id), found.size, what));
        }
        let headless = files.iter().filter(|found| found.header.is_none());
        match headless.map(|found| found.id).find(|id| replayed.segments.contains(id)) {
            Some(id) => Err(Error::corrupt(self.path(id), 0, "the segment's header is damaged")),
            None => Ok(replayed),
        }
    }

    /// Looks whether the segments in which recovery starts are there, and whether there is anything
    /// in them before its start: the last frame of a checkpoint's commits.
    fn check_positions(&self, files: &[FoundFile]) -> Result<(), Error> {
        for position in self.superblock.positions.iter().filter(|p| p.segment != 0) {
            let found = files.iter().find(|found| found.id == position.segment);
            let end = u64::from(position.offset);
            let wrong = match (wrong_with(found), found) {
                (None, Some(found)) if self.is_blank(found, end)? => "nothing is left in it",
                (None, _) => continue,
                (Some(wrong), _) => wrong,
            };
            let what = format!("{wrong}, though recovery starts in it");
            return Err(Error::corrupt(
                self.path(position.segment),
                end.min(found.map_or(0, |f| f.size)),
                what,
            ));
        }
        Ok(())
    }

    /// Whether there are zeros, or nothing, where a frame or a link ended. The last
    /// [`FRAME_END_BYTES`] of a frame, or all of a shorter one, are never all zeros: its directory
    /// lies there, or its header.
    fn is_blank(&self, found: &FoundFile, end: u64) -> Result<bool, Error> {
        let start = end.saturating_sub(FRAME_END_BYTES).max(HEADER_BYTES as u64);
        let Some(len) = end.checked_sub(start).filter(|&len| len > 0) else { return Ok(false) };
        let mut window = Window::new(&found.file, self.path(found.id), end);
        let bytes = window.get(start, len)?;
        Ok(bytes.is_none_or(|bytes| bytes.iter().all(|&byte| byte == 0)))
    }

    /// From where on a segment may hold frames behind the checkpoint.
    fn scan_start(&self, header: &SegmentHeader) -> Option<u64> {
        let superblock = &self.superblock;
        if header.generation != superblock.generation {
            return None;
        }
        let open = superblock.positions.iter().find(|p| p.segment == header.id);
        if let Some(position) = open {
            return Some(u64::from(position.offset).max(HEADER_BYTES as u64));
        }
        let may = header.first_sequence == 0 || header.first_sequence > superblock.sequence;
        may.then_some(HEADER_BYTES as u64)
    }

    /// Puts the log together and reads the chunks.
    fn finish(
        mut self,
        files: Vec<FoundFile>,
        mut replayed: Replay,
        superblock_file: SuperblockFile,
        hold: Hold,
    ) -> Result<(Log, Recovered), Error> {
        let generations = files.iter().filter_map(|f| Some(f.header?.generation));
        let generation = generations.fold(self.superblock.generation, u64::max) + 1;
        let next = self.next_segment(&files)?;
        let bytes = files.iter().map(|f| f.size).sum();
        let unproven = with_ends(mem::take(&mut replayed.unproven), &files);
        let found = self.live_segments(files, &replayed);
        let segments = Segments::new(
            (Arc::clone(&self.disk), Arc::clone(&self.pool)),
            (self.superblock.store, generation),
            self.options,
            Arc::new(Tally::default()),
            found,
            (next, mem::take(&mut self.taken)),
        );
        let (mut list, meta) = self.chunk_list(&segments, replayed.sequence)?;
        self.adopt_chunks(&segments, &mut list, bytes)?;
        let chunk = |(&index, chunk): (&u32, &Chunk)| RecoveredChunk { index, as_of: chunk.as_of };
        let chunks = list.iter().map(chunk).collect();
        let recovered =
            Recovered { version: replayed.version, meta, chunks, frames: replayed.frames };
        let state = AppendState::new(&self.options, replayed.sequence, unproven, self.orphans);
        let log = Log {
            options: self.options,
            segments,
            superblock: superblock_file,
            durable: Durable::new(
                &self.superblock,
                chunks::uncopied_bytes(&list, self.superblock.directory),
            ),
            chunks: RwLock::new(list),
            appender: Turns::new(state),
            durable_version: AtomicU64::new(replayed.version),
            since_checkpoint: AtomicU64::new(replayed.bytes),
            last_sequence: AtomicU64::new(replayed.sequence),
            begun: AtomicBool::new(false),
            poison: OnceLock::new(),
            opener: std::process::id(),
            hold,
        };
        if let Hold::Registered(reader) = &log.hold {
            // If it can't be told, more is held back than is needed.
            let _untold = reader.set_view(replayed.sequence);
        }
        Ok((log, recovered))
    }

    /// A number above that of every segment there is or was. Other files, whatever their names say,
    /// only keep their numbers for themselves.
    fn next_segment(&self, files: &[FoundFile]) -> Result<u32, Error> {
        let highest = files.iter().filter(|f| f.header.is_some()).map(|f| f.id).max().unwrap_or(0);
        let next = highest.checked_add(1).ok_or(Error::TooLarge {
            what: "a segment number",
            size: u64::from(highest) + 1,
            most: u64::from(u32::MAX),
        })?;
        Ok(next.max(self.superblock.next_segment))
    }

    /// The segments that belong to the log; the others become orphans.
    fn live_segments(&mut self, files: Vec<FoundFile>, replayed: &Replay) -> Vec<Segment> {
        let mut segments = Vec::new();
        for found in files {
            if found.owner == Owner::Other {
                self.foreign.push(found.id);
                continue;
            }
            let generation = found.header.map_or(0, |h| h.generation);
            // One that is too short was never finished, if it does not lie before the checkpoint.
            // What counts of another one, and is there, is there; the rest will be missed.
            let is_finished = !found.is_short() || self.is_before_checkpoint(&found);
            if generation > self.superblock.generation || !is_finished {
                self.orphans.push(file_name(found.id));
                continue;
            }
            let stream = found.header.and_then(|h| h.stream);
            let format = found.header.map_or(FORMAT_VERSION, |h| h.format);
            let segment = Segment::sealed(found.id, found.file, found.size, stream, format);
            // Of its last frame no more is known than whether it lies behind the checkpoint; the
            // next checkpoint lies behind it in any case.
            let before = !self.scanned.contains(&found.id);
            let last = if before { self.superblock.sequence } else { replayed.sequence };
            segment.wrote(found.size, last.max(1));
            let first = found.header.map_or(0, |h| h.first_sequence);
            segment.first_sequence.store(first, Ordering::Relaxed);
            if found.header.is_none() || first > replayed.sequence {
                segment.unsettle();
            }
            if found.owner == Owner::Unclear {
                segment.leave_alone();
            }
            let prepared = found.header.is_some_and(|h| h.first_sequence == 0 && stream.is_none());
            if prepared && !self.scanned.contains(&found.id) {
                segment.mark_unused();
            }
            segments.push(segment);
        }
        segments
    }

    /// Whether the first frame of a segment lies before the checkpoint: its file was durable then.
    fn is_before_checkpoint(&self, found: &FoundFile) -> bool {
        let first = found.header.map_or(0, |header| header.first_sequence);
        (1..=self.superblock.sequence).contains(&first)
    }

    /// Counts the parts of all chunks as live, and takes places out of the list whose segments are
    /// not there, if a part has another one. `bytes` are those of all files.
    fn adopt_chunks(
        &self,
        segments: &Segments,
        list: &mut Chunks,
        bytes: u64,
    ) -> Result<(), Error> {
        let mut budget = bytes;
        for part in list.values_mut().flat_map(|chunk| &mut chunk.parts) {
            // A hostile list may name one place again and again.
            let named = part.places().map(|place| u64::from(place.len)).sum();
            let Some(rest) = budget.checked_sub(named) else {
                let path = self.path(self.superblock.directory.at.segment);
                return Err(Error::corrupt(path, 0, "more chunks than bytes"));
            };
            budget = rest;
            let is_there = |place: Address| segments.holds(place).is_some();
            if !is_there(part.copy) {
                part.copy = Address::NONE;
            } else if !is_there(part.at) {
                *part = Copied::single(part.copy);
            }
            self.own_segment(segments, part.at)?;
            for place in part.places() {
                segments.adopt(place);
            }
            segments.note_chunk(part::stored_bytes(part.at.len as usize) as u64);
        }
        Ok(())
    }

    /// The chunks of the checkpoint and the caller's data. `taken` is the last sequence that
    /// counts.
    fn chunk_list(&mut self, segments: &Segments, taken: u64) -> Result<(Chunks, Vec<u8>), Error> {
        let (directory, kind) = (self.superblock.directory, self.superblock.directory_kind);
        let wrong = |what: &str| {
            let path = format!("{}/{FILE}", self.disk.place());
            Error::corrupt(path, 72, what)
        };
        if directory.at.is_none() {
            let meta = self.superblock.meta.clone();
            let meta = meta.ok_or_else(|| wrong("the checkpoint's data has no place"))?;
            return Ok((Chunks::new(), meta));
        }
        let (payload, mut sound) = directory.read(|address| {
            let segment = self.own_segment(segments, address)?;
            read_part(segments, &segment, address, PageId::NONE, &[kind])
        })?;
        let list = chunks::decode(kind, &payload);
        let (list, long) = list.ok_or_else(|| wrong("the chunk directory is none"))?;
        segments.adopt(sound.at);
        if !segments.adopt(sound.copy) {
            sound.copy = Address::NONE;
        }
        segments.note_chunk(part::stored_bytes(payload.len()) as u64);
        if list.values().any(|chunk| chunk.as_of > taken) {
            return Err(wrong("a chunk is newer than the last commit"));
        }
        let meta = self.superblock.meta.clone().unwrap_or(long);
        self.superblock.directory = sound;
        Ok((list, meta))
    }

    /// The segment of a part of the log's own.
    fn own_segment(&self, segments: &Segments, part: Address) -> Result<Arc<Segment>, Error> {
        segments.get(part.segment).ok_or_else(|| {
            let foreign = self.foreign.contains(&part.segment);
            let wrong = if foreign { "of another store" } else { "missing" };
            let what = format!("the segment is {wrong}, though the checkpoint has a part in it");
            Error::corrupt(self.path(part.segment), 0, what)
        })
    }
}
