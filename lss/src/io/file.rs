//! A directory of real files, held by a descriptor, with positional reads and writes.
//!
//! The directory is opened once. Files are opened, renamed and removed relative to its descriptor:
//! a later `chdir`, a rename of the directory, or another directory under its old path change
//! nothing. The path is kept for messages only.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::flock;
use super::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration, registered};

/// A directory of real files.
#[derive(Debug)]
pub struct FileDisk {
    /// Absolute, as it was when the directory was opened.
    path: PathBuf,
    /// The open directory, or why it could not be opened.
    directory: Result<Arc<fs::File>, Errno>,
}

impl FileDisk {
    /// Opens the directory `path`. If that fails, every later call says why; a missing directory
    /// has no files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        let directory = open_directory(rustix::fs::CWD, &path).map(Arc::new);
        Self { path, directory }
    }

    /// Opens the directory `path` and makes it first if it is missing, and so its parents; the new
    /// entries are made durable.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = std::path::absolute(path.into())?;
        make_directories(&path, &mut |parent| fs::File::open(parent)?.sync_all())?;
        let directory = Ok(Arc::new(open_directory(rustix::fs::CWD, &path)?));
        Ok(Self { path, directory })
    }

    /// The absolute path under which the directory was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn directory(&self) -> io::Result<&Arc<fs::File>> {
        self.directory.as_ref().map_err(|&error| error.into())
    }
}

/// Opens a directory anew: what is locked through it is not shared with any other opening.
pub(super) fn open_directory(base: impl std::os::fd::AsFd, path: &Path) -> Result<fs::File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&base, path, flags, Mode::empty())).map(fs::File::from)
}

/// Makes the directory `path`, if it is missing, and its parents; `sync` gets the parent of every
/// one that was made, outermost first.
fn make_directories(path: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        match fs::metadata(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(directory),
            // What is no directory is found out by what is made in it or opened of it.
            _ => break,
        }
    }
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            // Another process was faster; whether it has synced the entry is not known.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        if let Some(parent) = directory.parent() {
            sync(parent)?;
        }
    }
    Ok(())
}

impl Disk for FileDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let directory = self.directory()?;
        // NONBLOCK means nothing to a file, and keeps a pipe of this name from blocking.
        let common = OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = common
            | match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            };
        let mode = Mode::from_raw_mode(0o666);
        let file = retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode))?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is not a regular file"));
        }
        Ok(Arc::new(RealFile { file: fs::File::from(file), directory: Arc::clone(directory) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let directory = match &self.directory {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err((*error).into()),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let directory = self.directory()?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(directory, name, AtFlags::empty()))?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let directory = self.directory()?;
        Ok(retry_on_intr(|| rustix::fs::renameat(directory, from, directory, to))?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory()?.sync_all()
    }

    fn sync_files(&self, files: &[&dyn File]) -> Vec<io::Result<()>> {
        super::sync_together(files)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(self.directory()?)?.st_nlink > 0)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let found = rustix::fs::fstatvfs(self.directory()?)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        flock::take(self.directory().map_err(LockFailure::Io)?, exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        registered::enter(self.directory()?)
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        let names = self.list()?;
        Ok(registered::alive(self.directory()?, names))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    directory: Arc<fs::File>,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        // Not by the count of its links: it may have a name elsewhere, and others this one. A name
        // that is a symbolic link leads to what it leads an opening to.
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        match rustix::fs::statat(&self.directory, name, AtFlags::empty()) {
            Ok(named) => Ok(identity(named) == identity(rustix::fs::fstat(&self.file)?)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            // A signal may interrupt it, and it begins again.
            match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
                Ok(()) => return Ok(()),
                // Not every file system can set room aside; zeros can be written on all.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.write_zeros(len)
    }
}

impl RealFile {
    fn write_zeros(&self, len: u64) -> io::Result<()> {
        const STEP: usize = 16 << 10;
        let zeros = [0; STEP];
        let mut at = self.len()?;
        while at < len {
            let step = (len - at).min(STEP as u64);
            self.file.write_all_at(&zeros[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `a/b/c/store` only `c` was synced: a power cut could take `a` and all that was in it,
    /// after a sync of the store had been acknowledged.
    #[test]
    fn the_parent_of_every_directory_that_is_made_is_synced() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("a/b/c/store");
        let mut synced = Vec::new();
        let mut make = || {
            make_directories(&store, &mut |parent| {
                assert!(parent.is_dir());
                synced.push(parent.strip_prefix(root.path()).unwrap().to_owned());
                Ok(())
            })
        };
        make().unwrap();
        make().unwrap();
        assert_eq!(synced, ["", "a", "a/b", "a/b/c"].map(PathBuf::from));
        assert!(store.is_dir());
        fs::write(root.path().join("file"), "").unwrap();
        assert!(FileDisk::create(root.path().join("file")).is_err());
        assert!(FileDisk::create(root.path().join("file/store")).is_err());
    }
}
