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
//! Nobody can change what is below meanwhile so that it matters: whoever would post a separator or
//! merge two children needs the page itself. A child that is split at this time is found whole or
//! not at all, and then the next attempt finds both.

use super::fetch;
use super::mend::{Fences, retrying};
use super::store::DurableEngine;
use crate::engine::{Covering, TreeCore};
use crate::error::{Error, Result};
use delta::{Base, Contents, Layout, Shape};
use mapping::Word;
use std::collections::HashSet;
use types::PageId;

/// Where a page begins, and its id.
type Link = (Vec<u8>, PageId);

/// A page below: its fences, and what is next to it.
struct Child {
    id: PageId,
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    right: PageId,
}

/// Makes the page again, if all that is below it fits together. Says whether it is there now.
pub(super) fn rebuild(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
    fences: &Fences,
) -> Result<bool> {
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
    let Named { pages: named, before } = named(engine, tree, id, fences);
    let (mut inner, mut leaves) = (Vec::new(), Vec::new());
    for page in (1..engine.table.id_limit()).map(PageId::new) {
        let guard = engine.pin();
        let place = engine.place_without_lists(page, &guard).filter(|place| !place.is_merged());
        let place = place.filter(|place| place.tree == tree.id);
        if let Some(place) = place.filter(|_| page != id && !named.contains(&page)) {
            // No image of an inner page has entries that count.
            if place.count == 0 { inner.push(page) } else { leaves.push(page) }
        }
    }
    let (mut unread, mut found) = (Unread::default(), Vec::new());
    read_all(engine, &inner, &mut found, &mut unread)?;
    let is_root = id == tree.root;
    let highest = found.iter().map(|child| child.level).max().unwrap_or(0);
    let level = if is_root { highest + 1 } else { fences.level };
    if level == 1 {
        read_all(engine, &leaves, &mut found, &mut unread)?;
    }
    let mut before = before.map_or(Ok(None), |before| read(engine, before)).unwrap_or(None);
    found.retain(|child| child.level + 1 == level);
    found.extend(before.take_if(|child| child.level + 1 == level));
    found.sort_by(|left, right| left.low.cmp(&right.low));
    Ok(in_a_row(&found, &unread, fences).map(|children| {
        let used: HashSet<PageId> = children.iter().map(|(_, id)| *id).collect();
        let strays = unread.pages.difference(&used).copied().collect();
        Below { level, children, strays }
    }))
}

/// The pages one after the other, from the low to the high key.
fn in_a_row(found: &[Child], unread: &Unread, fences: &Fences) -> Option<Vec<Link>> {
    let mut children: Vec<Link> = Vec::new();
    let before = found.iter().find(|child| child.high.as_ref() == Some(&fences.low));
    let (mut at, mut expected) = (Some(fences.low.clone()), before.map(|child| child.right));
    let known: HashSet<PageId> = found.iter().map(|child| child.right).collect();
    let inside = |child: &&Child| {
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
            let child = expected.take().or_else(|| unread.any_but(&known))?;
            let child = Some(child).filter(|id| unread.pages.contains(id))?;
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

impl Unread {
    /// One that may stand for any of them, except those of which it is known where they begin.
    fn any_but(&self, known: &HashSet<PageId>) -> Option<PageId> {
        let any = self.pages.difference(known).min().copied();
        any.filter(|_| self.pages.len() == 1 || !self.passes)
    }
}

fn read_all(
    engine: &DurableEngine,
    pages: &[PageId],
    found: &mut Vec<Child>,
    unread: &mut Unread,
) -> Result<()> {
    for &id in pages {
        match read(engine, id) {
            Ok(child) => found.extend(child),
            Err(error) if error.is_damage() => {
                unread.passes |= matches!(error, Error::Log(lss::Error::Io { .. }));
                unread.pages.insert(id);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a page says of itself; nothing, if it is none by now.
fn read(engine: &DurableEngine, id: PageId) -> Result<Option<Child>> {
    let child = |shape: &Shape<'_>| Child {
        id,
        level: shape.level,
        low: shape.low.to_vec(),
        high: shape.high.map(<[u8]>::to_vec),
        right: shape.right,
    };
    loop {
        let place = {
            let guard = engine.pin();
            match (engine.table.load(id, &guard), engine.place(id, &guard)) {
                (Word::Resident(chain), _) => {
                    return Ok(Some(child(&Base::new(chain.base()).shape(&[]))));
                }
                (Word::Disk(_) | Word::Partial(_), Some(place)) => place,
                _ => return Ok(None),
            }
        };
        match fetch::parts(engine, id, &place) {
            // It was moved: look again.
            Err(Error::Log(lss::Error::Gone { .. })) => {}
            parts => return fetch::decoded(id, &parts?, |shape, _| child(shape)).map(Some),
        }
    }
}

/// What intact inner pages of a tree say.
#[derive(Default)]
struct Named {
    /// The pages that they name.
    pages: HashSet<PageId>,
    /// Of these, the one in front of the pages below the one that is rebuilt.
    before: Option<PageId>,
}

fn named(engine: &DurableEngine, tree: &TreeCore, id: PageId, fences: &Fences) -> Named {
    let mut named = Named::default();
    if id == tree.root {
        return named;
    }
    let top = engine.level_of_root(tree).unwrap_or(0);
    for level in 1..=top {
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            let step = retrying(engine, |guard| {
                DurableEngine::check_dropped(tree)?;
                let stop = engine.descend(tree, Covering(key.as_slice()), level, guard)?;
                let children = (0..stop.base.count()).map(|at| stop.base.child(at));
                let high = stop.base.high().map(<[u8]>::to_vec);
                Ok((children.collect::<Vec<_>>(), high))
            });
            from = match step {
                Ok((children, high)) => {
                    if level == fences.level && high.as_ref() == Some(&fences.low) {
                        named.before = children.last().copied();
                    }
                    named.pages.extend(children);
                    high
                }
                // Behind the page itself it goes on.
                Err(_) => fences.high.clone().filter(|high| *high > key),
            };
        }
    }
    named
}
