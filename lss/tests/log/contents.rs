//! What a segment holds, told by the directories of its frames.

use std::sync::Arc;

use bwtree_lss::io::{Access, Disk, MemoryDisk};
use bwtree_lss::{Address, Log, PageId, Stream, live_bytes};

use crate::driver::{KIND, small, whole};

/// A log with five frames of two parts each in one segment, and where the parts lie.
fn some_frames(disk: &MemoryDisk) -> (Log, Vec<(PageId, Address)>) {
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let mut parts = Vec::new();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    for version in 1..=5 {
        for page in [2 * version, 2 * version + 1].map(|page| PageId::new(page as u32)) {
            let stream = Stream::Foreground;
            parts.push((page, appender.append(stream, page, KIND, 0, &[], b"payload").unwrap()));
        }
        appender.commit(version).unwrap();
    }
    drop(appender);
    (log, parts)
}

fn contents(log: &Log, segment: u32) -> Vec<(PageId, Address)> {
    let mut walk = log.contents(segment).unwrap();
    let frames = std::iter::from_fn(|| walk.next_frame().unwrap());
    frames.flatten().collect()
}

#[test]
fn the_directories_of_a_segment_name_all_its_parts() {
    let (log, parts) = some_frames(&MemoryDisk::new());
    let segment = parts[0].1.segment;
    assert!(parts.iter().all(|(_, address)| address.segment == segment));
    assert_eq!(contents(&log, segment), parts);
    assert!(log.contents(segment + 1000).is_none());
}

#[test]
fn what_is_live_is_of_the_caller_or_of_the_log_itself() {
    let disk = MemoryDisk::new();
    let (log, _) = some_frames(&disk);
    log.appender().checkpoint([(3, whole(7, 300)), (4, whole(8, 30))], &[], b"").unwrap();
    let mut own = 0;
    for info in log.segments() {
        let Some(walk) = log.contents(info.id) else {
            assert_eq!(info.live, 0, "{info:?}");
            continue;
        };
        let parts = contents(&log, info.id);
        let of_pages: u64 = parts.iter().map(|(_, address)| live_bytes(*address)).sum();
        assert_eq!(walk.live_bytes(), of_pages, "{info:?}");
        own += info.live - of_pages;
    }
    assert!(own >= 330, "{own}");
}

#[test]
fn a_damaged_directory_names_nothing_and_a_damaged_header_ends_the_walk() {
    let disk = MemoryDisk::new();
    let (log, parts) = some_frames(&disk);
    drop(log);
    let segment = parts[0].1.segment;
    let name = format!("seg-{segment:010}.log");
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    // Under the open log, as a disk that loses a sector does it.
    let file = disk.open(&name, Access::Write).unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 0x10], at).unwrap();
    };
    // The third frame starts 64 bytes before its first payload; its directory follows the second.
    let header = u64::from(parts[4].1.offset) - 64;
    let directory = u64::from(parts[5].1.offset) + live_bytes(parts[5].1);
    flip(directory);
    assert_eq!(contents(&log, segment), [&parts[..4], &parts[6..]].concat());
    flip(header + 24);
    assert_eq!(contents(&log, segment), parts[..4]);
}
