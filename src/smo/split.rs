//! Split: one CAS turns a page that is too large into its left half.
//!
//! The right half has been made before under a fresh id, but is Unborn until the left half is
//! installed. A reader that comes to the left half for a key of the right one goes by the right
//! link; nobody gets to the right half before (A1).

use crate::engine::{Away, Counters, Engine, Folded, Stop, Store, TreeCore, change, handles};
use delta::{Base, Contents, Layout, Record, Shape};
use mapping::{PageBox, Word};
use sync::epoch::Guard;
use types::PageId;

/// One half of a split.
struct Half<'a, 'g> {
    shape: Shape<'a>,
    contents: Contents<'g>,
    carried: Vec<(u64, Record<'g>)>,
}

impl<S: Store> Engine<S> {
    /// Splits a page that has been folded to `folded`. If the word has changed meanwhile, or no
    /// page id is left, nothing happens.
    pub(crate) fn split(
        &self,
        tree: &TreeCore,
        stop: &Stop<'_>,
        shape: &Shape<'_>,
        folded: Folded<'_>,
        need: usize,
        guard: &Guard,
    ) -> Result<(), Away> {
        let Folded { contents, carried, dropped, base_version } = folded;
        let rising = shape.right.is_none() && grows_at_its_end(stop, &contents, &carried);
        let at = contents.split_index(rising);
        let separator = contents.separator(at, shape);
        let (left, right) = contents.split_at(at);
        let (below, above): (Vec<_>, Vec<_>) =
            carried.into_iter().partition(|(_, record)| record.key < separator.as_slice());
        let Ok(right_id) = self.table.allocate() else { return Ok(()) };
        let right = Half {
            shape: Shape { low: &separator, absorbed: &[], ..*shape },
            contents: right,
            carried: above,
        };
        let left = Half {
            shape: Shape { high: Some(&separator), right: right_id, ..*shape },
            contents: left,
            carried: below,
        };
        let make = |half: &Half<'_, '_>| {
            let birth = self.smo_birth(tree.id, base_version);
            self.build(&half.shape, &half.contents, &half.carried, need, birth)
        };
        Counters::count(&self.counters.splits);
        let (left, right) = (make(&left), make(&right));
        let dropped = handles::<S>(&dropped);
        if stop.id == tree.root {
            self.install_root(stop, shape, &separator, left, right_id, right, dropped, guard);
            return Ok(());
        }
        let size = left.page().size_bytes() + right.page().size_bytes();
        self.charge(size);
        self.table.set_unborn(right_id, right);
        if self.table.replace(stop.id, stop.chain, left).is_err() {
            self.abandon(right_id);
            self.discharge(size);
            return Ok(());
        }
        self.deliver(stop.id, right_id);
        self.retire(stop.chain.page(), dropped, guard);
        if shape.level == 0 && shape.layout == Layout::Fixed8 {
            tree.directory.split(|| self.separators(tree, guard), guard);
        }
        let parent = match stop.parent {
            parent if parent.is_some() => parent,
            _ => self.parent_of(tree, &separator, shape.level, guard)?,
        };
        self.post(tree, parent, &separator, right_id, guard)
    }

    /// The first and the last separator of the leaves of a tree of numbers.
    fn separators(&self, tree: &TreeCore, guard: &Guard) -> Option<(u64, u64)> {
        let outermost = |last: bool| {
            let (mut id, end) =
                (tree.root, |base: Base<'_>| if last { base.count() - 1 } else { 0 });
            loop {
                let Word::Resident(chain) = self.table.load(id, guard) else { return None };
                let base = Base::new(chain.base());
                if base.is_leaf() || base.count() < 2 {
                    return None;
                }
                if base.level() == 1 {
                    let separator = base.separator(end(base).max(1));
                    return separator.suffix().try_into().map(u64::from_be_bytes).ok();
                }
                id = base.child(end(base));
            }
        };
        Some((outermost(false)?, outermost(true)?))
    }

    /// The root keeps its id: both halves move to fresh ids, and the root becomes their parent.
    #[expect(clippy::too_many_arguments, reason = "the two halves, and what they replace")]
    fn install_root(
        &self,
        stop: &Stop<'_>,
        shape: &Shape<'_>,
        separator: &[u8],
        left: PageBox,
        right_id: PageId,
        right: PageBox,
        dropped: Vec<u64>,
        guard: &Guard,
    ) {
        let Ok(left_id) = self.table.allocate() else {
            self.table.release(right_id);
            return;
        };
        let (left_value, len) = delta::child_value(shape.layout, left_id);
        let (right_value, _) = delta::child_value(shape.layout, right_id);
        let root = Shape { level: shape.level + 1, absorbed: &[], ..*shape };
        let (left_value, right_value) = (&left_value[..len], &right_value[..len]);
        let children = Contents::root(shape.layout, shape.low, left_value, separator, right_value);
        let root =
            self.build(&root, &children, &[], 0, self.smo_birth(stop.chain.page().tree(), 0));
        let size = root.page().size_bytes() + left.page().size_bytes() + right.page().size_bytes();
        self.charge(size);
        self.table.set_unborn(left_id, left);
        self.table.set_unborn(right_id, right);
        if self.table.replace(stop.id, stop.chain, root).is_err() {
            self.abandon(left_id);
            self.abandon(right_id);
            self.discharge(size);
            return;
        }
        self.deliver(stop.id, left_id);
        self.deliver(stop.id, right_id);
        self.retire(stop.chain.page(), dropped, guard);
    }

    /// Gives the id of a page back that was never linked to: nobody can know it.
    fn abandon(&self, id: PageId) {
        drop(self.table.take_unborn(id));
        self.table.release(id);
    }
}

/// Whether the last entry is the newest record: rising keys then leave full pages behind.
fn grows_at_its_end(
    stop: &Stop<'_>,
    contents: &Contents<'_>,
    carried: &[(u64, Record<'_>)],
) -> bool {
    let Some(newest) = stop.chain.newest() else { return false };
    let newest = change(newest).key;
    contents.key(contents.len() - 1).cmp_bytes(newest).is_le()
        && carried.iter().all(|(_, record)| record.key <= newest)
}
