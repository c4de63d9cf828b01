//! Files in memory, for a store that need not outlive the process and for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration};

/// A directory of files in memory. A clone is the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Directory>>,
}

#[derive(Debug, Default)]
struct Directory {
    files: BTreeMap<String, Arc<RwLock<Vec<u8>>>>,
    locks: LockCount,
    readers: Arc<Mutex<ReaderList>>,
}

/// Who holds a lock: one alone, or some together.
#[derive(Debug, Default)]
pub(super) struct LockCount {
    exclusive: bool,
    shared: u32,
}

impl LockCount {
    pub(super) fn take(&mut self, exclusive: bool) -> Result<(), LockFailure> {
        if self.exclusive || (exclusive && self.shared > 0) {
            let owner = format!("process {}", std::process::id());
            return Err(LockFailure::Held(owner));
        }
        if exclusive {
            self.exclusive = true;
        } else {
            self.shared += 1;
        }
        Ok(())
    }

    pub(super) fn give_back(&mut self, exclusive: bool) {
        if exclusive {
            self.exclusive = false;
        } else {
            self.shared -= 1;
        }
    }
}

/// The readers of a store in memory: what each has told, by number.
#[derive(Debug, Default)]
pub(super) struct ReaderList {
    given: u64,
    views: BTreeMap<u64, Option<u64>>,
}

impl ReaderList {
    fn of(list: &Mutex<Self>) -> MutexGuard<'_, Self> {
        list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(list: &Arc<Mutex<Self>>) -> Box<dyn Registration> {
        let mut readers = Self::of(list);
        readers.given += 1;
        let number = readers.given;
        readers.views.insert(number, None);
        Box::new(Entered { list: Arc::clone(list), number })
    }

    pub(super) fn all(list: &Mutex<Self>) -> Vec<Reader> {
        let process = std::process::id();
        let reader = |(number, &view): (&u64, &Option<u64>)| Reader {
            name: format!("reader {number}"),
            process,
            view,
        };
        Self::of(list).views.iter().map(reader).collect()
    }
}

#[derive(Debug)]
struct Entered {
    list: Arc<Mutex<ReaderList>>,
    number: u64,
}

impl Registration for Entered {
    fn set_view(&self, sequence: u64) -> io::Result<()> {
        ReaderList::of(&self.list).views.insert(self.number, Some(sequence));
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        ReaderList::of(&self.list).views.remove(&self.number);
    }
}

impl MemoryDisk {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory with these files.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let disk = Self::new();
        disk.inner().files =
            files.into_iter().map(|(name, bytes)| (name, Arc::new(RwLock::new(bytes)))).collect();
        disk
    }

    /// A copy of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let copy =
            |file: &RwLock<Vec<u8>>| file.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.inner().files.iter().map(|(name, file)| (name.clone(), copy(file))).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Directory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut inner = self.inner();
        let bytes = if access == Access::Create {
            let fresh = Arc::new(RwLock::new(Vec::new()));
            inner.files.insert(name.to_owned(), Arc::clone(&fresh));
            fresh
        } else {
            let file = inner.files.get(name).ok_or(io::ErrorKind::NotFound)?;
            Arc::clone(file)
        };
        Ok(Arc::new(MemoryFile { bytes }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().files.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let gone = self.inner().files.remove(name);
        gone.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let file = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.inner().locks.take(exclusive)?;
        Ok(Box::new(Held { disk: self.clone(), exclusive }))
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        Ok(ReaderList::enter(&self.inner().readers))
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        Ok(ReaderList::all(&self.inner().readers))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

#[derive(Debug)]
struct Held {
    disk: MemoryDisk,
    exclusive: bool,
}

impl DiskLock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.inner().locks.give_back(self.exclusive);
    }
}

#[derive(Debug)]
struct MemoryFile {
    bytes: Arc<RwLock<Vec<u8>>>,
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        read_from(&bytes, buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        write_to(&mut bytes, data, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        Ok(bytes.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        grow(&mut bytes, len);
        Ok(())
    }
}

/// Fills `buffer` from the bytes of a file.
pub(super) fn read_from(bytes: &[u8], buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let found = usize::try_from(offset)
        .ok()
        .and_then(|at| bytes.get(at..)?.get(..buffer.len()))
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    buffer.copy_from_slice(found);
    Ok(())
}

/// Writes into the bytes of a file, which grows as needed.
pub(super) fn write_to(bytes: &mut Vec<u8>, data: &[u8], offset: u64) {
    grow(bytes, offset + data.len() as u64);
    let at = offset as usize;
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// Makes a file at least this long.
pub(super) fn grow(bytes: &mut Vec<u8>, len: u64) {
    if bytes.len() < len as usize {
        bytes.resize(len as usize, 0);
    }
}
