//! A directory of real files, with positional reads and writes.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, DiskLock, File, LOCK_FILE, LockFailure};

/// A directory of real files.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
}

impl FileDisk {
    /// The directory `path`, which need not exist until something is to be read from it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory `path`, made if it is missing; the new entry is made durable.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            if let Some(parent) = path.parent() {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock_exclusive(&self) -> Result<Box<dyn DiskLock>, LockFailure> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(LOCK_FILE))
            .map_err(LockFailure::Io)?;
        take_lock(&mut file, true)?;
        let owner = format!("process {}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(LockFailure::Io)?;
        Ok(Box::new(Held { _file: Some(file) }))
    }

    fn lock_shared(&self) -> Result<Box<dyn DiskLock>, LockFailure> {
        match fs::File::open(self.path.join(LOCK_FILE)) {
            Ok(mut file) => {
                take_lock(&mut file, false)?;
                Ok(Box::new(Held { _file: Some(file) }))
            }
            // A copy of a store may lack the file; a reader must not make one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Box::new(Held { _file: None }))
            }
            Err(error) => Err(LockFailure::Io(error)),
        }
    }
}

fn take_lock(file: &mut fs::File, exclusive: bool) -> Result<(), LockFailure> {
    let taken = if exclusive { file.try_lock() } else { file.try_lock_shared() };
    match taken {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(LockFailure::Held(owner_of(file))),
        Err(fs::TryLockError::Error(error)) => Err(LockFailure::Io(error)),
    }
}

/// Whom the lock file names: the last that held it alone.
fn owner_of(file: &mut fs::File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(64).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "a reader".to_owned(),
    }
}

#[derive(Debug)]
struct Held {
    _file: Option<fs::File>,
}

impl DiskLock for Held {}

impl Disk for FileDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile { file: options.open(self.path.join(name))? }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        if exclusive { self.lock_exclusive() } else { self.lock_shared() }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
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

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            use rustix::io::Errno;
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
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
