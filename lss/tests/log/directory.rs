//! A store is a directory and not a path: what happens when the directory is renamed, removed or
//! made anew, its lock file deleted, the process moved elsewhere, while the store is open.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use bwtree_lss::io::{Disk, DiskLock, FileDisk, LockFailure};
use bwtree_lss::{Error, Log, SegmentState};

use crate::driver::{Driver, History, small};
use crate::random::Random;

/// Names the directory to a child process that runs one of these tests.
pub(crate) const CHILD: &str = "BWTREE_LSS_TEST_DIRECTORY";

fn open(path: &Path, history: &mut History) -> Driver {
    let disk = Arc::new(FileDisk::create(path).unwrap());
    let driver = Driver::open(disk, history, Random(5)).unwrap();
    driver.begin().unwrap();
    driver
}

fn steps(driver: &mut Driver, history: &mut History, count: u32) {
    for _ in 0..count {
        driver.step(history).unwrap();
    }
}

fn refusal(path: &Path) -> String {
    let error = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    error.to_string()
}

/// A store was opened by the path `store`; after a `chdir` its files were written in another
/// `store`, which was destroyed, and so was the first.
#[test]
fn a_process_that_goes_elsewhere_takes_its_relative_path_along() {
    if let Ok(root) = env::var(CHILD) {
        let root = Path::new(&root);
        env::set_current_dir(root.join("one")).unwrap();
        let mut history = History::default();
        let mut driver = open(Path::new("store"), &mut history);
        env::set_current_dir(root.join("two")).unwrap();
        steps(&mut driver, &mut history, 60);
        driver.checkpoint().unwrap();
        driver.log.reclaim().unwrap();
        let contents = driver.contents.clone();
        drop(driver);
        let driver = open(&root.join("one/store"), &mut history);
        assert_eq!(driver.contents, contents);
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let second = root.path().join("two/store");
    fs::create_dir(root.path().join("one")).unwrap();
    let mut history = History::default();
    let mut driver = open(&second, &mut history);
    steps(&mut driver, &mut history, 20);
    drop(driver);
    run_in_child(
        "directory::a_process_that_goes_elsewhere_takes_its_relative_path_along",
        root.path(),
    );
    let mut driver = open(&second, &mut history);
    steps(&mut driver, &mut history, 20);
    driver.check_reads();
}

pub(crate) fn run_in_child(test: &str, directory: &Path) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the child ran another test: {said}");
}

/// A directory that was renamed went on under its old path: with nothing there every checkpoint
/// failed, with another store there that one was overwritten.
#[test]
fn a_renamed_directory_goes_on_and_leaves_its_old_path_alone() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("old"), root.path().join("new"));
    let (mut first, mut second) = (History::default(), History::default());
    let mut one = open(&old, &mut first);
    steps(&mut one, &mut first, 10);
    fs::rename(&old, &new).unwrap();
    let mut two = open(&old, &mut second);
    for _ in 0..30 {
        steps(&mut one, &mut first, 3);
        steps(&mut two, &mut second, 3);
    }
    assert!(refusal(&new).contains("process"));
    drop((one, two));
    for (path, history) in [(&new, &mut first), (&old, &mut second)] {
        let mut driver = open(path, history);
        steps(&mut driver, history, 20);
        driver.check_reads();
    }
}

/// A store was removed and made anew by another process while it was open; the checkpoint of its
/// closing was written into the new one.
#[test]
fn a_removed_directory_ends_in_an_error_and_harms_no_store_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    let (mut first, mut second) = (History::default(), History::default());
    let mut one = open(&path, &mut first);
    steps(&mut one, &mut first, 10);
    fs::remove_dir_all(&path).unwrap();
    let mut two = open(&path, &mut second);
    steps(&mut two, &mut second, 10);
    let error = one.checkpoint().unwrap_err();
    assert!(matches!(&error, Error::Removed { path: p } if *p == path.display().to_string()));
    assert!(error.to_string().contains("removed while the store was open"), "{error}");
    assert!(matches!(one.log.poisoned(), Some(Error::Removed { .. })));
    assert!(matches!(one.log.prepare(), Err(Error::Poisoned { .. })));
    one.check_reads();
    drop(one);
    steps(&mut two, &mut second, 30);
    drop(two);
    open(&path, &mut second).check_reads();
}

/// The files were taken away and the directory was not: commits were acknowledged, and after the
/// closing there was no store.
#[test]
fn a_removed_or_replaced_superblock_or_segment_ends_in_an_error() {
    for removed in ["superblock", "seg-"] {
        let root = tempfile::tempdir().unwrap();
        let mut history = History::default();
        let mut driver = open(root.path(), &mut history);
        steps(&mut driver, &mut history, 10);
        for entry in fs::read_dir(root.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(removed) {
                // Replaced, as a restored copy replaces it.
                let copy = root.path().join("copy");
                fs::copy(&path, &copy).unwrap();
                fs::rename(&copy, &path).unwrap();
            }
        }
        let error = driver.checkpoint().unwrap_err();
        assert!(matches!(&error, Error::Removed { path } if path.contains(removed)), "{error}");
        assert!(driver.log.poisoned().is_some());
    }
}

/// The lock file was deleted while the store was open; the next opener made a new one, locked it,
/// and both wrote.
#[test]
fn a_deleted_lock_file_lets_no_second_writer_in() {
    let root = tempfile::tempdir().unwrap();
    let mut history = History::default();
    let mut driver = open(root.path(), &mut history);
    let me = format!("process {}", std::process::id());
    assert!(refusal(root.path()).contains(&me));
    fs::remove_file(root.path().join("LOCK")).unwrap();
    let message = refusal(root.path());
    assert!(message.contains("a process that LOCK does not name"), "{message}");
    steps(&mut driver, &mut history, 20);
    drop(driver);
    open(root.path(), &mut history).check_reads();
}

/// A program that locks nothing but the file is kept out, and keeps others that write out.
#[test]
fn the_lock_file_alone_is_respected() {
    let root = tempfile::tempdir().unwrap();
    let mut history = History::default();
    let driver = open(root.path(), &mut history);
    let file = fs::File::options().read(true).write(true).open(root.path().join("LOCK")).unwrap();
    assert!(file.try_lock().is_err() && file.try_lock_shared().is_err());
    drop(driver);
    file.try_lock().unwrap();
    refusal(root.path());
}

/// The message named the process that had the store open last, though it had ended, or had closed
/// it and a reader held it.
#[test]
fn a_refusal_names_the_holder_that_there_is() {
    let root = tempfile::tempdir().unwrap();
    let lock = |exclusive| -> Result<Box<dyn DiskLock>, String> {
        FileDisk::new(root.path()).lock(exclusive).map_err(|failure| match failure {
            LockFailure::Held(owner) => owner,
            LockFailure::Io(error) => panic!("{error}"),
        })
    };
    drop(lock(true).unwrap());
    let reader = lock(false).unwrap();
    assert_eq!(lock(true).unwrap_err(), "a reader");
    drop(reader);
    // As a process leaves it that has ended and has a child with all its descriptors.
    let directory = fs::File::open(root.path()).unwrap();
    directory.try_lock().unwrap();
    fs::write(root.path().join("LOCK"), "process 2147483646\n").unwrap();
    for exclusive in [false, true] {
        let owner = lock(exclusive).unwrap_err();
        assert!(owner.starts_with("process 2147483646 opened it and has ended"), "{owner}");
    }
    drop(directory);
    lock(true).unwrap();
}

/// Whoever clears old files out of a directory takes the prepared ones first, which nobody has
/// touched since. Those that are cut short get their length again.
#[test]
fn prepared_files_that_others_have_removed_or_cut_are_no_matter() {
    let root = tempfile::tempdir().unwrap();
    let mut history = History::default();
    for cut in [false, true] {
        let mut driver = open(&root.path().join(format!("cut {cut}")), &mut history);
        steps(&mut driver, &mut history, 20);
        while driver.log.prepare().unwrap() {}
        let free = |driver: &Driver| -> Vec<u32> {
            let free = driver.log.segments().into_iter();
            free.filter(|s| s.state == SegmentState::Free).map(|s| s.id).collect()
        };
        let changed = free(&driver);
        assert!(changed.len() > 3, "{changed:?}");
        for &id in &changed {
            let file = driver.log.file_of(id);
            if cut {
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(100).unwrap();
            } else {
                fs::remove_file(file).unwrap();
            }
        }
        steps(&mut driver, &mut history, 200);
        let left = free(&driver);
        assert!(changed.iter().any(|id| !left.contains(id)), "none of them was used");
        driver.check_reads();
        assert!(driver.log.check_files().unwrap().is_empty());
        driver.checkpoint().unwrap();
        let contents = driver.contents.clone();
        drop(driver);
        let driver = open(&root.path().join(format!("cut {cut}")), &mut history);
        assert_eq!(driver.contents, contents);
        history = History::default();
    }
}

/// An opening takes no frame in a segment whose header is damaged: what was synced behind it, after
/// a check had passed, was refused.
#[test]
fn headers_that_go_bad_under_an_open_log_are_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let mut history = History::default();
    let mut driver = open(root.path(), &mut history);
    steps(&mut driver, &mut history, 40);
    let active = driver.log.segments().into_iter().filter(|s| s.state == SegmentState::Active);
    let active: Vec<u32> = active.map(|segment| segment.id).collect();
    assert!(!active.is_empty(), "no stream has a segment");
    for &id in &active {
        let path = driver.log.file_of(id);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let changed = driver.log.check_files().unwrap();
    assert_eq!(changed.iter().map(|file| file.segment).collect::<Vec<_>>(), active);
    assert!(driver.log.check_files().unwrap().is_empty());
    driver.write(&mut history).unwrap();
    let contents = driver.contents.clone();
    drop(driver);
    assert_eq!(open(root.path(), &mut history).contents, contents);
}
