//! Files of segments that are open: at most as many as were chosen, whatever the store has.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{env, fs, io, thread};

use bwtree_lss::io::{
    Access, Disk, DiskLock, File, FileDisk, LockFailure, MemoryDisk, Reader, Registration,
};
use bwtree_lss::{Address, Error, Log, Options, PageId, Stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::directory::{CHILD, run_in_child};
use crate::driver::{KIND, parts_of, small};

/// A disk that counts the open files of segments.
#[derive(Clone, Debug)]
struct CountingDisk {
    disk: MemoryDisk,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl CountingDisk {
    fn new() -> Self {
        Self { disk: MemoryDisk::new(), open: Arc::default(), most: Arc::default() }
    }
}

impl Disk for CountingDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(name, access)?;
        let counted = name.starts_with("seg-").then(|| {
            let now = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            Open(Arc::clone(&self.open))
        });
        Ok(Arc::new(CountedFile { file, _counted: counted }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.disk.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        self.disk.register()
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        self.disk.readers()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

#[derive(Debug)]
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn File>,
    _counted: Option<Open>,
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
}

/// Appends one part for each page; each fills a segment.
fn fill(log: &Log, pages: u32) -> Vec<Address> {
    let mut appender = log.appender();
    let mut addresses = Vec::new();
    for page in 1..=pages {
        let payload = payload(page);
        let page = PageId::new(page);
        let at = appender.append(Stream::Foreground, page, KIND, 0, &[], &payload).unwrap();
        addresses.push(at);
        appender.commit(u64::from(page.number())).unwrap();
    }
    addresses
}

fn payload(page: u32) -> Vec<u8> {
    page.to_le_bytes().repeat(900)
}

/// Every segment had a descriptor from its opening to the end: a store of some thousand segments
/// did not open, or took the descriptors of the whole process.
#[test]
fn a_store_of_many_segments_has_few_files_open() {
    const SEGMENTS: u32 = 2000;
    const THREADS: usize = 4;
    let disk = CountingDisk::new();
    let options = Options { max_open_files: 16, segment_bytes_max: 4096, ..small() };
    let most = || disk.most.swap(0, Ordering::SeqCst);
    let (log, _) = Log::open(Arc::new(disk.clone()), options).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let addresses = fill(&log, SEGMENTS);
    assert!(log.segments().len() >= SEGMENTS as usize);
    let while_writing = most();
    drop(log);
    assert_eq!(disk.open.load(Ordering::SeqCst), 0);

    let (log, recovered) = Log::open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(parts_of(&log, &recovered).len(), SEGMENTS as usize);
    assert!(addresses.iter().all(|&address| log.adopt(address)));
    log.appender().begin([], b"", recovered.version).unwrap();
    let at_opening = most();

    // While threads read, half of the segments die, are given back and are used again. They have
    // read for a while before, and go on until all is done.
    let (gone, read, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, addresses, gone, read, done) = (&log, &addresses, &gone, &read, &done);
            scope.spawn(move || {
                let mut round = 0;
                while round < 2 || !done.load(Ordering::Relaxed) {
                    for at in
                        (0..addresses.len()).map(|at| (at * 7 + thread + round) % SEGMENTS as usize)
                    {
                        let page = at as u32 + 1;
                        match log.read(addresses[at], PageId::new(page), KIND) {
                            Ok(found) => assert!(found == payload(page), "page {page}"),
                            Err(Error::Gone { .. }) if page.is_multiple_of(2) => {
                                gone.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => panic!("{error}"),
                        }
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    round += 1;
                }
            });
        }
        while read.load(Ordering::Relaxed) < SEGMENTS as usize {
            thread::yield_now();
        }
        for batch in addresses.chunks(100) {
            batch.iter().skip(1).step_by(2).for_each(|&address| log.retire(address));
            let mut appender = log.appender();
            appender.checkpoint([], &[], b"").map(drop).unwrap();
            drop(appender);
            log.reclaim().unwrap();
            let mut appender = log.appender();
            for _ in 0..5 {
                let page = PageId::new(SEGMENTS + 1);
                let bytes = [9; 3600];
                let at = appender.append(Stream::Foreground, page, KIND, 0, &[], &bytes).unwrap();
                appender.commit(recovered.version + 1).unwrap();
                log.retire(at);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let while_reading = most();
    let (gone, read) = (gone.into_inner(), read.into_inner());
    println!(
        "{{\"open_writing\": {while_writing}, \"open_opening\": {at_opening}, \
         \"open_reading\": {while_reading}, \"read\": {read}, \"gone\": {gone}}}"
    );
    assert!(while_writing <= 16 && at_opening <= 16, "{while_writing}, {at_opening}");
    assert!(while_reading <= 16 + THREADS + 1, "{while_reading}");
    assert!(gone > 0 && gone < read / 2);
}

/// A file that was removed is read through its descriptor, which is the last there is of it: what
/// a check has said can be saved can still be read when others have been.
#[test]
fn files_that_were_removed_are_not_closed_for_others() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::create(root.path()).unwrap());
    let options = Options { max_open_files: 16, segment_bytes_max: 4096, ..small() };
    let (log, _) = Log::open(disk, options).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let addresses = fill(&log, 60);
    let read = |at: usize| log.read(addresses[at], PageId::new(at as u32 + 1), KIND);
    // The last that are read are open.
    let removed = 10..16;
    for at in removed.clone() {
        read(at).unwrap();
        fs::remove_file(log.file_of(addresses[at].segment)).unwrap();
    }
    let changed = log.check_files().unwrap();
    let changed: Vec<u32> = changed.iter().map(|file| file.segment).collect();
    assert_eq!(changed, removed.clone().map(|at| addresses[at].segment).collect::<Vec<_>>());
    for at in (0..60).filter(|at| !removed.contains(at)) {
        assert!(read(at).unwrap() == payload(at as u32 + 1));
    }
    for at in removed {
        assert!(read(at).unwrap() == payload(at as u32 + 1), "a removed file was closed");
    }
}

/// What a reader counts as live may be dead, and given back by who writes beside it: what it misses
/// is found by reading.
#[test]
fn a_reader_is_told_of_no_file_that_was_removed() {
    let root = tempfile::tempdir().unwrap();
    let disk = || Arc::new(FileDisk::create(root.path()).unwrap());
    let options = Options { segment_bytes_max: 4096, ..small() };
    let (log, _) = Log::open(disk(), options).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let addresses = fill(&log, 6);
    let (reader, _) = Log::open(disk(), Options { read_only: true, ..options }).unwrap();
    assert!(addresses.iter().all(|&address| reader.adopt(address)));
    for address in &addresses[..3] {
        fs::remove_file(reader.file_of(address.segment)).unwrap();
    }
    assert!(reader.check_files().unwrap().is_empty());
    for (page, &address) in (1..).zip(&addresses) {
        assert!(reader.read(address, PageId::new(page), KIND).unwrap() == payload(page));
    }
}

/// With fewer descriptors than it may use, a store gives back its own before it fails.
#[test]
fn a_process_with_few_descriptors_reads_a_store_of_many_segments() {
    if let Ok(root) = env::var(CHILD) {
        with_few_descriptors(Path::new(&root));
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let test = "descriptors::a_process_with_few_descriptors_reads_a_store_of_many_segments";
    run_in_child(test, root.path());
}

fn with_few_descriptors(path: &Path) {
    const SEGMENTS: u32 = 100;
    let limit = getrlimit(Resource::Nofile);
    let used = fs::read_dir("/proc/self/fd").map_or(64, |open| open.count() as u64);
    setrlimit(Resource::Nofile, Rlimit { current: Some(used + 12), ..limit }).unwrap();
    let (log, _) = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap();
    log.appender().begin([], b"", 0).unwrap();
    let addresses = fill(&log, SEGMENTS);
    drop(log);
    let (log, recovered) = Log::open(Arc::new(FileDisk::new(path)), small()).unwrap();
    assert_eq!(parts_of(&log, &recovered).len(), SEGMENTS as usize);
    assert!(addresses.iter().all(|&address| log.adopt(address)));
    log.appender().begin([], b"", recovered.version).unwrap();
    for round in 0..3 {
        for (page, &address) in (1..).zip(&addresses) {
            let found = log.read(address, PageId::new(page), KIND).unwrap();
            assert!(found == payload(page), "page {page}, round {round}");
        }
    }
    assert!(log.poisoned().is_none());
}
