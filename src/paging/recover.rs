//! Recover: what the log has found becomes a usable table. No key is looked at.
//!
//! The chunks of the checkpoint give the places as of then; the parts behind it, in the order in
//! which they were appended, change them: an image replaces, a delta part adds, a Merged record
//! buries, a Freed one forgets. Every id without a place is free.

use super::chunk::{chunk_of, decode};
use super::place::Place;
use super::store::{DELTA, DurableEngine, FREED, IMAGE, MERGED, MOVED_DELTA, MOVED_IMAGE};
use super::values::VALUE;
use crate::error::{Error, Result};
use lss::{Recovered, RecoveredPart};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;
use types::PageId;

/// Entries of each tree, by its number.
pub(crate) type Counts = HashMap<u32, i64>;

impl DurableEngine {
    /// Fills the table. Nobody else uses the engine yet.
    pub(crate) fn recover(&self, recovered: &Recovered) -> Result<Counts> {
        let mut places: BTreeMap<PageId, Place> = BTreeMap::new();
        for (chunk, bytes) in &recovered.chunks {
            places.extend(decode(*chunk, bytes)?);
        }
        let mut dirty = BTreeSet::new();
        for part in &recovered.parts {
            apply(&mut places, part)?;
            if part.kind != VALUE {
                dirty.insert(chunk_of(part.page));
            }
        }
        let mut counts = Counts::new();
        let limit = places.last_key_value().map_or(0, |(id, _)| id.number() + 1);
        self.table.reserve_below(limit)?;
        let guard = self.pin();
        let mut unfinished = Vec::new();
        let mut unused = (1..limit).map(PageId::new).peekable();
        for (id, mut place) in places {
            while let Some(free) = unused.next_if(|unused| *unused < id) {
                self.table.release(free);
            }
            unused.next_if_eq(&id);
            place.flushed = recovered.version;
            *counts.entry(place.tree).or_default() += i64::from(place.count);
            for address in place.addresses() {
                if !self.store.log.adopt(address) {
                    let what = format!("page {id} has a part in a segment that is not there");
                    return Err(Error::Corrupt { what });
                }
            }
            if place.is_merged() {
                self.table.set_merged(id, place.merged_into, recovered.version);
                unfinished.push(id);
            } else {
                self.table.set_disk(id, self.next_serial());
            }
            self.table.set_place(id, Some(place), &guard);
        }
        *self.store.unfinished.lock().unwrap_or_else(PoisonError::into_inner) = unfinished;
        self.clock.advance_to(recovered.version + 1);
        if !self.store.read_only {
            let chunks: Vec<(u32, Vec<u8>)> =
                dirty.iter().map(|&chunk| (chunk, self.chunk_bytes(chunk))).collect();
            self.store.log.appender().begin(&chunks, &[], recovered.version)?;
            // What the opening before this one prepared, and what died in it, is used again now: a
            // store that is opened and killed over and over has no later moment for it.
            self.store.log.reclaim()?;
        }
        Ok(counts)
    }
}

fn apply(places: &mut BTreeMap<PageId, Place>, part: &RecoveredPart) -> Result<()> {
    let wrong = |what: &str| {
        let (id, at) = (part.page, part.address);
        Error::Corrupt { what: format!("page {id}: {what} ({at})") }
    };
    let tree = (part.tag >> 32) as u32;
    let number = part.tag as u32;
    match part.kind {
        VALUE => return Ok(()),
        _ if part.page.is_none() => return Err(wrong("a part without a page")),
        IMAGE => {
            let place = Place {
                tree,
                image: part.address,
                image_values: part.refs.len(),
                values: part.refs.clone(),
                count: number.cast_signed(),
                image_count: number.cast_signed(),
                ..Place::default()
            };
            places.insert(part.page, place);
        }
        DELTA => {
            let place = places
                .get_mut(&part.page)
                .filter(|place| !place.is_merged() && place.tree == tree)
                .ok_or_else(|| wrong("a delta part without an image"))?;
            place.deltas.push(part.address);
            place.values.extend(&part.refs);
            place.count = place.count.saturating_add(number.cast_signed());
        }
        MOVED_IMAGE | MOVED_DELTA => {
            let place = places
                .get_mut(&part.page)
                .filter(|place| !place.is_merged() && place.tree == tree)
                .ok_or_else(|| wrong("a moved part of no page"))?;
            if part.kind == MOVED_IMAGE {
                place.image = part.address;
            } else {
                let delta = place.deltas.get_mut(number as usize);
                *delta.ok_or_else(|| wrong("a moved part that was none"))? = part.address;
            }
        }
        MERGED => {
            let merged_into = PageId::new(number);
            if merged_into.is_none() {
                return Err(wrong("merged into no page"));
            }
            places.insert(part.page, Place { tree, merged_into, ..Place::default() });
        }
        FREED => {
            places.remove(&part.page);
        }
        _ => return Err(wrong("a part of a kind that this version does not know")),
    }
    Ok(())
}
