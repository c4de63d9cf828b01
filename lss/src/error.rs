//! Every way in which the log can fail, with the evidence: what happened, where, what to do.
//!
//! # What ends all writing
//!
//! Only what may have lost bytes *poisons*: bytes that were acknowledged, or a COMMIT of which
//! nobody knows whether it is on the disk. Anything else *fails the group*: it is rolled back, its
//! writers hear the error, and the next group is a new try. Errors that say that the system is
//! short of something *pass*, which is the same, told apart so that a caller knows to wait
//! ([`Error::is_passing`]): ENOSPC, EDQUOT, EFBIG; EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN.
//!
//! | call | error that passes | any other |
//! |---|---|---|
//! | create, allocate, rename, remove, open, list readers | passes | fails the group |
//! | look whether directory or file still has its name: the look fails | passes | fails the group |
//! | the same: it has none ([`Error::Removed`]) | | poisons |
//! | write or sync the header of a segment with nothing in it | passes | fails the group |
//! | write a frame, wipe a COMMIT | passes | poisons |
//! | write a link | passes: the group is committed | poisons |
//! | write a superblock slot, sync it | passes: the other one counts | poisons |
//! | sync a segment that the open group has opened | passes | fails the group |
//! | sync a segment with a durable commit or a link in it | poisons | poisons |
//! | sync the directory, to use what is created | passes | poisons |
//! | sync the directory after renames and removals, and at the beginning | poisons | poisons |
//! | read | passes, after some tries | damage of what was wanted |
//!
//! - A write that fails says nothing of what it has left, so the header of a frame that failed
//!   otherwise than for a while may come out later: that ends in a reopening, which looks.
//! - After a failed sync the system takes for clean what it has not written, and the next sync
//!   succeeds (R1). A file with nothing in it that counts is removed then, and not used again; a
//!   COMMIT in it that may be whole is wiped before, and that write has a sync of its own.
//! - A sync of the directory that fails may have been the one for the entry of a segment that was
//!   renamed beside it and will be used. That passes at a creation, where a file system that is
//!   short of room refuses before it has tried.
//! - A removal that finds no file has done what it should, if the directory is still there. A
//!   renaming that took place though it was said to fail is one of these.

use core::fmt;
use std::io;
use std::sync::Arc;

use types::Address;

/// Why the log refused or failed. Cheap to clone: the first error of a poisoned log is given out
/// again and again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a call.
    Io {
        /// What was tried: "write", "sync", "rename" and so on.
        op: &'static str,
        /// The file or directory.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Bytes that were once durable are not what was written.
    Corrupt {
        /// The damaged file.
        file: String,
        /// Byte offset of the damage in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The store was written by a newer version.
    UnsupportedFormat {
        /// The file that says so.
        file: String,
        /// Its format version.
        found: u32,
        /// Its incompatible feature bits that this version does not know.
        features: u64,
        /// The newest format version that this version reads.
        supported: u32,
    },
    /// Another opener holds the store.
    Locked {
        /// The store's directory.
        path: String,
        /// The holder, as far as it can be told.
        owner: String,
        /// What to do.
        advice: &'static str,
    },
    /// There is no room on the disk. The group in progress can't be committed; roll it back.
    Full {
        /// The file that could not grow.
        file: String,
        /// What would be free if no store were open for reading only beside this one.
        held: HeldBack,
    },
    /// The directory, or a file that the log writes to, was removed while the store was open. What
    /// is written to it would be lost, so the log takes no more writes.
    Removed {
        /// What was removed.
        path: String,
    },
    /// The log was opened by another process, of which this one is a fork. It must not write here.
    Forked {
        /// The process that opened it.
        opener: u32,
    },
    /// The system has not enough of something that is given back in time: descriptors, memory. The
    /// group in progress can't be committed; roll it back. Nothing that was written is in doubt.
    Refused {
        /// What was tried.
        op: &'static str,
        /// The file or directory.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The system refused a call that touches no byte that counts: a creation, a renaming, a
    /// removal, a look. The group in progress can't be committed; roll it back. Nothing that was
    /// written is in doubt, and the next group is a new try.
    Denied {
        /// What was tried.
        op: &'static str,
        /// The file or directory.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed; nothing more is written until the store is reopened.
    Poisoned {
        /// The first failure.
        cause: Arc<Error>,
    },
    /// The address names a segment that is gone, because nothing in it was live any more.
    Gone {
        /// The address that was asked for.
        address: Address,
    },
    /// The directory holds other files and no store.
    NotAStore {
        /// The directory.
        path: String,
        /// One of the other files.
        file: String,
    },
    /// The directory holds no store, and none was to be created.
    Missing {
        /// The directory.
        path: String,
    },
    /// The store was opened without the right to write.
    ReadOnly,
    /// A payload or a list is longer than the format allows.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The most there may be.
        most: u64,
    },
    /// A call came out of order; the log is unharmed.
    Misuse {
        /// The rule that was broken.
        what: &'static str,
    },
}

/// What is held back for stores that are open for reading only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// Bytes of segments.
    pub bytes: u64,
    /// The processes that read.
    pub processes: Vec<u32>,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processes: Vec<String> = self.processes.iter().map(u32::to_string).collect();
        let (bytes, processes) = (self.bytes, processes.join(", "));
        write!(f, "{bytes} bytes are held back for readers")?;
        if processes.is_empty() { Ok(()) } else { write!(f, " in process {processes}") }
    }
}

impl Error {
    pub(crate) fn corrupt(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), offset, what: what.into() }
    }

    pub(crate) fn io(op: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self::Io { op, file: file.into(), source: Arc::new(source) }
    }

    /// What a failed call means: [`Error::Full`], [`Error::Refused`], or [`Error::Io`] if it does
    /// not pass.
    pub fn of_call(op: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        if means_full(&source) {
            Self::Full { file: file.into(), held: HeldBack::default() }
        } else if means_refused(&source) {
            Self::Refused { op, file: file.into(), source: Arc::new(source) }
        } else {
            Self::io(op, file, source)
        }
    }

    /// What a failed call means of which nothing that counts depends: as
    /// [`of_call`](Self::of_call), and [`Error::Denied`] if it does not pass.
    pub(crate) fn of_attempt(op: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        match Self::of_call(op, file, source) {
            Self::Io { op, file, source } => Self::Denied { op, file, source },
            passing => passing,
        }
    }

    /// Whether the log says that there is no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether the same call may succeed later, without a reopening: no room, no descriptors, no
    /// memory. After such an error in an append or a commit comes a rollback.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Refused { .. })
    }

    /// Whether this is the end of one group and of nothing else: it [passes](Self::is_passing), or
    /// it is [`Error::Denied`]. After such an error in an append or a commit comes a rollback, and
    /// the log goes on.
    pub fn stops_one_group(&self) -> bool {
        self.is_passing() || matches!(self, Self::Denied { .. })
    }
}

/// Whether the system says that there is no room: on the device, by quota, or in a file.
pub(crate) fn means_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Whether the system lacks what it may have again: descriptors, memory, a moment of calm.
pub(crate) fn means_refused(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { op, file, source } => {
                write!(f, "{op} failed on {file}: {source}; check the disk and the path")
            }
            Self::Corrupt { file, offset, what } => write!(
                f,
                "{file} is damaged at offset {offset}: {what}; restore the store from a copy"
            ),
            Self::UnsupportedFormat { file, found, features, supported } => write!(
                f,
                "{file} has format version {found} (unknown features {features:#x}), this program \
                 reads up to {supported}; use a newer version of the program"
            ),
            Self::Locked { path, owner, advice } => {
                write!(f, "the store {path} is open elsewhere ({owner}); {advice}")
            }
            Self::Full { file, held } if held.bytes > 0 => {
                write!(f, "no room on the disk for {file}, and {held}; close these, or free space")
            }
            Self::Full { file, .. } => {
                write!(f, "no room on the disk for {file}; free some space and try again")
            }
            Self::Removed { path } => write!(
                f,
                "{path} was removed while the store was open; close it, and restore it from a copy \
                 or create it anew"
            ),
            Self::Forked { opener } => write!(
                f,
                "the store was opened by process {opener}, before the fork of this one; use it \
                 there, or close it there and open it here"
            ),
            Self::Refused { op, file, source } => write!(
                f,
                "{op} was refused for {file}: {source}; raise the limit or free some, and try again"
            ),
            Self::Denied { op, file, source } => write!(
                f,
                "{op} failed on {file}: {source}; nothing that was written is in doubt: check the \
                 disk and the path, and try again"
            ),
            Self::Poisoned { cause } => write!(
                f,
                "the log takes no more writes since an earlier failure ({cause}); reopen the store"
            ),
            Self::Gone { address } => write!(
                f,
                "{address} was given back; look the page up again for its present address"
            ),
            Self::NotAStore { path, file } => {
                write!(
                    f,
                    "{path} holds {file:?} and no store; check the path, or choose an empty \
                     directory for a new one"
                )
            }
            Self::Missing { path } => {
                write!(f, "{path} holds no store; allow its creation, or check the path")
            }
            Self::ReadOnly => write!(f, "the store was opened read-only; open it for writing"),
            Self::TooLarge { what, size, most } => {
                write!(f, "{what} of {size} is too large, {most} is the most")
            }
            Self::Misuse { what } => write!(f, "call out of order: {what}"),
        }
    }
}

/// The text has what the system says in it, so that there is no source beside it, which a report of
/// all sources would tell again. The system's error is in the field `source`.
impl std::error::Error for Error {}
