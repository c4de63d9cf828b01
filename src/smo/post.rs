//! Posting a separator: best effort, because the right link of a half-split page is enough.
//!
//! Rule P: who posts a separator for a child loads the parent's word, *then* checks that the child
//! is live and begins at the separator, then CASes the parent, all under the pin under which it
//! learned the child's id. A merge takes the separator out of the parent before it buries the
//! child, so a parent word that was loaded while the child still was live cannot be current any
//! more once the child is gone (trap 4).

use crate::engine::{Away, Covering, Engine, Folded, Stop, Store, TreeCore, Wanted};
use delta::{Base, Contents, Shape};
use mapping::Word;
use sync::epoch::Guard;
use types::PageId;

impl<S: Store> Engine<S> {
    /// The page one level above `level` that covers `key`.
    pub(crate) fn parent_of(
        &self,
        tree: &TreeCore,
        key: &[u8],
        level: u8,
        guard: &Guard,
    ) -> Result<PageId, Away> {
        self.descend(tree, Covering(key), level + 1, guard).map(|stop| stop.id)
    }

    /// Tells `parent` that `child` covers the keys from `separator` on. A lost race is dropped:
    /// whoever comes over the right link next offers the separator again.
    pub(crate) fn post(
        &self,
        tree: &TreeCore,
        parent: PageId,
        separator: &[u8],
        child: PageId,
        guard: &Guard,
    ) -> Result<(), Away> {
        let Word::Resident(seen) = self.table.load(parent, guard) else { return Ok(()) };
        let base = Base::new(seen.base());
        // Rule P: the child is looked at after the parent's word was loaded.
        let Word::Resident(child_chain) = self.table.load(child, guard) else { return Ok(()) };
        let child_base = Base::new(child_chain.base());
        if child_base.low() != separator || base.level() != child_base.level() + 1 {
            return Ok(());
        }
        if base.merging().is_some() {
            // An inner page with an intention takes no other change: help, and leave the rest to
            // the next who comes over the right link.
            return self.help_merge(tree, parent, base.merging(), guard);
        }
        let (value, len) = delta::child_value(base.layout(), child);
        let Some(children) = Contents::with_child(base, separator, &value[..len]) else {
            return Ok(());
        };
        let absorbed = self.still_absorbed(base, guard);
        let shape: Shape<'_> = base.shape(&absorbed);
        if children.base_bytes(&shape) > self.limits.inner_bytes && children.len() > 2 {
            let stop = Stop { id: parent, chain: seen, base, parent: PageId::NONE };
            return self.split(tree, &stop, &shape, Folded::inner(children), 0, guard);
        }
        self.replace_inner(parent, seen, &shape, &children, guard);
        Ok(())
    }

    /// Takes a child that was merged away out of a parent that still names it, as the image of a
    /// parent may after a crash.
    pub(crate) fn unlink_merged(
        &self,
        tree: &TreeCore,
        parent: PageId,
        child: PageId,
        guard: &Guard,
    ) -> Result<(), Away> {
        let Word::Resident(seen) = self.table.load(parent, guard) else { return Ok(()) };
        let base = Base::new(seen.base());
        if base.is_leaf() {
            return Ok(());
        }
        if base.merging().is_some() {
            return self.help_merge(tree, parent, base.merging(), guard);
        }
        // As in Rule P: the word of the child is looked at after the parent's was loaded.
        if !matches!(self.table.load(child, guard), Word::Merged { .. }) {
            return Ok(());
        }
        let absorbed = self.still_absorbed(base, guard);
        let shape = base.shape(&absorbed);
        if let Some(at) = (1..base.count()).find(|&at| base.child(at) == child) {
            let children = Contents::without_child(base, at);
            self.replace_inner(parent, seen, &shape, &children, guard);
        } else if base.child(0) == child && !base.low().is_empty() {
            // The page that covers the first keys of the parent now begins left of them.
            let below = Wanted::Below(Some(base.low()));
            let left = self.descend(tree, below, base.level() - 1, guard)?;
            if left.base.high().is_some_and(|high| high <= base.low()) {
                return Ok(());
            }
            let (value, len) = delta::child_value(base.layout(), left.id);
            let children = Contents::with_first_child(base, &value[..len]);
            self.replace_inner(parent, seen, &shape, &children, guard);
        }
        Ok(())
    }
}
