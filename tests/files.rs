//! Somebody else cuts the files of an open store short, or removes them.
//!
//! Nobody looked at a file's length while the store was open: a check passed, and the next opening
//! was refused for good.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bwtree::{CleanOptions, Damage, Db, Error, SyncPolicy, Tree};
use bwtree_tests::{Random, amount, seed};
use tempfile::TempDir;

const KEYS: u32 = 6000;

type Model = BTreeMap<[u8; 4], Vec<u8>>;

fn open(path: &Path, files: usize) -> bwtree::Result<Db> {
    let db = Db::builder(path).memory_budget_bytes(1 << 20).max_open_files(files);
    let db = db.sync_policy(SyncPolicy::Manual);
    if files == ALONE { db.without_background().open() } else { db.open() }
}

/// Most open files of a store without background threads: nothing happens in its files of itself.
const ALONE: usize = 5;

fn put(tree: &Tree, model: &mut Model, key: u32, value: Vec<u8>) {
    tree.put(key.to_be_bytes(), &value).unwrap();
    model.insert(key.to_be_bytes(), value);
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = if random.once_in(50) { 3000 } else { 20 + random.index(150) };
    vec![random.next_u64() as u8; len]
}

/// A store most of which is dead and overwritten in many segments, and what is in it.
fn store(path: &Path, files: usize, random: &mut Random) -> (Db, Tree, Model) {
    let db = open(path, files).unwrap();
    let tree = db.tree("t").unwrap();
    let mut model = Model::new();
    (0..KEYS).for_each(|key| put(&tree, &mut model, key, value(random)));
    db.checkpoint().unwrap();
    for _ in 0..KEYS {
        let key = random.below(u64::from(KEYS)) as u32;
        put(&tree, &mut model, key, value(random));
    }
    db.sync().unwrap();
    if random.once_in(2) {
        db.checkpoint().unwrap();
    }
    (db, tree, model)
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("seg-");
    let mut all: Vec<PathBuf> = files.filter(is_segment).collect();
    all.sort();
    all
}

/// What a check finds; nothing if that is nothing.
fn found(db: &Db) -> Vec<Damage> {
    match db.verify() {
        Ok(_) => Vec::new(),
        Err(Error::Damaged { found }) => found.to_vec(),
        Err(other) => panic!("not told as damage: {other}"),
    }
}

/// Gives up what checks find, until one finds nothing; how many keys that were.
fn give_up(db: &Db, tree: &Tree, model: &mut Model) -> usize {
    let before = model.len();
    for _ in 0..4 {
        let found = found(db);
        if found.is_empty() {
            return before - model.len();
        }
        for keys in found.iter().filter_map(|damage| damage.keys.as_ref()) {
            tree.remove_range(keys).unwrap();
            model.retain(|key, _| !keys.contains(key));
        }
    }
    panic!("there is no end to it: {:?}", found(db));
}

/// Gives up what reading meets, without a check.
fn give_up_what_is_read(db: &Db, tree: &Tree, model: &mut Model) -> usize {
    let before = model.len();
    // What is in memory is not read, and nobody knows that the log has lost it.
    db.sync().unwrap();
    db.evict_pages();
    let damage = |entry: bwtree::Result<_>| match entry {
        Err(Error::Damaged { found }) => found[0].keys.clone(),
        entry => entry.map_or_else(|error| panic!("{error}"), |_| None),
    };
    while let Some(keys) = tree.iter().find_map(damage) {
        tree.remove_range(&keys).unwrap();
        model.retain(|key, _| !keys.contains(key));
    }
    before - model.len()
}

fn finds_nothing(db: &Db, what: &str) {
    let found = found(db);
    assert!(found.is_empty(), "{what}: {found:?}");
}

fn compare(tree: &Tree, model: &Model, what: &str) {
    let mut rest = model.iter();
    for entry in tree {
        let (key, value) = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (wanted, expected) = rest.next().unwrap();
        assert!(*key == wanted[..] && value == expected[..], "{what}: {key:?}, wanted {wanted:?}");
    }
    assert_eq!(rest.next(), None, "{what}");
    assert_eq!(tree.len(), model.len() as u64, "{what}");
}

fn copied(path: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// The process dies, and the store is opened anew.
fn killed(path: &Path, db: &Db, model: &Model, what: &str) {
    db.sync().unwrap();
    let copy = copied(path);
    let db = open(copy.path(), 64).unwrap_or_else(|error| panic!("{what}: {error}"));
    compare(&db.tree("t").unwrap(), model, what);
    finds_nothing(&db, what);
}

/// The store is used for a while, closed, and opened again.
fn goes_on(path: &Path, (db, tree, mut model): (Db, Tree, Model), random: &mut Random, what: &str) {
    compare(&tree, &model, what);
    for _ in 0..random.below(2) * u64::from(2 * KEYS) {
        let key = random.below(u64::from(KEYS)) as u32;
        put(&tree, &mut model, key, value(random));
    }
    match random.below(3) {
        0 => drop(db.clean(CleanOptions::default()).unwrap()),
        1 => db.checkpoint().unwrap(),
        _ => {}
    }
    finds_nothing(&db, what);
    drop(tree);
    db.close().unwrap();
    opened_anew(path, &model, what);
}

fn opened_anew(path: &Path, model: &Model, what: &str) {
    let db = open(path, 64).unwrap_or_else(|error| panic!("{what}: {error}"));
    compare(&db.tree("t").unwrap(), model, what);
    finds_nothing(&db, what);
    db.close().unwrap();
}

#[test]
fn files_that_are_cut_short_cost_what_was_in_them() {
    let mut random = Random::new(seed("files_that_are_cut_short_cost_what_was_in_them"));
    let (mut lost, mut harmless) = (0, 0);
    for round in 0..amount("BWTREE_FILES_ROUNDS", 12) {
        let dir = tempfile::tempdir().unwrap();
        let files = [4, 64, ALONE][random.index(3)];
        let (db, tree, mut model) = store(dir.path(), files, &mut random);
        let all = segments(dir.path());
        let is_checked = random.once_in(2);
        // What nothing reads is missed by the next opening, and of what lies there twice one place
        // must do: without a check, one file.
        let step = if is_checked { 1 + random.index(4) } else { all.len() };
        let mut before = BTreeMap::new();
        for path in all.iter().skip(random.index(step)).step_by(step) {
            // The store may have given it back meanwhile.
            let Ok(file) = OpenOptions::new().write(true).open(path) else { continue };
            let len = file.metadata().unwrap().len();
            let less = if random.once_in(2) { 4096.min(len) } else { random.below(len + 1) };
            file.set_len(len - less).unwrap();
            before.insert(path, len);
        }
        let what = format!("round {round}, {files} files, checked {is_checked}");
        let of_round = if is_checked {
            give_up(&db, &tree, &mut model)
        } else {
            give_up_what_is_read(&db, &tree, &mut model)
        };
        (lost, harmless) = (lost + of_round, harmless + u32::from(of_round == 0));
        if is_checked {
            if files == ALONE {
                killed(dir.path(), &db, &model, &what);
            }
            goes_on(dir.path(), (db, tree, model), &mut random, &what);
        } else {
            drop(tree);
            db.close().unwrap();
            let opened = Db::builder(dir.path()).read_only(true).open();
            if let Some(error) = opened.err().map(|error| error.to_string()) {
                assert!(error.contains("truncate -s"), "{what}: {error}");
                for (path, len) in before {
                    let file = OpenOptions::new().write(true).open(path).unwrap();
                    file.set_len(len).unwrap();
                }
            }
            // Nothing has read the parts of pages that were in memory.
            let db = open(dir.path(), 64).unwrap_or_else(|error| panic!("{what}: {error}"));
            compare(&db.tree("t").unwrap(), &model, &what);
            let found = found(&db);
            assert!(found.iter().all(|damage| damage.keys.is_none()), "{what}: {found:?}");
            db.close().unwrap();
            opened_anew(dir.path(), &model, &what);
        }
    }
    println!("{lost} entries were lost, none in {harmless} rounds");
    assert!(lost > 0, "no cut has cost anything");
}

/// As programs do that clear out what was not changed for days.
#[test]
fn files_that_are_removed_are_saved_as_far_as_they_are_open() {
    let mut random = Random::new(seed("files_that_are_removed_are_saved"));
    // Of some there is nothing live in the files that are removed, or a stream writes to one.
    let saved = Cell::new(0);
    let rounds = amount("BWTREE_FILES_ROUNDS", 8);
    for round in (0..5 * rounds).take_while(|round| *round < rounds || saved.get() == 0) {
        let dir = tempfile::tempdir().unwrap();
        let files = [1000, 8][round as usize % 2];
        let (db, tree, mut model) = store(dir.path(), files, &mut random);
        db.checkpoint().unwrap();
        let all = segments(dir.path());
        let first = random.index(all.len());
        let is_replaced = random.once_in(2);
        let remove = |path: &&PathBuf| {
            let len = fs::metadata(path).map_or(0, |file| file.len());
            let removed = fs::remove_file(path).is_ok();
            if removed && is_replaced {
                fs::File::create(path).unwrap().set_len(len).unwrap();
            }
            removed
        };
        let removed = all.iter().skip(first).take(4).filter(remove);
        assert!(removed.count() > 0, "round {round}: there was no file left to remove");
        let told = match db.verify() {
            Err(Error::Damaged { found }) => found.to_vec(),
            // There was nothing live in them.
            Ok(_) => continue,
            // A stream writes to one of these, and what is written there does not last.
            Err(error) if error.to_string().contains("was removed while") => continue,
            Err(other) => panic!("round {round}: {other}"),
        };
        if files == 1000 {
            saved.set(saved.get() + 1);
            assert!(told.iter().all(|damage| damage.keys.is_none()), "{told:?}");
            let text = Error::Damaged { found: told.into() }.to_string();
            assert!(text.contains("file was removed") && text.contains("it is mended"), "{text}");
        }
        let given_up = give_up(&db, &tree, &mut model);
        assert!(files < 1000 || given_up == 0, "{given_up} are lost, though all files were open");
        goes_on(dir.path(), (db, tree, model), &mut random, &format!("round {round}"));
    }
    assert!(saved.get() > 0, "none of the stores went on");
}

/// A file that is lost for good: one of zeros in its place costs what lay in it, and no more.
#[test]
fn a_file_of_zeros_stands_in_for_one_that_is_lost() {
    let mut random = Random::new(seed("a_file_of_zeros_stands_in_for_one_that_is_lost"));
    let dir = tempfile::tempdir().unwrap();
    let (db, tree, mut model) = store(dir.path(), 64, &mut random);
    drop(tree);
    db.close().unwrap();
    let mut lost = 0;
    for path in segments(dir.path()).iter().skip(3).step_by(4).take(4) {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let opened = Db::builder(dir.path()).read_only(true).open();
        let Some(refusal) = opened.err().map(|error| error.to_string()) else { continue };
        assert!(refusal.contains(&*path.file_name().unwrap().to_string_lossy()), "{refusal}");
        if refusal.contains("recovery starts in it") {
            fs::write(path, bytes).unwrap();
        } else {
            fs::File::create(path).unwrap().set_len(bytes.len() as u64).unwrap();
            lost += 1;
        }
    }
    assert!(lost > 0, "no file was needed");
    let db = open(dir.path(), 64).unwrap();
    let tree = db.tree("t").unwrap();
    let given_up = give_up(&db, &tree, &mut model);
    assert!(given_up > 0 && !model.is_empty(), "{given_up} are lost");
    goes_on(dir.path(), (db, tree, model), &mut random, "zeros");
}

/// A file that was moved away, or has another name, is not where an opening looks for it. Commits
/// and checkpoints went on in it, a close was content, and the next opening refused.
#[test]
fn a_file_that_has_another_name_is_missed() {
    let mut random = Random::new(seed("a_file_that_has_another_name_is_missed"));
    let mut refused = 0;
    for back in 1..=12 {
        for moved in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let away = tempfile::tempdir().unwrap();
            let (db, tree, model) = store(dir.path(), 64, &mut random);
            let all = segments(dir.path());
            let path = &all[all.len().saturating_sub(back)];
            if moved {
                fs::rename(path, away.path().join("file")).unwrap();
            } else {
                fs::hard_link(path, away.path().join("file")).unwrap();
                fs::remove_file(path).unwrap();
            }
            drop(tree);
            let what = format!("{back} files from the end, moved: {moved}");
            match db.close() {
                Ok(()) => opened_anew(dir.path(), &model, &what),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("removed"), "{what}: {error}");
                }
            }
        }
    }
    println!("{refused} of 24 closes say so");
}

/// Whoever moves files elsewhere and leaves symbolic links in their place has a store as before. A
/// check called them removed, and an opening for writing the superblock.
#[cfg(unix)]
#[test]
fn a_symbolic_link_leads_to_a_file() {
    let mut random = Random::new(seed("a_symbolic_link_leads_to_a_file"));
    let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (db, tree, mut model) = store(dir.path(), 64, &mut random);
    drop(tree);
    db.close().unwrap();
    let mut all = segments(dir.path());
    all.push(dir.path().join("superblock"));
    for path in all {
        let moved = away.path().join(path.file_name().unwrap());
        fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(moved, path).unwrap();
    }
    let db = open(dir.path(), 64).unwrap();
    let tree = db.tree("t").unwrap();
    for key in 0..KEYS / 2 {
        put(&tree, &mut model, key, value(&mut random));
    }
    db.sync().unwrap();
    finds_nothing(&db, "links");
    goes_on(dir.path(), (db, tree, model), &mut random, "links");
}

/// What is acknowledged can be found again: so not without a superblock, and not in a segment of
/// either stream that has no name. Syncs were content for as long as no checkpoint was taken.
#[test]
fn no_sync_is_content_without_its_files() {
    let (seed, mut told) = (seed("no_sync_is_content_without_its_files"), 0);
    for nth in 0.. {
        let dir = tempfile::tempdir().unwrap();
        // The same store each time.
        let mut random = Random::new(seed);
        let (db, tree, mut model) = store(dir.path(), ALONE, &mut random);
        db.sync().unwrap();
        let mut all = segments(dir.path());
        all.push(dir.path().join("superblock"));
        let Some(path) = all.iter().rev().nth(nth) else { break };
        fs::remove_file(path).unwrap();
        put(&tree, &mut model, 1, value(&mut random));
        match db.sync() {
            Err(error) => {
                told += 1;
                assert!(error.to_string().contains("was removed while"), "{error}");
            }
            // Nothing is written there any more; a check and a close miss it if it is needed.
            Ok(()) => assert!(nth > 0, "{} is gone, and a sync is content", path.display()),
        }
    }
    assert_eq!(told, 3, "the superblock, and the segments that two streams write to");
}

/// What lay in a file that was cut to nothing, or was removed while nobody had it open, is in
/// memory: it was given up. A check and a close write it anew, values that lie apart included.
#[test]
fn what_is_in_memory_outlives_its_file() {
    let mut random = Random::new(seed("what_is_in_memory_outlives_its_file"));
    for round in 0..12 {
        let (len, closes, removed) = ([200, 2000][round % 2], round % 4 < 2, round % 3 == 0);
        let what = format!("round {round}, {len} bytes, closes: {closes}, removed: {removed}");
        let dir = tempfile::tempdir().unwrap();
        let db = Db::builder(dir.path()).max_open_files(ALONE).sync_policy(SyncPolicy::Manual);
        let db = db.without_background().open().unwrap();
        let (tree, mut model) = (db.tree("t").unwrap(), Model::new());
        for key in 0..2000 {
            put(&tree, &mut model, key, vec![random.next_u64() as u8; len]);
        }
        db.checkpoint().unwrap();
        let mut all = segments(dir.path());
        all.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        // Not the last ones: streams write to two of them, whatever their numbers are.
        let path = random.pick(&all[..all.len() - 3]);
        if removed {
            fs::remove_file(path).unwrap();
        } else {
            // Of each a part is lost, or all of one: of a page or of its values, or both.
            let some = if round % 4 == 1 { all.clone() } else { vec![path.clone()] };
            for path in some {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                let len = file.metadata().unwrap().len();
                file.set_len(if round % 4 == 1 { len / 3 } else { 0 }).unwrap();
            }
        }
        if closes {
            drop(tree);
            db.close().unwrap();
            opened_anew(dir.path(), &model, &what);
        } else {
            let found = found(&db);
            let lost = found.iter().filter(|damage| damage.keys.is_some()).count();
            assert!(lost == 0 && !found.is_empty(), "{what}: {found:?}");
            finds_nothing(&db, &what);
            killed(dir.path(), &db, &model, &what);
        }
    }
}

/// What an opening reads is written anew where it has gone bad: the superblock, and the frames
/// behind the checkpoint, dead ones too.
#[test]
fn what_a_check_has_passed_can_be_opened_after_a_crash() {
    let mut random = Random::new(seed("what_a_check_has_passed_can_be_opened_after_a_crash"));
    for round in 0..amount("BWTREE_FILES_ROUNDS", 12) {
        let dir = tempfile::tempdir().unwrap();
        let (db, tree, mut model) = store(dir.path(), ALONE, &mut random);
        let mut all = segments(dir.path());
        all.push(dir.path().join("superblock"));
        let path = if random.once_in(3) { &all[all.len() - 1] } else { random.pick(&all) };
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let within = if random.once_in(2) { 64 } else { len };
        for _ in 0..=random.below(8) {
            let at = random.below(within);
            let wrong = vec![random.next_u64() as u8; 100.min(len - at) as usize];
            file.write_all_at(&wrong, at).unwrap();
        }
        let what = format!("round {round}, {}", path.display());
        give_up(&db, &tree, &mut model);
        killed(dir.path(), &db, &model, &what);
        for _ in 0..random.below(600) {
            put(&tree, &mut model, random.below(u64::from(KEYS)) as u32, vec![1; 80]);
        }
        killed(dir.path(), &db, &model, &what);
        goes_on(dir.path(), (db, tree, model), &mut random, &what);
    }
}

/// A file that ends early, of a closed store, is missed if something live of it is gone, and only
/// then; where an opening looks for more of the log it is missed in any case.
#[test]
fn what_was_never_written_is_not_missed() {
    let mut random = Random::new(seed("what_was_never_written_is_not_missed"));
    let dir = tempfile::tempdir().unwrap();
    let (db, tree, model) = store(dir.path(), 64, &mut random);
    drop(tree);
    db.close().unwrap();
    let (mut cut, mut refused) = (0, 0);
    for path in segments(dir.path()) {
        let bytes = fs::read(&path).unwrap();
        let written = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
        if written == bytes.len() || written == 0 {
            continue;
        }
        // What is read may end with zeros.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes.len().min(written + 64) as u64).unwrap();
        match Db::builder(dir.path()).read_only(true).open() {
            Ok(db) => {
                cut += 1;
                compare(&db.tree("t").unwrap(), &model, &path.display().to_string());
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("cut short"), "{error}");
                fs::write(path, bytes).unwrap();
            }
        }
    }
    println!("{cut} files were cut, {refused} more were missed");
    assert!(cut > refused, "{cut} files were cut, {refused} more were missed");
    opened_anew(dir.path(), &model, "cut");
}

/// Somebody puts an old superblock back. The store opened as of then, without a word, and writing
/// went on from there: all that had been written since was removed.
#[test]
fn an_old_superblock_does_not_lead_back() {
    let mut random = Random::new(seed("an_old_superblock_does_not_lead_back"));
    let (mut led_on, mut refused, mut older) = (0, 0, 0);
    for round in 0..amount("BWTREE_FILES_ROUNDS", 12) {
        let dir = tempfile::tempdir().unwrap();
        let superblock = dir.path().join("superblock");
        let mut old = Vec::new();
        let mut model = Model::new();
        for _ in 0..5 {
            let db = open(dir.path(), [64, ALONE][round as usize % 2]).unwrap();
            let tree = db.tree("t").unwrap();
            old.push(fs::read(&superblock).unwrap());
            // Some openings write nothing; the most keep what is there where it is.
            for _ in 0..[0, 1, 300, 3000][random.index(4)] {
                put(&tree, &mut model, random.below(u64::from(KEYS)) as u32, value(&mut random));
            }
            if random.once_in(2) {
                db.checkpoint().unwrap();
                old.push(fs::read(&superblock).unwrap());
            }
            drop(tree);
            if random.once_in(3) {
                db.sync().unwrap();
                let left = copied(dir.path());
                db.close().unwrap();
                fs::remove_dir_all(dir.path()).unwrap();
                fs::rename(left.keep(), dir.path()).unwrap();
            } else {
                db.close().unwrap();
            }
            old.push(fs::read(&superblock).unwrap());
        }
        for (nth, bytes) in old.iter().enumerate() {
            let what = format!("round {round}, superblock {nth}");
            let copy = copied(dir.path());
            fs::write(copy.path().join("superblock"), bytes).unwrap();
            let before = segments(copy.path());
            for read_only in [true, false] {
                match Db::builder(copy.path()).read_only(read_only).open() {
                    Ok(db) => {
                        led_on += 1;
                        compare(&db.tree("t").unwrap(), &model, &what);
                        finds_nothing(&db, &what);
                        db.close().unwrap();
                    }
                    Err(error) => {
                        refused += 1;
                        // What an older one of the last opening leads to may be gone since.
                        let text = error.to_string();
                        let is_told = text.contains("older than the segments");
                        assert!(is_told || text.contains("is missing"), "{what}: {text}");
                        older += u32::from(is_told);
                        assert_eq!(segments(copy.path()), before, "{what}");
                    }
                }
            }
        }
        opened_anew(dir.path(), &model, "the superblock that belongs to the segments");
    }
    println!("{refused} were refused, {older} for their age; {led_on} led to the last commit");
    assert!(older > led_on && led_on > 0, "{older} of {refused} refused for their age");
}
