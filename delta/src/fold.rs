//! Base page and records to entries: the heart of consolidation.

use crate::base::Base;
use crate::entry::Entry;
use crate::key::KeyRef;
use crate::record::{Op, Record};

/// The entries of a leaf after its records, in the order of their keys, appended to `out`.
///
/// Per key the newest record wins: the one that comes first in `newest_first`. Every value that
/// does not survive goes to `dropped` with its flags, each once: values of the base page and of
/// records that a newer record replaced or removed.
pub fn fold<'a>(
    base: Base<'a>,
    newest_first: &[Record<'a>],
    out: &mut Vec<Entry<'a>>,
    dropped: &mut Vec<(u8, &'a [u8])>,
) {
    out.reserve(base.count() + newest_first.len());
    fold_with(
        base.count(),
        |key| base.search(key),
        |at| base.entry(at),
        |from, to, out| out.extend(base.entries_between(from, to)),
        newest_first,
        out,
        dropped,
    );
}

/// As [`fold`], over entries that lie in a sorted slice: those of an image, say.
pub fn fold_entries<'a>(
    entries: &[Entry<'a>],
    newest_first: &[Record<'a>],
    out: &mut Vec<Entry<'a>>,
    dropped: &mut Vec<(u8, &'a [u8])>,
) {
    out.reserve(entries.len() + newest_first.len());
    fold_with(
        entries.len(),
        |key| entries.binary_search_by(|entry| entry.key.cmp_bytes(key)),
        |at| entries[at],
        |from, to, out| out.extend_from_slice(&entries[from..to]),
        newest_first,
        out,
        dropped,
    );
}

/// Inlined for each source, so that the closures cost nothing.
#[inline]
fn fold_with<'a>(
    count: usize,
    search: impl Fn(&[u8]) -> Result<usize, usize>,
    entry: impl Fn(usize) -> Entry<'a>,
    copy: impl Fn(usize, usize, &mut Vec<Entry<'a>>),
    newest_first: &[Record<'a>],
    out: &mut Vec<Entry<'a>>,
    dropped: &mut Vec<(u8, &'a [u8])>,
) {
    let mut records: Vec<&Record<'a>> = newest_first.iter().collect();
    // A stable sort: of one key the newest stays first.
    records.sort_by(|left, right| left.key.cmp(right.key));
    let mut copied = 0;
    let mut newest: Option<&Record<'a>> = None;
    for record in records {
        if newest.is_some_and(|newest| newest.key == record.key) {
            if record.op == Op::Put {
                dropped.push((record.flags, record.value));
            }
            continue;
        }
        newest = Some(record);
        // Few records, many entries: look up where each belongs and copy what is between.
        let (upto, next) = match search(record.key) {
            Ok(at) => {
                let old = entry(at);
                dropped.push((old.flags, old.value));
                (at, at + 1)
            }
            Err(at) => (at, at),
        };
        copy(copied, upto, out);
        copied = next;
        if record.op == Op::Put {
            out.push(Entry {
                key: KeyRef::from(record.key),
                value: record.value,
                flags: record.flags,
            });
        }
    }
    copy(copied, count, out);
}
