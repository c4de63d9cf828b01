//! The seam to the disk: everything the log asks of the outside passes through two small traits.
//!
//! [`FileDisk`] is a directory of real files, [`MemoryDisk`] keeps them in memory, and [`SimDisk`]
//! keeps what is durable apart from what is visible, so that tests can cut the power at any call.
//! [`SlowDisk`] puts delays in front of any of them.

mod file;
mod flock;
mod memory;
mod registered;
mod sim;
mod slow;

use core::fmt;
use std::io;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

pub use file::FileDisk;
pub use memory::MemoryDisk;
pub use sim::{Fault, Op, SimDisk};
pub use slow::SlowDisk;

pub(crate) use registered::is_reader_file;

/// Tries of a read that was interrupted, or told to come again.
const READ_TRIES: u32 = 8;

/// Reads, again if the system has only asked for that.
pub(crate) fn read_again(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use io::ErrorKind::{Interrupted, WouldBlock};
    for _ in 1..READ_TRIES {
        match file.read_at(buffer, offset) {
            Err(error) if matches!(error.kind(), Interrupted | WouldBlock) => {
                std::thread::yield_now();
            }
            read => return read,
        }
    }
    file.read_at(buffer, offset)
}

/// Syncs files at the same time, each from a thread of its own, or from this one if it can't have
/// that: it waits for the slowest, and a file system makes one of what they all ask for.
fn sync_together(files: &[&dyn File]) -> Vec<io::Result<()>> {
    let Some((first, others)) = files.split_first() else { return Vec::new() };
    std::thread::scope(|scope| {
        let start = |&file| {
            let name = "bwtree-sync".to_owned();
            let sync = move || File::sync_data(file);
            (file, std::thread::Builder::new().name(name).spawn_scoped(scope, sync).ok())
        };
        let others: Vec<_> = others.iter().map(start).collect();
        let mut synced = vec![first.sync_data()];
        synced.extend(others.into_iter().map(|(file, thread)| {
            match thread.map(ScopedJoinHandle::join) {
                Some(Ok(synced)) => synced,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => file.sync_data(),
            }
        }));
        synced
    })
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, or an old one made empty, to read and write.
    Create,
}

/// A directory of files, of which one store owns all.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// As the system says; `NotFound` if it is to exist and does not.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// The names of all files, in no order. An empty list if the directory itself is missing.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file. Who has it open can still read it.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of any file that has it.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn sync_directory(&self) -> io::Result<()>;

    /// Makes the contents and the lengths of several files durable, as [`File::sync_data`] does.
    /// Returns what came of each. Unless a disk does better, one is synced after the other.
    fn sync_files(&self, files: &[&dyn File]) -> Vec<io::Result<()>> {
        files.iter().map(|file| file.sync_data()).collect()
    }

    /// Whether the directory still has a name. One that was removed keeps its descriptor, and what
    /// is written to its files is lost when they are closed.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Bytes that files in the directory can still grow by, as far as that can be told; `None` if
    /// it can't. Quotas may allow less.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Locks the store, alone or together with other readers, until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`LockFailure::Held`] if another opener holds it.
    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure>;

    /// Registers a reader until the guard is dropped or its process ends: from when this returns,
    /// every call of [`readers`](Self::readers) that begins finds it, in any process.
    ///
    /// # Errors
    ///
    /// As the system says; `Unsupported` if the disk keeps no such list. Whoever can't register
    /// has to lock the store.
    fn register(&self) -> io::Result<Box<dyn Registration>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The readers that are registered and alive. What dead ones have left is removed. A call with
    /// no readers at all changes nothing on the disk.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn readers(&self) -> io::Result<Vec<Reader>> {
        Ok(Vec::new())
    }

    /// Where this is, for messages.
    fn place(&self) -> String;
}

/// An open file, read and written at positions by any number of threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file ends before; else as the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// As the system says; some of the bytes may then have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the contents and the length durable.
    ///
    /// # Errors
    ///
    /// As the system says; what was not yet durable may then be lost, and a second call proves
    /// nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes of the file.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether this name still leads to the file; see [`Disk::is_linked`].
    ///
    /// # Errors
    ///
    /// As the system says.
    fn is_linked(&self, _name: &str) -> io::Result<bool> {
        Ok(true)
    }

    /// Makes the file at least `len` bytes long, with room on the disk set aside for all of them.
    ///
    /// # Errors
    ///
    /// `StorageFull` if there is not that much room; else as the system says.
    fn allocate(&self, len: u64) -> io::Result<()>;
}

/// Holds the lock of a store until it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// Keeps a reader registered until it is dropped.
pub trait Registration: Send + Sync + fmt::Debug {
    /// Tells those that ask for the readers what this one looks at. Called once at most; until
    /// then it may need anything.
    ///
    /// # Errors
    ///
    /// As the system says; then nothing is told.
    fn set_view(&self, sequence: u64) -> io::Result<()>;
}

/// A reader, as whoever writes sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    /// Its name among those that are registered.
    pub name: String,
    /// Its process.
    pub process: u32,
    /// What it has told by [`Registration::set_view`].
    pub view: Option<u64>,
}

/// Why a store could not be locked.
#[derive(Debug)]
pub enum LockFailure {
    /// Another opener holds it; the text names it.
    Held(String),
    /// The system refused.
    Io(io::Error),
}

/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "LOCK";
