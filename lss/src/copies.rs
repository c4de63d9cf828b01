//! The chunks, and the list of them, are in the log twice.
//!
//! Without a chunk, or the list, a store can't be opened. So each part of them is written to both
//! streams, which never share a segment, and the places of both are listed. One place that can't be
//! read costs nothing, and neither does a file that is gone. Whoever meets a bad place goes on with
//! the other one, and the next checkpoint writes the part to a second place again.
//!
//! There is only one place for what the first checkpoint of an opening writes, which has one
//! segment; for what is written while the disk is full; and for what a version wrote that made no
//! copies. The next checkpoint that has room adds the others ([`Log::uncopied_bytes`]).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use types::{Address, PageId};

use crate::error::Error;
use crate::log::Log;
use crate::part::{DIRECTORY_KINDS, KIND_CHUNK};
use crate::read::read_part;

/// Where a part of the log's own lies: twice, each time in another segment, so that one bad place
/// on the disk costs none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) at: Address,
    /// No place if there is no copy: the disk was full, or the opening wrote it, or a version that
    /// wrote none.
    pub(crate) copy: Address,
}

impl Copied {
    /// Without a copy.
    pub(crate) const fn single(at: Address) -> Self {
        Self { at, copy: Address::NONE }
    }

    /// Both places, or as many as there are.
    pub(crate) fn places(self) -> impl Iterator<Item = Address> {
        [self.at, self.copy].into_iter().filter(|address| !address.is_none())
    }

    pub(crate) const fn is_single(self) -> bool {
        !self.at.is_none() && self.copy.is_none()
    }

    /// Reads the part from the first place that gives it, and says which places are left when those
    /// that did not are taken out.
    ///
    /// # Errors
    ///
    /// What was wrong with the first place; or an error that passes.
    pub(crate) fn read(
        self,
        read: impl Fn(Address) -> Result<Bytes, Error>,
    ) -> Result<(Bytes, Self), Error> {
        match read(self.at) {
            Ok(payload) => Ok((payload, self)),
            Err(error) if self.copy.is_none() || error.is_passing() => Err(error),
            Err(error) => match read(self.copy) {
                Ok(payload) => Ok((payload, Self::single(self.copy))),
                Err(passing) if passing.is_passing() => Err(passing),
                Err(_) => Err(error),
            },
        }
    }
}

/// The sizes of the parts of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize {
    /// Bytes of the base.
    pub base_bytes: u64,
    /// Bytes of all deltas.
    pub delta_bytes: u64,
    /// Number of deltas.
    pub deltas: usize,
}

impl Log {
    /// Whether parts of chunks lie in these segments: a checkpoint must move them before the
    /// segments can die.
    pub fn has_chunks_in(&self, segments: &[u32]) -> bool {
        let inside = |part: Address| segments.contains(&part.segment);
        !segments.is_empty() && self.chunks().values().any(|chunk| chunk.places().any(inside))
    }

    /// Bytes of chunks, and of the list of them, that lie in one place only, and that the next
    /// checkpoint copies; 0 while there is no room for it.
    pub fn uncopied_bytes(&self) -> u64 {
        // ORDERING: a late sight of it only means that the copies are made later, or once more.
        if self.is_tight() { 0 } else { self.durable.uncopied.load(Ordering::Relaxed) }
    }

    /// How large the parts of a chunk are; `None` if there is no such chunk.
    pub fn chunk_size(&self, index: u32) -> Option<ChunkSize> {
        let chunks = self.chunks();
        let (base, deltas) = chunks.get(&index)?.parts.split_first()?;
        Some(ChunkSize {
            base_bytes: u64::from(base.at.len),
            delta_bytes: deltas.iter().map(|delta| u64::from(delta.at.len)).sum(),
            deltas: deltas.len(),
        })
    }

    /// Reads the parts of a chunk of the last checkpoint: the base, then the deltas, oldest first;
    /// none if there is no such chunk. Where a part can't be read, its copy is.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn chunk_parts(&self, index: u32) -> Result<Vec<Bytes>, Error> {
        let parts = self.chunks().get(&index).map(|chunk| chunk.parts.clone()).unwrap_or_default();
        let page = PageId::new(index);
        let read = |(number, part): (usize, Copied)| {
            let (payload, sound) =
                part.read(|address| self.read_own(address, page, &[KIND_CHUNK]))?;
            if sound != part && !self.has_begun() {
                self.keep_sound(index, number, sound);
            }
            Ok(payload)
        };
        parts.into_iter().enumerate().map(read).collect()
    }

    /// Takes the bad place of a part of a chunk out, so that the next checkpoint writes it anew.
    /// For an opening: no checkpoint is under way that has the list.
    fn keep_sound(&self, index: u32, number: usize, sound: Copied) {
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = chunks.get_mut(&index).and_then(|chunk| chunk.parts.get_mut(number))
        else {
            return;
        };
        let lost = part.places().filter(|place| sound.places().all(|left| left != *place));
        lost.for_each(|place| self.segments.retire(place));
        *part = sound;
        let bytes = u64::from(sound.at.len);
        self.durable.uncopied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reads every place of the chunks and of their list, and says what is wrong with the bad ones,
    /// and in which chunk. Called by who keeps checkpoints from being taken.
    ///
    /// # Errors
    ///
    /// One that passes.
    pub fn check_chunks(&self) -> Result<Vec<(Option<u32>, Error)>, Error> {
        let mut bad = Vec::new();
        let mut check = |chunk: Option<u32>, part: Copied, kinds: &[u8]| {
            let page = chunk.map_or(PageId::NONE, PageId::new);
            for place in part.places() {
                match self.read_own(place, page, kinds) {
                    Err(error) if error.is_passing() => return Err(error),
                    Err(error) => {
                        if chunk.is_none() {
                            // The next checkpoint writes the list in any case.
                            self.durable.uncopied.fetch_add(1, Ordering::Relaxed);
                        }
                        bad.push((chunk, error));
                    }
                    Ok(_) => {}
                }
            }
            Ok(())
        };
        let chunks = self.chunks().clone();
        let directory = *self.durable.directory.lock().unwrap_or_else(PoisonError::into_inner);
        check(None, directory, &DIRECTORY_KINDS)?;
        for (index, chunk) in chunks {
            for part in chunk.parts {
                check(Some(index), part, &[KIND_CHUNK])?;
            }
        }
        Ok(bad)
    }

    /// Reads a part of the log's own.
    pub(crate) fn read_own(&self, at: Address, page: PageId, kinds: &[u8]) -> Result<Bytes, Error> {
        let segment = self.segments.get(at.segment).ok_or_else(|| {
            Error::corrupt(self.segments.path(at.segment), 0, "the segment is missing")
        })?;
        read_part(&self.segments, &segment, at, page, kinds)
    }
}
