//! Many keys at once: their cache misses at the same time.
//!
//! A search in a tree that is larger than the cache waits for memory twice: for the header of its
//! leaf, and then for the row that the header points to. Searches of different keys do not depend
//! on each other, so a group of them goes step by step together: each asks for what it will look
//! at next, and only then the first looks. The searches themselves are the ordinary ones,
//! afterwards.

use super::{Engine, Store, TreeCore};
use delta::{Base, Number};
use mapping::Word;
use sync::epoch::Guard;
use types::PageId;

/// Keys whose misses overlap: as many as a processor has lines under way, or a few more.
pub(crate) const GROUP: usize = 16;

impl<S: Store> Engine<S> {
    /// Brings what searches for these keys will look at into the cache. Changes nothing, and where
    /// a hint is wrong or missing has no use.
    pub(crate) fn warm(&self, tree: &TreeCore, numbers: &[Number], guard: &Guard) {
        let mut ids = [PageId::NONE; GROUP];
        for (id, number) in ids.iter_mut().zip(numbers) {
            *id = tree.directory.hint(number.get(), guard).unwrap_or(PageId::NONE);
            self.table.prefetch(*id);
        }
        let mut pages = [None; GROUP];
        for (page, id) in pages.iter_mut().zip(&ids[..numbers.len().min(GROUP)]) {
            if let Word::Resident(chain) = self.table.load(*id, guard) {
                chain.page().prefetch();
                *page = Some(chain);
            }
        }
        for (page, number) in pages.iter().zip(numbers) {
            let Some(chain) = page else { continue };
            let base = Base::new(chain.base());
            if base.is_leaf() && chain.page().tree() == tree.id {
                chain.page().prefetch_base(base.guess(number.get()));
            }
        }
    }
}
