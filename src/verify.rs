//! Verify: every page of a tree against the invariants that can be checked at rest.
//!
//! Page by page in the order of the keys, each inner page before its children, with the right edge
//! of what was seen of each level in hand: so a walk needs memory for one page a level, however
//! large the tree is. A page that no parent names is come to by the right link of the one before
//! it, as a descent comes to it; so are those below an inner page that cannot be read. Behind a
//! page that cannot be read the walk goes on at the next one that a parent names: so all that is
//! wrong is found, and all that is right is looked at.

use crate::engine::{Engine, Store, TreeCore};
use delta::Base;
use mapping::Word;
use types::PageId;

/// What a walk over a tree has found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Walk {
    pub(crate) pages: u64,
    pub(crate) entries: u64,
    pub(crate) depth: u32,
    /// Bytes of the largest page in memory, its area included.
    pub(crate) largest_page: u64,
    /// Every key has its leaf, and nothing is wrong with any page: what of the tree was at its
    /// place from before the walk to behind it, and was not come to, has no key that anybody can
    /// ask for.
    pub(crate) is_whole: bool,
    /// What is wrong with the number of entries that the tree has counted, if the walk has come to
    /// all there are.
    pub(crate) miscount: Option<String>,
    pub(crate) faults: Vec<Fault>,
}

/// A page with which something is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) page: PageId,
    pub(crate) first: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
    /// Whether it is an inner page that could be read.
    pub(crate) is_inner: bool,
    /// Nothing, if the page was marked, and is as it should be.
    pub(crate) what: Option<String>,
}

/// The pages that walks have come to: a bit for each id.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reached(Vec<u64>);

impl Reached {
    pub(crate) fn contains(&self, id: PageId) -> bool {
        let (word, bit) = Self::split(id);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds a page; `false` if it was there.
    pub(crate) fn insert(&mut self, id: PageId) -> bool {
        let (word, bit) = Self::split(id);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn split(id: PageId) -> (usize, u64) {
        (id.number() as usize / 64, 1 << (id.number() % 64))
    }
}

/// Walks a tree and checks I4, I11, I12 and I15: fences meet, every page is reachable once, every
/// child of an inner page begins at its separator, and entries are in order. Nobody may be
/// writing. Merges that are under way are finished first.
/// `marked` pages are reported as well, for their keys; `damage` tells what of a failure is the
/// affair of one page.
pub(crate) fn check_tree<S: Store>(
    engine: &Engine<S>,
    tree: &TreeCore,
    marked: impl Fn(PageId) -> bool,
    damage: impl Fn(&S::Error) -> Option<String>,
    reached: &mut Reached,
) -> Result<Walk, S::Error> {
    let (edges, walk, unread) = (Vec::new(), Walk::default(), false);
    let mut walker = Walker { engine, tree, marked, damage, reached, edges, walk, unread };
    walker.visit((&[], tree.root), Came::FromAbove(None), None)?;
    // Pages at the end of a level that no parent names.
    for level in (0..walker.edges.len()).rev() {
        walker.follow_links(level, None)?;
    }
    let Walker { mut walk, unread, .. } = walker;
    walk.is_whole = !unread && walk.faults.iter().all(|fault| fault.what.is_none());
    let (entries, counted) = (walk.entries, tree.len());
    if walk.is_whole && entries != counted {
        walk.miscount = Some(format!("{entries} entries, but {counted} were counted"));
    }
    Ok(walk)
}

/// What is next to the right of all that was seen of a level.
enum Edge {
    /// Not known: nothing was seen, or the last page could not be read.
    Unknown,
    /// Nothing.
    End,
    /// The page with this id, which begins at this key.
    At(Vec<u8>, PageId),
}

/// How a walk has come to a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Its parent names it, which is above this level; `None` for the root.
    FromAbove(Option<u8>),
    /// By the right link of the page before it, on this level.
    FromTheLeft(u8),
}

impl Came {
    fn level(self) -> Option<u8> {
        match self {
            Self::FromAbove(level) => level,
            Self::FromTheLeft(level) => Some(level),
        }
    }
}

/// A walk under way.
struct Walker<'a, S: Store, M, D> {
    engine: &'a Engine<S>,
    tree: &'a TreeCore,
    marked: M,
    damage: D,
    reached: &'a mut Reached,
    /// The right edge of each level.
    edges: Vec<Edge>,
    walk: Walk,
    /// A page could not be read.
    unread: bool,
}

impl<S, M, D> Walker<'_, S, M, D>
where
    S: Store,
    M: Fn(PageId) -> bool,
    D: Fn(&S::Error) -> Option<String>,
{
    /// Checks a page that begins at `low`, and all below it. `end` is where it ends, as far as its
    /// parent knows.
    fn visit(
        &mut self,
        (low, id): (&[u8], PageId),
        came: Came,
        end: Option<&[u8]>,
    ) -> Result<(), S::Error> {
        let to_vec = |key: Option<&[u8]>| key.map(<[u8]>::to_vec);
        if !self.reached.insert(id) {
            self.fault(id, low, to_vec(end), "it is reachable twice (I12)");
            self.set_edge(came.level(), Edge::Unknown);
            return Ok(());
        }
        self.walk.pages += 1;
        S::go_on(self.engine)?;
        let facts = page_facts(self.engine, self.tree, id);
        let facts = facts.or_else(|error| (self.damage)(&error).map(Err).ok_or(error));
        let page = match facts? {
            Ok(page) => page,
            Err(what) => {
                self.unread = true;
                self.fault(id, low, to_vec(end), &what);
                self.set_edge(came.level(), Edge::Unknown);
                return Ok(());
            }
        };
        if came.level().is_some_and(|level| level != page.level) {
            self.fault(id, &page.low, page.high.clone(), &format!("it is on level {}", page.level));
            return Ok(());
        }
        self.check_edge(&page, (low, id), came);
        if page.high.is_none() != page.right.is_none() {
            let what = "high key and right link disagree (I11)";
            self.fault(id, &page.low, page.high.clone(), what);
        }
        if id == self.tree.root && page.high.is_some() {
            self.fault(id, &page.low, page.high.clone(), "it is the root, and has a right link");
        }
        if (self.marked)(id) {
            let (first, end, is_inner) = (page.low.clone(), page.high.clone(), page.level > 0);
            self.walk.faults.push(Fault { page: id, first, end, is_inner, what: None });
        }
        self.walk.entries += page.entries;
        self.walk.depth = self.walk.depth.max(u32::from(page.level) + 1);
        self.walk.largest_page = self.walk.largest_page.max(page.bytes);
        let edge = match &page.high {
            Some(high) if page.right.is_some() => Edge::At(high.clone(), page.right),
            _ => Edge::End,
        };
        self.set_edge(Some(page.level), edge);
        self.visit_children(&page)
    }

    fn visit_children(&mut self, page: &Facts) -> Result<(), S::Error> {
        for (at, (separator, child)) in page.children.iter().enumerate() {
            if is_merged(self.engine, *child) {
                continue;
            }
            let level = page.level - 1;
            self.follow_links(level.into(), Some((separator, *child)))?;
            let next = page.children.get(at + 1).map(|(key, _)| key);
            let end = next.or(page.high.as_ref()).map(Vec::as_slice);
            self.visit((separator, *child), Came::FromAbove(Some(level)), end)?;
        }
        Ok(())
    }

    /// Goes on by right links on a level: up to a page that begins at a key, or to the end.
    fn follow_links(
        &mut self,
        level: usize,
        up_to: Option<(&[u8], PageId)>,
    ) -> Result<(), S::Error> {
        loop {
            let Some(Edge::At(low, id)) = self.edges.get(level) else { return Ok(()) };
            if up_to.is_some_and(|(key, page)| *id == page || low.as_slice() >= key) {
                return Ok(());
            }
            let (low, id) = (low.clone(), *id);
            self.visit((&low, id), Came::FromTheLeft(level as u8), None)?;
        }
    }

    /// Compares where a page begins with what its parent, and the page before it, say.
    fn check_edge(&mut self, page: &Facts, (low, id): (&[u8], PageId), came: Came) {
        let what = match self.edges.get(usize::from(page.level)) {
            _ if page.low != low => match came {
                Came::FromAbove(_) => "it does not begin at the separator of its parent",
                Came::FromTheLeft(_) => "its low key is not the left one's high (I11)",
            },
            Some(Edge::At(high, right)) if *right != id || *high != page.low => {
                "the page before it does not end where it begins (I11)"
            }
            Some(Edge::End) => "the page before it has nothing behind it (I11)",
            _ => return,
        };
        self.fault(id, &page.low, page.high.clone(), what);
    }

    fn set_edge(&mut self, level: Option<u8>, edge: Edge) {
        let Some(level) = level.map(usize::from) else { return };
        while self.edges.len() <= level {
            self.edges.push(Edge::Unknown);
        }
        self.edges[level] = edge;
    }

    fn fault(&mut self, page: PageId, first: &[u8], end: Option<Vec<u8>>, what: &str) {
        let (first, what) = (first.to_vec(), Some(what.to_owned()));
        self.walk.faults.push(Fault { page, first, end, is_inner: false, what });
    }
}

/// The check of a tree in memory, or of a model.
pub(crate) fn check_all<S: Store>(
    engine: &Engine<S>,
    tree: &TreeCore,
) -> Result<Result<(), String>, S::Error> {
    let reached = &mut Reached::default();
    let walk = check_tree(engine, tree, |_| false, |_| None, reached)?;
    let told = |fault: &Fault| {
        format!("page {}: {}", fault.page, fault.what.as_deref().unwrap_or_default())
    };
    let wrong = walk.faults.first().map(told).or(walk.miscount);
    Ok(wrong.map_or(Ok(()), Err))
}

/// Whether the child was merged away. After a crash a parent may still name it: the log had the
/// absorber's image and not yet the parent's. A descent that comes by takes it out.
fn is_merged<S: Store>(engine: &Engine<S>, child: PageId) -> bool {
    S::DURABLE && matches!(engine.table.load(child, &engine.pin()), Word::Merged { .. })
}

struct Facts {
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    right: PageId,
    entries: u64,
    bytes: u64,
    children: Vec<(Vec<u8>, PageId)>,
}

fn page_facts<S: Store>(
    engine: &Engine<S>,
    tree: &TreeCore,
    id: PageId,
) -> Result<Result<Facts, String>, S::Error> {
    engine.retrying(|guard| {
        // A merge that was left halfway, for a page that had to be read, is nobody's fault, and any
        // operation would finish it: here its right page would be met capped.
        if let Word::Resident(chain) = engine.table.load(id, guard) {
            let right = Base::new(chain.base()).merging();
            if right.is_some() {
                engine.help_merge(tree, id, right, guard)?;
            }
        }
        let chain = match engine.table.load(id, guard) {
            Word::Resident(chain) => chain,
            Word::Disk(_) | Word::Partial(_) => return Err(crate::engine::Away(id)),
            other => return Ok(Err(format!("it is not a live page: {other:?} (I12)"))),
        };
        let base = Base::new(chain.base());
        if let Err(what) = delta::check(base) {
            return Ok(Err(what.to_string()));
        }
        let absorbed: Vec<PageId> = base.absorbed().collect();
        let (bytes, (area, used)) = (chain.page().size_bytes(), chain.page().area());
        let most = engine.limits.largest_page::<S>(&base.shape(&absorbed));
        // A leaf that came back too large from the log has no area, and cannot grow.
        let takes_records = !base.is_leaf() || area >= engine.limits.area_bytes;
        if S::DURABLE && takes_records && bytes > most {
            let (base, entries) = (base.byte_len(), base.count());
            return Ok(Err(format!(
                "it has {bytes} bytes, {most} are the most (I15); {base} are {entries} entries as \
                 they were folded, {area} the area for records, of which {used} are used"
            )));
        }
        let stop = crate::engine::Stop { id, chain, base, parent: PageId::NONE };
        let children = match base.level() {
            0 => Vec::new(),
            _ => {
                (0..base.count()).map(|at| (base.separator(at).to_vec(), base.child(at))).collect()
            }
        };
        let entries =
            if base.is_leaf() { engine.merged(&stop, base.low()).count() as u64 } else { 0 };
        Ok(Ok(Facts {
            level: base.level(),
            low: base.low().to_vec(),
            high: base.high().map(<[u8]>::to_vec),
            right: base.right(),
            entries,
            bytes: bytes as u64,
            children,
        }))
    })
}
