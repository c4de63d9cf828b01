//! Failures of the disk: what poisons, what only stops one commit, what is never tried again.

use std::sync::Arc;

use bwtree_lss::io::{Disk, Fault, Op, SimDisk};
use bwtree_lss::{Address, Appender, Error, Log, PageId, Stream};

use crate::driver::{Driver, History, KIND, parts_of, read_all, small, whole};
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
    for part in parts_of(&log, &recovered) {
        log.adopt(part.address);
    }
    log.appender().begin([(0, whole(1, 1))], b"", 2).unwrap();
    let second = parts_of(&log, &recovered)[1].address;
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
        Op::LookAtDirectory,
        Op::LookAtFile,
        Op::Readers,
    ];
    let faults = [
        Fault::Eio,
        Fault::Enospc,
        Fault::Emfile,
        Fault::ShortWrite,
        Fault::ShortWriteEnospc,
        Fault::DoneEio,
    ];
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
/// it. Only what may have lost bytes is more than the end of one group, and what passes says so;
/// nothing that was acknowledged is lost.
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
    let others = [
        Errno::IO,
        Errno::ROFS,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOENT,
        Errno::NODEV,
        Errno::STALE,
    ];
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
        Op::LookAtDirectory,
        Op::LookAtFile,
        Op::Readers,
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
                    let passes = passing.contains(&errno);
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
                                let read = matches!(error, Error::Io { op: "read", .. });
                                assert!(error.stops_one_group() || read, "{what}: {error}");
                                assert_eq!(error.is_passing(), passes, "{what}: {error}");
                                failed += 1;
                                let _refused = driver.log.appender().rollback();
                                history.attempted.retain(|&v, _| v <= history.acknowledged);
                            }
                        }
                    }
                    let poisoned = driver.log.poisoned();
                    // Bytes may be lost if a sync has failed, of a file or of the directory, and
                    // nobody knows what a write has left.
                    let lossy = matches!(op, Op::Sync | Op::SyncDirectory);
                    if !lossy && (passes || op != Op::Write) {
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
        assert!(error.stops_one_group(), "{error}");
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
    assert_eq!((recovered.version, parts_of(&log, &recovered).len()), (3, 0));
}

/// Another name that came to be, or a removal that took place, though it was said to have failed.
#[test]
fn what_was_done_and_said_to_have_failed_stops_one_group_at_the_most() {
    for op in [Op::Create, Op::Rename, Op::Remove] {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history, 4);
        let (before, mut refused) = (disk.calls(op), 0);
        for step in 0..400 {
            disk.fail(op, 1 + step % 3, Fault::DoneEio);
            if let Err(error) = driver.step(&mut history) {
                assert!(matches!(error, Error::Denied { .. }), "{op:?}: {error}");
                driver.log.appender().rollback().unwrap();
                history.attempted.retain(|&v, _| v <= history.acknowledged);
                refused += 1;
            }
            assert!(driver.log.poisoned().is_none(), "{op:?}");
            if step % 40 == 39 {
                let after = disk.crash(&mut |n| Random(step).below(n));
                reopen(after, &mut history.clone(), step, &format!("{op:?} {step}"));
            }
        }
        disk.heal();
        driver.check_reads();
        driver.checkpoint().unwrap();
        driver.log.reclaim().unwrap();
        assert!(disk.calls(op) > before + 10, "{op:?}: {} calls", disk.calls(op) - before);
        assert!(refused > 0 || op != Op::Create);
        drop(driver);
        reopen(disk.kill(), &mut history, 5, "a kill");
    }
}

/// Each sync of a commit to many segments fails once. Nothing that was acknowledged is in those
/// that the group has opened.
#[test]
fn a_sync_that_fails_of_a_segment_of_the_group_stops_the_group_and_nothing_else() {
    let group = |log: &Log, version: u64| {
        let mut appender = log.appender();
        for part in 0..10 {
            let stream = [Stream::Foreground, Stream::Background][part as usize % 2];
            let payload = [version as u8; 2000];
            appender.append(stream, PageId::new(part + 1), KIND, 0, &[], &payload)?;
        }
        appender.commit(version)
    };
    let (mut stopped, mut poisoned, mut taken) = (0, 0, 0);
    for nth in 1.. {
        let disk = SimDisk::new();
        let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
        log.appender().begin([], b"", 0).unwrap();
        group(&log, 1).unwrap();
        disk.fail(Op::Sync, nth, Fault::Eio);
        match group(&log, 2) {
            Ok(()) => break,
            Err(error) if log.poisoned().is_some() => {
                assert!(matches!(error, Error::Io { op: "sync", .. }), "{error}");
                poisoned += 1;
                continue;
            }
            Err(error) => assert!(matches!(error, Error::Denied { op: "sync", .. }), "{error}"),
        }
        stopped += 1;
        // A process that ends here leaves in the cache what may be whole there and is not on the
        // disk: who takes it makes all of it durable.
        let killed = disk.kill();
        let (again, recovered) = Log::open(Arc::new(killed.clone()), small()).unwrap();
        let parts = parts_of(&again, &recovered);
        assert!(parts.iter().all(|part| again.adopt(part.address)));
        again.appender().begin([(0, whole(1, 1))], b"", recovered.version).unwrap();
        drop(again);
        let crashed = killed.crash(&mut |_| 0);
        let files = crashed.files();
        let (again, known) = Log::open(Arc::new(crashed), small()).unwrap();
        assert_eq!(known.version, recovered.version, "sync {nth}");
        for part in parts {
            assert_eq!(again.read(part.address, part.page, KIND).unwrap().len(), 2000);
            let file = &files[&format!("seg-{:010}.log", part.address.segment)];
            assert!(file.starts_with(b"BWSEG001") && file.len() >= 4096, "sync {nth}");
        }
        taken += u64::from(known.version == 2);
        log.appender().rollback().unwrap();
        let mut random = Random(nth);
        let version_of = |disk: SimDisk| {
            let (log, recovered) = Log::open(Arc::new(disk), small()).unwrap();
            for part in parts_of(&log, &recovered) {
                let payload = log.read(part.address, part.page, KIND).unwrap();
                assert_eq!(u64::from(payload[0]), part.version);
            }
            recovered.version
        };
        for _ in 0..20 {
            assert_eq!(version_of(disk.crash(&mut |n| random.below(n))), 1, "sync {nth}");
        }
        group(&log, 3).unwrap();
        for _ in 0..20 {
            assert_eq!(version_of(disk.crash(&mut |n| random.below(n))), 3, "sync {nth}");
        }
        assert_eq!(version_of(disk.kill()), 3);
    }
    println!("{{\"stopped\": {stopped}, \"poisoned\": {poisoned}}}");
    // Both streams leave a segment with a commit in it, and the link lies in one.
    assert!(stopped >= 4 && poisoned <= 3, "{stopped} stopped, {poisoned} poisoned");
    assert!(taken > 0, "the last sync is that of the COMMIT");
}

/// Commits more than fits in a segment: it gets a new one.
fn commit_new(appender: &mut Appender<'_>, version: u64, byte: u8) -> Result<Address, Error> {
    let (page, part) = (PageId::new(1), [byte; 9000]);
    let address = appender.append(Stream::Foreground, page, KIND, 0, &[], &part)?;
    appender.commit(version).map(|()| address)
}

/// A file of which nothing depends yet could not be written or synced, and that ended all writing.
#[test]
fn a_segment_that_cannot_be_made_is_gone_and_the_next_is_a_new_try() {
    let faults = [
        (Op::LookAtDirectory, Fault::Eio),
        (Op::Create, Fault::Eio),
        (Op::Create, Fault::DoneEio),
        (Op::Allocate, Fault::Eio),
        (Op::Write, Fault::Eio),
        (Op::Write, Fault::ShortWrite),
        (Op::Sync, Fault::Eio),
    ];
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let before: Vec<String> = disk.files().into_keys().collect();
    for (op, fault) in faults {
        disk.fail(op, 1, fault);
        let error = log.prepare().unwrap_err();
        assert!(matches!(error, Error::Denied { .. }) && !error.is_passing(), "{op:?}: {error}");
        assert!(error.to_string().contains("nothing that was written is in doubt"), "{error}");
        assert!(before.iter().eq(disk.files().keys()), "{op:?}");
    }
    let mut appender = log.appender();
    let mut version = 0;
    for (op, fault) in faults {
        disk.fail(op, 1, fault);
        for what in ["the call has failed", "only a rollback goes on from here"] {
            let refused = commit_new(&mut appender, version + 1, 1);
            assert!(matches!(refused, Err(Error::Denied { .. })), "{op:?}: {what}");
        }
        appender.rollback().unwrap();
        version += 1;
        let address = commit_new(&mut appender, version, 2).unwrap();
        assert_eq!(log.read(address, PageId::new(1), KIND).unwrap(), [2; 9000][..]);
        let crashed = disk.crash(&mut |_| 0);
        let (_, recovered) = Log::open(Arc::new(crashed), small()).unwrap();
        assert_eq!(recovered.version, version);
    }
}

/// Looks at the names of directory and files, of which none changes a byte.
#[test]
fn a_checkpoint_whose_looks_fail_is_none_and_leaves_nothing_behind() {
    for (op, fault) in [
        (Op::LookAtDirectory, Fault::Os(12)),
        (Op::LookAtDirectory, Fault::Eio),
        (Op::LookAtFile, Fault::Os(4)),
        (Op::LookAtFile, Fault::Eio),
    ] {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history, 7);
        (0..20).for_each(|_| driver.write(&mut history).unwrap());
        let meta = [3; 5000];
        driver.log.appender().checkpoint(driver.chunks(), &[], &meta).unwrap();
        let live = driver.log.live_bytes();
        let mut failed = 0;
        for nth in (1..8).cycle().take(40) {
            disk.fail(op, nth, fault);
            if let Err(error) = driver.log.appender().checkpoint(driver.chunks(), &[], &meta) {
                assert!(error.stops_one_group(), "{error}");
                assert_eq!(error.is_passing(), fault != Fault::Eio, "{error}");
                failed += 1;
            }
            disk.heal();
        }
        driver.log.appender().checkpoint(driver.chunks(), &[], &meta).unwrap();
        // The list of chunks has some bytes more or less, by where they lie.
        let now = driver.log.live_bytes();
        assert!(now.abs_diff(live) < 100, "{op:?}: {live} to {now}: of checkpoints that failed");
        assert!(failed > 5, "{op:?}: {failed}");
        driver.check_reads();
        drop(driver);
        reopen(disk.crash(&mut |_| 0), &mut history, 7, "a crash");
    }
}

/// The file of an open segment may have been closed for others. To open it again is no write.
#[test]
fn a_closed_file_that_cannot_be_opened_stops_one_group() {
    let disk = SimDisk::new();
    let options = bwtree_lss::Options { max_open_files: 1, ..small() };
    let (log, _) = Log::open(Arc::new(disk.clone()), options).unwrap();
    let page = PageId::new(1);
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let mut old: Vec<Address> = Vec::new();
    let (mut refused, mut version) = (0, 0);
    for round in 0..200 {
        // Reads of others close what is synced.
        let last = old.last().map_or(0, |at| at.segment);
        for at in old.iter().chain(&old).filter(|at| at.segment != last) {
            log.read(*at, page, KIND).unwrap();
        }
        disk.fail(Op::Open, 1, Fault::Eio);
        let appended = appender.append(Stream::Foreground, page, KIND, 0, &[], &[round; 600]);
        let committed = appended.and_then(|at| appender.commit(version + 1).map(|()| at));
        disk.heal();
        match committed {
            Ok(at) => {
                version += 1;
                old.push(at);
            }
            Err(error) => {
                assert!(matches!(error, Error::Denied { op: "open", .. }), "{error}");
                appender.rollback().unwrap();
                refused += 1;
            }
        }
    }
    println!("{{\"refused\": {refused}}}");
    assert!(refused > 5 && version > 5, "{refused} refused, {version} not");
    let (_, recovered) = Log::open(Arc::new(disk.crash(&mut |_| 0)), options).unwrap();
    assert_eq!(recovered.version, version);
}

/// A read that is to be tried again is; and what passes is not told as what does not.
#[test]
fn a_read_that_passes_is_tried_again_and_then_told_so() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let page = PageId::new(1);
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let part = appender.append(Stream::Foreground, page, KIND, 0, &[], b"part").unwrap();
    appender.commit(1).unwrap();
    for errno in [4, 11] {
        (1..=3).for_each(|nth| disk.fail(Op::Read, nth, Fault::Os(errno)));
        assert_eq!(log.read(part, page, KIND).unwrap(), b"part"[..]);
        disk.fail_all(Op::Read, Fault::Os(errno));
        assert!(matches!(log.read(part, page, KIND), Err(Error::Refused { op: "read", .. })));
        disk.heal();
    }
    for errno in [12, 24] {
        disk.fail_all(Op::Read, Fault::Os(errno));
        assert!(log.read(part, page, KIND).unwrap_err().is_passing());
        let mut contents = log.contents(part.segment).unwrap();
        assert!(contents.next_frame().unwrap_err().is_passing());
        disk.heal();
    }
    drop(appender);
    drop(log);
    // A slot that cannot be read for now may be the newer one: it is not given up as damaged.
    for nth in [1, 2] {
        disk.fail(Op::Read, nth, Fault::Os(12));
        assert!(Log::open(Arc::new(disk.clone()), small()).unwrap_err().is_passing());
        disk.heal();
    }
}
