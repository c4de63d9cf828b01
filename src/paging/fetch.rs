//! A page comes back from the log: its image, the delta parts on top of it, one fold.
//!
//! Nobody is pinned during the reads. The parts cannot turn into others meanwhile: an address is
//! never used twice, and at worst a part is gone because the page was moved, which is looked up
//! again. The word says whether the page still is away: its token is new at each eviction.
//!
//! Image and delta parts together may be more than a page should be (I15): a page that is evicted
//! after each few writes is never consolidated. Such a page comes in without an area, however large
//! it is, and is split at once.

use super::place::Place;
use super::store::{DELTA, DurableEngine, IMAGE, MOVED_DELTA, MOVED_IMAGE};
use super::values::Separated;
use crate::engine::{Counters, Span, Vacancy, within};
use crate::error::{Error, Result};
use bytes::Bytes;
use delta::{Contents, Entry, FLAG_SEPARATED, Op, Record, Shape};
use mapping::{Birth, PageBox, Word};
use std::sync::{Arc, PoisonError};
use types::{Address, PageId};

/// Makes sure that the page is in memory, if it is not being merged away.
pub(crate) fn page_in(engine: &DurableEngine, id: PageId) -> Result<()> {
    if id.is_none() {
        // The caller knows which tree it was.
        return Err(Error::TreeDropped { name: String::new() });
    }
    let gate = Arc::clone(&engine.store.page_ins.entry(id).or_default());
    let turn = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let result = bring(engine, id);
    drop(turn);
    engine.store.page_ins.remove_if(&id, |_, gate| Arc::strong_count(gate) <= 2);
    result
}

fn bring(engine: &DurableEngine, id: PageId) -> Result<()> {
    loop {
        let (token, place) = {
            let guard = engine.pin();
            match (engine.table.load(id, &guard), engine.place(id, &guard)) {
                (Word::Disk(token), Some(place)) => (token, place),
                (Word::Disk(token), None) if is_away(engine, id, token) => {
                    return Err(Error::Corrupt { what: format!("page {id} has no place") });
                }
                _ => return Ok(()),
            }
        };
        let page = match read(engine, id, &place) {
            Err(Error::Log(lss::Error::Gone { .. })) if moved(engine, id, &place) => continue,
            result => result?,
        };
        // Its values are those that a cut moves, or were looked for when the cut had ended: then
        // the place is another one by now.
        if moved(engine, id, &place) {
            release_all(&page);
            continue;
        }
        let size = page.page().size_bytes();
        engine.charge(size);
        if let Err(page) = engine.table.page_in(id, token, page) {
            engine.discharge(size);
            release_all(&page);
        } else {
            Counters::count(&engine.counters.page_ins);
            engine.store.is_sound(id);
            let guard = engine.pin();
            // A split makes pages that must be written before they can be evicted again: where
            // nothing can be written, the page stays as it is, and takes no record. On a disk that
            // is nearly full reads make nothing dirty.
            let splits = engine.store.can_write() && !engine.store.is_nearly_full();
            if let Some(tree) = engine.tree(place.tree).filter(|_| splits) {
                engine.restore_bound(&tree, id, &guard);
            }
            return Ok(());
        }
    }
}

/// Whether the page is away since the same eviction; that of a dropped tree is not.
fn is_away(engine: &DurableEngine, id: PageId, token: u64) -> bool {
    matches!(engine.table.load(id, &engine.pin()), Word::Disk(now) if now == token)
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
    let parts = match parts(engine, id, &place) {
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

/// The bytes of the parts of a page.
pub(crate) fn parts(engine: &DurableEngine, id: PageId, place: &Place) -> Result<Vec<Bytes>> {
    let log = &engine.store.log;
    let mut parts = vec![log.read_either(place.image, id, [IMAGE, MOVED_IMAGE])?];
    for delta in &place.deltas {
        parts.push(log.read_either(*delta, id, [DELTA, MOVED_DELTA])?);
    }
    Ok(parts)
}

/// Decodes the parts of a page, checks all of it, and calls `with` with what the page is.
pub(crate) fn decoded<R>(
    id: PageId,
    parts: &[Bytes],
    with: impl FnOnce(&Shape<'_>, &[Entry<'_>]) -> R,
) -> Result<R> {
    let wrong = |what: String| Error::Corrupt { what: format!("page {id}: {what}") };
    let Some((image, deltas)) = parts.split_first() else {
        return Err(wrong("no image".into()));
    };
    let image = delta::decode_image(image).map_err(|e| wrong(e.to_string()))?;
    let shape = Shape { absorbed: &[], ..image.shape() };
    // Newest first: the last part, and in it any order, since a part has each key once.
    let mut records: Vec<Record<'_>> = Vec::new();
    for part in deltas.iter().rev() {
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
    Ok(with(&shape, &entries))
}

fn read(engine: &DurableEngine, id: PageId, place: &Place) -> Result<PageBox> {
    let parts = parts(engine, id, place)?;
    decoded(id, &parts, |shape, entries| {
        let handles: Vec<Option<[u8; 8]>> = entries
            .iter()
            .map(|entry| {
                let address = Address::decode(entry.value);
                let address = address.filter(|_| entry.flags & FLAG_SEPARATED != 0)?;
                let moving = engine.store.moving.get(&address).map(|value| Arc::clone(&value));
                let fresh = || Separated::at(address, engine.store.value_meter());
                Some(moving.unwrap_or_else(fresh).into_handle())
            })
            .collect();
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .zip(&handles)
            .map(|(entry, handle)| match handle {
                Some(handle) => Entry { value: handle, ..*entry },
                None => *entry,
            })
            .collect();
        let birth = Birth { base_version: place.flushed, serial: place.serial, tree: place.tree };
        engine.build(shape, &Contents::Entries(entries), &[], 0, birth)
    })
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
pub(crate) fn owned_handles(chain: mapping::Chain<'_>) -> Vec<u64> {
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
