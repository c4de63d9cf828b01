//! A damaged page costs its own keys, and nothing else.
//!
//! One byte of one leaf made cleaning fail, then the thread that cleaned, and then every write,
//! again after each opening.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bwtree::io::MemoryDisk;
use bwtree::{Builder, CleanOptions, Damage, Db, Error, KeyRange, SyncPolicy, Tree};
use bwtree_tests::Random;

const ENTRIES: u32 = 4000;
const VICTIM: u32 = 2000;

fn builder() -> Builder {
    Db::builder("memory").memory_budget_bytes(2 << 20).sync_policy(SyncPolicy::EveryMillis(10))
}

fn value(n: u32, turn: u32) -> Vec<u8> {
    format!("<value {n:08} of turn {turn:08}>").repeat(16).into_bytes()
}

/// A closed store whose leaves around these keys have one wrong byte each.
fn damaged_around(victims: &[u32]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|n| tree.put(n.to_be_bytes(), value(n, 0)).unwrap());
    drop(tree);
    db.close().unwrap();
    let mut files = disk.files();
    for wanted in victims.iter().map(|&victim| value(victim, 0)) {
        let mut flipped = 0;
        for bytes in files.values_mut() {
            let mut at = 0;
            while let Some(found) = bytes[at..].windows(wanted.len()).position(|w| w == wanted) {
                bytes[at + found] ^= 1;
                flipped += 1;
                at += found + wanted.len();
            }
        }
        assert!(flipped > 0, "the value is nowhere");
    }
    MemoryDisk::with_files(files)
}

fn damaged() -> MemoryDisk {
    damaged_around(&[VICTIM])
}

/// What an error says is damaged.
fn found<R: std::fmt::Debug>(result: Result<R, Error>) -> Vec<Damage> {
    match result {
        Err(Error::Damaged { found }) => found.to_vec(),
        other => panic!("not told as damage: {other:?}"),
    }
}

/// The keys that a damage concerns.
fn keys(damage: &Damage) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let KeyRange { first, end, .. } = damage.keys.clone().unwrap();
    (Bound::Included(first), end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// The keys of a damaged page could neither be written again nor removed.
#[test]
fn the_keys_of_a_damaged_page_are_named_and_can_be_given_up() {
    let disk = damaged();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    let key = VICTIM.to_be_bytes();
    let at_put = found(tree.put(key, "new"));
    let [damage] = &at_put[..] else { panic!("{at_put:?}") };
    assert_eq!(damage.tree, "t");
    assert!(keys(damage).contains(&key.to_vec()), "{damage:?}");
    assert!(damage.file.as_ref().unwrap().contains("seg-0") && damage.offset.unwrap() > 0);
    let text = tree.put(key, "new").unwrap_err().to_string();
    for part in ["\"t\"", "keys from \"\\x00\\x00\\x07", "seg-0", "offset", "remove_range"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    for told in [found(tree.get(key)), found(tree.delete(key)), found(db.verify())] {
        assert_eq!(told, at_put);
    }
    assert_eq!(db.stats().damaged_pages, 1);
    // A part of the keys cannot be told from the others.
    let (from, to) = keys(damage);
    assert_eq!(found(tree.remove_range((from.clone(), Bound::Excluded(key.to_vec())))), at_put);
    assert_eq!(tree.len(), u64::from(ENTRIES));
    let lost = tree.remove_range((from, to)).unwrap();
    println!("{lost} entries given up: {damage}");
    assert!((1..=40).contains(&lost));
    assert_eq!((tree.len(), db.stats().damaged_pages), (u64::from(ENTRIES) - lost, 0));
    assert_eq!(tree.get(key).unwrap(), None);
    db.verify().unwrap();
    db.sync().unwrap();
    db.verify().unwrap();
    // The commit has it.
    let crashed = builder().open_on(Arc::new(MemoryDisk::with_files(disk.files()))).unwrap();
    assert_eq!(crashed.tree("t").unwrap().get(key).unwrap(), None);
    crashed.verify().unwrap();
    drop(crashed);
    tree.put(key, "new").unwrap();
    db.clean(CleanOptions::default()).unwrap();
    drop(tree);
    db.close().unwrap();
    let db = builder().open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    assert_eq!(tree.get(key).unwrap().as_deref(), Some(b"new".as_slice()));
    assert_eq!(tree.iter().flatten().count() as u64, tree.len());
    assert_eq!(tree.len(), u64::from(ENTRIES) - lost + 1);
    db.verify().unwrap();
}

/// The check ended at the first damage.
#[test]
fn all_damage_is_listed_and_a_tree_with_it_can_be_cleared() {
    let victims = [3, 700, 1500, VICTIM, 3999];
    for way in ["clear", "remove_range", "drop_tree"] {
        let disk = damaged_around(&victims);
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        db.tree("other").unwrap().put("k", "v").unwrap();
        let tree = db.tree("t").unwrap();
        let all = found(db.verify());
        assert_eq!(all.len(), victims.len(), "{all:?}");
        for (damage, victim) in all.iter().zip(victims) {
            assert!(keys(damage).contains(&victim.to_be_bytes().to_vec()), "{damage:?}");
        }
        match way {
            "clear" => tree.clear().unwrap(),
            "remove_range" => assert_eq!(tree.remove_range(..).unwrap(), u64::from(ENTRIES)),
            _ => assert!(db.drop_tree("t").unwrap()),
        }
        assert!(tree.is_empty());
        db.clean(CleanOptions::default()).unwrap();
        db.verify().unwrap();
        drop(tree);
        let tree = db.tree("t").unwrap();
        (0..ENTRIES).for_each(|n| tree.put(n.to_be_bytes(), value(n, 7)).unwrap());
        drop(tree);
        db.close().unwrap();
        let db = builder().open_on(Arc::new(disk)).unwrap();
        assert_eq!(db.tree("t").unwrap().iter().flatten().count(), ENTRIES as usize);
        db.verify().unwrap();
    }
}

#[test]
fn everything_else_is_read_written_cleaned_and_closed() {
    let disk = damaged();
    for turn in 1..4 {
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        let mut lost = Vec::new();
        for n in 0..ENTRIES {
            match tree.get(n.to_be_bytes()) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{n} is missing, and nothing says why"),
                Err(error) => {
                    assert!(error.is_damage(), "{error}");
                    lost.push(n);
                }
            }
        }
        println!("turn {turn}: keys {lost:?} are lost");
        assert!(lost.contains(&VICTIM), "the damage is not noticed");
        assert!(lost.len() <= 40 && lost.is_sorted_by(|a, b| a + 1 == *b), "{lost:?}");
        assert!(db.verify().unwrap_err().is_damage());
        // Three times over, so that the cleaner empties every segment that it can.
        for _ in 0..3 {
            for n in (0..ENTRIES).filter(|n| !lost.contains(n)) {
                tree.put(n.to_be_bytes(), value(n, turn)).unwrap();
            }
            db.sync().unwrap();
            thread::sleep(Duration::from_millis(150));
        }
        db.clean(CleanOptions::default()).unwrap();
        db.checkpoint().unwrap();
        for n in (0..ENTRIES).filter(|n| !lost.contains(n)) {
            assert_eq!(tree.get(n.to_be_bytes()).unwrap().as_deref(), Some(&value(n, turn)[..]));
        }
        let stats = db.stats();
        assert!(stats.disk_bytes < 4 * stats.live_bytes + (8 << 20), "{}", stats.disk_bytes);
        drop(tree);
        db.close().unwrap();
    }
}

/// Dropping the tree, and then an idle store.
#[test]
fn a_tree_with_a_damaged_page_stops_no_other() {
    let disk = damaged();
    let db = builder().open_on(Arc::new(disk)).unwrap();
    let other = db.tree("other").unwrap();
    assert!(db.drop_tree("t").unwrap());
    for n in 0..ENTRIES {
        other.put(n.to_be_bytes(), value(n, 9)).unwrap();
        if n % 500 == 0 {
            thread::sleep(Duration::from_millis(60));
        }
    }
    db.sync().unwrap();
    assert_eq!(other.len(), u64::from(ENTRIES));
    // Of the dropped tree nothing is left, and nothing of it is in the way of anything.
    db.clean(CleanOptions::default()).unwrap();
    db.verify().unwrap();
    drop(other);
    db.close().unwrap();
}

/// Bytes of pages that are in memory go bad on the disk. What the check said of them was said for
/// ever, and of leaves that their keys were to be given up, though nothing was lost.
#[test]
fn pages_in_memory_are_written_anew_where_the_log_has_lost_them() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Db::builder(folder.path()).memory_budget_bytes(32 << 20).tiny();
    let db = builder.clone().open().unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|n| tree.put(n.to_be_bytes(), value(n, 1)).unwrap());
    db.checkpoint().unwrap();
    let segments = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let segments = segments.filter(|path| path.to_str().unwrap().contains("seg-"));
    for path in segments {
        // One may be given back, and its file removed, meanwhile.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else { continue };
        // A byte here and there, of leaves and of what is above them.
        for at in (300..bytes.len()).step_by(1500) {
            file.write_all_at(&[bytes[at] ^ 0x5a], at as u64).unwrap();
        }
    }
    let told = found(db.verify());
    let in_memory = told.iter().filter(|damage| damage.what.contains("is in memory")).count();
    println!("{} told, {in_memory} of them in memory", told.len());
    assert!(in_memory > 100, "{told:?}");
    assert!(told.iter().all(|damage| damage.keys.is_none()), "{told:?}");
    // The table of pages is written anew by a checkpoint.
    db.checkpoint().unwrap();
    db.verify().unwrap();
    db.evict_pages();
    let right = |tree: &Tree| {
        let wrong = |n: &u32| tree.get(n.to_be_bytes()).unwrap().unwrap() != value(*n, 1);
        assert_eq!((tree.len(), (0..ENTRIES).find(wrong)), (ENTRIES.into(), None));
    };
    right(&tree);
    drop(tree);
    db.close().unwrap();
    let db = builder.open().unwrap();
    right(&db.tree("t").unwrap());
    db.verify().unwrap();
}

type Files = BTreeMap<String, Vec<u8>>;

/// A closed store, and how many bytes of it are live.
fn small_store(builder: &Builder) -> (Files, u64) {
    let disk = MemoryDisk::new();
    let db = builder.clone().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..KEYS).for_each(|n| tree.put(key(n), short_or_long(n)).unwrap());
    drop(tree);
    db.clean(CleanOptions::default()).unwrap();
    // Where a recovery begins to read is far from the pages of the tree.
    let behind = db.tree("behind").unwrap();
    (0..300).for_each(|n| behind.put(key(n), short_or_long(n)).unwrap());
    db.sync().unwrap();
    let live = db.stats().live_bytes;
    db.close().unwrap();
    (disk.files(), live)
}

const KEYS: u32 = 3000;

fn key(n: u32) -> Vec<u8> {
    format!("key {n:06}").into_bytes()
}

fn short_or_long(n: u32) -> Vec<u8> {
    vec![n as u8; if n % 50 == 7 { 3000 } else { 150 }]
}

/// Opens a store with damage, gives up what its check names, and compares all else. Returns what
/// the check has said; nothing, if the store can't be opened.
fn given_up(builder: &Builder, files: Files, live: u64) -> Option<Vec<Damage>> {
    let disk = MemoryDisk::with_files(files);
    let db = match builder.clone().open_on(Arc::new(disk.clone())) {
        Ok(db) => db,
        Err(error) => {
            assert!(error.is_damage(), "{error}");
            return None;
        }
    };
    let tree = db.tree("t").unwrap();
    let mut told = Vec::new();
    for turn in 0.. {
        let Err(error) = db.verify() else { break };
        assert!(turn < 4, "{error}");
        let found = found(Err::<(), _>(error));
        for damage in found.iter().filter(|damage| damage.keys.is_some()) {
            let of = db.tree(&damage.tree).unwrap();
            let before = of.len();
            let lost = of.remove_range(damage.keys.as_ref().unwrap()).unwrap();
            assert_eq!(of.len(), before - lost, "{damage}");
        }
        if found.iter().all(|damage| damage.keys.is_none()) {
            // What is left over goes with the last keys, or if there are none, with a cleaning.
            db.clean(CleanOptions::default()).unwrap();
        }
        told.extend(found);
        db.checkpoint().unwrap();
    }
    let of_t = told.iter().filter(|damage| damage.tree == "t");
    let ranges = of_t.filter_map(|damage| damage.keys.as_ref()).collect::<Vec<_>>();
    let is_lost = |key: &[u8]| ranges.iter().any(|keys| keys.contains(key));
    let there: Vec<_> = tree.iter().collect::<Result<_, _>>().unwrap();
    let right = (0..KEYS).filter(|n| !is_lost(&key(*n)));
    assert_eq!(there.len() as u64, tree.len());
    assert!(right.map(|n| (key(n).into(), short_or_long(n).into())).eq(there), "{ranges:?}");
    for n in 0..KEYS {
        tree.put(key(n), short_or_long(n)).unwrap();
    }
    db.clean(CleanOptions::default()).unwrap();
    let now = db.stats().live_bytes;
    assert!(now <= live + live / 4, "{now} bytes are live of {live}");
    drop(tree);
    db.close().unwrap();
    let db = builder.clone().open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    assert_eq!((tree.len(), tree.iter().flatten().count()), (KEYS.into(), KEYS as usize));
    db.verify().unwrap();
    Some(told)
}

/// What a scan finds: how many entries, and the keys of the pages that cannot be read.
fn scanned(tree: &Tree) -> (u64, Vec<KeyRange>) {
    let (mut count, mut ranges) = (0, Vec::new());
    let mut from = Some(Vec::new());
    while let Some(first) = from.take() {
        for entry in tree.range(first..) {
            let Err(error) = entry else {
                count += 1;
                continue;
            };
            let keys = found(Err::<(), _>(error)).remove(0).keys.unwrap();
            from.clone_from(&keys.end);
            ranges.push(keys);
            break;
        }
    }
    (count, ranges)
}

/// Gives up what scans meet, in a life for each range: none knows what those before it have seen.
fn given_up_life_by_life(builder: &Builder, files: Files) {
    let disk = MemoryDisk::with_files(files);
    for life in 0..60 {
        let Ok(db) = builder.clone().open_on(Arc::new(disk.clone())) else { return };
        let mut trees = ["t", "behind"].map(|name| db.tree(name).unwrap()).into_iter();
        let damaged = trees.find_map(|tree| {
            let (count, ranges) = scanned(&tree);
            assert!(!ranges.is_empty() || tree.len() == count, "life {life}");
            Some(tree).zip(ranges.into_iter().next())
        });
        let Some((tree, keys)) = damaged else {
            db.clean(CleanOptions::default()).unwrap();
            assert!(life == 0 || db.verify().is_ok(), "{:?}", db.verify());
            return;
        };
        // The first one only makes the pages above again.
        if life > 0 {
            let counted = tree.len();
            let lost = tree.remove_range(keys).unwrap();
            assert_eq!(tree.len(), counted - lost, "life {life}");
        }
        drop(tree);
        drop(trees);
        db.close().unwrap();
    }
    panic!("there is no end to it");
}

/// Zeros over a part of a store take neighbouring leaves, and the page above them: nothing says
/// then where each leaf begins. Pages stayed that no call could give up, with entries that were
/// counted, and the check failed for ever.
#[test]
fn what_is_overwritten_can_be_given_up_and_all_else_is_there() {
    const RUN: usize = 20 << 10;
    let builder = builder();
    let (files, live) = small_store(&builder);
    let overwritten = |mut files: Files, (name, at): (&String, usize), bytes: usize| {
        let segment = files.get_mut(name).unwrap();
        let end = segment.len().min(at + bytes);
        segment[at..end].fill(0);
        files
    };
    let segments = files.keys().filter(|name| name.contains("seg-"));
    let runs =
        segments.flat_map(|name| (64..files[name].len()).step_by(RUN).map(move |at| (name, at)));
    let (mut lives, mut refused, mut inner, mut strays) = (0, 0, Vec::new(), 0);
    let mut see = |told: Option<Vec<Damage>>| {
        lives += 1;
        refused += u32::from(told.is_none());
        let rebuilt = |damage: &&Damage| damage.what.contains("rebuilt");
        let stray = |damage: &&Damage| damage.what.contains("not reached");
        let told = told.unwrap_or_default();
        strays += told.iter().filter(stray).count();
        told.into_iter().filter(|damage| rebuilt(&damage)).collect::<Vec<_>>()
    };
    for run in runs.clone() {
        inner.extend(see(given_up(&builder, overwritten(files.clone(), run, RUN), live)));
    }
    // Once more, and one of the inner pages as well.
    let inner = inner.pop().unwrap();
    let (name, at) = (inner.file.unwrap(), inner.offset.unwrap() as usize);
    let name = files.keys().find(|file| name.ends_with(*file)).unwrap();
    let without_inner = overwritten(files.clone(), (name, at + 32), 32);
    for run in runs {
        let files = overwritten(without_inner.clone(), run, RUN);
        see(given_up(&builder, files.clone(), live));
        // Which pages nothing leads to was known as long as the store stayed open, and they stayed.
        given_up_life_by_life(&builder, files);
    }
    println!("{lives} lives, {refused} not opened, {strays} pages that nothing leads to");
    assert!(refused * 10 <= lives && strays > 0);
}

/// Up to a dozen places of a store with a deep tree: inner pages side by side and above each other,
/// and leaves below them. Which keys a leaf had was looked for once, below an inner page that could
/// not be read, and never again; and an inner page was not rebuilt because of pages that were none
/// of its own.
#[test]
fn many_damaged_pages_of_all_levels_can_be_given_up() {
    const LIVES: usize = 60;
    let builder = builder().tiny();
    let (files, live) = small_store(&builder);
    let (mut refused, mut inner) = (0, 0);
    for life in 0..LIVES {
        let mut random = Random::new(life as u64);
        let mut below = |end: usize| random.index(end);
        let mut files = files.clone();
        let names: Vec<String> =
            files.keys().filter(|name| name.contains("seg-")).cloned().collect();
        for _ in 0..=below(12) {
            let segment = files.get_mut(&names[below(names.len())]).unwrap();
            let at = 64 + below(segment.len() - 64);
            let end = segment.len().min(at + [1, 512, 4096][below(3)]);
            segment[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        let Some(told) = given_up(&builder, files, live) else {
            refused += 1;
            continue;
        };
        inner += told.iter().filter(|damage| damage.what.contains("rebuilt")).count();
    }
    println!("{LIVES} lives, {refused} not opened, {inner} inner pages rebuilt");
    assert!(refused * 5 <= LIVES && inner * 4 >= LIVES);
}
