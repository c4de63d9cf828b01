//! Evacuate: on a full disk, what is live leaves the emptiest segments, as of the last commit.
//!
//! # The rule
//!
//! A step leaves more room than it found, and what it has written it does not move again. So steps
//! end, and they end where every segment is nearly full of what is live. Whatever was removed, of
//! whatever shape, is won back on the way, down to an eighth of each segment:
//!
//! - *A segment is emptied only if it is given back with the commit that empties it*: it lies
//!   before the checkpoint, and holds nothing but parts of pages and values. So a step costs what
//!   it moves, and nothing of the table. (A checkpoint with each step can be as much as the step
//!   wins. And where its chunks lie beside the moved pages, and die with the next one, these
//!   segments are the emptiest then, and the same pages move for ever.)
//! - *Entries that are gone are not moved.* A leaf that has delta parts is written anew, as an
//!   image of all its parts, if that is no more than would be moved of it.
//! - *Values that are gone are given back without a write.* A location names the separated values
//!   of all parts of its page. What no entry names any more, as of the last commit, is dropped from
//!   it ([`DurableEngine::inspect`]). A recovery that meets it again in the parts finds it there or
//!   gone, and either is right; see `recover`.
//! - *A value that moves costs itself and a record*: its page gets a delta part that puts the key
//!   to the same value at the new address. Handles in memory still have the old one, which is
//!   looked up when they are used ([`Separated::current`](super::values::Separated::current)).
//! - *A checkpoint is taken when nothing is left to be emptied before it*, and if what it lets
//!   be emptied is more than it costs; a second one only after something was emptied.
//!
//! All of it is as of the last commit: what is dirty, however much that is, needs no room here. The
//! version of the log stays what it is.
//!
//! # What a step may take
//!
//! The rest of the open segment and the free segments but one; the last one too if a victim counts
//! for the reserve, since a crash leaves either of them for the opening. The victims are those
//! with the least to move of their size, as many as fit. A value that is larger than any free
//! segment gets one that takes the blocks of several.
//!
//! What a store that is open for reading beside this one may need is not emptied: it would be held
//! for it, and the reserve spent on that.

use super::cut::Cut;
use super::fetch;
use super::parts::Parts;
use super::place::Place;
use super::store::{BLIND, DELTA, DurableEngine, IMAGE};
use super::values::VALUE;
use super::visit::with_pointers;
use crate::error::{Error, Result};
use delta::{Entry, FLAG_SEPARATED, Op, Record};
use lss::{Appender, SegmentState, Stream};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;
use types::{Address, PageId};

/// A segment is worth emptying if this part of it is won at least.
const MIN_GAIN_SHARE: u64 = 8;

/// Tries at a step, each without the segment that did not fit though it should have.
const MAX_TRIES: u32 = 3;

/// Most bytes that a step moves, if one segment does not have more: a sync waits for it.
const STEP_BYTES: u64 = 1 << 20;

/// Steps in a row that together win no segment. Parts that don't fill the segments that they are
/// moved to might be moved for ever.
const MAX_VAIN_STEPS: u32 = 32;

/// Pages that change in one step of looking into them.
const STEP_PAGES: usize = 256;

/// Bytes of a part in the log besides itself: its line in the directory, padding.
const LINE_BYTES: u64 = 48;

/// Bytes of a record of a delta part besides its key, and of the reference to its value.
const RECORD_BYTES: u64 = 40;

/// What is known from earlier steps.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// Live bytes, bytes of segments in use, the version and the readers, when there was nothing to
    /// gain.
    exhausted: Option<(u64, u64, u64, usize)>,
    /// The version at the last checkpoint, if nothing was emptied since.
    checkpoint: Option<u64>,
    /// The last delta part of each page that was looked into.
    inspected: HashMap<PageId, Address>,
    /// Steps in a row that together have won nothing, the bytes of segments that they have, and
    /// what was live at the last of them.
    vain: u32,
    won: i64,
    live: u64,
}

impl Relief {
    /// Takes note of what a step has won; `false` if there is no end to such steps.
    fn goes_on(&mut self, (live, before): (u64, u64), after: u64) -> bool {
        self.won += before.cast_signed() - after.cast_signed();
        self.live = live;
        if self.won > 0 {
            (self.vain, self.won) = (0, 0);
        } else {
            self.vain += 1;
        }
        self.vain < MAX_VAIN_STEPS
    }
}

/// A segment that can be emptied.
#[derive(Debug)]
struct Victim {
    id: u32,
    size: u64,
    /// Bytes that can be won, and that are live: of a segment with large parts not the rest behind
    /// them, since where they go there may be one too.
    winnable: u64,
    live: u64,
    /// Bytes that are live as far as pages know.
    known: u64,
    /// Bytes that are to be written for it.
    moves: u64,
    /// The largest part of these.
    largest: u64,
    pages: Vec<PageId>,
    is_free_when_empty: bool,
}

impl Victim {
    fn is_worthwhile(&self) -> bool {
        self.moves + self.size / MIN_GAIN_SHARE <= self.winnable
    }
}

impl DurableEngine {
    /// Makes one step of room on a full disk. `false` if there is nothing to gain.
    ///
    /// Called by a thread that does not have the appender.
    pub(crate) fn make_disk_room(&self) -> Result<bool> {
        self.store.check()?;
        let log = &self.store.log;
        let _checkpointing = self.store.checkpointing();
        let mut appender = log.appender();
        appender.rollback()?;
        appender.use_reserve();
        let mut relief = self.store.relief.lock().unwrap_or_else(PoisonError::into_inner);
        log.look_for_readers()?;
        let state =
            || (log.live_bytes(), log.used_bytes(), log.durable_version(), log.known_readers());
        let (live, used, ..) = state();
        if relief.vain >= MAX_VAIN_STEPS && live + log.reserved_segment_bytes() <= relief.live {
            (relief.vain, relief.won) = (0, 0);
        }
        if relief.exhausted == Some(state()) || relief.vain >= MAX_VAIN_STEPS {
            return Ok(false);
        }
        let gained = match self.step(&mut appender, &mut relief) {
            Err(Error::Log(error)) if error.is_full() => Ok(false),
            gained => gained.map(|gained| gained && relief.goes_on((live, used), log.used_bytes())),
        };
        // At once, before another program takes it.
        match self.fill_reserve() {
            Err(error) if error.stops_one_group() => {}
            filled => filled?,
        }
        let gained = gained?;
        relief.exhausted = (!gained).then(state);
        if !log.is_tight() && !self.store.is_nearly_full() {
            relief.inspected = HashMap::new();
        }
        Ok(gained)
    }

    fn step<'e>(&'e self, appender: &mut Appender<'e>, relief: &mut Relief) -> Result<bool> {
        let log = &self.store.log;
        if log.reclaim()? > 0 {
            return Ok(true);
        }
        let (mut ready, waiting): (Vec<Victim>, Vec<Victim>) =
            self.victims().into_iter().partition(|v| v.is_free_when_empty && v.known >= v.live);
        ready.sort_by(|a, b| (a.moves * b.size, a.id).cmp(&(b.moves * a.size, b.id)));
        if self.exchange(appender, &ready)? {
            relief.checkpoint = None;
            return Ok(true);
        }
        if self.inspect(&mut relief.inspected)? {
            return Ok(true);
        }
        let gain: u64 = waiting.iter().map(|v| v.winnable - v.moves).sum();
        let gain = gain + self.gain_after_checkpoint();
        // What is not the pages' are parts of chunks, which it moves.
        let of_chunks: u64 = waiting.iter().map(|v| v.live.saturating_sub(v.known)).sum();
        let version = log.durable_version();
        if relief.checkpoint == Some(version) || gain <= of_chunks + self.expected_bytes() {
            return Ok(false);
        }
        self.leave(&waiting.iter().map(|v| v.id).collect::<Vec<u32>>());
        self.write_chunks(appender, self.whole_bytes_of_reserve())?;
        relief.checkpoint = Some(version);
        log.reclaim()?;
        Ok(true)
    }

    /// The sealed segments that are worth emptying, and what that takes.
    fn victims(&self) -> Vec<Victim> {
        let log = &self.store.log;
        let stuck = self.store.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sealed = log.segments().into_iter().filter(|s| s.state == SegmentState::Sealed);
        let live =
            sealed.filter(|s| s.live > 0 && !stuck.contains(&s.id) && !log.would_be_held(s.id));
        let victim = |s: lss::SegmentInfo| Victim {
            id: s.id,
            size: s.size,
            winnable: s.written,
            live: s.live,
            known: 0,
            moves: 0,
            largest: 0,
            pages: Vec::new(),
            is_free_when_empty: log.is_free_when_empty(&s),
        };
        let mut found: HashMap<u32, Victim> = live.map(|s| (s.id, victim(s))).collect();
        let guard = self.pin();
        // Per segment: bytes of parts, and the number of values.
        let mut of_page: HashMap<u32, (u64, u64)> = HashMap::new();
        for id in (1..self.table.id_limit()).map(PageId::new) {
            let Some(place) = self.place(id, &guard) else { continue };
            for (at, address) in place.addresses().enumerate() {
                let Some(victim) = found.get_mut(&address.segment) else { continue };
                let bytes = lss::live_bytes(address);
                victim.known += bytes;
                victim.largest = victim.largest.max(bytes);
                let (parts, values) = of_page.entry(address.segment).or_default();
                if at <= place.deltas.len() {
                    *parts += bytes + LINE_BYTES;
                } else {
                    victim.moves += bytes + LINE_BYTES;
                    *values += 1;
                }
            }
            let folded = place.live_bytes() as u64 + LINE_BYTES;
            let entries = u64::from(place.image_count.max(1).unsigned_abs());
            let per_entry = u64::from(place.image.len) / entries;
            for (segment, (parts, values)) in of_page.drain() {
                let Some(victim) = found.get_mut(&segment) else { continue };
                let records =
                    if values > 0 { values * (per_entry + RECORD_BYTES) + LINE_BYTES } else { 0 };
                let anew = if place.deltas.is_empty() && values == 0 { u64::MAX } else { folded };
                victim.moves += (parts + records).min(anew);
                victim.pages.push(id);
            }
        }
        drop(guard);
        let small = log.reserved_segment_bytes() / MIN_GAIN_SHARE;
        for victim in found.values_mut().filter(|victim| victim.largest <= small) {
            victim.winnable = victim.size;
        }
        found.into_values().filter(Victim::is_worthwhile).collect()
    }

    /// Empties the first of these segments, as many as the reserve has room for what is live in
    /// them, and gives them back. `false` if that is none.
    fn exchange<'e>(&'e self, appender: &mut Appender<'e>, ready: &[Victim]) -> Result<bool> {
        let mut ready: Vec<&Victim> = ready.iter().collect();
        for _ in 0..MAX_TRIES {
            let (stream, mut chosen, takes_last) = self.choose_victims(appender, &ready);
            if takes_last {
                appender.use_last_segment();
            }
            let Some(&first) = chosen.first() else { return Ok(false) };
            // What is moved may come out larger than it was thought to be.
            while !chosen.is_empty() {
                match self.move_committed(appender, stream, &chosen) {
                    Err(Error::Log(error)) if error.is_full() => chosen.truncate(chosen.len() / 2),
                    moved => {
                        moved?;
                        self.store.log.reclaim()?;
                        return Ok(true);
                    }
                }
            }
            ready.retain(|victim| victim.id != first.id);
        }
        Ok(false)
    }

    /// The first of these that there is room for, where that is most, and whether it takes the last
    /// segment of the reserve.
    fn choose_victims<'v>(
        &self,
        appender: &Appender<'_>,
        ready: &[&'v Victim],
    ) -> (Stream, Vec<&'v Victim>, bool) {
        let (stream, tail, free) = appender.reserved_room();
        let counts = self.store.log.reserved_segment_bytes();
        for (free, takes_last) in free.iter().zip([false, true]) {
            let mut chosen: Vec<&Victim> = Vec::new();
            let (mut moves, mut largest) = (0, 0);
            for victim in ready {
                let (moves_too, largest_too) = (moves + victim.moves, largest.max(victim.largest));
                let first = chosen.is_empty();
                if first && takes_last && victim.size < counts
                    || !first && moves_too > STEP_BYTES
                    || moves_too > room(tail, free, largest_too)
                {
                    continue;
                }
                (moves, largest) = (moves_too, largest_too);
                chosen.push(victim);
            }
            if !chosen.is_empty() {
                return (stream, chosen, takes_last);
            }
        }
        (stream, Vec::new(), false)
    }

    /// Moves what the last commit has in these segments, and nothing else: the version of the log
    /// stays what it is.
    fn move_committed<'e>(
        &'e self,
        appender: &mut Appender<'e>,
        stream: Stream,
        victims: &[&Victim],
    ) -> Result<()> {
        self.write_as_committed(appender, stream, |cut, moved| {
            cut.victims = victims.iter().map(|victim| victim.id).collect();
            let pages: BTreeSet<PageId> =
                victims.iter().flat_map(|v| v.pages.iter().copied()).collect();
            pages.into_iter().try_for_each(|id| cut.evacuate(id, moved))
        })
    }

    /// Commits and publishes what `write` appends of the last commit, in other places, and nothing
    /// else: the version of the log stays what it is. `write` takes note of the values that it
    /// moves.
    pub(super) fn write_as_committed<'e>(
        &'e self,
        appender: &mut Appender<'e>,
        stream: Stream,
        write: impl FnOnce(&mut Cut<'e, '_>, &mut HashMap<Address, Address>) -> Result<()>,
    ) -> Result<()> {
        let version = self.store.log.durable_version();
        let mut cut = Cut::new(self, appender, version, stream);
        let mut moved = HashMap::new();
        let written = write(&mut cut, &mut moved);
        match written.and_then(|()| cut.appender.commit(version).map_err(Into::into)) {
            Ok(()) => {
                // Before the old ones are dead: a handle that finds its value gone looks here.
                self.store.forward(moved);
                cut.publish();
                Ok(())
            }
            Err(error) => {
                // A poisoned log refuses the rollback and all that follows.
                let _refused = cut.appender.rollback();
                Err(error)
            }
        }
    }

    /// Looks into leaves with delta parts for what no entry names any more: values, which are
    /// dropped from the locations of their pages and are dead, and entries of the image, so that
    /// [`Place::live_bytes`] knows of them. `true` if there was any.
    ///
    /// Called by who has the appender.
    fn inspect(&self, inspected: &mut HashMap<PageId, Address>) -> Result<bool> {
        let mut changed = 0;
        for id in (1..self.table.id_limit()).map(PageId::new) {
            let Some(place) = self.place(id, &self.pin()) else { continue };
            let Some(&last) = place.deltas.last() else { continue };
            let is_known = place.values.is_empty() && place.image_count != place.count;
            if is_known || inspected.get(&id) == Some(&last) {
                continue;
            }
            inspected.insert(id, last);
            let (image_count, named) = match self.named_values(id, &place) {
                Err(error) if error.is_damage() => continue,
                named => named?,
            };
            let dead: Vec<Address> =
                place.values.iter().copied().filter(|value| !named.contains(value)).collect();
            if dead.is_empty() && image_count == place.image_count {
                continue;
            }
            let mut place = Place { image_count, ..place };
            place.keep_values(|value| named.contains(&value));
            self.set_place(id, Some(&place), &self.pin());
            for value in dead {
                self.store.log.retire(value);
            }
            changed += 1;
            if changed >= STEP_PAGES {
                break;
            }
        }
        Ok(changed > 0)
    }

    /// The number of entries in the image of a page, and the separated values that its entries
    /// name.
    pub(super) fn named_values(
        &self,
        id: PageId,
        place: &Place,
    ) -> Result<(i32, HashSet<Address>)> {
        let parts = Parts::read(self, id, place)?;
        let image = delta::decode_image(parts.image())
            .map_err(|error| Error::Corrupt { what: format!("page {id}: {error}") })?;
        let image_count = image.entries().len() as i32;
        let named =
            fetch::decoded(id, &parts, |_, entries| entries.iter().filter_map(value_of).collect())?;
        Ok((image_count, named))
    }
}

/// Bytes that fit in the rest of a segment and these others, if no part is larger than this: what
/// is left at the end of each is lost.
fn room(tail: u64, free: &[u64], largest: u64) -> u64 {
    let lost = largest + 4 * LINE_BYTES;
    let usable = |size: u64| (size - size / 16).saturating_sub(lost);
    let all = usable(tail) + free.iter().map(|&size| usable(size)).sum::<u64>();
    // One that is too large for each of them gets a segment that is made of several.
    if free.iter().all(|&size| size < largest) && largest > tail {
        return usable(free.iter().sum());
    }
    all
}

/// Where the separated value of an entry lies, in a page as the log has it.
fn value_of(entry: &Entry<'_>) -> Option<Address> {
    (entry.flags & FLAG_SEPARATED != 0).then(|| Address::decode(entry.value)).flatten()
}

impl Cut<'_, '_> {
    /// Moves what is live of a page out of the victims, as of the last commit.
    fn evacuate(&mut self, id: PageId, moved: &mut HashMap<Address, Address>) -> Result<()> {
        let Some(place) = self.engine.place(id, &self.engine.pin()) else { return Ok(()) };
        let inside = |address: &&Address| self.victims.contains(&address.segment);
        let parts = std::iter::once(&place.image).chain(&place.deltas).filter(inside);
        let bytes: u64 = parts.map(|part| u64::from(part.len)).sum();
        let has_values = place.values.iter().any(|value| self.victims.contains(&value.segment));
        let shrinks = !place.deltas.is_empty() && place.live_bytes() as u64 <= bytes;
        if !has_values && !shrinks {
            return self.move_parts(id);
        }
        let parts = Parts::read(self.engine, id, &place);
        match parts.and_then(|parts| self.write_anew(id, place, &parts, bytes, moved)) {
            Err(error) if error.is_damage() => {
                self.leave_in_place(id);
                Ok(())
            }
            written => written,
        }
    }

    /// Appends the values of a page that lie in victims, and what names them now: an image of the
    /// whole page, if that is no more than so many bytes, or a delta part, and the parts that lie
    /// in victims.
    pub(super) fn write_anew(
        &mut self,
        id: PageId,
        mut place: Place,
        parts: &Parts,
        part_bytes: u64,
        moved: &mut HashMap<Address, Address>,
    ) -> Result<()> {
        let named: HashSet<Address> =
            fetch::decoded(id, parts, |_, entries| entries.iter().filter_map(value_of).collect())?;
        place.keep_values(|value| named.contains(&value));
        for value in place.values.iter().filter(|value| self.victims.contains(&value.segment)) {
            let log = &self.engine.store.log;
            let bytes = match log.read(*value, PageId::NONE, VALUE).map_err(Error::from) {
                Err(error) if error.is_damage() => {
                    self.engine.store.leave_alone(value.segment);
                    continue;
                }
                bytes => bytes?,
            };
            let new = self.appender.append(self.stream, PageId::NONE, VALUE, 0, &[], &bytes)?;
            self.new_values.insert(new);
            moved.insert(*value, new);
        }
        let mut records = Vec::new();
        self.payload.clear();
        let image = &mut self.payload;
        let (count, values, repointed) = fetch::decoded(id, parts, |shape, entries| {
            let count = if shape.level == 0 { entries.len() as i32 } else { 0 };
            let new = |entry: &Entry<'_>| value_of(entry).and_then(|old| moved.get(&old)).copied();
            let pointers: Vec<_> = entries.iter().map(|e| new(e).map(Address::encode)).collect();
            let entries = with_pointers(&entries, &pointers);
            delta::encode_image(shape, &entries, image);
            let changed = || entries.iter().zip(&pointers).filter(|(_, pointer)| pointer.is_some());
            let keys: Vec<Vec<u8>> = changed().map(|(entry, _)| entry.key.to_vec()).collect();
            let puts = changed().zip(&keys).map(|((entry, _), key)| {
                let Entry { flags, value, .. } = *entry;
                Record { op: Op::Put, flags, net: 0, key, value }
            });
            delta::encode_records(puts, &mut records);
            let repointed: Vec<Address> = changed().filter_map(|(e, _)| value_of(e)).collect();
            (count, entries.iter().filter_map(value_of).collect::<Vec<Address>>(), repointed)
        })?;
        let records_len = if repointed.is_empty() { 0 } else { records.len() as u64 };
        let tree = u64::from(place.tree) << 32;
        // As it was reckoned with; once it is an image, that is exact.
        let bytes = part_bytes.saturating_add(records_len);
        if self.payload.len() as u64 <= bytes || place.live_bytes() as u64 <= bytes {
            let tag = tree | u64::from(count.cast_unsigned());
            let refs = &values;
            let stream = self.stream_of(place.tree);
            place.image = self.appender.append(stream, id, IMAGE, tag, refs, &self.payload)?;
            place.deltas.clear();
            (place.count, place.uncounted) = (count, false);
            (place.image_values, place.image_count) = (values.len(), count);
            place.values = values;
            self.set_place(id, &place);
            return Ok(());
        }
        if !repointed.is_empty() {
            let kind = if place.uncounted { BLIND } else { DELTA };
            let stream = self.stream_of(place.tree);
            let part = self.appender.append(stream, id, kind, tree, &repointed, &records)?;
            place.deltas.push(part);
            place.keep_values(|value| !moved.contains_key(&value));
            place.values.extend(repointed);
        }
        self.set_place(id, &place);
        self.move_parts(id)
    }
}
