//! What callers hear when a store closes, fails or finds no room: an error at once, never a silent
//! loss and never a wait without hope; and reads keep within the memory that they were given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{Fault, MemoryDisk, Op, SimDisk};
use bwtree::{Builder, Db, Error, SyncPolicy};

const MIB: u64 = 1 << 20;

fn builder() -> Builder {
    Db::builder("unused").sync_policy(SyncPolicy::EveryMillis(5))
}

/// Waits until this is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The second close said Ok, and what the first could not write was gone.
#[test]
fn a_close_that_has_failed_can_be_repeated() {
    let disk = SimDisk::new();
    let db = builder().sync_policy(SyncPolicy::Manual).open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    db.sync().unwrap();
    (0..2000_u32).for_each(|n| tree.put(n.to_be_bytes(), vec![1; 1000]).unwrap());
    disk.set_capacity(Some(disk.used()));
    for _ in 0..3 {
        let failed = db.clone().close().unwrap_err();
        assert!(matches!(&failed, Error::Log(log) if log.is_full()), "{failed}");
        assert!(matches!(tree.put("late", "v"), Err(Error::Closed)));
    }
    disk.set_capacity(None);
    db.clone().close().unwrap();
    db.close().unwrap();
    drop(tree);
    let db = builder().open_on(Arc::new(disk)).unwrap();
    assert_eq!(db.tree("t").unwrap().len(), 2000);
}

/// A writer that had found the store open could install its record behind the last commit, and
/// heard Ok.
#[test]
fn a_put_beside_a_close_is_kept_or_refused() {
    for _ in 0..30 {
        let disk = SimDisk::new();
        let db = builder().sync_policy(SyncPolicy::Manual).open_on(Arc::new(disk.clone())).unwrap();
        let written = AtomicU64::new(0);
        thread::scope(|scope| {
            for lane in 0..2_u64 {
                let (tree, written) = (db.tree("t").unwrap(), &written);
                scope.spawn(move || {
                    for n in 0_u64.. {
                        match tree.put((n * 2 + lane).to_be_bytes(), "v") {
                            Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                            Err(Error::Closed) => break,
                            Err(error) => panic!("{error}"),
                        };
                    }
                });
            }
            until("writers write", || written.load(Ordering::Relaxed) > 200);
            db.clone().close().unwrap();
        });
        drop(db);
        let db = builder().open_on(Arc::new(disk)).unwrap();
        let (kept, written) = (db.tree("t").unwrap().len(), written.into_inner());
        assert!(kept >= written, "{written} were said to be written, {kept} are there");
        // One write of each lane may be there although it was refused.
        assert!(kept <= written + 2);
    }
}

/// With a sync in the background that found the disk full, 40,001 puts said Ok.
#[test]
fn puts_hear_of_a_full_disk_and_removals_go_on() {
    let disk = SimDisk::new();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..1000_u32).for_each(|n| tree.put(n.to_be_bytes(), vec![1; 1000]).unwrap());
    db.sync().unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut refused = 0;
    let mut visible = 1000_u32;
    until("a put is refused", || {
        let put = tree.put(visible.to_be_bytes(), vec![2; 1000]);
        visible += u32::from(put.is_ok());
        match put {
            Ok(()) => false,
            Err(Error::Log(log)) if log.is_full() => true,
            Err(error) => panic!("{error}"),
        }
    });
    println!("{visible} puts before the first was refused");
    // The store makes room as it can: a put that is taken again has a place.
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(2));
        match tree.put("late", "v") {
            Ok(()) => db.sync().unwrap(),
            Err(_) => refused += 1,
        }
    }
    println!("{refused} of 50 puts were refused");
    assert!(refused > 0, "while there is no room no put is taken");
    (0..10_u32).for_each(|n| assert!(tree.delete(n.to_be_bytes()).unwrap()));
    assert!(tree.get(999_u32.to_be_bytes()).unwrap().is_some());
    disk.set_capacity(None);
    until("there is room again", || tree.put("late", "v").is_ok());
    db.close().unwrap();
    drop(tree);
    let db = builder().open_on(Arc::new(disk)).unwrap();
    assert_eq!(db.tree("t").unwrap().len(), u64::from(visible) - 10 + 1);
}

/// After a failed sync the thread that evicted had ended: reads took 60 MiB of a budget of 4.
#[test]
fn reads_of_a_failed_store_keep_within_the_budget() {
    let disk = SimDisk::new();
    let small = || builder().memory_budget_bytes(4 * MIB);
    let db = small().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..24_000_u32).for_each(|n| tree.put(n.to_be_bytes(), vec![1; 1000]).unwrap());
    db.close().unwrap();
    drop(tree);
    let db = small().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    disk.fail_all(Op::Sync, Fault::Eio);
    until("the store fails", || tree.put("k", "v").is_err());
    let mut most = 0;
    for n in 0..24_000_u32 {
        assert!(tree.get(n.to_be_bytes()).unwrap().is_some());
        if n % 500 == 0 {
            most = most.max(db.stats().memory.total);
        }
    }
    println!("at most {most} bytes of memory");
    assert!(most <= 5 * MIB, "{most} bytes of memory");
    let started = Instant::now();
    drop((tree, db));
    assert!(started.elapsed() < Duration::from_secs(5), "a failed store is dropped at once");
}

/// Writers that waited for memory when the disk failed waited for a minute.
#[test]
fn writers_that_wait_for_memory_hear_of_a_failure() {
    let disk = SimDisk::new();
    let policy = SyncPolicy::Manual;
    let small = builder().sync_policy(policy).memory_budget_bytes(MIB);
    let db = small.open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    // One alone may be of a file in which nothing lies yet, and then it is no end.
    disk.fail_all(Op::Sync, Fault::Eio);
    let started = Instant::now();
    let failed = (0_u32..).find_map(|n| tree.put(n.to_be_bytes(), vec![1; 1000]).err()).unwrap();
    println!("after {:?}: {failed}", started.elapsed());
    assert!(!matches!(failed, Error::OutOfBudget { .. }), "{failed}");
    assert!(started.elapsed() < Duration::from_secs(10), "it waited {:?}", started.elapsed());
}

/// The evictor had ended, so each page that a check or a count brought in waited 10 ms for memory,
/// and stayed there: `close` waited minutes for the check to end, far above the budget.
#[test]
fn what_looks_at_all_pages_ends_when_the_store_is_closed() {
    for counts in [false, true] {
        let disk = MemoryDisk::new();
        let open = || Db::builder("").memory_budget_bytes(MIB).open_on(Arc::new(disk.clone()));
        let (db, entries) = (open().unwrap(), 60_000_u32);
        let tree = db.tree("t").unwrap();
        let put = |tree: &bwtree::Tree, number: u32| tree.put(number.to_be_bytes(), [1; 200]);
        (0..entries).for_each(|number| put(&tree, number).unwrap());
        drop(tree);
        db.close().unwrap();
        let db = open().unwrap();
        let tree = db.tree("t").unwrap();
        if counts {
            // Where these are new is known when the pages are read.
            (0..entries).for_each(|number| put(&tree, number).unwrap());
        }
        let started = Instant::now();
        thread::scope(|scope| {
            let (of_it, reads) = (db.clone(), db.stats().page_ins);
            let looks = scope.spawn(move || {
                if counts {
                    tree.len();
                } else if let Err(error) = of_it.verify() {
                    assert!(matches!(error, Error::Closed), "{error}");
                }
            });
            while !looks.is_finished() && db.stats().page_ins < reads + 20 {
                thread::yield_now();
            }
            db.close().unwrap();
        });
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
}

/// It went on to the end of the tree.
#[test]
fn an_iterator_ends_with_an_error_when_its_store_is_closed() {
    let db = Db::builder("").open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..5000_u32).for_each(|number| tree.put(number.to_be_bytes(), vec![1; 500]).unwrap());
    let mut entries = tree.iter();
    let mut keys = tree.keys();
    let mut taken = tree.extract_if(.., |_, _| true);
    assert!(entries.next().unwrap().is_ok() && keys.next().unwrap().is_ok());
    assert!(taken.next().unwrap().is_ok());
    db.close().unwrap();
    let (given, last) = (entries.by_ref().flatten().count(), entries.next());
    assert!(given < 100 && last.is_none(), "{given}, {last:?}");
    assert!(matches!(keys.find(Result::is_err), Some(Err(Error::Closed))));
    assert!(keys.next().is_none());
    // It gave the error again and again.
    assert!(matches!(taken.next(), Some(Err(Error::Closed))));
    assert!(taken.next().is_none() && taken.next_back().is_none());
}

/// Commits were acknowledged for 50 ms after the directory was gone, until somebody looked.
#[test]
fn nothing_is_acknowledged_once_the_directory_is_removed() {
    let root = tempfile::tempdir().unwrap();
    for policy in [SyncPolicy::Manual, SyncPolicy::Always] {
        let path = root.path().join("store");
        let db = Db::builder(&path).sync_policy(policy).open().unwrap();
        let tree = db.tree("t").unwrap();
        tree.put("a", "1").unwrap();
        db.sync().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let put = tree.put("b", "2");
        let error = put.and_then(|()| db.sync()).unwrap_err().to_string();
        assert!(error.contains("removed while the store was open"), "{error}");
        assert!(db.close().is_err());
    }
}
