//! Errors that pass: no descriptors, no memory, no room to write a slot over. The next try goes on.

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use bwtree_lss::io::{Disk, Fault, FileDisk, MemoryDisk, Op, SimDisk};
use bwtree_lss::{Error, Log, PageId, Stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::directory::{CHILD, run_in_child};
use crate::driver::{Driver, History, KIND, small};
use crate::random::Random;

fn begun(disk: &SimDisk, history: &mut History) -> Driver {
    let driver = Driver::open(Arc::new(disk.clone()), history, Random(9)).unwrap();
    driver.begin().unwrap();
    driver
}

/// The power is cut, in three ways, and the log is opened anew.
fn crashed(disk: &SimDisk, history: &History) {
    for choice in [0, 1, 2] {
        let after = disk.crash(&mut |n| choice.min(n - 1));
        let mut history = history.clone();
        let driver = Driver::open(Arc::new(after), &mut history, Random(1)).unwrap();
        driver.begin().unwrap();
        driver.check_reads();
    }
}

/// One EMFILE, at the creation of a segment, poisoned the log for good.
#[test]
fn a_call_that_is_refused_for_now_stops_one_group_and_the_next_goes_on() {
    for op in [Op::Create, Op::Allocate, Op::Rename, Op::Remove] {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history);
        let (mut refused, before) = (0, disk.calls(op));
        for _ in 0..600 {
            // Again and again, also when the log has closed files of its own.
            (1..30).for_each(|nth| disk.fail(op, nth, Fault::Emfile));
            let stepped = driver.step(&mut history);
            disk.heal();
            match stepped {
                Ok(()) => {}
                Err(error) => {
                    assert!(matches!(error, Error::Refused { .. }), "{error}");
                    assert!(error.is_passing() && !error.is_full());
                    assert!(error.to_string().contains("try again"));
                    refused += 1;
                    driver.log.appender().rollback().unwrap();
                    history.attempted.retain(|&v, _| v <= history.acknowledged);
                }
            }
            assert!(driver.log.poisoned().is_none());
        }
        assert!(disk.calls(op) > before && (refused > 0 || op == Op::Rename), "{op:?}");
        driver.check_reads();
        drop(driver);
        let crashed = disk.crash(&mut |_| 0);
        let driver = Driver::open(Arc::new(crashed), &mut history, Random(0)).unwrap();
        driver.begin().unwrap();
        driver.check_reads();
    }
}

/// Each failed creation took a number and could leave a file: a store that met a full disk for a
/// night ran through the numbers.
#[test]
fn a_creation_that_fails_takes_no_number_and_leaves_no_file() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let names = || -> Vec<String> { disk.files().into_keys().collect() };
    let before = names();
    for _ in 0..50 {
        for (op, fault) in [
            (Op::Create, Fault::Emfile),
            (Op::Allocate, Fault::Enospc),
            (Op::Write, Fault::Enospc),
            (Op::Write, Fault::ShortWriteEnospc),
            (Op::Sync, Fault::Enospc),
            (Op::SyncDirectory, Fault::Enospc),
        ] {
            (1..30).for_each(|nth| disk.fail(op, nth, fault));
            assert!(log.prepare().unwrap_err().is_passing(), "{op:?}");
            disk.heal();
            assert_eq!(names(), before, "{op:?}");
        }
    }
    let last = log.segments().last().unwrap().id;
    log.prepare().unwrap();
    assert_eq!(log.segments().last().unwrap().id, last + 1);
}

/// On a disk that copies on write a slot may find no room: that poisoned, as if bytes were lost.
#[test]
fn no_room_to_write_a_slot_over_is_a_full_disk_and_no_more() {
    for (op, fault) in [
        (Op::Write, Fault::Enospc),
        (Op::Write, Fault::ShortWriteEnospc),
        (Op::Write, Fault::WholeWriteEnospc),
        (Op::Sync, Fault::Enospc),
    ] {
        for slot in [1, 2] {
            let disk = SimDisk::new();
            let mut history = History::default();
            let mut driver = begun(&disk, &mut history);
            for round in 0..12 {
                for _ in 0..6 {
                    driver.write(&mut history).unwrap();
                }
                disk.fail_file("superblock", op, slot, fault);
                match driver.log.appender().checkpoint(driver.chunks(), &[], b"meta") {
                    Ok(_) => assert_eq!(slot, 2, "round {round}"),
                    Err(error) => assert!(slot == 1 && error.is_full(), "{error}"),
                }
                assert!(driver.log.poisoned().is_none());
                crashed(&disk, &history);
                driver.log.reclaim().unwrap();
                if round % 3 == 2 {
                    driver.checkpoint().unwrap();
                    driver.log.reclaim().unwrap();
                }
                let file = &disk.files()["superblock"];
                let same = file[..4096] == file[4096..];
                assert!(same || slot == 1, "a stale slot is written when there is room");
            }
            driver.check_reads();
            let live = driver.log.live_bytes();
            drop(driver);
            let mut driver = begun(&disk, &mut history);
            driver.checkpoint().unwrap();
            assert!(driver.log.live_bytes().abs_diff(live) < 12_000, "parts of failed checkpoints");
        }
    }
}

/// An opening whose superblock can't be written has written its first group, and says so to nobody:
/// a second try that a crash cuts short is not taken for an opening that had come to life.
#[test]
fn an_opening_that_tried_twice_has_not_come_to_life() {
    let (mut old, mut new) = (0, 0);
    for nth in 1..60 {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = begun(&disk, &mut history);
        (0..6).for_each(|_| driver.write(&mut history).unwrap());
        drop(driver);
        let driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(9)).unwrap();
        // Settling writes a slot as well, and then the other.
        let mut failures = 0;
        for slot in [2, 1] {
            disk.fail_file("superblock", Op::Write, slot, Fault::Enospc);
            failures += u32::from(driver.begin().is_err());
            disk.heal();
        }
        assert!(failures > 0 && driver.log.poisoned().is_none());
        // It is cut short at each of its calls.
        disk.fail(Op::Write, nth, Fault::ShortWrite);
        let begun = driver.begin();
        drop(driver);
        crashed(&disk, &history);
        (old, new) = (old + u32::from(begun.is_err()), new + u32::from(begun.is_ok()));
    }
    assert!(old > 1 && new > 1, "{old} were cut short, {new} were not");
}

/// With no descriptor left, a writer's store was poisoned, though it had more than it needed.
#[test]
fn a_process_without_descriptors_goes_on_when_it_has_some() {
    if let Ok(root) = env::var(CHILD) {
        without_descriptors(Path::new(&root));
        return;
    }
    let root = tempfile::tempdir().unwrap();
    run_in_child("passing::a_process_without_descriptors_goes_on_when_it_has_some", root.path());
}

fn without_descriptors(path: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new(path));
    let (log, _) = Log::open(disk, small()).unwrap();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let most = fs::read_dir("/proc/self/fd").map_or(64, |open| open.count() as u64);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).unwrap();
    let (mut version, mut refused) = (0, 0);
    for _ in 0..200 {
        let page = PageId::new(1);
        let appended = appender.append(Stream::Foreground, page, KIND, 0, &[], &[7; 900]);
        match appended.and_then(|_| appender.commit(version + 1)) {
            Ok(()) => version += 1,
            Err(error) => {
                assert!(matches!(error, Error::Refused { op: "create", .. }), "{error}");
                appender.rollback().unwrap();
                refused += 1;
                if refused == 5 {
                    setrlimit(Resource::Nofile, limit).unwrap();
                }
            }
        }
    }
    // It gives up descriptors of its own first.
    assert_eq!((version, refused), (200, 0));
    drop(appender);
    drop(log);
    let (_, recovered) = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap();
    assert_eq!(recovered.version, version);
}

/// A full disk refused every opening for writing, and so there was no way to make room by removing
/// entries: the two segments that an opening begins could not be made, though prepared ones lay
/// there.
#[test]
fn an_opening_on_a_full_disk_takes_the_segments_that_are_prepared() {
    let mut opened = 0;
    for seed in 0..60 {
        let disk = SimDisk::new();
        let mut history = History::default();
        let mut driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(seed)).unwrap();
        driver.begin().unwrap();
        for _ in 0..20 + seed % 20 {
            driver.step(&mut history).unwrap();
        }
        driver.checkpoint().unwrap();
        driver.log.reclaim().unwrap();
        driver.log.prepare().unwrap();
        let free = |s: &&bwtree_lss::SegmentInfo| s.state == bwtree_lss::SegmentState::Free;
        let spares = driver.log.segments().iter().filter(free).count();
        drop(driver);
        let crashed = disk.crash(&mut |n| Random(seed).below(n));
        for disk in [disk, crashed] {
            disk.set_capacity(Some(disk.used()));
            let mut history = history.clone();
            let driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(seed)).unwrap();
            let full = disk.kill();
            match driver.begin() {
                Ok(()) => opened += 1,
                Err(error) => assert!(spares < 2 && error.is_full(), "{spares}: {error}"),
            }
            driver.check_reads();
            // A crash in the middle of it finds what there was.
            for after in [full, disk.kill(), disk.crash(&mut |n| n - 1), disk.crash(&mut |_| 0)] {
                let mut history = history.clone();
                let driver = Driver::open(Arc::new(after), &mut history, Random(seed)).unwrap();
                driver.begin().unwrap();
                driver.check_reads();
            }
        }
    }
    println!("{{\"opened_on_a_full_disk\": {opened}}}");
    assert!(opened > 10, "{opened}");
}

/// The foreground stream had no room for a COMMIT, the background stream had no segment, and so no
/// less room: what made room on a full disk went there, and took two segments where there was one.
#[test]
fn a_stream_that_needs_a_segment_for_the_commit_has_the_most_room() {
    for bytes in (3000..4000).step_by(8) {
        let (log, _) = Log::open(Arc::new(MemoryDisk::new()), small()).unwrap();
        let mut appender = log.appender();
        appender.begin([], b"", 0).unwrap();
        appender.append(Stream::Foreground, PageId::new(1), KIND, 0, &[], &vec![7; bytes]).unwrap();
        appender.commit(1).unwrap();
        assert_eq!(appender.roomier(), Stream::Foreground, "a part of {bytes} bytes");
    }
}
