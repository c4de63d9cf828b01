//! Posting a separator: best effort, because the right link of a half-split page is enough.
//!
//! Rule P: who posts a separator for a child loads the parent's word, *then* checks that the child
//! is live and begins at the separator, then CASes the parent, all under the pin under which it
//! learned the child's id. A merge takes the separator out of the parent before it buries the
//! child, so a parent word that was loaded while the child still was live cannot be current any
//! more once the child is gone (trap 4).

use super::split::SplitPoint;
use crate::engine::{Away, Covering, Engine, FoldLimit, Folded, Stop, Store, TreeCore, Wanted};
use delta::{Base, Contents, Shape, Side};
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

    /// Tells the parents of pages that stand side by side about them.
    pub(super) fn post_all<'l>(
        &self,
        tree: &TreeCore,
        stop: &Stop<'_>,
        level: u8,
        mut links: &'l [(&'l [u8], PageId)],
        guard: &Guard,
    ) -> Result<(), Away> {
        let mut parent = stop.parent;
        while let Some((separator, _)) = links.first() {
            if parent.is_none() {
                parent = self.parent_of(tree, separator, level, guard)?;
            }
            links = self.post_run(tree, parent, links, guard)?;
            parent = PageId::NONE;
        }
        Ok(())
    }

    /// Tells `parent` that `child` covers the keys from `separator` on.
    pub(crate) fn post(
        &self,
        tree: &TreeCore,
        parent: PageId,
        separator: &[u8],
        child: PageId,
        guard: &Guard,
    ) -> Result<(), Away> {
        self.post_run(tree, parent, &[(separator, child)], guard).map(|_behind| ())
    }

    /// Tells `parent` which children cover the keys from these separators on, in one step, and
    /// hands those back that lie behind it. A lost race is dropped: whoever comes over the right
    /// link next offers the separator again.
    fn post_run<'l>(
        &self,
        tree: &TreeCore,
        parent: PageId,
        links: &'l [(&'l [u8], PageId)],
        guard: &Guard,
    ) -> Result<&'l [(&'l [u8], PageId)], Away> {
        let Word::Resident(seen) = self.table.load(parent, guard) else { return Ok(&[]) };
        let base = Base::new(seen.base());
        let here = links.partition_point(|(low, _)| base.high().is_none_or(|high| *low < high));
        let (links, behind) = links.split_at(here.max(1));
        // Rule P: the children are looked at after the parent's word was loaded.
        let (links, values): (Vec<_>, Vec<_>) = links
            .iter()
            .filter(|link| self.is_unposted(base, link, guard))
            .map(|link| (link, delta::child_value(base.layout(), link.1)))
            .unzip();
        let Some((last, _)) = links.last() else { return Ok(behind) };
        if base.merging().is_some() {
            // An inner page with an intention takes no other change: help, and leave the rest to
            // the next who comes over the right link.
            self.help_merge(tree, parent, base.merging(), guard)?;
            return Ok(behind);
        }
        let newer = links.iter().zip(&values).map(|((low, _), (id, len))| (*low, &id[..*len]));
        let newer = Contents::children(base.layout(), newer);
        let children = Contents::of(base).overlay(newer, |_, _| {});
        let absorbed = self.still_absorbed(base, guard);
        let shape: Shape<'_> = base.shape(&absorbed);
        let stop = Stop { id: parent, chain: seen, base, parent: PageId::NONE };
        let at_end = base.separator(base.count() - 1) < *last;
        let rising = shape.right.is_none() && at_end;
        let points = self.inner_points(&children, &shape, rising);
        if !points.is_empty()
            && let Some(merged) = self.merged_child(base, guard)
        {
            // The page that has absorbed it would be cut in two by the separator: two parents would
            // name it. Whoever comes over the right link next offers it again.
            self.unlink_merged(tree, parent, merged, guard)?;
            return Ok(behind);
        }
        if points.is_empty() {
            self.replace_inner(parent, seen, &shape, &children, guard);
        } else if links.len() == 1 {
            let middle = self.middle_point(&children, &shape, rising);
            self.split(tree, &stop, &shape, Folded::inner(children), &middle, 0, guard)?;
        } else if let children = Folded::inner(children)
            && let Some(pages) =
                self.replace_by_pages(tree, &stop, &shape, children, &points, 0, guard)
        {
            self.announce(tree, &stop, shape.level, &pages, guard)?;
        }
        Ok(behind)
    }

    /// Whether this page is a child of the level below that begins at its separator, and belongs
    /// under a parent that does not name it.
    fn is_unposted(&self, parent: Base<'_>, link: &(&[u8], PageId), guard: &Guard) -> bool {
        let (separator, child) = *link;
        let Word::Resident(chain) = self.table.load(child, guard) else { return false };
        let child = Base::new(chain.base());
        child.low() == separator
            && parent.level() == child.level() + 1
            && parent.side(separator) == Side::Inside
            && parent.separator(parent.child_index(separator)) != separator
    }

    /// A child behind the first that was merged away, which the image of a parent may name after a
    /// crash. None becomes one while the word of the parent stays: a merge says there first that it
    /// is under way.
    fn merged_child(&self, parent: Base<'_>, guard: &Guard) -> Option<PageId> {
        if !S::DURABLE {
            return None;
        }
        let mut children = (1..parent.count()).map(|at| parent.child(at));
        children.find(|child| matches!(self.table.load(*child, guard), Word::Merged { .. }))
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
        } else if base.child(0) == child
            && !base.low().is_empty()
            && let Some(first) = self.page_at(tree, base.level() - 1, base.low(), guard)?
        {
            let (value, len) = delta::child_value(base.layout(), first);
            let children = Contents::with_first_child(base, &value[..len]);
            self.replace_inner(parent, seen, &shape, &children, guard);
        }
        Ok(())
    }

    /// The page of a level that begins at this key, as the first below some page does. After a
    /// crash one to its left may have absorbed that: it is cut at the key, or it would be named by
    /// two parents; and who comes next finds what is right of the cut.
    fn page_at(
        &self,
        tree: &TreeCore,
        level: u8,
        low: &[u8],
        guard: &Guard,
    ) -> Result<Option<PageId>, Away> {
        let left = self.descend(tree, Wanted::Below(Some(low)), level, guard)?;
        if left.base.high().is_some_and(|high| high <= low) {
            let right = left.base.right();
            return match self.table.load(right, guard) {
                Word::Resident(chain) => {
                    Ok((Base::new(chain.base()).low() == low).then_some(right))
                }
                Word::Disk(_) | Word::Partial(_) => Err(Away(right)),
                Word::Unborn => {
                    self.deliver(left.id, right);
                    Ok(None)
                }
                _ => Ok(None),
            };
        }
        if left.base.merging().is_some() {
            self.help_merge(tree, left.id, left.base.merging(), guard)?;
            return Ok(None);
        }
        let folded = if left.base.is_leaf() {
            if self.help_absorb(tree, &left, guard)? {
                return Ok(None);
            }
            let mut folded = self.fold(left.id, left.chain, FoldLimit::KeepUnflushed, guard);
            folded.past = self.past_of(left.chain, folded.base_version, guard);
            folded
        } else {
            let is_cut = |at: usize| left.base.separator(at).cmp_bytes(low).is_eq();
            if !(1..left.base.count()).any(is_cut) {
                // A page below it covers the key, and is cut first.
                return self.page_at(tree, level - 1, low, guard).map(|_cut| None);
            }
            Folded::inner(Contents::of(left.base))
        };
        let absorbed = self.still_absorbed(left.base, guard);
        let point = SplitPoint::before(low, &folded.contents);
        self.split(tree, &left, &left.base.shape(&absorbed), folded, &[point], 0, guard)?;
        Ok(None)
    }
}
