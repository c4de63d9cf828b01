//! What the log has done since it was opened, as plain counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes written to segment files and the superblock.
    pub bytes_written: u64,
    /// Frames written.
    pub frames: u64,
    /// Parts appended.
    pub parts: u64,
    /// Commits that became durable, those of checkpoints too.
    pub commits: u64,
    /// Checkpoints whose superblock became durable.
    pub checkpoints: u64,
    /// Groups voided by a rollback.
    pub rollbacks: u64,
    /// Syncs of files (not of the directory).
    pub syncs: u64,
    /// Segment files created.
    pub segments_created: u64,
    /// Segment files used again under a new number.
    pub segments_recycled: u64,
    /// Segment files removed.
    pub segments_removed: u64,
    /// Parts read.
    pub reads: u64,
    /// Payload bytes read.
    pub bytes_read: u64,
}

/// One count. Nothing is ordered by it.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The running counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bytes_written: Count,
    pub(crate) frames: Count,
    pub(crate) parts: Count,
    pub(crate) commits: Count,
    pub(crate) checkpoints: Count,
    pub(crate) rollbacks: Count,
    pub(crate) syncs: Count,
    pub(crate) segments_created: Count,
    pub(crate) segments_recycled: Count,
    pub(crate) segments_removed: Count,
    pub(crate) reads: Count,
    pub(crate) bytes_read: Count,
}

impl Tally {
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            bytes_written: self.bytes_written.get(),
            frames: self.frames.get(),
            parts: self.parts.get(),
            commits: self.commits.get(),
            checkpoints: self.checkpoints.get(),
            rollbacks: self.rollbacks.get(),
            syncs: self.syncs.get(),
            segments_created: self.segments_created.get(),
            segments_recycled: self.segments_recycled.get(),
            segments_removed: self.segments_removed.get(),
            reads: self.reads.get(),
            bytes_read: self.bytes_read.get(),
        }
    }
}
