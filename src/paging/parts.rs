//! The bytes of all parts of a page, one behind the other in one piece of memory.
//!
//! What is in memory while a page is brought in is needed for some microseconds, and by each thread
//! again and again. With an allocation for each part, and memory that is zeroed before it is read
//! into, that took a tenth of the time that a removal took in a store far above its memory.

use super::place::Place;
use super::store::{DELTAS, DurableEngine, IMAGES};
use crate::error::Result;
use core::cell::Cell;
use types::{Address, PageId};

/// Bytes that a thread keeps for the next page, at most.
const MAX_SPARE_BYTES: usize = 32 << 10;

std::thread_local! {
    static SPARE: Cell<Memory> = const { Cell::new(Memory::new()) };
}

#[derive(Debug)]
struct Memory {
    /// Behind the last part comes what earlier pages have left.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Memory {
    const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }
}

/// The image of a page, and its delta parts, oldest first, as the log has them.
#[derive(Debug)]
pub(crate) struct Parts {
    memory: Memory,
}

impl Parts {
    /// Reads the parts of a page.
    pub(crate) fn read(engine: &DurableEngine, id: PageId, place: &Place) -> Result<Self> {
        let mut parts = Self { memory: SPARE.replace(Memory::new()) };
        parts.memory.ends.clear();
        // At once what most pages need; more only as it is found to be there (R10).
        let wanted: u64 = place.parts().map(lss::live_bytes).sum();
        let (wanted, there) = (wanted.min(MAX_SPARE_BYTES as u64), parts.memory.bytes.len());
        parts.memory.bytes.reserve_exact((wanted as usize).saturating_sub(there));
        parts.add(engine, id, place.image, IMAGES)?;
        for delta in &place.deltas {
            parts.add(engine, id, *delta, DELTAS)?;
        }
        Ok(parts)
    }

    fn add(&mut self, engine: &DurableEngine, id: PageId, at: Address, kinds: &[u8]) -> Result<()> {
        let Memory { bytes, ends } = &mut self.memory;
        let start = ends.last().copied().unwrap_or(0);
        engine.store.log.read_into(at, id, kinds, (bytes, start))?;
        ends.push(start + at.len as usize);
        Ok(())
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.ends.last().copied().unwrap_or(0)
    }

    /// The image.
    pub(crate) fn image(&self) -> &[u8] {
        &self.memory.bytes[..self.memory.ends.first().copied().unwrap_or(0)]
    }

    /// The delta parts, oldest first.
    pub(crate) fn deltas(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.memory.ends.windows(2).map(|ends| &self.memory.bytes[ends[0]..ends[1]])
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.memory.bytes.capacity() <= MAX_SPARE_BYTES {
            let memory = core::mem::replace(&mut self.memory, Memory::new());
            // A thread that ends keeps nothing.
            let _ends = SPARE.try_with(|spare| spare.set(memory));
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use crate::Db;
    use crate::io::MemoryDisk;
    use std::sync::Arc;
    use types::PageId;

    /// Most delta parts that a page has had while each of forty commits changed one entry in it.
    fn most_parts(change: impl Fn(&crate::Tree, [u8; 1]), evict: bool) -> usize {
        let db = Db::builder("memory").without_background();
        let db = db.open_on(Arc::new(MemoryDisk::new())).unwrap();
        let tree = db.tree("t").unwrap();
        (0..40).for_each(|n| tree.put([n], [n; 100]).unwrap());
        db.sync().unwrap();
        let engine = &db.inner.engine;
        let parts = || {
            let ids = (1..engine.table.id_limit()).map(PageId::new);
            ids.filter_map(|id| engine.place(id, &engine.pin())).map(|p| p.deltas.len()).max()
        };
        let mut most = 0;
        for n in 0..40 {
            if evict {
                db.evict_pages();
            }
            change(&tree, [n]);
            db.sync().unwrap();
            most = most.max(parts().unwrap());
        }
        drop(tree);
        db.verify().unwrap();
        most
    }

    /// A page that is brought back for each write was read in up to 32 parts.
    #[test]
    fn a_page_that_comes_back_for_each_write_has_few_parts() {
        let insert = |tree: &crate::Tree, key| drop(tree.insert(key, "new").unwrap().unwrap());
        assert_eq!(most_parts(insert, true), super::super::visit::MAX_READ_DELTAS);
        // For one that stays they are what makes commits cheap.
        let stays = most_parts(insert, false);
        assert!(stays > super::super::visit::MAX_READ_DELTAS + 4, "{stays}");
    }
}
