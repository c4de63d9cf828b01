//! One page of a cut: a delta part or an image, and what a closed commit needs beside it.
//!
//! A commit is *closed* (A4, X3, X4). An image is of the page as its word has it, with entries as
//! of the cut, and pulls in
//!
//! - the page its right link names, if that has no image yet;
//! - if it is the page's first image: the left neighbour, if the range of that one has changed
//!   since its own image;
//! - a Merged record for every page it has absorbed.
//!
//! An inner image leaves children out that have no image yet, except the first one, which it pulls
//! in; it is then written again in the next cut. A Merged page, and one that is capped and already
//! absorbed, stands for its absorber (X1).
//!
//! A page that holds records newer than the cut is listed again. Thread W writes, S splits, A is
//! the appender:
//!
//! 1. A opens cut 1. W writes a record on L and stamps it 2, so L is listed for 2.
//! 2. S splits L; the record goes to R. A writes R's first image, as of 1, in commit 1.
//! 3. A opens cut 2 and drains L. L has nothing new, and R has an image, so it isn't pulled in:
//!    without R on the list, commit 2 would lack the record.
//!
//! Nothing is read from or written to disk while pinned: what a page needs is gathered under a
//! pin, appended without one, and the page is looked at again.

use super::cut::Cut;
use super::packed::PackedPlace;
use super::place::Place;
use super::reckon;
use super::store::{BLIND, DELTA, DELTAS, IMAGE, IMAGES, MERGED, MOVED_DELTA, MOVED_IMAGE};
use super::values::{self, Separated, VALUE};
use crate::engine::{Away, Covering, Stop, Versioned, Wanted};
use crate::error::{Error, Result};
use delta::{Base, Entry, FLAG_SEPARATED, Op, Record};
use mapping::{Chain, PageRef, Word};
use std::collections::HashSet;
use std::sync::Arc;
use sync::epoch::Guard;
use types::{Address, PageId};

/// Delta parts on top of an image from which on another image is cheaper.
const MAX_DELTAS: usize = 32;
/// The same for a page that is brought back for each write: it costs a read for each of its parts
/// then. For removals in a store of ten times its memory 32 made 40,000 a second, 8 made 51,000 and
/// wrote a tenth more, 5 made 53,000 and wrote a sixth more.
pub(super) const MAX_READ_DELTAS: usize = 8;
/// Most delta parts of a page that is written to without being read. Those that have more than they
/// should are brought in by their next writer, or behind the commit, which is not to wait for them,
/// nor to hold them in memory.
const MAX_BLIND_DELTAS: usize = 2 * MAX_DELTAS;
/// An image is written when the delta parts have this many times its bytes.
const DELTAS_PER_IMAGE: u64 = 3;
/// An image of at most this many bytes is not written again because its entries are gone.
const MIN_DEAD_IMAGE_BYTES: u32 = 256;
/// Bytes of separated values that may be dead in the parts of a page, besides as many as live; by
/// removals, a quarter as many.
const DEAD_VALUE_BYTES: u64 = 128 << 10;

/// What a page needs before, or instead of, being written.
enum Need {
    Nothing,
    /// These separated values must be in the log first.
    Values(Vec<Arc<Separated>>),
    /// The page is ready: append what has been encoded.
    Part(Box<Part>),
    /// Another page stands for this one.
    Instead(PageId),
    Away(PageId),
}

struct Part {
    kind: u8,
    net: i32,
    refs: Vec<Address>,
    place: Place,
    serial: u32,
    pull: Vec<PageId>,
    absorbed: Vec<PageId>,
    incomplete: bool,
}

/// A delta part and its records, or the values that must be in the log before it.
type DeltaPart<'g> = core::result::Result<(Part, Vec<Record<'g>>), Vec<Arc<Separated>>>;

impl Cut<'_, '_> {
    /// Writes what the cut needs of a page, and puts what follows from it on the work list.
    pub(crate) fn visit(&mut self, id: PageId) -> Result<()> {
        loop {
            match self.look(id) {
                Need::Nothing => return self.move_parts(id),
                Need::Instead(other) => {
                    self.work.push_back(other);
                    return Ok(());
                }
                Need::Away(away) => match super::mend::page_in(self.engine, away) {
                    // Its values cannot be moved, for what names them cannot be read.
                    Err(error) if error.is_damage() && away == id => {
                        self.leave_in_place(id);
                        if !self.unreadable.insert(id) {
                            return Ok(());
                        }
                    }
                    brought => brought?,
                },
                Need::Values(values) => {
                    for value in values {
                        self.append_value(value)?;
                    }
                }
                Need::Part(part) => {
                    self.append(id, *part)?;
                    return self.move_parts(id);
                }
            }
        }
    }

    /// Moves the parts of a page that lie in segments to be emptied, as they are: the page need not
    /// be in memory for it, and costs what is moved and no more.
    ///
    /// A part that cannot be read stays where it is, and its segment is no victim any more.
    pub(crate) fn move_parts(&mut self, id: PageId) -> Result<()> {
        let moved = |cut: &Self| {
            let guard = cut.engine.pin();
            cut.lies_in_victims(id, &guard).then(|| cut.place(id, &guard)).flatten()
        };
        let Some(mut place) = moved(self) else { return Ok(()) };
        let log = &self.engine.store.log;
        let image = (MOVED_IMAGE, 0, IMAGES, &mut place.image);
        let deltas = place.deltas.iter_mut().enumerate();
        let deltas = deltas.map(|(at, delta)| (MOVED_DELTA, at, DELTAS, delta));
        for (kind, at, kinds, address) in std::iter::once(image).chain(deltas) {
            if !self.victims.contains(&address.segment) {
                continue;
            }
            let payload = match log.read_any(*address, id, kinds).map_err(Error::from) {
                Err(error) if error.is_damage() => {
                    self.engine.store.leave_alone(address.segment);
                    continue;
                }
                payload => payload?,
            };
            let tag = u64::from(place.tree) << 32 | at as u64;
            let stream = self.stream_of(place.tree);
            *address = self.appender.append(stream, id, kind, tag, &[], &payload)?;
        }
        self.set_place(id, &place);
        Ok(())
    }

    /// Gives up emptying the segments that hold something of a damaged page.
    pub(crate) fn leave_in_place(&self, id: PageId) {
        let guard = self.engine.pin();
        for address in self.place(id, &guard).iter().flat_map(Place::addresses) {
            self.engine.store.leave_alone(address.segment);
        }
    }

    fn append_value(&mut self, value: Arc<Separated>) -> Result<()> {
        let store = &self.engine.store;
        let old = value.current(store);
        if !old.is_none() {
            // Before the look that the page is written from: a page that is evicted after it and
            // comes back before the commit has its values from here.
            store.moving.insert(old, Arc::clone(&value));
        }
        let bytes = match value.load(store) {
            // It stays where it is, as a part does that cannot be read.
            Err(error) if error.is_damage() && !old.is_none() => {
                store.leave_alone(old.segment);
                self.values.insert(Arc::as_ptr(&value).addr(), (value, old));
                return Ok(());
            }
            bytes => bytes?,
        };
        let address = self.appender.append(self.stream, PageId::NONE, VALUE, 0, &[], &bytes)?;
        self.new_values.insert(address);
        self.values.insert(Arc::as_ptr(&value).addr(), (value, address));
        Ok(())
    }

    fn append(&mut self, id: PageId, part: Part) -> Result<()> {
        let Part { kind, net, refs, mut place, serial, pull, absorbed, incomplete } = part;
        let tag = u64::from(place.tree) << 32 | u64::from(net.cast_unsigned());
        let stream = self.stream_of(place.tree);
        let address = self.appender.append(stream, id, kind, tag, &refs, &self.payload)?;
        if kind == IMAGE {
            place.image = address;
        } else {
            place.deltas.push(address);
        }
        let tree = place.tree;
        self.set_place(id, &place);
        self.visited.insert(id, serial);
        for merged in absorbed {
            let tag = u64::from(tree) << 32 | u64::from(id.number());
            // Needed by a recovery before the next checkpoint only, which no reclaiming forestalls.
            self.passing.push(self.appender.append(stream, merged, MERGED, tag, &[], &[])?);
            let place = Place { tree, merged_into: id, ..Place::default() };
            self.set_place(merged, &place);
        }
        self.work.extend(pull);
        if incomplete {
            self.again.push(id);
        }
        Ok(())
    }

    /// What the log will hold of a page once this cut is committed.
    fn place(&self, id: PageId, guard: &Guard) -> Option<Place> {
        self.packed_place(id, guard).map(PackedPlace::unpack)
    }

    fn packed_place<'g>(&'g self, id: PageId, guard: &'g Guard) -> Option<PackedPlace<'g>> {
        self.places.get(id).or_else(|| self.engine.packed_place(id, guard))
    }

    /// Sets what the log will hold of a page.
    pub(super) fn set_place(&mut self, id: PageId, place: &Place) {
        // Parts of this cut that it writes once more.
        if let Some(written) = self.places.get(id).map(PackedPlace::unpack) {
            let old = self.engine.place(id, &self.engine.pin()).unwrap_or_default();
            let again = |part: &Address| !place.has_part(*part) && !old.has_part(*part);
            written.parts().filter(again).for_each(|part| self.passing.push(part));
        }
        self.places.insert(id, place);
    }

    fn has_image(&self, id: PageId, guard: &Guard) -> bool {
        let place = self.packed_place(id, guard).map(PackedPlace::without_lists);
        place.is_some_and(|place| !place.image.is_none())
    }

    fn look(&mut self, id: PageId) -> Need {
        let engine = self.engine;
        let guard = engine.pin();
        let chain = match engine.table.load(id, &guard) {
            // Of a tree that this cut does not have.
            Word::Resident(chain) | Word::Capped(chain) | Word::Partial(chain)
                if engine.is_gone(chain.page().tree()) =>
            {
                return Need::Nothing;
            }
            Word::Resident(chain) => chain,
            Word::Merged { into, .. } => return Need::Instead(into),
            Word::Capped(chain) => return self.cover(id, chain, &guard),
            // Evicted means committed, unless values of it are to leave their segment.
            Word::Disk(_) | Word::Partial(_)
                if self.has_values_in_victims(id, &guard) && !self.unreadable.contains(&id) =>
            {
                return Need::Away(id);
            }
            Word::Partial(chain) => return self.partial(id, chain, &guard),
            Word::Disk(_) | Word::Unborn | Word::Free => return Need::Nothing,
        };
        if self.visited.get(&id) == Some(&chain.page().serial()) {
            return Need::Nothing;
        }
        let base = Base::new(chain.base());
        let stop = Stop { id, chain, base, parent: PageId::NONE };
        if base.is_leaf() { self.leaf(&stop, &guard) } else { self.inner(&stop, &guard) }
    }

    fn lies_in_victims(&self, id: PageId, guard: &Guard) -> bool {
        let lies = |place: PackedPlace<'_>| place.lies_in(&self.victims);
        !self.victims.is_empty() && self.packed_place(id, guard).is_some_and(lies)
    }

    /// Whether separated values of the page lie in segments to be emptied: their addresses stand in
    /// its parts, so it is written anew.
    fn has_values_in_victims(&self, id: PageId, guard: &Guard) -> bool {
        let inside = |place: PackedPlace<'_>| place.has_values_in(&self.victims);
        !self.victims.is_empty() && self.packed_place(id, guard).is_some_and(inside)
    }

    /// A capped page is merged to its end, and its absorber stands for it.
    fn cover(&self, id: PageId, chain: Chain<'_>, guard: &Guard) -> Need {
        let Some(tree) = self.engine.store.trees.get(&chain.page().tree()).map(|t| Arc::clone(&t))
        else {
            return Need::Nothing;
        };
        let base = Base::new(chain.base());
        match self.engine.descend(&tree, Covering(base.low()), base.level(), guard) {
            Ok(stop) if stop.id == id => Need::Nothing,
            Ok(stop) => Need::Instead(stop.id),
            Err(Away(away)) => Need::Away(away),
        }
    }

    /// The records of a page that the cut sees. If there are newer ones, it is listed again.
    fn seen<'g>(&mut self, stop: &Stop<'g>) -> Versioned<'g> {
        let mut records: Versioned<'_> = self.engine.versioned(stop.id, stop.chain);
        let all = records.len();
        records.retain(|(version, _)| *version <= self.version);
        if records.len() < all {
            // They may have been listed under another page's id, which a split has taken them from
            // since; and once this cut has written the page, nobody pulls it in any more.
            self.again.push(stop.id);
        }
        records
    }

    /// What a page was written to without being read: its records become a delta part like any. If
    /// it has as many as it ever may, it is brought in, unless it cannot be read.
    fn partial(&mut self, id: PageId, chain: Chain<'_>, guard: &Guard) -> Need {
        if self.visited.get(&id) == Some(&chain.page().serial()) {
            return Need::Nothing;
        }
        let stop = Stop { id, chain, base: Base::new(chain.base()), parent: PageId::NONE };
        let records = self.seen(&stop);
        let Some(old) = self.place(id, guard) else { return Need::Nothing };
        match self.delta_part(&stop, &records, &old, BLIND) {
            None => Need::Nothing,
            Some(Err(missing)) => Need::Values(missing),
            Some(Ok((part, _)))
                if part.place.deltas.len() >= MAX_BLIND_DELTAS
                    && !self.unreadable.contains(&id) =>
            {
                Need::Away(id)
            }
            Some(Ok((part, newest))) => {
                self.encode_records(&newest);
                Need::Part(Box::new(part))
            }
        }
    }

    fn leaf(&mut self, stop: &Stop<'_>, guard: &Guard) -> Need {
        let records = self.seen(stop);
        let old = self.place(stop.id, guard);
        let page = stop.chain.page();
        // Which of its values are dead is not known of a page that was written to unread.
        let is_unknown = |old: &Place| old.uncounted && !old.values.is_empty();
        let relocate =
            old.as_ref().is_some_and(is_unknown) || self.has_values_in_victims(stop.id, guard);
        if let Some(old) = old.as_ref().filter(|old| !relocate && !old.wants_image(page)) {
            match self.delta_part(stop, &records, old, DELTA) {
                None if !is_crowded(old) => return Need::Nothing,
                Some(Err(missing)) => return Need::Values(missing),
                Some(Ok((part, newest)))
                    if !is_crowded(&part.place) && !self.comes_back_for_writes(page, old) =>
                {
                    self.encode_records(&newest);
                    return Need::Part(Box::new(part));
                }
                None | Some(Ok(_)) => {}
            }
        }
        let entries = reckon::entries_now(stop.base, &records);
        let missing = self.unplaced(entries.iter().map(|e| (e.flags, e.value)));
        if !missing.is_empty() {
            return Need::Values(missing);
        }
        let count = entries.len() as i32;
        self.image(stop, &entries, old.as_ref(), count, false, guard)
    }

    /// Whether a page with more delta parts than it should have was brought back since its newest
    /// one was written: it may be evicted behind this commit, and come back as soon. Where the disk
    /// is full an image may be more than there is room for.
    fn comes_back_for_writes(&self, page: PageRef<'_>, place: &Place) -> bool {
        let has_room = !self.is_tight && !self.engine.store.is_nearly_full();
        has_room && place.deltas.len() >= MAX_READ_DELTAS && page.base_version() == place.flushed
    }

    /// The records that the log does not hold yet, newest of each key, in key order; `None` if
    /// there are none; or the values that must be in the log first.
    fn delta_part<'g>(
        &self,
        stop: &Stop<'g>,
        records: &Versioned<'g>,
        old: &Place,
        kind: u8,
    ) -> Option<DeltaPart<'g>> {
        let newer = records.iter().take_while(|(version, _)| *version > old.flushed);
        let mut net = 0;
        let mut newest: Vec<Record<'g>> = Vec::new();
        let mut seen: HashSet<&[u8]> = HashSet::new();
        for (_, record) in newer {
            net += i32::from(record.net);
            if seen.insert(record.key) {
                newest.push(*record);
            }
        }
        if newest.is_empty() {
            return None;
        }
        if kind == BLIND {
            // Not known; but a page of which much was removed is to be seen as one.
            net = -(newest.iter().filter(|record| record.op == Op::Remove).count() as i32);
        } else if old.uncounted {
            // From now on it is.
            let all: i32 = records.iter().map(|(_, record)| i32::from(record.net)).sum();
            net = stop.base.count() as i32 + all - old.count;
        }
        let puts = newest.iter().filter(|record| record.op == Op::Put);
        let missing = self.unplaced(puts.clone().map(|r| (r.flags, r.value)));
        if !missing.is_empty() {
            return Some(Err(missing));
        }
        let separated = puts.filter(|record| record.flags & FLAG_SEPARATED != 0);
        let refs: Vec<Address> = separated.map(|record| self.address_of(record.value)).collect();
        let mut place = old.clone();
        place.flushed = self.version;
        place.count += net;
        place.uncounted = kind == BLIND;
        if kind == DELTA && !old.values.is_empty() {
            let address = |handle: &[u8]| self.address_of(handle);
            let displaced = values::displaced(stop.base, records, address);
            place.keep_values(|value| !displaced.contains(&value));
        }
        place.values.extend(&refs);
        if kind == DELTA && old.uncounted {
            place.set_needed(reckon::image_now(stop.base, records));
        } else {
            place.shrink_image(reckon::shortened(stop.base, &newest, old, kind));
        }
        newest.sort_by(|left, right| left.key.cmp(right.key));
        let part = Part {
            kind,
            net,
            refs,
            place,
            serial: stop.chain.page().serial(),
            pull: Vec::new(),
            absorbed: Vec::new(),
            incomplete: false,
        };
        Some(Ok((part, newest)))
    }

    fn encode_records(&mut self, records: &[Record<'_>]) {
        let pointers: Vec<_> = records.iter().map(|r| self.pointer(r.flags, r.value)).collect();
        let records = records.iter().zip(&pointers).map(|(record, pointer)| match pointer {
            Some(pointer) => Record { value: pointer, ..*record },
            None => *record,
        });
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        delta::encode_records(records, &mut payload);
        self.payload = payload;
    }

    fn inner(&mut self, stop: &Stop<'_>, guard: &Guard) -> Need {
        let old = self.place(stop.id, guard);
        let wanted = old.as_ref().is_none_or(|old| old.wants_image(stop.chain.page()));
        if !wanted {
            return Need::Nothing;
        }
        let base = stop.base;
        let named = |at: usize| at == 0 || self.has_image(base.child(at), guard);
        let entries: Vec<Entry<'_>> =
            base.entries().enumerate().filter(|(at, _)| named(*at)).map(|(_, e)| e).collect();
        let incomplete = entries.len() < base.count();
        self.image(stop, &entries, old.as_ref(), 0, incomplete, guard)
    }

    fn image(
        &mut self,
        stop: &Stop<'_>,
        entries: &[Entry<'_>],
        old: Option<&Place>,
        count: i32,
        incomplete: bool,
        guard: &Guard,
    ) -> Need {
        let (base, page) = (stop.base, stop.chain.page());
        let mut pull = Vec::new();
        if old.is_none_or(|old| old.image.is_none())
            && !base.low().is_empty()
            && let Err(Away(away)) = self.pull_left(stop, &mut pull, guard)
        {
            return Need::Away(away);
        }
        let right = base.right();
        if right.is_some() && !self.has_image(right, guard) {
            if matches!(self.engine.table.load(right, guard), Word::Unborn) {
                self.engine.deliver(stop.id, right);
            }
            pull.push(right);
        }
        if !base.is_leaf() && !self.has_image(base.child(0), guard) {
            if matches!(self.engine.table.load(base.child(0), guard), Word::Unborn) {
                self.engine.deliver(stop.id, base.child(0));
            }
            pull.push(base.child(0));
        }
        let absorbed = base
            .absorbed()
            .filter(|&id| !self.place(id, guard).is_some_and(|place| place.is_merged()))
            .collect();
        let pointers: Vec<_> = entries.iter().map(|e| self.pointer(e.flags, e.value)).collect();
        let refs: Vec<Address> =
            pointers.iter().flatten().filter_map(|pointer| Address::decode(pointer)).collect();
        let entries = with_pointers(entries, &pointers);
        self.payload.clear();
        delta::encode_image(&base.shape(&[]), &entries, &mut self.payload);
        let place = Place {
            tree: page.tree(),
            flushed: self.version,
            // An image that has left a child out is not what the page is.
            serial: if incomplete { 0 } else { page.serial() },
            values: refs.clone(),
            image_values: refs.len(),
            count,
            image_count: count,
            ..Place::default()
        };
        let serial = page.serial();
        let part =
            Part { kind: IMAGE, net: count, refs, place, serial, pull, absorbed, incomplete };
        Need::Part(Box::new(part))
    }

    /// A first image needs a left neighbour that ends where it begins.
    fn pull_left(
        &self,
        stop: &Stop<'_>,
        pull: &mut Vec<PageId>,
        guard: &Guard,
    ) -> core::result::Result<(), Away> {
        let trees = &self.engine.store.trees;
        let Some(tree) = trees.get(&stop.chain.page().tree()).map(|tree| Arc::clone(&tree)) else {
            return Ok(());
        };
        let low = Wanted::Below(Some(stop.base.low()));
        let left = self.engine.descend(&tree, low, stop.base.level(), guard)?;
        let page = left.chain.page();
        if self.place(left.id, guard).is_none_or(|place| place.serial != page.serial()) {
            pull.push(left.id);
        }
        Ok(())
    }

    /// Separated values among these that are not in the log yet, or in a segment to be emptied.
    fn unplaced<'v>(&self, values: impl Iterator<Item = (u8, &'v [u8])>) -> Vec<Arc<Separated>> {
        let separated = values.filter(|(flags, _)| flags & FLAG_SEPARATED != 0);
        separated
            .map(|(_, handle)| Separated::from_handle(handle))
            .filter(|value| !self.values.contains_key(&Arc::as_ptr(value).addr()))
            .filter(|value| {
                let address = value.current(&self.engine.store);
                address.is_none() || self.victims.contains(&address.segment)
            })
            .collect()
    }

    fn address_of(&self, handle: &[u8]) -> Address {
        let value = Separated::from_handle(handle);
        match self.values.get(&Arc::as_ptr(&value).addr()) {
            Some((_, address)) => *address,
            None => value.current(&self.engine.store),
        }
    }

    fn pointer(&self, flags: u8, value: &[u8]) -> Option<[u8; Address::ENCODED_BYTES]> {
        (flags & FLAG_SEPARATED != 0).then(|| self.address_of(value).encode())
    }
}

/// These entries, with the address of the separated value in place of it where there is one.
pub(super) fn with_pointers<'a>(
    entries: &[Entry<'a>],
    pointers: &'a [Option<[u8; Address::ENCODED_BYTES]>],
) -> Vec<Entry<'a>> {
    let pairs = entries.iter().zip(pointers);
    pairs
        .map(|(entry, pointer)| match pointer {
            Some(pointer) => Entry { value: pointer, ..*entry },
            None => *entry,
        })
        .collect()
}

/// Whether an image is cheaper by now than another delta part on this place.
pub(super) fn is_crowded(place: &Place) -> bool {
    let bytes = |addresses: &[Address]| -> u64 {
        addresses.iter().map(|address| u64::from(address.len)).sum()
    };
    let image = u64::from(place.image.len).max(512);
    let of_image = bytes(&place.values[..place.image_values]);
    // Entries that were removed since the image was written take their share of its values along.
    let left = match (u64::try_from(place.count), u64::try_from(place.image_count)) {
        (Ok(count), Ok(all)) if count < all => (of_image / all).saturating_mul(count),
        _ => of_image,
    };
    place.deltas.len() >= MAX_DELTAS
        || bytes(&place.deltas) > DELTAS_PER_IMAGE * image
        // More than half of the image is entries that are gone: it says what the page takes.
        || (place.count < place.image_count / 2 && place.image.len > MIN_DEAD_IMAGE_BYTES)
        || bytes(&place.values) > DEAD_VALUE_BYTES + 2 * left
        || of_image - left > DEAD_VALUE_BYTES + left / 4
}
