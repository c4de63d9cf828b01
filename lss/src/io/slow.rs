//! A disk for tests that takes its time: any disk, with a delay in front of its calls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration};

/// A disk whose calls last at least as long as they are told to. A clone has the same delays.
///
/// The delays can be changed while the store is open; they start as none.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct SlowDisk {
    inner: Arc<dyn Disk>,
    delays: Arc<Delays>,
}

/// Nanoseconds that each kind of call waits first.
#[derive(Debug, Default)]
struct Delays {
    read: AtomicU64,
    write: AtomicU64,
    sync: AtomicU64,
}

fn nanos(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits as long as this word says.
fn wait(delay: &AtomicU64) {
    let nanos = delay.load(Ordering::Relaxed);
    if nanos > 0 {
        thread::sleep(Duration::from_nanos(nanos));
    }
}

impl SlowDisk {
    /// Wraps `inner`, with no delay yet.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, delays: Arc::default() }
    }

    /// Delays each [`File::read_at`] from now on.
    pub fn delay_reads(&self, delay: Duration) {
        self.delays.read.store(nanos(delay), Ordering::Relaxed);
    }

    /// Delays each [`File::write_at`] from now on.
    pub fn delay_writes(&self, delay: Duration) {
        self.delays.write.store(nanos(delay), Ordering::Relaxed);
    }

    /// Delays each [`File::sync_data`] and [`Disk::sync_directory`] from now on.
    pub fn delay_syncs(&self, delay: Duration) {
        self.delays.sync.store(nanos(delay), Ordering::Relaxed);
    }
}

impl Disk for SlowDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = self.inner.open(name, access)?;
        Ok(Arc::new(SlowFile { file, delays: Arc::clone(&self.delays) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        wait(&self.delays.sync);
        self.inner.sync_directory()
    }

    fn sync_files(&self, files: &[&dyn File]) -> Vec<io::Result<()>> {
        super::sync_together(files)
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.inner.is_linked()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.inner.free_bytes()
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.inner.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        self.inner.register()
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        self.inner.readers()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn File>,
    delays: Arc<Delays>,
}

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        wait(&self.delays.read);
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        wait(&self.delays.write);
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        wait(&self.delays.sync);
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        self.file.is_linked(name)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryDisk;
    use std::time::Instant;

    /// One after the other they would take twice as long as this allows.
    #[test]
    fn files_are_synced_together() {
        let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
        let names = (0..16).map(|number| number.to_string());
        let files: Vec<_> = names.map(|name| disk.open(&name, Access::Create).unwrap()).collect();
        let files: Vec<&dyn File> = files.iter().map(|file| &**file).collect();
        disk.delay_syncs(Duration::from_millis(200));
        let start = Instant::now();
        assert!(disk.sync_files(&files).iter().all(Result::is_ok));
        assert!((200..1600).contains(&start.elapsed().as_millis()));
        assert!(disk.sync_files(&[]).is_empty());
    }

    /// A disk in memory syncs in no time, so a test of waiting for a sync saw no thread wait.
    #[test]
    fn each_kind_of_call_waits_as_long_as_it_was_told() {
        let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
        let file = disk.open("a", Access::Create).unwrap();
        let delay = Duration::from_millis(20);
        let lasts = |call: &dyn Fn() -> io::Result<()>| {
            let start = Instant::now();
            call().unwrap();
            start.elapsed() >= delay
        };
        disk.delay_syncs(delay);
        assert!(lasts(&|| file.sync_data()) && lasts(&|| disk.sync_directory()));
        disk.delay_writes(delay);
        assert!(lasts(&|| file.write_at(b"word", 0)));
        disk.delay_reads(delay);
        let mut bytes = [0; 4];
        let start = Instant::now();
        file.read_at(&mut bytes, 0).unwrap();
        assert!(start.elapsed() >= delay);
        assert_eq!(&bytes, b"word");
    }
}
