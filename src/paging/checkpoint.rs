//! Checkpoint: what has changed of the table, then the superblock.
//!
//! It is written in steps between which others commit ([`lss::Checkpoint`]): a commit from which
//! recovery will start; then, chunk by chunk, what has changed, as of the last commit before the
//! step; then the list of chunks. The first and every step hold the appender, for as long as it
//! takes to write a MiB at most, and nothing else does. A checkpoint that fits in one step is one.
//!
//! - A step takes the changed pages of its chunk when it writes them, so what is left of a chunk
//!   when the checkpoint ends has changed since.
//! - Locations are those of a commit (A10), save that the ids of merged pages are made free between
//!   two: if any were, a step commits first, so that the log says so too.
//! - A step that fails is undone with all before it: what was taken has changed again.

use super::chunk::{CHUNK_PAGES, ChunkBytes, ChunkPages};
use super::store::DurableEngine;
use crate::error::Result;
use lss::{Appender, ChunkPart};
use std::collections::{HashSet, VecDeque};
use std::sync::PoisonError;
use types::PageId;

/// Most deltas on top of the base of a chunk: an opening reads them one by one.
const MAX_DELTAS: usize = 64;

/// So many deltas after the last look, it is looked whether a chunk has become shorter.
const LOOK_EVERY: usize = 8;

/// Part of a segment of the reserve that may be filled with bases that are written anew.
const WHOLE_CHUNKS_SHARE: u64 = 4;

/// What a line of a chunk takes besides the bytes of a location, at most.
const LINE_BYTES: u64 = 4;

/// What is still to be written of a checkpoint, and what was.
struct Run<'e> {
    engine: &'e DurableEngine,
    left: VecDeque<u32>,
    /// The changed pages that were taken.
    taken: Vec<(u32, ChunkPages)>,
    /// Bytes that may still go into bases that are written anew.
    whole_bytes: u64,
}

impl DurableEngine {
    /// Commits what is visible, and makes the log before that unnecessary for opening.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.with_room(|| self.checkpoint_once())
    }

    fn checkpoint_once(&self) -> Result<()> {
        let _one = self.store.checkpointing();
        self.store.check()?;
        let mut appender = self.store.log.appender();
        self.commit_cut(&mut appender, &[], &HashSet::new(), lss::Stream::Foreground)?;
        let bytes = self.expected_bytes() + self.store.log.uncopied_bytes();
        if bytes <= self.checkpoint_step_bytes() {
            return self.write_chunks(&mut appender, u64::MAX);
        }
        let mut run = Run::new(self, u64::MAX);
        let leaving = self.leaving();
        let mut written = appender.start_checkpoint()?;
        drop(appender);
        match run.write(&mut written, &leaving) {
            Ok(()) => {
                let ended = self.store.log.appender().end_checkpoint(written, &[]);
                if ended.is_ok() {
                    self.have_left(&leaving);
                }
                ended.map_err(|error| run.undo(error.into()))
            }
            Err(error) => {
                self.store.log.abandon_checkpoint(written);
                Err(run.undo(error))
            }
        }
    }

    /// Takes a checkpoint of the last commit, at once. Needs no commit of what is dirty. Called by
    /// who keeps others from taking one ([`LogStore::checkpointing`](super::store::LogStore)).
    ///
    /// No more than `whole_bytes` go into bases that are written anew.
    pub(crate) fn write_chunks(&self, appender: &mut Appender<'_>, whole_bytes: u64) -> Result<()> {
        let mut run = Run::new(self, whole_bytes);
        let leaving = self.leaving();
        let parts = std::iter::from_fn(|| run.next());
        match appender.checkpoint(parts, &leaving, &[]) {
            Ok(unreadable) => {
                self.have_left(&leaving);
                self.write_whole(&unreadable);
                Ok(())
            }
            Err(error) => {
                let _refused = appender.rollback();
                Err(run.undo(error.into()))
            }
        }
    }

    /// Takes the first checkpoint of an opening: what recovery has found, as of this version.
    pub(crate) fn begin(&self, version: u64) -> Result<()> {
        let mut run = Run::new(self, self.whole_bytes_of_reserve());
        self.store.log.appender().begin(std::iter::from_fn(|| run.next()), &[], version)?;
        Ok(())
    }

    /// Whether all that there is was there at the last checkpoint.
    pub(crate) fn is_checkpointed(&self) -> bool {
        let log = &self.store.log;
        let nothing_new = self.store.changed().is_empty() && self.dirty.is_empty();
        nothing_new
            && log.bytes_since_checkpoint() == 0
            && log.uncopied_bytes() == 0
            && !log.has_chunks_in(&self.leaving())
    }

    /// Takes note that these segments are being emptied: parts of chunks leave them with the next
    /// checkpoint.
    pub(crate) fn leave(&self, segments: &[u32]) {
        let mut leaving = self.store.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.extend(segments);
    }

    fn leaving(&self) -> Vec<u32> {
        let leaving = self.store.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.iter().copied().collect()
    }

    fn have_left(&self, segments: &[u32]) {
        let mut leaving = self.store.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|segment| !segments.contains(segment));
    }

    /// These chunks have a part that can't be read, and are written whole next time.
    pub(crate) fn write_whole(&self, chunks: &[u32]) {
        let mut changed = self.store.changed();
        for &chunk in chunks {
            changed.insert_whole(chunk);
        }
    }

    fn checkpoint_step_bytes(&self) -> u64 {
        self.store.checkpoint_step_bytes.min(self.store.step_bytes())
    }

    /// Bytes that the next checkpoint writes, about, bases that are written anew left out.
    pub(crate) fn expected_bytes(&self) -> u64 {
        self.store.changed().len() * self.line_bytes()
    }

    /// Bytes of a chunk, about.
    pub(crate) fn expected_chunk_bytes(&self) -> u64 {
        u64::from(CHUNK_PAGES) * self.line_bytes()
    }

    /// Bytes that may go into bases that are written anew, of what must fit in the reserve.
    pub(crate) fn whole_bytes_of_reserve(&self) -> u64 {
        self.store.log.reserved_segment_bytes() / WHOLE_CHUNKS_SHARE
    }

    /// Bytes of a line of a chunk, on average.
    fn line_bytes(&self) -> u64 {
        let places = self.table.place_bytes();
        places.live / places.count.max(1) + LINE_BYTES
    }

    /// What is to be written of a chunk of which these pages have changed: all of it, if its parts
    /// would be too many, or more than about twice as long.
    pub(crate) fn chunk_part(
        &self,
        chunk: u32,
        changed: &ChunkPages,
        whole_bytes: &mut u64,
    ) -> ChunkPart {
        let all = || self.chunk_bytes(chunk, None).bytes;
        let Some(size) = self.store.log.chunk_size(chunk).filter(|_| !changed.whole) else {
            return ChunkPart::Whole(all());
        };
        let delta = self.chunk_bytes(chunk, Some(changed));
        let deltas = size.delta_bytes + delta.bytes.len() as u64;
        let (parts, most) = (size.base_bytes + deltas, *whole_bytes);
        let too_long = deltas > size.base_bytes || size.deltas >= MAX_DELTAS;
        // Locations go, and become shorter.
        let look = delta.gone > 0 || size.deltas % LOOK_EVERY == LOOK_EVERY - 1;
        if too_long || look {
            let whole = all();
            let bytes = whole.len() as u64;
            if (too_long || parts > 2 * bytes) && bytes <= most {
                *whole_bytes -= bytes;
                return ChunkPart::Whole(whole);
            }
        }
        ChunkPart::Delta(delta.bytes)
    }

    /// The lines of a chunk for these pages, or for all that have a location.
    fn chunk_bytes(&self, chunk: u32, wanted: Option<&ChunkPages>) -> ChunkBytes {
        let guard = self.pin();
        let mut out = ChunkBytes::default();
        let is_wanted = |number: &u32| wanted.is_none_or(|pages| pages.contains(*number));
        for number in (0..CHUNK_PAGES).filter(is_wanted) {
            let id = PageId::new(chunk * CHUNK_PAGES + number);
            let place = self.packed_place(id, &guard);
            if wanted.is_some() || place.is_some() {
                out.add(id, place);
            }
        }
        out
    }
}

impl<'e> Run<'e> {
    fn new(engine: &'e DurableEngine, whole_bytes: u64) -> Self {
        let left = engine.store.changed().chunks().into();
        Self { engine, left, taken: Vec::new(), whole_bytes }
    }

    /// What is to be written of the next chunk. Called by who has the appender.
    fn next(&mut self) -> Option<(u32, ChunkPart)> {
        loop {
            let chunk = self.left.pop_front()?;
            let Some(pages) = self.engine.store.changed().take(chunk) else { continue };
            self.taken.push((chunk, pages));
            return Some((chunk, self.engine.chunk_part(chunk, &pages, &mut self.whole_bytes)));
        }
    }

    /// All steps but the last.
    fn write(&mut self, written: &mut lss::Checkpoint, leaving: &[u32]) -> Result<()> {
        let (engine, log) = (self.engine, &self.engine.store.log);
        let most = engine.checkpoint_step_bytes();
        while !self.left.is_empty() {
            let mut appender = log.appender();
            engine.record_freed(&mut appender)?;
            let mut bytes = 0;
            let parts = std::iter::from_fn(|| {
                let part = if bytes < most { self.next() } else { None };
                if let Some((_, ChunkPart::Whole(part) | ChunkPart::Delta(part))) = &part {
                    bytes += part.len() as u64;
                }
                part
            });
            appender.write_chunks(written, parts)?;
        }
        loop {
            let moved = log.appender().move_chunks(written, leaving, most)?;
            engine.write_whole(&moved.unreadable);
            if !moved.more {
                return Ok(());
            }
        }
    }

    /// What was taken has changed again.
    fn undo<E>(&mut self, error: E) -> E {
        let mut changed = self.engine.store.changed();
        for (chunk, pages) in self.taken.drain(..) {
            changed.put_back(chunk, pages);
        }
        error
    }
}
