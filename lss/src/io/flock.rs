//! The lock of a directory: `flock` on the directory itself, and on the file `LOCK` in it.
//!
//! The directory's lock is the one that counts: it can't be removed while the directory is there.
//! The file tells which process has it, and keeps out programs that know no other lock.

use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, test_kill_process};

use super::file::open_directory;
use super::{DiskLock, LOCK_FILE, LockFailure};

/// Keeps the descriptors; closing them ends the lock.
#[derive(Debug)]
struct Held {
    _directory: fs::File,
    _file: Option<fs::File>,
}

impl DiskLock for Held {}

/// Takes the lock of an open directory, alone or together with other readers.
pub(super) fn take(
    directory: &fs::File,
    exclusive: bool,
) -> Result<Box<dyn DiskLock>, LockFailure> {
    let own = open_directory(directory, Path::new(".")).map_err(io_failure)?;
    match lock(&own, exclusive) {
        // Network file systems that lock by `fcntl` can't lock a directory; the file remains.
        Err(Errno::BADF | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOLCK) | Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let file = open_file(directory, OFlags::RDONLY).ok();
            return Err(LockFailure::Held(holder(&own, file.as_ref(), exclusive)));
        }
        Err(error) => return Err(io_failure(error)),
    }
    let flags = if exclusive { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDONLY };
    let file = match open_file(directory, flags) {
        Ok(file) => Some(file),
        // A copy of a store may lack the file; a reader must not make one.
        Err(Errno::NOENT) if !exclusive => None,
        Err(error) => return Err(io_failure(error)),
    };
    if let Some(file) = &file {
        match lock(file, exclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockFailure::Held(holder(file, Some(file), exclusive)));
            }
            Err(error) => return Err(io_failure(error)),
        }
        if exclusive {
            sign(file);
        }
    }
    Ok(Box::new(Held { _directory: own, _file: file }))
}

fn io_failure(error: Errno) -> LockFailure {
    LockFailure::Io(error.into())
}

fn open_file(directory: &fs::File, flags: OFlags) -> Result<fs::File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mode = Mode::from_raw_mode(0o666);
    retry_on_intr(|| rustix::fs::openat(directory, LOCK_FILE, flags, mode)).map(fs::File::from)
}

fn lock(file: &fs::File, exclusive: bool) -> Result<(), Errno> {
    let operation = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    retry_on_intr(|| rustix::fs::flock(file, operation))
}

/// Writes into the file which process holds it. The text is for messages only, so a full disk,
/// which may have no room for it, is no failure.
fn sign(file: &fs::File) {
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    // On one line, whatever the program is called.
    let program: String = program.chars().filter(|c| !c.is_control()).take(64).collect();
    let owner = format!("process {}\n{program}\n", std::process::id());
    // Written before the rest is cut off: bytes over bytes need no new block.
    let _unsigned =
        file.write_all_at(owner.as_bytes(), 0).and_then(|()| file.set_len(owner.len() as u64));
}

/// The holder of a lock that could not be had, as exactly as can be told.
fn holder(locked: &fs::File, file: Option<&fs::File>, exclusive: bool) -> String {
    // If it can be shared, those that hold it share it.
    if exclusive && lock(locked, false).is_ok() {
        return "a reader".to_owned();
    }
    let Some((pid, program)) = file.and_then(|file| signer(file).ok().flatten()) else {
        return format!("a process that {LOCK_FILE} does not name");
    };
    let number = pid.as_raw_nonzero();
    match test_kill_process(pid) {
        Err(Errno::SRCH) => format!(
            "process {number} opened it and has ended: a child of it, or a process of another \
             container, holds it"
        ),
        _ if u32::try_from(number.get()) == Ok(std::process::id()) => format!(
            "process {number}, {program}: this one, which has a handle, a tree or an iterator left"
        ),
        _ if program.is_empty() => format!("process {number}"),
        _ => format!("process {number}, {program}"),
    }
}

/// The process that the file names, and its program: the last that held it alone.
fn signer(mut file: &fs::File) -> io::Result<Option<(Pid, String)>> {
    let mut text = String::new();
    file.rewind()?;
    file.take(512).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let number = lines.next().and_then(|line| line.strip_prefix("process ")?.parse().ok());
    let program = lines.next().unwrap_or_default();
    Ok(number.and_then(Pid::from_raw).map(|pid| (pid, program.to_owned())))
}
