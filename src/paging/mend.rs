//! Mend: what a page is that cannot be read, whose keys it has, and an empty page in its place.
//!
//! A leaf that is damaged says nothing, but its parent says where it begins and where the next one
//! does. So its keys can be named, and when they are given up, an empty leaf with these fences
//! takes its place: the place in the table says that the log has something else, so the next commit
//! has the empty leaf, and what is damaged is dead.
//!
//! The empty leaf is dated and listed under the turn to append, as those of a range that is removed
//! are ([`empty`](super::empty)). What is written to it later is stamped and listed like any record
//! (I13).
//!
//! A damaged inner page is rebuilt instead; see `rebuild`.
//!
//! Nobody can change the fences meanwhile: a page that is not resident is neither split nor merged,
//! and no leaf is absorbed by it. What a split may have moved out of it and no parent names is
//! reached by its right link alone, and is given up with it.

use super::fetch;
use super::place::Place;
use super::rebuild::{self, rebuild};
use super::store::{CATALOG, CATALOG_COPY, DurableEngine};
use super::values::{Separated, VALUE};
use crate::damage::{Damage, Remedy};
use crate::engine::{Away, Covering, MISLED, TreeCore};
use crate::error::{Error, Result};
use delta::{Base, Contents, Entry, Layout, Shape};
use mapping::Word;
use std::sync::{Arc, MutexGuard, PoisonError};
use sync::epoch::Guard;
use types::{Address, PageId};

/// What the page above says of a page.
#[derive(Debug, Clone)]
pub(super) struct Fences {
    pub(super) low: Vec<u8>,
    pub(super) high: Option<Vec<u8>>,
    pub(super) right: PageId,
    /// Its level; of a root only whether it has one above 0.
    pub(super) level: u8,
}

/// What an error says of a page, without its keys.
pub(crate) fn damage_of(engine: &DurableEngine, id: PageId, error: &Error) -> Damage {
    let place = engine.place(id, &engine.pin());
    let tree = place.as_ref().map(|place| place.tree);
    let image = place.unwrap_or_default().image;
    let (file, offset, what) = match error {
        Error::Log(lss::Error::Corrupt { file, offset, what }) => {
            (file.clone(), Some(*offset), what.clone())
        }
        Error::Log(lss::Error::Io { file, source, .. }) => {
            (file.clone(), None, format!("it cannot be read: {source}"))
        }
        // The parts are as they were written, and what is in them is no page.
        Error::Corrupt { what } => {
            (engine.store.log.file_of(image.segment), Some(image.offset.into()), what.clone())
        }
        other => (engine.store.log.file_of(image.segment), None, other.to_string()),
    };
    let is_of_catalog = tree.is_some_and(|tree| [CATALOG, CATALOG_COPY].contains(&tree));
    let tree =
        tree.and_then(|tree| engine.store.trees.get(&tree).map(|tree| tree.name.to_string()));
    let (tree, file) = (tree.unwrap_or_default(), Some(file));
    let (keys, page) = (None, id.number());
    let remedy = if is_of_catalog { Remedy::Check } else { Remedy::Unknown };
    Damage { tree, keys, file, offset, what, page, is_of_catalog, remedy }
}

impl super::store::LogStore {
    fn damaged(&self) -> MutexGuard<'_, std::collections::BTreeMap<PageId, Damage>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pages could not be read when they were wanted.
    pub(crate) fn damaged_pages(&self) -> u64 {
        self.damaged().len() as u64
    }

    /// Which pages could not be read when they were wanted.
    pub(super) fn damaged_ids(&self) -> Vec<PageId> {
        self.damaged().keys().copied().collect()
    }

    /// Whether the page could not be read when it was last wanted.
    pub(crate) fn is_damaged(&self, id: PageId) -> bool {
        self.damaged().contains_key(&id)
    }

    /// The page is readable, or no page any more.
    pub(crate) fn is_sound(&self, id: PageId) {
        self.damaged().remove(&id);
    }
}

/// Damaged pages, of which each is looked for because of the one before it. None is mended because
/// of itself.
type Chain = Vec<PageId>;

/// Makes sure that the page is in memory, as [`fetch::page_in`] does: an inner page that is damaged
/// is rebuilt. Called unpinned.
pub(crate) fn page_in(engine: &DurableEngine, id: PageId) -> Result<()> {
    page_in_because(engine, id, &mut Chain::new())
}

fn page_in_because(engine: &DurableEngine, id: PageId, chain: &mut Chain) -> Result<()> {
    match fetch::page_in(engine, id) {
        Err(error) if error.is_damage() && id != MISLED.0 && !chain.contains(&id) => {
            chain.push(id);
            let met = met_because(engine, id, error, chain);
            chain.pop();
            met.map_or(Ok(()), Err)
        }
        brought => brought,
    }
}

/// The error of a page that is wanted and damaged, with its keys; nothing if it could be rebuilt.
/// Called unpinned.
fn met_because(
    engine: &DurableEngine,
    id: PageId,
    error: Error,
    chain: &mut Chain,
) -> Option<Error> {
    if matches!(error, Error::Damaged { .. }) {
        return Some(error);
    }
    let mut damage = damage_of(engine, id, &error);
    let known = engine.store.damaged().get(&id).cloned();
    // Which keys it has may not have been known before a page above it was mended.
    let has_none = known.is_some() && engine.store.strays().contains(&id);
    let known = known.filter(|known| known.keys.is_some() || known.is_of_catalog || has_none);
    let known = known.filter(|known| (&known.file, known.offset) == (&damage.file, damage.offset));
    if let Some(known) = known {
        damage = known;
    } else {
        if let Some(tree) = tree_of(engine, id)
            && let Some(fences) = fences(engine, &tree, id, chain)
        {
            if fences.level > 0 && rebuild(engine, &tree, id, &fences).is_ok_and(|done| done) {
                return None;
            }
            damage = damage.with_keys(fences.low, fences.high);
        }
        engine.store.damaged().insert(id, damage.clone());
        if fetch::below(engine.table.load(id, &engine.pin())).is_none() {
            // Another thread has mended it meanwhile.
            engine.store.is_sound(id);
        }
    }
    Some(Error::Damaged { found: Arc::new([damage]) })
}

fn tree_of(engine: &DurableEngine, id: PageId) -> Option<Arc<TreeCore>> {
    let number = engine.place_without_lists(id, &engine.pin())?.tree;
    engine.tree(number)
}

/// As [`Engine::retrying`](crate::engine::Engine::retrying), for who has met damage already:
/// `bring` says what is done about more of it.
pub(super) fn retrying<R>(
    engine: &DurableEngine,
    mut bring: impl FnMut(PageId) -> Result<()>,
    mut attempt: impl FnMut(&Guard) -> core::result::Result<R, Away>,
) -> Result<R> {
    loop {
        let guard = engine.pin();
        match attempt(&guard) {
            Ok(result) => return Ok(result),
            Err(Away(id)) => {
                drop(guard);
                bring(id)?;
            }
        }
    }
}

/// The level of the root, if it can be read.
pub(super) fn level_of_root(
    engine: &DurableEngine,
    tree: &TreeCore,
    bring: impl FnMut(PageId) -> Result<()>,
) -> Result<u8> {
    retrying(engine, bring, |guard| match engine.table.load(tree.root, guard) {
        Word::Resident(chain) => Ok(Base::new(chain.base()).level()),
        _ => Err(Away(if tree.is_gone() { PageId::NONE } else { tree.root })),
    })
}

impl DurableEngine {
    /// Whether a page can be read, in memory or from the log. If so, it is not damaged any more.
    pub(super) fn can_be_read(&self, id: PageId) -> Result<bool> {
        match rebuild::read(self, id) {
            Err(error) if error.is_damage() => Ok(false),
            read => {
                read?;
                self.store.is_sound(id);
                Ok(true)
            }
        }
    }

    /// Has the next commit write a page anew that is in memory, for the log has lost some of it,
    /// and the values of it that are in memory as well and cannot be read. Says whether the page is
    /// there still.
    pub(crate) fn write_again(&self, id: PageId) -> bool {
        let mut values = self.separated(id);
        values.retain(|value| {
            let address = value.current(&self.store);
            let read = || self.store.log.read(address, PageId::NONE, VALUE).map_err(Error::from);
            let is_lost = || read().is_err_and(|error| error.is_damage());
            value.is_in_memory() && !address.is_none() && is_lost()
        });
        let _appender = self.store.log.appender();
        let guard = self.pin();
        let is_there = matches!(self.table.load(id, &guard), Word::Resident(_));
        if let Some(place) = self.place(id, &guard).filter(|_| is_there && self.store.can_write()) {
            // No page has this serial: so the image wanted is not the one that there was.
            self.set_place(id, Some(&Place { serial: u32::MAX, ..place }), &guard);
            self.list(id);
            // Only now: none is evicted any more before the commit that has them again.
            for value in values {
                value.moved_to(Address::NONE);
            }
            return true;
        }
        false
    }

    /// The values outside a page that is in memory.
    fn separated(&self, id: PageId) -> Vec<Arc<Separated>> {
        let guard = self.pin();
        let Word::Resident(chain) = self.table.load(id, &guard) else { return Vec::new() };
        let handles = fetch::owned_handles(chain).into_iter();
        handles.map(|handle| Separated::from_handle(&handle.to_le_bytes())).collect()
    }

    /// Whether the page is a leaf in memory of which the next commit writes all anew: what the log
    /// has of it is as good as dead.
    pub(crate) fn is_replaced(&self, id: PageId, place: &Place) -> bool {
        match self.table.load(id, &self.pin()) {
            Word::Resident(chain) if !self.store.read_only => {
                Base::new(chain.base()).is_leaf() && place.wants_image(chain.page())
            }
            _ => false,
        }
    }
}

/// The fences of a page, as the level above has them; `None` if that cannot be read either.
fn fences(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
    chain: &mut Chain,
) -> Option<Fences> {
    if id == tree.root {
        // What it is cannot be told: a root is a leaf only if the tree has no other page.
        let level = u8::from(rebuild::pages_of(engine, tree).any(|other| other != id));
        return Some(Fences { low: Vec::new(), high: None, right: PageId::NONE, level });
    }
    let root = level_of_root(engine, tree, |id| page_in_because(engine, id, chain));
    // From above: what is damaged on the way is found, and mended, on a higher level than this one.
    let named = (1..=root.ok()?).rev().find_map(|above| {
        let child = |base: Base<'_>| {
            let at = (0..base.count()).find(|&at| base.child(at) == id)?;
            Some((at, if at == 0 { base.low().to_vec() } else { base.separator(at).to_vec() }))
        };
        fences_under(engine, tree, above, Vec::new(), child, chain)
    });
    named.or_else(|| {
        let (low, level) = rebuild::in_front_of(engine, tree, id)?;
        let begins = |base: Base<'_>| Some((base.child_index(&low), low.clone()));
        fences_under(engine, tree, level + 1, low.clone(), begins, chain)
    })
}

/// The fences of a child of a page on this level, the first from a key on of which `child` says at
/// which position there it lies, and where it begins.
fn fences_under(
    engine: &DurableEngine,
    tree: &TreeCore,
    above: u8,
    from: Vec<u8>,
    child: impl Fn(Base<'_>) -> Option<(usize, Vec<u8>)>,
    chain: &mut Chain,
) -> Option<Fences> {
    let mut from = Some(from);
    while let Some(key) = from {
        let bring = |id| page_in_because(engine, id, chain);
        let step = retrying(engine, bring, |guard| {
            DurableEngine::check_dropped(tree)?;
            let stop = engine.descend(tree, Covering(key.as_slice()), above, guard)?;
            let base = stop.base;
            let Some((at, low)) = child(base) else {
                return Ok(Err(base.high().map(<[u8]>::to_vec)));
            };
            let (high, parent, right) = if at + 1 < base.count() {
                (Some(base.separator(at + 1).to_vec()), stop.id, base.child(at + 1))
            } else if let Some(high) = base.high() {
                let next = engine.descend(tree, Covering(high), above, guard)?;
                let right = next.base.child(next.base.child_index(high));
                (Some(high.to_vec()), next.id, right)
            } else {
                (None, stop.id, PageId::NONE)
            };
            // A page that was merged away is one with the page in front of it.
            if right.is_some() && matches!(engine.table.load(right, guard), Word::Merged { .. }) {
                engine.unlink_merged(tree, parent, right, guard)?;
                return Ok(Err(Some(key.clone())));
            }
            Ok(Ok(Fences { low, high, right, level: above - 1 }))
        });
        from = match step {
            Ok(Ok(fences)) => return Some(fences),
            Ok(Err(next)) => next,
            // Behind what cannot be mended it goes on.
            Err(Error::Damaged { found }) => {
                let keys = found.first().and_then(|damage| damage.keys.clone());
                keys.and_then(|keys| keys.end).filter(|end| *end > key)
            }
            Err(_) => None,
        };
    }
    None
}

/// Puts a leaf with those of these entries that belong there, most often none, in the place of one
/// that was met with this error, if `is_meant` says so of its keys: gives the others up. Returns
/// how many entries it had; `None` if it is not away any more, or can be read. Called unpinned, by
/// who keeps background work from changing the shape of trees.
///
/// Another thread that has met the same page may have given it up meanwhile. Then it is a page as
/// any other, which can have got other keys, and been evicted, and it is not to be given up again.
/// So it is read once more; and what is replaced in the end is what was evicted when it was read,
/// for each eviction has a token of its own.
///
/// # Errors
/// The same, if it is no leaf, or has keys that are not meant, or what lies beside it is not known.
pub(crate) fn give_up(
    engine: &DurableEngine,
    tree: &TreeCore,
    id: PageId,
    error: Error,
    entries: &[Entry<'_>],
    is_meant: impl Fn(&[u8], Option<&[u8]>) -> bool,
) -> Result<Option<u64>> {
    engine.store.check()?;
    let token = || fetch::below(engine.table.load(id, &engine.pin())).map(|below| below.token);
    let Some(met) = token() else { return Ok(None) };
    if engine.can_be_read(id)? {
        return Ok(None);
    }
    // Who was pinned while the page still was resident may yet tell its parent of a split of it.
    engine.wait_for_pinned();
    let fences = fences(engine, tree, id, &mut vec![id]);
    let is_wanted = |it: &Fences| it.level == 0 && is_meant(&it.low, it.high.as_deref());
    let Some(fences) = fences.filter(is_wanted) else { return Err(error) };
    let Some(_turn) = engine.store.log.wait_durable_or_appender(u64::MAX)? else {
        return Err(error);
    };
    let guard = engine.pin();
    let below = fetch::below(engine.table.load(id, &guard)).filter(|below| below.token == met);
    let (Some(below), Some(place)) = (below, engine.place(id, &guard)) else {
        return Ok(None);
    };
    let shape = Shape {
        low: &fences.low,
        high: fences.high.as_deref(),
        right: fences.right,
        ..Shape::whole(Layout::Var)
    };
    let birth = engine.smo_birth(tree.id, engine.clock.now());
    // What was written without reading the page, and is in no damaged part, stays.
    let mut records =
        below.partial.map_or_else(Vec::new, |chain| engine.unflushed(id, chain, place.flushed));
    let first = entries.partition_point(|entry| entry.key.cmp_bytes(shape.low).is_lt());
    let is_here =
        |entry: &&Entry<'_>| shape.high.is_none_or(|high| entry.key.cmp_bytes(high).is_lt());
    let entries: Vec<Entry<'_>> = entries[first..].iter().take_while(is_here).copied().collect();
    let count = fetch::count_on(&entries, &mut records);
    let page = engine.build(&shape, &Contents::Entries(entries), &records, 0, birth);
    engine.list(id);
    if !fetch::publish(engine, (id, tree.id), below, page, count, &guard) {
        return Ok(None);
    }
    engine.store.is_sound(id);
    engine.suspect(tree);
    // What held segments back is dead with the next commit; what still does is found again.
    engine.store.stuck.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(Some(u64::try_from(below.token.count).unwrap_or(0)))
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use crate::Db;
    use crate::io::MemoryDisk;

    /// A store with an evicted leaf that is sound, and whose number it is.
    fn evicted_leaf() -> (Db, crate::Tree, Arc<TreeCore>, PageId) {
        let db = Db::builder("memory").tiny().without_background();
        let db = db.open_on(Arc::new(MemoryDisk::new())).unwrap();
        let tree = db.tree("t").unwrap();
        (0..200_u32).for_each(|n| tree.put(n.to_be_bytes(), "value").unwrap());
        db.sync().unwrap();
        db.evict_pages();
        let engine = &db.inner.engine;
        let away = |id: &PageId| matches!(engine.table.load(*id, &engine.pin()), Word::Disk(_));
        let named = engine.store.trees.iter().find(|core| *core.name == *"t");
        let core = named.map(|core| Arc::clone(&core)).unwrap();
        let leaf = rebuild::pages_of(engine, &core).find(away).unwrap();
        (db, tree, core, leaf)
    }

    fn met_before() -> Error {
        Error::Corrupt { what: "it was met by two threads".into() }
    }

    /// Of two threads that meet a damaged page one comes late: by then it was given up, has
    /// absorbed its neighbour and was evicted again. It was emptied once more, keys of others
    /// included.
    #[test]
    fn a_page_that_was_mended_meanwhile_is_not_given_up() {
        let (db, tree, core, leaf) = evicted_leaf();
        let engine = &db.inner.engine;
        let _changing = engine.store.at_rest();
        let given_up = give_up(engine, &core, leaf, met_before(), &[], |_, _| true);
        assert!(matches!(given_up, Ok(None)), "{given_up:?}");
        assert_eq!((tree.len(), tree.iter().flatten().count()), (200, 200));
    }

    /// A page that names one that is none was followed for ever.
    #[test]
    fn what_leads_nowhere_is_told() {
        let (db, tree, core, _) = evicted_leaf();
        let engine = &db.inner.engine;
        let guard = engine.pin();
        let nowhere = engine.table.allocate().unwrap();
        let stop = engine.descend(&core, Covering(&[][..]), 1, &guard).unwrap();
        let (value, len) = delta::child_value(stop.base.layout(), nowhere);
        let children = Contents::with_first_child(stop.base, &value[..len]);
        engine.replace_inner(stop.id, stop.chain, &stop.base.shape(&[]), &children, &guard);
        drop(guard);
        let told = [tree.get(0_u32.to_be_bytes()).map(drop), tree.put(0_u32.to_be_bytes(), "")];
        for told in told {
            assert!(matches!(&told, Err(Error::Corrupt { what }) if what.contains("is none")));
        }
        let verified = db.verify().map(drop);
        assert!(matches!(&verified, Err(Error::Damaged { .. })), "{verified:?}");
        assert_eq!(tree.get(199_u32.to_be_bytes()).unwrap().as_deref(), Some(&b"value"[..]));
    }

    /// What another thread has met was noted behind its mending, and strays stayed because of it.
    #[test]
    fn a_page_that_was_mended_meanwhile_is_no_damage() {
        let (db, _tree, core, leaf) = evicted_leaf();
        let engine = &db.inner.engine;
        engine.store.damaged().insert(leaf, damage_of(engine, leaf, &met_before()));
        assert!(!engine.has_damage(&core));
        assert_eq!(db.stats().damaged_pages, 0);
    }
}
