//! The chunks and their list lie in the log twice, in different segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use bwtree_lss::io::{MemoryDisk, SimDisk};
use bwtree_lss::{ChunkPart, Log, Options, PageId, Stream};

use crate::driver::{KIND, small, whole};

fn chunk(log: &Log) -> Vec<u8> {
    log.chunk_parts(3).unwrap().concat()
}

/// Fills some segments of both streams.
fn fill(log: &Log, version: u64) {
    let mut appender = log.appender();
    for page in 0..60 {
        for stream in [Stream::Foreground, Stream::Background] {
            appender.append(stream, PageId::new(page + 1), KIND, 0, &[], &[7; 900]).unwrap();
        }
    }
    appender.commit(version).unwrap();
}

/// A log with a chunk that was written long ago, a delta on top of it, and its list.
fn files() -> BTreeMap<String, Vec<u8>> {
    let disk = MemoryDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    log.appender().checkpoint([(3, whole(5, 300))], &[], b"").unwrap();
    fill(&log, 1);
    let delta = ChunkPart::Delta(vec![6; 40]);
    log.appender().checkpoint([(3, delta)], &[], b"").unwrap();
    fill(&log, 2);
    log.appender().checkpoint([], &[], b"").unwrap();
    assert_eq!(log.uncopied_bytes(), 0);
    assert_eq!(log.check_chunks().unwrap().len(), 0);
    drop(log);
    disk.files()
}

#[test]
fn a_file_that_is_gone_or_cannot_be_read_takes_no_chunk_with_it() {
    let files = files();
    let right = [vec![5; 300], vec![6; 40]].concat();
    let (mut opened, mut mended) = (0, 0);
    for name in files.keys().filter(|name| name.starts_with("seg-")) {
        for gone in [false, true] {
            let mut damaged = files.clone();
            if gone {
                damaged.remove(name);
            } else {
                damaged.get_mut(name).unwrap()[64..].fill(0xee);
            }
            let disk = MemoryDisk::with_files(damaged);
            let read_only = Options { read_only: true, ..small() };
            // Some are needed to know where the log ends.
            let Ok((log, _)) = Log::open(Arc::new(disk.clone()), read_only) else { continue };
            assert_eq!(chunk(&log), right, "without {name}");
            drop(log);
            opened += 1;
            let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
            assert_eq!(chunk(&log), right, "without {name}");
            mended += u64::from(log.uncopied_bytes() > 0);
            log.appender().begin([], b"", 2).unwrap();
            // An opening reads the first place; a bad second one is found by a look at all.
            let found = log.check_chunks().unwrap().into_iter();
            let bad =
                found.filter_map(|(chunk, _)| Some((chunk?, ChunkPart::Whole(right.clone()))));
            log.appender().checkpoint(bad.take(1), &[], b"").unwrap();
            assert_eq!(log.uncopied_bytes(), 0);
            log.reclaim().unwrap();
            drop(log);
            let (log, _) = Log::open(Arc::new(disk), small()).unwrap();
            assert_eq!((chunk(&log), log.check_chunks().unwrap().len()), (right.clone(), 0));
        }
    }
    assert!(opened > 10 && mended > 4, "{opened} opened without a file, {mended} were mended");
}

#[test]
fn what_was_written_without_a_copy_gets_one_when_there_is_room() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    log.appender().begin([(3, whole(5, 300))], b"", 0).unwrap();
    assert!(log.uncopied_bytes() > 300, "an opening has one segment");
    let live = log.live_bytes();
    let mut appender = log.appender();
    let mut run = appender.start_checkpoint().unwrap();
    let moved = appender.move_chunks(&mut run, &[], u64::MAX).unwrap();
    assert_eq!((moved.bytes, moved.more), (300, false));
    appender.end_checkpoint(run, b"").unwrap();
    drop(appender);
    assert_eq!(log.uncopied_bytes(), 0);
    assert!(log.live_bytes() > live + 300, "copies are live");
    let live = log.live_bytes();
    log.appender().checkpoint([(3, whole(6, 300))], &[], b"").unwrap();
    assert!(log.live_bytes().abs_diff(live) < 64, "both places of what was replaced are dead");
}
