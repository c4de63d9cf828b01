//! The catalog: tree 0, from the name of each tree to its number and root.
//!
//! Without it no tree can be opened, so it is kept twice: what is written to it is written to a
//! second tree as well, whose pages lie in other segments. Where the catalog can't be read, the
//! copy is; an opening for writing and a check make both the same again, and believe the catalog if
//! that can be read. While a store is open all of its trees are known, so then neither is needed.
//!
//! A page of a tree that it does not name is garbage; see [`crate::paging::dropped`]. So the entry
//! of a tree is written after its root is listed, and a number is never given twice as long as a
//! page has it.

use super::value::Write;
use crate::damage::{CATALOG_COPY_NAME, CATALOG_NAME};
use crate::engine::{Cursor, End, Found, Now, TreeCore, Unread};
use crate::error::{Error, Result};
use crate::paging::dropped::GivingBack;
use crate::paging::mend;
use crate::paging::recover::Counts;
use crate::paging::{CATALOG, CATALOG_COPY, DurableEngine};
use delta::Layout;
use mapping::TableFull;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use types::PageId;
use types::limits::MAX_TREE_NAME_BYTES;

/// The root of the catalog, the first page of every store.
const ROOT: PageId = PageId::new(1);

/// The root of its copy, the second one. Stores of versions that kept no copy have another page
/// there, and keep none.
const COPY_ROOT: PageId = PageId::new(2);

/// An entry: the tree's number, its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: u32,
    root: PageId,
}

/// So many dropped trees may wait for the background to give their pages back, or, in a larger
/// store, one for so many pages of it: what is given back at once costs a walk over all of them.
const MOST_WAITING: usize = 1024;
const PAGES_PER_WAITING: usize = 64;

/// How long a drop waits for its turn to give pages back before it leaves that to others.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long it sleeps between two looks whether it is its turn.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// The first byte of an entry. Earlier versions kept one of each dropped tree.
const LIVE: u8 = 1;
const DROPPED: u8 = 2;

impl Entry {
    fn encode(self) -> [u8; 9] {
        let mut out = [LIVE; 9];
        out[1..5].copy_from_slice(&self.id.to_le_bytes());
        out[5..].copy_from_slice(&self.root.number().to_le_bytes());
        out
    }

    /// `None` if it is of a tree that was dropped.
    fn decode(name: &[u8], bytes: &[u8]) -> Result<Option<Self>> {
        let damaged = || Error::Corrupt {
            what: format!("the catalog's entry for {:?} is damaged", String::from_utf8_lossy(name)),
        };
        let bytes: [u8; 9] = bytes.try_into().map_err(|_| damaged())?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let entry = Self { id: number(1), root: PageId::new(number(5)) };
        match bytes[0] {
            LIVE if entry.id != 0 && entry.root.is_some() => Ok(Some(entry)),
            DROPPED if entry.id != 0 && entry.root.is_some() => Ok(None),
            _ => Err(damaged()),
        }
    }

    fn core(self, name: &str) -> Arc<TreeCore> {
        Arc::new(TreeCore::new(self.id, self.root, Layout::Var).named(name))
    }
}

/// Names and entries as they are written.
type Raw = Vec<(Vec<u8>, Vec<u8>)>;

/// The trees of a store.
#[derive(Debug)]
pub(crate) struct Catalog {
    core: Arc<TreeCore>,
    copy: Option<Arc<TreeCore>>,
    /// Held while a tree is opened, created or dropped; no operation on a tree touches it.
    open: Mutex<Open>,
    /// Held while pages of dropped trees are given back.
    giving_back: Mutex<Option<GivingBack>>,
}

#[derive(Debug, Default)]
struct Open {
    by_name: HashMap<String, Arc<TreeCore>>,
    /// Trees that the catalog does not name any more, and that still have pages.
    dropped: Vec<Arc<TreeCore>>,
    last_id: u32,
}

impl Catalog {
    pub(crate) fn load(engine: &Arc<DurableEngine>, counts: &Counts) -> Result<Self> {
        let fresh = engine.table.id_limit() <= 1;
        if fresh {
            for (tree, root) in [(CATALOG, ROOT), (CATALOG_COPY, COPY_ROOT)] {
                let planted = engine.plant(tree, Layout::Var)?;
                debug_assert_eq!(planted, root, "these are the first pages of a store");
            }
        }
        let known = |id, root, name: &str| {
            let core = Arc::new(TreeCore::new(id, root, Layout::Var).named(name));
            core.adopt(counts.get(&id).copied().unwrap_or_default());
            engine.store.insert_tree(Arc::clone(&core));
            core
        };
        let core = known(CATALOG, ROOT, CATALOG_NAME);
        let is_copied = fresh
            || engine
                .place_without_lists(COPY_ROOT, &engine.pin())
                .is_some_and(|place| place.tree == CATALOG_COPY);
        let copy = is_copied.then(|| known(CATALOG_COPY, COPY_ROOT, CATALOG_COPY_NAME));
        let catalog = Self { core, copy, open: Mutex::default(), giving_back: Mutex::default() };
        let entries = if engine.store.read_only {
            catalog.all_entries(engine)?
        } else {
            let _at_rest = engine.store.at_rest();
            decoded(catalog.make_same(engine, |error| Err(error.of_opening()))?)?
        };
        // Every tree is known from the start: the appender may have to descend in it.
        for (name, entry) in entries.iter().filter_map(|(name, entry)| Some((name, (*entry)?))) {
            let core = entry.core(&String::from_utf8_lossy(name));
            core.adopt(counts.get(&entry.id).copied().unwrap_or_default());
            engine.store.insert_tree(core);
        }
        let garbage = garbage(engine, counts);
        if !engine.store.read_only {
            for (name, _) in entries.iter().filter(|(_, entry)| entry.is_none()) {
                catalog.write(engine, name, &Write::Remove)?;
            }
            catalog.lock().dropped = garbage;
        }
        // A number that still is on a page is not given to another tree.
        let numbers = counts.keys().copied().filter(|&id| id != CATALOG_COPY);
        catalog.lock().last_id = numbers.max().unwrap_or(0);
        Ok(catalog)
    }

    /// Gives back some of the pages of the trees that were dropped. `true` if there was nothing
    /// left to do.
    pub(crate) fn finish_drops(&self, engine: &Arc<DurableEngine>) -> Result<bool> {
        let mut work = self.giving_back.lock().unwrap_or_else(PoisonError::into_inner);
        if work.is_none() && self.lock().dropped.is_empty() {
            return Ok(true);
        }
        // Background work that has begun on one of them is over before its pages are counted.
        let _at_rest = engine.store.at_rest();
        self.give_back_some(engine, &mut work)?;
        Ok(false)
    }

    /// Called by who keeps background work from changing the shape of trees.
    fn give_back_some(
        &self,
        engine: &Arc<DurableEngine>,
        work: &mut Option<GivingBack>,
    ) -> Result<()> {
        if work.is_none() {
            let dropped = std::mem::take(&mut self.lock().dropped);
            engine.wait_for_pinned();
            *work = Some(engine.begin_to_give_back(&dropped));
        }
        if let Some(under_way) = work.as_mut()
            && engine.give_back_some(under_way)?
        {
            *work = None;
        }
        Ok(())
    }

    /// Gives pages back if too many dropped trees wait for that. Called behind every drop: trees
    /// come and go faster than one thread with many duties gives them back, and then no more of
    /// them wait, about, than twice the bound.
    ///
    /// It waits for others not without end: it may be called by a closure for which its own thread
    /// holds what is needed here. What goes wrong is for the next one to try, since the drop is
    /// done.
    pub(crate) fn keep_up(&self, engine: &Arc<DurableEngine>) {
        let most = MOST_WAITING.max(engine.table.id_limit() as usize / PAGES_PER_WAITING);
        let begun = Instant::now();
        while self.lock().dropped.len() > most && begun.elapsed() < PATIENCE {
            let turn = match self.giving_back.try_lock() {
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
                Ok(held) => Some(held),
            };
            let Some((mut work, _at_rest)) = turn.zip(engine.store.try_at_rest()) else {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            };
            if self.give_back_some(engine, &mut work).is_err() {
                return;
            }
        }
    }

    /// Gives back all pages of the trees that were dropped.
    pub(crate) fn finish_all_drops(&self, engine: &Arc<DurableEngine>) -> Result<()> {
        while !self.finish_drops(engine)? {}
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the catalog; where it is damaged, its copy.
    fn of_either<T>(&self, read: impl Fn(&TreeCore) -> Result<T>) -> Result<T> {
        match (read(&self.core), &self.copy) {
            (Err(error), Some(copy)) if error.is_damage() => read(copy).map_err(|_| error),
            (read, _) => read,
        }
    }

    /// Writes to the catalog and to its copy. What goes wrong with the copy alone is made good by
    /// the next opening.
    fn write(&self, engine: &DurableEngine, name: &[u8], write: &Write<'_>) -> Result<()> {
        super::value::write(engine, &self.core, name, write)?;
        if let Some(copy) = &self.copy {
            let _left_to_an_opening = super::value::write(engine, copy, name, write);
        }
        Ok(())
    }

    /// Makes the catalog whole again where it, or its copy, or both are damaged. Called by who
    /// keeps background work from changing the shape of trees. Beside a thread that opens, makes or
    /// drops a tree nothing happens: it may wait for what the caller holds.
    pub(crate) fn mend(&self, engine: &DurableEngine) -> Result<()> {
        let Ok(_nobody_opens) = self.open.try_lock() else { return Ok(()) };
        let known = || {
            let live = engine.store.trees.iter().filter(|tree| !tree.is_dropped());
            let live = live.filter(|tree| ![CATALOG, CATALOG_COPY].contains(&tree.id));
            let entry = |tree: &TreeCore| Entry { id: tree.id, root: tree.root }.encode().to_vec();
            let mut all: Raw =
                live.map(|tree| (tree.name.as_bytes().to_vec(), entry(&tree))).collect();
            all.sort_unstable();
            all
        };
        self.make_same(engine, |_| Ok(known())).map(drop)
    }

    /// Makes catalog and copy the same, and says what is in both; `known` says what was, if neither
    /// can be read. Nobody else uses them, and background work changes no tree.
    fn make_same(
        &self,
        engine: &DurableEngine,
        known: impl FnOnce(Error) -> Result<Raw>,
    ) -> Result<Raw> {
        let read = |core| Self::read_all(engine, core);
        let catalog = read(&self.core);
        let copy = self.copy.as_ref().map(|copy| (copy, read(copy)));
        let whole = match (&catalog, &copy) {
            (Ok(whole), _) => whole.clone(),
            (Err(error), Some((_, Ok(whole)))) if error.is_damage() => whole.clone(),
            (Err(error), _) if error.is_damage() => known(error.clone())?,
            (Err(error), _) => return Err(error.clone()),
        };
        for (core, there) in copy.into_iter().chain([(&self.core, catalog)]) {
            let there = match Self::mend_leaves(engine, core, there, &whole) {
                // It can't be made whole now; it is known what should be in it.
                Err(error) if error.is_damage() => continue,
                there => there?,
            };
            if there == whole {
                continue;
            }
            for (name, _) in there.iter().filter(|entry| whole.binary_search(entry).is_err()) {
                super::value::write(engine, core, name, &Write::Remove)?;
            }
            for (name, value) in whole.iter().filter(|entry| there.binary_search(entry).is_err()) {
                super::value::write(engine, core, name, &Write::Inline(value))?;
            }
        }
        Ok(whole)
    }

    /// What a tree has when its damaged leaves have what they should; `read` is what it had. No
    /// commit has one without its entries, which an opening would believe.
    fn mend_leaves(
        engine: &DurableEngine,
        core: &TreeCore,
        mut read: Result<Raw>,
        whole: &Raw,
    ) -> Result<Raw> {
        let entries: Vec<_> =
            whole.iter().map(|(name, value)| delta::Entry::new(name, value)).collect();
        loop {
            let error = match read {
                Err(error) if error.is_damage() => error,
                read => return read,
            };
            let Error::Damaged { found } = &error else { return Err(error) };
            let page = found[0].page();
            let mended = mend::give_up(engine, core, page, error.clone(), &entries, |_, _| true)?;
            if mended.is_none() {
                return Err(error);
            }
            read = Self::read_all(engine, core);
        }
    }

    /// What each name has; nothing, if an earlier version has dropped its tree.
    fn all_entries(&self, engine: &DurableEngine) -> Result<Vec<(Vec<u8>, Option<Entry>)>> {
        decoded(self.of_either(|core| Self::read_all(engine, core))?)
    }

    fn read_all(engine: &DurableEngine, core: &TreeCore) -> Result<Raw> {
        let all = Unread::of((Bound::Unbounded, Bound::Unbounded), Layout::Var);
        let mut cursor = Cursor::new(all, false);
        let mut entries = Vec::new();
        let keep = |found: Found<'_>| found.value.to_vec();
        while let Some((name, value)) = cursor.next(
            End::First,
            |unread, wish| engine.scan_page(core, (unread, Now), wish, keep),
            keep,
            |key, value| (key.to_vec(), value),
        )? {
            entries.push((name, value));
        }
        Ok(entries)
    }

    fn entries(&self, engine: &DurableEngine) -> Result<Vec<(String, Entry)>> {
        let live = |(name, entry): (Vec<u8>, Option<Entry>)| {
            Some((String::from_utf8_lossy(&name).into_owned(), entry?))
        };
        Ok(self.all_entries(engine)?.into_iter().filter_map(live).collect())
    }

    fn read(&self, engine: &DurableEngine, name: &str) -> Result<Option<Entry>> {
        let name = name.as_bytes();
        let value = self.of_either(|core| {
            engine.read(core, name, |found| found.map(|found| found.value.to_vec()))
        })?;
        value.map_or(Ok(None), |value| Entry::decode(name, &value))
    }

    /// The tree of this name, created if need be.
    pub(crate) fn open(&self, engine: &Arc<DurableEngine>, name: &str) -> Result<Arc<TreeCore>> {
        if name.is_empty() || name.len() > MAX_TREE_NAME_BYTES {
            return Err(Error::TreeName { len: name.len() });
        }
        let mut open = self.lock();
        if let Some(core) = open.by_name.get(name) {
            return Ok(Arc::clone(core));
        }
        let core = match self.read(engine, name)? {
            Some(entry) => Self::known(engine, name, entry),
            None if engine.store.read_only => {
                return Err(Error::NoSuchTree { name: name.into() });
            }
            None => {
                engine.store.check()?;
                let id = Self::unused_number(engine, open.last_id)?;
                let entry = Entry { id, root: engine.plant(id, Layout::Var)? };
                open.last_id = id;
                let core = Self::known(engine, name, entry);
                let put = entry.encode();
                let written = self.write(engine, name.as_bytes(), &Write::Inline(&put));
                if let Err(error) = written {
                    core.set_dropped();
                    open.dropped.push(core);
                    return Err(error);
                }
                core
            }
        };
        open.by_name.insert(name.into(), Arc::clone(&core));
        Ok(core)
    }

    /// The tree of this name, if there is one.
    pub(crate) fn find(
        &self,
        engine: &Arc<DurableEngine>,
        name: &str,
    ) -> Result<Option<Arc<TreeCore>>> {
        let mut open = self.lock();
        if let Some(core) = open.by_name.get(name) {
            return Ok(Some(Arc::clone(core)));
        }
        let Some(entry) = self.read(engine, name)? else {
            return Ok(None);
        };
        let core = Self::known(engine, name, entry);
        open.by_name.insert(name.into(), Arc::clone(&core));
        Ok(Some(core))
    }

    /// A number behind `last` that no tree has, dropped ones that still have pages among them; from
    /// 1 on again behind the highest.
    fn unused_number(engine: &DurableEngine, last: u32) -> Result<u32> {
        let numbers = (last + 1..CATALOG_COPY).chain(1..=last.min(CATALOG_COPY - 1));
        let mut unused = numbers.filter(|id| !engine.store.trees.contains_key(id));
        // Each has a page, so there is no room for as many.
        Ok(unused.next().ok_or(TableFull)?)
    }

    fn known(engine: &DurableEngine, name: &str, entry: Entry) -> Arc<TreeCore> {
        Arc::clone(&engine.store.trees.entry(entry.id).or_insert_with(|| entry.core(name)))
    }

    /// The names of the trees, in order.
    pub(crate) fn names(&self, engine: &DurableEngine) -> Result<Vec<String>> {
        Ok(self.entries(engine)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Name and core of every tree.
    pub(crate) fn trees(&self, engine: &DurableEngine) -> Result<Vec<(String, Arc<TreeCore>)>> {
        let named = |(name, entry): (String, Entry)| {
            let core = Self::known(engine, &name, entry);
            (name, core)
        };
        Ok(self.entries(engine)?.into_iter().map(named).collect())
    }

    /// The catalog and its copy as trees.
    pub(crate) fn cores(&self) -> impl Iterator<Item = &TreeCore> {
        [Some(&self.core), self.copy.as_ref()].into_iter().flatten().map(|core| &**core)
    }

    /// Drops the tree of this name: takes its entry out, and leaves its pages to
    /// [`finish_drops`](Self::finish_drops).
    pub(crate) fn remove(&self, engine: &Arc<DurableEngine>, name: &str) -> Result<bool> {
        let mut open = self.lock();
        let Some(entry) = self.read(engine, name)? else { return Ok(false) };
        engine.store.check()?;
        if engine.store.read_only {
            return Err(Error::ReadOnly);
        }
        let core = Self::known(engine, name, entry);
        // First, so that no write is accepted that the drop, once durable, takes away.
        core.set_dropped();
        if let Err(error) = self.write(engine, name.as_bytes(), &Write::Remove) {
            core.set_live();
            return Err(error);
        }
        open.by_name.remove(name);
        open.dropped.push(core);
        Ok(true)
    }
}

/// What each name has.
fn decoded(raw: Raw) -> Result<Vec<(Vec<u8>, Option<Entry>)>> {
    let decode = |(name, value): (Vec<u8>, Vec<u8>)| {
        let entry = Entry::decode(&name, &value)?;
        Ok((name, entry))
    };
    raw.into_iter().map(decode).collect()
}

/// What recovery has found of trees that the catalog does not name: a crash has cut short that they
/// were dropped, or made.
fn garbage(engine: &DurableEngine, counts: &Counts) -> Vec<Arc<TreeCore>> {
    let mut garbage = Vec::new();
    for &id in counts.keys().filter(|&&id| !engine.store.trees.contains_key(&id)) {
        let core = Entry { id, root: PageId::NONE }.core("");
        core.set_dropped();
        engine.store.insert_tree(Arc::clone(&core));
        garbage.push(core);
    }
    garbage
}

#[cfg(test)]
mod tests;
