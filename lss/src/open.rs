//! Opening: lock, superblock, chunks, the segments' headers, the frames behind the checkpoint.
//!
//! Nothing on disk is changed here, save that a store is created. What has to change before the
//! first append is done by [`Appender::begin`](crate::Appender::begin), so a crash at any moment
//! of an opening leaves a store that opens to the same state (R5).

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use types::{Address, PageId};

use crate::FORMAT_VERSION;
use crate::appender::AppendState;
use crate::chunks::{self, Chunks};
use crate::counters::Tally;
use crate::error::Error;
use crate::frame::SEQUENCE_LIMIT;
use crate::io::{Access, Disk, DiskLock, File, LOCK_FILE, LockFailure};
use crate::log::{Durable, Log, read_part};
use crate::options::Options;
use crate::part::{KIND_CHUNK, KIND_CHUNK_DIRECTORY};
use crate::recovery::{Replay, Start, replay};
use crate::scan::{Found, Scan, Wanted, Window};
use crate::segment::{Decoded, HEADER_BYTES, SegmentHeader, file_name, id_of};
use crate::segments::{Segment, Segments};
use crate::superblock::{FILE, NEW_FILE, Position, Superblock, SuperblockFile};

/// What an opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The version of the last whole commit; 0 for a new store.
    pub version: u64,
    /// The caller's data of the last checkpoint.
    pub meta: Vec<u8>,
    /// The chunks of the last checkpoint, by index.
    pub chunks: Vec<(u32, Vec<u8>)>,
    /// The parts committed since, in the order in which they were appended to each stream and
    /// committed.
    pub parts: Vec<RecoveredPart>,
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
}

/// A segment file as it was found.
#[derive(Debug)]
struct FoundFile {
    id: u32,
    file: Arc<dyn File>,
    size: u64,
    /// `None` if there is none that belongs to a file of this name.
    header: Option<SegmentHeader>,
}

impl Log {
    /// Opens the store on `disk`, or creates it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Missing`], [`Error::NotAStore`], [`Error::UnsupportedFormat`];
    /// [`Error::Corrupt`] if what was durable is damaged; [`Error::Full`] or [`Error::Io`] if the
    /// system refuses.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Log, Recovered), Error> {
        let options = options.in_range();
        check_present(&*disk, options)?;
        let lock = take_lock(&*disk, !options.read_only)?;
        // Looked at again, now that nobody else can change it.
        if !check_present(&*disk, options)? {
            create(&*disk, options)?;
        }
        let access = if options.read_only { Access::Read } else { Access::Write };
        let (superblock_file, superblock) = SuperblockFile::open(&*disk, access)?;
        let mut opening = Opening { disk, options, access, superblock, orphans: Vec::new() };
        let files = opening.segment_files()?;
        let replayed = opening.replay(&files)?;
        opening.finish(files, replayed, superblock_file, lock)
    }
}

/// Whether there is a store; an error if there is none and none may be created.
fn check_present(disk: &dyn Disk, options: Options) -> Result<bool, Error> {
    let path = disk.place();
    let names = disk.list().map_err(|e| Error::io("list", &path, e))?;
    if names.iter().any(|name| name == FILE) {
        return Ok(true);
    }
    if names.iter().any(|name| id_of(name).is_some()) {
        let what = "there are segments and no superblock";
        return Err(Error::corrupt(format!("{path}/{FILE}"), 0, what));
    }
    if names.iter().any(|name| name != LOCK_FILE && name != NEW_FILE) {
        return Err(Error::NotAStore { path });
    }
    if options.read_only || !options.create {
        return Err(Error::Missing { path });
    }
    Ok(false)
}

fn take_lock(disk: &dyn Disk, exclusive: bool) -> Result<Box<dyn DiskLock>, Error> {
    disk.lock(exclusive).map_err(|failure| match failure {
        LockFailure::Held(owner) => Error::Locked { path: disk.place(), owner },
        LockFailure::Io(e) => Error::of_call("lock", format!("{}/{LOCK_FILE}", disk.place()), e),
    })
}

fn create(disk: &dyn Disk, options: Options) -> Result<(), Error> {
    let random = || RandomState::new().build_hasher().finish();
    let first = Superblock {
        store: options.store_id.unwrap_or_else(random),
        number: 1,
        generation: 0,
        sequence: 0,
        version: 0,
        directory: Address::NONE,
        next_segment: 1,
        positions: [Position::default(); 2],
        attempt: 0,
        meta: Some(Vec::new()),
    };
    SuperblockFile::create(disk, &first)
}

/// An opening in progress.
#[derive(Debug)]
struct Opening {
    disk: Arc<dyn Disk>,
    options: Options,
    access: Access,
    superblock: Superblock,
    /// Files of an opening that never came to life.
    orphans: Vec<String>,
}

impl Opening {
    fn path(&self, id: u32) -> String {
        format!("{}/{}", self.disk.place(), file_name(id))
    }

    /// Opens all segment files and reads their headers.
    fn segment_files(&self) -> Result<Vec<FoundFile>, Error> {
        let place = self.disk.place();
        let names = self.disk.list().map_err(|e| Error::io("list", place, e))?;
        let mut ids: Vec<u32> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|id| self.segment_file(id)).collect()
    }

    fn segment_file(&self, id: u32) -> Result<FoundFile, Error> {
        let path = self.path(id);
        let file = self
            .disk
            .open(&file_name(id), self.access)
            .map_err(|e| Error::of_call("open", &path, e))?;
        let len = file.len().map_err(|e| Error::io("measure", &path, e))?;
        let mut bytes = [0; HEADER_BYTES];
        let header = match file.read_at(&mut bytes, 0) {
            Ok(()) => SegmentHeader::decode(&bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Decoded::Nothing,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let nameless = |header| FoundFile { id, file: Arc::clone(&file), size: len, header };
        let header = match header {
            Decoded::Nothing => return Ok(nameless(None)),
            Decoded::Unsupported { version, features } => {
                return Err(Error::UnsupportedFormat {
                    file: path,
                    found: version,
                    features,
                    supported: FORMAT_VERSION,
                });
            }
            Decoded::Header(header) => header,
        };
        if header.store != self.superblock.store {
            return Err(Error::corrupt(path, 24, "the segment is of another store"));
        }
        if header.id != id {
            // A recycling that a crash cut short: name or header came first.
            return Ok(nameless(None));
        }
        if len < header.size {
            if header.first_sequence == 0 {
                // Its creation was cut short: the length is durable before the first use.
                return Ok(nameless(None));
            }
            let what = format!("the file should have {} bytes", header.size);
            return Err(Error::corrupt(path, len, what));
        }
        if header.generation >= SEQUENCE_LIMIT {
            return Err(Error::corrupt(path, 32, "the generation is out of range"));
        }
        Ok(FoundFile { size: header.size, ..nameless(Some(header)) })
    }

    /// Reads the frames behind the checkpoint and follows them to the last whole commit.
    fn replay(&mut self, files: &[FoundFile]) -> Result<Replay, Error> {
        let superblock = &self.superblock;
        let wanted = Wanted {
            store: superblock.store,
            generation: superblock.generation,
            after: superblock.sequence,
        };
        let mut scan = Scan { durable: superblock.sequence, ..Scan::default() };
        for position in superblock.positions {
            if position.segment != 0 && !files.iter().any(|f| f.id == position.segment) {
                let what = "the segment is missing, though recovery starts in it";
                return Err(Error::corrupt(self.path(position.segment), 0, what));
            }
        }
        for found in files {
            let path = self.path(found.id);
            let mut window = Window::new(&*found.file, &path, found.size);
            if let Some(header) = found.header {
                if let Some(start) = self.scan_start(&header) {
                    scan.segment(&mut window, found.id, start, wanted)?;
                }
                continue;
            }
            // A file without a header is one whose creation was cut short, unless there are frames
            // in it that count.
            let mut inside = Scan::default();
            inside.segment(&mut window, found.id, HEADER_BYTES as u64, wanted)?;
            if !inside.frames.is_empty() || !inside.broken.is_empty() {
                return Err(Error::corrupt(path, 0, "the segment's header is damaged"));
            }
        }
        let by_id: HashMap<u32, &FoundFile> = files.iter().map(|f| (f.id, f)).collect();
        let mut verify = |frame: &Found| {
            let Some(found) = by_id.get(&frame.segment) else {
                return Ok(false);
            };
            let path = self.path(found.id);
            let mut window = Window::new(&*found.file, &path, found.size);
            for line in &frame.lines {
                if !window.holds(line)? {
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
        replay(&scan, start, &mut verify, &|id| self.path(id))
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
        replayed: Replay,
        superblock_file: SuperblockFile,
        lock: Box<dyn DiskLock>,
    ) -> Result<(Log, Recovered), Error> {
        let generations = files.iter().filter_map(|f| Some(f.header?.generation));
        let generation = generations.fold(self.superblock.generation, u64::max) + 1;
        let next = self.next_segment(&files)?;
        let found = self.live_segments(files, &replayed);
        let segments = Segments::new(
            Arc::clone(&self.disk),
            (self.superblock.store, generation),
            self.options,
            Arc::new(Tally::default()),
            found,
            next,
        );
        let (list, meta) = self.chunk_list(&segments)?;
        let mut budget = segments.disk_bytes();
        let mut chunks = Vec::new();
        for (&index, &address) in &list {
            // A hostile list may name one place again and again.
            let Some(rest) = budget.checked_sub(u64::from(address.len)) else {
                let path = self.path(self.superblock.directory.segment);
                return Err(Error::corrupt(path, 0, "more chunks than bytes"));
            };
            budget = rest;
            chunks.push((index, self.own_part(&segments, address, index, KIND_CHUNK)?));
        }
        let recovered =
            Recovered { version: replayed.version, meta, chunks, parts: replayed.parts };
        let state = AppendState::new(replayed.sequence, replayed.unproven, self.orphans);
        let log = Log {
            options: self.options,
            segments,
            superblock: superblock_file,
            chunks: RwLock::new(list),
            appender: Mutex::new(state),
            durable_version: AtomicU64::new(replayed.version),
            since_checkpoint: AtomicU64::new(replayed.bytes),
            begun: AtomicBool::new(false),
            durable: Durable::new(&self.superblock),
            poison: OnceLock::new(),
            opener: std::process::id(),
            _lock: lock,
        };
        Ok((log, recovered))
    }

    /// A number above that of every segment there is or was.
    fn next_segment(&self, files: &[FoundFile]) -> Result<u32, Error> {
        let highest = files.iter().map(|f| f.id).max().unwrap_or(0);
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
            let generation = found.header.map_or(0, |h| h.generation);
            if generation > self.superblock.generation {
                self.orphans.push(file_name(found.id));
                continue;
            }
            let stream = found.header.and_then(|h| h.stream);
            let segment = Segment::sealed(found.id, found.file, found.size, stream);
            // Nothing is known of its last frame; the next checkpoint lies behind this in any case.
            segment.wrote(found.size, replayed.sequence.max(1));
            segments.push(segment);
        }
        segments
    }

    /// The chunks of the checkpoint and the caller's data.
    fn chunk_list(&self, segments: &Segments) -> Result<(Chunks, Vec<u8>), Error> {
        let superblock = &self.superblock;
        let wrong = |what: &str| {
            let path = format!("{}/{FILE}", self.disk.place());
            Error::corrupt(path, 72, what)
        };
        if superblock.directory.is_none() {
            let meta = superblock.meta.clone();
            let meta = meta.ok_or_else(|| wrong("the checkpoint's data has no place"))?;
            return Ok((Chunks::new(), meta));
        }
        let number = PageId::NONE.number();
        let payload =
            self.own_part(segments, superblock.directory, number, KIND_CHUNK_DIRECTORY)?;
        let (list, long) =
            chunks::decode(&payload).ok_or_else(|| wrong("the chunk directory is none"))?;
        Ok((list, superblock.meta.clone().unwrap_or(long)))
    }

    /// Reads a part of the log's own, which is live from then on.
    fn own_part(
        &self,
        segments: &Segments,
        address: Address,
        page: u32,
        kind: u8,
    ) -> Result<Vec<u8>, Error> {
        let Some(segment) = segments.get(address.segment) else {
            let what = "the segment is missing, though a part of the checkpoint lies in it";
            return Err(Error::corrupt(self.path(address.segment), 0, what));
        };
        let payload = read_part(segments, &segment, address, PageId::new(page), kind)?;
        segments.adopt(address);
        Ok(payload.into())
    }
}
