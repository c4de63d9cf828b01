//! Split: one CAS turns a page that is too large into the leftmost of the pages it is cut into.
//!
//! The others, most often one, have been made before under fresh ids, each linked to the next, but
//! are Unborn until the leftmost is installed. A reader that comes to it for a key of another one
//! goes by the right links; nobody gets to the others before (A1).

use crate::engine::{
    Away, Counters, Engine, Folded, Limits, Past, Stop, Store, TreeCore, change, payload_len,
    record_bytes,
};
use delta::{Base, Contents, Fill, KeyRef, Layout, Record, Shape, shortest_separator};
use mapping::{PageBox, Word};
use sync::epoch::Guard;
use types::PageId;

/// A page of a level: the key that it begins at, and its id.
pub(crate) type Link = (Vec<u8>, PageId);

/// Where a page is cut in two: how many entries of its base stay left, and the key that the right
/// one begins at.
#[derive(Debug, Clone)]
pub(crate) struct SplitPoint {
    at: usize,
    low: Vec<u8>,
}

impl SplitPoint {
    /// Before the first entry whose key is not below this one, with which the right page begins.
    pub(super) fn before(low: &[u8], contents: &Contents<'_>) -> Self {
        let is_below = |at: &usize| contents.key(*at).cmp_bytes(low).is_lt();
        let at = (0..contents.len()).take_while(is_below).count();
        Self { at, low: low.to_vec() }
    }
}

/// What is to be known of the pages that take the place of one.
struct Plan<'a> {
    tree: u32,
    /// The page that is replaced.
    id: PageId,
    shape: Shape<'a>,
    points: &'a [SplitPoint],
    /// Bytes of area that each leaf gets at least, and the last of them.
    need: usize,
    need_at_end: usize,
    /// What leaves keep of the page.
    past: &'a Past,
}

/// Pages that nobody can know yet, and what they weigh.
#[derive(Default)]
struct Fresh {
    ids: Vec<PageId>,
    bytes: usize,
}

impl<S: Store> Engine<S> {
    /// Where a leaf that has been folded to `folded` is to be split: nowhere, if it is within its
    /// bound, or has but one key. `bytes` are those of its base page.
    pub(crate) fn split_points(
        &self,
        stop: &Stop<'_>,
        shape: &Shape<'_>,
        folded: &Folded<'_>,
        bytes: usize,
    ) -> Vec<SplitPoint> {
        let (contents, carried) = (&folded.contents, &folded.carried);
        let rising = || grows_at_its_end(stop, contents, carried);
        leaf_points(self.limits, (contents, carried), shape, bytes, rising)
    }

    /// Splits a page that has been folded to `folded` at these points. If the word has changed
    /// meanwhile, or no page id is left, nothing happens.
    #[expect(clippy::too_many_arguments, reason = "a page, what takes its place, and where")]
    pub(crate) fn split(
        &self,
        tree: &TreeCore,
        stop: &Stop<'_>,
        shape: &Shape<'_>,
        folded: Folded<'_>,
        points: &[SplitPoint],
        need: usize,
        guard: &Guard,
    ) -> Result<(), Away> {
        match self.replace_by_pages(tree, stop, shape, folded, points, need, guard) {
            Some(pages) => self.announce(tree, stop, shape.level, &pages, guard),
            None => Ok(()),
        }
    }

    /// Puts what a page was folded to in its place, cut into pages at these positions. Says where
    /// each of them begins; or nothing, if the word has changed meanwhile or no page id is left:
    /// then nothing has happened.
    #[expect(clippy::too_many_arguments, reason = "a page, what takes its place, and where")]
    pub(crate) fn replace_by_pages(
        &self,
        tree: &TreeCore,
        stop: &Stop<'_>,
        shape: &Shape<'_>,
        mut folded: Folded<'_>,
        points: &[SplitPoint],
        need: usize,
        guard: &Guard,
    ) -> Option<Vec<Link>> {
        let dropped = std::mem::take(&mut folded.dropped);
        let (past, comes) = (std::mem::take(&mut folded.past), folded.comes);
        if !points.is_empty() {
            Counters::count(&self.counters.splits);
        }
        let mut fresh = Fresh::default();
        let need_at_end = if shape.level == 0 { self.room_to_rise(stop.chain) } else { 0 };
        let (tree_id, id, shape) = (tree.id, stop.id, *shape);
        let plan = Plan { tree: tree_id, id, shape, points, need, need_at_end, past: &past };
        // A root keeps its id: all pages get fresh ones, and it becomes their parent.
        let grows = stop.id == tree.root && !points.is_empty();
        let pages = if grows {
            self.lay_out(&plan, folded, false, &mut fresh)
                .and_then(|pages| self.lay_root(&plan, pages, &mut fresh))
        } else {
            self.lay_out(&plan, folded, true, &mut fresh)
        };
        let placed = pages.and_then(|(pages, page)| {
            Some((pages, self.table.replace(stop.id, stop.chain, page?).ok()?))
        });
        let Some((pages, replaced)) = placed else {
            self.discharge(fresh.bytes);
            fresh.ids.into_iter().for_each(|id| self.abandon(id));
            return None;
        };
        if grows {
            tree.grown();
        }
        if let Some((count, taken)) = comes {
            taken.set(taken.get() + count);
        }
        fresh.ids.into_iter().for_each(|id| self.deliver(stop.id, id));
        let heirs = pages.iter().map(|(_, id)| *id);
        self.succeed((stop.id, replaced), &past, dropped, heirs, guard);
        Some(pages)
    }

    /// Makes the pages of one level, from right to left. All are Unborn but the leftmost, if that
    /// keeps the id of the page that is replaced: it is handed back.
    fn lay_out(
        &self,
        plan: &Plan<'_>,
        folded: Folded<'_>,
        keeps_id: bool,
        fresh: &mut Fresh,
    ) -> Option<(Vec<Link>, Option<PageBox>)> {
        let Folded { mut contents, mut carried, base_version, .. } = folded;
        let shape = &plan.shape;
        let first = if keeps_id { plan.id } else { self.fresh(fresh)? };
        let mut pages = vec![(shape.low.to_vec(), first)];
        for point in plan.points {
            pages.push((point.low.clone(), self.fresh(fresh)?));
        }
        let (mut high, mut right, mut leftmost) = (shape.high, shape.right, None);
        let count = pages.len();
        for (at, (low, id)) in pages.iter().enumerate().rev() {
            let begin = at.checked_sub(1).map_or(0, |before| plan.points[before].at);
            let (below, here) = contents.split_at(begin);
            let (under, above) = carried
                .into_iter()
                .partition(|(_, record): &(_, Record<'_>)| at > 0 && record.key < low.as_slice());
            (contents, carried) = (below, under);
            // With the id of the page that has absorbed them: by that their words lead to it.
            let absorbed = if at == 0 && keeps_id { shape.absorbed } else { &[] };
            let shape = Shape { low, high, right, absorbed, ..*shape };
            let birth = self.smo_birth(plan.tree, base_version);
            let need = if at + 1 == count { plan.need.max(plan.need_at_end) } else { plan.need };
            let mut page = self.build(&shape, &here, &above, need, birth);
            if shape.level == 0 {
                page.remember(plan.past.history());
            }
            self.charge(page.page().size_bytes());
            fresh.bytes += page.page().size_bytes();
            if at == 0 && keeps_id {
                leftmost = Some(page);
            } else {
                self.table.set_unborn(*id, page);
            }
            (high, right) = (Some(low.as_slice()), *id);
        }
        Some((pages, leftmost))
    }

    /// Makes as many levels over these pages as they need, and the root over all. Hands `pages`
    /// back.
    fn lay_root(
        &self,
        plan: &Plan<'_>,
        (pages, _): (Vec<Link>, Option<PageBox>),
        fresh: &mut Fresh,
    ) -> Option<(Vec<Link>, Option<PageBox>)> {
        let mut shape = plan.shape;
        let mut upper: Option<Vec<Link>> = None;
        loop {
            shape.level += 1;
            let below = upper.as_ref().unwrap_or(&pages);
            let values: Vec<_> =
                below.iter().map(|(_, id)| delta::child_value(shape.layout, *id)).collect();
            let children = below.iter().zip(&values);
            let children = children.map(|((low, _), (value, len))| (&low[..], &value[..*len]));
            let children = Folded::inner(Contents::children(shape.layout, children));
            let points = self.inner_points(&children.contents, &shape, true);
            let plan = Plan { shape, points: &points, ..*plan };
            if points.is_empty() {
                // What is alone on its level takes the id of the root.
                let (_, root) = self.lay_out(&plan, children, true, fresh)?;
                return Some((pages, root));
            }
            upper = Some(self.lay_out(&plan, children, false, fresh)?.0);
        }
    }

    /// Where an inner page is to be cut: nowhere, if it is not too large.
    pub(crate) fn inner_points(
        &self,
        children: &Contents<'_>,
        shape: &Shape<'_>,
        rising: bool,
    ) -> Vec<SplitPoint> {
        if self.limits.inner_fits(shape, children.len(), children.base_bytes(shape)) {
            return Vec::new();
        }
        let cuts = children.cuts(shape, self.limits.fill(shape.level), rising);
        points_at(children, shape, &cuts)
    }

    /// Where an inner page that is too large is to be cut in two.
    pub(crate) fn middle_point(
        &self,
        children: &Contents<'_>,
        shape: &Shape<'_>,
        rising: bool,
    ) -> Vec<SplitPoint> {
        // Levels of single children would go on for ever.
        let fewest = if rising { 2 } else { self.limits.min_children / 2 };
        let fewest = fewest.clamp(1, children.len() / 2);
        let at = children.split_index(rising).clamp(fewest, children.len() - fewest);
        points_at(children, shape, &[at])
    }

    /// Tells those who lead to leaves about pages that were put in the place of one.
    pub(crate) fn announce(
        &self,
        tree: &TreeCore,
        stop: &Stop<'_>,
        level: u8,
        pages: &[Link],
        guard: &Guard,
    ) -> Result<(), Away> {
        let links: Vec<_> = pages[1..].iter().map(|(low, id)| (low.as_slice(), *id)).collect();
        if level == 0 && tree.layout == Layout::Fixed8 {
            for _ in &links {
                tree.directory.split(|| self.separators(tree, guard), guard);
            }
        } else if level == 0 && !S::DURABLE {
            tree.hints.grow(tree.len());
        }
        // Under a root that has grown they are named already.
        if stop.id == tree.root { Ok(()) } else { self.post_all(tree, stop, level, &links, guard) }
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

    /// An id for a page that nobody can know yet.
    fn fresh(&self, fresh: &mut Fresh) -> Option<PageId> {
        let id = self.table.allocate().ok()?;
        fresh.ids.push(id);
        Some(id)
    }

    /// Gives the id of a page back that was never linked to: nobody can know it.
    fn abandon(&self, id: PageId) {
        drop(self.table.take_unborn(id));
        self.table.release(id);
    }
}

/// The points at these positions of the entries.
pub(crate) fn points_at(
    contents: &Contents<'_>,
    shape: &Shape<'_>,
    cuts: &[usize],
) -> Vec<SplitPoint> {
    cuts.iter().map(|&at| SplitPoint { at, low: contents.separator(at, shape) }).collect()
}

/// Where to cut a leaf. In so far as its base page is too large, each cut leaves less of it: one
/// that no cut follows has an area (see [`Engine::build`]), so a writer that wants room gets it.
fn leaf_points(
    limits: Limits,
    (contents, carried): (&Contents<'_>, &[(u64, Record<'_>)]),
    shape: &Shape<'_>,
    bytes: usize,
    rising: impl FnOnce() -> bool,
) -> Vec<SplitPoint> {
    let most = limits.split_above(shape);
    let beside = record_bytes(shape.layout, carried);
    // What is carried because it is not flushed yet is less than an area, and no reason.
    if bytes + beside.saturating_sub(limits.area_bytes) <= most {
        return Vec::new();
    }
    if beside > limits.area_bytes {
        return points_among_records(contents, carried, shape, limits.fill(0), rising());
    }
    match contents.len() {
        0 | 1 => Vec::new(),
        _ => {
            let rising = rising();
            let full = rising || bytes > 2 * most;
            let mut cuts =
                if full { contents.cuts(shape, limits.fill(0), rising) } else { Vec::new() };
            // It is too large, whatever the pages that it is cut into would cut off their keys.
            if cuts.is_empty() {
                cuts.push(contents.split_index(rising));
            }
            points_at(contents, shape, &cuts)
        }
    }
}

/// Where to cut a leaf much of which are records that must stay records. All that concerns one key
/// stays together; of two keys it finds a point between.
fn points_among_records(
    contents: &Contents<'_>,
    carried: &[(u64, Record<'_>)],
    shape: &Shape<'_>,
    fill: Fill,
    rising: bool,
) -> Vec<SplitPoint> {
    let prefix_len = shape.prefix().len();
    let entry = |at| (contents.key(at), contents.entry_bytes(at, prefix_len), 1);
    let mut items: Vec<(KeyRef<'_>, usize, usize)> = (0..contents.len()).map(entry).collect();
    items.extend(
        carried
            .iter()
            .map(|(_, record)| (KeyRef::from(record.key), payload_len(shape.layout, record), 0)),
    );
    items.sort_by_key(|(key, ..)| *key);
    items.dedup_by(|(key, bytes, entries), (same, all_bytes, all_entries)| {
        let is_one = *key == *same;
        if is_one {
            *all_bytes += *bytes;
            *all_entries += *entries;
        }
        is_one
    });
    let total: usize = items.iter().map(|(_, bytes, _)| bytes).sum();
    // Rising keys leave full pages behind; else the pages share evenly.
    let pages = total.div_ceil(fill.bytes).max(2);
    let wanted = if rising && total > fill.bytes { fill.bytes } else { total.div_ceil(pages) };
    let (mut points, mut held, mut at) = (Vec::new(), 0, 0);
    for (index, &(key, bytes, entries)) in items.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| items[before].0);
        if let Some(before) = before
            && held > 0
            && held + bytes > wanted
        {
            points.push(SplitPoint { at, low: shortest_separator(before, key, shape.layout) });
            held = 0;
        }
        held += bytes;
        at += entries;
    }
    points
}

/// Whether the last entry is the newest record: rising keys then leave full pages behind.
fn grows_at_its_end(
    stop: &Stop<'_>,
    contents: &Contents<'_>,
    carried: &[(u64, Record<'_>)],
) -> bool {
    let Some(newest) = stop.chain.newest() else { return false };
    let newest = change(newest).key;
    contents.len().checked_sub(1).is_none_or(|last| contents.key(last).cmp_bytes(newest).is_le())
        && carried.iter().all(|(_, record)| record.key <= newest)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use delta::{Op, Sheet};
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    struct Page(Vec<u8>);

    impl Sheet for Page {
        fn put(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }

        fn written(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    /// Cuts a leaf until nothing is to be cut, and looks whether each page gets an area.
    fn cut(
        limits: Limits,
        contents: Contents<'_>,
        carried: Vec<(u64, Record<'_>)>,
        (low, high): (&[u8], Option<&[u8]>),
        rising: bool,
    ) {
        let shape = Shape { low, high, ..Shape::whole(Layout::Var) };
        let bytes = contents.base_bytes(&shape);
        let points = leaf_points(limits, (&contents, &carried), &shape, bytes, || rising);
        let Some(SplitPoint { at, low: middle }) = points.first().cloned() else {
            let most = limits.split_above(&shape);
            let entries = contents.len();
            assert!(bytes <= most || entries <= 1, "{entries} entries of {bytes} bytes, no area");
            return;
        };
        assert!(middle.as_slice() > low && high.is_none_or(|high| middle.as_slice() < high));
        let (left, right) = contents.split_at(at);
        let (below, above): (Vec<_>, Vec<_>) =
            carried.into_iter().partition(|(_, record)| record.key < middle.as_slice());
        assert!(left.len() + below.len() > 0 && right.len() + above.len() > 0);
        cut(limits, left, below, (low, Some(&middle)), rising);
        cut(limits, right, above, (&middle, high), rising);
    }

    /// A leaf of nine entries that were too large for one, and a record of 800 bytes for the last
    /// of them that a commit under way kept: it was not cut and got no area, and its writer tried
    /// again until the commit was over.
    #[test]
    fn a_leaf_that_is_not_cut_has_room() {
        let tiny = Limits { leaf_bytes: 560, inner_bytes: 400, area_bytes: 320, min_children: 4 };
        let state = BuildHasherDefault::<DefaultHasher>::default();
        for round in 0..6_000_u64 {
            let dice = |what: &str, at: u64, sides: u64| state.hash_one((round, what, at)) % sides;
            let limits = if round % 8 == 0 { Limits::of(Layout::Var) } else { tiny };
            let (keys, most) =
                (1 + dice("keys", 0, 60), [20, 60, 1000][dice("most", 0, 3) as usize]);
            let key = |at: u64| {
                let len = 1 + dice("length", at, 12) as usize;
                let middle = "k".repeat(if dice("long", at, 20) == 0 { 10 * len } else { len });
                format!("{at:04}{middle}").into_bytes()
            };
            let keys: Vec<Vec<u8>> = (0..keys).map(key).collect();
            let value = vec![7; 1024];
            let record = |what: &str, at: usize| {
                let is_even = what == "even" || round % 3 == 0 && dice("odd", at as u64, 40) > 0;
                let len = if is_even { most } else { dice(what, at as u64, most) } as usize;
                let (op, key) = (Op::Put, keys[at].as_slice());
                (1, Record { op, flags: 0, net: 1, key, value: &value[..len] })
            };
            let chosen = |what: &str, sides| {
                let wanted = |at: &usize| dice(what, *at as u64, sides) == 0;
                (0..keys.len()).filter(wanted).collect::<Vec<usize>>()
            };
            let present = chosen("entry", 2);
            let entries: Vec<_> = present.iter().map(|&at| record("e", at)).collect();
            let often = 1 + dice("often", 0, 20);
            let carried = chosen("carried", often).into_iter().map(|at| record("c", at)).collect();
            let mut page = Page(Vec::new());
            Contents::empty(Layout::Var).write(&Shape::whole(Layout::Var), &mut page);
            let contents = Contents::fold(Base::new(&page.0), &entries, &mut Vec::new());
            // What was of different lengths is of one length now, in a page that was laid out
            // for different ones.
            let mut page = Page(Vec::new());
            contents.write(&Shape::whole(Layout::Var), &mut page);
            let evened = if round % 2 == 0 { Vec::new() } else { present };
            let evened = evened.into_iter().map(|at| record("even", at));
            let odd = |(_, record): &(_, Record<'_>)| {
                entries.iter().any(|(_, entry)| {
                    entry.key == record.key && entry.value.len() != record.value.len()
                })
            };
            let evened: Vec<_> = evened.filter(odd).collect();
            let contents = Contents::fold(Base::new(&page.0), &evened, &mut Vec::new());
            for rising in [false, true] {
                let whole = (&b""[..], None);
                cut(limits, contents.clone(), Vec::clone(&carried), whole, rising);
            }
        }
    }
}
