//! When the disk, the directory or the caller fails, the error says so and nothing that was
//! acknowledged is lost.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{Fault, Op, SimDisk};
use bwtree::{
    Builder, CleanOptions, CleaningSchedule, Db, Error, LogError, Result, SyncPolicy, Tree,
};
use bwtree_tests::{Random, seed};

/// Words of which every message has one: what to do.
const ADVICE: [&str; 17] = [
    "open", "close", "free", "try", "choose", "give", "use ", "allow", "restore", "raise", "check",
    "remove", "at most", "the most", "1 to", "decide", "must",
];

/// The error, whose message is one line that says what to do.
fn error<T>(result: Result<T>) -> Error {
    let Err(error) = result else { panic!("this should have failed") };
    let message = error.to_string();
    println!("  {message}");
    assert!(!message.contains('\n') && message.is_ascii(), "{message:?}");
    assert!(ADVICE.iter().any(|advice| message.contains(advice)), "what to do? {message:?}");
    error
}

fn builder() -> Builder {
    Db::builder("unused").tiny().without_background().sync_policy(SyncPolicy::Manual)
}

fn open(disk: &SimDisk) -> Db {
    builder().open_on(Arc::new(disk.clone())).unwrap()
}

fn key(number: u64) -> String {
    format!("key {number:05}")
}

fn assert_has(tree: &Tree, keys: std::ops::Range<u64>, value: &[u8]) {
    for number in keys {
        let found = tree.get(key(number)).unwrap();
        assert!(found.as_deref() == Some(value), "key {number}: {found:?}");
    }
}

#[test]
fn a_failed_sync_ends_all_writing_until_the_store_is_opened_again() {
    let mut random = Random::new(seed("a_failed_sync_ends_all_writing"));
    let mut failed = 0;
    for (op, fault) in [
        (Op::Sync, Fault::Eio),
        (Op::Write, Fault::Eio),
        (Op::Write, Fault::ShortWrite),
        (Op::SyncDirectory, Fault::Eio),
    ] {
        for nth in 1..12 {
            let disk = SimDisk::new();
            let db = open(&disk);
            let tree = db.tree("t").unwrap();
            (0..200).for_each(|number| tree.put(key(number), "synced").unwrap());
            db.sync().unwrap();
            disk.fail(op, nth, fault);
            let mut first = None;
            for round in 0..8 {
                for number in 200 + round * 100..300 + round * 100 {
                    tree.put(key(number), vec![7; 100]).unwrap();
                }
                if let Err(error) = db.sync() {
                    first = Some(error);
                    break;
                }
            }
            // Few calls of this kind may come; then there is nothing to see.
            let Some(first) = first else { continue };
            if matches!(&first, Error::Log(log) if log.stops_one_group()) {
                // It was to a file that nothing lies in yet.
                db.sync().unwrap();
                continue;
            }
            failed += 1;
            error::<()>(Err(first));
            // No more writes, of any kind; reads go on.
            error(tree.put("k", "v"));
            error(tree.insert("k", "v"));
            error(tree.remove(key(1)));
            error(tree.compare_exchange("k", None, Some(b"v")));
            error(db.sync());
            error(db.checkpoint());
            error(db.clean(CleanOptions::default()));
            error(db.tree("another"));
            assert_has(&tree, 0..200, b"synced");
            assert!(tree.iter().count() >= 200);
            // What was durable is there after a crash in which anything else may be lost.
            let crashed = disk.crash(&mut |below| random.below(below));
            error(db.close());
            drop(tree);
            let db = open(&crashed);
            let tree = db.find_tree("t").unwrap().unwrap();
            assert_has(&tree, 0..200, b"synced");
            db.verify().unwrap();
            tree.put("k", "v").unwrap();
            db.sync().unwrap();
            db.close().unwrap();
        }
    }
    println!("{failed} failures");
    assert!(failed > 15);
}

#[test]
fn a_read_that_fails_is_an_error_and_the_next_one_may_succeed() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let tree = db.tree("t").unwrap();
    (0..300).for_each(|number| tree.put(key(number), vec![1; 50]).unwrap());
    db.close().unwrap();
    drop(tree);
    for (inner, errors) in [(true, 0), (false, 1)] {
        let db = open(&disk);
        let tree = db.tree("t").unwrap();
        if !inner {
            assert!(tree.get(key(0)).unwrap().is_some(), "the inner pages are in memory now");
        }
        disk.fail(Op::Read, 1, Fault::Eio);
        let failed = (0..300).filter(|number| tree.get(key(*number)).is_err()).count();
        assert_eq!(failed, errors, "an inner page is made of its children, a leaf is not");
        assert_has(&tree, 0..300, &[1; 50]);
        db.verify().unwrap();
    }
}

#[test]
fn a_full_disk_is_no_end() {
    for policy in [SyncPolicy::Manual, SyncPolicy::Always, SyncPolicy::EveryWrites(7)] {
        for background in [false, true] {
            let disk = SimDisk::new();
            let open = || {
                let builder = Db::builder("unused").tiny().sync_policy(policy);
                let builder = if background { builder } else { builder.without_background() };
                builder.open_on(Arc::new(disk.clone())).unwrap()
            };
            let db = open();
            let tree = db.tree("t").unwrap();
            (0..100).for_each(|number| tree.put(key(number), vec![1; 300]).unwrap());
            db.sync().unwrap();
            disk.set_capacity(Some(disk.used() + (40 << 10)));
            let mut acknowledged = 100;
            let mut visible = 100;
            let full = loop {
                assert!(visible < 10_000, "the disk does not get full");
                let done = tree.put(key(visible), vec![1; 300]).and_then(|()| {
                    visible += 1;
                    if visible % 20 == 0 {
                        db.sync().map(|()| acknowledged = visible)
                    } else {
                        Ok(())
                    }
                });
                if let Err(error) = done {
                    break error;
                }
            };
            assert!(matches!(&full, Error::Log(log) if log.is_full()), "{full:?}");
            error::<()>(Err(full));
            // Again and again, as long as there is no room; nothing is lost meanwhile.
            for _ in 0..5 {
                assert!(tree.put(key(visible), vec![1; 300]).is_err());
                let _full = db.sync();
            }
            visible += u64::from(tree.contains_key(key(visible)).unwrap());
            assert_has(&tree, 0..visible, &[1; 300]);
            let kept = disk.kill();
            let other = builder().open_on(Arc::new(kept)).unwrap();
            let others = other.find_tree("t").unwrap().unwrap();
            assert_has(&others, 0..acknowledged, &[1; 300]);
            other.verify().unwrap();
            // There is room again: all that is visible becomes durable, and writing goes on.
            disk.set_capacity(None);
            db.sync().unwrap();
            for number in visible..visible + 100 {
                tree.put(key(number), vec![1; 300]).unwrap();
            }
            db.sync().unwrap();
            let kept = disk.kill();
            let other = builder().open_on(Arc::new(kept)).unwrap();
            let others = other.find_tree("t").unwrap().unwrap();
            assert_has(&others, 0..visible + 100, &[1; 300]);
            assert_eq!(others.len(), visible + 100);
            other.verify().unwrap();
            db.clean(CleanOptions::default()).unwrap();
            db.close().unwrap();
        }
    }
}

#[test]
fn a_full_disk_leaves_room_for_deletion_and_cleaning() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let tree = db.tree("t").unwrap();
    for round in 0..10_u8 {
        (0..200).for_each(|number| tree.put(key(number), vec![round; 300]).unwrap());
        db.sync().unwrap();
    }
    // Hardly anything fits; but what is dead can be given back.
    disk.set_capacity(Some(disk.used() + (48 << 10)));
    (50..200).for_each(|number| assert!(tree.delete(key(number)).unwrap()));
    db.sync().unwrap();
    let before = db.stats().disk_bytes;
    db.clean(CleanOptions::default()).unwrap();
    assert!(db.stats().disk_bytes < before / 2, "{} of {before}", db.stats().disk_bytes);
    (200..300).for_each(|number| tree.put(key(number), vec![1; 300]).unwrap());
    db.sync().unwrap();
    assert_has(&tree, 0..50, &[9; 300]);
    db.verify().unwrap();
}

#[test]
fn a_failure_in_the_background_reaches_the_caller() {
    let disk = SimDisk::new();
    let builder = Db::builder("unused").tiny().sync_policy(SyncPolicy::EveryMillis(1));
    let db = builder.open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    tree.put("synced", "v").unwrap();
    db.sync().unwrap();
    disk.fail_all(Op::Sync, Fault::Eio);
    let started = Instant::now();
    let failure = loop {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "nobody says that the sync has failed"
        );
        if let Err(error) = tree.put("k", "v") {
            break error;
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert!(matches!(failure, Error::Background { .. } | Error::Log(_)), "{failure:?}");
    error::<()>(Err(failure));
    error(db.sync());
    assert_eq!(tree.get("synced").unwrap().as_deref(), Some(b"v".as_slice()));
    error(db.close());
}

#[test]
fn a_store_is_open_once_for_writing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = Db::open(&path).unwrap();
    db.tree("t").unwrap().put("k", "v").unwrap();
    let owner = format!("process {}", std::process::id());
    let second = error(Db::open(&path));
    assert!(matches!(second, Error::Log(LogError::Locked { .. })), "{second:?}");
    let message = second.to_string();
    assert!(message.contains(&owner) && message.contains(path.to_str().unwrap()), "{message}");
    db.close().unwrap();
    // Readers are many.
    let one = Db::builder(&path).read_only(true).open().unwrap();
    let two = Db::builder(&path).read_only(true).open().unwrap();
    let value = two.find_tree("t").unwrap().unwrap().get("k").unwrap();
    assert_eq!(value.as_deref(), Some(b"v".as_slice()));
    Db::open(&path).unwrap().close().unwrap();
    drop((one, two));
}

#[test]
fn a_closed_store_says_so() {
    let db = open(&SimDisk::new());
    let tree = db.tree("t").unwrap();
    let other = db.clone();
    let mut range = tree.iter();
    tree.put("k", "v").unwrap();
    db.close().unwrap();
    assert!(matches!(error(tree.get("k")), Error::Closed));
    assert!(matches!(error(tree.put("k", "v")), Error::Closed));
    assert!(matches!(error(tree.insert("k", "v")), Error::Closed));
    assert!(matches!(error(tree.delete("k")), Error::Closed));
    assert!(matches!(error(tree.clear()), Error::Closed));
    assert!(matches!(error(other.sync()), Error::Closed));
    assert!(matches!(error(other.tree("t")), Error::Closed));
    assert!(matches!(error(other.verify()), Error::Closed));
    if let Some(entry) = range.next() {
        assert!(matches!(entry, Ok(_) | Err(Error::Closed)));
    }
    other.close().unwrap();
}

#[test]
fn directories_that_hold_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for builder in [Db::builder(&missing).create(false), Db::builder(&missing).read_only(true)] {
        let failure = error(builder.open());
        assert!(matches!(failure, Error::Log(LogError::Missing { .. })), "{failure:?}");
        assert!(failure.to_string().contains(missing.to_str().unwrap()));
        assert!(!missing.exists(), "nothing was made");
    }
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "dear all").unwrap();
    let failure = error(Db::open(&foreign));
    assert!(matches!(failure, Error::Log(LogError::NotAStore { .. })), "{failure:?}");
    let names: Vec<_> =
        std::fs::read_dir(&foreign).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"], "nothing was added");
    let file = dir.path().join("file");
    std::fs::write(&file, "a file").unwrap();
    let Err(failure) = Db::open(&file) else { panic!("a file is no store") };
    assert!(failure.to_string().contains(file.to_str().unwrap()), "{failure}");
    assert_eq!(std::fs::read(&file).unwrap(), b"a file");
}

#[test]
fn what_cannot_be_is_refused() {
    let path = std::path::Path::new("unused");
    let invalid = [
        Db::builder(path).memory_budget_bytes(1000),
        Db::builder(path).sync_policy(SyncPolicy::EveryWrites(0)),
        Db::builder(path).sync_policy(SyncPolicy::EveryMillis(0)),
    ];
    for builder in invalid {
        let failure = error(builder.open_on(Arc::new(SimDisk::new())));
        assert!(matches!(failure, Error::InvalidOption { .. }), "{failure:?}");
    }
    assert!(CleaningSchedule::new().with_interval(Duration::ZERO).is_err());
    assert!(CleaningSchedule::new().with_target_ratio(1.0).is_err());
    assert!(CleaningSchedule::new().with_target_ratio(f64::NAN).is_err());
    let dir = tempfile::tempdir().unwrap();
    let never = dir.path().join("never");
    error(Db::builder(&never).memory_budget_bytes(0).open());
    assert!(!never.exists(), "an invalid option has made a directory");

    let disk = SimDisk::new();
    let db = open(&disk);
    assert!(matches!(error(db.tree("")), Error::TreeName { len: 0 }));
    assert!(matches!(error(db.tree(&"n".repeat(256))), Error::TreeName { len: 256 }));
    let tree = db.tree(&"n".repeat(255)).unwrap();
    assert!(matches!(error(tree.put(vec![0; 4097], "v")), Error::KeyTooLong { len: 4097 }));
    tree.put(vec![0; 4096], "v").unwrap();
    assert!(matches!(error(tree.put("k", vec![0; (64 << 20) + 1])), Error::ValueTooLong { .. }));
    assert!(tree.get("k").unwrap().is_none());
    assert_eq!(tree.len(), 1);
    db.drop_tree(tree.name()).unwrap();
    assert!(matches!(error(tree.put("k", "v")), Error::TreeDropped { .. }));
    db.tree("kept").unwrap();
    db.close().unwrap();
    drop(tree);
    let db = builder().read_only(true).open_on(Arc::new(disk)).unwrap();
    assert!(matches!(error(db.tree("new")), Error::NoSuchTree { .. }));
    let kept = db.find_tree("kept").unwrap().unwrap();
    error(kept.put("k", "v"));
    error(kept.clear());
    error(db.checkpoint());
}

/// The text of each error was told again by its source, and what the system says a third time.
#[test]
fn an_error_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Db::builder(folder.path().join("store")).open();
    let file = folder.path().join("file");
    std::fs::write(&file, "no store").unwrap();
    let _held = open().unwrap();
    for error in [open().unwrap_err(), Db::open(file.join("below")).unwrap_err()] {
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        let mut told: Vec<String> = Vec::new();
        while let Some(error) = next {
            let text = error.to_string();
            assert!(!told.iter().any(|before| before.contains(&text)), "{told:?}, then {text:?}");
            told.push(text);
            next = error.source();
        }
    }
}
