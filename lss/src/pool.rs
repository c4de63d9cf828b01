//! The open files of segments: at most a stated number, whatever the store has.
//!
//! A segment's file is closed when others are wanted, and opened again by name when it is read. The
//! one that is closed was not used since the last time around (second chance). Never closed are
//! files that are being used just now, and files with bytes that are not synced: the error of a
//! write-back that fails is told to those that have the file open, and could be told to nobody. So
//! besides those that a stream writes to, at most as many files are open as there may be; more only
//! while that many threads read at the same time.
//!
//! A name means one file for as long as anybody may open it by that name (I8): numbers are not used
//! twice, and a file is given another name only by who alone holds its segment
//! (`Segments::give_back`). Who holds the segment of a file that was removed meanwhile finds that
//! the name is gone, and then that the segment is, too.
//!
//! A read takes a lock of its file, shared, for as long as it lasts. No two readers ever wait for
//! one another; a reader waits only while its own file is being opened.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use crate::error::means_refused;
use crate::io::{Access, Disk, File, read_again};

/// The files of segments that are open.
#[derive(Debug)]
pub(crate) struct FilePool {
    disk: Arc<dyn Disk>,
    /// How files are opened again.
    access: Access,
    most: usize,
    /// The next to be looked at first. Some may be gone.
    open: Mutex<VecDeque<Weak<PooledFile>>>,
}

/// A file of a segment, open or not.
#[derive(Debug)]
pub(crate) struct PooledFile {
    me: Weak<Self>,
    pool: Arc<FilePool>,
    name: String,
    file: RwLock<Option<Arc<dyn File>>>,
    /// Since it was looked at for closing.
    used: AtomicBool,
    /// Has bytes that are not known to be durable.
    unsynced: AtomicBool,
}

impl FilePool {
    pub(crate) fn new(disk: Arc<dyn Disk>, read_only: bool, most: usize) -> Arc<Self> {
        let access = if read_only { Access::Read } else { Access::Write };
        Arc::new(Self { disk, access, most, open: Mutex::default() })
    }

    /// Opens a file of the store, or creates it.
    pub(crate) fn open(
        self: &Arc<Self>,
        name: String,
        create: bool,
    ) -> io::Result<Arc<PooledFile>> {
        let access = if create { Access::Create } else { self.access };
        let file = self.open_file(&name, access)?;
        Ok(self.enter(name, Some(file), false))
    }

    fn enter(
        self: &Arc<Self>,
        name: String,
        file: Option<Arc<dyn File>>,
        unsynced: bool,
    ) -> Arc<PooledFile> {
        let is_open = file.is_some();
        let pooled = Arc::new_cyclic(|me| PooledFile {
            me: Weak::clone(me),
            pool: Arc::clone(self),
            name,
            file: RwLock::new(file),
            used: AtomicBool::new(true),
            unsynced: AtomicBool::new(unsynced),
        });
        if is_open {
            self.list().push_back(Arc::downgrade(&pooled));
        }
        pooled
    }

    /// Opens a file when there is room for it. If the process has no descriptor left, those of
    /// other segments are given back, one after the other.
    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        while self.list().len() >= self.most && self.close_one() {}
        loop {
            match self.disk.open(name, access) {
                Err(error) if means_refused(&error) && self.close_one() => {}
                opened => return opened,
            }
        }
    }

    /// Closes a file, or finds that one is closed. `false` if all are in use.
    fn close_one(&self) -> bool {
        let mut list = self.list();
        // Each is looked at twice: the first look takes its second chance.
        for _ in 0..2 * list.len() {
            let Some(next) = list.pop_front() else { return false };
            match next.upgrade() {
                Some(file) if file.used.swap(false, Ordering::Relaxed) || !file.close() => {
                    list.push_back(next);
                }
                _ => return true,
            }
        }
        false
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Weak<PooledFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledFile {
    /// The same file, which has this name by now. No other thread has it.
    pub(crate) fn renamed(&self, name: String) -> Arc<Self> {
        let file = self.file.write().unwrap_or_else(PoisonError::into_inner).take();
        self.pool.enter(name, file, self.unsynced.load(Ordering::Relaxed))
    }

    /// Whether the file could be closed.
    fn close(&self) -> bool {
        // Whoever uses it holds the lock.
        let Ok(mut file) = self.file.try_write() else { return false };
        if self.unsynced.load(Ordering::Relaxed) {
            return false;
        }
        *file = None;
        true
    }

    /// What a call says of the file, if it is open.
    pub(crate) fn if_open<R>(&self, call: impl FnOnce(&dyn File) -> R) -> Option<R> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).as_deref().map(call)
    }

    /// Keeps the file open, if it is: nobody can open it again.
    pub(crate) fn keep_open(&self) {
        self.unsynced.store(true, Ordering::Relaxed);
    }

    /// Opens the file for a write, if it was closed; it stays open until it is synced. So an
    /// opening that fails is told apart from a write that may have left something.
    pub(crate) fn open_for_write(&self) -> io::Result<()> {
        let before = self.unsynced.swap(true, Ordering::Relaxed);
        self.with(|_| Ok(())).inspect_err(|_| self.unsynced.store(before, Ordering::Relaxed))
    }

    fn with<R>(&self, call: impl FnOnce(&dyn File) -> io::Result<R>) -> io::Result<R> {
        // A store that would change nothing is left out: the line stays shared.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if let Some(file) = &*self.file.read().unwrap_or_else(PoisonError::into_inner) {
            return call(&**file);
        }
        let mut slot = self.file.write().unwrap_or_else(PoisonError::into_inner);
        let file = if let Some(file) = &*slot {
            Arc::clone(file)
        } else {
            let file = self.pool.open_file(&self.name, self.pool.access)?;
            self.pool.list().push_back(Weak::clone(&self.me));
            Arc::clone(slot.insert(file))
        };
        let called = call(&*file);
        drop(slot);
        called
    }
}

impl File for PooledFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| read_again(file, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Relaxed);
        self.with(|file| file.write_at(bytes, offset))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Relaxed);
        self.with(|file| file.allocate(len))
    }

    /// Only the thread that writes syncs.
    fn sync_data(&self) -> io::Result<()> {
        self.with(|file| file.sync_data())?;
        self.unsynced.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.len())
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        self.with(|file| file.is_linked(name))
    }
}
