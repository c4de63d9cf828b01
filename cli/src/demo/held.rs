//! A folder of real files whose writes stay in the memory of the process until they are synced.
//! Killing the process loses them, as a power cut loses the page cache.
//!
//! Only the bytes of files are held back: what is created, renamed, removed or set aside on the
//! disk is so at once. A power cut may also keep any part of what was not synced; here all of it is
//! lost.

use bwtree::io::{Access, Disk, DiskLock, File, FileDisk, LockFailure, Reader, Registration};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug)]
pub(crate) struct HeldDisk {
    below: FileDisk,
    /// The files that are open to write, by name, so that a second opener sees what is held.
    open: Mutex<HashMap<String, Weak<HeldFile>>>,
}

impl HeldDisk {
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self { below: FileDisk::create(dir)?, open: Mutex::default() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for HeldDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut open = lock(&self.open);
        if access != Access::Create
            && let Some(file) = open.get(name).and_then(Weak::upgrade)
        {
            return Ok(file);
        }
        let below = self.below.open(name, access)?;
        let file = Arc::new(HeldFile { below, writes: Mutex::default() });
        if access != Access::Read {
            open.insert(name.to_owned(), Arc::downgrade(&file));
        }
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.below.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.open).remove(name);
        self.below.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut open = lock(&self.open);
        match open.remove(from) {
            Some(file) => open.insert(to.to_owned(), file),
            None => open.remove(to),
        };
        self.below.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.below.sync_directory()
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.below.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        self.below.register()
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        self.below.readers()
    }

    fn place(&self) -> String {
        self.below.place()
    }
}

#[derive(Debug)]
struct HeldFile {
    below: Arc<dyn File>,
    /// Writes since the last sync, in their order.
    writes: Mutex<Vec<(u64, Vec<u8>)>>,
}

fn end((offset, bytes): &(u64, Vec<u8>)) -> u64 {
    offset + bytes.len() as u64
}

impl File for HeldFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let writes = lock(&self.writes);
        let below = self.below.len()?;
        let whole = writes.iter().map(end).fold(below, u64::max);
        let wanted = offset + buffer.len() as u64;
        if wanted > whole {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = below.clamp(offset, wanted) - offset;
        let (old, new) = buffer.split_at_mut(there as usize);
        self.below.read_at(old, offset)?;
        new.fill(0);
        for write in &*writes {
            let (from, to) = (write.0.max(offset), end(write).min(wanted));
            if from < to {
                let bytes = &write.1[(from - write.0) as usize..(to - write.0) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        lock(&self.writes).push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut writes = lock(&self.writes);
        for (offset, bytes) in &*writes {
            self.below.write_at(bytes, *offset)?;
        }
        self.below.sync_data()?;
        writes.clear();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let below = self.below.len()?;
        Ok(lock(&self.writes).iter().map(end).fold(below, u64::max))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.below.allocate(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_synced_is_seen_here_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let disk = HeldDisk::create(dir.path()).unwrap();
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(b"durable", 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"XY", 2).unwrap();
        file.write_at(b"Z", 9).unwrap();
        let mut seen = [7; 8];
        disk.open("a", Access::Read).unwrap().read_at(&mut seen, 2).unwrap();
        assert_eq!((&seen, file.len().unwrap()), (b"XYble\0\0Z", 10));
        assert!(file.read_at(&mut [0; 9], 2).is_err());
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"durable");
        disk.rename("a", "b").unwrap();
        disk.open("b", Access::Write).unwrap().sync_data().unwrap();
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"duXYble\0\0Z");
    }
}
