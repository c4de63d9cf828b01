//! Files in a store's directory that are not the store's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bwtree_lss::io::{FileDisk, MemoryDisk};
use bwtree_lss::{Error, Log, Options};

use crate::driver::{Driver, History, parts_of, small};
use crate::random::Random;

fn open(path: &Path, history: &mut History) -> Driver {
    let driver = Driver::open(Arc::new(FileDisk::new(path)), history, Random(5)).unwrap();
    driver.begin().unwrap();
    driver
}

/// What does not belong to a store, as file systems, desktops and people leave it.
fn scatter(path: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    fs::create_dir(path.join("lost+found")).unwrap();
    fs::create_dir(path.join("seg-0000000003.log")).unwrap();
    let files = BTreeMap::from([
        (".DS_Store", b"desktop".to_vec()),
        ("seg-4294967295.log", b"no segment".to_vec()),
        ("seg-4294967294.log", Vec::new()),
        ("seg-0000000004.log", vec![7; 5000]),
    ]);
    for (name, bytes) in &files {
        fs::write(path.join(name), bytes).unwrap();
    }
    files
}

/// A mount point has a `lost+found`, and could not be a store; a stray file with the last segment
/// number refused a store without being named.
#[test]
fn strangers_are_left_alone_by_a_new_store_and_by_an_old_one() {
    for before in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        let mut history = History::default();
        let strangers = before.then(|| scatter(path));
        let mut driver = open(path, &mut history);
        let strangers = strangers.unwrap_or_else(|| {
            // Before its segments 3 and 4 there are none of these names.
            scatter(path)
        });
        if !before {
            drop(driver);
            driver = open(path, &mut history);
        }
        for round in 0..6 {
            for _ in 0..40 {
                driver.step(&mut history).unwrap();
            }
            driver.checkpoint().unwrap();
            driver.log.reclaim().unwrap();
            let segments = driver.log.segments();
            let ids: Vec<u32> = segments.iter().map(|s| s.id).collect();
            assert!(ids.iter().all(|id| ![3, 4].contains(id) && *id < 5000), "{round}: {ids:?}");
            let bytes: u64 = segments.iter().map(|s| s.size).sum();
            assert_eq!(driver.log.disk_bytes(), bytes + 8192);
            drop(driver);
            driver = open(path, &mut history);
            driver.check_reads();
        }
        for (name, bytes) in strangers {
            assert_eq!(fs::read(path.join(name)).unwrap(), bytes, "{name}");
        }
        assert!(path.join("seg-0000000003.log").is_dir());
    }
}

/// A segment of another store in the directory refused the store, although it was not needed.
#[test]
fn a_segment_of_another_store_is_an_error_only_where_it_is_needed() {
    let other = MemoryDisk::new();
    let options = Options { store_id: Some(99), ..small() };
    let (log, _) = Log::open(Arc::new(other.clone()), options).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    drop(log);
    let foreign = other.files().into_iter().find(|(name, _)| name.starts_with("seg-")).unwrap().1;
    let own = MemoryDisk::new();
    let mut history = History::default();
    let mut driver = Driver::open(Arc::new(own.clone()), &mut history, Random(3)).unwrap();
    driver.begin().unwrap();
    for _ in 0..30 {
        driver.step(&mut history).unwrap();
    }
    let segments: Vec<u32> = driver.log.segments().iter().map(|s| s.id).collect();
    drop(driver);
    let name = |id: u32| format!("seg-{id:010}.log");
    let beside = MemoryDisk::with_files(own.files());
    let mut files = beside.files();
    files.insert(name(900), foreign.clone());
    let beside = MemoryDisk::with_files(files);
    let driver = Driver::open(Arc::new(beside.clone()), &mut history, Random(3)).unwrap();
    driver.begin().unwrap();
    driver.log.reclaim().unwrap();
    driver.check_reads();
    assert_eq!(beside.files()[&name(900)], foreign);
    // In the place of the segments in which recovery starts, or that hold the checkpoint.
    let mut refused = 0;
    for id in segments {
        let mut files = own.files();
        files.insert(name(id), foreign.clone());
        match Log::open(Arc::new(MemoryDisk::with_files(files)), small()) {
            Ok((log, recovered)) => {
                // Nothing of it is shown: what lay there is gone, and each part says so.
                let inside = parts_of(&log, &recovered)
                    .into_iter()
                    .filter(|part| part.address.segment == id);
                assert_eq!(inside.count(), 0);
                assert!(log.segments().iter().all(|s| s.id != id));
            }
            Err(error) => {
                assert!(matches!(&error, Error::Corrupt { .. }), "{error}");
                refused += u32::from(error.to_string().contains(&name(id)));
            }
        }
    }
    assert!(refused > 0);
}

/// The refusal of a directory did not say which file was in the way.
#[test]
fn a_directory_that_is_refused_is_told_which_file_is_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    scatter(path);
    fs::write(path.join("letter.txt"), "dear").unwrap();
    let error = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap_err();
    assert!(matches!(&error, Error::NotAStore { file, .. } if file == "letter.txt"), "{error}");
    assert!(error.to_string().contains("letter.txt"), "{error}");
    fs::remove_file(path.join("letter.txt")).unwrap();
    drop(open(path, &mut History::default()));
    // Segments of a store whose superblock is lost are worth more than a new store.
    fs::remove_file(path.join("superblock")).unwrap();
    let error = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("seg-0000000001.log and no superblock"), "{message}");
}

/// A segment whose header is damaged is not a stranger: its frames and parts count.
#[test]
fn a_segment_with_a_damaged_header_is_still_one() {
    let disk = MemoryDisk::new();
    let mut history = History::default();
    let mut driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(8)).unwrap();
    driver.begin().unwrap();
    for _ in 0..40 {
        driver.write(&mut history).unwrap();
    }
    drop(driver);
    let names: Vec<String> =
        disk.files().into_keys().filter(|name| name.starts_with("seg-")).collect();
    let (mut refused, mut read) = (0, 0);
    for name in names {
        let mut files = disk.files();
        files.get_mut(&name).unwrap()[..64].fill(7);
        let damaged = Arc::new(MemoryDisk::with_files(files));
        match Driver::open(damaged, &mut history.clone(), Random(1)) {
            Ok(driver) => {
                driver.begin().unwrap();
                driver.check_reads();
                read += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(&name), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "{refused} refused, {read} read");
}
