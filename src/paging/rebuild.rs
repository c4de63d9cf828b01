//! Rebuild: an inner page that cannot be read is made again of the pages below it.
//!
//! An inner page says nothing that its children do not say themselves: where each begins and ends,
//! and which one is next. They are found in the table by the number of their tree, for no intact
//! page names them; each is read, and they must follow one another from the low to the high key of
//! the page. One that cannot be read fills the gap that it leaves. So a damaged inner page costs no
//! key.
//!
//! Several that cannot be read one after the other leave one gap. The first of them fills it, if
//! the page before it says which that is: should it be readable again, it leads to the others. Else
//! nothing tells them apart, and any of them will do, if what they say is lost: not if the disk has
//! failed to give it this time. The others are [strays](super::strays).
//!
//! Any of them, but each once: what an inner page names, one that was rebuilt too, is none of
//! another one's, nor is a page of which the one in front of it says where it begins. Each gap that
//! begins with a page of which nobody says so has one that it could be, and pages are rebuilt one
//! at a time: so there is one left for each, whichever the others have got.
//!
//! Nobody can change what is below meanwhile so that it matters: whoever would post a separator or
//! merge two children needs the page itself. A child that is split at this time is found whole or
//! not at all, and then the next attempt finds both.

use super::fetch;
use super::mend::{Fences, level_of_root, retrying};
use super::parts::Parts;
use super::store::DurableEngine;
use crate::engine::{Covering, TreeCore};
use crate::error::{Error, Result};
use delta::{Base, Contents, Entry, Layout, Shape};
use mapping::Word;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::PoisonError;
use types::PageId;

/// Most pages that are read to find the one in front of another: it may be a commit that waits.
const MOST_SEARCHED: usize = 16 << 10;

/// Where a page begins, and its id.
type Link = (Vec<u8>, PageId);

/// What a page says of itself.
pub(super) struct Said {
    id: PageId,
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    right: PageId,
    /// Of an inner page.
    children: Vec<PageId>,
}

/// Makes the page again, if all that is below it fits together. Says whether it is there now.
pub(super) fn rebuild(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
    fences: &Fences,
) -> Result<bool> {
    let _alone = engine.store.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Below { level, children, strays }) = below(engine, tree, id, fences)? else {
        return Ok(false);
    };
    let values: Vec<_> =
        children.iter().map(|(_, id)| delta::child_value(Layout::Var, *id)).collect();
    let entries = children.iter().zip(&values);
    let entries = entries.map(|((low, _), (value, len))| (low.as_slice(), &value[..*len]));
    let contents = Contents::children(Layout::Var, entries);
    let shape = Shape {
        level,
        low: &fences.low,
        high: fences.high.as_deref(),
        right: fences.right,
        ..Shape::whole(Layout::Var)
    };
    let guard = engine.pin();
    let Word::Disk(token) = engine.table.load(id, &guard) else { return Ok(true) };
    let page = engine.build(&shape, &contents, &[], 0, engine.smo_birth(tree.id, 0));
    let size = page.page().size_bytes();
    engine.charge(size);
    if engine.table.page_in(id, token, page).is_err() {
        engine.discharge(size);
    } else {
        engine.list(id);
        engine.store.is_sound(id);
        engine.store.strays().extend(strays);
    }
    Ok(true)
}

/// What there is below a page.
struct Below {
    level: u8,
    children: Vec<Link>,
    /// Pages that cannot be read and are not among the children.
    strays: Vec<PageId>,
}

/// Pages that cannot be read.
#[derive(Default)]
struct Unread {
    pages: HashSet<PageId>,
    /// The disk may give what one of them says another time.
    passes: bool,
}

/// The level of the page, and where each page below it begins; `None` if that cannot be found out.
fn below(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
    fences: &Fences,
) -> Result<Option<Below>> {
    let others = pages_of(engine, tree).filter(|page| *page != id);
    let (mut leaves, inner): (Vec<_>, Vec<_>) = others.partition(|page| has_entries(engine, *page));
    let (mut unread, mut found) = (Unread::default(), Vec::new());
    read_all(engine, &inner, &mut found, &mut unread)?;
    let highest = found.iter().map(|page| page.level).max().unwrap_or(0);
    let level = if id == tree.root { highest + 1 } else { fences.level };
    // What another one names is none of this one's.
    let Named { pages: named, before } = if id == tree.root {
        // Nobody comes to the pages below, so that none of them changes.
        let children = found.iter().flat_map(|page| &page.children).copied();
        Named { pages: children.collect(), before: None }
    } else {
        named(engine, tree, fences)?
    };
    if level == 1 {
        leaves.retain(|page| !named.contains(page));
        read_all(engine, &leaves, &mut found, &mut unread)?;
    }
    found.retain(|page| page.level + 1 == level && !named.contains(&page.id));
    unread.pages.retain(|page| !named.contains(page));
    if let Some(Ok(Some(before))) = before.map(|before| read(engine, before)) {
        found.push(before);
    }
    found.sort_by(|left, right| left.low.cmp(&right.low));
    let first = first_of(engine, tree, &found, &unread, fences);
    Ok(in_a_row(&found, &unread.pages, fences, first).map(|children| {
        let used: HashSet<PageId> = children.iter().map(|(_, id)| *id).collect();
        let strays = unread.pages.difference(&used).copied().collect();
        Below { level, children, strays }
    }))
}

/// The pages of a tree, those too that come meanwhile.
pub(super) fn pages_of(engine: &DurableEngine, tree: &TreeCore) -> impl Iterator<Item = PageId> {
    let ids = (1..).map_while(|id| (id < engine.table.id_limit()).then(|| PageId::new(id)));
    ids.filter(|id| engine.is_of_tree(*id, tree, &engine.pin()))
}

/// Whether the log has entries of a page. No image of an inner page has any that count.
fn has_entries(engine: &DurableEngine, id: PageId) -> bool {
    let place = engine.place_without_lists(id, &engine.pin());
    place.is_some_and(|place| place.count != 0)
}

/// The first page below: the one in front of it says which it is. Else it is what is left of those
/// that cannot be read, or any of them.
fn first_of(
    engine: &DurableEngine,
    tree: &TreeCore,
    found: &[Said],
    unread: &Unread,
    fences: &Fences,
) -> Option<PageId> {
    let begins = found.iter().find(|page| page.low == fences.low);
    let before = found.iter().find(|page| page.high.as_ref() == Some(&fences.low));
    let told = begins.map(|page| page.id).or_else(|| before.map(|page| page.right));
    if told.is_some() || (unread.passes && unread.pages.len() > 1) {
        return told;
    }
    // Not one of which another page says where it begins. A page that is split meanwhile may not be
    // seen with its new end.
    let mut left = unread.pages.clone();
    for page in pages_of(engine, tree).chain(pages_of(engine, tree)) {
        if let Ok(Some(page)) = read(engine, page) {
            left.remove(&page.right);
        }
    }
    left.into_iter().min_by_key(|page| (!has_entries(engine, *page), *page))
}

/// The pages one after the other, from the low to the high key.
fn in_a_row(
    found: &[Said],
    unread: &HashSet<PageId>,
    fences: &Fences,
    first: Option<PageId>,
) -> Option<Vec<Link>> {
    let mut children: Vec<Link> = Vec::new();
    let (mut at, mut expected) = (Some(fences.low.clone()), first);
    let inside = |child: &&Said| {
        child.low >= fences.low && fences.high.as_ref().is_none_or(|high| child.low < *high)
    };
    let mut found = found.iter().filter(inside).peekable();
    while let Some(low) = at.take_if(|at| fences.high.as_ref().is_none_or(|high| *at < *high)) {
        let (child, high) = if let Some(child) = found.next_if(|child| child.low == low) {
            let high = child.high.clone();
            let right = expected.replace(child.right);
            if right.is_some_and(|right| right != child.id) {
                return None;
            }
            (child.id, high)
        } else {
            let child = expected.take().filter(|id| unread.contains(id))?;
            (child, found.peek().map(|next| next.low.clone()).or_else(|| fences.high.clone()))
        };
        if high.as_ref().is_some_and(|high| *high <= low) {
            return None;
        }
        children.push((low, child));
        at = high;
    }
    let whole = at == fences.high && found.next().is_none() && !children.is_empty();
    whole.then_some(children)
}

fn read_all(
    engine: &DurableEngine,
    pages: &[PageId],
    found: &mut Vec<Said>,
    unread: &mut Unread,
) -> Result<()> {
    for &id in pages {
        match read(engine, id) {
            Ok(child) => found.extend(child),
            Err(error) if error.is_damage() => {
                unread.passes |= matches!(&error, Error::Log(lss::Error::Io { source, .. })
                    if source.kind() != std::io::ErrorKind::NotFound);
                unread.pages.insert(id);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a page says of itself; nothing, if it is none by now.
pub(super) fn read(engine: &DurableEngine, id: PageId) -> Result<Option<Said>> {
    let said = |shape: &Shape<'_>, children| Said {
        id,
        level: shape.level,
        low: shape.low.to_vec(),
        high: shape.high.map(<[u8]>::to_vec),
        right: shape.right,
        children,
    };
    loop {
        let place = {
            let guard = engine.pin();
            match (engine.table.load(id, &guard), engine.place(id, &guard)) {
                (Word::Resident(chain), _) => {
                    let base = Base::new(chain.base());
                    let children = if base.is_leaf() { 0 } else { base.count() };
                    let children = (0..children).map(|at| base.child(at)).collect();
                    return Ok(Some(said(&base.shape(&[]), children)));
                }
                (Word::Disk(_) | Word::Partial(_), Some(place)) => place,
                _ => return Ok(None),
            }
        };
        match Parts::read(engine, id, &place) {
            // It was moved: look again.
            Err(Error::Log(lss::Error::Gone { .. })) => {}
            parts => {
                let all = |shape: &Shape<'_>, entries: Vec<Entry<'_>>| {
                    let inner = entries.iter().filter(|_| shape.level > 0);
                    let child = |entry: &Entry<'_>| delta::child_of(shape.layout, entry.value);
                    said(shape, inner.map(child).collect())
                };
                return fetch::decoded(id, &parts?, all).map(Some);
            }
        }
    }
}

/// What the inner pages of a tree that can be read say.
#[derive(Default)]
struct Named {
    /// The pages that they name.
    pages: HashSet<PageId>,
    /// Of these, the one in front of the pages below the one that is rebuilt.
    before: Option<PageId>,
}

fn named(engine: &DurableEngine, tree: &TreeCore, fences: &Fences) -> Result<Named> {
    let mut named = Named::default();
    each_inner(engine, tree, |level, children, high| {
        if level == fences.level && high == Some(&fences.low) {
            named.before = children.last().copied();
        }
        named.pages.extend(children);
    })?;
    Ok(named)
}

/// Shows the children of each inner page that can be read to `see`, with the level of the page and
/// where it ends. Says whether that were all.
///
/// Level by level in the order of the keys: so each page that is evicted all the time is seen in
/// that which names it, however these are split and merged meanwhile.
pub(super) fn each_inner(
    engine: &DurableEngine,
    tree: &TreeCore,
    mut see: impl FnMut(u8, &[PageId], Option<&Vec<u8>>),
) -> Result<bool> {
    let top = match level_of_root(engine, tree, |id| fetch::page_in(engine, id)) {
        Err(error) if error.is_damage() => return Ok(false),
        level => level?,
    };
    let mut are_all = true;
    for level in 1..=top {
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            let (children, high) = match children_at(engine, tree, level, &key) {
                Ok((children, _, high)) => (children, high),
                Err(error) if error.is_damage() => {
                    are_all = false;
                    (Vec::new(), end_of_damaged(engine, tree, level..=top, &key)?)
                }
                Err(error) => return Err(error),
            };
            see(level, &children, high.as_ref());
            from = high.filter(|high| *high > key);
        }
    }
    Ok(are_all)
}

/// Where the page ends that covers a key and cannot be read: the next page above it that can be
/// read says so.
fn end_of_damaged(
    engine: &DurableEngine,
    tree: &TreeCore,
    levels: RangeInclusive<u8>,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    for level in levels.skip(1) {
        match children_at(engine, tree, level, key) {
            Ok((_, end, _)) => return Ok(end),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The children of the page that covers a key on a level, where the one of them ends that covers
/// it, and where the page does.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn children_at(
    engine: &DurableEngine,
    tree: &TreeCore,
    level: u8,
    key: &[u8],
) -> Result<(Vec<PageId>, Option<Vec<u8>>, Option<Vec<u8>>)> {
    let bring = |id| fetch::page_in(engine, id);
    retrying(engine, bring, |guard| {
        DurableEngine::check_dropped(tree)?;
        let base = engine.descend(tree, Covering(key), level, guard)?.base;
        let high = base.high().map(<[u8]>::to_vec);
        let next = base.child_index(key) + 1;
        let end = (next < base.count()).then(|| base.separator(next).to_vec());
        let children = (0..base.count()).map(|at| base.child(at)).collect();
        Ok((children, end.or_else(|| high.clone()), high))
    })
}

/// Where the page begins that no inner page names, and its level: the page in front of it says so,
/// if it is found among the first of a large tree.
pub(super) fn in_front_of(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
) -> Option<(Vec<u8>, u8)> {
    pages_of(engine, tree).take(MOST_SEARCHED).find_map(|page| {
        let before = read(engine, page).ok()??;
        before.high.filter(|_| before.right == id).map(|low| (low, before.level))
    })
}
