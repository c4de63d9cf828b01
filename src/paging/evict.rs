//! Evict: a leaf that the log holds, committed and whole, gives its memory back.

use super::fetch::owned_handles;
use super::store::DurableEngine;
use super::values::Separated;
use crate::engine::Counters;
use delta::Base;
use gc::{Evictable, Evicted};
use mapping::Word;
use types::PageId;

impl Evictable for DurableEngine {
    fn page_count(&self) -> u32 {
        self.table.id_limit()
    }

    /// Resident -> Disk by one CAS, if every version in the page is in a durable commit. An update
    /// that comes between the look and the CAS moves the head, and the CAS fails.
    fn try_evict(&self, id: u32) -> Evicted {
        let id = PageId::new(id);
        let guard = self.pin();
        let Word::Resident(chain) = self.table.load(id, &guard) else { return Evicted::Absent };
        let page = chain.page();
        if !Base::new(chain.base()).is_leaf() {
            return Evicted::Absent;
        }
        if page.take_touch() {
            return Evicted::Referenced;
        }
        let Some(place) = self.place_without_lists(id, &guard) else { return Evicted::Dirty };
        let newest = chain.newest().map_or(0, |record| self.version(id, page, record));
        if place.wants_image(page) || newest > place.flushed {
            return Evicted::Dirty;
        }
        debug_assert!(chain.records().all(|r| crate::engine::change(r).key.len() < 1 << 16));
        let Some(evicted) = self.table.evict(id, chain, self.next_serial()) else {
            return Evicted::Dirty;
        };
        let (bytes, handles) = (page.size_bytes() as u64, owned_handles(chain));
        for handle in &handles {
            Separated::from_handle(&handle.to_le_bytes()).leave_memory();
        }
        self.retire(evicted, handles, &guard);
        Counters::count(&self.counters.evictions);
        Evicted::Freed(bytes)
    }
}
