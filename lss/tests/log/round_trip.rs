//! What is written is what is read, in one life and across lives.

use std::sync::Arc;

use bwtree_lss::io::{Disk, FileDisk, MemoryDisk, Op, SimDisk};
use bwtree_lss::{
    Address, ChunkPart, ChunkSize, Error, Log, Options, PageId, SegmentState, Stream,
};

use crate::driver::{Driver, History, KIND, parts_of, small, whole};
use crate::random::Random;

#[test]
fn a_long_life_across_many_segments_and_reopenings_reads_back_everything() {
    let directory = tempfile::tempdir().unwrap();
    let disks: [Arc<dyn Disk>; 2] = [
        Arc::new(MemoryDisk::new()),
        Arc::new(FileDisk::create(directory.path().join("store")).unwrap()),
    ];
    for disk in disks {
        let mut history = History::default();
        for life in 0..12 {
            let random = Random(life);
            let mut driver = Driver::open(Arc::clone(&disk), &mut history, random).unwrap();
            assert_eq!(driver.version, history.acknowledged);
            driver.begin().unwrap();
            for _ in 0..120 {
                driver.step(&mut history).unwrap();
            }
            driver.check_reads();
            driver.checkpoint().unwrap();
            driver.log.reclaim().unwrap();
            let live = driver.log.live_bytes();
            assert!(driver.log.disk_bytes() < 17 * 8192 + 4 * live, "space follows live data");
        }
        assert!(history.acknowledgements > 500);
    }
}

#[test]
fn live_bytes_are_the_same_before_and_after_a_reopening() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut history = History::default();
    let mut driver = Driver::open(Arc::clone(&disk), &mut history, Random(9)).unwrap();
    driver.begin().unwrap();
    for _ in 0..200 {
        driver.step(&mut history).unwrap();
    }
    driver.checkpoint().unwrap();
    let live = driver.log.live_bytes();
    let (by_segment, total): (u64, u64) = {
        let infos = driver.log.segments();
        (infos.iter().map(|s| s.live).sum(), infos.iter().map(|s| s.size).sum())
    };
    assert_eq!(by_segment, live);
    assert_eq!(total + 8192, driver.log.disk_bytes());
    drop(driver);
    let driver = Driver::open(disk, &mut history, Random(9)).unwrap();
    assert_eq!(driver.log.live_bytes(), live);
}

#[test]
fn a_part_larger_than_a_segment_gets_a_segment_of_its_own() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let payload: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    let page = PageId::new(4);
    let address = {
        let (log, _) = Log::open(Arc::clone(&disk), small()).unwrap();
        let mut appender = log.appender();
        appender.begin([], b"", 0).unwrap();
        let address = appender.append(Stream::Background, page, KIND, 5, &[], &payload).unwrap();
        appender.append(Stream::Foreground, page, KIND, 6, &[address], b"").unwrap();
        appender.commit(8).unwrap();
        assert_eq!(log.read(address, page, KIND).unwrap(), payload);
        address
    };
    let (log, recovered) = Log::open(disk, small()).unwrap();
    assert_eq!(recovered.version, 8);
    assert_eq!(parts_of(&log, &recovered).len(), 2);
    assert_eq!(parts_of(&log, &recovered)[0].address, address);
    assert_eq!(
        (parts_of(&log, &recovered)[1].tag, &parts_of(&log, &recovered)[1].refs[..]),
        (6, &[address][..])
    );
    assert_eq!(log.read(address, page, KIND).unwrap(), payload);
    assert_eq!(log.read(parts_of(&log, &recovered)[1].address, page, KIND).unwrap(), b""[..]);
}

#[test]
fn a_read_checks_page_and_kind_and_knows_what_is_gone() {
    let (log, _) = Log::open(Arc::new(MemoryDisk::new()), small()).unwrap();
    let page = PageId::new(4);
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let address = appender.append(Stream::Foreground, page, KIND, 0, &[], b"payload").unwrap();
    appender.commit(1).unwrap();
    assert_eq!(log.read(address, page, KIND).unwrap(), b"payload"[..]);
    let corrupt = |result| matches!(result, Err(Error::Corrupt { .. }));
    assert!(corrupt(log.read(address, PageId::new(5), KIND)));
    assert!(corrupt(log.read(address, page, KIND + 1)));
    let beyond = Address { len: u32::MAX, ..address };
    assert!(corrupt(log.read(beyond, page, KIND)));
    let gone = Address { segment: 1000, ..address };
    assert!(matches!(log.read(gone, page, KIND), Err(Error::Gone { .. })));
}

#[test]
fn chunks_are_kept_replaced_and_removed_and_long_data_comes_back() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let meta = vec![7; 60_000];
    {
        let (log, _) = Log::open(Arc::clone(&disk), small()).unwrap();
        let mut appender = log.appender();
        appender.begin([(1, whole(1, 10)), (2, whole(2, 10))], b"", 0).unwrap();
        appender.commit(1).unwrap();
        appender.checkpoint([(2, whole(2, 0)), (3, whole(3, 9000))], &[], &meta).unwrap();
        let delta = ChunkPart::Delta(vec![4; 20]);
        appender.checkpoint([(3, delta), (1, ChunkPart::Delta(Vec::new()))], &[], &meta).unwrap();
        let segments: Vec<u32> = log.segments().iter().map(|s| s.id).collect();
        assert!(log.has_chunks_in(&segments) && !log.has_chunks_in(&[]));
        let size = |base_bytes, delta_bytes, deltas| ChunkSize { base_bytes, delta_bytes, deltas };
        assert_eq!(log.chunk_size(1), Some(size(10, 0, 0)));
        assert_eq!(log.chunk_size(2), None);
        assert_eq!(log.chunk_size(3), Some(size(9000, 20, 1)));
        let too_long = vec![0; 65_537];
        let refused = appender.checkpoint([], &[], &too_long);
        assert!(matches!(refused, Err(Error::TooLarge { .. })));
    }
    let (log, recovered) = Log::open(disk, small()).unwrap();
    let chunks: Vec<u32> = recovered.chunks.iter().map(|chunk| chunk.index).collect();
    assert_eq!(chunks, [1, 3]);
    assert_eq!(log.chunk_parts(1).unwrap(), [vec![1; 10]]);
    assert!(log.chunk_parts(2).unwrap().is_empty());
    assert_eq!(log.chunk_parts(3).unwrap(), [vec![3; 9000], vec![4; 20]]);
    assert_eq!(recovered.meta, meta);
    assert_eq!(recovered.version, 1);
    assert!(parts_of(&log, &recovered).is_empty());
    assert!(!log.has_chunks_in(&[0]));
}

#[test]
fn a_reader_keeps_its_segment_and_recycled_files_show_nothing_old() {
    let disk = MemoryDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let page = PageId::new(1);
    log.appender().begin([], b"", 0).unwrap();
    let mut addresses = Vec::new();
    for version in 1..60 {
        let mut appender = log.appender();
        let payload = [version as u8; 300];
        let address = appender.append(Stream::Foreground, page, KIND, 0, &[], &payload).unwrap();
        appender.commit(version).unwrap();
        drop(appender);
        if let Some(&old) = addresses.last() {
            log.retire(old);
        }
        addresses.push(address);
    }
    assert_eq!(log.reclaim().unwrap(), 0, "recovery starts before them");
    log.appender().checkpoint([], &[], b"").map(drop).unwrap();
    assert!(log.reclaim().unwrap() >= 3 * 4096);
    let spares = log.segments();
    let spares = spares.iter().filter(|s| s.state == SegmentState::Free);
    assert_eq!(spares.count(), 5);
    let mut gone = 0;
    for &address in &addresses {
        match log.read(address, page, KIND) {
            Ok(payload) => assert_eq!(payload.len(), 300),
            Err(Error::Gone { .. }) => gone += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(gone > 30);
    // The recycled files hold old frames behind whatever is written now.
    for version in 60..75 {
        let mut appender = log.appender();
        appender.append(Stream::Foreground, page, KIND, 0, &[], &[1; 300]).unwrap();
        appender.commit(version).unwrap();
    }
    assert!(log.counters().segments_recycled >= 2);
    drop(log);
    let (log, recovered) = Log::open(Arc::new(disk), small()).unwrap();
    assert_eq!(recovered.version, 74);
    assert_eq!(parts_of(&log, &recovered).len(), 15);
}

#[test]
fn calls_out_of_order_are_refused_and_harm_nothing() {
    let (log, _) = Log::open(Arc::new(MemoryDisk::new()), small()).unwrap();
    let page = PageId::new(1);
    let misuse = |result: Result<(), Error>| matches!(result, Err(Error::Misuse { .. }));
    let mut appender = log.appender();
    assert!(misuse(appender.commit(1)));
    appender.begin([], b"", 0).unwrap();
    assert!(misuse(appender.begin([], b"", 0)));
    let reserved = appender.append(Stream::Foreground, page, 0xC0, 0, &[], b"");
    assert!(misuse(reserved.map(drop)));
    appender.append(Stream::Foreground, page, 1, 0, &[], b"").unwrap();
    assert!(misuse(appender.checkpoint([], &[], b"").map(drop)));
    appender.commit(1).unwrap();
    appender.checkpoint([], &[], b"").map(drop).unwrap();
    assert!(log.poisoned().is_none());
}

#[test]
fn a_common_commit_is_one_write_and_one_sync() {
    let (log, _) = Log::open(Arc::new(MemoryDisk::new()), Options::default()).unwrap();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let before = log.counters();
    for version in 1..=100 {
        let page = PageId::new(1);
        appender.append(Stream::Foreground, page, 1, 0, &[], &[1; 100]).unwrap();
        appender.commit(version).unwrap();
    }
    let after = log.counters();
    assert_eq!(after.syncs - before.syncs, 100);
    assert_eq!(after.frames - before.frames, 100);
    assert_eq!(after.bytes_written - before.bytes_written, 100 * 256);
    assert_eq!(log.bytes_since_checkpoint(), 100 * 256);
    assert_eq!(log.durable_version(), 100);
}

/// A group that is large for its store made 189 segments, each with two syncs of its file and one
/// of the directory, one after the other.
#[test]
fn a_large_group_in_a_young_log_opens_few_segments() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), Options::default()).unwrap();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let calls = || [Op::Sync, Op::SyncDirectory].map(|op| disk.calls(op));
    let (before, segments) = (calls(), log.segments().len());
    appender.expect(48 << 20);
    for page in 1..=48 << 7 {
        let page = PageId::new(page);
        appender.append(Stream::Foreground, page, KIND, 0, &[], &[7; 8 << 10]).unwrap();
    }
    appender.commit(1).unwrap();
    drop(appender);
    let opened = (log.segments().len() - segments) as u64;
    let [syncs, of_directory] = [0, 1].map(|at| calls()[at] - before[at]);
    println!("{{\"opened\": {opened}, \"syncs\": {syncs}, \"of_directory\": {of_directory}}}");
    // The one that was open, and the link.
    assert!(syncs <= opened + 2 && of_directory == 1, "{syncs}, {of_directory} for {opened}");
    assert!(opened <= 50, "{opened} segments for 48 MiB");
}

/// An opening read each frame behind the checkpoint by itself: with 12,000 commits there, on a disk
/// that takes a millisecond for a read, 13 seconds.
#[test]
fn an_opening_reads_many_frames_at_once() {
    const COMMITS: u64 = 1000;
    let disk = SimDisk::new();
    let mut options = small();
    (options.segment_bytes_min, options.segment_bytes_max) = (1 << 20, 1 << 20);
    let (log, _) = Log::open(Arc::new(disk.clone()), options).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    for version in 1..=COMMITS {
        let mut appender = log.appender();
        let stream = [Stream::Foreground, Stream::Background][(version % 2) as usize];
        appender.append(stream, PageId::new(1), KIND, version, &[], &[1; 40]).unwrap();
        appender.commit(version).unwrap();
    }
    drop(log);
    let (log, recovered) = Log::open(Arc::new(disk.clone()), options).unwrap();
    let before = disk.calls(Op::Read);
    let parts = parts_of(&log, &recovered);
    assert!(parts.iter().map(|part| part.tag).eq(1..=COMMITS));
    let reads = disk.calls(Op::Read) - before;
    assert!(reads < COMMITS / 50, "{reads} reads of {} frames", recovered.frames.len());
}
