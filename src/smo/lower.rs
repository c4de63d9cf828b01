//! Lower: a root with a single child takes the place of that child, and the tree is a level lower.
//!
//! A root keeps its id, so that it is the child that goes: its contents come up to the root. C is
//! the only child of the root P; both cover all keys.
//!
//! 1. P -> P' with `merging = C`. While it is set, P' is not changed otherwise.
//! 2. C: Resident -> Capped, if it has no right link. It takes no record any more.
//! 3. P' -> P'' with C's contents and C's level, and C in its `absorbed` list. P is listed.
//! 4. C: Capped -> Merged(into P, clock), and its id becomes free as that of any merged page.
//!
//! Anybody may do steps 2 to 4, as in a merge, and whoever meets the capped C does. Step 3 is the
//! absorb and takes the separator out at once: there is no moment at which P answers for C, and
//! still names it.
//!
//! C may have been split before it could be capped. Then the intention is given up: P' -> P without
//! it, and P gets the separator of the new page as ever. So who caps C has to know that P *still*
//! intends it: it loads C, then sees that P is unchanged, and only then caps what it has loaded.
//!
//! ```text
//!   A  load P' (merging = C)                               cap C
//!   B                         C is split; P' -> P; merge of C's halves
//! ```
//!
//! Without the second look A would cap the C that has come out of the merge, which no page intends
//! to merge any more: nobody would help, and every descent would wait for ever. With it the CAS of
//! step 2 names a C that was loaded while P' was there; a split of it before the CAS makes that
//! fail, and without a split nobody gives the intention up. In turn, once C was split under P', it
//! keeps its right link for as long as P' is there, since no other merge can begin: so nobody caps
//! it, and to give up is right whenever the CAS of P' wins.

use crate::engine::{Away, Counters, Engine, MAX_ABSORBED, Store, TreeCore};
use delta::Base;
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

/// Whether a page covers all keys, as the root does.
fn covers_all(base: Base<'_>) -> bool {
    base.low().is_empty() && base.right().is_none()
}

impl<S: Store> Engine<S> {
    /// Makes the tree lower, as long as its root has a single child and that is in memory. Says
    /// whether it has become so, by whomever.
    pub(crate) fn lower(&self, tree: &TreeCore, guard: &Guard) -> Result<bool, Away> {
        let mut first = None;
        loop {
            let Word::Resident(chain) = self.table.load(tree.root, guard) else { return Ok(false) };
            let base = Base::new(chain.base());
            let is_lower = base.level() < *first.get_or_insert(base.level());
            if base.is_leaf() {
                return Ok(is_lower);
            }
            if base.merging().is_some() {
                self.help_merge(tree, tree.root, base.merging(), guard)?;
                continue;
            }
            let child = base.child(0);
            if base.count() > 1 || !self.may_come_up(base, child, guard)? {
                return Ok(is_lower);
            }
            if self.intend(tree.root, chain, child, guard) {
                self.help_lower(tree, child, guard)?;
            }
        }
    }

    /// Whether this only child can take the place of the root, as far as it can be known before it
    /// is capped.
    fn may_come_up(&self, root: Base<'_>, child: PageId, guard: &Guard) -> Result<bool, Away> {
        match self.table.load(child, guard) {
            Word::Resident(chain) => {
                let base = Base::new(chain.base());
                let absorbed = root.absorbed().count() + base.absorbed().count();
                Ok(covers_all(base) && base.merging().is_none() && absorbed < MAX_ABSORBED)
            }
            Word::Disk(_) | Word::Partial(_) => Err(Away(child)),
            _ => Ok(false),
        }
    }

    /// Finishes what the root intends with its only child, if it does.
    pub(super) fn help_lower(
        &self,
        tree: &TreeCore,
        child: PageId,
        guard: &Guard,
    ) -> Result<(), Away> {
        loop {
            let Word::Resident(seen) = self.table.load(tree.root, guard) else { return Ok(()) };
            let root = Base::new(seen.base());
            if root.is_leaf() || root.merging() != child || root.child(0) != child {
                return Ok(());
            }
            match self.table.load(child, guard) {
                Word::Capped(capped) => {
                    if self.come_up(tree, seen, child, capped, guard) {
                        return Ok(());
                    }
                }
                Word::Resident(chain) => {
                    let base = Base::new(chain.base());
                    if base.merging().is_some() {
                        self.help_merge(tree, child, base.merging(), guard)?;
                    } else if !covers_all(base) {
                        self.intend(tree.root, seen, PageId::NONE, guard);
                    } else if self.is_still(tree.root, seen, guard) {
                        self.table.cap(child, chain);
                    }
                }
                Word::Disk(_) | Word::Partial(_) => return Err(Away(child)),
                // The root is not what it was.
                Word::Unborn | Word::Merged { .. } | Word::Free => {}
            }
        }
    }

    /// Whether an inner page is the one that was seen.
    fn is_still(&self, id: PageId, seen: Chain<'_>, guard: &Guard) -> bool {
        matches!(self.table.load(id, guard), Word::Resident(now) if now.page() == seen.page())
    }

    /// Steps 3 and 4. `false` if another thread was faster.
    fn come_up<'g>(
        &self,
        tree: &TreeCore,
        seen: Chain<'g>,
        child: PageId,
        capped: Chain<'g>,
        guard: &'g Guard,
    ) -> bool {
        let all = self.contents(child, capped, guard);
        let mut absorbed = self.still_absorbed(Base::new(seen.base()), guard);
        if S::DURABLE {
            absorbed.extend(self.still_absorbed(Base::new(capped.base()), guard));
            absorbed.push(child);
        }
        let shape = Base::new(capped.base()).shape(&absorbed);
        let past = self.past_of_merged(None, (child, capped), (&shape, all.base_version), guard);
        let birth = self.smo_birth(tree.id, all.base_version);
        let mut page = self.build(&shape, &all.contents, &all.carried, 0, birth);
        page.remember(past.history());
        let size = page.page().size_bytes();
        self.charge(size);
        let Ok(replaced) = self.table.replace(tree.root, seen, page) else {
            self.discharge(size);
            return false;
        };
        self.list(tree.root);
        let heirs = std::iter::once(tree.root);
        self.succeed((tree.root, replaced), &past, all.dropped, heirs, guard);
        Counters::count(&self.counters.merges);
        self.bury(child, capped, tree.root, guard);
        self.restore_bound(tree, tree.root, 0, guard);
        true
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use crate::map::Map;

    /// In rising, falling and mixed order. In falling order a leaf that became small looked for
    /// room in the left neighbour only, which was full, and every second leaf stayed.
    #[test]
    fn a_tree_becomes_as_low_as_its_entries_let_it() {
        const ENTRIES: u64 = 200_003;
        let map: Map<u64, u64> = Map::new();
        let levels = || {
            let (engine, tree) = map.inside();
            let Ok(top) = engine.top_level(tree);
            top + 1
        };
        let orders: [fn(u64) -> u64; 3] = [|n| n, |n| ENTRIES - 1 - n, |n| n * 377 % ENTRIES];
        for order in orders {
            (0..ENTRIES).for_each(|n| assert_eq!(map.insert(n, n), None));
            assert!(levels() > 2, "{} levels", levels());
            (3..ENTRIES).for_each(|n| assert!(map.remove(&order(n)).is_some()));
            assert_eq!((levels(), map.leaf_count(), map.len()), (1, 1, 3));
            map.check().unwrap();
            map.clear();
        }
    }

    /// The removals of all that is in a leaf of long keys fit its area: it was never folded again,
    /// and 45,737 such leaves stayed of an empty map.
    #[test]
    fn a_leaf_is_merged_although_its_removals_fit_its_area() {
        for length in [8, 100, 300, 1000, 2000] {
            let map: Map<String, u64> = Map::new();
            let key = |round: u64, n: u64| format!("{round:03}{:0length$}", n * 377 % 2000);
            for round in 0..5 {
                (0..2000).for_each(|n| assert_eq!(map.insert(key(round, n), n), None));
                (0..2000).for_each(|n| assert!(map.remove(&key(round, n * 7 % 2000)).is_some()));
                assert!(map.leaf_count() < 4, "{} leaves of {length} bytes", map.leaf_count());
            }
            map.check().unwrap();
        }
    }
}
