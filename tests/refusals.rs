//! Every call that a user makes meets every error that the system has for every call of its own:
//! nothing acknowledged is lost, and unless bytes may be the store goes on.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bwtree::io::{Fault, Op, SimDisk};
use bwtree::{Builder, CleanOptions, Db, Error, Result, SyncPolicy, Tree};

/// Longest time in which a store goes on after an error that passes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Linux's ENOSPC, EDQUOT, EMFILE, ENOMEM, EINTR.
const PASSING: [i32; 5] = [28, 122, 24, 12, 4];
/// EIO, EROFS.
const OTHERS: [i32; 2] = [5, 30];

const OPS: [Op; 11] = [
    Op::Read,
    Op::Write,
    Op::Sync,
    Op::Allocate,
    Op::Create,
    Op::Remove,
    Op::Rename,
    Op::SyncDirectory,
    Op::Open,
    Op::List,
    Op::Len,
];

/// Bytes of a value that has a segment to itself.
const LARGE_BYTES: usize = 300 << 10;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a user does when the error comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Put,
    PutLarge,
    Delete,
    Sync,
    Checkpoint,
    Clean,
    Drop,
    Close,
    Open,
}

const CALLS: [Call; 9] = [
    Call::Put,
    Call::PutLarge,
    Call::Delete,
    Call::Sync,
    Call::Checkpoint,
    Call::Clean,
    Call::Drop,
    Call::Close,
    Call::Open,
];

fn builder() -> Builder {
    Db::builder("unused").memory_budget_bytes(2 << 20).sync_policy(SyncPolicy::Manual).tiny()
}

fn open(disk: &SimDisk) -> Result<Db> {
    builder().open_on(Arc::new(disk.clone()))
}

/// A store in which there is something to clean, with two trees, of which one can be dropped.
fn store() -> (SimDisk, Model) {
    let disk = SimDisk::new();
    let db = open(&disk).unwrap();
    let (kept, other) = (db.tree("kept").unwrap(), db.tree("other").unwrap());
    let mut model = Model::new();
    for round in 0..6_u64 {
        for number in 0..60_u64 {
            let key = number.to_be_bytes().to_vec();
            let len = if number.is_multiple_of(7) { 1500 } else { 60 };
            let value = vec![round as u8; len];
            kept.put(&key, value.clone()).unwrap();
            other.put(&key, "other").unwrap();
            model.insert(key, value);
        }
        db.sync().unwrap();
    }
    drop((kept, other));
    db.close().unwrap();
    (disk, model)
}

/// The tree has this, save for these keys, of which it may have anything.
fn check(tree: &Tree, model: &Model, unsure: &[Vec<u8>], what: &str) {
    let mut found = Model::new();
    for entry in tree {
        let (key, value) = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
        found.insert(key.to_vec(), value.to_vec());
    }
    let mut wanted = model.clone();
    for content in [&mut found, &mut wanted] {
        content.retain(|key, _| !unsure.contains(key));
    }
    assert!(found == wanted, "{what}: {} entries, and {} before", found.len(), wanted.len());
}

/// Whether the same call may succeed: no more than one group has failed, or a read.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Log(log) if log.stops_one_group()) || error.is_damage()
}

/// Tries until it succeeds; an error that ends all writing is none that may come.
fn at_last<R>(what: &str, mut call: impl FnMut() -> Result<R>) -> R {
    let started = Instant::now();
    loop {
        match call() {
            Ok(done) => return done,
            Err(error) => {
                assert!(may_pass(&error), "{what}: {error}");
                assert!(started.elapsed() < PATIENCE, "{what}: still {error}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn every_error_of_every_call_that_a_user_makes() {
    let (disk, model) = store();
    let (mut met, mut went_on, mut unmet) = (0, 0, 0);
    for call in CALLS {
        for op in OPS {
            for errno in PASSING.into_iter().chain(OTHERS) {
                for nth in [1, 2, 4] {
                    let what = format!("{call:?}, {op:?} errno {errno} {nth}");
                    match life(&disk.kill(), model.clone(), (call, op, errno, nth), &what) {
                        None => {
                            unmet += 1;
                            break;
                        }
                        Some(goes_on) => {
                            met += 1;
                            went_on += usize::from(goes_on);
                        }
                    }
                }
            }
        }
    }
    println!("{{\"errors\": {met}, \"went_on_after\": {went_on}, \"not_met\": {unmet}}}");
    assert!(met > 300 && went_on > 150, "{met} errors, {went_on} went on");
}

/// A life in which one call fails: `None` if that was none of those that were made, else whether
/// the store went on after it.
fn life(
    disk: &SimDisk,
    mut model: Model,
    (call, op, errno, nth): (Call, Op, i32, u64),
    what: &str,
) -> Option<bool> {
    let fault = Fault::Os(errno);
    let mut before = disk.calls(op);
    if call == Call::Open {
        disk.fail(op, nth, fault);
    }
    // A sync that fails is never tried again, whatever it says, and a write only if it passes.
    let passing = match op {
        Op::Sync | Op::SyncDirectory => false,
        Op::Write => PASSING.contains(&errno),
        _ => true,
    };
    let opened = open(disk);
    let mut goes_on = false;
    let mut unsure: Vec<Vec<u8>> = Vec::new();
    match &opened {
        // The next opening finds all as it was.
        Err(error) => assert!(call == Call::Open, "{what}: {error}"),
        Ok(db) => {
            let tree = at_last(what, || db.tree("kept"));
            // Something is dirty, whatever the call is.
            if call != Call::Open {
                tree.put("dirty", "before").unwrap();
                model.insert(b"dirty".to_vec(), b"before".to_vec());
                before = disk.calls(op);
                disk.fail(op, nth, fault);
            }
            let done = perform(call, db, &tree);
            disk.heal();
            match call {
                Call::Put | Call::PutLarge => unsure.push(b"new".to_vec()),
                Call::Delete => unsure.push(5_u64.to_be_bytes().to_vec()),
                _ => {}
            }
            if call != Call::Close {
                check(&tree, &model, &unsure, what);
            }
            if done.is_err() {
                // Visible, and whether it is durable is not known.
                unsure.push(b"dirty".to_vec());
            } else {
                match call {
                    Call::Put => drop(model.insert(b"new".to_vec(), b"value".to_vec())),
                    Call::PutLarge => drop(model.insert(b"new".to_vec(), vec![7; LARGE_BYTES])),
                    Call::Delete => drop(model.remove(&unsure[0])),
                    _ => {}
                }
                unsure.clear();
            }
            if passing {
                goes_on = true;
                if call == Call::Close {
                    at_last(what, || db.clone().close());
                } else {
                    at_last(what, || tree.put("after", "the error"));
                    at_last(what, || db.sync());
                    // All that is visible is durable now.
                    model.insert(b"after".to_vec(), b"the error".to_vec());
                    for key in unsure.drain(..) {
                        let value = tree.get(&key).unwrap();
                        model.remove(&key);
                        model.extend(value.map(|value| (key, value.to_vec())));
                    }
                }
            } else if let Err(error) = done {
                let text = error.to_string();
                assert!(text.contains("; ") && !text.contains('\n'), "{what}: {text}");
            }
        }
    }
    let met = disk.calls(op) >= before + nth;
    disk.heal();
    // As a kill leaves it, and as a close does.
    let killed = disk.kill();
    drop(opened);
    for disk in [killed, disk.kill()] {
        let db = open(&disk).unwrap_or_else(|error| panic!("{what}: reopening: {error}"));
        check(&db.tree("kept").unwrap(), &model, &unsure, what);
        db.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
        db.close().unwrap_or_else(|error| panic!("{what}: closing: {error}"));
    }
    met.then_some(goes_on)
}

/// Makes the call, and what it takes for it to be acknowledged.
fn perform(call: Call, db: &Db, tree: &Tree) -> Result<()> {
    match call {
        Call::Put => tree.put("new", "value")?,
        Call::PutLarge => tree.put("new", vec![7; LARGE_BYTES])?,
        Call::Delete => assert!(tree.delete(5_u64.to_be_bytes())?),
        Call::Drop => assert!(db.drop_tree("other")?),
        Call::Checkpoint => return db.checkpoint(),
        Call::Clean => return db.clean(CleanOptions::default()).map(drop),
        Call::Close => return db.clone().close(),
        Call::Open => return Ok(()),
        Call::Sync => {}
    }
    db.sync()
}

/// A drop whose sync failed said "there is none" when it was tried again, and was not durable.
#[test]
fn a_drop_that_is_tried_again_is_durable() {
    let disk = SimDisk::new();
    let builder = builder().sync_policy(SyncPolicy::Always);
    let db = builder.open_on(Arc::new(disk.clone())).unwrap();
    db.tree("t").unwrap().put("k", "v").unwrap();
    disk.fail_all(Op::Write, Fault::Enospc);
    db.drop_tree("t").unwrap_err();
    disk.heal();
    assert!(!db.drop_tree("t").unwrap());
    let db = open(&disk.crash(&mut |_| 0)).unwrap();
    assert_eq!(db.tree_names().unwrap(), Vec::<String>::new());
}
