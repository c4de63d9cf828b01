//! Checkpoints: changed chunks, the list of all chunks, a COMMIT, then the superblock.
//!
//! The first checkpoint of an opening starts a new generation in fresh segments. Its frames count
//! only when the superblock says so: until then a crash leaves the old generation as it was, and
//! recovery finds the same again.

use core::mem;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use types::{Address, PageId};

use crate::appender::{Appender, limit};
use crate::chunks;
use crate::error::Error;
use crate::part::{self, KIND_CHUNK, KIND_CHUNK_DIRECTORY, Stream};
use crate::recovery::Place;
use crate::reserve::Claim;
use crate::superblock::{INLINE_META_BYTES, MAX_META_BYTES, Superblock};

impl Appender<'_> {
    /// Writes the given chunks of the caller's table and makes the log start from here: recovery
    /// reads nothing that lies before.
    ///
    /// A chunk that is not given keeps what it had; an empty one is removed. `meta` is the
    /// caller's own, at most [`MAX_META_BYTES`]. When this returns, the chunks describe the last
    /// commit, so nothing may have been appended since.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`]: everything is as before. [`Error::Misuse`]: something
    /// was appended since the last commit. Any failed write or sync poisons the log.
    ///
    /// Each chunk is taken when the one before it has been appended, so that they need not be in
    /// memory together.
    pub fn checkpoint(
        &mut self,
        chunks: impl IntoIterator<Item = (u32, Vec<u8>)>,
        meta: &[u8],
    ) -> Result<(), Error> {
        self.check_ready()?;
        if self.state.is_dirty() {
            return Err(Error::Misuse { what: "a checkpoint comes right after a commit" });
        }
        self.check_linked()?;
        let version = self.log.durable_version();
        let tight = self.log.is_tight();
        let stream = if tight { self.roomier() } else { Stream::Background };
        self.checkpoint_or_undo((Claim::Relief, stream), &mut chunks.into_iter(), meta, version)
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
    /// [`Error::Full`], [`Error::Refused`]: nothing has changed and it may be called again.
    /// [`Error::Misuse`]: called twice. Any failed write or sync poisons the log.
    pub fn begin(
        &mut self,
        chunks: impl IntoIterator<Item = (u32, Vec<u8>)>,
        meta: &[u8],
        version: u64,
    ) -> Result<(), Error> {
        self.check_writable()?;
        if self.log.begun.load(Ordering::Relaxed) {
            return Err(Error::Misuse { what: "begin is called once" });
        }
        self.check_linked()?;
        self.settle().map_err(|error| self.log.fail_unless_passing(error))?;
        self.log.take_unused();
        // All in one stream: it needs one segment and no more.
        self.checkpoint_or_undo(
            (Claim::Opening, Stream::Foreground),
            &mut chunks.into_iter(),
            meta,
            version,
        )?;
        // ORDERING: the flag is read under the appender's lock or by `reclaim`, for which a late
        // sight of it only means to free nothing yet.
        self.log.begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The directory and the files that are written to still have their names. A removal poisons.
    fn check_linked(&self) -> Result<(), Error> {
        let segments = &self.log.segments;
        let linked = segments
            .check_linked()
            .and_then(|()| self.log.superblock.check_linked())
            .and_then(|()| self.state.open_segments().try_for_each(|s| segments.check_file(s)));
        linked.map_err(|error| self.log.fail(error))
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
                    return Err(Error::of_call("remove", file, e));
                }
                _ => {}
            }
            self.state.orphans.pop();
        }
        segments.sync_directory()
    }

    fn checkpoint_or_undo(
        &mut self,
        (claim, stream): (Claim, Stream),
        chunks: &mut dyn Iterator<Item = (u32, Vec<u8>)>,
        meta: &[u8],
        version: u64,
    ) -> Result<(), Error> {
        limit("the data of a checkpoint", meta.len(), MAX_META_BYTES)?;
        let before = mem::replace(&mut self.state.claim, claim);
        let written = self.write_checkpoint(stream, chunks, meta, version);
        self.state.claim = before;
        if written.is_err() && self.log.poisoned().is_none() {
            self.rollback()?;
        }
        written
    }

    fn write_checkpoint(
        &mut self,
        stream: Stream,
        changed: &mut dyn Iterator<Item = (u32, Vec<u8>)>,
        meta: &[u8],
        version: u64,
    ) -> Result<(), Error> {
        let log = self.log;
        let mut list = log.chunks().clone();
        let mut fresh = Vec::new();
        for (index, payload) in changed {
            if payload.is_empty() {
                list.remove(&index);
                continue;
            }
            let name = (PageId::new(index), KIND_CHUNK, 0);
            log.segments.note_chunk(part::stored_bytes(payload.len()) as u64);
            let address = self.add(stream, name, &[], &payload)?;
            list.insert(index, address);
            fresh.push(address);
        }
        let inline = meta.len() <= INLINE_META_BYTES;
        let mut directory = Address::NONE;
        if !list.is_empty() || !inline {
            let payload = chunks::encode(&list, if inline { &[] } else { meta });
            let name = (PageId::NONE, KIND_CHUNK_DIRECTORY, 0);
            directory = self.add(stream, name, &[], &payload)?;
            fresh.push(directory);
        }
        self.commit_group(version)?;
        self.check_linked()?;
        let superblock = Superblock {
            store: log.segments.store,
            number: log.next_superblock(),
            generation: log.segments.generation,
            sequence: self.state.committed_sequence(),
            version,
            directory,
            next_segment: log.segments.next_id(),
            positions: self.state.positions(),
            attempt: self.state.attempt,
            meta: inline.then(|| meta.to_vec()),
        };
        if let Err(error) = log.superblock.write(&superblock, &log.segments.tally) {
            self.state.unnamed.append(&mut fresh);
            return Err(log.fail_unless_passing(error));
        }
        for address in self.state.unnamed.drain(..) {
            log.segments.retire(address);
        }
        log.segments.tally.checkpoints.add(1);
        log.moved_checkpoint(&superblock);
        // The slot that names the old chunks is older, or written over.
        let mut current = log.chunks.write().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *current, list);
        let dead = old.iter().filter(|(index, address)| current.get(index) != Some(address));
        for (_, address) in dead {
            log.segments.retire(*address);
        }
        Ok(())
    }
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
