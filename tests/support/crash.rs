//! What a store holds after a crash is exactly one of the states it may hold, and it goes on.
//!
//! [`Images`] takes crash images of a simulated disk, opens each of them, compares what is there
//! with the allowed states, verifies, cuts the recovery itself, and writes on.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bwtree::io::{Disk, SimDisk};
use bwtree::{Bytes, Db, SyncPolicy};

use crate::random::Random;

/// The entries of a tree.
pub type Entries = BTreeMap<Vec<u8>, Bytes>;
/// The trees of a store, by name.
pub type Contents = BTreeMap<String, Entries>;

/// The text of any error.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Opens a store of tiny pages on this disk, without background threads.
///
/// # Errors
///
/// What the store says.
pub fn open(disk: Arc<dyn Disk>) -> bwtree::Result<Db> {
    Db::builder("").tiny().without_background().sync_policy(SyncPolicy::Manual).open_on(disk)
}

/// All that a store holds.
///
/// # Errors
///
/// If anything can't be read, or a tree's `len` is wrong.
pub fn contents(db: &Db) -> Result<Contents, String> {
    let mut all = Contents::new();
    for name in db.tree_names().map_err(text)? {
        let tree = db.find_tree(&name).map_err(text)?.ok_or("a listed tree is not found")?;
        // As the log counts them: pages that are read are counted then.
        let counted = tree.len();
        let mut entries = Entries::new();
        for entry in &tree {
            let (key, value) = entry.map_err(text)?;
            if let Some(twice) = entries.insert(key.to_vec(), value) {
                return Err(format!("tree {name:?} has {key:?} twice, {} bytes", twice.len()));
            }
        }
        if [counted, tree.len()] != [entries.len() as u64; 2] {
            let (read, all) = (tree.len(), entries.len());
            return Err(format!("tree {name:?}: len {counted}, then {read}, entries {all}"));
        }
        all.insert(name, entries);
    }
    Ok(all)
}

/// Whether a store that was opened, and gave back what a crash had left of dropped trees, has no
/// page but those of its trees and its catalog.
///
/// # Errors
///
/// What else there is, or is wrong.
fn nothing_else(db: &Db) -> Result<(), String> {
    let report = db.verify().map_err(|e| format!("verify: {e}"))?;
    let pages = db.stats().pages;
    if report.dropped_pages > 0 || pages != report.pages + report.catalog_pages {
        return Err(format!("{pages} pages, and the trees have fewer: {report:?}"));
    }
    Ok(())
}

/// Where two stores differ first, in words.
#[must_use]
pub fn difference(found: &Contents, wanted: &Contents) -> String {
    let names = |all: &Contents| all.keys().cloned().collect::<Vec<_>>();
    if names(found) != names(wanted) {
        return format!("trees {:?}, wanted {:?}", names(found), names(wanted));
    }
    let mut differences = Vec::new();
    for (name, wanted) in wanted {
        let found = &found[name];
        let keys: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
        for key in keys {
            let (has, wants) = (found.get(key), wanted.get(key));
            if has != wants {
                let short = |value: Option<&Bytes>| {
                    value.map(|v| format!("{} bytes {:?}", v.len(), &v[..v.len().min(8)]))
                };
                differences.push(format!(
                    "{name}/{}: {:?}, wanted {:?}",
                    String::from_utf8_lossy(key),
                    short(has),
                    short(wants)
                ));
            }
        }
    }
    let count = differences.len();
    differences.truncate(6);
    format!("{count} entries differ: {}", differences.join("; "))
}

/// The images that were checked.
#[derive(Debug)]
pub struct Images {
    random: Random,
    seen: HashSet<u64>,
    /// Images that were taken, the same ones again among them.
    pub taken: u64,
    /// Acknowledged writes that were looked for and found, over all distinct images.
    pub acknowledged: u64,
    /// Recoveries that were cut.
    pub nested: u64,
}

impl Images {
    /// No images yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        Self { random, seen: HashSet::new(), taken: 0, acknowledged: 0, nested: 0 }
    }

    /// Distinct images that were checked.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Takes `random` crash images of `disk` and three special ones (all of the unsynced kept, all
    /// of it dropped, a killed process), and checks each that was not seen before.
    ///
    /// # Errors
    ///
    /// What is wrong with the first bad one.
    pub fn check(
        &mut self,
        disk: &SimDisk,
        allowed: &[Contents],
        acknowledged: u64,
        random: usize,
    ) -> Result<(), String> {
        let mut images =
            vec![disk.crash(&mut |_| 0), disk.crash(&mut |choices| choices - 1), disk.kill()];
        for _ in 0..random {
            images.push(disk.crash(&mut |choices| self.random.below(choices)));
        }
        for image in images {
            self.taken += 1;
            if self.is_new(&image) {
                self.acknowledged += acknowledged;
                self.image(&image, allowed)?;
            }
        }
        Ok(())
    }

    fn is_new(&mut self, image: &SimDisk) -> bool {
        let mut hasher = DefaultHasher::new();
        for (name, bytes) in image.files() {
            name.hash(&mut hasher);
            bytes.hash(&mut hasher);
        }
        self.seen.insert(hasher.finish())
    }

    /// Checks one image.
    fn image(&mut self, image: &SimDisk, allowed: &[Contents]) -> Result<(), String> {
        let disk = image.kill();
        let db = open(Arc::new(disk.clone())).map_err(|e| format!("recovery: {e}"))?;
        let changes = disk.changes();
        let found = contents(&db)?;
        if !allowed.contains(&found) {
            let last = allowed.last().map(|state| difference(&found, state));
            let first = allowed.first().map(|state| difference(&found, state));
            return Err(format!("none of {} states: {first:?} / {last:?}", allowed.len()));
        }
        nothing_else(&db).map_err(|e| format!("after recovery: {e}"))?;
        self.goes_on(&disk, &db, found.clone())?;
        // The process dies without closing.
        disk.cut_power_after(0);
        drop(db);
        self.cut_recovery(image, changes, &found, 2)
    }

    /// Cuts the power during the recovery of an image, and that of what is left again: whatever
    /// was found once must be found ever after.
    fn cut_recovery(
        &mut self,
        image: &SimDisk,
        changes: u64,
        found: &Contents,
        levels: u32,
    ) -> Result<(), String> {
        let disk = image.kill();
        disk.cut_power_after(self.random.below(changes + 1));
        drop(open(Arc::new(disk.clone())));
        disk.cut_power_after(0);
        let after = disk.crash(&mut |choices| self.random.below(choices));
        self.taken += 1;
        if !self.is_new(&after) {
            return Ok(());
        }
        self.nested += 1;
        let disk = after.kill();
        let db = open(Arc::new(disk.clone())).map_err(|e| format!("second recovery: {e}"))?;
        let changes = disk.changes();
        let again = contents(&db)?;
        if again != *found {
            return Err(format!("a cut recovery has changed it: {}", difference(&again, found)));
        }
        nothing_else(&db).map_err(|e| format!("after a cut recovery: {e}"))?;
        disk.cut_power_after(0);
        drop(db);
        if levels > 1 && self.random.once_in(2) {
            return self.cut_recovery(&after, changes, found, levels - 1);
        }
        Ok(())
    }

    /// The store takes writes, syncs them, and has them after the next crash.
    fn goes_on(&mut self, disk: &SimDisk, db: &Db, mut now: Contents) -> Result<(), String> {
        let name = ["a", "b", "z"][self.random.index(3)];
        let tree = db.tree(name).map_err(text)?;
        let entries = now.entry(name.to_owned()).or_default();
        for _ in 0..self.random.below(30) {
            let key = format!("k{:03}", self.random.below(160)).into_bytes();
            if self.random.once_in(2) {
                let had = tree.delete(&key).map_err(text)?;
                if had != entries.remove(&key).is_some() {
                    return Err(format!("delete {key:?} after recovery says {had}"));
                }
            } else {
                let value = Bytes::from(vec![7; self.random.index(90)]);
                tree.put(&key, value.clone()).map_err(text)?;
                entries.insert(key, value);
            }
        }
        match self.random.below(4) {
            0 => db.checkpoint().map_err(text)?,
            1 => drop(db.clean(bwtree::CleanOptions::default()).map_err(text)?),
            _ => {}
        }
        db.sync().map_err(|e| format!("sync after recovery: {e}"))?;
        let after = disk.crash(&mut |choices| choices - 1);
        let db = open(Arc::new(after.clone())).map_err(|e| format!("reopening: {e}"))?;
        let found = contents(&db)?;
        if found != now {
            return Err(format!("written after recovery: {}", difference(&found, &now)));
        }
        nothing_else(&db).map_err(|e| format!("after going on: {e}"))?;
        after.cut_power_after(0);
        Ok(())
    }
}
