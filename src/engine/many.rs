//! Many keys at once: their cache misses at the same time.
//!
//! A search in a tree that is larger than the cache waits for memory: for the word of its leaf,
//! then for header and row of that, as its sketch tells. Searches of different keys do not
//! depend on each other, so a group of them goes step by step together: each asks for what it will
//! look at next, and only then the first looks. Where a hint is missing or wrong, the search goes
//! the ordinary way in the end.

use super::descent::{Away, Stop};
use super::lookup::Answer;
use super::{Engine, Found, Store, TreeCore};
use delta::{Base, Number, Probe, Side};
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

/// Keys whose misses overlap: as many as a processor has lines under way, or a few more.
pub(crate) const GROUP: usize = 16;

impl<S: Store> Engine<S> {
    /// Reads up to [`GROUP`] keys; `read` is told which it is.
    ///
    /// LINEARIZES: each key at the load of its leaf's word.
    pub(crate) fn read_group(
        &self,
        tree: &TreeCore,
        numbers: &[Number],
        mut read: impl FnMut(usize, Option<Found<'_>>),
        guard: &Guard,
    ) -> Result<(), Away> {
        let chains = self.hinted_group(tree, numbers, guard);
        let mut all = [None; GROUP];
        for (at, (number, hinted)) in numbers.iter().zip(chains).enumerate() {
            let leaf = match hinted.and_then(|(id, chain)| self.hit(tree, *number, id, chain)) {
                Some(stop) => stop,
                None => self.leaf(tree, *number, guard)?,
            };
            let Answer { found, record, .. } = leaf.find(*number, number.fingerprint());
            self.settle(&leaf, record);
            match S::ahead() {
                None => read(at, found),
                Some(ahead) => {
                    if let Some(found) = found {
                        ahead(found.value);
                    }
                    all[at] = found;
                }
            }
        }
        // All have been asked for by now: to take a count of one is to wait for it.
        if S::ahead().is_some() {
            (0..numbers.len()).for_each(|at| read(at, all[at]));
        }
        Ok(())
    }

    /// The leaves that the directory knows of, with their headers, and the rows that the keys
    /// should be in, on their way into the cache.
    #[inline]
    fn hinted_group<'g>(
        &'g self,
        tree: &TreeCore,
        numbers: &[Number],
        guard: &'g Guard,
    ) -> [Option<(PageId, Chain<'g>)>; GROUP] {
        let mut ids = [PageId::NONE; GROUP];
        for (id, number) in ids.iter_mut().zip(numbers) {
            *id = tree.directory.hint(number.get(), guard).unwrap_or(PageId::NONE);
            self.table.prefetch(*id);
        }
        let mut chains = [None; GROUP];
        for ((chain, id), number) in chains.iter_mut().zip(ids).zip(numbers) {
            let ahead = |sketch| number.ahead(sketch);
            if let Word::Resident(found) = self.table.load_ahead(id, ahead, guard) {
                found.page().prefetch();
                *chain = Some((id, found));
            }
        }
        chains
    }

    /// The leaf of this number, if it is this page.
    #[inline]
    fn hit<'g>(
        &self,
        tree: &TreeCore,
        number: Number,
        id: PageId,
        chain: Chain<'g>,
    ) -> Option<Stop<'g>> {
        let base = Base::new(chain.base());
        let is_leaf = base.is_leaf() && chain.page().tree() == tree.id;
        (is_leaf && number.side(base) == Side::Inside).then(|| {
            self.dated(chain);
            Stop { id, chain, base, parent: PageId::NONE }
        })
    }
}
