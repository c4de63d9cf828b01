//! Checkpoints: what has changed of the chunks, the list of all chunks, a COMMIT, then the
//! superblock.
//!
//! # In steps
//!
//! What a checkpoint writes can be long, and commits do not wait for it: it is written in steps,
//! each a group of its own, and between two of them others commit. It starts behind a commit, its
//! *start*, and that is where recovery will start. A chunk is written as of the commit before its
//! step, which is not older, and the list says which: parts behind the start, up to there, are in
//! the chunk already, and recovery leaves them out for it. So the chunks are of different commits,
//! and each of them is brought to the last one.
//!
//! - What is not written had not changed up to the start.
//! - The list is in a group behind all steps, and the superblock says that this group is durable:
//!   a replay that would end before it, with a chunk newer than its end, is damage.
//! - Until the superblock is durable, what the steps have written means nothing; a failure, or a
//!   crash, leaves the checkpoint before as it was.
//!
//! # Deltas
//!
//! A chunk is a base and deltas on top of it, so that a checkpoint costs what has changed and not
//! what the table holds. When to write a base anew is up to the caller. A part that lies in a
//! segment that is to be emptied is moved as it is. All of it is written twice (`copies.rs`).
//!
//! # The first checkpoint of an opening
//!
//! It starts a new generation in fresh segments. Its frames count only when the superblock says so:
//! until then a crash leaves the old generation as it was, and recovery finds the same again.

use core::mem;
use std::collections::HashSet;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use types::{Address, PageId};

use crate::appender::{Appender, limit};
use crate::chunks::{self, Chunk, Chunks};
use crate::copies::Copied;
use crate::error::Error;
use crate::log::Log;
use crate::part::{self, KIND_CHUNK, KIND_CHUNK_DIRECTORY, Stream};
use crate::recovery::{Place, Start};
use crate::reserve::Claim;
use crate::superblock::{INLINE_META_BYTES, MAX_META_BYTES, Position, Superblock};

/// What a checkpoint writes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// All of it, in place of what there was. If it is empty there is no such chunk any more.
    Whole(Vec<u8>),
    /// What has changed in it, on top of what there was.
    Delta(Vec<u8>),
}

/// A checkpoint that is being written in steps.
///
/// One at a time; between two steps anybody may append and commit. Give it to
/// [`Appender::end_checkpoint`] or [`Log::abandon_checkpoint`].
#[derive(Debug)]
pub struct Checkpoint {
    start: Start,
    positions: [Position; 2],
    /// Bytes behind the checkpoint before, at the start.
    logged_bytes: u64,
    list: Chunks,
    /// Parts of the list that are not in that of the checkpoint before.
    fresh: Vec<Address>,
    /// The last sequence, if nobody else has committed since the start.
    alone: u64,
}

/// The stream that parts of a checkpoint go to, and that of their copies, if there is room for
/// some.
type Streams = (Stream, Option<Stream>);

impl Appender<'_> {
    /// Writes the given chunks of the caller's table and makes the log start from here: recovery
    /// reads nothing that lies before.
    ///
    /// A chunk that is not given keeps what it had. `meta` is the caller's own, at most
    /// [`MAX_META_BYTES`]. When this returns, the chunks describe the last commit, so nothing may
    /// have been appended since.
    ///
    /// Parts of chunks in the segments `leaving` are moved; the indexes of those that can't be read
    /// are returned, so that they can be written whole.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: everything is as before.
    /// [`Error::Misuse`]: something was appended since the last commit. Other failures poison the
    /// log.
    ///
    /// Each chunk is taken when the one before it has been appended, so that they need not be in
    /// memory together.
    pub fn checkpoint(
        &mut self,
        chunks: impl IntoIterator<Item = (u32, ChunkPart)>,
        leaving: &[u32],
        meta: &[u8],
    ) -> Result<Vec<u32>, Error> {
        let mut run = self.start_checkpoint()?;
        let version = self.log.durable_version();
        let (claim, streams) = self.room_for_checkpoint();
        let mut left = Vec::new();
        self.in_group(claim, |appender| {
            appender.append_chunks(&mut run, streams, &mut chunks.into_iter())?;
            left = appender.append_moved(&mut run, streams, leaving, u64::MAX)?.unreadable;
            appender.finish(run, streams, meta, version)
        })?;
        Ok(left)
    }

    /// Starts a checkpoint that is written in steps. It comes right after a commit, from which
    /// recovery will start.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]: something was appended since the last commit. What keeps the log from
    /// writing.
    pub fn start_checkpoint(&mut self) -> Result<Checkpoint, Error> {
        self.check_ready()?;
        if self.state.is_dirty() {
            return Err(Error::Misuse { what: "a checkpoint comes right after a commit" });
        }
        self.check_linked()?;
        Ok(self.starting(self.log.durable_version()))
    }

    fn starting(&self, version: u64) -> Checkpoint {
        let sequence = self.state.committed_sequence();
        Checkpoint {
            start: Start { sequence, version, attempt: self.state.attempt },
            positions: self.state.positions(),
            logged_bytes: self.log.bytes_since_checkpoint(),
            list: self.log.chunks().clone(),
            fresh: Vec::new(),
            alone: sequence,
        }
    }

    /// Writes and commits these chunks, as of the last commit. A chunk is written once.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint); the step has not taken place, and the checkpoint is to
    /// be abandoned.
    pub fn write_chunks(
        &mut self,
        run: &mut Checkpoint,
        chunks: impl IntoIterator<Item = (u32, ChunkPart)>,
    ) -> Result<(), Error> {
        self.in_step(run, |appender, run, streams| {
            appender.append_chunks(run, streams, &mut chunks.into_iter())
        })
    }

    /// Moves parts of chunks out of these segments, and copies those that have no copy, about as
    /// many bytes as said, and commits that.
    ///
    /// # Errors
    ///
    /// As [`write_chunks`](Self::write_chunks).
    pub fn move_chunks(
        &mut self,
        run: &mut Checkpoint,
        leaving: &[u32],
        budget_bytes: u64,
    ) -> Result<MovedChunks, Error> {
        self.in_step(run, |appender, run, streams| {
            appender.append_moved(run, streams, leaving, budget_bytes)
        })
    }

    /// Makes the log start where this checkpoint did. `meta` as for
    /// [`checkpoint`](Self::checkpoint).
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint); the checkpoint is abandoned then.
    pub fn end_checkpoint(&mut self, run: Checkpoint, meta: &[u8]) -> Result<(), Error> {
        self.check_ready()?;
        let committed = run.fresh.clone();
        let version = self.log.durable_version();
        let (claim, streams) = self.room_for_checkpoint();
        let ended = self.in_group(claim, |appender| appender.finish(run, streams, meta, version));
        if ended.is_err() {
            // Unless the superblock names them, half written.
            let named: HashSet<Address> = self.state.unnamed.iter().copied().collect();
            committed.into_iter().filter(|part| !named.contains(part)).for_each(|part| {
                self.log.segments.retire(part);
            });
        }
        ended
    }

    /// Starts writing: the first checkpoint of this opening, in a new generation. Whatever lay
    /// behind the last commit is cut off for good. Call [`Log::adopt`](crate::Log::adopt) for
    /// every live part first.
    ///
    /// `chunks` are those that differ from what [`Recovered`](crate::Recovered) held; all of them
    /// may be given.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`], [`Error::Denied`]: nothing has changed and it may be
    /// called again. [`Error::Misuse`]: called twice. Other failures poison the log.
    pub fn begin(
        &mut self,
        chunks: impl IntoIterator<Item = (u32, ChunkPart)>,
        meta: &[u8],
        version: u64,
    ) -> Result<(), Error> {
        self.check_writable()?;
        if self.log.has_begun() {
            return Err(Error::Misuse { what: "begin is called once" });
        }
        self.check_linked()?;
        self.settle().map_err(|error| self.log.fail_unless_one_group(error))?;
        self.log.take_unused();
        let mut run = self.starting(version);
        // All in one stream: it needs one segment and no more.
        let streams = (Stream::Foreground, None);
        self.in_group(Claim::Opening, |appender| {
            appender.append_chunks(&mut run, streams, &mut chunks.into_iter())?;
            appender.finish(run, streams, meta, version)
        })?;
        // ORDERING: see `has_begun`.
        self.log.begun.store(true, Ordering::Relaxed);
        self.state.durable = self.state.committed_sequence();
        Ok(())
    }

    /// The directory and the files that are written to still have their names. A removal poisons; a
    /// look that fails does not.
    fn check_linked(&self) -> Result<(), Error> {
        let linked = self.log.segments.check_linked();
        let linked = linked.and_then(|()| self.look_at_files().collect());
        linked.map_err(|error| self.log.fail_unless_one_group(error))
    }

    /// Makes sure that what recovery took is durable, and removes what it did not take.
    ///
    /// A process that was killed, or whose sync failed, leaves frames that can be read and are not
    /// on the disk. Writing the same bytes again makes them dirty, so that the sync is a real one.
    fn settle(&mut self) -> Result<(), Error> {
        let segments = &self.log.segments;
        self.log.superblock.settle(&segments.tally)?;
        let mut touched = Vec::new();
        for place in &self.state.unproven {
            let Some(segment) = segments.get(place.segment) else {
                continue;
            };
            rewrite(&*segment.file, place)
                .map_err(|e| segments.failed("write", place.segment, e))?;
            if touched.last() != Some(&place.segment) {
                touched.push(place.segment);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for segment in touched.into_iter().filter_map(|id| segments.get(id)) {
            segments.sync(&segment)?;
        }
        self.state.unproven.clear();
        while let Some(name) = self.state.orphans.last() {
            match segments.disk.remove(name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    let file = format!("{}/{name}", segments.disk.place());
                    return Err(Error::of_attempt("remove", file, e));
                }
                _ => {}
            }
            self.state.orphans.pop();
        }
        segments.sync_directory()
    }

    /// A step of a checkpoint: a group of its own.
    fn in_step<R>(
        &mut self,
        run: &mut Checkpoint,
        step: impl FnOnce(&mut Self, &mut Checkpoint, Streams) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.check_ready()?;
        if self.state.is_dirty() {
            return Err(Error::Misuse {
                what: "a step of a checkpoint comes right after a commit",
            });
        }
        let alone = run.alone == self.state.committed_sequence();
        let fresh = run.fresh.len();
        let version = self.log.durable_version();
        let (claim, streams) = self.room_for_checkpoint();
        let done = self.in_group(claim, |appender| {
            let done = step(appender, run, streams)?;
            if appender.state.is_dirty() {
                appender.commit_group(version)?;
            }
            Ok(done)
        });
        match done {
            Ok(_) if alone => run.alone = self.state.committed_sequence(),
            Ok(_) => {}
            // The rollback has them.
            Err(_) => run.fresh.truncate(fresh),
        }
        done
    }

    fn room_for_checkpoint(&self) -> (Claim, Streams) {
        let streams = if self.log.is_tight() {
            (self.roomier(), None)
        } else {
            (Stream::Background, Some(Stream::Foreground))
        };
        (Claim::Relief, streams)
    }

    /// Appends a part of the log's own, and its copy.
    fn add_copied(
        &mut self,
        (first, second): Streams,
        name: (PageId, u8, u64),
        payload: &[u8],
    ) -> Result<Copied, Error> {
        let at = self.add(first, name, &[], payload)?;
        let copy = second.map(|second| self.add(second, name, &[], payload));
        Ok(Copied { at, copy: copy.transpose()?.unwrap_or(Address::NONE) })
    }

    /// Appends by `write`; if that fails, nothing was appended.
    fn in_group<R>(
        &mut self,
        claim: Claim,
        write: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let before = mem::replace(&mut self.state.claim, claim);
        let written = write(self);
        self.state.claim = before;
        if written.is_err() && self.log.poisoned().is_none() {
            self.rollback()?;
        }
        written
    }

    fn append_chunks(
        &mut self,
        run: &mut Checkpoint,
        streams: Streams,
        chunks: &mut dyn Iterator<Item = (u32, ChunkPart)>,
    ) -> Result<(), Error> {
        let as_of = self.state.committed_sequence();
        for (index, part) in chunks {
            let (payload, whole) = match part {
                ChunkPart::Whole(payload) => (payload, true),
                ChunkPart::Delta(payload) => (payload, false),
            };
            if payload.is_empty() {
                if whole {
                    run.list.remove(&index);
                }
                continue;
            }
            self.log.segments.note_chunk(part::stored_bytes(payload.len()) as u64);
            let part = self.add_copied(streams, (PageId::new(index), KIND_CHUNK, 0), &payload)?;
            run.fresh.extend(part.places());
            let chunk = run.list.entry(index).or_default();
            if whole {
                chunk.parts.clear();
            }
            chunk.parts.push(part);
            chunk.as_of = as_of;
        }
        Ok(())
    }

    fn append_moved(
        &mut self,
        run: &mut Checkpoint,
        (first, second): Streams,
        leaving: &[u32],
        budget_bytes: u64,
    ) -> Result<MovedChunks, Error> {
        let mut moved = MovedChunks::default();
        let log = self.log;
        let leaves = |address: Address| leaving.contains(&address.segment);
        let Checkpoint { list, fresh, .. } = run;
        for (&index, chunk) in list.iter_mut() {
            let page = PageId::new(index);
            let name = (page, KIND_CHUNK, 0);
            for part in &mut chunk.parts {
                let lacks_copy = second.is_some() && part.is_single();
                if !lacks_copy && !part.places().any(leaves) {
                    continue;
                }
                if moved.bytes >= budget_bytes {
                    moved.more = true;
                    return Ok(moved);
                }
                match part.read(|address| log.read_own(address, page, &[KIND_CHUNK])) {
                    Ok((payload, mut sound)) => {
                        let before = *part;
                        if leaves(sound.at) {
                            sound.at = self.add(first, name, &[], &payload)?;
                        }
                        if leaves(sound.copy) {
                            sound.copy = Address::NONE;
                        }
                        if let Some(second) = second.filter(|_| sound.is_single()) {
                            let shared = self.state.is_open_segment(second, sound.at.segment);
                            let stream = if shared { first } else { second };
                            sound.copy = self.add(stream, name, &[], &payload)?;
                        }
                        *part = sound;
                        let new = |address: &Address| before.places().all(|old| old != *address);
                        fresh.extend(sound.places().filter(new));
                        moved.bytes += payload.len() as u64;
                    }
                    Err(error) if error.is_passing() => return Err(error),
                    Err(_) => {
                        moved.unreadable.push(index);
                        break;
                    }
                }
            }
        }
        Ok(moved)
    }

    fn finish(
        &mut self,
        run: Checkpoint,
        streams: Streams,
        meta: &[u8],
        version: u64,
    ) -> Result<(), Error> {
        limit("the data of a checkpoint", meta.len(), MAX_META_BYTES)?;
        let log = self.log;
        let Checkpoint { mut start, mut positions, logged_bytes, list, mut fresh, alone } = run;
        let alone = alone == self.state.committed_sequence();
        let inline = meta.len() <= INLINE_META_BYTES;
        let mut directory = Copied::default();
        if !list.is_empty() || !inline {
            let payload = chunks::encode(&list, if inline { &[] } else { meta });
            let name = (PageId::NONE, KIND_CHUNK_DIRECTORY, 0);
            directory = self.add_copied(streams, name, &payload)?;
            fresh.extend(directory.places());
        }
        self.commit_group(version)?;
        let mut logged = log.bytes_since_checkpoint().saturating_sub(logged_bytes);
        let sequence = self.state.committed_sequence();
        if alone {
            // Then all that is behind the start is the checkpoint itself.
            start = Start { sequence, version, attempt: self.state.attempt };
            positions = self.state.positions();
            logged = 0;
        }
        let behind = sequence - start.sequence;
        limit("a checkpoint", behind as usize, u32::MAX as usize)?;
        let superblock = Superblock {
            store: log.segments.store,
            number: log.next_superblock(),
            generation: log.segments.generation,
            sequence: start.sequence,
            version: start.version,
            directory,
            directory_kind: KIND_CHUNK_DIRECTORY,
            next_segment: log.segments.next_id(),
            positions,
            attempt: start.attempt,
            durable_behind: behind as u32,
            meta: inline.then(|| meta.to_vec()),
        };
        let written = self.check_linked().and_then(|()| {
            let written = log.superblock.write(&superblock, &log.segments.tally);
            written.map_err(|error| log.fail_unless_one_group(error))
        });
        if let Err(error) = written {
            self.state.unnamed.append(&mut fresh);
            return Err(error);
        }
        for address in self.state.unnamed.drain(..) {
            log.segments.retire(address);
        }
        log.segments.tally.checkpoints.add(1);
        log.moved_checkpoint(&superblock, logged, chunks::uncopied_bytes(&list, directory));
        // What a step has written and a later one has moved again.
        let mut passing: HashSet<Address> = fresh.into_iter().collect();
        for place in list.values().flat_map(Chunk::places).chain(directory.places()) {
            passing.remove(&place);
        }
        for place in passing {
            log.segments.retire(place);
        }
        // The slot that names the old chunks is older, or written over.
        let mut current = log.chunks.write().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *current, list);
        for (index, chunk) in &old {
            let now = current.get(index);
            let now: HashSet<Address> = now.iter().flat_map(|chunk| chunk.places()).collect();
            for gone in chunk.places().filter(|place| !now.contains(place)) {
                log.segments.retire(gone);
            }
        }
        Ok(())
    }
}

impl Log {
    /// Gives up a checkpoint: what its steps have written is dead.
    pub fn abandon_checkpoint(&self, run: Checkpoint) {
        run.fresh.into_iter().for_each(|part| self.segments.retire(part));
    }
}

/// What moving parts of chunks has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedChunks {
    /// Bytes moved.
    pub bytes: u64,
    /// There is more to move.
    pub more: bool,
    /// Indexes of chunks with parts that could not be read: they must be written whole.
    pub unreadable: Vec<u32>,
}

/// Writes the bytes of a frame over themselves.
fn rewrite(file: &dyn crate::io::File, place: &Place) -> io::Result<()> {
    const STEP: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let (mut at, end) = (u64::from(place.offset), u64::from(place.offset) + place.len);
    while at < end {
        let step = (end - at).min(STEP);
        bytes.resize(step as usize, 0);
        file.read_at(&mut bytes, at)?;
        file.write_at(&bytes, at)?;
        at += step;
    }
    Ok(())
}
