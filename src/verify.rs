//! Verify: every page of a tree against the invariants that can be checked at rest.
//!
//! Level by level, from left to right by the right links. Behind a page that cannot be read the
//! walk goes on at the next page that the level above names, so that all that is wrong is found,
//! and all that is right is looked at.

use crate::engine::{Engine, Store, TreeCore};
use delta::Base;
use mapping::Word;
use std::collections::{HashMap, HashSet};
use types::PageId;

/// What a walk over a tree has found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Walk {
    pub(crate) pages: u64,
    pub(crate) entries: u64,
    pub(crate) depth: u32,
    /// Bytes of the largest page in memory, its area included.
    pub(crate) largest_page: u64,
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

/// The pages that walks have come to.
#[derive(Debug, Default)]
pub(crate) struct Reached(HashSet<PageId>);

impl Reached {
    pub(crate) fn contains(&self, id: PageId) -> bool {
        self.0.contains(&id)
    }
}

/// A page of a level: the key that it begins at, and its id.
type Link = (Vec<u8>, PageId);

/// Walks every level from left to right and checks I4, I11, I12 and I15: fences meet, every page is
/// reachable once, every child of an inner page begins at its separator, entries are in order, and
/// as many as were counted. Nobody may be writing. Merges that are under way are finished first.
/// `marked` pages are reported as well, for their keys; `damage` tells what of a failure is the
/// affair of one page.
pub(crate) fn check_tree<S: Store>(
    engine: &Engine<S>,
    tree: &TreeCore,
    marked: impl Fn(PageId) -> bool,
    damage: impl Fn(&S::Error) -> Option<String>,
    reached: &mut Reached,
) -> Result<Walk, S::Error> {
    let mut walk = Walk::default();
    // The pages of the level that the one above names.
    let mut named: Vec<Link> = vec![(Vec::new(), tree.root)];
    let (mut level, mut unread) = (None, false);
    loop {
        walk.depth += 1;
        let mut seen: HashMap<PageId, Vec<u8>> = HashMap::new();
        let mut children: Vec<Link> = Vec::new();
        let mut next = named.first().cloned();
        while let Some((low, id)) = next.take() {
            let behind = || {
                let behind = named.iter().find(|(key, id)| *key > low && !is_merged(engine, *id));
                behind.cloned()
            };
            let fault = |first: &[u8], end: Option<Vec<u8>>, what: String| Fault {
                page: id,
                first: first.to_vec(),
                end,
                is_inner: false,
                what: Some(what),
            };
            if !reached.0.insert(id) {
                let end = behind().map(|(key, _)| key);
                walk.faults.push(fault(&low, end, "it is reachable twice (I12)".into()));
                break;
            }
            walk.pages += 1;
            let facts = match page_facts(engine, tree, id) {
                Ok(facts) => facts,
                Err(error) => match damage(&error) {
                    Some(what) => Err(what),
                    None => return Err(error),
                },
            };
            let page = match facts {
                Ok(page) => page,
                Err(what) => {
                    unread = true;
                    next = behind();
                    let end = next.as_ref().map(|(key, _)| key.clone());
                    walk.faults.push(fault(&low, end, what));
                    continue;
                }
            };
            let mut wrong = Vec::new();
            if *level.get_or_insert(page.level) != page.level {
                wrong.push(format!("it is on level {}", page.level));
            }
            if page.low != low {
                wrong.push("its low key is not the left one's high (I11)".into());
            }
            let ends = page.high.is_none() == page.right.is_none();
            if !ends {
                wrong.push("high key and right link disagree (I11)".into());
            }
            for what in wrong {
                walk.faults.push(fault(&page.low, page.high.clone(), what));
            }
            if marked(id) {
                let (first, end) = (page.low.clone(), page.high.clone());
                let is_inner = page.level > 0;
                walk.faults.push(Fault { page: id, first, end, is_inner, what: None });
            }
            walk.entries += page.entries;
            walk.largest_page = walk.largest_page.max(page.bytes);
            children.extend(page.children);
            seen.insert(id, page.low);
            next = page.high.filter(|_| page.right.is_some()).map(|high| (high, page.right));
        }
        for (at, (separator, child)) in named.iter().enumerate() {
            let begins = seen.get(child).is_some_and(|low| low == separator);
            // What was met and is no good was told.
            if begins || is_merged(engine, *child) || !seen.contains_key(child) && unread {
                continue;
            }
            let end = named.get(at + 1).map(|(key, _)| key.clone());
            let what = Some("it does not begin at the separator of its parent".into());
            let (page, first) = (*child, separator.clone());
            walk.faults.push(Fault { page, first, end, is_inner: false, what });
        }
        match level {
            Some(0) | None => break,
            Some(above) => level = Some(above - 1),
        }
        if children.is_empty() {
            break;
        }
        named = children;
    }
    if !unread && walk.faults.iter().all(|fault| fault.what.is_none()) {
        let counted = tree.len();
        if walk.entries != counted {
            let what = Some(format!("{} entries, but {counted} were counted", walk.entries));
            let (page, first) = (tree.root, Vec::new());
            walk.faults.push(Fault { page, first, end: None, is_inner: false, what });
        }
    }
    Ok(walk)
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
    Ok(walk.faults.first().map_or(Ok(()), |fault| Err(told(fault))))
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
        let (bytes, area) = (chain.page().size_bytes(), chain.page().area().0);
        let most = engine.limits.largest_page::<S>(&base.shape(&absorbed));
        // A leaf that came back too large from the log has no area, and cannot grow.
        let takes_records = !base.is_leaf() || area >= engine.limits.area_bytes;
        if S::DURABLE && takes_records && bytes > most {
            return Ok(Err(format!("it has {bytes} bytes, {most} are the most (I15)")));
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
