//! Folding: what the parts of a page have twice is written once, while there is time for it.
//!
//! A page lies in the log as an image and delta parts. A record of a delta part stands in place of
//! an older one, or of an entry of the image; and for the log all of it is live. So a store in
//! which values were replaced one here and one there takes more than its entries do: up to
//! [`DELTAS_PER_IMAGE`](super::visit) times as much, however well its segments are cleaned. While
//! writers are busy that is the better bargain, for a page that is written whole each time costs
//! more than it wins, and most of them will be written again. When they have become quiet, or a
//! cleaning was asked for, and the disk is above its bound for what is *needed*, pages are written
//! anew: as one image of their parts, those with most to win first.
//!
//! # What is needed
//!
//! What a page would take as one image is reckoned from its location alone: the image, with as
//! many entries as the page has now ([`Place::superseded`]). Where values have become longer this
//! is too little, and the page is written once for nothing; from then on it is exact. Which values
//! apart from it a page has, a commit of it knows; of one that was written to unread each record
//! may stand in place of a value
//! ([`Reckoned::superseded`](super::packed::Reckoned::superseded)). The sum over all pages is
//! kept up to date with each location ([`DurableEngine::set_packed`]).
//!
//! How long an entry was that a page lost to a record written without reading it, nobody knows: an
//! entry of the usual length is taken for gone, and where long ones were removed from among short
//! ones most of the log may be superseded without being seen as it. So while there is time a few
//! dozen such pages are read, drawn by their bytes, and what is found in them is taken for the
//! share of all ([`Folding::survey`]). If that is so much that the disk is above its bound, they
//! are read one by one, and those of which it is true are written anew.
//!
//! # Pages that have outgrown their bound
//!
//! A page that is written to without being read may come to more than a page should have (I15),
//! and is split by whoever reads it: a scan behind a load would write half of the store. So in the
//! same time, before all others, such pages are brought in, which splits them; those that turn out
//! to be small, since records replace one another, are written as one image.
//!
//! # Why it ends
//!
//! A pass goes over the table once: over pages that may have outgrown their bound, and then over
//! those of whose parts at least a half, a quarter, an eighth is superseded. A page that was
//! written anew has nothing superseded. So three passes leave less than an eighth in every page;
//! and no other begins before there is more again.
//!
//! # As of the last commit
//!
//! What is folded is written as the log has it, also if it is in memory and has changed: what is
//! dirty is not looked at, the page is not brought in, and the version of the log stays what it is.
//! The parts are read before the turn to append is taken; whoever has changed the location
//! meanwhile has won.

use super::fetch;
use super::packed::Reckoned;
use super::parts::Parts;
use super::place::Place;
use super::store::DurableEngine;
use crate::error::Result;
use delta::Contents;
use lss::Stream;
use std::collections::HashMap;
use sync::atomic::{AtomicU64, Ordering};
use types::PageId;

/// Parts of a page of which one is superseded, from pass to pass.
const SHARES: [u64; 3] = [2, 4, 8];

/// Part of the live bytes that must be superseded, beyond what the last passes left, for others.
const LEAST_MORE: u64 = 64;

/// Locations that are looked at in one step, at the most.
const STEP_PAGES: u32 = 8192;

/// Steps of bytes that are read for one write, at the most, by a cleaning that somebody waits for.
const READS_PER_WRITE: u64 = 8;

/// Pages that a survey reads.
const SURVEYED_PAGES: u64 = 64;

/// Part of the live bytes that must be unknown, beyond what the last survey saw, for another.
const LEAST_UNKNOWN: u64 = 8;

/// A share of bytes is told as so many of this.
const WHOLE_SHARE: u64 = 1024;

/// Where folding is.
#[derive(Debug, Default)]
pub(crate) struct Folding {
    /// The next page to look at.
    hand: u32,
    /// The number of passes that have ended, the one over pages that have outgrown their bound
    /// included.
    pass: usize,
    /// Whether that one is made, and the others are.
    splits: bool,
    folds: bool,
    /// Bytes of such pages when the last pass had ended.
    left_outgrown: u64,
    /// Bytes of the pages that the last step has looked at.
    looked_at: u64,
    /// Bytes that were superseded when the last pass had ended.
    left: u64,
    /// Bytes that were unknown when that was last looked into.
    surveyed: u64,
}

impl Folding {
    /// Reads a few of the pages that were written to without being read, if there are many more
    /// than there were, to find out how much of them is superseded.
    pub(crate) fn survey(&mut self, engine: &DurableEngine) -> Result<()> {
        let unknown = engine.store.unknown.load(Ordering::Relaxed);
        self.surveyed = self.surveyed.min(unknown);
        if unknown - self.surveyed > engine.store.log.live_bytes() / LEAST_UNKNOWN {
            let share = engine.hidden_share(unknown)?;
            engine.store.hidden_share.store(share, Ordering::Relaxed);
            self.surveyed = unknown;
        }
        Ok(())
    }

    /// Also for pages that have outgrown their bound.
    pub(crate) fn and_splitting() -> Self {
        Self { splits: true, ..Self::default() }
    }

    /// Whether pages are to be written anew: to win the bytes by which the disk is too large, or to
    /// be split before somebody wants to read them.
    pub(crate) fn is_wanted(&mut self, engine: &DurableEngine, excess_bytes: u64) -> bool {
        let least = engine.store.log.live_bytes() / LEAST_MORE;
        // Less than was left, since other pages were written: the next passes begin from there.
        let more = |left: &mut u64, now: u64| {
            *left = now.min(*left);
            now - *left > least
        };
        let superseded = more(&mut self.left, engine.superseded_bytes());
        self.folds = superseded && excess_bytes > 0 && engine.foldable_bytes() > 0;
        let outgrown = engine.store.outgrown.load(Ordering::Relaxed);
        let wanted = self.folds || more(&mut self.left_outgrown, outgrown) && self.splits;
        if !wanted {
            (self.hand, self.pass) = (0, 0);
        }
        wanted
    }

    /// Bytes of the pages that the last step has looked at.
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Goes on by one step, and returns the bytes that were written; `None` behind the last pass.
    pub(crate) fn step(&mut self, engine: &DurableEngine) -> Result<Option<u64>> {
        let wish = match self.pass.checked_sub(1) {
            None if self.splits => Some(Wish::Outgrown),
            at => SHARES.get(at.unwrap_or(0)).map(|share| Wish::Superseded(*share)),
        };
        let Some(wish) = wish.filter(|wish| self.folds || *wish == Wish::Outgrown) else {
            // What is unknown still was looked at.
            engine.store.hidden_share.store(0, Ordering::Relaxed);
            let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
            let (surveyed, left_outgrown) =
                (load(&engine.store.unknown), load(&engine.store.outgrown));
            let left = engine.superseded_bytes();
            *self = Self { left, surveyed, left_outgrown, splits: self.splits, ..Self::default() };
            return Ok(None);
        };
        let step = engine.store.step_bytes();
        // In the background what is read is counted, and is little. Where somebody waits for it,
        // each write waits for its turn behind the commits of others, and is to be worth that.
        let most = if self.splits {
            (step, step)
        } else {
            (READS_PER_WRITE * step, engine.store.long_step_bytes())
        };
        let (hand, looked_at, bytes) = engine.fold_pages(self.hand, wish, most)?;
        (self.hand, self.looked_at) = (hand, looked_at);
        if hand >= engine.table.id_limit() {
            (self.hand, self.pass) = (0, self.pass + 1);
        }
        Ok(Some(bytes))
    }
}

/// What the parts of a page would be as one image.
#[derive(Debug, Clone, Copy)]
struct AsImage {
    /// Bytes of the parts.
    parts_bytes: u64,
    /// Bytes of the image; at the most as many.
    bytes: u64,
    /// Whether the page would be split if it were brought in.
    would_split: bool,
}

/// Which pages are written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Those that have outgrown their bound while nobody read them.
    Outgrown,
    /// Those of which one part in so many is superseded.
    Superseded(u64),
}

impl DurableEngine {
    /// Bytes of parts that other parts have taken the place of, about.
    pub(crate) fn superseded_bytes(&self) -> u64 {
        let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        load(&self.store.superseded) + self.hidden_bytes(load(&self.store.unknown))
    }

    /// Of so many bytes that are unknown, those that are superseded.
    fn hidden_bytes(&self, unknown: u64) -> u64 {
        unknown * self.store.hidden_share.load(Ordering::Relaxed) / WHOLE_SHARE
    }

    /// Which share of the bytes that are unknown is superseded, by a look at some pages. Of all
    /// these bytes in a row every so many-th says which page: so large ones are drawn more often.
    fn hidden_share(&self, unknown: u64) -> Result<u64> {
        let distance = unknown / SURVEYED_PAGES;
        let (mut passed, mut shares, mut looked_at) = (0, 0, 0);
        for id in (1..self.table.id_limit()).map(PageId::new) {
            let (place, reckoned) = {
                let guard = self.pin();
                let Some(packed) = self.packed_place(id, &guard) else { continue };
                let reckoned = packed.reckoned();
                passed += reckoned.unknown;
                if reckoned.unknown == 0 || passed <= distance || self.store.is_damaged(id) {
                    continue;
                }
                (packed.unpack(), reckoned)
            };
            passed -= distance;
            let parts = match Parts::read(self, id, &place) {
                // Given back meanwhile; or who reads it for a user tells.
                Err(error) if error.is_damage() => continue,
                parts => parts?,
            };
            let superseded = self.as_image(id, &parts).map_or(0, |it| it.parts_bytes - it.bytes);
            let hidden = superseded.saturating_sub(reckoned.superseded).min(reckoned.unknown);
            shares += hidden * WHOLE_SHARE / reckoned.unknown;
            looked_at += 1;
        }
        Ok(shares.checked_div(looked_at).unwrap_or(0))
    }

    /// Bytes that folding wins for certain: what the passes leave in pages does not count.
    fn foldable_bytes(&self) -> u64 {
        let (live, superseded) = (self.store.log.live_bytes(), self.superseded_bytes());
        superseded.saturating_sub(live.saturating_sub(superseded) / SHARES[SHARES.len() - 1])
    }

    /// Bytes of the log that are live when folding has done what it can.
    pub(crate) fn needed_bytes(&self) -> u64 {
        self.store.log.live_bytes().saturating_sub(self.foldable_bytes())
    }

    /// What one image of these parts would be; `None` if they are damaged.
    fn as_image(&self, id: PageId, parts: &Parts) -> Option<AsImage> {
        let of_parts = parts.bytes();
        let decoded = fetch::decoded(id, parts, |shape, entries| {
            let bytes = delta::image_bytes(shape, &entries).min(of_parts) as u64;
            let bound = self.limits.split_above(shape) + self.limits.area_bytes;
            let may_split = shape.level == 0 && entries.len() > 1;
            let in_memory = Contents::Entries(entries).base_bytes(shape);
            let would_split = may_split && in_memory > bound;
            AsImage { parts_bytes: of_parts as u64, bytes, would_split }
        });
        decoded.ok()
    }

    /// Whether a leaf may be split if it is brought in.
    pub(super) fn is_outgrown(&self, reckoned: &Reckoned) -> bool {
        reckoned.grown > (self.limits.leaf_bytes + self.limits.area_bytes) as u64
    }

    /// Writes the pages anew, from this one on, that are wished for. Returns where to go on, the
    /// bytes that were looked at, and those that were written, or will be with the next commit.
    /// Reads no more bytes than the first of these for it, and writes no more than the second.
    fn fold_pages(
        &self,
        hand: u32,
        wish: Wish,
        (most_read, most_written): (u64, u64),
    ) -> Result<(u32, u64, u64)> {
        let _changing = self.store.at_rest();
        let (mut folded, mut split) = (Vec::new(), Vec::new());
        let (mut read, mut gathered, mut written) = (0, 0, 0);
        let first = hand.max(1);
        let end = first.saturating_add(STEP_PAGES).min(self.table.id_limit());
        let mut next = first;
        while next < end && read < most_read && gathered < most_written {
            let id = PageId::new(next);
            next += 1;
            let place = {
                let guard = self.pin();
                let Some(packed) = self.packed_place(id, &guard) else { continue };
                let mut reckoned = packed.reckoned();
                reckoned.superseded += self.hidden_bytes(reckoned.unknown);
                let is_wanted = match wish {
                    Wish::Outgrown => self.is_outgrown(&reckoned),
                    Wish::Superseded(share) => {
                        reckoned.superseded > 0 && reckoned.superseded * share >= reckoned.bytes
                    }
                };
                if !is_wanted || self.store.is_damaged(id) {
                    continue;
                }
                read += reckoned.bytes;
                packed.unpack()
            };
            let parts = match Parts::read(self, id, &place) {
                // A part may have been given back meanwhile; and who reads it for a user tells.
                Err(error) if error.is_damage() => continue,
                parts => parts?,
            };
            let Some(image) = self.as_image(id, &parts) else { continue };
            let bytes = image.parts_bytes;
            // What was guessed is known by now, but for values: of these an image is the proof.
            let is_guess = place.uncounted && place.values.is_empty();
            let is_worth = match wish {
                Wish::Superseded(share) if is_guess => (bytes - image.bytes) * share >= bytes,
                _ => !place.deltas.is_empty(),
            };
            if image.would_split {
                split.push(id);
                written += bytes;
            } else if is_worth {
                gathered += bytes;
                folded.push((id, place, parts));
            }
        }
        if !folded.is_empty() {
            self.store.make_room();
            let bytes = self.with_room(|| self.write_folded(&folded))?;
            self.store.cleaning_bytes.fetch_add(bytes, Ordering::Relaxed);
            written += bytes;
        }
        for id in split {
            self.store.make_room();
            match fetch::page_in(self, id) {
                Err(error) if error.is_damage() => {}
                done => done?,
            }
        }
        Ok((next, read, written))
    }

    fn write_folded(&self, pages: &[(PageId, Place, Parts)]) -> Result<u64> {
        self.store.check()?;
        let mut appender = self.store.log.appender();
        appender.rollback()?;
        let mut written = 0;
        self.write_as_committed(&mut appender, Stream::Background, |cut, _| {
            for (id, place, parts) in pages {
                if self.place(*id, &self.pin()).as_ref() != Some(place) {
                    continue;
                }
                match cut.write_anew(*id, place.clone(), parts, u64::MAX, &mut HashMap::new()) {
                    Err(error) if error.is_damage() => {}
                    done => {
                        done?;
                        written += cut.payload.len() as u64;
                    }
                }
            }
            Ok(())
        })?;
        Ok(written)
    }
}
