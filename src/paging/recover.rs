//! Recover: what the log has found becomes a usable table. No key is looked at.
//!
//! The chunks of the checkpoint give the places, each as of its own commit; the parts behind it, in
//! the order in which they were appended, change them: an image replaces, a delta part adds, a
//! Merged record buries, a Freed one forgets. Every id without a place is free.

use super::chunk::{CHUNK_PAGES, ChangedPages, chunk_of, decode};
use super::place::Place;
use super::store::{BLIND, DELTA, DurableEngine, FREED, IMAGE, MERGED, MOVED_DELTA, MOVED_IMAGE};
use super::token::Token;
use super::values::VALUE;
use crate::engine::Count;
use crate::error::{Error, Result};
use lss::{Recovered, RecoveredChunk, RecoveredPart};
use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use types::{Address, PageId};

/// Locations that are changed before they are put into the table, where they take less memory.
const CHANGED_AT_ONCE: usize = 1024;

/// What was found of each tree, by its number.
pub(crate) type Counts = HashMap<u32, Count>;

impl DurableEngine {
    /// Fills the table. Nobody else uses the engine yet.
    ///
    /// Chunk by chunk, and frame by frame, so that the places are in memory once and what they were
    /// read from is not kept beside them. Unpinned while anything is read: other stores of the
    /// process go on, and what they give up must not wait for this.
    pub(crate) fn recover(&self, recovered: Recovered) -> Result<Counts> {
        let Recovered { version, chunks, frames, .. } = recovered;
        let mut limit = self.id_limit(&chunks)?;
        self.table.reserve_below(limit)?;
        let mut as_of = HashMap::new();
        for chunk in chunks {
            as_of.insert(chunk.index, chunk.as_of);
            let places = self.chunk_places(chunk.index)?;
            let guard = self.pin();
            for (id, place) in places {
                self.set_place(id, Some(&Place { flushed: version, ..place }), &guard);
            }
        }
        // All that was known already.
        *self.store.changed() = ChangedPages::default();
        let mut changed = BTreeMap::new();
        let mut reader = self.store.log.frame_reader();
        for frame in &frames {
            for part in reader.parts(frame)?.filter(|part| part.kind != VALUE) {
                if as_of.get(&chunk_of(part.page)).is_some_and(|&as_of| part.sequence <= as_of) {
                    continue;
                }
                if part.page.number() >= limit {
                    limit = part.page.number().saturating_add(1);
                    self.table.reserve_below(limit)?;
                }
                let so_far = || self.place(part.page, &self.pin());
                apply(changed.entry(part.page).or_insert_with(so_far), &part)?;
                if changed.len() >= CHANGED_AT_ONCE {
                    self.set_places(&mut changed, version);
                }
            }
        }
        self.set_places(&mut changed, version);
        let counts = self.adopt_places(version)?;
        self.clock.advance_to(version + 1);
        if !self.store.read_only {
            self.begin(version)?;
            // What the opening before this one prepared, and what died in it, is used again now: a
            // store that is opened and killed over and over has no later moment for it.
            self.store.log.reclaim()?;
        }
        Ok(counts)
    }

    /// Puts locations that parts have changed into the table.
    fn set_places(&self, changed: &mut BTreeMap<PageId, Option<Place>>, version: u64) {
        let guard = self.pin();
        for (id, place) in std::mem::take(changed) {
            let place = place.map(|place| Place { flushed: version, ..place });
            self.set_place(id, place.as_ref(), &guard);
        }
    }

    /// The locations in a chunk of the last checkpoint.
    fn chunk_places(&self, chunk: u32) -> Result<BTreeMap<PageId, Place>> {
        let mut places = BTreeMap::new();
        for part in self.store.log.chunk_parts(chunk)? {
            for (id, place) in decode(chunk, &part)? {
                match place {
                    Some(place) => places.insert(id, place),
                    None => places.remove(&id),
                };
            }
        }
        Ok(places)
    }

    /// One more than the highest id of a page in the checkpoint.
    fn id_limit(&self, chunks: &[RecoveredChunk]) -> Result<u32> {
        let Some(last) = chunks.last() else { return Ok(0) };
        // An empty one is none that this code has written; the ones before it are lower.
        let highest = self.chunk_places(last.index)?.keys().last().copied();
        let first = last.index.saturating_mul(CHUNK_PAGES);
        Ok(highest.map_or(first, |id| id.number().saturating_add(1)))
    }

    /// Tells the log what is live, and the table which pages there are; counts the entries.
    fn adopt_places(&self, version: u64) -> Result<Counts> {
        let mut counts = Counts::new();
        let mut unfinished = Vec::new();
        for id in (1..self.table.id_limit()).map(PageId::new) {
            let Some(place) = self.place(id, &self.pin()) else {
                self.table.release(id);
                continue;
            };
            let token = Token::recovered(self.next_serial(), &place);
            let count = counts.entry(place.tree).or_default();
            if !place.is_merged() {
                count.entries += i64::from(token.count);
                count.uncounted += u32::from(!token.counted);
            }
            let missing: Vec<Address> =
                place.addresses().filter(|address| !self.store.log.adopt(*address)).collect();
            if !missing.is_empty() {
                self.forget_dead_values(id, &place, &missing)?;
            }
            if place.is_merged() {
                self.table.set_merged(id, place.merged_into, version);
                unfinished.push(id);
            } else {
                self.table.set_disk(id, token.bits());
            }
        }
        *self.store.unfinished.lock().unwrap_or_else(PoisonError::into_inner) = unfinished;
        Ok(counts)
    }

    /// Takes values out of a location whose segments are not there. Parts may name values that no
    /// entry does any more: on a full disk their segments are given back before the parts are
    /// written anew. Only for that is a page looked into.
    fn forget_dead_values(&self, id: PageId, place: &Place, missing: &[Address]) -> Result<()> {
        let log = &self.store.log;
        let is_part = |address: &Address| !place.values.contains(address);
        let damaged = missing.iter().any(is_part)
            || match self.named_values(id, place) {
                // That concerns the page.
                Err(error) if error.is_damage() => false,
                named => {
                    let (_, named) = named?;
                    missing.iter().any(|address| named.contains(address))
                }
            };
        if damaged {
            let file = missing.first().map_or_else(String::new, |at| log.file_of(at.segment));
            let what = format!(
                "page {id} has a part in {file}, which is not there or cut short; put it back, or, \
                 to give up what lay in it, one of zeros of the same length (truncate -s)"
            );
            return Err(Error::Corrupt { what });
        }
        let mut place = place.clone();
        place.keep_values(|value| !missing.contains(&value));
        self.set_place(id, Some(&place), &self.pin());
        Ok(())
    }
}

/// Changes the place of a page, if it has one, by a part of it.
fn apply(known: &mut Option<Place>, part: &RecoveredPart) -> Result<()> {
    let wrong = |what: &str| {
        let (id, at) = (part.page, part.address);
        Error::Corrupt { what: format!("page {id}: {what} ({at})") }
    };
    let tree = (part.tag >> 32) as u32;
    let number = part.tag as u32;
    match part.kind {
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
            *known = Some(place);
        }
        DELTA | BLIND => {
            let place = known
                .as_mut()
                .filter(|place| !place.is_merged() && place.tree == tree)
                .ok_or_else(|| wrong("a delta part without an image"))?;
            place.deltas.push(part.address);
            place.values.extend(&part.refs);
            place.count = place.count.saturating_add(number.cast_signed());
            place.uncounted = part.kind == BLIND;
        }
        MOVED_IMAGE | MOVED_DELTA => {
            let place = known
                .as_mut()
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
            *known = Some(Place { tree, merged_into, ..Place::default() });
        }
        FREED => *known = None,
        _ => return Err(wrong("a part of a kind that this version does not know")),
    }
    Ok(())
}
