//! Failures of the disk: what poisons, what only stops one commit, what is never tried again.

use std::sync::Arc;

use bwtree_lss::io::{Disk, Fault, Op, SimDisk};
use bwtree_lss::{Error, Log, PageId, Stream};

use crate::driver::{Driver, History, KIND, read_all, small, whole};
use crate::random::Random;

fn begun(disk: &SimDisk, history: &mut History, seed: u64) -> Driver {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let driver = Driver::open(shared, history, Random(seed)).unwrap();
    driver.begin().unwrap();
    driver
}

#[test]
fn a_failed_sync_poisons_and_is_never_tried_again() {
    let disk = SimDisk::new();
    let mut history = History::default();
    let driver = begun(&disk, &mut history, 1);
    let page = PageId::new(1);
    let mut appender = driver.log.appender();
    let first = appender.append(Stream::Foreground, page, KIND, 0, &[], b"first").unwrap();
    appender.commit(1).unwrap();
    disk.fail(Op::Sync, 1, Fault::Eio);
    appender.append(Stream::Foreground, page, KIND, 0, &[], b"second").unwrap();
    assert!(matches!(appender.commit(2), Err(Error::Io { op: "sync", .. })));
    let (syncs, writes) = (disk.calls(Op::Sync), disk.calls(Op::Write));
    let poisoned = |result: Result<(), Error>| match result {
        Err(Error::Poisoned { cause }) => assert!(matches!(*cause, Error::Io { op: "sync", .. })),
        other => panic!("{other:?}"),
    };
    poisoned(appender.commit(2));
    poisoned(appender.rollback());
    poisoned(appender.checkpoint([], &[], b"").map(drop));
    poisoned(appender.append(Stream::Foreground, page, KIND, 0, &[], b"x").map(drop));
    poisoned(driver.log.prepare().map(drop));
    poisoned(driver.log.reclaim().map(drop));
    assert_eq!((disk.calls(Op::Sync), disk.calls(Op::Write)), (syncs, writes));
    assert_eq!(driver.log.read(first, page, KIND).unwrap(), b"first"[..]);
    assert_eq!(driver.log.durable_version(), 1);
    drop(appender);
    drop(driver);
    // What the failed sync left in the cache is found again; beginning makes it durable.
    let (log, recovered) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    assert_eq!(recovered.version, 2);
    for part in &recovered.parts {
        log.adopt(part.address);
    }
    log.appender().begin([(0, whole(1, 1))], b"", 2).unwrap();
    let second = recovered.parts[1].address;
    drop(log);
    let disk = disk.crash(&mut |_| 0);
    let (log, recovered) = Log::open(Arc::new(disk), small()).unwrap();
    assert_eq!(recovered.version, 2);
    assert_eq!(log.read(second, page, KIND).unwrap(), b"second"[..]);
}

/// Every call of every kind fails once; whatever comes of it, nothing acknowledged is lost, by a
/// crash too.
#[test]
fn any_call_may_fail_once() {
    let ops = [
        Op::Write,
        Op::Sync,
        Op::Allocate,
        Op::Create,
        Op::Remove,
        Op::Rename,
        Op::SyncDirectory,
        Op::Read,
    ];
    let faults =
        [Fault::Eio, Fault::Enospc, Fault::Emfile, Fault::ShortWrite, Fault::ShortWriteEnospc];
    let (mut failed, mut went_on) = (0, 0);
    for op in ops {
        for fault in faults {
            for nth in 1..1000 {
                let disk = SimDisk::new();
                disk.fail(op, nth, fault);
                let mut history = History::default();
                let healthy = life(&disk, &mut history, nth);
                if disk.calls(op) < nth {
                    break;
                }
                failed += 1;
                went_on += u64::from(healthy == Some(true));
                let mut random = Random(nth);
                let after = disk.crash(&mut |n| random.below(n));
                reopen(after, &mut history, nth, &format!("{op:?} {nth} {fault:?}"));
            }
        }
    }
    println!("{{\"failed_calls\": {failed}, \"went_on_after\": {went_on}}}");
    assert!(failed > 300 && went_on > 0);
}

/// Each kind of call fails, once somewhere and then for good, with each error that a system has for
/// it. What passes stops one group at the most; nothing that was acknowledged is lost.
#[test]
fn every_error_of_every_call() {
    use rustix::io::Errno;
    let passing = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::FBIG,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::INTR,
        Errno::AGAIN,
    ];
    let others = [Errno::IO, Errno::ROFS, Errno::ACCESS];
    let ops = [
        Op::Write,
        Op::Sync,
        Op::Allocate,
        Op::Create,
        Op::Remove,
        Op::Rename,
        Op::SyncDirectory,
        Op::Read,
        Op::Open,
        Op::List,
        Op::Len,
    ];
    let (mut failed, mut went_on) = (0, 0);
    for op in ops {
        for errno in passing.into_iter().chain(others) {
            for lasting in [false, true] {
                for nth in [1, 2, 3, 5, 9, 17, 40] {
                    let disk = SimDisk::new();
                    let mut history = History::default();
                    let seed = nth ^ errno.raw_os_error() as u64;
                    let what = format!("{op:?} {errno:?} lasting {lasting} nth {nth}");
                    let mut driver = begun(&disk, &mut history, seed);
                    let before = disk.calls(op);
                    let fault = Fault::Os(errno.raw_os_error());
                    if !lasting {
                        disk.fail(op, nth, fault);
                    }
                    for step in 0..60 {
                        if lasting && step == nth.min(20) {
                            disk.fail_all(op, fault);
                        }
                        match driver.step(&mut history) {
                            Ok(()) => {}
                            Err(_) if driver.log.poisoned().is_some() => break,
                            Err(error) => {
                                assert!(error.is_passing(), "{what}: {error}");
                                failed += 1;
                                let _refused = driver.log.appender().rollback();
                                history.attempted.retain(|&v, _| v <= history.acknowledged);
                            }
                        }
                    }
                    let poisoned = driver.log.poisoned();
                    // Bytes may be lost if a sync has failed, of a file or of the directory.
                    let lossy = matches!(op, Op::Sync | Op::SyncDirectory);
                    if passing.contains(&errno) && !lossy {
                        assert!(poisoned.is_none(), "{what}: {poisoned:?}");
                    }
                    disk.heal();
                    driver.check_reads();
                    if poisoned.is_none() && disk.calls(op) > before {
                        went_on += 1;
                        driver.log.appender().rollback().unwrap();
                        history.attempted.retain(|&v, _| v <= history.acknowledged);
                        for _ in 0..10 {
                            driver.step(&mut history).unwrap_or_else(|e| panic!("{what}: {e}"));
                        }
                        driver.check_reads();
                    }
                    drop(driver);
                    let after = disk.crash(&mut |n| Random(seed).below(n));
                    // An opening that meets it passes too, or fails and harms nothing.
                    after.fail(op, nth % 5 + 1, fault);
                    let shared: Arc<dyn Disk> = Arc::new(after.clone());
                    if let Ok((log, _)) = Log::open(shared, small()) {
                        drop(log);
                    }
                    after.heal();
                    reopen(after, &mut history, seed, &what);
                }
            }
        }
    }
    println!("{{\"passing_errors\": {failed}, \"went_on_after\": {went_on}}}");
    assert!(failed > 200 && went_on > 200);
}

/// What is on the disk opens, and everything in it can be read.
fn reopen(disk: SimDisk, history: &mut History, seed: u64, what: &str) {
    let driver = Driver::open(Arc::new(disk), history, Random(seed));
    let driver = driver.unwrap_or_else(|error| panic!("{what}: {error}"));
    driver.begin().unwrap();
    driver.check_reads();
}

/// A life in which one call fails: `None` if none did, else whether the log went on after it.
fn life(disk: &SimDisk, history: &mut History, nth: u64) -> Option<bool> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut failure = None;
    let Ok(mut driver) = Driver::open(shared, history, Random(nth % 3)) else {
        return Some(false);
    };
    if driver.begin().is_err() && driver.begin().is_err() {
        return Some(false);
    }
    for _ in 0..40 {
        let Err(error) = driver.step(history) else {
            continue;
        };
        failure = Some(false);
        if driver.log.poisoned().is_some() {
            assert!(driver.step(history).is_err() || driver.step(history).is_err());
            break;
        }
        assert!(error.is_passing(), "{error}");
        driver.log.appender().rollback().unwrap();
        history.attempted.retain(|&v, _| v <= history.acknowledged);
        failure = Some(true);
    }
    // A failed read poisons nothing, and the next one is a new one.
    let read = || read_all(&driver.log, &driver.table);
    assert_eq!(read().or_else(|_| read()).unwrap(), driver.contents);
    failure
}

#[test]
fn a_full_disk_stops_the_commit_and_nothing_else() {
    let mut stopped = 0;
    for seed in 0..40 {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history, seed);
        disk.set_capacity(Some(60_000));
        for _ in 0..400 {
            match driver.step(&mut history) {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    stopped += 1;
                    driver.log.appender().rollback().unwrap();
                    assert!(driver.log.poisoned().is_none());
                    driver.check_reads();
                    // Room is made as an owner would, or by giving dead segments back.
                    disk.set_capacity(Some(disk.used() + 40_000));
                    driver.checkpoint().unwrap();
                    driver.log.reclaim().unwrap();
                    disk.set_capacity(Some(disk.used().max(60_000)));
                }
                Err(error) => panic!("{error}"),
            }
        }
        driver.check_reads();
        drop(driver);
        let disk = disk.crash(&mut |_| 0);
        let driver = Driver::open(Arc::new(disk), &mut history, Random(0)).unwrap();
        assert_eq!(driver.version, history.acknowledged);
    }
    println!("{{\"commits_stopped_by_a_full_disk\": {stopped}}}");
    assert!(stopped > 40);
}

#[test]
fn a_begin_without_room_may_be_repeated() {
    let mut refused = 0;
    for seed in 0..20 {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history, seed);
        // No step that prepares a segment, which a begin would take.
        for _ in 0..30 {
            driver.write(&mut history).unwrap();
        }
        drop(driver);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut driver = Driver::open(shared, &mut history, Random(0)).unwrap();
        disk.set_capacity(Some(disk.used()));
        // There may be a dead segment, which it takes.
        if let Err(error) = driver.begin() {
            assert!(error.is_full(), "{error}");
            refused += 1;
            disk.set_capacity(None);
            driver.begin().unwrap();
        }
        disk.set_capacity(None);
        driver.write(&mut history).unwrap();
        driver.check_reads();
    }
    assert!(refused > 0);
}

/// A COMMIT may be whole on the disk though its writing was refused; rolled back is rolled back.
#[test]
fn a_refused_commit_that_is_on_the_disk_all_the_same_is_wiped_by_the_rollback() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let page = PageId::new(1);
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    appender.commit(1).unwrap();
    appender.append(Stream::Foreground, page, KIND, 0, &[], b"x").unwrap();
    disk.fail(Op::Write, 1, Fault::WholeWriteEnospc);
    assert!(appender.commit(2).unwrap_err().is_full());
    assert!(appender.commit(2).unwrap_err().is_full(), "only a rollback goes on from here");
    let (_, recovered) = Log::open(Arc::new(disk.kill()), small()).unwrap();
    assert_eq!(recovered.version, 2, "the refused COMMIT is whole");
    appender.rollback().unwrap();
    for after in [disk.kill(), disk.crash(&mut |_| 0), disk.crash(&mut |n| n - 1)] {
        let (_, recovered) = Log::open(Arc::new(after), small()).unwrap();
        assert_eq!(recovered.version, 1);
    }
    appender.commit(3).unwrap();
    let (_, recovered) = Log::open(Arc::new(disk.crash(&mut |n| n - 1)), small()).unwrap();
    assert_eq!((recovered.version, recovered.parts.len()), (3, 0));
}
