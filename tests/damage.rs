//! A store with one damaged byte, or a file that is cut off, opens to its right content or says
//! what is damaged: never a wrong answer, a panic or a hang.
//!
//! `BWTREE_DAMAGE=1` writes, cleans, dumps and mends the store after each wrong byte, instead of
//! after one in a dozen.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bwtree::io::MemoryDisk;
use bwtree::{Builder, CleanOptions, Damage, Db, Error, SyncPolicy};
use bwtree_tests::{Random, amount, seed};

type Files = BTreeMap<String, Vec<u8>>;
/// Tree by tree, entry by entry.
type Content = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;

/// Most bytes that are damaged one by one; of a longer file as many are drawn.
const MOST: usize = 64 << 10;

fn builder() -> Builder {
    Db::builder("unused").tiny().without_background().sync_policy(SyncPolicy::Manual)
}

/// What the store on these files holds, read by every way there is.
fn content(files: &Files, read_only: bool) -> bwtree::Result<Content> {
    let disk = MemoryDisk::with_files(files.clone());
    let read = || {
        let db = builder().create(false).read_only(read_only).open_on(Arc::new(disk.clone()))?;
        let mut content = Content::new();
        for name in db.tree_names()? {
            let Some(tree) = db.find_tree(&name)? else {
                panic!("the tree {name:?} is listed and not there")
            };
            let mut entries = Vec::new();
            for entry in &tree {
                let (key, value) = entry?;
                assert_eq!(tree.get(&key)?.as_ref(), Some(&value), "get and scan disagree");
                entries.push((key.to_vec(), value.to_vec()));
            }
            let backwards = tree.iter().rev().collect::<bwtree::Result<Vec<_>>>()?;
            assert!(backwards.iter().rev().map(|(k, _)| k).eq(entries.iter().map(|(k, _)| k)));
            if tree.len() != entries.len() as u64 {
                let what = format!("{} entries, len {}", entries.len(), tree.len());
                assert!(db.verify().is_err(), "verify does not mind: {what}");
                return Err(Error::Corrupt { what });
            }
            content.push((name, entries));
        }
        db.verify()?;
        Ok(content)
    };
    let content = read();
    if read_only {
        assert!(disk.files() == *files, "a read-only open has changed something");
    }
    content
}

/// What came of the damages.
#[derive(Debug, Default)]
struct Tally {
    harmless: u64,
    refused: u64,
    /// Stores that did not open at all for one wrong byte.
    shut: u64,
    said: Vec<String>,
    /// Stores that opened with a page that cannot be read, and of these, those that were mended.
    with_loss: u64,
    mended: u64,
    /// Stores that lost nothing, and were as good as new after a checkpoint.
    healed: u64,
}

impl Tally {
    /// Opens the damaged store and judges what comes of it.
    fn judge(&mut self, what: &str, damaged: &Files, right: &Content, read_only: bool) {
        let started = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| content(damaged, read_only)));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
        match found {
            Err(panic) => {
                println!("{what}: panicked");
                std::panic::resume_unwind(panic)
            }
            Ok(Ok(found)) if found == *right => self.harmless += 1,
            Ok(Ok(found)) => {
                let lens = |content: &Content| -> Vec<(String, usize)> {
                    content.iter().map(|(name, all)| (name.clone(), all.len())).collect()
                };
                panic!("{what}: wrong content: {:?}, not {:?}", lens(&found), lens(right))
            }
            Ok(Err(error)) => {
                let message = error.to_string();
                assert!(!message.is_empty() && !message.contains('\n'), "{what}: {message:?}");
                self.refused += 1;
            }
        }
    }

    /// Of a store with one wrong byte that opens, the keys of one page are lost, and nothing else;
    /// these are told, and if `mend`, they can be given up.
    fn judge_loss(&mut self, damaged: &Files, right: &Content, mend: bool) -> Result<(), String> {
        let disk = MemoryDisk::with_files(damaged.clone());
        let builder = || builder().create(false).read_only(!mend);
        let db = match builder().open_on(Arc::new(disk.clone())) {
            Ok(db) => db,
            Err(error) => {
                self.shut += 1;
                let error = error.to_string();
                if !self.said.contains(&error) {
                    println!("does not open: {error}");
                    self.said.push(error);
                }
                return Ok(());
            }
        };
        let Some((name, lost)) = lost(&db, right)? else {
            // An inner page: it is made again of what is below it, and written with the next
            // commit. Or what is there twice: who meets the bad place has it written anew.
            if mend {
                // An opening, and who reads, mend what they meet.
                let is_checked = self.healed.is_multiple_of(2);
                if is_checked {
                    let _met = db.verify();
                }
                db.close().map_err(|e| format!("close: {e}"))?;
                let db = builder().read_only(true).open_on(Arc::new(disk));
                let db = db.map_err(|e| format!("reopening: {e}"))?;
                let unmet = |damage: &Damage| damage.what.contains("it lies in two places");
                match db.verify() {
                    Err(Error::Damaged { found }) if !is_checked && found.iter().all(unmet) => {}
                    Err(error) => return Err(format!("nothing is lost, and verify says {error}")),
                    Ok(_) => {}
                }
                self.healed += 1;
            }
            return Ok(());
        };
        self.with_loss += 1;
        let all = match db.verify() {
            Err(Error::Damaged { found }) => found,
            other => return Err(format!("verify says {other:?}")),
        };
        if !all.iter().any(|damage| damage.tree == name && damage.keys == lost.keys) {
            return Err(format!("verify does not tell {lost:?}, but {all:?}"));
        }
        if !mend {
            return Ok(());
        }
        self.mended += 1;
        mended(&db, right, &name, &lost).map_err(|what| format!("{lost:?}: {what}"))?;
        db.close().map_err(|e| format!("close: {e}"))?;
        let db = builder().open_on(Arc::new(disk)).map_err(|e| format!("reopening: {e}"))?;
        db.verify().map_err(|e| format!("verify after mending: {e}"))?;
        for (tree_name, entries) in right {
            let tree = db.tree(tree_name).map_err(|e| e.to_string())?;
            let values = tree.values().map(|value| value.map_err(|e| e.to_string()));
            let values = values.collect::<Result<Vec<_>, String>>()?;
            if values.len() != entries.len() || values.iter().any(|value| value != "new") {
                return Err(format!("{tree_name} has {} values, not all new", values.len()));
            }
        }
        Ok(())
    }
}

/// The one damage that reading all keys meets, and its tree. Everything else is as it was.
fn lost(db: &Db, right: &Content) -> Result<Option<(String, Damage)>, String> {
    let mut lost: Option<(String, Damage)> = None;
    for (name, entries) in right {
        let tree = db.find_tree(name).map_err(|e| e.to_string())?.ok_or("a tree is gone")?;
        for (key, value) in entries {
            match tree.get(key) {
                Ok(Some(found)) if found == value => {}
                Ok(other) => return Err(format!("{name}, {key:?} has {other:?}")),
                Err(error) => {
                    let damage = match &error {
                        Error::Damaged { found } => found[0].clone(),
                        error => return Err(format!("{name}, {key:?}: {error}")),
                    };
                    let within = damage.keys.as_ref().is_some_and(|keys| keys.contains(key));
                    let same = lost.as_ref().is_none_or(|(of, is)| of == name && *is == damage);
                    if !within || !same {
                        return Err(format!("{name}, {key:?}: {damage:?}, but before {lost:?}"));
                    }
                    lost = Some((name.clone(), damage));
                }
            }
        }
    }
    Ok(lost)
}

/// Writes all keys but the lost ones, dumps them, cleans, gives the lost ones up and writes them.
fn mended(db: &Db, right: &Content, name: &str, damage: &Damage) -> Result<(), String> {
    let of = |what: &str| {
        let what = what.to_owned();
        move |error: Error| format!("{what}: {error}")
    };
    let keys = damage.keys.as_ref().unwrap();
    let (first, end) = (keys.first.as_slice(), keys.end.as_deref());
    let is_lost = |of: &str, key: &Vec<u8>| of == name && keys.contains(key);
    for (name, entries) in right {
        let tree = db.tree(name).map_err(of("tree"))?;
        for (key, _) in entries.iter().filter(|(key, _)| !is_lost(name, key)) {
            tree.put(key, "new").map_err(of("put"))?;
        }
    }
    db.clean(CleanOptions::default()).map_err(of("clean"))?;
    let tree = db.tree(name).map_err(of("tree"))?;
    let before = tree.range(..first).collect::<Result<Vec<_>, _>>();
    let behind = end.map(|end| tree.range(end..));
    let behind = behind.into_iter().flatten().collect::<Result<Vec<_>, _>>();
    let dumped = before.map_err(of("dump"))?.len() + behind.map_err(of("dump"))?.len();
    let all = right.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, all)| all);
    if dumped != all.iter().filter(|(key, _)| !is_lost(name, key)).count() {
        return Err(format!("{dumped} entries dumped"));
    }
    // Of a value apart from its page, the page can be written.
    if end != Some(&[first, &[0]].concat()) {
        tree.put(first, "x").err().ok_or("a put into a damaged page")?;
    }
    tree.remove_range(keys).map_err(of("giving up"))?;
    if tree.len() != dumped as u64 {
        return Err(format!("{} entries, and {dumped} were dumped", tree.len()));
    }
    db.verify().map_err(of("verify of what was given up"))?;
    for (key, _) in all.iter().filter(|(key, _)| is_lost(name, key)) {
        tree.put(key, "new").map_err(of("put"))?;
    }
    Ok(())
}

/// A small store in which everything occurs: several trees, one dropped, splits, merges, values
/// apart from their pages, several segments, cleaning; closed.
fn store(entries: u64) -> (Files, Content) {
    let disk = MemoryDisk::new();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let (one, two) = (db.tree("one").unwrap(), db.tree("two").unwrap());
    db.tree("dropped").unwrap().put("k", "v").unwrap();
    let value = |key: u64, round: u64| match key % 23 {
        0 => vec![(key + round) as u8; 1100],
        _ => vec![(key + round) as u8; 5 + (key % 30) as usize],
    };
    for round in 0..3 {
        for key in 0..entries {
            one.put(format!("key {:03}", key * 7 % entries), value(key, round)).unwrap();
            if key % 16 == 0 {
                db.sync().unwrap();
            }
        }
        two.remove_range(..).unwrap();
        (0..entries / 2).for_each(|key| two.put(key.to_be_bytes(), vec![3; 20]).unwrap());
        one.remove_range(b"key 010".as_slice()..b"key 019".as_slice()).unwrap();
    }
    db.drop_tree("dropped").unwrap();
    db.clean(CleanOptions::default()).unwrap();
    one.put("after the cleaning", "x").unwrap();
    db.close().unwrap();
    drop((one, two));
    let files = disk.files();
    let right = content(&files, true).unwrap();
    assert_eq!(right.len(), 2);
    (files, right)
}

/// The bytes of a file that are to be damaged: all of them, or some of them.
fn places(len: usize, random: &mut Random) -> Vec<usize> {
    if len <= MOST {
        return (0..len).collect();
    }
    (0..MOST).map(|_| random.index(len)).collect()
}

#[test]
fn every_byte() {
    let mut random = Random::new(seed("every_byte"));
    let all = amount("BWTREE_DAMAGE", 0) != 0;
    let (files, right) = store(60);
    let sizes: Vec<_> = files.iter().map(|(name, bytes)| (name, bytes.len())).collect();
    println!("every_byte: {sizes:?}");
    let mut tally = Tally::default();
    for (name, bytes) in &files {
        let mut of_file = Tally::default();
        let mut shut: Vec<usize> = Vec::new();
        for at in places(bytes.len(), &mut random) {
            // Nothing in a zero that was never written can be damaged to any effect worth much
            // time: of these, one in sixteen.
            let blank = &bytes[at.saturating_sub(64)..(at + 64).min(bytes.len())];
            if !all && blank.iter().all(|&byte| byte == 0) && !random.once_in(16) {
                continue;
            }
            let mut damaged = files.clone();
            let flip = match random.below(3) {
                0 => 1 << random.below(8),
                1 => 0xFF,
                _ => 1 + random.below(255) as u8,
            };
            damaged.get_mut(name).unwrap()[at] ^= flip;
            let what = format!("{name}, byte {at} xor {flip:#x}");
            let before = (of_file.refused, of_file.shut);
            of_file.judge(&what, &damaged, &right, random.once_in(2));
            if of_file.refused > before.0 && (all || random.once_in(3)) {
                let mend = all || random.once_in(4);
                let judged = of_file.judge_loss(&damaged, &right, mend);
                if of_file.shut > before.1 {
                    shut.push(at);
                }
                judged.unwrap_or_else(|wrong| panic!("{what}, to mend: {mend}: {wrong}"));
            }
        }
        println!("every_byte: {name}: {of_file:?}");
        let ranges = shut.chunk_by(|a, b| b - a < 8).map(|run| run[0]..=run[run.len() - 1]);
        println!("every_byte: {name}: shut by {:?}", ranges.collect::<Vec<_>>());
        tally.harmless += of_file.harmless;
        tally.refused += of_file.refused;
        tally.with_loss += of_file.with_loss;
        tally.mended += of_file.mended;
        tally.healed += of_file.healed;
        tally.shut += of_file.shut;
    }
    assert_eq!(tally.shut, 0, "one wrong byte stops no store from opening");
    assert!(tally.refused > 1000 && tally.harmless > 100, "{tally:?}");
    assert!(tally.with_loss > 1000 && tally.mended > 100 && tally.healed > 5, "{tally:?}");
}

#[test]
fn every_file_cut_off_or_missing() {
    let mut random = Random::new(seed("every_file_cut_off_or_missing"));
    let (files, right) = store(60);
    let mut tally = Tally::default();
    for (name, bytes) in &files {
        let mut lengths: Vec<usize> = (0..150).map(|_| random.index(bytes.len())).collect();
        lengths.extend((0..bytes.len().min(70)).chain([bytes.len() - 1]));
        lengths.extend((0..bytes.len()).step_by(512));
        for len in lengths {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap().truncate(len);
            tally.judge(&format!("{name} cut to {len}"), &damaged, &right, random.once_in(2));
            // As long as before, but empty from there on.
            damaged.get_mut(name).unwrap().resize(bytes.len(), 0);
            tally.judge(&format!("{name} blank from {len}"), &damaged, &right, random.once_in(2));
        }
        let mut damaged = files.clone();
        damaged.remove(name);
        tally.judge(&format!("{name} missing"), &damaged, &right, true);
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap().extend([0xAB; 700]);
        tally.judge(&format!("{name} with more at its end"), &damaged, &right, true);
        for other in files.keys().filter(|other| *other != name) {
            let mut damaged = files.clone();
            damaged.insert(name.clone(), files[other].clone());
            tally.judge(&format!("{name} replaced by {other}"), &damaged, &right, true);
        }
    }
    println!("every_file_cut_off_or_missing: {tally:?}");
    assert!(tally.refused > 100 && tally.harmless > 10, "{tally:?}");
}

#[test]
fn much_damage_at_once() {
    let mut random = Random::new(seed("much_damage_at_once"));
    let (files, right) = store(100);
    let names: Vec<&String> = files.keys().collect();
    let mut tally = Tally::default();
    for round in 0..3000 {
        let mut damaged = files.clone();
        for _ in 0..=random.below(6) {
            let bytes = damaged.get_mut(*random.pick(&names)).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = random.index(bytes.len());
            let len = (1 + random.index(600)).min(bytes.len() - at);
            match random.below(3) {
                0 => bytes[at..at + len].fill(0),
                1 => bytes[at..at + len].fill_with(|| random.next_u64() as u8),
                _ => {
                    let from = random.index(bytes.len() - len + 1);
                    bytes.copy_within(from..from + len, at);
                }
            }
        }
        tally.judge(&format!("round {round}"), &damaged, &right, random.once_in(2));
    }
    println!("much_damage_at_once: {tally:?}");
    assert!(tally.refused > 100 && tally.harmless > 10, "{tally:?}");
}

#[test]
fn a_sound_store_opens_for_reading_and_stays_as_it_is() {
    let (files, right) = store(60);
    assert!(content(&files, true).unwrap() == right);
    assert!(content(&files, false).unwrap() == right);
    let disk = MemoryDisk::with_files(files.clone());
    let db = builder().read_only(true).open_on(Arc::new(disk.clone())).unwrap();
    let second = builder().read_only(true).open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.find_tree("one").unwrap().unwrap();
    assert!(matches!(tree.put("k", "v"), Err(Error::ReadOnly | Error::Log(_))));
    assert!(matches!(tree.delete("key 001"), Err(Error::ReadOnly | Error::Log(_))));
    assert!(matches!(db.tree("new"), Err(Error::NoSuchTree { .. })));
    assert!(matches!(db.drop_tree("one"), Err(Error::ReadOnly)));
    assert!(matches!(db.checkpoint(), Err(Error::ReadOnly)));
    assert!(matches!(db.clean(CleanOptions::default()), Err(Error::ReadOnly)));
    db.sync().unwrap();
    db.verify().unwrap();
    second.verify().unwrap();
    second.close().unwrap();
    db.close().unwrap();
    assert!(disk.files() == files);
}
