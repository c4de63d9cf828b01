//! Root to leaf: side links, and help for unfinished SMOs on the way.
//!
//! In memory most searches begin at a leaf that the directory names, or that the hash of the key
//! hints at; see [`mapping::Directory`] for why that is right.
//!
//! A descent never waits. It reads page words, and where it meets an SMO that is not finished it
//! finishes it or starts again:
//!
//! - the key is not below the high key: follow the right link, and offer the separator that the
//!   parent lacks (`smo::post`);
//! - **Unborn**, met by the link of an installed page: list that page, then make it Resident (A1);
//! - **Capped**: help the merge of the parent we came by, and start again;
//! - **Merged**: if the parent still names it, as after a crash, take it out there; start again;
//! - **Disk**: the caller unpins, brings the page in, and comes back.

use super::lookup::Answer;
use super::{Engine, Store, TreeCore};
use core::ops::Range;
use delta::{Base, FRONT_BYTES, Probe, Side};
use mapping::{Chain, Word};
use sync::epoch::Guard;
use types::PageId;

/// A page that must be brought in before the operation can go on; or [`DROPPED`] or [`MISLED`], and
/// it cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away(pub(crate) PageId);

/// Where a descent has ended: a Resident page of the level asked for, and the key inside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop<'g> {
    pub(crate) id: PageId,
    pub(crate) chain: Chain<'g>,
    pub(crate) base: Base<'g>,
    /// The inner page that we came by.
    pub(crate) parent: PageId,
}

impl Stop<'_> {
    /// Remembers where a key is that was found, or put, by a descent. Of a durable tree nothing is:
    /// its hints never grow, since their memory would be outside its budget.
    #[inline]
    pub(crate) fn remember(&self, tree: &TreeCore, key: impl Probe) {
        if self.parent.is_some()
            && let Some(hash) = key.hash()
        {
            tree.hints.learn(hash, self.id);
        }
    }
}

/// Says of a level which page of it is wanted.
pub(crate) trait Seek: Copy {
    /// Whether it is said by a key of bytes.
    const OF_BYTES: bool;
    /// Where that page lies as seen from this one.
    fn side(self, base: Base<'_>) -> Side;
    /// The child of this page that leads there.
    fn child(self, base: Base<'_>) -> PageId;
}

/// The page that covers the key of a probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covering<P>(pub(crate) P);

impl<P: Probe> Seek for Covering<P> {
    const OF_BYTES: bool = !P::NUMBER;

    #[inline]
    fn side(self, base: Base<'_>) -> Side {
        self.0.side(base)
    }

    #[inline]
    fn child(self, base: Base<'_>) -> PageId {
        self.0.child(base)
    }
}

/// Which page of a level is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'k> {
    /// The one that covers the key.
    Covering(&'k [u8]),
    /// The one that covers the keys just below: its high key is at least this one, its low key
    /// less. `None` is beyond the last key.
    Below(Option<&'k [u8]>),
}

impl Seek for Wanted<'_> {
    const OF_BYTES: bool = true;

    fn side(self, base: Base<'_>) -> Side {
        match self {
            Self::Covering(key) => base.side(key),
            Self::Below(Some(key)) => {
                if base.low() >= key {
                    Side::Left
                } else if base.high().is_some_and(|high| high < key) {
                    Side::Right
                } else {
                    Side::Inside
                }
            }
            Self::Below(None) => {
                if base.high().is_some() {
                    Side::Right
                } else {
                    Side::Inside
                }
            }
        }
    }

    fn child(self, base: Base<'_>) -> PageId {
        match self {
            Self::Covering(key) => base.child(base.child_index(key)),
            Self::Below(Some(key)) => {
                let at = base.child_index(key);
                // A child that begins at the key holds nothing below it.
                base.child(if at > 0 && base.separator(at) == *key { at - 1 } else { at })
            }
            Self::Below(None) => base.child(base.count() - 1),
        }
    }
}

/// The operation cannot go on: its tree was dropped.
const DROPPED: Away = Away(PageId::NONE);
/// The operation cannot go on: a page of the tree leads nowhere.
pub(crate) const MISLED: Away = Away(PageId::new(u32::MAX));

impl<S: Store> Engine<S> {
    /// To be asked, pinned, by each attempt of a user's operation: pages of a dropped tree are
    /// given back when all that were pinned before the drop are gone.
    #[inline]
    pub(crate) fn check_dropped(tree: &TreeCore) -> Result<(), Away> {
        if S::DURABLE && tree.is_dropped() { Err(DROPPED) } else { Ok(()) }
    }

    /// The leaf that covers `key`.
    #[inline]
    pub(crate) fn leaf<'g, P: Probe>(
        &'g self,
        tree: &TreeCore,
        key: P,
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        self.leaf_ahead(tree, key, |sketch| key.ahead(sketch), guard)
    }

    /// The same, and asks for what `ahead` makes of the sketch of a leaf that there is a hint to.
    #[inline]
    pub(crate) fn leaf_ahead<'g, P: Probe>(
        &'g self,
        tree: &TreeCore,
        key: P,
        ahead: impl Fn(u64) -> Range<usize>,
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        let hinted = match key.number() {
            Some(number) => self.hinted(tree, key, number, ahead, guard),
            None => self.hashed(tree, key, ahead, guard),
        };
        match (hinted, key.number()) {
            (Some(stop), _) => {
                self.dated(stop.chain);
                Ok(stop)
            }
            (None, Some(number)) => self.unhinted(tree, key, number, guard),
            (None, None) => self.descend(tree, Covering(key), 0, guard),
        }
    }

    /// The leaf that the directory knows, or one of the next two.
    #[inline]
    fn hinted<'g>(
        &'g self,
        tree: &TreeCore,
        key: impl Probe,
        number: u64,
        ahead: impl Fn(u64) -> Range<usize>,
        guard: &'g Guard,
    ) -> Option<Stop<'g>> {
        let hint = tree.directory.hint(number, guard)?;
        self.follow((tree, hint), key, ahead, guard, |id, base| {
            tree.directory.learn(number, id, base.low_number(), guard);
        })
    }

    /// The leaf that the hash of the key hints at, or one of the next two.
    #[inline]
    fn hashed<'g>(
        &'g self,
        tree: &TreeCore,
        key: impl Probe,
        ahead: impl Fn(u64) -> Range<usize>,
        guard: &'g Guard,
    ) -> Option<Stop<'g>> {
        let hash = key.hash().filter(|_| !S::DURABLE)?;
        let hint = tree.hints.hint(hash)?;
        self.follow((tree, hint), key, ahead, guard, |id, _| tree.hints.learn(hash, id))
    }

    /// The leaf of a key, if it is this page or one of the next two; then that is learnt.
    #[inline]
    pub(crate) fn follow<'g>(
        &'g self,
        (tree, mut id): (&TreeCore, PageId),
        key: impl Probe,
        ahead: impl Fn(u64) -> Range<usize>,
        guard: &'g Guard,
        learn: impl FnOnce(PageId, Base<'g>),
    ) -> Option<Stop<'g>> {
        for moves in 0..3 {
            let word = self.table.load_ahead(id, &ahead, guard);
            let Word::Resident(chain) = word else { return None };
            let base = Base::new(chain.base());
            if !base.is_leaf() || chain.page().tree() != tree.id {
                return None;
            }
            match key.side(base) {
                Side::Inside => {
                    if moves > 0 {
                        learn(id, base);
                    }
                    return Some(Stop { id, chain, base, parent: PageId::NONE });
                }
                Side::Right => id = base.right(),
                Side::Left => return None,
            }
        }
        None
    }

    #[cold]
    fn unhinted<'g>(
        &'g self,
        tree: &TreeCore,
        key: impl Probe,
        number: u64,
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        let stop = self.descend(tree, Covering(key), 0, guard)?;
        tree.directory.learn_anew(number, stop.id, stop.base.low_number(), guard);
        Ok(stop)
    }

    /// The page of `level` that is wanted; the root, if that is on a lower level by now. (It was on
    /// this one, or the caller would not know of it.)
    pub(crate) fn descend<'g, W: Seek>(
        &'g self,
        tree: &TreeCore,
        wanted: W,
        level: u8,
        guard: &'g Guard,
    ) -> Result<Stop<'g>, Away> {
        'restart: loop {
            if S::DURABLE && tree.is_gone() {
                return Err(DROPPED);
            }
            let mut id = tree.root;
            let mut parent = PageId::NONE;
            // The page whose link we follow, and whether it was a right link.
            let (mut from, mut sideways) = (PageId::NONE, false);
            loop {
                let chain = match self.table.load(id, guard) {
                    Word::Resident(chain) => chain,
                    Word::Disk(_) | Word::Partial(_) => return Err(Away(id)),
                    Word::Unborn => {
                        self.deliver(from, id);
                        continue;
                    }
                    Word::Capped(_) => {
                        self.help_merge(tree, parent, id, guard)?;
                        continue 'restart;
                    }
                    Word::Merged { .. } => {
                        if !sideways {
                            self.unlink_merged(tree, parent, id, guard)?;
                        }
                        sync::thread::yield_now();
                        continue 'restart;
                    }
                    Word::Free => {
                        if S::DURABLE && !sideways && self.is_misleading(parent, id, guard) {
                            return Err(MISLED);
                        }
                        sync::thread::yield_now();
                        continue 'restart;
                    }
                };
                if W::OF_BYTES {
                    chain.page().prefetch_base(0..FRONT_BYTES);
                }
                let base = Base::new(chain.base());
                match wanted.side(base) {
                    Side::Inside => {}
                    Side::Right if base.right().is_some() => {
                        (from, sideways) = (id, true);
                        id = base.right();
                        continue;
                    }
                    Side::Left | Side::Right => continue 'restart,
                }
                if sideways && parent.is_some() {
                    self.post(tree, parent, base.low(), id, guard)?;
                }
                if base.level() <= level {
                    if base.is_leaf() {
                        self.dated(chain);
                    }
                    return Ok(Stop { id, chain, base, parent });
                }
                parent = id;
                (from, sideways) = (id, false);
                id = wanted.child(base);
            }
        }
    }

    /// Whether a page names a child that is none, as only a damaged one does: who takes a child out
    /// of the tables takes it out of its parent before that. Both may have been done, and undone,
    /// since they were looked at: so the child is free while the parent stays as it is.
    #[cold]
    fn is_misleading(&self, parent: PageId, child: PageId, guard: &Guard) -> bool {
        let inner = || match self.table.load(parent, guard) {
            Word::Resident(chain) => Some(chain.base()).filter(|base| !Base::new(base).is_leaf()),
            _ => None,
        };
        let names = |base: Base<'_>| (0..base.count()).any(|at| base.child(at) == child);
        inner().is_some_and(|seen| {
            names(Base::new(seen))
                && matches!(self.table.load(child, guard), Word::Free)
                && inner().is_some_and(|now| core::ptr::eq(seen, now))
        })
    }

    /// The level of the root.
    pub(crate) fn top_level(&self, tree: &TreeCore) -> Result<u8, S::Error> {
        self.retrying(|guard| match self.table.load(tree.root, guard) {
            Word::Resident(chain) => Ok(Base::new(chain.base()).level()),
            _ if S::DURABLE && tree.is_gone() => Err(DROPPED),
            _ => Err(Away(tree.root)),
        })
    }

    /// Makes a page Resident that `from`, an installed page, links to.
    pub(crate) fn deliver(&self, from: PageId, id: PageId) {
        // The page that the split has cut is listed before the new one can get a record: a commit
        // with that record then has the split as well (A4).
        self.list(from);
        self.table.birth(id);
    }

    /// Runs `attempt` pinned, again and again, bringing in what is away in between.
    pub(crate) fn retrying<R>(
        &self,
        mut attempt: impl FnMut(&Guard) -> Result<R, Away>,
    ) -> Result<R, S::Error> {
        loop {
            let guard = self.pin();
            match attempt(&guard) {
                Ok(result) => return Ok(result),
                Err(Away(id)) => {
                    drop(guard);
                    S::page_in(self, id)?;
                }
            }
        }
    }

    /// Reads one key. `read` runs pinned: it copies what it needs and calls nothing of the user's.
    ///
    /// LINEARIZES: at the load of the leaf's word.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        tree: &TreeCore,
        key: impl Probe,
        mut read: impl FnMut(Option<super::Found<'_>>) -> R,
    ) -> Result<R, S::Error> {
        let fingerprint = key.fingerprint();
        self.retrying(|guard| {
            Self::check_dropped(tree)?;
            let leaf = self.leaf(tree, key, guard)?;
            let Answer { found, record, .. } = leaf.find(key, fingerprint);
            self.settle(&leaf, record);
            if S::DURABLE {
                leaf.chain.page().touch();
            } else if found.is_some() {
                leaf.remember(tree, key);
            }
            Ok(read(found))
        })
    }
}
