//! Merge: a helpable intention on the parent, never a lock.
//!
//! R is merged into its left neighbour L; both are below the parent P, which has R's separator.
//!
//! 1. P -> P' with `merging = R`. While it is set, P' is neither changed nor split nor merged.
//! 2. R: Resident -> Capped. It takes no record any more.
//! 3. L -> L' with R's entries, high key and right link; R is in its `absorbed` list. L is listed.
//!    From here on a capped R answers nothing itself: its range is L's (X1).
//! 4. P' -> P'' without R's separator and with `merging` unset. P is listed.
//! 5. R: Capped -> Merged(into L, clock). R's id is free when an epoch has passed and, in a
//!    durable tree, a commit with at least that clock is durable (X2) and no page lists R as
//!    absorbed any more.
//!
//! Anybody may do each step, and whoever needs R's range does. So does who finds no room in L: step
//! 3 begins by taking all that is left of L's area, or each record that comes to L would be faster
//! than a copy of two pages. What can be installed after that was reserved before, one record for
//! each thread at the most.
//!
//! Which pages: those that fit one page, with room to spare, so that it does not split at once.
//! What an open cut keeps from being folded counts as it is, whatever it removes. A page with next
//! to nothing in it goes in any case: in memory a leaf without entries and records with whatever it
//! stands beside, and an inner page with one child if both together are within the bound; a page
//! that is the only child goes with its parent, and if that is the root, its contents come up to it
//! ([`lower`](super::lower)). Else the first children of full pages would stay for good where a
//! queue is emptied from its front, one for each inner page.
//!
//! L cannot be capped meanwhile, for that would need an intention on P. L' may be larger than a
//! page should be, for L takes records until then. It has no area in that case, and the thread that
//! buries R splits it: so the absorb itself never has to (I15).

use crate::engine::{
    Away, Counters, Covering, Engine, FoldLimit, Folded, MAX_ABSORBED, Stop, Store, TreeCore,
    Versioned, fence_excess,
};
use delta::{Base, Contents, Shape};
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

impl<S: Store> Engine<S> {
    /// Starts the merge of a page that has become small with a neighbour, if they fit one page,
    /// and takes it as far as it goes. `key` lies in the page.
    pub(crate) fn try_merge(
        &self,
        tree: &TreeCore,
        id: PageId,
        key: &[u8],
        level: u8,
        guard: &Guard,
    ) -> Result<(), Away> {
        let parent = self.descend(tree, Covering(key), level + 1, guard)?;
        let base = parent.base;
        if base.merging().is_some() {
            return self.help_merge(tree, parent.id, base.merging(), guard);
        }
        if base.level() != level + 1 {
            return Ok(());
        }
        let at = base.child_index(key);
        if base.child(at) != id {
            return Ok(());
        }
        if base.count() < 2 {
            let (parent, low) = (parent.id, base.low());
            let is_root = parent == tree.root;
            return if is_root {
                self.lower(tree, guard).map(|_lower| ())
            } else {
                self.try_merge(tree, parent, low, level + 1, guard)
            };
        }
        // It is absorbed, or else absorbs: R must have a separator in P.
        if at > 0 && self.merge_children(tree, &parent, at, guard)? || at + 1 == base.count() {
            return Ok(());
        }
        self.merge_children(tree, &parent, at + 1, guard).map(|_merged| ())
    }

    /// Merges the child at this position of an inner page into the one before it, if both are
    /// resident and fit one page. Says whether it was begun.
    pub(crate) fn merge_children(
        &self,
        tree: &TreeCore,
        parent: &Stop<'_>,
        right_at: usize,
        guard: &Guard,
    ) -> Result<bool, Away> {
        let base = parent.base;
        let (left, right) = (base.child(right_at - 1), base.child(right_at));
        let page = |id| match self.table.load(id, guard) {
            Word::Resident(chain) => {
                let page = Base::new(chain.base());
                let may = page.merging().is_none() && page.absorbed().count() < MAX_ABSORBED;
                may.then_some(chain)
            }
            _ => None,
        };
        let (Some(left), Some(right_page)) = (page(left), page(right)) else { return Ok(false) };
        let (left_base, right_base) = (Base::new(left.base()), Base::new(right_page.base()));
        if left_base.right() != right {
            return self.post_between(tree, parent, right_at, guard);
        }
        let merged = Shape { high: right_base.high(), ..left_base.shape(&[]) };
        let few = left_base.count().min(right_base.count());
        let fit = if merged.level > 0 && few <= 1 {
            let mut all = Contents::of(left_base);
            all.extend(Contents::of(right_base));
            self.limits.inner_fits(&merged, all.len(), all.base_bytes(&merged))
        } else {
            // A page over both ranges cuts off less of each key.
            let prefix_len = merged.prefix().len();
            let bytes = [left, right_page].map(|page| self.live_bytes(page, prefix_len, guard));
            let is_empty = |page: Chain<'_>, base: Base<'_>| {
                base.is_leaf() && base.count() == 0 && page.page().area().1 == 0
            };
            // With a log, records that are carried make pages large: no rule but the sum there.
            !S::DURABLE && (is_empty(left, left_base) || is_empty(right_page, right_base))
                || bytes[0] + bytes[1] <= self.limits.merge_up_to(merged.level)
        };
        if !fit {
            return Ok(false);
        }
        let begun = self.intend(parent.id, parent.chain, right, guard);
        if begun {
            self.help_merge(tree, parent.id, right, guard)?;
        }
        Ok(begun)
    }

    /// Tells a parent of the page behind the child in front of this position, which it does not
    /// know: the post of a split was lost. Says whether the parent has changed.
    ///
    /// Such a page would be the one that absorbs, and nobody would have looked whether it may: it
    /// was cut again, the new half was merged into it, and so on, until the list of what it had
    /// absorbed was full.
    fn post_between(
        &self,
        tree: &TreeCore,
        parent: &Stop<'_>,
        right_at: usize,
        guard: &Guard,
    ) -> Result<bool, Away> {
        let left = parent.base.child(right_at - 1);
        let Word::Resident(chain) = self.table.load(left, guard) else { return Ok(false) };
        let base = Base::new(chain.base());
        let (Some(separator), between) = (base.high(), base.right()) else { return Ok(false) };
        if matches!(self.table.load(between, guard), Word::Unborn) {
            self.deliver(left, between);
        }
        self.post(tree, parent.id, separator, between, guard)?;
        let now = self.table.load(parent.id, guard);
        Ok(!matches!(now, Word::Resident(now) if now.page() == parent.chain.page()))
    }

    /// Finishes the merge that is waiting for this leaf, if one is: its right neighbour is capped.
    /// Says whether the leaf has changed.
    pub(crate) fn help_absorb(
        &self,
        tree: &TreeCore,
        leaf: &Stop<'_>,
        guard: &Guard,
    ) -> Result<bool, Away> {
        let right = leaf.base.right();
        if right.is_none() {
            return Ok(false);
        }
        let Word::Capped(capped) = self.table.load(right, guard) else { return Ok(false) };
        let parent = self.parent_of(tree, Base::new(capped.base()).low(), 0, guard)?;
        self.help_merge(tree, parent, right, guard)?;
        let now = self.table.load(leaf.id, guard);
        Ok(!matches!(now, Word::Resident(chain) if chain.page() == leaf.chain.page()))
    }

    /// Merges a leaf that a search has found to be empty, if it still is.
    pub(crate) fn take_out(&self, tree: &TreeCore, id: PageId, guard: &Guard) -> Result<(), Away> {
        let Word::Resident(chain) = self.table.load(id, guard) else { return Ok(()) };
        let base = Base::new(chain.base());
        if id == tree.root || !base.is_leaf() {
            return Ok(());
        }
        if chain.head() != 0 {
            let stop = Stop { id, chain, base, parent: PageId::NONE };
            return self.consolidate(tree, &stop, 0, guard);
        }
        if base.byte_len() - fence_excess(base) < self.limits.merge_below(0) {
            return self.try_merge(tree, id, base.low(), 0, guard);
        }
        Ok(())
    }

    /// Finishes the merge of `right` that `parent` intends, if it does.
    pub(crate) fn help_merge(
        &self,
        tree: &TreeCore,
        parent: PageId,
        right: PageId,
        guard: &Guard,
    ) -> Result<(), Away> {
        loop {
            let Word::Resident(seen) = self.table.load(parent, guard) else { return Ok(()) };
            let base = Base::new(seen.base());
            if base.is_leaf() || base.merging() != right || right.is_none() {
                return Ok(());
            }
            let Some(at) = (1..base.count()).find(|&at| base.child(at) == right) else {
                // No page has its first child merged but a root its only one.
                return self.help_lower(tree, right, guard);
            };
            let capped = match self.table.load(right, guard) {
                Word::Capped(capped) => capped,
                Word::Resident(chain) => {
                    let inner = Base::new(chain.base());
                    if inner.merging().is_some() {
                        self.help_merge(tree, right, inner.merging(), guard)?;
                    } else {
                        self.table.cap(right, chain);
                    }
                    continue;
                }
                Word::Disk(_) | Word::Partial(_) => return Err(Away(right)),
                Word::Unborn | Word::Merged { .. } | Word::Free => continue,
            };
            let Some(left) = self.absorb(base.child(at - 1), right, capped, guard)? else {
                continue;
            };
            let absorbed = self.still_absorbed(base, guard);
            let shape = Shape { merging: PageId::NONE, ..base.shape(&absorbed) };
            let children = Contents::without_child(base, at);
            if !self.replace_inner(parent, seen, &shape, &children, guard) {
                continue;
            }
            self.bury(right, capped, left, guard);
            self.restore_bound(tree, left, 0, guard);
            if parent == tree.root {
                return if children.len() > 1 {
                    Ok(())
                } else {
                    self.lower(tree, guard).map(|_| ())
                };
            }
            let bytes = children.base_bytes(&shape);
            if bytes < self.limits.merge_below(base.level()) {
                return self.try_merge(tree, parent, base.low(), base.level(), guard);
            }
            return Ok(());
        }
    }

    /// Step 3: the page that has absorbed the capped one, after seeing to it that one has; `None`
    /// if the parent must be looked at again.
    fn absorb<'g>(
        &self,
        mut left: PageId,
        right: PageId,
        capped: Chain<'g>,
        guard: &'g Guard,
    ) -> Result<Option<PageId>, Away> {
        let right_base = Base::new(capped.base());
        let mut from = PageId::NONE;
        loop {
            let chain = match self.table.load(left, guard) {
                Word::Resident(chain) => chain,
                Word::Disk(_) | Word::Partial(_) => return Err(Away(left)),
                Word::Unborn if from.is_some() => {
                    self.deliver(from, left);
                    continue;
                }
                _ => return Ok(None),
            };
            let base = Base::new(chain.base());
            if base.high().is_none_or(|high| high > right_base.low()) {
                // Who absorbed it may not have listed it yet, and nobody may bury the right page
                // before that: a commit that has the clock of the Merged word has the absorber.
                self.list(left);
                return Ok(Some(left));
            }
            if base.right() != right {
                (from, left) = (left, base.right());
                continue;
            }
            if self.absorb_into(left, chain, right, capped, guard) {
                return Ok(Some(left));
            }
        }
    }

    fn absorb_into<'g>(
        &self,
        left: PageId,
        chain: Chain<'g>,
        right: PageId,
        capped: Chain<'g>,
        guard: &'g Guard,
    ) -> bool {
        let (left_base, right_base) = (Base::new(chain.base()), Base::new(capped.base()));
        chain.page().seal();
        let mut all = self.contents(left, chain, guard);
        let other = self.contents(right, capped, guard);
        all.contents.extend(other.contents);
        all.dropped.extend(other.dropped);
        all.carried = by_version(all.carried, other.carried);
        let mut absorbed = self.still_absorbed(left_base, guard);
        if S::DURABLE {
            absorbed.extend(self.still_absorbed(right_base, guard));
            absorbed.push(right);
        }
        let shape = Shape {
            high: right_base.high(),
            right: right_base.right(),
            ..left_base.shape(&absorbed)
        };
        let base_version = all.base_version.max(other.base_version);
        let past = self.past_of_merged(Some(chain), (right, capped), (&shape, base_version), guard);
        let birth = self.smo_birth(chain.page().tree(), base_version);
        let mut page = self.build(&shape, &all.contents, &all.carried, 0, birth);
        page.remember(past.history());
        let size = page.page().size_bytes();
        self.charge(size);
        let Ok(replaced) = self.table.replace(left, chain, page) else {
            self.discharge(size);
            return false;
        };
        self.list(left);
        self.succeed((left, replaced), &past, all.dropped, std::iter::once(left), guard);
        Counters::count(&self.counters.merges);
        true
    }

    pub(super) fn contents<'g>(&self, id: PageId, chain: Chain<'g>, guard: &Guard) -> Folded<'g> {
        let base = Base::new(chain.base());
        if base.is_leaf() {
            return self.fold(id, chain, FoldLimit::Cuts, guard);
        }
        Folded::inner(Contents::of(base))
    }

    /// Step 5. The winner retires the page; its values live on in the absorber.
    pub(super) fn bury(&self, id: PageId, capped: Chain<'_>, into: PageId, guard: &Guard) {
        if let Some(capped) = self.table.bury(id, capped, into, self.clock.now()) {
            // The absorber has got what it needs of it.
            capped.close_history(guard);
            self.retire(capped, Vec::new(), guard);
            S::buried(self, id, guard);
        }
    }
}

/// Two runs of records, newest first, as one.
fn by_version<'g>(left: Versioned<'g>, right: Versioned<'g>) -> Versioned<'g> {
    let mut all = left;
    all.extend(right);
    // A stable sort: of one key the order stays. The two runs have no key in common.
    all.sort_by(|(left, _), (right, _)| right.cmp(left));
    all
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::map::Map;

    /// A merge that another thread has begun: its two pages, and the parent.
    fn begun(map: &Map<u64, u64>, guard: &Guard) -> (PageId, PageId, PageId) {
        let (engine, tree) = map.inside();
        let first = 0_u64.to_be_bytes();
        let Ok(leaf) = engine.leaf(tree, &first[..], guard) else { panic!("no leaf") };
        let right = leaf.base.right();
        let parent = engine.parent_of(tree, leaf.base.low(), 0, guard);
        let Ok(parent) = parent else { panic!("no parent") };
        let Word::Resident(seen) = engine.table.load(parent, guard) else { panic!("no parent") };
        assert!(engine.intend(parent, seen, right, guard));
        let Word::Resident(chain) = engine.table.load(right, guard) else { panic!("no page") };
        assert!(engine.table.cap(right, chain));
        (leaf.id, right, parent)
    }

    /// A map of leaves that neither split nor merge by themselves; the first has room.
    fn two_leaves() -> Map<u64, u64> {
        let map = Map::with_tiny_pages();
        // In an order that does not rise, which leaves full pages behind.
        for key in (0..30).map(|n| n * 7 % 30 * 2) {
            map.insert(key, key);
        }
        let room = || {
            let (engine, tree) = map.inside();
            let guard = engine.pin();
            let Ok(leaf) = engine.leaf(tree, &0_u64.to_be_bytes()[..], &guard) else { return 0 };
            let (area, used) = leaf.chain.page().area();
            if leaf.base.count() == 8 { area - used } else { 0 }
        };
        for key in (16..60).step_by(2).take_while(|_| map.leaf_count() >= 2).take(7) {
            map.remove(&key);
        }
        while room() < 100 {
            map.insert(0, 0);
        }
        map
    }

    /// Each record that came to the left page was faster than the copy of two pages, so beside
    /// three threads that wrote to it a merge took milliseconds.
    #[test]
    fn who_absorbs_loses_to_no_record_that_comes_later() {
        let map = two_leaves();
        let (engine, _) = map.inside();
        let guard = engine.pin();
        let (left, right, _) = begun(&map, &guard);
        let Word::Resident(seen) = engine.table.load(left, &guard) else { panic!("no page") };
        let Word::Capped(capped) = engine.table.load(right, &guard) else { panic!("no page") };
        map.insert(0, 1);
        assert!(!engine.absorb_into(left, seen, right, capped, &guard), "the race is lost");
        assert!(seen.page().reserve(seen.page().records(), 16).is_none(), "there is room still");
    }

    #[test]
    fn a_page_that_its_parent_does_not_know_absorbs_nothing() {
        let map: Map<u64, u64> = Map::with_tiny_pages();
        for n in 0..500_u64 {
            map.put(&(n * 377 % 500), n);
        }
        let (engine, tree) = map.inside();
        let guard = engine.pin();
        let page = |parent| match engine.table.load(parent, &guard) {
            Word::Resident(chain) => (chain, Base::new(chain.base())),
            _ => panic!("no parent"),
        };
        let mut parents = (0..500_u64)
            .filter_map(|key| engine.parent_of(tree, &key.to_be_bytes()[..], 0, &guard).ok());
        let parent = parents.find(|&parent| page(parent).1.count() >= 3);
        let Some(parent) = parent else { panic!("no parent of three") };
        let load = || page(parent);
        let (seen, base) = load();
        let (unknown, right) = (base.child(1), base.child(2));
        let children = Contents::without_child(base, 1);
        assert!(engine.replace_inner(parent, seen, &base.shape(&[]), &children, &guard));
        let (chain, base) = load();
        let stop = Stop { id: parent, chain, base, parent: PageId::NONE };
        let Ok(changed) = engine.merge_children(tree, &stop, 1, &guard) else { panic!("away") };
        let (_, base) = load();
        assert!(changed && base.child(1) == unknown && base.child(2) == right);
        assert!(matches!(engine.table.load(right, &guard), Word::Resident(_)));
        map.check().unwrap();
    }

    /// While a commit is under way, keys are put between others and all removed again. What it may
    /// not fold into a page stays there, and was not counted: if none of the entries of their base
    /// pages were live, one page took in all that stayed in dozens.
    #[test]
    fn what_a_commit_keeps_is_counted() {
        const APART: u64 = 40;
        let disk = std::sync::Arc::new(crate::io::MemoryDisk::new());
        let db = crate::Db::builder("memory").sync_policy(crate::SyncPolicy::Manual);
        let db = db.open_on(disk).unwrap();
        let tree = db.tree("t").unwrap();
        let engine = &db.inner.engine;
        let all = || (0..500 * APART).rev();
        let put = |at: u64| tree.put(at.to_be_bytes(), [7; 20]).unwrap();
        all().filter(|at| at % APART == 0).for_each(put);
        db.sync().unwrap();
        let cut = engine.clock.open(&engine.pin());
        all().filter(|at| at % APART > 0).for_each(put);
        all().for_each(|at| assert!(tree.remove(at.to_be_bytes()).unwrap().is_some()));
        let guard = engine.pin();
        for id in (0..engine.table.id_limit()).map(PageId::new) {
            let Word::Resident(chain) = engine.table.load(id, &guard) else { continue };
            let (base, bytes) = (Base::new(chain.base()), chain.page().size_bytes());
            let most = engine.limits.largest_page::<crate::paging::LogStore>(&base.shape(&[]));
            assert!(bytes <= most, "{bytes} bytes, {most} are the most");
        }
        engine.clock.close(cut, &guard, drop);
    }

    #[test]
    fn who_finds_no_room_beside_a_merge_finishes_it() {
        let map = two_leaves();
        let (engine, _) = map.inside();
        let guard = engine.pin();
        let (left, right, parent) = begun(&map, &guard);
        let Word::Resident(seen) = engine.table.load(left, &guard) else { panic!("no page") };
        seen.page().seal();
        map.insert(1, 1);
        assert!(!matches!(engine.table.load(right, &guard), Word::Capped(_)), "it waits still");
        let Word::Resident(seen) = engine.table.load(parent, &guard) else { panic!("no parent") };
        assert!(Base::new(seen.base()).merging().is_none());
        assert_eq!((map.get(&1), map.len()), (Some(1), 24));
        map.check().unwrap();
    }
}
