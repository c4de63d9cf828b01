//! Checkpoint: the chunks that have changed, then the superblock.
//!
//! Taken by the appender right after a commit, so every place it writes is committed (A10).

use super::chunk::{CHUNK_PAGES, encode};
use super::store::DurableEngine;
use crate::error::Result;
use lss::Appender;
use std::collections::{BTreeSet, HashSet};
use std::sync::PoisonError;
use types::PageId;

impl DurableEngine {
    /// Commits what is visible, and makes the log before that unnecessary for opening.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.with_room(|| {
            self.store.check()?;
            let mut appender = self.store.log.appender();
            self.checkpoint_with(&mut appender)
        })
    }

    pub(crate) fn checkpoint_with<'e>(&'e self, appender: &mut Appender<'e>) -> Result<()> {
        self.commit_cut(appender, &[], &HashSet::new(), lss::Stream::Foreground)?;
        self.write_chunks(appender)
    }

    /// Takes a checkpoint of the last commit. Needs no commit of what is dirty.
    pub(crate) fn write_chunks(&self, appender: &mut Appender<'_>) -> Result<()> {
        let dirty = self.take_dirty_chunks();
        let chunks = dirty.iter().map(|&chunk| (chunk, self.chunk_bytes(chunk)));
        if let Err(error) = appender.checkpoint(chunks, &[]) {
            let _refused = appender.rollback();
            let mut again = self.store.dirty_chunks.lock().unwrap_or_else(PoisonError::into_inner);
            again.extend(dirty);
            return Err(error.into());
        }
        Ok(())
    }

    /// Whether all that there is was there at the last checkpoint.
    pub(crate) fn is_checkpointed(&self) -> bool {
        let chunks = self.store.dirty_chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.is_empty() && self.dirty.is_empty() && self.store.log.bytes_since_checkpoint() == 0
    }

    pub(crate) fn take_dirty_chunks(&self) -> BTreeSet<u32> {
        let mut chunks = self.store.dirty_chunks.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *chunks)
    }

    /// The chunk as bytes; empty if none of its ids is in use.
    pub(crate) fn chunk_bytes(&self, chunk: u32) -> Vec<u8> {
        let guard = self.pin();
        let first = chunk * CHUNK_PAGES;
        let ids = (first..first.saturating_add(CHUNK_PAGES)).map(PageId::new);
        encode(ids.filter_map(|id| self.place(id, &guard).map(|place| (id, place))))
    }
}
