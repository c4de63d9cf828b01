//! A disk that calls back before each call that reaches it, so that a test on one thread can act
//! in the middle of a sync, a page-in or a recovery.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bwtree::io::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration};

/// Which call is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A read of a file.
    Read,
    /// A write to a file.
    Write,
    /// A sync of a file.
    Sync,
}

type Hook = Box<dyn FnMut(Moment) + Send>;

thread_local! {
    /// What a hook does must not call the hook again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A disk with a hook. A clone is the same disk.
#[derive(Clone)]
pub struct HookedDisk {
    disk: Arc<dyn Disk>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl HookedDisk {
    /// This disk, without a hook yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, hook: Arc::new(Mutex::new(None)) }
    }

    /// From now on `hook` is called, unpinned, before each read, write and sync of a file.
    pub fn set(&self, hook: impl FnMut(Moment) + Send + 'static) {
        *self.slot() = Some(Box::new(hook));
    }

    /// No hook from now on.
    pub fn clear(&self) {
        let hook = self.slot().take();
        drop(hook);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, moment: Moment) {
        if INSIDE.replace(true) {
            return;
        }
        if let Some(hook) = &mut *self.slot() {
            hook(moment);
        }
        INSIDE.set(false);
    }
}

impl std::fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookedDisk({:?})", self.disk)
    }
}

impl Disk for HookedDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(name, access)?;
        Ok(Arc::new(HookedFile { file, disk: self.clone() }))
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

    fn is_linked(&self) -> io::Result<bool> {
        self.disk.is_linked()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes()
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
struct HookedFile {
    file: Arc<dyn File>,
    disk: HookedDisk,
}

impl File for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.call(Moment::Read);
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.call(Moment::Write);
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.call(Moment::Sync);
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
