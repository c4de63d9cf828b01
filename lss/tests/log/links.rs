//! Segments that vanish as a whole: an error that names them, whatever lies behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bwtree_lss::io::{Disk, Fault, MemoryDisk, Op, SimDisk};
use bwtree_lss::{Error, Log, PageId, SegmentState, Stream};

use crate::damage::{Files, check};
use crate::driver::{Driver, History, KIND, small};
use crate::random::Random;

const HEADER_BYTES: usize = 64;

/// A run on a disk that fails never, and what each step of it has left.
struct Run {
    driver: Driver,
    disk: MemoryDisk,
    history: History,
    /// The version with the first frame in a segment.
    begun: BTreeMap<u32, u64>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        let mut history = History::default();
        let driver = Driver::open(Arc::new(disk.clone()), &mut history, Random(seed)).unwrap();
        driver.begin().unwrap();
        history.attempted.insert(0, BTreeMap::new());
        Self { driver, disk, history, begun: BTreeMap::new() }
    }

    /// Goes on by one step; the store is what a kill would leave then.
    fn step(&mut self) -> Files {
        self.driver.step(&mut self.history).unwrap();
        for segment in self.driver.log.segments() {
            if segment.state == SegmentState::Active {
                self.begun.entry(segment.id).or_insert(self.driver.version);
            }
        }
        self.disk.files()
    }
}

fn name_of(segment: u32) -> String {
    format!("seg-{segment:010}.log")
}

type Damage = (&'static str, fn(&mut Files, &str));

/// The ways in which a segment is damaged as a whole.
const DAMAGES: [Damage; 5] = [
    ("removed", |files, name| drop(files.remove(name))),
    ("emptied", |files, name| files.get_mut(name).unwrap().clear()),
    ("cut behind its header", |files, name| files.get_mut(name).unwrap().truncate(HEADER_BYTES)),
    ("zeros behind its header", |files, name| files.get_mut(name).unwrap()[HEADER_BYTES..].fill(0)),
    ("all zeros", |files, name| files.get_mut(name).unwrap().fill(0)),
];

/// The newest segment was removed, emptied or full of zeros, and the store opened without the
/// commits in it: up to forty, without an error.
#[test]
fn a_segment_that_is_gone_is_an_error_or_holds_nothing_that_counts() {
    let mut found = [[0u64; 2]; DAMAGES.len()];
    let (mut zeros, mut shorter) = ([0u64; 2], 0u64);
    for seed in 1..=25 {
        let mut run = Run::new(seed);
        for step in 0..50 {
            let files = run.step();
            let segments: Vec<u32> = run.driver.log.segments().iter().map(|s| s.id).collect();
            for (&id, (nth, (how, damage))) in
                segments.iter().flat_map(|id| DAMAGES.iter().enumerate().map(move |d| (id, d)))
            {
                let mut changed = files.clone();
                damage(&mut changed, &name_of(id));
                let what = format!("seed {seed}, step {step}: segment {id} {how}");
                let told = check(changed, &run.history, 0, &what);
                found[nth][usize::from(told)] += 1;
            }
            // From somewhere to its end: what the link of the segment proves is there, or missed.
            let newest = run.begun.iter().next_back();
            let Some((&id, &begun)) = newest.filter(|(id, _)| segments.contains(id)) else {
                continue;
            };
            for at in (HEADER_BYTES..files[&name_of(id)].len()).step_by(5 * HEADER_BYTES) {
                let mut changed = files.clone();
                changed.get_mut(&name_of(id)).unwrap()[at..].fill(0);
                let tail = run.history.acknowledged - begun;
                let what = format!("seed {seed}, step {step}: segment {id}, zeros from {at}");
                zeros[usize::from(check(changed.clone(), &run.history, tail, &what))] += 1;
                let opened = Log::open(Arc::new(MemoryDisk::with_files(changed)), small());
                let version = opened.map_or(u64::MAX, |(_, recovered)| recovered.version);
                shorter += u64::from(version < run.history.acknowledged);
            }
        }
    }
    println!(
        "{{\"gone_harmless_found\": {found:?}, \"zeros\": {zeros:?}, \"shorter\": {shorter}}}"
    );
    assert!(found.iter().all(|[harmless, told]| *harmless > 100 && *told > 100));
    // What can't be told is there as well, or this looks at nothing.
    assert!(zeros[1] > 100 && shorter > 0);
}

/// A commit in `stream`, larger than what is left of a segment if `large`.
fn commit(log: &Log, stream: Stream, version: u64, large: bool) {
    let mut appender = log.appender();
    let payload = vec![version as u8; if large { 3900 } else { 10 }];
    appender.append(stream, PageId::new(1), KIND, 0, &[], &payload).unwrap();
    appender.commit(version).unwrap();
}

fn begun(disk: Arc<dyn Disk>) -> Log {
    let (log, _) = Log::open(disk, small()).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    log
}

/// The segment that was begun last.
fn newest(log: &Log) -> String {
    let active = log.segments().into_iter().filter(|s| s.state == SegmentState::Active);
    name_of(active.map(|segment| segment.id).max().unwrap())
}

fn version_of(files: Files) -> Result<u64, Error> {
    let opened = Log::open(Arc::new(MemoryDisk::with_files(files)), small());
    opened.map(|(_, recovered)| recovered.version)
}

/// What an opening of these files fails with.
fn refusal(files: Files) -> String {
    version_of(files).unwrap_err().to_string()
}

#[test]
fn the_error_names_the_segment_and_what_has_become_of_it() {
    for stream in [Stream::Foreground, Stream::Background] {
        let disk = MemoryDisk::new();
        let log = begun(Arc::new(disk.clone()));
        commit(&log, Stream::Foreground, 1, false);
        commit(&log, stream, 2, true);
        let name = newest(&log);
        let files = disk.files();
        assert_eq!(version_of(files.clone()).unwrap(), 2);
        for ((how, damage), said) in DAMAGES.iter().zip([
            "the segment is missing, though frames up to",
            "the segment is empty, though frames up to",
            "the segment is cut short, though frames up to",
            "nothing is left in it, though frames up to",
            "nothing is left in it, though frames up to",
        ]) {
            let mut changed = files.clone();
            damage(&mut changed, &name);
            let error = refusal(changed);
            assert!(error.contains(said), "{how}: {error}");
            assert!(error.contains(&name) && error.contains("from a copy"), "{how}: {error}");
        }
    }
    // The segment in which recovery starts has nothing else in it.
    let disk = MemoryDisk::new();
    let log = begun(Arc::new(disk.clone()));
    let mut changed = disk.files();
    changed.get_mut(&newest(&log)).unwrap().fill(0);
    let error = refusal(changed);
    assert!(error.contains("nothing is left in it, though recovery starts"), "{error}");
}

/// The power went off right behind a commit, and the repair of the file system took the segment
/// that the commit had begun.
#[test]
fn what_a_link_proves_is_told_after_a_power_cut_too() {
    let mut random = Random(7);
    let disk = SimDisk::new();
    let log = begun(Arc::new(disk.clone()));
    for version in 1..=60 {
        let stream = [Stream::Foreground, Stream::Background][random.below(2) as usize];
        let before = newest(&log);
        commit(&log, stream, version, random.one_in(2));
        let newest = newest(&log);
        if newest == before {
            continue;
        }
        for kept in [false, true] {
            let mut files = disk.crash(&mut |n| if kept { n - 1 } else { 0 }).files();
            assert_eq!(version_of(files.clone()).unwrap(), version);
            files.remove(&newest).unwrap();
            let error = refusal(files);
            assert!(error.contains(&newest), "version {version}: {error}");
        }
    }
}

/// The files as programs have left them that know no links.
fn without_links(mut files: Files) -> Files {
    let is_link = |block: &[u8]| block.starts_with(b"BWFR") && block[8..12] == [4, 0, 0, 0];
    let mut links = 0;
    for bytes in files.values_mut() {
        for block in bytes.chunks_exact_mut(HEADER_BYTES).filter(|block| is_link(block)) {
            block.fill(0);
            links += 1;
        }
    }
    assert!(links > 0);
    files
}

#[test]
fn a_store_without_links_opens_as_before() {
    let disk = MemoryDisk::new();
    let log = begun(Arc::new(disk.clone()));
    for version in 1..=12 {
        commit(&log, [Stream::Foreground, Stream::Background][version as usize % 2], version, true);
    }
    let files = without_links(disk.files());
    assert_eq!(version_of(files.clone()).unwrap(), 12);
    let mut changed = files;
    changed.remove(&newest(&log)).unwrap();
    assert_eq!(version_of(changed).unwrap(), 11);
}

/// A commit is as good without its link: where there is no room for that, it is left out.
#[test]
fn a_link_that_there_is_no_room_for_is_left_out_and_any_other_failure_poisons() {
    for (fault, poisons) in [
        (Fault::Enospc, false),
        (Fault::ShortWriteEnospc, false),
        (Fault::Emfile, false),
        (Fault::Eio, true),
        (Fault::ShortWrite, true),
    ] {
        let disk = SimDisk::new();
        let log = begun(Arc::new(disk.clone()));
        commit(&log, Stream::Foreground, 1, false);
        let home = newest(&log);
        let mut appender = log.appender();
        let page = PageId::new(1);
        appender.append(Stream::Foreground, page, KIND, 0, &[], &[7; 3900]).unwrap();
        disk.fail_file(&home, Op::Write, 1, fault);
        let committed = appender.commit(2);
        assert_eq!((committed.is_err(), log.poisoned().is_some()), (poisons, poisons), "{fault:?}");
        drop(appender);
        if !poisons {
            commit(&log, Stream::Foreground, 3, false);
            // The next frame in the new segment has proved it, but is in there as well.
            commit(&log, Stream::Foreground, 4, true);
            let mut files = disk.files();
            files.remove(&newest(&log)).unwrap();
            assert!(refusal(files).contains("the segment is missing"));
        }
        drop(log);
        let (_, recovered) = Log::open(Arc::new(disk), small()).unwrap();
        assert_eq!(recovered.version, if poisons { 2 } else { 4 }, "{fault:?}");
    }
}

/// A COMMIT that was refused is wiped, and what was linked before stays so. Beside a reader, which
/// may have met it, the streams leave their segments: what they go on in is linked too.
#[test]
fn a_refused_commit_takes_no_link_with_it() {
    for (beside_reader, moved) in [(false, false), (true, false), (true, true)] {
        let disk = SimDisk::new();
        let log = begun(Arc::new(disk.clone()));
        commit(&log, Stream::Foreground, 1, false);
        commit(&log, Stream::Background, 2, false);
        let opened = newest(&log);
        let reader = beside_reader.then(|| {
            let options = bwtree_lss::Options { read_only: true, ..small() };
            Log::open(Arc::new(disk.clone()), options).unwrap()
        });
        let mut appender = log.appender();
        let page = PageId::new(1);
        if moved {
            appender.append(Stream::Foreground, page, KIND, 0, &[], &[7; 3900]).unwrap();
        }
        disk.fail(Op::Write, 1, Fault::WholeWriteEnospc);
        appender.commit(3).unwrap_err();
        appender.rollback().unwrap();
        drop(appender);
        let mut files = disk.files();
        assert_eq!(version_of(files.clone()).unwrap(), 2);
        files.remove(&opened).unwrap();
        assert!(refusal(files).contains(&opened), "{beside_reader} {moved}");
        commit(&log, Stream::Foreground, 4, beside_reader);
        let mut files = disk.files();
        assert_eq!(version_of(files.clone()).unwrap(), 4);
        if beside_reader {
            let opened = newest(&log);
            files.remove(&opened).unwrap();
            assert!(refusal(files).contains(&opened), "{beside_reader} {moved}");
        }
        drop(reader);
    }
}
