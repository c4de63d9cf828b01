//! The check of all that a store holds.
//!
//! First every part of every page is read from the log, then every tree is walked, then every id
//! that was ever given out is accounted for (I12). It is
//!
//! - *reached* by a walk, or of a tree that was dropped, and waits to be given back; or
//! - *merged*: its page was merged away, and it waits for a commit that knows so; or
//! - *free*; or
//! - *lost*, which is damage: the log or the memory has a page of it that nobody can come to.

use super::Db;
use super::lost::{Owner, lost, owner};
use super::value::Read;
use crate::damage::{Damage, Remedy};
use crate::engine::TreeCore;
use crate::error::{Error, Result};
use crate::paging::parts::Parts;
use crate::paging::{DurableEngine, Place, fetch, mend, values};
use crate::verify::{Fault, Reached, Walk, check_tree};
use delta::{FLAG_SEPARATED, Hashed};
use std::collections::BTreeMap;
use types::{Address, PageId};

/// What [`Db::verify`] has checked.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Trees.
    pub trees: u64,
    /// Pages of the trees.
    pub pages: u64,
    /// Pages of the catalog of trees, and of its copy.
    pub catalog_pages: u64,
    /// Pages of trees that were dropped, which wait to be given back.
    pub dropped_pages: u64,
    /// Pages that were merged away, whose ids wait for a commit.
    pub merged_pages: u64,
    /// Ids that can name new pages.
    pub free_ids: u64,
    /// Entries of the trees.
    pub entries: u64,
    /// Levels of the deepest tree.
    pub depth: u32,
    /// Bytes of the largest page that was found, its delta area included.
    pub largest_page: u64,
    /// Bytes of parts whose checksums were compared.
    pub part_bytes: u64,
}

/// Pages of which the log does not give back what was written, and what is wrong with them.
type Unsound = BTreeMap<PageId, Vec<Damage>>;

pub(super) fn verify(db: &Db) -> Result<VerifyReport> {
    let (engine, catalog) = (&db.inner.engine, &db.inner.catalog);
    let mut found = check_files(engine)?;
    let mut report = VerifyReport::default();
    // Half of the work, beside the cleaner: what was bad may have been given up since.
    let ids = all_ids(engine).map(|id| engine.store.check_open().map(|()| id));
    let bad = check_parts(engine, ids, &mut report)?.into_keys().map(Ok);
    let _at_rest = engine.store.at_rest();
    let mut unsound = check_parts(engine, bad, &mut VerifyReport::default())?;
    let can_write = engine.store.can_write();
    if can_write && unsound.values().flatten().any(|damage| damage.is_of_catalog) {
        catalog.mend(engine)?;
    }
    found.extend(in_memory(engine, &mut unsound));
    let mut miscounts = BTreeMap::new();
    let mut reached = Reached::default();
    let mut walk = |core: &TreeCore| -> Result<Walk> {
        let walk = look_twice(engine, core, &unsound, &mut reached)?;
        report.largest_page = report.largest_page.max(walk.largest_page);
        let damage = |page: PageId, what: String| Damage {
            tree: core.name.to_string(),
            file: None,
            offset: None,
            ..mend::damage_of(engine, page, &Error::Corrupt { what })
        };
        for fault in &walk.faults {
            let of_parts = unsound.remove(&fault.page).unwrap_or_default();
            let known = !of_parts.is_empty();
            found.extend(of_parts.into_iter().map(|of_part| {
                let of_part = Damage { tree: core.name.to_string(), ..of_part };
                match (fault.is_inner, &of_part.keys) {
                    (true, _) => {
                        let rebuilt =
                            "; it is an inner page, and was rebuilt from the pages below it";
                        let remedy = if can_write { Remedy::Mended } else { Remedy::Unknown };
                        Damage { what: of_part.what + rebuilt, remedy, ..of_part }
                    }
                    (false, None) => of_part.with_keys(fault.first.clone(), fault.end.clone()),
                    (false, Some(_)) => of_part,
                }
            }));
            if let Some(what) = fault.what.as_ref().filter(|_| !known) {
                let damage = damage(fault.page, format!("page {}: {what}", fault.page));
                found.push(damage.with_keys(fault.first.clone(), fault.end.clone()));
            }
        }
        if let Some(what) = &walk.miscount {
            miscounts.insert(core.id, damage(core.root, what.clone()));
        }
        Ok(walk)
    };
    let mut catalog_pages = 0;
    for core in catalog.cores() {
        catalog_pages += walk(core)?.pages;
    }
    for (_, core) in catalog.trees(engine)? {
        let Walk { pages, entries, depth, .. } = walk(&core)?;
        report.trees += 1;
        report.pages += pages;
        report.entries += entries;
        report.depth = report.depth.max(depth);
    }
    report.catalog_pages = catalog_pages;
    let mut suspects = Vec::new();
    for id in all_ids(engine).filter(|id| !reached.contains(*id)) {
        match owner(engine, id) {
            Owner::Merged => report.merged_pages += 1,
            Owner::Nobody => report.free_ids += 1,
            Owner::Dropped => report.dropped_pages += 1,
            Owner::Tree(_) => suspects.push(id),
        }
    }
    for id in lost(db, suspects)? {
        let Owner::Tree(tree) = owner(engine, id) else { continue };
        engine.store.strays().insert(id);
        // It counts the entries of these.
        miscounts.remove(&tree.unwrap_or_default());
        let what = format!("page {id} is not reached from any other (I12); cleaning gives it back");
        let of_page = mend::damage_of(engine, id, &Error::Corrupt { what: what.clone() });
        let of_parts = unsound.remove(&id).unwrap_or_default().into_iter();
        let remedy = Remedy::Cleaning;
        let mut of_parts = of_parts.map(|damage| Damage {
            what: format!("{}; {what}", damage.what),
            remedy,
            ..damage
        });
        let first =
            of_parts.next().unwrap_or(Damage { file: None, offset: None, remedy, ..of_page });
        found.push(first);
        found.extend(of_parts);
    }
    found.extend(miscounts.into_values());
    let of_opening = check_opening(engine)?;
    let is_openable = of_opening.is_empty();
    found.extend(of_opening);
    if found.is_empty() {
        if !engine.store.read_only {
            // What was written and is not durable is lost, whatever the check has found.
            engine.store.check()?;
        }
        return Ok(report);
    }
    if can_write {
        // What was made anew is to be found whole the next time. What goes wrong with that a later
        // commit does again.
        let written = if is_openable { engine.commit_for_buried() } else { engine.checkpoint() };
        if written.is_err() {
            let mended = found.iter_mut().filter(|damage| damage.remedy == Remedy::Mended);
            mended.for_each(|damage| damage.remedy = Remedy::Unknown);
        }
    }
    Err(Error::Damaged { found: found.into() })
}

/// Looks whether the files are as the store has left them. What was removed while it was open is
/// saved, as far as it is open still; that of which more is lost is found by its parts.
pub(super) fn check_files(engine: &DurableEngine) -> Result<Vec<Damage>> {
    let changed = engine.store.log.check_files()?;
    let removed = changed.iter().filter(|file| file.is_removed);
    let removed: Vec<u32> = removed.map(|file| file.segment).collect();
    let can_write = engine.store.can_write();
    if can_write && !removed.is_empty() {
        engine.save_from(&removed)?;
        // Chunks of the table leave with it.
        engine.checkpoint()?;
    }
    let damage = |file: lss::ChangedFile| {
        let found = mend::damage_of(engine, PageId::NONE, &Error::from(file.found));
        let done = match (file.is_removed, can_write) {
            (true, true) => "what could be read of it was moved to other files",
            (true, false) => "what is in it can be read for as long as this store is open",
            (false, _) => "what was lost of it is found by itself",
        };
        let remedy = if can_write { Remedy::Mended } else { Remedy::Unknown };
        Damage { what: format!("{}; {done}", found.what), remedy, ..found }
    };
    Ok(changed.into_iter().map(damage).collect())
}

/// After files were cut short, or removed, writes anew what is lost with them and is in memory, and
/// what an opening would miss of them. Nobody reads that before, and the next opening may be
/// refused for it.
pub(super) fn make_openable(engine: &DurableEngine) -> Result<()> {
    let log = &engine.store.log;
    let harmed = log.take_harmed();
    if harmed.is_empty() {
        return Ok(());
    }
    let make = || {
        let is_harmed = |id: &PageId| {
            let place = engine.place(*id, &engine.pin());
            place.is_some_and(|it| it.addresses().any(|part| harmed.contains(&part.segment)))
        };
        let ids = all_ids(engine).filter(is_harmed);
        let mut unsound = check_parts(engine, ids.map(Ok), &mut VerifyReport::default())?;
        in_memory(engine, &mut unsound);
        check_opening(engine)?;
        engine.checkpoint()
    };
    make().inspect_err(|_| log.put_back_harmed(harmed))
}

/// Takes what is in memory of pages, and of values: nothing of it is lost, and it is written anew.
fn in_memory(engine: &DurableEngine, unsound: &mut Unsound) -> Vec<Damage> {
    let told = |damage: Damage| {
        let what = damage.what + "; it is in memory, and is written anew";
        Damage { keys: None, what, remedy: Remedy::Mended, ..damage }
    };
    // Values that lie apart need not be in memory with their page.
    let is_there = |page: PageId, damage: &Damage| {
        let Some(keys) = &damage.keys else { return true };
        let tree = engine.place(page, &engine.pin()).and_then(|place| engine.tree(place.tree));
        let key = Hashed::new(&keys.first);
        let read = tree.map(|tree| engine.read(&tree, key, |found| found.map(Read::of)));
        matches!(read, Some(Ok(Some(Read::Separated(value)))) if value.is_in_memory())
    };
    let mut taken = Vec::new();
    unsound.retain(|id, of_page| {
        if engine.write_again(*id) {
            let there = of_page.extract_if(.., |damage| is_there(*id, damage));
            taken.extend(there.map(told));
        }
        !of_page.is_empty()
    });
    taken
}

/// Checks what an opening after a crash would read: both places of everything that says where the
/// pages are, and the frames behind the checkpoint. Damage there costs nothing while the store is
/// open, and a checkpoint writes all of it anew.
fn check_opening(engine: &DurableEngine) -> Result<Vec<Damage>> {
    let _no_checkpoint = engine.store.checkpointing();
    let can_write = engine.store.can_write();
    let remedy = if can_write { Remedy::Mended } else { Remedy::Unknown };
    let damage_of = |error: lss::Error| Damage {
        remedy,
        ..mend::damage_of(engine, PageId::NONE, &Error::from(error))
    };
    let bad = engine.store.log.check_chunks()?;
    let chunks: Vec<u32> = bad.iter().filter_map(|(chunk, _)| *chunk).collect();
    engine.write_whole(&chunks);
    let of_chunk = |(chunk, error): (Option<u32>, lss::Error)| {
        let of = match chunk {
            Some(chunk) => format!("chunk {chunk} of the table of pages"),
            None => "the list of chunks of the table of pages".to_owned(),
        };
        let found = damage_of(error);
        let mends = "it lies in two places, and a checkpoint mends this one";
        Damage { what: format!("{of}: {}; {mends}", found.what), ..found }
    };
    let mut found: Vec<Damage> = bad.into_iter().map(of_chunk).collect();
    // Of a store that is open for reading another process may move the checkpoint.
    if !engine.store.read_only
        && let Some(refusal) = engine.store.log.check_recovery()?
    {
        let refusal = damage_of(refusal);
        let what = format!("{}; after a crash no opening would get behind it", refusal.what);
        found.push(Damage { what, ..refusal });
    }
    Ok(found)
}

/// Walks a tree. What that finds and the log has not is looked at once more: a writer may have
/// finished a merge, or added entries, behind the walk's back.
fn look_twice(
    engine: &DurableEngine,
    tree: &TreeCore,
    unsound: &Unsound,
    reached: &mut Reached,
) -> Result<Walk> {
    let is_unsound = |id| unsound.contains_key(&id);
    let walk_once = |reached| check_tree(engine, tree, is_unsound, what_of_page, reached);
    let mut reached_again = reached.clone();
    // Entries of pages that were written unread are counted as the first walk comes to them.
    let mut walk = walk_once(reached)?;
    let is_known = |fault: &Fault| fault.what.is_none() || is_unsound(fault.page);
    if walk.miscount.is_some() || !walk.faults.iter().all(is_known) {
        // What is installed before this is counted before it, and behind the walk the same.
        engine.wait_for_pinned();
        let before = tree.changes();
        let again = walk_once(&mut reached_again)?;
        engine.wait_for_pinned();
        let is_still = tree.changes() == before;
        let is_there = |fault: &Fault| {
            again.faults.iter().any(|f| f.page == fault.page && f.what == fault.what)
        };
        walk.faults.retain(|fault| is_known(fault) || is_there(fault));
        walk.miscount = again.miscount.filter(|_| is_still);
    }
    Ok(walk)
}

/// What is wrong with a page that cannot be read.
pub(super) fn what_of_page(error: &Error) -> Option<String> {
    match error {
        Error::Damaged { found } => found.first().map(|damage| damage.what.clone()),
        error => error.is_damage().then(|| error.to_string()),
    }
}

fn all_ids(engine: &DurableEngine) -> impl Iterator<Item = PageId> {
    (1..engine.table.id_limit()).map(PageId::new)
}

/// Reads every part of these pages from the log.
fn check_parts(
    engine: &DurableEngine,
    ids: impl Iterator<Item = Result<PageId>>,
    report: &mut VerifyReport,
) -> Result<Unsound> {
    let mut unsound = Unsound::new();
    for id in ids {
        let id = id?;
        let place = {
            let guard = engine.pin();
            let place = engine.place(id, &guard).filter(|place| !place.is_merged());
            place.filter(|place| !engine.is_gone(place.tree))
        };
        let Some(place) = place else { continue };
        let mut of_page = Vec::new();
        match check_page(engine, id, &place, &mut of_page) {
            Ok(()) => {
                report.part_bytes += place.addresses().map(|a| u64::from(a.len)).sum::<u64>();
            }
            // It has moved since.
            Err(Error::Log(lss::Error::Gone { .. })) => continue,
            Err(error) if error.is_damage() && engine.is_replaced(id, &place) => continue,
            Err(error) if error.is_damage() => of_page.push(mend::damage_of(engine, id, &error)),
            Err(error) => return Err(error),
        }
        if !of_page.is_empty() {
            unsound.insert(id, of_page);
        }
    }
    Ok(unsound)
}

/// Checks the parts of one page. Values of it that are damaged are found, each with its key.
fn check_page(
    engine: &DurableEngine,
    id: PageId,
    place: &Place,
    found: &mut Vec<Damage>,
) -> Result<()> {
    let parts = Parts::read(engine, id, place)?;
    let mut keys: Vec<(Address, Vec<u8>)> = Vec::new();
    let count = fetch::decoded(id, &parts, |shape, entries| {
        let separated = entries.iter().filter(|entry| entry.flags & FLAG_SEPARATED != 0);
        keys.extend(separated.filter_map(|e| Some((Address::decode(e.value)?, e.key.to_vec()))));
        if shape.level == 0 { entries.len() as i64 } else { 0 }
    })?;
    if count != i64::from(place.count) && !place.uncounted {
        let what = format!("page {id} has {count} entries and {} were counted", place.count);
        return Err(Error::Corrupt { what });
    }
    for (value, key) in keys {
        match engine.store.log.read(value, PageId::NONE, values::VALUE).map_err(Error::from) {
            Err(error) if error.is_damage() => {
                if !names(engine, place.tree, &key, value) {
                    continue;
                }
                let end = Some([key.as_slice(), &[0]].concat());
                found.push(mend::damage_of(engine, id, &error).with_keys(key, end));
            }
            read => drop(read?),
        }
    }
    Ok(())
}

/// Whether this key still has the value that lies here: it may have been given up since the last
/// commit. If that cannot be told, it has.
fn names(engine: &DurableEngine, tree: u32, key: &[u8], value: Address) -> bool {
    let Some(tree) = engine.tree(tree) else { return false };
    match engine.read(&tree, Hashed::new(key), |found| found.map(Read::of)) {
        Ok(Some(Read::Separated(now))) => now.current(&engine.store) == value,
        Ok(_) => false,
        Err(_) => true,
    }
}
