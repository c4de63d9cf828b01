//! What leaves were: a cut of a tree in memory stays readable, and nobody waits for it.
//!
//! Versions are kept by *pages*. A consolidation, split or merge folds everything, so the present
//! pages know only the present; what an open cut sees besides lies in the pages that they have
//! replaced, which hang on them as their [`History`].
//!
//! # The rules
//!
//! - **Keep.** A leaf with base version `b` is replaced by pages with base version `n`, the largest
//!   version in its chain. It goes into their histories if a cut `c` is open with `b <= c < n`;
//!   from its own history goes on what an open cut needs in the same way: `base <= c < hidden at`.
//!   This is decided when all records of the chain have versions, by a look at the registry.
//! - **Read.** To read a key as of `c`, take the leaf that covers it now. If its base version is at
//!   most `c`, it is the page; else the page is the one of its history that covers the key, by its
//!   own fences, and has `base <= c < hidden at`. Of the page's chain leave out the newest records
//!   as long as their versions are above `c`. The rest is the answer.
//! - **Let go.** Once it is replaced a page is kept for the newest open cut that sees it; when that
//!   is closed, for the next older one that does; and goes with the last (`mapping::Clock::keep`).
//!
//! A history is shared by all that come after, so nobody but a merge goes through it, and how many
//! cuts are open is nothing to a writer: it looks for the newest only.
//!
//! # Why that is right
//!
//! For every open cut `c` and every key, the leaf that covers the key now, or one page of its
//! history, has a base version of at most `c`, covers the key, and has every record of the key with
//! a version of at most `c`. Take the leaves that have covered the key one after the other, `P1` to
//! `Pm`; their base versions never fall. Let `Pi` be the last whose base version is at most `c`.
//!
//! 1. *`Pi` has all of them.* A later page got its records after it was published, and published it
//!    was with a version above `c`, read from the clock; what is dated later is dated no lower. So
//!    its records are above `c`, and so are those in its base that `Pi` has not.
//! 2. *The newest records of `Pi` are those above `c`.* Versions never fall along a chain, since
//!    who installs a record dates the one before it first.
//! 3. *`Pi` is not lost.* It was replaced by a page whose version `n` is above `c`. Whoever took
//!    `n`, or a version that it is the largest of, from the clock, read it after `c` had bumped it,
//!    and `c` was registered before; who decides what is kept has read that version, and looks at
//!    the registry afterwards (A8). So it finds `c`, or `c` has been closed. From then on whoever
//!    closes a cut looks for the next older one in the same way.
//! 4. *It is the only one.* The intervals from base version to hidden do not overlap, for what
//!    hides a page is the base version of the next. Pages of other ranges are told by their fences;
//!    so it does no harm that a history has some, after a merge.
//!
//! A record that is installed and has no version yet is dated by who reads as of `c`, and gets more
//! than `c`, for the clock was bumped before.
//!
//! # Who replaces what
//!
//! - All pages of a split get the page that was split; the leaves under a root that has grown, too.
//! - A merge has two pages to keep. The left one is replaced by the CAS. The right one is capped,
//!   and goes its own way (`bury`, by whomever): so the history gets a copy of it, records and all.
//! - Pages that are made of sorted input (`bulk`) have entries that come into being with the CAS.
//!   Like records they are dated afterwards, by whoever meets a page of theirs first, and before it
//!   is used: [`Engine::dated`]. All of them get one date, see [`mapping::date_page`]. Until then
//!   nobody can say whether a cut needs what they replace, so that goes into their histories in any
//!   case, and out of them by a trim once they have a date.
//!
//! # Giving back
//!
//! What is left of a page in a history when no cut needs it any more is a husk
//! (`mapping::History`). The next page that takes the place of this one is rid of most. For those
//! that nobody replaces, ids of pages with a history are on a list, and who closes the last open
//! cut trims them. An id is put on the list by who gives its page a history where it had none;
//! where it had one, the id is there already, or in the hands of someone who will look at the
//! page's word. Then both sides look again:
//!
//! ```text
//!   who publishes a history   CAS of the word | push | fence | is no cut open? then trim
//!   who closes a cut          closed | fence | is no cut open? then drain, and trim each
//! ```
//!
//! Of the two one sees the other: either the page is found, or it is seen that no cut is open.

use super::descent::{Covering, Seek, Stop};
use super::{Engine, Store, TreeCore, Versioned};
use core::cmp::Reverse;
use delta::{Base, Contents, Probe, Shape, Side};
use mapping::{Birth, Chain, History, Kept, Old, OpenCut, Unlinked, Word};
use std::sync::Arc;
use sync::atomic::{Ordering, fence};
use sync::epoch::Guard;
use types::PageId;

/// What a leaf that is about to be replaced hands on.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The leaf itself.
    replaced: Option<Arc<Old>>,
    /// A copy of the page that is merged into it.
    copied: Option<Arc<Old>>,
    /// The history of what takes their place.
    history: Option<Arc<History>>,
}

impl Past {
    /// The history of a page that takes the place of the leaf.
    #[inline]
    pub(crate) fn history(&self) -> Option<Arc<History>> {
        self.history.clone()
    }

    /// What a leaf hands on that may be seen by a cut, and what it was before.
    fn of(replaced: Option<Arc<Old>>, chain: Chain<'_>) -> Self {
        let older = chain.share_history().and_then(History::without_husks);
        let history = match &replaced {
            Some(old) => Some(History::onto(Arc::clone(old), older)),
            None => older,
        };
        Self { replaced, copied: None, history }
    }
}

/// The low key of a page that is still there, if it has any key in common with one of this shape.
fn meeting<'g>(old: &'g Old, shape: &Shape<'_>, guard: &'g Guard) -> Option<&'g [u8]> {
    let base = Base::new(old.chain(guard)?.base());
    let meets = base.high().is_none_or(|high| shape.low < high)
        && shape.high.is_none_or(|high| base.low() < high);
    meets.then(|| base.low())
}

impl<S: Store> Engine<S> {
    /// Gives a leaf its base version if that is not decided. Whoever gets to a leaf does this
    /// before anything else.
    #[inline]
    pub(crate) fn dated(&self, chain: Chain<'_>) {
        if !S::DURABLE && chain.page().base_version() == 0 {
            mapping::date_page(chain, &self.clock);
        }
    }

    /// What the open cuts need of a leaf whose records all have versions, and which is about to be
    /// replaced by pages with this base version.
    pub(crate) fn past_of(&self, chain: Chain<'_>, hidden_at: u64, guard: &Guard) -> Past {
        // The registry is read after the records were dated (A8).
        if S::DURABLE || self.clock.none_open() {
            return Past::default();
        }
        Past::of(self.kept(chain, hidden_at, guard), chain)
    }

    fn kept(&self, chain: Chain<'_>, hidden_at: u64, guard: &Guard) -> Option<Arc<Old>> {
        self.clock
            .cut_between(chain.page().base_version(), hidden_at, guard)
            .then(|| Arc::new(Old::of(chain, hidden_at)))
    }

    /// As [`past_of`](Self::past_of), of a leaf and the one to its right that is merged into it:
    /// both together have this shape. None, if it is an inner page that the other one goes into.
    pub(crate) fn past_of_merged<'g>(
        &self,
        left: Option<Chain<'g>>,
        (right_id, right): (PageId, Chain<'g>),
        (shape, hidden_at): (&Shape<'_>, u64),
        guard: &'g Guard,
    ) -> Past {
        if S::DURABLE || shape.level > 0 || self.clock.none_open() {
            return Past::default();
        }
        let replaced = left.and_then(|left| self.kept(left, hidden_at, guard));
        let copied = self
            .clock
            .cut_between(right.page().base_version(), hidden_at, guard)
            .then(|| Arc::new(self.copied(right_id, right, hidden_at)));
        let olds = |chain: Chain<'g>| {
            let olds = chain.history().into_iter().flat_map(History::olds);
            olds.filter_map(|old| {
                Some((Reverse(old.base_version()), meeting(old, shape, guard)?, old))
            })
        };
        let mut older: Vec<_> = left.into_iter().flat_map(olds).chain(olds(right)).collect();
        // Two pages that were one have it from there; no two begin at one key and version.
        older.sort_by_key(|(version, low, _)| (*version, *low));
        older.dedup_by_key(|(version, low, _)| (*version, *low));
        let older = older.into_iter().map(|(_, _, old)| Arc::clone(old));
        let history = History::of(replaced.iter().chain(&copied).cloned().chain(older));
        Past { replaced, copied, history }
    }

    fn copied(&self, id: PageId, chain: Chain<'_>, hidden_at: u64) -> Old {
        let (page, base) = (chain.page(), Base::new(chain.base()));
        let records: Versioned<'_> = self.versioned(id, chain);
        let birth =
            Birth { base_version: page.base_version(), serial: page.serial(), tree: page.tree() };
        let copy = self.build(&base.shape(&[]), &Contents::of(base), &records, 0, birth);
        Old::copied(copy, hidden_at)
    }

    /// What pages need of a leaf whose base version is decided after their CAS: all of it, until
    /// then.
    pub(crate) fn past_for_undecided(chain: Chain<'_>) -> Past {
        Past::of(Some(Arc::new(Old::of(chain, 0))), chain)
    }

    /// To be called when the CAS has put the `heirs` in the place of a leaf, under the pin of the
    /// CAS: what becomes of the leaf, and of the values that are in none of them.
    pub(crate) fn succeed(
        &self,
        (id, replaced): (PageId, Unlinked),
        past: &Past,
        dropped: Vec<u64>,
        heirs: impl Iterator<Item = PageId>,
        guard: &Guard,
    ) {
        let had_history = !S::DURABLE && replaced.close_history(guard);
        match &past.replaced {
            None => self.retire(replaced, dropped, guard),
            Some(old) => {
                replaced.retire(guard, || ());
                let version = mapping::date_successors(old, &self.clock);
                self.keep(old, guard);
                // What sorted input has displaced, in memory.
                for handle in dropped {
                    S::displaced(self, &handle.to_le_bytes(), version, guard);
                }
            }
        }
        if let Some(old) = &past.copied {
            self.keep(old, guard);
        }
        if past.history.is_some() {
            for heir in heirs {
                self.list_history(heir, had_history && heir == id, guard);
            }
        }
    }

    /// Keeps a page that was replaced, or a copy of it, for the cuts that see it.
    fn keep(&self, old: &Arc<Old>, guard: &Guard) {
        let interval = (old.base_version(), old.hidden_at());
        let kept = Kept::Page(Arc::clone(old));
        self.clock.keep(interval, kept, guard, |kept| self.let_go(kept, guard));
    }

    /// No cut sees this any more.
    pub(crate) fn let_go(&self, kept: Kept, guard: &Guard) {
        match kept {
            Kept::Page(old) => old.release(guard),
            Kept::Value(handle) => S::dead(self, handle),
        }
    }

    /// Puts a page that may have got a history on the list, unless it is there.
    fn list_history(&self, id: PageId, is_listed: bool, guard: &Guard) {
        // ORDERING: the publisher's side of the store buffering with `close`: word and list | fence
        // | count, against count | fence | list and words.
        fence(Ordering::SeqCst);
        if self.clock.none_open() && !self.trim(id, guard) {
            return;
        }
        if !is_listed {
            self.dirty.push(id, 0);
            fence(Ordering::SeqCst);
            if self.clock.none_open() {
                self.trim(id, guard);
            }
            // Where pages come and go and a cut is always open, ids would pile up.
            let pushed = self.counters.histories.fetch_add(1, Ordering::Relaxed);
            if pushed > 1024 + 2 * u64::from(self.table.id_limit()) {
                self.trim_all(guard);
            }
        }
    }

    /// Takes the husks out of the history of a page. Says whether anything is left.
    fn trim(&self, id: PageId, guard: &Guard) -> bool {
        loop {
            let (Word::Resident(chain) | Word::Capped(chain)) = self.table.load(id, guard) else {
                return false;
            };
            let Some(history) = chain.history() else { return false };
            self.dated(chain);
            if !history.olds().any(|old| old.is_husk()) {
                return true;
            }
            let kept = History::of(history.olds().filter(|old| !old.is_husk()).cloned());
            let is_left = kept.is_some();
            if chain.trim(history, kept, guard) {
                return is_left;
            }
            // Someone else has trimmed it, or the page has a successor.
        }
    }

    /// Opens a cut of a tree in memory.
    pub(crate) fn open(&self) -> OpenCut<'_> {
        self.clock.open(&self.pin())
    }

    /// Closes a cut of a tree in memory, and gives back what only this cut has seen.
    ///
    /// The last one that is open goes through the list of pages with a history.
    pub(crate) fn close(&self, cut: OpenCut<'_>) {
        let guard = self.pin();
        self.clock.close(cut, &guard, |kept| self.let_go(kept, &guard));
        if self.clock.none_open() && !self.dirty.is_empty() {
            self.trim_all(&guard);
            guard.flush();
        }
    }

    /// Goes through the list of pages with a history.
    fn trim_all(&self, guard: &Guard) {
        self.counters.histories.store(0, Ordering::Relaxed);
        let mut ids: Vec<PageId> = self.dirty.drain(u64::MAX).into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if self.trim(id, guard) {
                self.list_history(id, false, guard);
            }
        }
    }

    /// How many old pages there are in the histories of all pages, for keys of theirs.
    pub(crate) fn kept_pages(&self) -> usize {
        let guard = self.pin();
        let of = |number| match self.table.load(PageId::new(number), &guard) {
            Word::Resident(chain) | Word::Capped(chain) => {
                let shape = Base::new(chain.base()).shape(&[]);
                let olds = chain.history().into_iter().flat_map(History::olds);
                olds.filter_map(|old| meeting(old, &shape, &guard)).count()
            }
            _ => 0,
        };
        (1..self.table.id_limit()).map(of).sum()
    }

    /// How many pages the table has in memory.
    pub(crate) fn resident_pages(&self) -> usize {
        let guard = self.pin();
        let word = |number| self.table.load(PageId::new(number), &guard);
        (1..self.table.id_limit())
            .filter(|&number| matches!(word(number), Word::Resident(_)))
            .count()
    }

    /// The page that speaks for the wanted place as of a cut that is open, and its chain then.
    pub(crate) fn as_of<'g>(
        &self,
        leaf: Stop<'g>,
        wanted: impl Seek,
        cut: u64,
        guard: &'g Guard,
    ) -> Stop<'g> {
        let mut chain = leaf.chain;
        if chain.page().base_version() > cut {
            let seen = |old: &'g Arc<Old>| {
                let then = old.base_version() <= cut && cut < old.hidden_at();
                let here = |chain: &Chain<'g>| wanted.side(Base::new(chain.base())) == Side::Inside;
                if then { old.chain(guard).filter(here) } else { None }
            };
            let mut olds = chain.history().into_iter().flat_map(History::olds);
            let Some(old) = olds.find_map(seen) else {
                panic!("page {} has nothing for the open cut {cut}", leaf.id)
            };
            chain = old;
        }
        let newer =
            |record: &mapping::RecordRef<'g>| self.version(leaf.id, chain.page(), *record) > cut;
        let chain = chain.before(newer);
        Stop { chain, base: Base::new(chain.base()), ..leaf }
    }

    /// Reads one key as of a cut that is open. `read` runs pinned.
    pub(crate) fn read_as_of<R>(
        &self,
        tree: &TreeCore,
        key: impl Probe,
        cut: u64,
        mut read: impl FnMut(Option<super::Found<'_>>) -> R,
    ) -> Result<R, S::Error> {
        let fingerprint = key.fingerprint();
        self.retrying(|guard| {
            let leaf = self.leaf(tree, key, guard)?;
            Ok(read(self.as_of(leaf, Covering(key), cut, guard).find_by_walking(key, fingerprint)))
        })
    }
}

/// Which moment a read is of.
pub(crate) trait Moment: Copy {
    /// Whether it is the present, whatever that is.
    const PRESENT: bool;

    /// The page that speaks for the wanted place then, and its chain.
    fn of<'g, S: Store>(
        self,
        engine: &Engine<S>,
        leaf: Stop<'g>,
        wanted: impl Seek,
        guard: &'g Guard,
    ) -> Stop<'g>;
}

/// Whenever the page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now;

/// That of a cut which is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsOf(pub(crate) u64);

impl Moment for Now {
    const PRESENT: bool = true;

    #[inline]
    fn of<'g, S: Store>(
        self,
        _: &Engine<S>,
        leaf: Stop<'g>,
        _: impl Seek,
        _: &'g Guard,
    ) -> Stop<'g> {
        leaf
    }
}

impl Moment for AsOf {
    const PRESENT: bool = false;

    fn of<'g, S: Store>(
        self,
        engine: &Engine<S>,
        leaf: Stop<'g>,
        wanted: impl Seek,
        guard: &'g Guard,
    ) -> Stop<'g> {
        engine.as_of(leaf, wanted, self.0, guard)
    }
}
