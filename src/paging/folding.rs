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
//! ([`PackedPlace::superseded`](super::packed::PackedPlace::superseded)). The sum over all pages is
//! kept up to date with each location ([`DurableEngine::set_packed`]).
//!
//! # Why it ends
//!
//! A pass goes over the table once, and takes pages of whose parts at least a half, then a quarter,
//! then an eighth is superseded. A page that was written anew has nothing superseded. So three
//! passes leave less than an eighth in every page; and no other begins before there is more again.
//!
//! # As of the last commit
//!
//! A page is written as the log has it, also if it is in memory and has changed: what is dirty is
//! not looked at, no page is brought in, and the version of the log stays what it is. The parts are
//! read before the turn to append is taken; whoever has changed the location meanwhile has won.

use super::fetch;
use super::place::Place;
use super::store::DurableEngine;
use crate::error::Result;
use lss::Stream;
use std::collections::HashMap;
use sync::atomic::Ordering;
use types::PageId;

/// Parts of a page of which one is superseded, from pass to pass.
const SHARES: [u64; 3] = [2, 4, 8];

/// Part of the live bytes that must be superseded, beyond what the last passes left, for others.
const LEAST_MORE: u64 = 64;

/// Locations that are looked at in one step, at the most.
const STEP_PAGES: u32 = 8192;

/// Where folding is.
#[derive(Debug, Default)]
pub(crate) struct Folding {
    /// The next page to look at.
    hand: u32,
    pass: usize,
    /// Bytes that were superseded when the last pass had ended.
    left: u64,
}

impl Folding {
    /// Whether pages are to be written anew to win the bytes by which the disk is too large.
    pub(crate) fn is_wanted(&mut self, engine: &DurableEngine, excess_bytes: u64) -> bool {
        let superseded = engine.superseded_bytes();
        // Less than was left, since other pages were written: the next passes begin from there.
        self.left = self.left.min(superseded);
        let more = superseded - self.left;
        let wanted = excess_bytes > 0
            && engine.foldable_bytes() > 0
            && more > engine.store.log.live_bytes() / LEAST_MORE;
        if !wanted {
            (self.hand, self.pass) = (0, 0);
        }
        wanted
    }

    /// Goes on by one step, and returns the bytes that were written; `None` behind the last pass.
    pub(crate) fn step(&mut self, engine: &DurableEngine) -> Result<Option<u64>> {
        let Some(&share) = SHARES.get(self.pass) else {
            *self = Self { left: engine.superseded_bytes(), ..Self::default() };
            return Ok(None);
        };
        let (hand, bytes) = engine.fold_pages(self.hand, share)?;
        self.hand = hand;
        if hand >= engine.table.id_limit() {
            (self.hand, self.pass) = (0, self.pass + 1);
        }
        Ok(Some(bytes))
    }
}

impl DurableEngine {
    /// Bytes of parts that other parts have taken the place of, about.
    pub(crate) fn superseded_bytes(&self) -> u64 {
        self.store.superseded.load(Ordering::Relaxed)
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

    /// Writes pages anew, from this one on, of which at least one part in `share` is superseded.
    /// Returns where to go on, and the bytes that were written.
    fn fold_pages(&self, hand: u32, share: u64) -> Result<(u32, u64)> {
        let _changing = self.store.at_rest();
        let (mut pages, mut bytes) = (Vec::new(), 0);
        let first = hand.max(1);
        let end = first.saturating_add(STEP_PAGES).min(self.table.id_limit());
        let mut next = first;
        while next < end && bytes < self.store.step_bytes() {
            let id = PageId::new(next);
            next += 1;
            let guard = self.pin();
            let Some(packed) = self.packed_place(id, &guard) else { continue };
            let (parts, superseded) = packed.superseded();
            if superseded > 0 && superseded * share >= parts && !self.store.is_damaged(id) {
                pages.push((id, packed.unpack()));
                bytes += parts;
            }
        }
        if pages.is_empty() {
            return Ok((next, 0));
        }
        let mut read = Vec::new();
        for (id, place) in pages {
            match fetch::parts(self, id, &place) {
                // A part may have been given back meanwhile; and who reads it for a user tells.
                Err(error) if error.is_damage() => {}
                parts => read.push((id, place, parts?)),
            }
        }
        self.store.make_room();
        let written = self.with_room(|| self.write_folded(&read))?;
        self.store.cleaning_bytes.fetch_add(written, Ordering::Relaxed);
        Ok((next, written))
    }

    fn write_folded(&self, pages: &[(PageId, Place, Vec<bytes::Bytes>)]) -> Result<u64> {
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
