//! Damaged and hostile files: an error or the right answer, never a panic, never a wrong one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bwtree_lss::io::MemoryDisk;
use bwtree_lss::{Address, Error, Log, PageId, Stream};

use crate::driver::{Contents, Driver, History, read_all, small, table_of};
use crate::random::Random;

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A small store that was left alone: everything is in the checkpoint, or the last commits come
/// after it.
fn store(seed: u64, checkpointed: bool) -> (Files, History) {
    let disk = MemoryDisk::new();
    let mut history = History::default();
    let mut driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(seed)).unwrap();
    driver.begin().unwrap();
    for _ in 0..6 {
        driver.write(&mut history).unwrap();
    }
    driver.checkpoint().unwrap();
    if !checkpointed {
        let until = driver.version + 4;
        while driver.version < until {
            driver.write(&mut history).unwrap();
        }
    }
    driver.log.reclaim().unwrap();
    drop(driver);
    (disk.files(), history)
}

/// What an opening and reading of everything gives.
fn look(files: Files) -> Result<(u64, Contents), Error> {
    let (log, recovered) = Log::open(Arc::new(MemoryDisk::with_files(files)), small())?;
    let contents = read_all(&log, &table_of(&log, &recovered)?)?;
    Ok((recovered.version, contents))
}

/// Looks at a changed store: an error, the newest state, or, if `tail` commits may be taken for
/// torn, one of those before. Returns whether it was an error.
pub(crate) fn check(files: Files, history: &History, tail: u64, what: &str) -> bool {
    match look(files) {
        Err(Error::Corrupt { file, .. }) => {
            assert!(!file.is_empty());
            true
        }
        Err(Error::UnsupportedFormat { .. } | Error::Gone { .. } | Error::Missing { .. }) => true,
        Err(error) => panic!("{what}: {error}"),
        Ok((version, contents)) => {
            assert!(version + tail >= history.acknowledged, "{what}: version {version}");
            assert_eq!(Some(&contents), history.attempted.get(&version), "{what}");
            false
        }
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_harmless() {
    let (mut errors, mut harmless) = (0u64, 0u64);
    for (seed, checkpointed) in [(1, true), (2, false), (4, false)] {
        let (files, history) = store(seed, checkpointed);
        for (name, bytes) in &files {
            for at in 0..bytes.len() {
                let mut changed = files.clone();
                changed.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                // Nothing proves that the very last commit was durable.
                let tail = u64::from(!checkpointed);
                if check(changed, &history, tail, &format!("seed {seed} {name} {at}")) {
                    errors += 1;
                } else {
                    harmless += 1;
                }
            }
        }
    }
    println!("{{\"flips_found\": {errors}, \"flips_harmless\": {harmless}}}");
    assert!(errors > 1000 && harmless > 1000);
}

#[test]
fn files_cut_short_emptied_and_removed_are_errors_or_harmless() {
    let (mut errors, mut harmless) = (0u64, 0u64);
    for (seed, checkpointed) in [(1, true), (2, false), (5, false)] {
        let (files, history) = store(seed, checkpointed);
        let mut try_it = |changed: Files, what: &str| {
            if check(changed, &history, 0, what) {
                errors += 1;
            } else {
                harmless += 1;
            }
        };
        for (name, bytes) in &files {
            for len in (0..bytes.len()).step_by(61) {
                let mut changed = files.clone();
                changed.get_mut(name).unwrap().truncate(len);
                try_it(changed, &format!("seed {seed} {name} cut to {len}"));
            }
            let mut changed = files.clone();
            changed.remove(name);
            if name != "superblock" {
                try_it(changed, &format!("seed {seed} {name} removed"));
            }
        }
    }
    println!("{{\"cuts_found\": {errors}, \"cuts_harmless\": {harmless}}}");
    assert!(errors > 100);
}

/// Swapped segments, and runs of random bytes: nothing may panic or be believed.
#[test]
fn scrambled_stores_are_errors_or_harmless() {
    let mut looked = 0;
    for seed in 0..600 {
        let mut random = Random(seed);
        let (files, history) = store(seed % 7, seed % 2 == 0);
        let mut changed = files.clone();
        let names: Vec<&String> = files.keys().collect();
        let one = names[random.below(names.len() as u64) as usize];
        let other = names[random.below(names.len() as u64) as usize];
        if random.one_in(3) {
            changed.insert(one.clone(), files[other].clone());
        } else {
            let bytes = changed.get_mut(one).unwrap();
            let at = random.below(bytes.len() as u64) as usize;
            let end = (at + random.below(300) as usize).min(bytes.len());
            bytes[at..end].fill_with(|| random.next() as u8);
        }
        check(changed, &history, 4, &format!("seed {seed} {one}"));
        looked += 1;
    }
    println!("{{\"scrambled\": {looked}}}");
    assert!(looked > 0);
}

#[test]
fn a_torn_tail_is_cut_and_damage_before_it_is_named() {
    let disk = MemoryDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let page = PageId::new(1);
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let addresses: Vec<Address> = (1..=5)
        .map(|version| {
            let stream = Stream::Foreground;
            let address = appender.append(stream, page, 1, 0, &[], b"payload").unwrap();
            appender.commit(version).unwrap();
            address
        })
        .collect();
    drop(appender);
    drop(log);
    // Every frame is 128 bytes: header, payload, directory.
    let frame_of = |address: &Address| address.offset as usize - 64;
    let name = format!("seg-{:010}.log", addresses[0].segment);
    let damaged = |at: usize| {
        let mut files = disk.files();
        files.get_mut(&name).unwrap()[at] ^= 0x10;
        Log::open(Arc::new(MemoryDisk::with_files(files)), small())
    };
    for (index, address) in addresses.iter().enumerate() {
        let frame = frame_of(address);
        // Magic, sequence, version, directory; then the payload.
        for at in [0, 24, 40, 64 + 16 + 4] {
            match damaged(frame + at) {
                Ok((_, recovered)) => {
                    assert_eq!((index, recovered.version), (4, 4), "frame {index}, byte {at}");
                }
                Err(Error::Corrupt { file, offset, .. }) => {
                    assert!(index < 4 && file.ends_with(&name));
                    // The first frame has no good one before it to be named after.
                    assert!(index == 0 || offset == frame as u64, "frame {index}: {offset}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        let (log, recovered) = damaged(frame + 64).unwrap();
        let version = if index == 4 { 4 } else { 5 };
        assert_eq!(recovered.version, version, "payloads are checked beyond what is proven");
        let read = log.read(*address, page, 1);
        assert!(matches!(read, Err(Error::Corrupt { .. })));
    }
}
