//! Split: one CAS turns a page that is too large into its left half.
//!
//! The right half has been made before under a fresh id, but is Unborn until the left half is
//! installed. A reader that comes to the left half for a key of the right one goes by the right
//! link; nobody gets to the right half before (A1).

use crate::engine::{Away, Counters, Engine, Folded, Stop, Store, TreeCore, handles};
use delta::{Entry, Record, Shape};
use mapping::PageBox;
use sync::epoch::Guard;
use types::PageId;

/// One half of a split.
struct Half<'a, 'g> {
    shape: Shape<'a>,
    entries: &'a [Entry<'g>],
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
        let Folded { entries, carried, dropped, base_version } = folded;
        let rising = shape.right.is_none() && grows_at_its_end(stop, &entries, &carried);
        let at = delta::split_index(&entries, rising);
        let separator = match shape.level {
            0 => delta::shortest_separator(entries[at - 1].key, entries[at].key, shape.layout),
            // Between two children there is no choice: the right one begins at its separator.
            _ => entries[at].key.to_vec(),
        };
        let (below, above): (Vec<_>, Vec<_>) =
            carried.into_iter().partition(|(_, record)| record.key < separator.as_slice());
        let Ok(right_id) = self.table.allocate() else { return Ok(()) };
        let right = Half {
            shape: Shape { low: &separator, absorbed: &[], ..*shape },
            entries: &entries[at..],
            carried: above,
        };
        let left = Half {
            shape: Shape { high: Some(&separator), right: right_id, ..*shape },
            entries: &entries[..at],
            carried: below,
        };
        let make = |half: &Half<'_, '_>| {
            let birth = self.smo_birth(tree.id, base_version);
            self.build(&half.shape, half.entries, &half.carried, need, birth)
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
        let parent = match stop.parent {
            parent if parent.is_some() => parent,
            _ => self.parent_of(tree, &separator, shape.level, guard)?,
        };
        self.post(tree, parent, &separator, right_id, guard)
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
        let children =
            [Entry::new(shape.low, &left_value[..len]), Entry::new(separator, &right_value[..len])];
        let root = Shape { level: shape.level + 1, absorbed: &[], ..*shape };
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
fn grows_at_its_end(stop: &Stop<'_>, entries: &[Entry<'_>], carried: &[(u64, Record<'_>)]) -> bool {
    let last = match (entries.last(), carried.iter().map(|(_, r)| r.key).max()) {
        (Some(entry), Some(key)) if entry.key.cmp_bytes(key).is_lt() => return newest(stop, key),
        (Some(entry), _) => entry.key.to_vec(),
        (None, _) => return false,
    };
    newest(stop, &last)
}

fn newest(stop: &Stop<'_>, key: &[u8]) -> bool {
    stop.chain.newest().is_some_and(|record| crate::engine::change(record).key == key)
}
