//! Evict: a leaf that the log holds, committed and whole, gives its memory back.

use super::fetch::owned_handles;
use super::store::DurableEngine;
use super::token::Token;
use super::values::Separated;
use crate::engine::{Counters, change};
use delta::Base;
use gc::{Evictable, Evicted};
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

impl Evictable for DurableEngine {
    fn page_count(&self) -> u32 {
        self.table.id_limit()
    }

    /// Resident -> Disk or Partial -> Disk by one CAS, if every version in the page is in a durable
    /// commit. An update that comes between the look and the CAS moves the head, and the CAS fails.
    fn try_evict(&self, id: u32) -> Evicted {
        let id = PageId::new(id);
        let guard = self.pin();
        match self.table.load(id, &guard) {
            Word::Resident(chain) => self.evict_resident(id, chain, &guard),
            Word::Partial(chain) => self.evict_partial(id, chain, &guard),
            _ => Evicted::Absent,
        }
    }
}

impl DurableEngine {
    fn evict_resident(&self, id: PageId, chain: Chain<'_>, guard: &Guard) -> Evicted {
        let (page, base) = (chain.page(), Base::new(chain.base()));
        if !base.is_leaf() {
            return Evicted::Absent;
        }
        if page.take_touch() {
            return Evicted::Referenced;
        }
        let Some(place) = self.place_without_lists(id, guard) else { return Evicted::Dirty };
        let newest = chain.newest().map_or(0, |record| self.version(id, page, record));
        if place.wants_image(page) || newest > place.flushed {
            return Evicted::Dirty;
        }
        debug_assert!(chain.records().all(|r| change(r).key.len() < 1 << 16));
        let net: i64 = chain.records().map(|record| i64::from(change(record).net)).sum();
        let posted = self.is_posted(id, page.tree(), base, guard);
        let token = Token::new(self.next_serial(), base.count() as i64 + net, true, posted);
        let Some(evicted) = token.and_then(|token| self.table.evict(id, chain, token.bits()))
        else {
            return Evicted::Dirty;
        };
        let (bytes, handles) = (page.size_bytes() as u64, owned_handles(chain));
        for handle in &handles {
            Separated::from_handle(&handle.to_le_bytes()).leave_memory();
        }
        self.retire(evicted, handles, guard);
        Counters::count(&self.counters.evictions);
        Evicted::Freed(bytes)
    }
}
