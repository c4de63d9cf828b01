//! Lost: pages of a tree that nobody can come to.
//!
//! A walk over all trees comes to every page, but for those that other threads make meanwhile, and
//! those below a page that was merged away while the walk was under way. So what no walk has come
//! to is looked for by its own low key: a descent for that key, on the level of the page, leads to
//! it. A page keeps its low key for as long as it lives, and from the moment on at which the page
//! that it was split off links to it, it can be found at every moment.
//!
//! What a descent does not lead to may be about to be linked, or given up again, by a thread that
//! is pinned. When all of these have unpinned it is looked for again: the same page is lost then,
//! and another one that has got its id meanwhile is of a tree that was not looked at. Once more
//! than that, since another one may begin with the same key.

use super::Db;
use super::verify::what_of_page;
use crate::engine::{TreeCore, Wanted};
use crate::error::{Error, Result};
use crate::paging::DurableEngine;
use crate::verify::{Reached, check_tree};
use mapping::Word;
use types::PageId;

/// So many looks in a row have not found what is lost.
const LOOKS: usize = 3;

/// What identifies the page that an id names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// One that is not installed yet.
    Unborn,
    /// One that cannot be read.
    Unreadable,
    Page {
        tree: u32,
        level: u8,
        low: Vec<u8>,
    },
}

/// Those of these ids, which no walk has come to, whose pages are lost.
pub(super) fn lost(db: &Db, suspects: Vec<PageId>) -> Result<Vec<PageId>> {
    let engine = &db.inner.engine;
    let mut left = look_for(engine, suspects)?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    // One that cannot be read has no low key, and a descent may meet one, but a walk gets by.
    let reached = reached_now(db)?;
    left.retain(|(id, _)| !reached.contains(*id));
    for _ in 1..LOOKS {
        if left.is_empty() {
            break;
        }
        engine.wait_for_pinned();
        let again = look_for(engine, left.iter().map(|(id, _)| *id).collect())?;
        left.retain(|before| again.contains(before));
    }
    Ok(left.into_iter().map(|(id, _)| id).collect())
}

/// Looks for these pages; gives those that a descent does not lead to.
fn look_for(engine: &DurableEngine, ids: Vec<PageId>) -> Result<Vec<(PageId, Identity)>> {
    let mut missed = Vec::new();
    for id in ids {
        engine.store.check_open()?;
        match identity(engine, id) {
            Ok(None) | Err(Error::TreeDropped { .. }) => {}
            Ok(Some(page)) if leads_to(engine, &page, id) => {}
            Ok(Some(page)) => missed.push((id, page)),
            Err(error) if error.is_damage() => missed.push((id, Identity::Unreadable)),
            Err(error) => return Err(error),
        }
    }
    Ok(missed)
}

/// The page that an id of a tree names; nothing if it names none any more.
fn identity(engine: &DurableEngine, id: PageId) -> Result<Option<Identity>> {
    if !matches!(owner(engine, id), Owner::Tree(_)) {
        return Ok(None);
    }
    engine.retrying(|guard| {
        Ok(match engine.table.load(id, guard) {
            Word::Resident(chain) => {
                let base = delta::Base::new(chain.base());
                let (tree, level) = (chain.page().tree(), base.level());
                Some(Identity::Page { tree, level, low: base.low().to_vec() })
            }
            Word::Disk(_) | Word::Partial(_) => return Err(crate::engine::Away(id)),
            Word::Unborn => Some(Identity::Unborn),
            // A merge that is under way has it.
            Word::Capped(_) | Word::Merged { .. } | Word::Free => None,
        })
    })
}

/// Whether a descent leads to a page. One that cannot be made is no proof.
fn leads_to(engine: &DurableEngine, page: &Identity, id: PageId) -> bool {
    let Identity::Page { tree, level, low } = page else { return false };
    let Some(tree) = engine.tree(*tree) else { return false };
    let found = engine.retrying(|guard| {
        let found = engine.descend(&tree, Wanted::Covering(low), *level, guard)?;
        Ok(found.id == id)
    });
    match found {
        Ok(found) => found,
        Err(error) => matches!(error, Error::TreeDropped { .. }),
    }
}

/// The pages that walks over all trees come to.
fn reached_now(db: &Db) -> Result<Reached> {
    let (engine, catalog) = (&db.inner.engine, &db.inner.catalog);
    let mut reached = Reached::default();
    let mut walk =
        |core: &TreeCore| check_tree(engine, core, |_| false, what_of_page, &mut reached).map(drop);
    catalog.cores().try_for_each(&mut walk)?;
    catalog.trees(engine)?.iter().try_for_each(|(_, core)| walk(core))?;
    Ok(reached)
}

/// Whose an id is that no walk has come to.
pub(super) enum Owner {
    Nobody,
    /// Its page was merged away.
    Merged,
    Dropped,
    /// The number of its tree, if that is known.
    Tree(Option<u32>),
}

pub(super) fn owner(engine: &DurableEngine, id: PageId) -> Owner {
    let guard = engine.pin();
    let place = engine.place_without_lists(id, &guard);
    let number = match engine.table.load(id, &guard) {
        Word::Merged { .. } => return Owner::Merged,
        // Of a page in memory that the log does not have: a commit is the affair of the next sync,
        // and to be reached is not.
        Word::Resident(chain) | Word::Capped(chain) | Word::Partial(chain) => chain.page().tree(),
        // What the table says free is, whatever a commit under way has yet to say about it.
        Word::Free => return Owner::Nobody,
        Word::Disk(_) | Word::Unborn => match place {
            Some(place) if place.is_merged() => return Owner::Merged,
            Some(place) => place.tree,
            None => return Owner::Tree(None),
        },
    };
    match engine.store.trees.get(&number) {
        Some(tree) if tree.is_dropped() => Owner::Dropped,
        _ => Owner::Tree(Some(number)),
    }
}
