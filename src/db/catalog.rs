//! The catalog: tree 0, from the name of each tree to its number and root.

use super::value::Write;
use crate::engine::{Cursor, End, Found, Now, TreeCore, Unread};
use crate::error::{Error, Result};
use crate::paging::DurableEngine;
use crate::paging::recover::Counts;
use delta::Layout;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use types::PageId;
use types::limits::MAX_TREE_NAME_BYTES;

/// The root of the catalog, the first page of every store.
const ROOT: PageId = PageId::new(1);

/// An entry: its state, the tree's number, its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    live: bool,
    id: u32,
    root: PageId,
}

impl Entry {
    fn encode(self) -> [u8; 9] {
        let mut out = [0; 9];
        out[0] = if self.live { 1 } else { 2 };
        out[1..5].copy_from_slice(&self.id.to_le_bytes());
        out[5..].copy_from_slice(&self.root.number().to_le_bytes());
        out
    }

    fn decode(name: &[u8], bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::Corrupt {
            what: format!("the catalog's entry for {:?} is damaged", String::from_utf8_lossy(name)),
        };
        let bytes: [u8; 9] = bytes.try_into().map_err(|_| damaged())?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let entry = Self { live: bytes[0] == 1, id: number(1), root: PageId::new(number(5)) };
        let known = matches!(bytes[0], 1 | 2);
        if known && entry.id != 0 && entry.root.is_some() { Ok(entry) } else { Err(damaged()) }
    }
}

/// The trees of a store.
#[derive(Debug)]
pub(crate) struct Catalog {
    core: Arc<TreeCore>,
    /// Held while a tree is opened, created or dropped; no operation on a tree touches it.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Trees that were dropped and still have entries: a crash cut the dropping short.
    unfinished: Vec<String>,
    by_name: HashMap<String, Arc<TreeCore>>,
    counts: Counts,
    last_id: u32,
}

impl Catalog {
    pub(crate) fn load(engine: &Arc<DurableEngine>, counts: Counts) -> Result<Self> {
        let fresh = engine.table.id_limit() <= 1;
        let root = if fresh { engine.plant(0, Layout::Var)? } else { ROOT };
        let core = Arc::new(TreeCore::new(0, root, Layout::Var));
        core.count(counts.get(&0).copied().unwrap_or(0));
        engine.store.trees.insert(0, Arc::clone(&core));
        let catalog = Self { core, open: Mutex::default() };
        let entries = catalog.entries(engine)?;
        let last_id = entries.iter().map(|(_, entry)| entry.id).max().unwrap_or(0);
        // Every tree is known from the start: the appender may have to descend in it.
        for (_, entry) in &entries {
            let core = Arc::new(TreeCore::new(entry.id, entry.root, Layout::Var));
            core.count(counts.get(&entry.id).copied().unwrap_or(0));
            engine.store.trees.insert(entry.id, core);
        }
        let left = |entry: &Entry| !entry.live && Self::known(engine, *entry).len() > 0;
        let unfinished = entries.iter().filter(|(_, entry)| left(entry));
        let unfinished =
            unfinished.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        *catalog.lock() = Open { unfinished, by_name: HashMap::new(), counts, last_id };
        Ok(catalog)
    }

    /// Goes on with droppings that a crash has cut short, up to so many entries. `true` if there
    /// was nothing left to do. A tree whose name was used again meanwhile is another's. One with a
    /// page that cannot be read keeps what is left of it until the next opening.
    pub(crate) fn finish_drops(&self, engine: &Arc<DurableEngine>, most: usize) -> Result<bool> {
        let mut open = self.lock();
        let Some(name) = open.unfinished.last().cloned() else { return Ok(true) };
        let dropped = self.read(engine, &name)?.filter(|entry| !entry.live);
        let done = match dropped {
            Some(entry) => {
                match super::value::clear_some(engine, &Self::known(engine, entry), most) {
                    Err(error) if error.is_damage() => true,
                    cleared => cleared?,
                }
            }
            None => true,
        };
        if done {
            open.unfinished.pop();
        }
        Ok(false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self, engine: &DurableEngine) -> Result<Vec<(Vec<u8>, Entry)>> {
        let all = Unread::of((Bound::Unbounded, Bound::Unbounded), Layout::Var);
        let mut cursor = Cursor::new(all, false);
        let mut entries = Vec::new();
        let keep = |found: Found<'_>| found.value.to_vec();
        while let Some((name, value)) = cursor.next(
            End::First,
            |unread, wish| engine.scan_page(&self.core, (unread, Now), wish, keep),
            keep,
            |key, value| (key.to_vec(), value),
        )? {
            let entry = Entry::decode(&name, &value)?;
            entries.push((name, entry));
        }
        Ok(entries)
    }

    fn read(&self, engine: &DurableEngine, name: &str) -> Result<Option<Entry>> {
        let name = name.as_bytes();
        let value = engine.read(&self.core, name, |found| found.map(|f| f.value.to_vec()))?;
        value.map(|value| Entry::decode(name, &value)).transpose()
    }

    fn write(&self, engine: &DurableEngine, name: &str, entry: Entry) -> Result<()> {
        let value = entry.encode();
        let written =
            super::value::write(engine, &self.core, name.as_bytes(), &Write::Inline(&value))?;
        debug_assert!(written.is_ok(), "the catalog is never dropped");
        Ok(())
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
        let entry = self.read(engine, name)?;
        let core = match entry {
            Some(entry) if entry.live => Self::known(engine, entry),
            _ if engine.store.read_only => {
                return Err(Error::NoSuchTree { name: name.into() });
            }
            Some(dropped) => {
                // The name is used again, and so is what is left of its tree.
                let core = Arc::new(TreeCore::new(dropped.id, dropped.root, Layout::Var));
                let left = Self::known(engine, dropped).len();
                core.count(left as i64);
                engine.store.trees.insert(dropped.id, Arc::clone(&core));
                super::value::clear(engine, &core)?;
                self.write(engine, name, Entry { live: true, ..dropped })?;
                core
            }
            None => {
                engine.store.check()?;
                let id = open.last_id + 1;
                let root = engine.plant(id, Layout::Var)?;
                let core = Arc::new(TreeCore::new(id, root, Layout::Var));
                engine.store.trees.insert(id, Arc::clone(&core));
                open.last_id = id;
                self.write(engine, name, Entry { live: true, id, root })?;
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
        let Some(entry) = self.read(engine, name)?.filter(|entry| entry.live) else {
            return Ok(None);
        };
        let core = Self::known(engine, entry);
        open.by_name.insert(name.into(), Arc::clone(&core));
        Ok(Some(core))
    }

    fn known(engine: &DurableEngine, entry: Entry) -> Arc<TreeCore> {
        let fresh = || Arc::new(TreeCore::new(entry.id, entry.root, Layout::Var));
        Arc::clone(&engine.store.trees.entry(entry.id).or_insert_with(fresh))
    }

    /// The names of the trees, in order.
    pub(crate) fn names(&self, engine: &DurableEngine) -> Result<Vec<String>> {
        let live = self.entries(engine)?.into_iter().filter(|(_, entry)| entry.live);
        Ok(live.map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect())
    }

    /// Number, name and core of every live tree.
    pub(crate) fn trees(&self, engine: &DurableEngine) -> Result<Vec<(String, Arc<TreeCore>)>> {
        let live = self.entries(engine)?.into_iter().filter(|(_, entry)| entry.live);
        let named = |(name, entry): (Vec<u8>, Entry)| {
            (String::from_utf8_lossy(&name).into_owned(), Self::known(engine, entry))
        };
        Ok(live.map(named).collect())
    }

    /// The catalog as a tree.
    pub(crate) fn core(&self) -> &TreeCore {
        &self.core
    }

    /// Drops the tree of this name.
    ///
    /// Its root stays with its name: if the name is used again, so is the root. No write of an old
    /// handle can land there: each attempt looks at the tree's flag under its pin, and the name is
    /// given back only when all who were pinned before the flag was set are gone.
    pub(crate) fn remove(&self, engine: &Arc<DurableEngine>, name: &str) -> Result<bool> {
        let mut open = self.lock();
        let Some(entry) = self.read(engine, name)?.filter(|entry| entry.live) else {
            return Ok(false);
        };
        engine.store.check()?;
        if engine.store.read_only {
            return Err(Error::ReadOnly);
        }
        let old = Self::known(engine, entry);
        old.set_dropped();
        open.by_name.remove(name);
        wait_for_pinned(engine);
        let core = Arc::new(TreeCore::new(entry.id, entry.root, Layout::Var));
        core.count(old.len() as i64);
        engine.store.trees.insert(entry.id, Arc::clone(&core));
        self.write(engine, name, Entry { live: false, ..entry })?;
        super::value::clear(engine, &core)?;
        open.counts.remove(&entry.id);
        Ok(true)
    }
}

/// Returns when everybody who is pinned now has unpinned. Only who drops a tree waits so.
fn wait_for_pinned(engine: &DurableEngine) {
    let (done, waiting) = std::sync::mpsc::channel();
    engine.pin().defer(move || {
        let _gone = done.send(());
    });
    loop {
        engine.pin().flush();
        if waiting.recv_timeout(std::time::Duration::from_millis(1)).is_ok() {
            return;
        }
    }
}
