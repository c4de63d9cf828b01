//! Cleaning: live pages leave segments that are mostly dead, and the segments are given back.
//!
//! The parts of a page that are stored in a victim are appended again as they are, through the
//! one appender and as part of an ordinary commit, and the page's location says so once that is
//! durable: no byte is ever copied behind a page's back (trap 19). What moves is what is stored
//! there, however large the page is, and the page need not be in memory. Separated values are the
//! exception: their addresses stand in the parts of their pages, so such a page is written anew.
//! Chunks of the table leave a segment with the next checkpoint. The log gives a segment back only
//! when nothing in it is live, what moved is committed, and it lies before the start of the replay
//! (I8).

use super::store::DurableEngine;
use crate::error::Result;
use gc::policy::choose;
use gc::{Reach, SegmentUse};
use lss::{SegmentState, Stream};
use std::collections::HashSet;
use std::sync::PoisonError;
use sync::atomic::Ordering;
use types::PageId;

/// Most bytes of live parts that one commit of cleaning moves: a sync that comes meanwhile waits
/// for it.
const STEP_BYTES: u64 = 1 << 20;
/// Nor more than this part of the memory budget: they all come into memory for it.
const STEP_SHARE: u64 = 32;

/// What a run of cleaning has done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cleaned {
    pub(crate) moved_bytes: u64,
    pub(crate) segments: u64,
    /// Bytes of the victims, if all that is live in them was moved: a checkpoint gives them back.
    pub(crate) waiting_bytes: u64,
}

impl DurableEngine {
    /// The sealed segments, as the policy wants them.
    fn segment_use(&self) -> Vec<SegmentUse> {
        let segments = self.store.log.segments();
        let newest = segments.iter().map(|s| s.last_sequence).max().unwrap_or(0);
        let stuck = self.store.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let movable = |s: &&lss::SegmentInfo| !stuck.contains(&s.id);
        let sealed = segments.iter().filter(|s| s.state == SegmentState::Sealed).filter(movable);
        sealed
            .map(|s| SegmentUse {
                id: s.id,
                size_bytes: s.size,
                live_bytes: s.live,
                age: newest - s.last_sequence,
            })
            .collect()
    }

    /// Empties segments until `goal_bytes` of disk have been won or `budget_bytes` have been
    /// moved. `progress` is asked before each step and can stop it. Their space comes back with
    /// the next checkpoint, which is the caller's to take.
    pub(crate) fn clean(
        &self,
        goal_bytes: u64,
        budget_bytes: u64,
        reach: Reach,
        mut progress: impl FnMut(&Cleaned) -> bool,
    ) -> Result<Cleaned> {
        self.store.check()?;
        let _changing = self.store.at_rest();
        let victims = choose(&self.segment_use(), goal_bytes, reach);
        let mut cleaned = Cleaned { segments: victims.len() as u64, ..Cleaned::default() };
        let victims: HashSet<u32> = victims.into_iter().collect();
        let mut whole = true;
        for batch in self.live_pages(&victims) {
            if cleaned.moved_bytes >= budget_bytes || !progress(&cleaned) {
                whole = false;
                break;
            }
            self.store.make_room();
            let before = self.store.log.counters().bytes_written;
            let mut appender = self.store.log.appender();
            self.commit_cut(&mut appender, &batch.pages, &victims, Stream::Background)?;
            drop(appender);
            let written = self.store.log.counters().bytes_written - before;
            cleaned.moved_bytes += written;
            self.store.cleaning_bytes.fetch_add(written, Ordering::Relaxed);
        }
        self.mark_chunks_in(&victims);
        if whole {
            let infos = self.store.log.segments();
            let waiting = infos.iter().filter(|s| victims.contains(&s.id));
            cleaned.waiting_bytes = waiting.map(|s| s.size).sum();
        }
        Ok(cleaned)
    }

    /// Bytes that emptying every segment within reach would give back.
    pub(crate) fn gain_within_reach(&self, reach: Reach) -> u64 {
        let segments = self.segment_use();
        let chosen: HashSet<u32> = choose(&segments, u64::MAX, reach).into_iter().collect();
        segments.iter().filter(|s| chosen.contains(&s.id)).map(SegmentUse::gain_bytes).sum()
    }

    /// Bytes of sealed segments in which nothing is live: a checkpoint gives them back.
    pub(crate) fn gain_after_checkpoint(&self) -> u64 {
        let dead = |s: &&lss::SegmentInfo| s.state == SegmentState::Sealed && s.live == 0;
        self.store.log.segments().iter().filter(dead).map(|s| s.size).sum()
    }

    fn mark_chunks_in(&self, victims: &HashSet<u32>) {
        let victims: Vec<u32> = victims.iter().copied().collect();
        let chunks = self.store.log.chunks_in(&victims);
        let mut dirty = self.store.dirty_chunks.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.extend(chunks);
    }

    /// The pages with parts in these segments, in steps of at most [`STEP_BYTES`].
    fn live_pages(&self, victims: &HashSet<u32>) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        if victims.is_empty() {
            return steps;
        }
        let step_bytes = STEP_BYTES.min(self.store.budget.limit_bytes() / STEP_SHARE);
        let guard = self.pin();
        for number in 1..self.table.id_limit() {
            let id = PageId::new(number);
            let Some(place) = self.table.place(id, &guard) else { continue };
            if !place.addresses().any(|address| victims.contains(&address.segment)) {
                continue;
            }
            // Only what lies there is moved, unless values do, whose addresses stand in the parts.
            let anew = place.values.iter().any(|a| victims.contains(&a.segment));
            let live =
                |a: &types::Address| (anew && *a == place.image) || victims.contains(&a.segment);
            let bytes: u64 =
                place.addresses().filter(live).map(|address| u64::from(address.len)).sum();
            match steps.last_mut() {
                Some(step) if step.bytes + bytes <= step_bytes => {
                    step.pages.push(id);
                    step.bytes += bytes;
                }
                _ => steps.push(Step { pages: vec![id], bytes }),
            }
        }
        steps
    }
}

struct Step {
    pages: Vec<PageId>,
    bytes: u64,
}
