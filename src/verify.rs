//! Verify: every page of a tree against the invariants that can be checked at rest.

use crate::engine::{Engine, Store, TreeCore};
use delta::Base;
use mapping::Word;
use std::collections::HashSet;
use types::PageId;

/// What a walk over a tree has found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) pages: u64,
    pub(crate) entries: u64,
    pub(crate) depth: u32,
    /// Bytes of the largest page in memory, its area included.
    pub(crate) largest_page: u64,
}

/// Walks every level from left to right and checks I4, I11, I12 and I15: fences meet, every page is
/// reachable once, every child of an inner page begins at its separator, entries are in order, and
/// as many as were counted. Nobody may be writing.
pub(crate) fn check_tree<S: Store>(
    engine: &Engine<S>,
    tree: &TreeCore,
) -> Result<Result<Walk, String>, S::Error> {
    let mut walk = Walk::default();
    let mut seen = HashSet::new();
    let mut leftmost = tree.root;
    let mut level = None;
    loop {
        walk.depth += 1;
        let mut id = leftmost;
        let mut low: Vec<u8> = Vec::new();
        let mut children: Vec<(Vec<u8>, PageId)> = Vec::new();
        let mut last = false;
        while id.is_some() {
            if !seen.insert(id) {
                return Ok(Err(format!("page {id} is reachable twice (I12)")));
            }
            walk.pages += 1;
            let page = page_facts(engine, id)?;
            let page = match page {
                Ok(page) => page,
                Err(what) => return Ok(Err(format!("page {id}: {what}"))),
            };
            if *level.get_or_insert(page.level) != page.level {
                return Ok(Err(format!("page {id} is on level {}", page.level)));
            }
            if page.low != low {
                return Ok(Err(format!("page {id}: its low key is not the left one's high (I11)")));
            }
            if id == leftmost {
                last = page.level == 0;
            }
            children.extend(page.children);
            walk.entries += page.entries;
            walk.largest_page = walk.largest_page.max(page.bytes);
            match page.high {
                Some(high) if page.right.is_some() => low = high,
                None if page.right.is_none() => {}
                _ => return Ok(Err(format!("page {id}: high key and right link disagree (I11)"))),
            }
            id = page.right;
        }
        if last {
            break;
        }
        for (separator, child) in &children {
            if is_merged(engine, *child) {
                continue;
            }
            match page_facts(engine, *child)? {
                Ok(page) if page.low == *separator => {}
                Ok(_) => return Ok(Err(format!("child {child} does not begin at its separator"))),
                Err(what) => return Ok(Err(format!("child {child}: {what}"))),
            }
        }
        let Some((_, first)) = children.first() else {
            return Ok(Err("an inner page has no children".into()));
        };
        leftmost = *first;
        level = level.map(|level| level - 1);
    }
    if walk.entries != tree.len() {
        let counted = tree.len();
        return Ok(Err(format!("{} entries, but {counted} were counted", walk.entries)));
    }
    Ok(Ok(walk))
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

fn page_facts<S: Store>(engine: &Engine<S>, id: PageId) -> Result<Result<Facts, String>, S::Error> {
    engine.retrying(|guard| {
        let chain = match engine.table.load(id, guard) {
            Word::Resident(chain) => chain,
            Word::Disk(_) => return Err(crate::engine::Away(id)),
            other => return Ok(Err(format!("it is not a live page: {other:?} (I12)"))),
        };
        let base = Base::new(chain.base());
        if let Err(what) = delta::check(base) {
            return Ok(Err(what.to_string()));
        }
        let absorbed: Vec<PageId> = base.absorbed().collect();
        let (bytes, area) = (chain.page().size_bytes(), chain.page().area().0);
        let most = engine.limits.largest_page(&base.shape(&absorbed));
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
