//! A page comes back from the log: its image, the delta parts on top of it, one fold.
//!
//! Nobody is pinned during the reads. The parts cannot turn into others meanwhile: an address is
//! never used twice, and at worst a part is gone because the page was moved, which is looked up
//! again. The word says whether the page still is away: its token is new at each eviction.
//!
//! Image and delta parts together may be more than a page should be (I15): a page that is evicted
//! after each few writes is never consolidated. Such a page comes in without an area, however large
//! it is, and is split at once; unless it is no larger than a page in memory is with its area, for
//! a read should write nothing. Then its next writer splits it.

use super::parts::Parts;
use super::place::Place;
use super::store::DurableEngine;
use super::token::Token;
use super::values::Separated;
use crate::engine::{Counters, MISLED, Span, Vacancy, Versioned, within};
use crate::error::{Error, Result};
use delta::{Contents, Entry, FLAG_SEPARATED, Op, Record, Shape};
use mapping::{Birth, Chain, PageBox, Word};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use sync::epoch::Guard;
use types::{Address, PageId};

/// Makes sure that the page is in memory, if it is not being merged away.
pub(crate) fn page_in(engine: &DurableEngine, id: PageId) -> Result<()> {
    if id.is_none() {
        // The caller knows which tree it was.
        return Err(Error::TreeDropped { name: String::new() });
    }
    if id == MISLED.0 {
        let what = "the pages of a tree do not fit together: one names a page that is none";
        return Err(Error::Corrupt { what: what.into() });
    }
    let gate = Arc::clone(&engine.store.page_ins.entry(id).or_default());
    let turn = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let result = bring(engine, id);
    drop(turn);
    leave(engine, id);
    result
}

/// Takes a gate away, unless others than the map and the calling thread know it.
fn leave(engine: &DurableEngine, id: PageId) {
    engine.store.page_ins.remove_if(&id, |_, gate| Arc::strong_count(gate) <= 2);
}

/// What is in memory of a page that is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Below<'g> {
    pub(super) token: Token,
    /// Records that were written without reading the page.
    pub(super) partial: Option<Chain<'g>>,
}

impl Below<'_> {
    /// Whether the tree's number has as many entries of the page as it has.
    pub(super) fn is_counted(self) -> bool {
        self.token.counted && self.partial.is_none()
    }
}

/// What a word says of a page that is away.
pub(super) fn below(word: Word<'_>) -> Option<Below<'_>> {
    match word {
        Word::Disk(token) => Some(Below { token: Token::of(token), partial: None }),
        Word::Partial(chain) => {
            let token = Token::of(chain.page().base_version());
            Some(Below { token, partial: Some(chain) })
        }
        _ => None,
    }
}

/// Waits until the page-ins that are under way now are over.
pub(super) fn wait_for_page_ins(engine: &DurableEngine) {
    let gates = engine.store.page_ins.iter().map(|gate| (*gate.key(), Arc::clone(&gate)));
    for (id, gate) in gates.collect::<Vec<_>>() {
        drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
        leave(engine, id);
    }
}

/// Brings a page in, if it is away. Several threads at once would each read it.
pub(crate) fn bring(engine: &DurableEngine, id: PageId) -> Result<()> {
    loop {
        let (token, place) = {
            let guard = engine.pin();
            match (below(engine.table.load(id, &guard)), engine.place(id, &guard)) {
                (Some(Below { token, .. }), Some(place)) => (token, place),
                (Some(Below { token, .. }), None) if is_away(engine, id, token) => {
                    return Err(Error::Corrupt { what: format!("page {id} has no place") });
                }
                _ => return Ok(()),
            }
        };
        let parts = match Parts::read(engine, id, &place) {
            Err(Error::Log(lss::Error::Gone { .. })) if moved(engine, id, &place) => continue,
            result => result?,
        };
        if land(engine, id, token, &place, &parts)? {
            return Ok(());
        }
    }
}

/// Puts a page together and publishes it, if it is away since the same eviction. `false` if its
/// place is another one by now.
fn land(
    engine: &DurableEngine,
    id: PageId,
    token: Token,
    place: &Place,
    parts: &Parts,
) -> Result<bool> {
    loop {
        let guard = engine.pin();
        let now = below(engine.table.load(id, &guard)).filter(|below| below.token == token);
        let Some(Below { partial, .. }) = now else { return Ok(true) };
        let (page, count) = decoded(id, parts, |shape, entries| {
            built(engine, id, (shape, entries), place, partial)
        })?;
        // Its values are those that a cut moves, or were looked for when the cut had ended: then
        // the place is another one by now.
        if moved(engine, id, place) {
            release_all(&page);
            return Ok(false);
        }
        if publish(engine, (id, place.tree), Below { token, partial }, page, count, &guard) {
            Counters::count(&engine.counters.page_ins);
            engine.store.is_sound(id);
            // A split makes pages that must be written before they can be evicted again: where
            // nothing can be written, the page stays as it is, and takes no record. On a disk that
            // is nearly full reads make nothing dirty.
            let splits = engine.store.can_write() && !engine.store.is_nearly_full();
            if let Some(tree) = engine.tree(place.tree).filter(|_| splits) {
                engine.restore_bound(&tree, id, engine.limits.area_bytes, &guard);
            }
            return Ok(true);
        }
    }
}

/// Publishes a page in place of what a word said of it while it was away, and counts its entries,
/// of which it has so many. `false` if the word has changed: then nothing is left of the page.
pub(super) fn publish(
    engine: &DurableEngine,
    (id, tree): (PageId, u32),
    below: Below<'_>,
    page: PageBox,
    count: usize,
    guard: &Guard,
) -> bool {
    let size = page.page().size_bytes();
    engine.charge(size);
    let published = match below.partial {
        None => engine.table.page_in(id, below.token.bits(), page).map(|()| None),
        Some(seen) => engine.table.complete(id, seen, page).map(Some),
    };
    let replaced = match published {
        Ok(replaced) => replaced,
        Err(page) => {
            engine.discharge(size);
            release_all(&page);
            return false;
        }
    };
    if let Some(records) = replaced {
        engine.retire(records, Vec::new(), guard);
    }
    if let Some(tree) = engine.store.trees.get(&tree) {
        tree.count(count as i64 - i64::from(below.token.count));
        if !below.is_counted() {
            tree.counted_page();
        }
    }
    true
}

/// Whether the page is away since the same eviction; that of a dropped tree is not.
fn is_away(engine: &DurableEngine, id: PageId, token: Token) -> bool {
    below(engine.table.load(id, &engine.pin())).is_some_and(|below| below.token == token)
}

fn moved(engine: &DurableEngine, id: PageId, place: &Place) -> bool {
    let guard = engine.pin();
    engine.place(id, &guard).as_ref() != Some(place)
}

/// Looks at a leaf where it lies in the log: whether it has no entry in the range. `None` if it has
/// one, is no leaf, or is not away, or another one, by now.
pub(crate) fn vacant(
    engine: &DurableEngine,
    id: PageId,
    span: Span<'_>,
) -> Result<Option<Vacancy>> {
    let away = || {
        let guard = engine.pin();
        match (engine.table.load(id, &guard), engine.place(id, &guard)) {
            (Word::Disk(token), Some(place)) => Some((token, place)),
            _ => None,
        }
    };
    let Some((token, place)) = away() else { return Ok(None) };
    let parts = match Parts::read(engine, id, &place) {
        Err(Error::Log(lss::Error::Gone { .. })) if moved(engine, id, &place) => return Ok(None),
        parts => parts?,
    };
    let vacancy = decoded(id, &parts, |shape, entries| {
        let vacant = shape.level == 0 && !entries.iter().any(|entry| within(span, entry.key));
        let (low, high) = (shape.low.to_vec(), shape.high.map(<[u8]>::to_vec));
        vacant.then_some(Vacancy { token, low, high })
    })?;
    Ok(vacancy.filter(|_| away() == Some((token, place))))
}

/// Decodes the parts of a page, checks all of it, and calls `with` with what the page is.
pub(crate) fn decoded<R>(
    id: PageId,
    parts: &Parts,
    with: impl FnOnce(&Shape<'_>, Vec<Entry<'_>>) -> R,
) -> Result<R> {
    let wrong = |what: String| Error::Corrupt { what: format!("page {id}: {what}") };
    let image = delta::decode_image(parts.image()).map_err(|e| wrong(e.to_string()))?;
    let shape = Shape { absorbed: &[], ..image.shape() };
    // Newest first: the last part, and in it any order, since a part has each key once.
    let mut records: Vec<Record<'_>> = Vec::new();
    for part in parts.deltas().rev() {
        let part = delta::decode_records(part).map_err(|e| wrong(e.to_string()))?;
        if part.iter().any(|record| !record.fits(&shape)) {
            return Err(wrong("a record that does not belong to it".into()));
        }
        records.extend(part);
    }
    let (mut entries, mut dropped) = (Vec::new(), Vec::new());
    delta::fold_entries(image.entries(), &records, &mut entries, &mut dropped);
    let pointer =
        |e: &Entry<'_>| e.flags & FLAG_SEPARATED == 0 || e.value.len() == Address::ENCODED_BYTES;
    if !entries.iter().all(pointer) {
        return Err(wrong("a separated value without an address".into()));
    }
    Ok(with(&shape, entries))
}

/// A page of these entries, which are those of its parts, and of records that the log does not hold
/// yet; and how many entries it has.
fn built(
    engine: &DurableEngine,
    id: PageId,
    (shape, mut entries): (&Shape<'_>, Vec<Entry<'_>>),
    place: &Place,
    partial: Option<Chain<'_>>,
) -> (PageBox, usize) {
    // By their positions.
    let separated = entries.iter().enumerate().filter(|(_, e)| e.flags & FLAG_SEPARATED != 0);
    let handles: Vec<(usize, [u8; 8])> = separated
        .filter_map(|(at, entry)| {
            let address = Address::decode(entry.value)?;
            let moving = engine.store.moving.get(&address).map(|value| Arc::clone(&value));
            let fresh = || Separated::at(address, engine.store.value_meter());
            Some((at, moving.unwrap_or_else(fresh).into_handle()))
        })
        .collect();
    for (at, handle) in &handles {
        entries[*at].value = handle;
    }
    let mut records =
        partial.map_or_else(Vec::new, |chain| engine.unflushed(id, chain, place.flushed));
    let count = if shape.level == 0 { count_on(&entries, &mut records) } else { 0 };
    let birth = Birth { base_version: place.flushed, serial: place.serial, tree: place.tree };
    (engine.build(shape, &Contents::Entries(entries), &records, 0, birth), count)
}

/// Says of records, newest first, by how much each changes the number of entries. Returns how many
/// there are then.
pub(super) fn count_on(entries: &[Entry<'_>], records: &mut Versioned<'_>) -> usize {
    let mut there: HashMap<&[u8], bool> = HashMap::new();
    let mut count = entries.len() as i64;
    for (_, record) in records.iter_mut().rev() {
        let is_there = there.entry(record.key).or_insert_with(|| {
            entries.binary_search_by(|entry| entry.key.cmp_bytes(record.key)).is_ok()
        });
        let put = record.op == Op::Put;
        record.net = i8::from(put) - i8::from(*is_there);
        *is_there = put;
        count += i64::from(record.net);
    }
    usize::try_from(count).unwrap_or(0)
}

/// Gives back what a page that was never published owns.
fn release_all(page: &PageBox) {
    let base = delta::Base::new(page.page().base());
    if base.is_leaf() {
        let separated = base.entries().filter(|entry| entry.flags & FLAG_SEPARATED != 0);
        separated.for_each(|entry| Separated::release(crate::engine::handle_of(entry.value)));
    }
}

/// The handles that a resident leaf owns: in its base page and in all its records.
pub(crate) fn owned_handles(chain: Chain<'_>) -> Vec<u64> {
    let base = delta::Base::new(chain.base());
    let mut handles = Vec::new();
    if !base.is_leaf() {
        return handles;
    }
    let mut own = |flags: u8, value: &[u8]| {
        if flags & FLAG_SEPARATED != 0 {
            handles.push(crate::engine::handle_of(value));
        }
    };
    base.entries().for_each(|entry| own(entry.flags, entry.value));
    for record in chain.records() {
        let record = crate::engine::change(record);
        if record.op == Op::Put {
            own(record.flags, record.value);
        }
    }
    handles
}
