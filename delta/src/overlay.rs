//! Sorted entries and newer sorted entries to one.

use crate::entry::Entry;
use core::cmp::Ordering;

/// The entries of both, in the order of their keys. Where both have a key the newer one counts,
/// and the other goes to `drop`.
pub(crate) fn overlay<'a>(
    old: Vec<Entry<'a>>,
    newer: Vec<Entry<'a>>,
    mut drop: impl FnMut(Entry<'a>),
) -> Vec<Entry<'a>> {
    let mut out = Vec::with_capacity(old.len() + newer.len());
    let (mut old, mut newer) = (old.into_iter(), newer.into_iter());
    let (mut below, mut above) = (old.next(), newer.next());
    loop {
        let (one, other) = match (below, above) {
            (Some(one), Some(other)) => (one, other),
            (one, other) => {
                out.extend(one.into_iter().chain(old).chain(other).chain(newer));
                return out;
            }
        };
        match one.key.cmp(&other.key) {
            Ordering::Less => {
                out.push(one);
                below = old.next();
            }
            Ordering::Equal => {
                drop(one);
                below = old.next();
            }
            Ordering::Greater => {
                out.push(other);
                above = newer.next();
            }
        }
    }
}
