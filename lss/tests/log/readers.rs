//! Logs that are opened for reading beside one that writes: at every moment of either, what a
//! reader finds is one commit, not older than its opening, and it stays readable.
//!
//! A reader found the store locked. Without a lock, each of its reads may be of another moment.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bwtree_lss::io::{
    Access, Disk, DiskLock, Fault, File, LockFailure, MemoryDisk, Op, Reader, Registration, SimDisk,
};
use bwtree_lss::{Address, Error, Log, Options, PageId, SegmentState, Stream};

use crate::driver::{Contents, Driver, History, KIND, read_all, small, table_of};
use crate::random::Random;

/// A disk that calls back around every call, and writes in two halves.
#[derive(Clone)]
struct Between {
    disk: Arc<dyn Disk>,
    call: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl Between {
    fn around<R>(&self, call: impl FnOnce() -> R) -> R {
        (self.call)();
        let result = call();
        (self.call)();
        result
    }
}

impl Disk for Between {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = self.around(|| self.disk.open(name, access))?;
        Ok(Arc::new(BetweenFile { file, disk: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.around(|| self.disk.list())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.around(|| self.disk.remove(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.around(|| self.disk.rename(from, to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.around(|| self.disk.sync_directory())
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.disk.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        // Much may happen while a reader registers.
        (0..30).for_each(|_| (self.call)());
        self.around(|| self.disk.register())
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        self.around(|| self.disk.readers())
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

#[derive(Debug)]
struct BetweenFile {
    file: Arc<dyn File>,
    disk: Between,
}

impl File for BetweenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // A long read sees the file at two moments.
        let (first, second) = buffer.split_at_mut(cut(buffer.len()));
        self.disk.around(|| self.file.read_at(first, offset))?;
        self.file.read_at(second, offset + first.len() as u64)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.around(|| self.file.write_at(&bytes[..cut(bytes.len())], offset))?;
        self.disk.around(|| self.file.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.around(|| self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.around(|| self.file.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.around(|| self.file.allocate(len))
    }
}

/// Where calls are cut in two: in the middle, and of a slot of the superblock where bytes lie.
fn cut(len: usize) -> usize {
    if len == 4096 { 60 } else { len / 2 }
}

fn read_only() -> Options {
    Options { read_only: true, ..small() }
}

/// What a reader has found.
#[derive(Debug)]
struct View {
    log: Log,
    table: BTreeMap<u32, Address>,
    contents: Contents,
    version: u64,
}

impl View {
    fn open(disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let (log, recovered) = Log::open(disk, read_only())?;
        let table = table_of(&log, &recovered)?;
        for &address in table.values() {
            assert!(log.adopt(address), "{address} has no segment");
        }
        let contents = read_all(&log, &table)?;
        Ok(Self { log, table, contents, version: recovered.version })
    }

    fn check(&self) {
        assert_eq!(read_all(&self.log, &self.table).unwrap(), self.contents);
    }
}

/// A log that is written to whenever it is let.
struct World {
    disk: MemoryDisk,
    driver: Option<Driver>,
    history: History,
    random: Random,
    kills: u64,
    steps: u64,
    most_held: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        let mut world = Self {
            disk,
            driver: None,
            history: History::default(),
            random: Random(seed),
            kills: 0,
            steps: 0,
            most_held: 0,
        };
        world.reopen();
        world
    }

    /// Ends the log as a kill does, and opens it again.
    fn reopen(&mut self) {
        self.driver = None;
        let random = Random(self.random.next());
        let disk = Arc::new(self.disk.clone());
        let driver = Driver::open(disk, &mut self.history, random).unwrap();
        driver.begin().unwrap();
        driver.settle(&mut self.history);
        self.driver = Some(driver);
    }

    fn step(&mut self) {
        let driver = self.driver.as_mut().unwrap();
        driver.step(&mut self.history).unwrap();
        self.most_held = self.most_held.max(driver.log.held_bytes());
        self.steps += 1;
    }

    fn some_steps(&mut self) {
        if self.random.one_in(60) {
            self.kills += 1;
            self.reopen();
        } else if self.random.one_in(3) {
            (0..self.random.below(6)).for_each(|_| self.step());
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

/// Between any two calls of a reader the writer commits, checkpoints, cleans, is killed.
#[test]
fn a_reader_finds_a_commit_whatever_is_written_between_its_calls() {
    let (mut opened, mut kills, mut held, mut moved_on) = (0, 0, 0, 0);
    for seed in 0..6 {
        let world = Arc::new(Mutex::new(World::new(seed)));
        let disk = Arc::new(lock(&world).disk.clone());
        let between = {
            let world = Arc::clone(&world);
            Between { disk, call: Arc::new(move || lock(&world).some_steps()) }
        };
        (0..100).for_each(|_| lock(&world).step());
        let mut views: Vec<View> = Vec::new();
        for _ in 0..12 {
            let now = lock(&world);
            let (floor, steps) = (now.history.acknowledged, now.steps);
            drop(now);
            let view = View::open(Arc::new(between.clone()));
            let view = view.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let mut now = lock(&world);
            assert!(view.version >= floor, "seed {seed}: {} < {floor}", view.version);
            let expected = now.history.attempted.get(&view.version);
            assert_eq!(Some(&view.contents), expected, "seed {seed}, version {}", view.version);
            moved_on += u64::from(now.steps > steps);
            opened += 1;
            (0..60).for_each(|_| now.step());
            if now.random.one_in(4) {
                now.reopen();
            }
            if views.len() == 3 {
                let gone = now.random.below(3) as usize;
                drop(now);
                views.swap_remove(gone);
            } else {
                drop(now);
            }
            views.push(view);
            views.iter().for_each(View::check);
        }
        drop(views);
        let now = lock(&world);
        let log = &now.driver.as_ref().unwrap().log;
        log.reclaim().unwrap();
        assert_eq!((log.held_bytes(), log.known_readers()), (0, 0));
        assert!(log.segments().iter().all(|segment| segment.state != SegmentState::Held));
        kills += now.kills;
        held += u64::from(now.most_held > 0);
    }
    assert_eq!((opened, held), (72, 6));
    assert!(kills > 15 && moved_on > 60, "{kills} kills, {moved_on} openings with steps");
}

/// At each change of the writer, and in the middle of each write, readers come and read.
#[test]
fn a_reader_finds_a_commit_at_every_change_of_the_writer() {
    type Found = Vec<Result<(u64, Contents), String>>;
    let mut found = 0;
    for seed in 0..3 {
        let disk = MemoryDisk::new();
        let seen: Arc<Mutex<Found>> = Arc::default();
        let between = {
            let (below, seen) = (Arc::new(disk.clone()), Arc::clone(&seen));
            let call = move || {
                let view = View::open(Arc::new(disk.clone()));
                let entry = match view {
                    Err(Error::Missing { .. }) => return,
                    view => view.map(|v| (v.version, v.contents)).map_err(|e| e.to_string()),
                };
                seen.lock().unwrap().push(entry);
            };
            Between { disk: below, call: Arc::new(call) }
        };
        let mut history = History::default();
        let mut floor = 0;
        let mut check = |history: &History| {
            for entry in seen.lock().unwrap().drain(..) {
                let (version, contents) = entry.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert!(version >= floor, "seed {seed}: {version} < {floor}");
                if version > 0 {
                    assert_eq!(Some(&contents), history.attempted.get(&version), "seed {seed}");
                }
                found += 1;
            }
            floor = history.acknowledged;
        };
        for life in 0..4 {
            let random = Random(seed * 10 + life);
            let driver = Driver::open(Arc::new(between.clone()), &mut history, random);
            let mut driver = driver.unwrap();
            driver.begin().unwrap();
            check(&history);
            for _ in 0..60 {
                // What a voided group leaves in a segment that was prepared is met again.
                while life % 2 == 0 && driver.log.prepare().unwrap() {}
                driver.step(&mut history).unwrap();
                check(&history);
            }
        }
    }
    assert!(found > 3000, "{found}");
}

/// A directory in which no reader can make a file.
#[derive(Debug)]
struct Unwritable(MemoryDisk);

impl Disk for Unwritable {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.0.open(name, access)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.0.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn place(&self) -> String {
        self.0.place()
    }
}

#[test]
fn readers_and_writers_keep_each_other_out_where_nothing_can_be_written() {
    let disk = MemoryDisk::new();
    let unwritable = || Arc::new(Unwritable(disk.clone()));
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let locked = Log::open(unwritable(), read_only()).unwrap_err().to_string();
    for text in ["is open elsewhere", "read-only filesystem", "let this process write"] {
        assert!(locked.contains(text), "{locked}");
    }
    drop(log);
    let readers = [0, 1].map(|_| Log::open(unwritable(), read_only()).unwrap());
    assert!(matches!(Log::open(Arc::new(disk.clone()), small()), Err(Error::Locked { .. })));
    drop(readers);
    Log::open(Arc::new(disk), small()).unwrap();
}

fn page(number: u32) -> PageId {
    PageId::new(number)
}

/// A COMMIT that is whole in the file, though its write is said to have failed, was taken by a
/// reader; then its parts were written over.
#[test]
fn what_a_reader_took_of_a_commit_that_failed_stays() {
    let disk = SimDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let mut last = appender.append(Stream::Foreground, page(1), KIND, 3, &[], b"first").unwrap();
    appender.commit(1).unwrap();
    appender.append(Stream::Foreground, page(1), KIND, 3, &[], &[7; 300]).unwrap();
    disk.fail(Op::Write, 1, Fault::WholeWriteEnospc);
    assert!(appender.commit(2).unwrap_err().is_full());
    let view = View::open(Arc::new(disk.clone())).unwrap();
    assert_eq!(view.version, 2, "it is whole in the file");
    appender.rollback().unwrap();
    for version in 2..40 {
        let bytes = [version as u8; 500];
        let next = appender.append(Stream::Foreground, page(1), KIND, 3, &[], &bytes).unwrap();
        appender.commit(version).unwrap();
        log.retire(std::mem::replace(&mut last, next));
    }
    appender.checkpoint([], &[], b"").unwrap();
    drop(appender);
    log.reclaim().unwrap();
    view.check();
    assert!(log.held_bytes() > 0);
    drop(view);
    log.reclaim().unwrap();
    assert_eq!(log.held_bytes(), 0);
    let segments = log.segments().len();
    drop(log);
    let (log, recovered) = Log::open(Arc::new(disk), small()).unwrap();
    assert_eq!(recovered.version, 39);
    assert!(log.segments().len() <= segments);
}

/// One slot was stale for lack of room, and its segments were used again; a reader read it, and
/// then the other one while that was written: the stale one was the only whole one it had seen.
#[test]
fn a_stale_slot_is_not_believed_while_the_other_is_written() {
    let mut torn = 0;
    for (moment, parity) in (0..60).flat_map(|moment| [(moment, 0), (moment, 1)]) {
        let disk = SimDisk::new();
        let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
        log.appender().begin([], b"", 0).unwrap();
        (0..parity).for_each(|_| drop(log.appender().checkpoint([], &[], b"").unwrap()));
        let mut last = None;
        let mut put = |version: u64| {
            let mut appender = log.appender();
            let bytes = [version as u8; 900];
            let next = appender.append(Stream::Foreground, page(1), KIND, 3, &[], &bytes).unwrap();
            appender.commit(version).unwrap();
            last.replace(next).into_iter().for_each(|old| log.retire(old));
        };
        (1..20).for_each(&mut put);
        (2..40).for_each(|nth| disk.fail_file("superblock", Op::Write, nth, Fault::Enospc));
        log.appender().checkpoint([], &[], b"").unwrap();
        log.reclaim().unwrap();
        (20..40).for_each(&mut put);
        let log = Arc::new(log);
        let calls = std::sync::atomic::AtomicU32::new(0);
        let (below, writer) = (disk.clone(), Arc::clone(&log));
        let call = move || {
            if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == moment {
                below.heal();
                writer.appender().checkpoint([], &[], b"").unwrap();
            }
        };
        let between = Between { disk: Arc::new(disk), call: Arc::new(call) };
        let changes = log.counters().checkpoints;
        let (reader, found) = Log::open(Arc::new(between), read_only())
            .unwrap_or_else(|error| panic!("at call {moment}: {error}"));
        assert_eq!(found.version, 39, "at call {moment}");
        torn += u64::from(log.counters().checkpoints > changes);
        drop(reader);
    }
    assert!(torn > 80, "{torn}");
}

/// A reader holds back what there was at its opening, and no more, however much is written.
#[test]
fn what_is_held_is_bounded_by_what_there_was() {
    let disk = MemoryDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), small()).unwrap();
    let mut appender = log.appender();
    appender.begin([], b"", 0).unwrap();
    let mut part = None;
    let mut put = |appender: &mut bwtree_lss::Appender<'_>, version: u64| {
        appender.checkpoint([], &[], b"").unwrap();
        log.reclaim().unwrap();
        let bytes = vec![version as u8; 700];
        let next = appender.append(Stream::Foreground, page(1), KIND, 3, &[], &bytes).unwrap();
        appender.commit(version).unwrap();
        if let Some(old) = part.replace(next) {
            log.retire(old);
        }
    };
    (1..100).for_each(|version| put(&mut appender, version));
    let there = log.disk_bytes();
    let view = View::open(Arc::new(disk)).unwrap();
    (100..400).for_each(|version| put(&mut appender, version));
    let held = log.held_bytes();
    assert!(held > 0 && held <= there, "{held} of {there}");
    assert_eq!(log.look_for_readers().unwrap().0, 1);
    assert_eq!((view.version, view.table.len()), (99, 1));
    view.check();
    drop(view);
    put(&mut appender, 400);
    assert_eq!(log.held_bytes(), 0);
    assert_eq!(log.look_for_readers().unwrap().0, 0);
}
