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

use super::place::Place;
use super::store::{DurableEngine, LogStore};
use crate::error::Result;
use gc::policy::choose;
use gc::{Reach, SegmentUse};
use lss::{SegmentState, Stream};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use sync::atomic::Ordering;
use types::{Address, PageId};

/// What a run of cleaning has done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cleaned {
    pub(crate) moved_bytes: u64,
    pub(crate) segments: u64,
    /// Bytes of the victims, if all that is live in them was moved: a checkpoint gives them back.
    pub(crate) waiting_bytes: u64,
}

/// Most bytes that one step of a checkpoint or of cleaning writes: a sync that comes meanwhile
/// waits for it.
const STEP_BYTES: u64 = 1 << 20;
/// Nor more than this part of the memory budget, of a small one at least this many bytes: they all
/// come into memory for it.
const STEP_SHARE: u64 = 32;
const LEAST_STEP_BYTES: u64 = 512 << 10;
/// The same of the steps of a cleaning that somebody waits for.
const LONG_STEP_BYTES: u64 = 4 << 20;
const LONG_STEP_SHARE: u64 = 16;

/// Segments of so many bytes are given back together while more are being emptied.
const GIVEN_BACK_BYTES: u64 = 64 << 20;

/// Parts of a segment of whose pages the locations are found together.
const LOCATED_AT_ONCE: usize = 64;

impl LogStore {
    /// Bytes that one step of a checkpoint or of cleaning writes at most, about.
    pub(crate) fn step_bytes(&self) -> u64 {
        (self.budget.limit_bytes() / STEP_SHARE).clamp(LEAST_STEP_BYTES, STEP_BYTES)
    }

    /// The same of a cleaning that somebody waits for: each step waits behind a commit of those
    /// that write, and is to be worth that.
    pub(crate) fn long_step_bytes(&self) -> u64 {
        (self.budget.limit_bytes() / LONG_STEP_SHARE).clamp(LEAST_STEP_BYTES, LONG_STEP_BYTES)
    }
}

impl DurableEngine {
    /// The sealed segments, as the policy wants them.
    pub(crate) fn segment_use(&self) -> Vec<SegmentUse> {
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

    /// Empties segments, the best first and one after another, until `goal_bytes` of disk have been
    /// won or `budget_bytes` have been moved. `progress` is asked before each step and can stop it;
    /// nothing is held then.
    /// A segment is given back as soon as it is empty, or with the next checkpoint, which is the
    /// caller's to take.
    pub(crate) fn clean(
        &self,
        goal_bytes: u64,
        budget_bytes: u64,
        reach: Reach,
        progress: impl FnMut(&Cleaned) -> bool,
    ) -> Result<Cleaned> {
        self.store.check()?;
        let changing = self.store.at_rest();
        let victims = choose(&self.segment_use(), goal_bytes, budget_bytes, reach);
        let step_bytes = match reach {
            Reach::Worthwhile => self.store.step_bytes(),
            Reach::Anything => self.store.long_step_bytes(),
        };
        self.empty_segments(changing, victims, (budget_bytes, step_bytes), progress)
    }

    /// Moves all that is live, and can be read, out of segments whose files are not in the
    /// directory any more.
    pub(crate) fn save_from(&self, gone: &[u32]) -> Result<()> {
        for id in gone {
            let changing = self.store.at_rest();
            let is_movable = self.segment_use().iter().any(|segment| segment.id == *id);
            let victims = if is_movable { vec![*id] } else { Vec::new() };
            let bytes = (u64::MAX, self.store.step_bytes());
            match self.empty_segments(changing, victims, bytes, |_| true) {
                // Who reads it is told.
                Err(error) if error.is_damage() => {}
                saved => drop(saved?),
            }
        }
        Ok(())
    }

    fn empty_segments(
        &self,
        changing: MutexGuard<'_, ()>,
        victims: Vec<u32>,
        (budget_bytes, step_bytes): (u64, u64),
        progress: impl FnMut(&Cleaned) -> bool,
    ) -> Result<Cleaned> {
        let mut cleaning = Cleaning {
            engine: self,
            changing: Some(changing),
            victims: victims.iter().copied().collect(),
            step: Step::default(),
            step_bytes,
            budget_bytes,
            progress,
            cleaned: Cleaned::default(),
        };
        let (mut emptied, mut goes_on) = (Vec::new(), true);
        let segments = self.store.log.segments().into_iter();
        let sizes: HashMap<u32, u64> = segments.map(|s| (s.id, s.size)).collect();
        let (mut given_back, mut bytes) = (0, 0);
        for victim in victims {
            goes_on = cleaning.empty(victim)?;
            if !goes_on {
                break;
            }
            emptied.push(victim);
            bytes += sizes.get(&victim).copied().unwrap_or(0);
            if bytes >= GIVEN_BACK_BYTES {
                goes_on = cleaning.end_step()?;
                if !goes_on {
                    break;
                }
                self.give_back(&emptied[given_back..])?;
                (given_back, bytes) = (emptied.len(), 0);
            }
        }
        let whole = goes_on && cleaning.end_step()?;
        let mut cleaned = cleaning.cleaned;
        self.give_back(&emptied[given_back..])?;
        if whole {
            cleaned.segments = emptied.len() as u64;
            let infos = self.store.log.segments();
            let waiting = infos.iter().filter(|s| emptied.contains(&s.id));
            cleaned.waiting_bytes = waiting.map(|s| s.size).sum();
        }
        Ok(cleaned)
    }

    /// Gives back segments that were emptied, as many as need no checkpoint for it.
    fn give_back(&self, emptied: &[u32]) -> Result<()> {
        self.leave(emptied);
        self.store.log.reclaim()?;
        Ok(())
    }

    /// Bytes that emptying every segment within reach would give back.
    pub(crate) fn gain_within_reach(&self, reach: Reach) -> u64 {
        let segments = self.segment_use();
        let chosen: HashSet<u32> =
            choose(&segments, u64::MAX, u64::MAX, reach).into_iter().collect();
        segments.iter().filter(|s| chosen.contains(&s.id)).map(SegmentUse::gain_bytes).sum()
    }

    /// Bytes of segments in which nothing is live, which a checkpoint gives back; or next to
    /// nothing, which it leaves.
    pub(crate) fn gain_after_checkpoint(&self) -> u64 {
        let log = &self.store.log;
        let dead = |s: &&lss::SegmentInfo| {
            s.state == SegmentState::Sealed && s.live == 0 || log.is_spent(s)
        };
        log.segments().iter().filter(dead).map(|s| s.size).sum()
    }
}

/// A run of cleaning.
struct Cleaning<'e, P> {
    engine: &'e DurableEngine,
    /// Keeps other background work from changing the shape of trees; nothing does while
    /// `progress` is asked, which may use the store in any way.
    changing: Option<MutexGuard<'e, ()>>,
    /// The segments to be emptied in this run: a page that is moved leaves all of them.
    victims: HashSet<u32>,
    step: Step,
    step_bytes: u64,
    budget_bytes: u64,
    progress: P,
    cleaned: Cleaned,
}

/// What one commit is to move.
#[derive(Debug, Default)]
struct Step {
    pages: BTreeSet<PageId>,
    bytes: u64,
}

impl<P: FnMut(&Cleaned) -> bool> Cleaning<'_, P> {
    /// Moves what is live in one segment. `false` if this run is over before that.
    ///
    /// The directories of its frames say which pages have parts there. Whose separated values lie
    /// there they do not say, nor does a directory that is damaged: if less was found than is
    /// live, the whole table is looked through.
    fn empty(&mut self, victim: u32) -> Result<bool> {
        let log = &self.engine.store.log;
        let Some(mut contents) = log.contents(victim) else { return Ok(true) };
        let mut left = contents.live_bytes();
        while left > 0
            && let Some(parts) = contents.next_frame()?
        {
            let mut parts = parts.into_iter().peekable();
            while parts.peek().is_some() {
                // Most of them are dead, and most of the time goes into finding the locations of
                // their pages in memory: many at once, the processor waits for all of them at once.
                let guard = self.engine.pin();
                let located = parts.by_ref().take(LOCATED_AT_ONCE).filter_map(|(page, part)| {
                    Some((page, part, self.engine.packed_place(page, &guard)?))
                });
                let located: Vec<_> = located.collect();
                for (page, part, place) in located.into_iter().filter(|(_, p, at)| at.has_part(*p))
                {
                    left = left.saturating_sub(lss::live_bytes(part));
                    self.add(page, &place.unpack());
                }
            }
            if self.step.bytes >= self.step_bytes && !self.end_step()? {
                return Ok(false);
            }
        }
        drop(contents);
        if left == 0 {
            return Ok(true);
        }
        for number in 1..self.engine.table.id_limit() {
            let page = PageId::new(number);
            let guard = self.engine.pin();
            let Some(place) = self.engine.place(page, &guard) else { continue };
            if place.addresses().any(|address| address.segment == victim) {
                self.add(page, &place);
            }
            drop(guard);
            if self.step.bytes >= self.step_bytes && !self.end_step()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn add(&mut self, page: PageId, place: &Place) {
        if self.step.pages.insert(page) {
            // Only what lies there is moved, unless values do, whose addresses stand in the parts.
            let inside = |a: &Address| self.victims.contains(&a.segment);
            let anew = place.values.iter().any(inside);
            let moved = |a: &Address| (anew && *a == place.image) || inside(a);
            self.step.bytes += place.addresses().filter(moved).map(lss::live_bytes).sum::<u64>();
        }
    }

    /// Commits what has been gathered. `false` if no more is to be moved, and it was not.
    fn end_step(&mut self) -> Result<bool> {
        if self.step.pages.is_empty() {
            return Ok(true);
        }
        let (engine, cleaned) = (self.engine, &mut self.cleaned);
        if cleaned.moved_bytes >= self.budget_bytes {
            return Ok(false);
        }
        self.changing = None;
        let goes_on = (self.progress)(cleaned);
        self.changing = Some(engine.store.at_rest());
        if !goes_on {
            return Ok(false);
        }
        let step = std::mem::take(&mut self.step);
        let pages: Vec<PageId> = step.pages.into_iter().collect();
        engine.store.make_room();
        engine.with_room(|| {
            let mut appender = engine.store.log.appender();
            engine.commit_cut(&mut appender, &pages, &self.victims, Stream::Background)
        })?;
        cleaned.moved_bytes += step.bytes;
        engine.store.cleaning_bytes.fetch_add(step.bytes, Ordering::Relaxed);
        Ok(true)
    }
}
