//! The readers of a directory: each has a file of its own in it, `reader-PID-N.lock`, with `flock`
//! on it for as long as it lives.
//!
//! Whoever can lock such a file knows that its reader is gone, and removes it. A reader whose file
//! was removed between its creation and its lock finds that it has no name, and makes another. So
//! a reader that is killed leaves nothing but an empty file, until the next look.
//!
//! A file that can't be looked into counts as that of a reader that lives and needs everything; a
//! file with anything else in it than what a reader writes is none of ours, and is left alone.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::open_directory;
use super::{Reader, Registration};

/// What a file with a view begins with.
const MAGIC: [u8; 8] = *b"BWVIEW01";

/// Bytes of a view: magic, sequence, checksum.
const VIEW_BYTES: usize = 20;

/// Tries at a name. Each that fails was left by an earlier process of this number, or was taken for
/// a dead reader's.
const MAX_TRIES: u32 = 1 << 16;

/// The number of this process's next reader: no name comes again while a look may know it.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether a file of this name is that of a reader.
pub(crate) fn is_reader_file(name: &str) -> bool {
    process_of(name).is_some()
}

/// The process that a reader's file names.
fn process_of(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix("reader-")?.strip_suffix(".lock")?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u32>().ok().filter(|_| digits(number))?;
    process.parse().ok().filter(|_| digits(process))
}

/// Makes a reader's file in the directory.
pub(super) fn enter(directory: &fs::File) -> io::Result<Box<dyn Registration>> {
    let directory = open_directory(directory, Path::new("."))?;
    let process = std::process::id();
    for _ in 0..MAX_TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reader-{process}-{number}.lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let file = match retry_on_intr(|| rustix::fs::openat(&directory, &name, flags, mode)) {
            Ok(file) => fs::File::from(file),
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        };
        match lock(&file) {
            // Whoever looked for readers just now has removed it.
            Ok(()) if rustix::fs::fstat(&file)?.st_nlink == 0 => {}
            Ok(()) => return Ok(Box::new(Entered { directory, name, file, process })),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => {
                // Without locks nobody can tell whether it lives.
                let _left = rustix::fs::unlinkat(&directory, &name, AtFlags::empty());
                return Err(error.into());
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "all names of readers are taken"))
}

fn lock(file: &fs::File) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// The readers among these files that live; the files of others are removed.
pub(super) fn alive(directory: &fs::File, names: Vec<String>) -> Vec<Reader> {
    let mut readers = Vec::new();
    for name in names {
        let Some(process) = process_of(&name) else { continue };
        readers.extend(look_at(directory, Reader { name, process, view: None }));
    }
    readers
}

/// The reader with what it has told, or `None` if none that lives has this name.
fn look_at(directory: &fs::File, reader: Reader) -> Option<Reader> {
    let open = |access| {
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        retry_on_intr(|| rustix::fs::openat(directory, &reader.name, flags, Mode::empty()))
    };
    // Some file systems lock only what is open to write.
    let opened = open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY)).map(fs::File::from);
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT) => return None,
        Err(_) => return Some(reader),
    };
    let mut bytes = [0; VIEW_BYTES];
    let len = file.metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { u64::MAX });
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    if len > VIEW_BYTES as u64 || !MAGIC.starts_with(&bytes[..read.min(MAGIC.len())]) {
        return None;
    }
    if lock(&file).is_err() {
        return Some(Reader { view: decode(&bytes), ..reader });
    }
    // The lock is held until it is removed: its maker, if it was that fast, makes another.
    let _left = rustix::fs::unlinkat(directory, &reader.name, AtFlags::empty());
    None
}

fn encode(sequence: u64) -> [u8; VIEW_BYTES] {
    let mut bytes = [0; VIEW_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; VIEW_BYTES]) -> Option<u64> {
    let sequence = bytes[8..16].try_into().map(u64::from_le_bytes).ok()?;
    (*bytes == encode(sequence)).then_some(sequence)
}

/// A file that is locked while this lives.
#[derive(Debug)]
struct Entered {
    directory: fs::File,
    name: String,
    file: fs::File,
    /// A fork of it does not end the registration.
    process: u32,
}

impl Registration for Entered {
    fn set_view(&self, sequence: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(sequence), 0)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            // Removed while it is locked, so that nobody else has the name. What can't be removed
            // is, by the next look.
            let _left = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Disk, FileDisk};

    #[test]
    fn names_of_readers_are_told_from_others() {
        assert_eq!(process_of("reader-12-3.lock"), Some(12));
        for name in
            ["reader-12.lock", "reader-+1-2.lock", "reader-1-+2.lock", "reader--1.lock", "LOCK"]
        {
            assert!(!is_reader_file(name), "{name}");
        }
    }

    #[test]
    fn readers_are_listed_while_they_live_and_foreign_files_stay() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(root.path());
        assert_eq!(disk.readers().unwrap(), []);
        let (first, second) = (disk.register().unwrap(), disk.register().unwrap());
        first.set_view(77).unwrap();
        let mut views: Vec<_> = disk.readers().unwrap().into_iter().map(|r| r.view).collect();
        views.sort_unstable();
        assert_eq!(views, [None, Some(77)]);
        drop(first);
        assert_eq!(disk.readers().unwrap().len(), 1);
        // As a process leaves them that was killed, and two that no reader has made.
        fs::write(root.path().join("reader-1-0.lock"), encode(5)).unwrap();
        fs::write(root.path().join("reader-1-1.lock"), "").unwrap();
        fs::write(root.path().join("reader-1-2.lock"), "a diary").unwrap();
        fs::create_dir(root.path().join("reader-1-3.lock")).unwrap();
        assert_eq!(disk.readers().unwrap().len(), 1);
        drop(second);
        assert_eq!(disk.readers().unwrap(), []);
        let mut left = disk.list().unwrap();
        left.sort_unstable();
        assert_eq!(left, ["reader-1-2.lock", "reader-1-3.lock"]);
    }
}
