//! What a page would take as one image, told from its records before one is written.

use super::place::Place;
use super::store::BLIND;
use crate::engine::Versioned;
use delta::{Base, Entry, FLAG_SEPARATED, Op, Record};

/// What a record takes in a delta part beside its key and value, about.
const RECORD_BYTES: usize = 8;

/// Bytes of the image that are needed no more beyond what its number of entries says: by which
/// records are shorter than entries that they replace, and entries that are removed longer than
/// usual. Of a page that was not read neither is known: its puts replace entries of the usual
/// length, or long ones if they are far shorter; what it removes is as usual.
pub(super) fn shortened(base: Base<'_>, newest: &[Record<'_>], old: &Place, kind: u8) -> usize {
    let usual = old.image.len as usize / usize::try_from(old.image_count).unwrap_or(0).max(1);
    let in_base = |key: &[u8]| {
        let at = base.search(key).ok().filter(|_| kind != BLIND)?;
        Some(base.entry(at).value.len())
    };
    let shorter = |record: &Record<'_>| match (record.op, in_base(record.key)) {
        (Op::Put, _) if record.flags & FLAG_SEPARATED != 0 => 0,
        (Op::Put, None) if kind == BLIND => {
            let long = if record.value.len() < usual / 2 { 2 * usual } else { usual };
            long.saturating_sub(record.key.len() + RECORD_BYTES + record.value.len())
        }
        (Op::Put, replaced) => replaced.unwrap_or(0).saturating_sub(record.value.len()),
        (Op::Remove, removed) => {
            removed.map_or(0, |len| record.key.len() + len).saturating_sub(usual)
        }
    };
    newest.iter().map(shorter).sum()
}

/// The entries that these records and what lies below them make.
pub(super) fn entries_now<'g>(base: Base<'g>, records: &Versioned<'g>) -> Vec<Entry<'g>> {
    let changes: Vec<Record<'g>> = records.iter().map(|(_, record)| *record).collect();
    let (mut entries, mut dropped) = (Vec::new(), Vec::new());
    delta::fold(base, &changes, &mut entries, &mut dropped);
    entries
}

/// Bytes of the image that they would make.
pub(super) fn image_now(base: Base<'_>, records: &Versioned<'_>) -> usize {
    delta::image_bytes(&base.shape(&[]), &entries_now(base, records))
}
