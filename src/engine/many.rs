//! Many keys at once: their cache misses at the same time.
//!
//! A search in a tree that is larger than the cache waits for memory twice: for the header of its
//! leaf, and then for the row that the header points to. Searches of different keys do not depend
//! on each other, so a group of them goes step by step together: each asks for what it will look
//! at next, and only then the first looks. Where a hint is missing or wrong, the search goes the
//! ordinary way in the end.

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
        let stops = self.hinted_group(tree, numbers, guard);
        for (at, (number, stop)) in numbers.iter().zip(stops).enumerate() {
            let leaf = match stop {
                Some(stop) => stop,
                None => self.leaf(tree, *number, guard)?,
            };
            let Answer { found, record, .. } = leaf.find(*number, number.fingerprint());
            self.settle(&leaf, record);
            read(at, found);
        }
        Ok(())
    }

    /// The leaves that the directory knows of, and the rows that the keys should be in on their way
    /// into the cache.
    #[inline]
    fn hinted_group<'g>(
        &self,
        tree: &TreeCore,
        numbers: &[Number],
        guard: &'g Guard,
    ) -> [Option<Stop<'g>>; GROUP] {
        let mut ids = [PageId::NONE; GROUP];
        for (id, number) in ids.iter_mut().zip(numbers) {
            *id = tree.directory.hint(number.get(), guard).unwrap_or(PageId::NONE);
            self.table.prefetch(*id);
        }
        let mut chains = [None; GROUP];
        for (chain, id) in chains.iter_mut().zip(&ids[..numbers.len().min(GROUP)]) {
            *chain = self.on_its_way(*id, guard);
        }
        let mut stops = [None; GROUP];
        for (at, number) in numbers.iter().enumerate().take(GROUP) {
            let Some(chain) = chains[at] else { continue };
            let base = Base::new(chain.base());
            if base.is_leaf() && chain.page().tree() == tree.id && number.side(base) == Side::Inside
            {
                self.dated(chain.page());
                chain.page().prefetch_base(base.guess(number.get()));
                stops[at] = Some(Stop { id: ids[at], chain, base, parent: PageId::NONE });
            }
        }
        stops
    }

    #[inline]
    fn on_its_way<'g>(&self, id: PageId, guard: &'g Guard) -> Option<Chain<'g>> {
        match self.table.load(id, guard) {
            Word::Resident(chain) => {
                chain.page().prefetch();
                Some(chain)
            }
            _ => None,
        }
    }
}
