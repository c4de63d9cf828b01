//! What a caller can see go wrong, with the evidence, and what to do about it.

use crate::damage::Damage;
use core::fmt;
use std::sync::Arc;
use types::limits::{MAX_KEY_BYTES, MAX_TREE_NAME_BYTES, MAX_VALUE_BYTES};

/// Why an operation on a [`Db`](crate::Db) failed. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The log failed or refused: I/O, damage, a lock, a full disk.
    Log(lss::Error),
    /// A key is longer than keys can be. Nothing was written.
    KeyTooLong {
        /// Bytes of the key.
        len: usize,
    },
    /// A value is longer than values can be. Nothing was written.
    ValueTooLong {
        /// Bytes of the value.
        len: usize,
    },
    /// The name of a tree is empty or too long.
    TreeName {
        /// Bytes of the name.
        len: usize,
    },
    /// The tree was dropped through another handle.
    TreeDropped {
        /// Its name.
        name: String,
    },
    /// There is no tree of this name, and the store was opened for reading only.
    NoSuchTree {
        /// The name.
        name: String,
    },
    /// The store was opened for reading only.
    ReadOnly,
    /// An option has a value that it cannot have.
    InvalidOption {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A page in the log is not what a page must be, although its checksum is right.
    Corrupt {
        /// Which page, and what is wrong with it.
        what: String,
    },
    /// What was wanted is damaged, or all that [`Db::verify`](crate::Db::verify) has found. Nothing
    /// was written.
    Damaged {
        /// Which keys, where they lie, what is wrong. At least one.
        found: Arc<[Damage]>,
    },
    /// No page ids are left.
    TooManyPages,
    /// Background work failed or panicked; the store takes no more writes.
    Background {
        /// Which thread, and what happened.
        what: Arc<str>,
    },
    /// Memory stayed above the budget although writers waited.
    OutOfBudget {
        /// The budget, in bytes.
        budget_bytes: u64,
    },
    /// The store was closed.
    Closed,
}

/// The result of an operation on a [`Db`](crate::Db).
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// Whether the log has refused one group and goes on: nothing that was written is in doubt, and
    /// a later try may succeed.
    pub(crate) fn stops_one_group(&self) -> bool {
        matches!(self, Self::Log(error) if error.stops_one_group())
    }

    /// Whether bytes that were written could not be read back as they were: damage, or a device
    /// that refuses to read. It concerns what was to be read, and nothing else.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Damaged { .. } | Self::Log(lss::Error::Corrupt { .. }) => {
                true
            }
            Self::Log(lss::Error::Io { op, .. }) => *op == "read",
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::KeyTooLong { len } => {
                write!(f, "a key of {len} bytes is too long; keys have at most {MAX_KEY_BYTES}")
            }
            Self::ValueTooLong { len } => write!(
                f,
                "a value of {len} bytes is too long; values have at most {MAX_VALUE_BYTES}"
            ),
            Self::TreeName { len } => write!(
                f,
                "a tree's name of {len} bytes is not possible; names have 1 to \
                 {MAX_TREE_NAME_BYTES} bytes"
            ),
            Self::TreeDropped { name } => {
                write!(f, "the tree {name:?} was dropped; open it again to use it anew")
            }
            Self::NoSuchTree { name } => {
                write!(f, "there is no tree {name:?}; open the store for writing to create it")
            }
            Self::ReadOnly => {
                f.write_str("the store is open for reading only; open it for writing to change it")
            }
            Self::InvalidOption { what } => f.write_str(what),
            Self::Corrupt { what } => write!(f, "{what}; restore the store from a copy"),
            Self::Damaged { found } => crate::damage::tell(found, f),
            Self::TooManyPages => {
                f.write_str("the store has as many pages as it can have; remove entries")
            }
            Self::Background { what } => {
                write!(f, "{what}; the store takes no more writes until it is opened again")
            }
            Self::OutOfBudget { budget_bytes } => write!(
                f,
                "memory stays above the budget of {budget_bytes} bytes, and about 260 bytes of it \
                 are held for each page on disk; open the store with a larger budget"
            ),
            Self::Closed => f.write_str("the store was closed; open it again"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is this one's.
            Self::Log(error) => error.source(),
            _ => None,
        }
    }
}

impl From<lss::Error> for Error {
    fn from(error: lss::Error) -> Self {
        Self::Log(error)
    }
}

impl From<gc::InvalidSchedule> for Error {
    fn from(error: gc::InvalidSchedule) -> Self {
        Self::InvalidOption { what: error.to_string() }
    }
}

impl From<mapping::TableFull> for Error {
    fn from(_: mapping::TableFull) -> Self {
        Self::TooManyPages
    }
}
