//! Strays: pages of a tree that nothing leads to are given back.
//!
//! There are none in a store that can be read. An inner page that is damaged is rebuilt, and where
//! several of the pages below it are damaged as well, one after the other, one of them gets the
//! keys of all: nothing says where the others begin ([`rebuild`]). When these keys
//! are given up, the others are left over, with bytes that are live and entries that are counted.
//!
//! *Which of them can go.* A stray is evicted, and so it stays what it is: its word has the token
//! of its eviction, and whoever comes to it brings it in, which changes the word. A walk over the
//! tree that finds nothing wrong comes to a leaf for each key ([`Walk::is_whole`]). So what had the
//! same token before the walk and behind it, and was not come to, has no key and no child that
//! anybody can ask for: each is with another page. Whatever other threads do meanwhile does not
//! matter, but that the walk may find something wrong then that is not; the strays stay, for
//! another time.
//!
//! *How they go.* As the pages of a tree that was dropped: a commit has a Freed part for each, and
//! when it is durable, the bytes are dead and the ids free. Nobody changes them meanwhile, since no
//! background work is under way ([`LogStore::at_rest`]), and nothing leads a user to them.
//!
//! Which pages may be strays is known from the rebuilding of a page or from a check of the store,
//! but not after a restart. So when a damaged page was given up, those pages of its tree are looked
//! for that no inner page names: that reads these alone, and where there are no strays mostly finds
//! none. (A page that was split off and not posted yet is one; the walk comes to it.)

use super::rebuild;
use super::store::{DurableEngine, LogStore};
use super::token::Token;
use crate::engine::TreeCore;
use crate::error::{Error, Result};
use crate::verify::{Reached, Walk, check_tree};
use mapping::Word;
use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use sync::epoch::Guard;
use types::PageId;

impl LogStore {
    /// Pages that nothing may lead to.
    pub(crate) fn strays(&self) -> MutexGuard<'_, BTreeSet<PageId>> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspects(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DurableEngine {
    /// Takes note that damaged pages of this tree were given up.
    pub(super) fn suspect(&self, tree: &TreeCore) {
        self.store.suspects().insert(tree.id);
    }

    /// Whether a tree may have strays.
    pub(crate) fn may_have_strays(&self) -> bool {
        !self.store.strays().is_empty() || !self.store.suspects().is_empty()
    }

    /// Looks for pages of the tree that no inner page names, if some of it were given up.
    fn look_for_strays(&self, tree: &TreeCore) -> Result<()> {
        if !self.store.suspects().contains(&tree.id) {
            return Ok(());
        }
        let mut named = Reached::default();
        named.insert(tree.root);
        let see = |_, children: &[PageId], _: Option<&Vec<u8>>| {
            for child in children {
                named.insert(*child);
            }
        };
        if rebuild::each_inner(self, tree, see)? {
            let unnamed = rebuild::pages_of(self, tree).filter(|id| !named.contains(*id));
            let unnamed: Vec<PageId> = unnamed.collect();
            self.store.strays().extend(unnamed);
            self.store.suspects().remove(&tree.id);
        }
        Ok(())
    }

    /// Gives back what nothing leads to of a tree all of whose damaged keys were given up, and
    /// returns how many entries that had. Called unpinned, and without the turn to append.
    pub(crate) fn give_back_strays(&self, tree: &TreeCore) -> Result<u64> {
        self.look_for_strays(tree)?;
        if self.strays_of(tree).is_empty() || self.has_damage(tree) {
            return Ok(0);
        }
        let _at_rest = self.store.at_rest();
        let before = self.strays_of(tree);
        let mut reached = Reached::default();
        let damage = |error: &Error| error.is_damage().then(|| error.to_string());
        let Walk { is_whole, .. } = check_tree(self, tree, |_| false, damage, &mut reached)?;
        if !is_whole {
            return Ok(0);
        }
        let mut appender = self.store.log.appender();
        let now = self.strays_of(tree);
        let still = |(id, token): &&(PageId, Token)| {
            !reached.contains(*id) && now.iter().any(|(page, now)| page == id && now == token)
        };
        let strays: Vec<(PageId, Token)> = before.iter().filter(still).copied().collect();
        let mut entries = 0;
        for some in strays.chunks(self.store.give_back_pages) {
            let pages: Vec<PageId> = some.iter().map(|(id, _)| *id).collect();
            self.commit_gone(&mut appender, &pages)?;
            let had: i64 = some.iter().map(|(_, token)| i64::from(token.count)).sum();
            tree.count(-had);
            entries += had;
        }
        let of_tree: BTreeSet<PageId> = before.iter().map(|(id, _)| *id).collect();
        self.store.strays().retain(|id| !of_tree.contains(id));
        Ok(entries.try_into().unwrap_or(0))
    }

    /// Those that may be, with the tokens of their words.
    fn strays_of(&self, tree: &TreeCore) -> Vec<(PageId, Token)> {
        let strays: Vec<PageId> = self.store.strays().iter().copied().collect();
        let guard = self.pin();
        let token = |id: PageId| match self.table.load(id, &guard) {
            Word::Disk(token) => Some((id, Token::of(token))),
            _ => None,
        };
        let of_tree = strays.into_iter().filter(|id| self.is_of_tree(*id, tree, &guard));
        of_tree.filter_map(token).collect()
    }

    /// Whether a page of the tree is known to be damaged that is no stray.
    pub(super) fn has_damage(&self, tree: &TreeCore) -> bool {
        let damaged = self.store.damaged_ids().into_iter();
        let damaged = damaged.filter(|id| self.is_of_tree(*id, tree, &self.pin()));
        let mut damaged = damaged.filter(|id| !self.store.strays().contains(id));
        // One that another thread has mended meanwhile may be noted still.
        damaged.any(|id| !self.can_be_read(id).unwrap_or(false))
    }

    /// Whether the log has this page as one of the tree.
    pub(super) fn is_of_tree(&self, id: PageId, tree: &TreeCore, guard: &Guard) -> bool {
        let place = self.place_without_lists(id, guard);
        place.is_some_and(|place| place.tree == tree.id && !place.is_merged())
    }
}
