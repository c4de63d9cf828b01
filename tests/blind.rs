//! Writes to pages that are not in memory: they read nothing, and nobody can tell.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bwtree::io::SimDisk;
use bwtree::{CleanOptions, Db, SyncPolicy, Tree};
use bwtree_tests::{Random, amount, seed};

const BUDGET: u64 = 1 << 20;
const KEYS: u64 = 24_000;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(disk: &SimDisk) -> Db {
    let builder = Db::builder("unused").memory_budget_bytes(BUDGET);
    builder.sync_policy(SyncPolicy::Manual).open_on(Arc::new(disk.clone())).unwrap()
}

/// Keys that share prefixes, and some of which are prefixes of others.
fn key(n: u64) -> Vec<u8> {
    let mut key = format!("key {:05}", n * 7919 % KEYS).into_bytes();
    if n.is_multiple_of(3) {
        key.extend_from_slice(b", and more");
    }
    key
}

fn value(random: &mut Random) -> Vec<u8> {
    vec![random.below(256) as u8; random.index(250)]
}

fn fill(tree: &Tree, model: &mut Model, random: &mut Random) {
    for n in 0..KEYS {
        let value = value(random);
        tree.put(key(n), value.clone()).unwrap();
        model.insert(key(n), value);
    }
}

fn compare(tree: &Tree, model: &Model) {
    let entries = tree.iter().map(|entry| entry.unwrap());
    let wrong = entries.zip(model).find(|((k, v), (mk, mv))| k != *mk || v != *mv);
    assert!(wrong.is_none(), "{wrong:?}");
    assert_eq!(tree.len(), model.len() as u64);
    assert_eq!(tree.iter().count(), model.len());
}

/// Puts and removals that read nothing, among all else that is done to a tree: the tree is what a
/// `BTreeMap` is, and so is its length, at every moment, and after each manner of opening it again.
#[test]
fn blind_writes_are_writes() {
    let mut random = Random::new(seed("blind"));
    let mut disk = SimDisk::new();
    let mut model = Model::new();
    let mut db = open(&disk);
    let mut tree = db.tree("t").unwrap();
    fill(&tree, &mut model, &mut random);
    db.sync().unwrap();
    let mut blind = 0;
    let rounds = amount("BWTREE_BLIND_ROUNDS", 30);
    for round in 0..rounds {
        for _ in 0..2000 {
            let key = key(random.below(KEYS + 50));
            match random.below(100) {
                0..65 => {
                    let value = value(&mut random);
                    tree.put(&key, value.clone()).unwrap();
                    model.insert(key, value);
                }
                65..90 => {
                    tree.discard(&key).unwrap();
                    model.remove(&key);
                }
                90 => {
                    let had = tree.delete(&key).unwrap();
                    assert_eq!(had, model.remove(&key).is_some());
                }
                91 => {
                    let value = value(&mut random);
                    let before = tree.insert(&key, value.clone()).unwrap();
                    assert_eq!(before.map(|v| v.to_vec()), model.insert(key, value));
                }
                92 => {
                    let found = tree.ge(&key).unwrap().map(|(k, v)| (k.to_vec(), v.to_vec()));
                    let is = model.range(key..).next().map(|(k, v)| (k.clone(), v.clone()));
                    assert_eq!(found, is);
                }
                93 => {
                    let removed = tree.remove(&key).unwrap().map(|v| v.to_vec());
                    assert_eq!(removed, model.remove(&key));
                }
                94 => {
                    // Too large for a page.
                    let value = vec![7; 5000];
                    if random.once_in(20) {
                        tree.put(&key, value.clone()).unwrap();
                        model.insert(key, value);
                    }
                }
                _ => {
                    let found = tree.get(&key).unwrap().map(|v| v.to_vec());
                    assert_eq!(found.as_ref(), model.get(&key));
                }
            }
            if random.once_in(700) {
                db.sync().unwrap();
            }
        }
        match round % 10 {
            1 => assert_eq!(tree.len(), model.len() as u64),
            2 => _ = db.clean(CleanOptions::default()).unwrap(),
            3 => db.checkpoint().unwrap(),
            4 => _ = db.verify().unwrap(),
            5 => compare(&tree, &model),
            6..9 => {
                blind += db.stats().blind_writes;
                drop(tree);
                match round % 3 {
                    0 => db.close().unwrap(),
                    1 => drop(db),
                    _ => {
                        db.sync().unwrap();
                        disk = disk.kill();
                        drop(db);
                    }
                }
                db = open(&disk);
                tree = db.tree("t").unwrap();
                if random.once_in(2) {
                    assert_eq!(tree.len(), model.len() as u64);
                }
                // After an opening nobody knows of a page that it is posted, before it was read.
                assert_eq!(tree.iter().count(), model.len());
            }
            _ => {}
        }
    }
    compare(&tree, &model);
    _ = db.verify().unwrap();
    blind += db.stats().blind_writes;
    println!("{blind} blind writes in {rounds} rounds of 1,800");
    assert!(blind > 300 * rounds, "{blind} blind writes");
}

/// Each key is written by one thread, blindly, while others read, count, sync and clean: what a
/// thread has written last is what is there.
#[test]
fn threads_write_blindly_beside_all_else() {
    const THREADS: u64 = 3;
    let (disk, seed) = (SimDisk::new(), seed("blind threads"));
    let db = open(&disk);
    let tree = db.tree("t").unwrap();
    let mut model = Model::new();
    fill(&tree, &mut model, &mut Random::new(seed));
    db.sync().unwrap();
    let over = AtomicBool::new(false);
    let writes = amount("BWTREE_BLIND_WRITES", 15_000);
    let written: Vec<Model> = std::thread::scope(|scope| {
        let (tree, db, over) = (&tree, &db, &over);
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = Random::new(seed + thread);
                    let mut mine = Model::new();
                    for _ in 0..writes {
                        let key = key(random.below(KEYS / THREADS) * THREADS + thread);
                        if random.once_in(4) {
                            tree.discard(&key).unwrap();
                            mine.insert(key, Vec::new());
                        } else {
                            let value = [&[1], value(&mut random).as_slice()].concat();
                            tree.put(&key, value.clone()).unwrap();
                            mine.insert(key, value);
                        }
                        if random.once_in(50) {
                            let (key, value) = mine.iter().next().unwrap();
                            let found = tree.get(key).unwrap().unwrap_or_default();
                            assert_eq!(found, value);
                        }
                    }
                    mine
                })
            })
            .collect();
        scope.spawn(move || {
            let mut random = Random::new(seed);
            while !over.load(Ordering::Relaxed) {
                match random.below(4) {
                    0 => drop(tree.len()),
                    1 => drop(tree.iter().take(500).count()),
                    2 => _ = db.clean(CleanOptions::default()).unwrap(),
                    _ => db.sync().unwrap(),
                }
            }
        });
        let written = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        written
    });
    for (key, value) in written.into_iter().flatten() {
        if value.is_empty() {
            model.remove(&key);
        } else {
            model.insert(key, value);
        }
    }
    let stats = db.stats();
    println!("{} blind writes, {} page-ins", stats.blind_writes, stats.page_ins);
    assert!(stats.blind_writes > 1000, "{stats:?}");
    compare(&tree, &model);
    _ = db.verify().unwrap();
    db.sync().unwrap();
    drop(tree);
    let killed = disk.kill();
    drop(db);
    compare(&open(&killed).tree("t").unwrap(), &model);
}

/// A page that is written again and again without being read has a bounded number of parts: what
/// is live in the log is a few times what is in the tree, and not all that was ever put.
#[test]
fn a_page_that_is_never_read_has_few_parts() {
    const KEYS: u64 = 8000;
    let db = open(&SimDisk::new());
    let tree = db.tree("t").unwrap();
    let put_all = |turn: u64| {
        for n in 0..KEYS {
            tree.put((n * 7919 % KEYS).to_be_bytes(), vec![turn as u8; 200]).unwrap();
        }
        db.sync().unwrap();
    };
    put_all(0);
    let before = db.stats();
    (1..20).for_each(put_all);
    let stats = db.stats();
    let times = stats.live_bytes as f64 / (KEYS * 208) as f64;
    let blind = stats.blind_writes - before.blind_writes;
    println!("{blind} of {} writes were blind, {times:.1} x the data are live", 19 * KEYS);
    assert!(blind > 19 * KEYS / 2, "{blind} blind writes");
    assert!(times < 8.0, "{times} x the data are live");
}

/// What is put to a page that turns out to be damaged harms nothing: syncs succeed, all else is
/// there, and the damage is told to who reads the page.
#[test]
fn a_page_that_is_damaged_while_it_takes_writes_harms_no_other() {
    const KEYS: u32 = 8000;
    const VICTIM: u32 = 4000;
    let value = |n: u32, turn: u32| format!("<value {n:08} {turn:08}>").repeat(10).into_bytes();
    let dir = tempfile::tempdir().unwrap();
    let builder =
        || Db::builder(dir.path()).memory_budget_bytes(BUDGET).sync_policy(SyncPolicy::Manual);
    let db = builder().open().unwrap();
    let tree = db.tree("t").unwrap();
    let read_others = || {
        for n in (0..KEYS).filter(|n| n.abs_diff(VICTIM) > 200) {
            drop(tree.get(n.to_be_bytes()));
        }
    };
    for n in 0..KEYS {
        tree.put(n.to_be_bytes(), value(n, 0)).unwrap();
    }
    db.sync().unwrap();
    // Until the page of the victim is away, which a write to it tells.
    let blind = || {
        let before = db.stats().blind_writes;
        read_others();
        tree.put((VICTIM + 1).to_be_bytes(), value(VICTIM + 1, 0)).unwrap();
        db.stats().blind_writes > before
    };
    assert!((0..50).any(|_| blind()), "the page is never evicted");
    db.sync().unwrap();
    let mut flipped = 0;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let wanted = value(VICTIM, 0);
        let found: Vec<_> = (0..bytes.len().saturating_sub(wanted.len()))
            .filter(|&at| bytes[at..].starts_with(&wanted))
            .collect();
        for at in &found {
            bytes[*at] ^= 1;
        }
        if !found.is_empty() {
            // In place: the store has it open.
            use std::os::unix::fs::FileExt;
            let open = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            open.write_all_at(&bytes, 0).unwrap();
            flipped += found.len();
        }
    }
    assert!(flipped > 0, "the value is nowhere");
    let before = db.stats().blind_writes;
    'told: for turn in 1..60 {
        for n in VICTIM - 3..VICTIM + 3 {
            // Once somebody has met the damage, nothing more is put there.
            match tree.put(n.to_be_bytes(), value(n, turn)) {
                Err(error) if error.is_damage() => break 'told,
                put => put.unwrap(),
            }
        }
        db.sync().unwrap();
        if db.stats().damaged_pages > 0 {
            break;
        }
    }
    // Or somebody has read it since, and that was the end of it.
    let stats = db.stats();
    assert!(stats.blind_writes > before || stats.damaged_pages > 0, "the page was not away");
    let error = tree.get(VICTIM.to_be_bytes()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    db.sync().unwrap();
    let lost = |tree: &Tree| -> Vec<u32> {
        let damaged = |n: &u32| match tree.get(n.to_be_bytes()) {
            Ok(found) => {
                assert!(found.is_some(), "{n} is gone");
                false
            }
            Err(error) => error.is_damage(),
        };
        (0..KEYS).filter(damaged).collect()
    };
    let here = lost(&tree);
    assert!(here.contains(&VICTIM) && here.len() < 200, "{here:?}");
    drop(tree);
    db.close().unwrap();
    let db = builder().open().unwrap();
    assert_eq!(lost(&db.tree("t").unwrap()), here);
}
