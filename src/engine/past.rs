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
//! - **Trim.** A history loses what no open cut needs, whenever its page is replaced, and when a
//!   cut is closed.
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
//!    the registry afterwards (A8). So it finds `c`, or `c` has been closed. The same holds for
//!    whoever passes a history on, or trims it: it knows when the pages in it were hidden.
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
//! Ids of pages with a history are on a list. Who closes a cut takes all of them, trims each page,
//! and puts back those that still have a history. An id is put on the list by who gives its page a
//! history where it had none; where it had one, the id is there already, or in the hands of someone
//! who will look at the page's word. Then both sides look again:
//!
//! ```text
//!   who publishes a history   CAS of the word | push | fence | registry, and trim
//!   who closes a cut          out of the registry | fence | drain | words, and trim
//! ```
//!
//! Of the two one sees the other: either the page is found, or it is seen that the cut is gone. Who
//! puts an id back looks again as well, for another cut may have been closed meanwhile. So when all
//! cuts are closed, no history is left.

use super::descent::{Covering, Seek, Stop};
use super::{Engine, Store, TreeCore, Versioned};
use delta::{Base, Contents, Probe, Shape};
use mapping::{Birth, Chain, History, Old, OpenCut, PageRef, Word};
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
    /// What they were before.
    inherited: Vec<Arc<Old>>,
}

impl Past {
    #[inline]
    fn is_empty(&self) -> bool {
        self.replaced.is_none() && self.copied.is_none() && self.inherited.is_empty()
    }

    fn olds(&self) -> impl Iterator<Item = &Arc<Old>> {
        self.replaced.iter().chain(&self.copied).chain(&self.inherited)
    }

    /// The history of a page of this shape.
    #[inline]
    pub(crate) fn within(&self, shape: &Shape<'_>) -> Option<Box<History>> {
        if self.is_empty() { None } else { self.meeting(shape) }
    }

    #[cold]
    fn meeting(&self, shape: &Shape<'_>) -> Option<Box<History>> {
        let meets = |old: &&Arc<Old>| {
            let base = Base::new(old.chain().base());
            base.high().is_none_or(|high| shape.low < high)
                && shape.high.is_none_or(|high| base.low() < high)
        };
        History::of(self.olds().filter(meets).cloned())
    }

    fn inherit(&mut self, page: PageRef<'_>, cuts: &[u64]) {
        let olds = page.history().into_iter().flat_map(History::olds);
        for old in olds.filter(|old| is_needed(old, cuts)) {
            // Two pages that were one have it from there.
            if !self.inherited.iter().any(|other| Arc::ptr_eq(old, other)) {
                self.inherited.push(Arc::clone(old));
            }
        }
    }
}

/// Whether one of these cuts, in ascending order, sees a page that has this interval.
fn is_between(cuts: &[u64], base_version: u64, hidden_at: u64) -> bool {
    let at = cuts.partition_point(|cut| *cut < base_version);
    cuts.get(at).is_some_and(|cut| *cut < hidden_at)
}

fn is_needed(old: &Old, cuts: &[u64]) -> bool {
    is_between(cuts, old.base_version(), old.hidden_at())
}

impl<S: Store> Engine<S> {
    /// Gives a leaf its base version if that is not decided. Whoever gets to a leaf does this
    /// before anything else.
    #[inline]
    pub(crate) fn dated(&self, page: PageRef<'_>) {
        if !S::DURABLE && page.base_version() == 0 {
            mapping::date_page(page, &self.clock);
        }
    }

    /// What the open cuts need of a leaf whose records all have versions, and which is about to be
    /// replaced by pages with this base version.
    pub(crate) fn past_of(&self, chain: Chain<'_>, hidden_at: u64) -> Past {
        let mut past = Past::default();
        if S::DURABLE {
            return past;
        }
        // The registry is read after the records were dated (A8).
        let cuts = self.clock.open_cuts();
        if !cuts.is_empty() {
            past.replaced = Self::kept(chain, hidden_at, &cuts);
            past.inherit(chain.page(), &cuts);
        }
        past
    }

    fn kept(chain: Chain<'_>, hidden_at: u64, cuts: &[u64]) -> Option<Arc<Old>> {
        is_between(cuts, chain.page().base_version(), hidden_at)
            .then(|| Arc::new(Old::of(chain, hidden_at)))
    }

    /// As [`past_of`](Self::past_of), of a leaf and the one to its right that is merged into it.
    pub(crate) fn past_of_both(
        &self,
        left: Chain<'_>,
        (right_id, right): (PageId, Chain<'_>),
        hidden_at: u64,
    ) -> Past {
        let mut past = Past::default();
        if S::DURABLE || !Base::new(left.base()).is_leaf() {
            return past;
        }
        let cuts = self.clock.open_cuts();
        if !cuts.is_empty() {
            past.replaced = Self::kept(left, hidden_at, &cuts);
            if is_between(&cuts, right.page().base_version(), hidden_at) {
                past.copied = Some(Arc::new(self.copied(right_id, right, hidden_at)));
            }
            past.inherit(left.page(), &cuts);
            past.inherit(right.page(), &cuts);
        }
        past
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
    pub(crate) fn past_for_undecided(&self, chain: Chain<'_>) -> Past {
        let mut past = Past::default();
        past.inherit(chain.page(), &self.clock.open_cuts());
        past.replaced = Some(Arc::new(Old::of(chain, 0)));
        past
    }

    /// To be called when the CAS has put the `heirs` in the place of a leaf, under the pin of the
    /// CAS: what becomes of the leaf, and of the values that are in none of them.
    pub(crate) fn succeed(
        &self,
        (id, chain): (PageId, Chain<'_>),
        past: &Past,
        dropped: Vec<u64>,
        heirs: impl Iterator<Item = PageId>,
        guard: &Guard,
    ) {
        let page = chain.page();
        let had_history = !S::DURABLE && page.close_history(guard);
        if past.is_empty() {
            return self.retire(page, dropped, guard);
        }
        let hidden_at =
            past.replaced.as_ref().map(|old| mapping::date_successors(old, &self.clock));
        past.replaced.iter().chain(&past.copied).for_each(|old| old.own_page());
        match hidden_at {
            // What sorted input has displaced, in memory.
            Some(version) => {
                for handle in dropped {
                    S::displaced(self, &handle.to_le_bytes(), version);
                }
            }
            None => self.retire(page, dropped, guard),
        }
        for heir in heirs {
            self.list_history(heir, had_history && heir == id, guard);
        }
    }

    /// Puts a page that may have got a history on the list, unless it is there.
    fn list_history(&self, id: PageId, is_listed: bool, guard: &Guard) {
        // ORDERING: the publisher's side of the store buffering with `close`: word | fence |
        // registry, against registry | fence | word.
        fence(Ordering::SeqCst);
        if self.trim(id, guard) && !is_listed {
            self.dirty.push(id, 0);
            fence(Ordering::SeqCst);
            self.trim(id, guard);
            // Where pages come and go and no cut is closed, ids would pile up.
            let pushed = self.counters.histories.fetch_add(1, Ordering::Relaxed);
            if pushed > 1024 + 2 * u64::from(self.table.id_limit()) {
                self.trim_all(guard);
            }
        }
    }

    /// Takes what no open cut needs out of the history of a page. Says whether anything is left.
    fn trim(&self, id: PageId, guard: &Guard) -> bool {
        loop {
            let (Word::Resident(chain) | Word::Capped(chain)) = self.table.load(id, guard) else {
                return false;
            };
            let page = chain.page();
            let Some(history) = page.history() else { return false };
            self.dated(page);
            let cuts = self.clock.open_cuts();
            if history.olds().all(|old| is_needed(old, &cuts)) {
                return true;
            }
            let kept = History::of(history.olds().filter(|old| is_needed(old, &cuts)).cloned());
            let is_left = kept.is_some();
            if page.trim(history, kept, guard) {
                return is_left;
            }
            // Someone else has trimmed it, or the page has a successor.
        }
    }

    /// Opens a cut of a tree in memory.
    pub(crate) fn open(&self) -> OpenCut<'_> {
        self.clock.open_and_tell(|version| {
            // ORDERING: as in `close`: for who kept something for it.
            fence(Ordering::SeqCst);
            S::closed(self, version);
        })
    }

    /// Closes a cut of a tree in memory, and gives back what was kept for it.
    ///
    /// Takes no longer than there are pages that have changed since the oldest cut was opened.
    pub(crate) fn close(&self, cut: OpenCut<'_>) {
        let version = cut.version();
        drop(cut);
        // ORDERING: see `list_history`.
        fence(Ordering::SeqCst);
        S::closed(self, version);
        if !self.dirty.is_empty() {
            let guard = self.pin();
            self.trim_all(&guard);
            guard.flush();
        }
    }

    /// Goes through the list of pages with a history.
    fn trim_all(&self, guard: &Guard) {
        self.counters.histories.store(0, Ordering::Relaxed);
        let mut ids = self.dirty.drain(u64::MAX);
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.list_history(id, false, guard);
        }
    }

    /// How many old pages there are in the histories of all pages.
    pub(crate) fn kept_pages(&self) -> usize {
        let guard = self.pin();
        let of = |number| match self.table.load(PageId::new(number), &guard) {
            Word::Resident(chain) | Word::Capped(chain) => {
                chain.page().history().map_or(0, |history| history.olds().count())
            }
            _ => 0,
        };
        (1..self.table.id_limit()).map(of).sum()
    }

    /// The page that speaks for the wanted place as of a cut that is open, and its chain then.
    pub(crate) fn as_of<'g>(&self, leaf: Stop<'g>, wanted: impl Seek, cut: u64) -> Stop<'g> {
        let mut chain = leaf.chain;
        if chain.page().base_version() > cut {
            let sees = |old: &&Arc<Old>| {
                old.base_version() <= cut
                    && cut < old.hidden_at()
                    && wanted.side(Base::new(old.chain().base())) == delta::Side::Inside
            };
            let mut olds = chain.page().history().into_iter().flat_map(History::olds);
            let Some(old) = olds.find(sees) else {
                panic!("page {} has nothing for the open cut {cut}", leaf.id)
            };
            chain = old.chain();
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
            Ok(read(self.as_of(leaf, Covering(key), cut).find_by_walking(key, fingerprint)))
        })
    }
}

/// Which moment a read is of.
pub(crate) trait Moment: Copy {
    /// Whether it is the present, whatever that is.
    const PRESENT: bool;

    /// The page that speaks for the wanted place then, and its chain.
    fn of<'g, S: Store>(self, engine: &Engine<S>, leaf: Stop<'g>, wanted: impl Seek) -> Stop<'g>;
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
    fn of<'g, S: Store>(self, _: &Engine<S>, leaf: Stop<'g>, _: impl Seek) -> Stop<'g> {
        leaf
    }
}

impl Moment for AsOf {
    const PRESENT: bool = false;

    fn of<'g, S: Store>(self, engine: &Engine<S>, leaf: Stop<'g>, wanted: impl Seek) -> Stop<'g> {
        engine.as_of(leaf, wanted, self.0)
    }
}
