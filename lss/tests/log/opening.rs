//! Who may open what: locks, foreign directories, newer formats, readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bwtree_lss::io::{Disk, FileDisk, MemoryDisk};
use bwtree_lss::{Error, Log, Options, Recovered};

use crate::driver::{Driver, History, read_all, small, table_of};
use crate::random::Random;

fn open(path: &Path, options: Options) -> Result<(Log, Recovered), Error> {
    Log::open(Arc::new(FileDisk::new(path)), options)
}

fn reader() -> Options {
    Options { read_only: true, ..small() }
}

fn filled(disk: Arc<dyn Disk>, steps: u32) -> Driver {
    let mut driver = Driver::open(disk, &mut History::default(), Random(5)).unwrap();
    driver.begin().unwrap();
    for _ in 0..steps {
        driver.step(&mut History::default()).unwrap();
    }
    driver
}

#[test]
fn a_second_opener_is_refused_and_told_who_holds_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let driver = filled(Arc::new(FileDisk::new(path)), 3);
    let error = open(path, small()).unwrap_err();
    let me = format!("process {}, log-", std::process::id());
    assert!(matches!(&error, Error::Locked { owner, .. } if owner.starts_with(&me)), "{error}");
    assert!(error.to_string().contains("close it there first"), "{error}");
    let first = open(path, reader()).unwrap();
    drop(driver);
    let second = open(path, reader()).unwrap();
    open(path, small()).unwrap();
    drop((first, second));
}

#[test]
fn a_reader_changes_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let expected = filled(Arc::new(FileDisk::new(path)), 60).contents;
    let snapshot = || -> BTreeMap<_, _> {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        entries
            .map(|e| {
                let times = e.metadata().unwrap().modified().unwrap();
                (e.file_name(), (fs::read(e.path()).unwrap(), times))
            })
            .collect()
    };
    let before = snapshot();
    let (log, recovered) = open(path, reader()).unwrap();
    assert_eq!(read_all(&log, &table_of(&log, &recovered).unwrap()).unwrap(), expected);
    assert!(matches!(log.appender().begin([], b"", 0), Err(Error::ReadOnly)));
    assert!(matches!(log.prepare(), Err(Error::ReadOnly)));
    assert_eq!(log.reclaim().unwrap(), 0);
    drop(log);
    assert_eq!(snapshot(), before);
    // A copy of a store may lack the lock file, and a reader makes none.
    fs::remove_file(path.join("LOCK")).unwrap();
    open(path, reader()).unwrap();
    assert!(!path.join("LOCK").exists());
}

#[test]
fn a_missing_store_is_created_only_if_allowed_and_never_among_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for options in [reader(), Options { create: false, ..small() }] {
        assert!(matches!(open(path, options), Err(Error::Missing { .. })));
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    fs::write(path.join("letter.txt"), "dear").unwrap();
    assert!(matches!(open(path, small()), Err(Error::NotAStore { .. })));
    fs::remove_file(path.join("letter.txt")).unwrap();
    // What a crash during the creation leaves is no obstacle.
    fs::write(path.join("superblock.new"), "half").unwrap();
    fs::write(path.join("LOCK"), "process 1\n").unwrap();
    open(path, small()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let disk = MemoryDisk::new();
    drop(filled(Arc::new(disk.clone()), 10));
    // Version at 12 in both headers; incompatible bits at 24 and at 20.
    for (file, at) in [("superblock", 12), ("superblock", 24), ("seg-", 12), ("seg-", 20)] {
        let mut files = disk.files();
        let bytes = files.iter_mut().find(|(name, _)| name.starts_with(file)).unwrap().1;
        bytes[at] = 9;
        let end = if file == "seg-" { 64 } else { 4096 };
        let sum = crc32c::crc32c(&bytes[12..end]).to_le_bytes();
        bytes[8..12].copy_from_slice(&sum);
        let opened = Log::open(Arc::new(MemoryDisk::with_files(files)), small());
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::UnsupportedFormat { .. }), "{file} {at}: {error}");
    }
}

#[test]
fn files_of_a_store_start_as_documented() {
    let disk = MemoryDisk::new();
    drop(filled(Arc::new(disk.clone()), 10));
    let files = disk.files();
    let superblock = &files["superblock"];
    assert_eq!(superblock.len(), 8192);
    assert_eq!(superblock[..4096], superblock[4096..]);
    assert_eq!(superblock[..8], *b"BWSUPER1");
    assert_eq!(superblock[32..40], 77u64.to_le_bytes());
    let segments: Vec<_> = files.iter().filter(|(n, _)| n.starts_with("seg-")).collect();
    assert!(!segments.is_empty());
    for (_, bytes) in segments {
        assert_eq!(bytes[..8], *b"BWSEG001");
        assert_eq!(bytes[24..32], 77u64.to_le_bytes());
        assert_eq!(bytes[56..64], (bytes.len() as u64).to_le_bytes());
    }
}
