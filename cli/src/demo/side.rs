//! The sides of the demo behind one face: the store, the append-only log, and with the feature
//! `peers` other stores.

use super::held::HeldDisk;
use super::stored;
use crate::baseline::Log;
use crate::failure::{Context, Outcome};
use crate::lanes::Numbered;
use crate::store;
use bwtree::{Bytes, Db, SyncPolicy, Tree};
use std::path::Path;
use std::sync::Arc;

/// The tree of the demo's store.
pub(crate) const TREE: &str = "jobs";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    Store,
    Log,
    #[cfg(feature = "peers")]
    Redb,
    #[cfg(feature = "peers")]
    Sqlite,
}

impl Which {
    /// The side's folder below the demo's, and its name on a command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Log => "log",
            #[cfg(feature = "peers")]
            Self::Redb => "redb",
            #[cfg(feature = "peers")]
            Self::Sqlite => "sqlite",
        }
    }

    /// The head of the side's column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Store => "bwtree",
            Self::Log => "append-only log",
            #[cfg(feature = "peers")]
            Self::Redb => "redb",
            #[cfg(feature = "peers")]
            Self::Sqlite => "SQLite, WAL",
        }
    }
}

/// What receives the operations.
pub(crate) trait Side: Sync {
    fn apply(&self, numbered: &Numbered) -> Outcome;
    /// Notes that a lane's first `position` operations are in.
    fn note(&self, lane: usize, position: u64) -> Outcome;
    /// Makes durable what was applied and noted before the call. One call at a time.
    fn sync(&self) -> Outcome;
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) db: Db,
    pub(crate) tree: Tree,
}

impl Store {
    /// Opens the store, or makes it; syncs happen only when asked for.
    pub(crate) fn open(dir: &Path) -> Outcome<Self> {
        Self::of(store::open(Db::builder(dir).sync_policy(SyncPolicy::Manual), dir)?)
    }

    /// As [`open`](Self::open), on a disk that holds back what is not synced.
    pub(crate) fn open_held(dir: &Path) -> Outcome<Self> {
        let doing = format_args!("cannot make {}", dir.display());
        let disk = HeldDisk::create(dir).context(doing)?;
        let builder = Db::builder(dir).sync_policy(SyncPolicy::Manual);
        Self::of(builder.open_on(Arc::new(disk))?)
    }

    fn of(db: Db) -> Outcome<Self> {
        let tree = db.tree(TREE)?;
        Ok(Self { db, tree })
    }

    pub(crate) fn close(self) -> Outcome {
        drop(self.tree);
        Ok(self.db.close()?)
    }
}

impl Side for Store {
    fn apply(&self, numbered: &Numbered) -> Outcome {
        let key = numbered.op.store_key();
        match stored::change(numbered) {
            None => drop(self.tree.delete(&key)?),
            Some(value) => self.tree.put(&key, Bytes::from(value))?,
        }
        Ok(())
    }

    fn note(&self, lane: usize, position: u64) -> Outcome {
        let value = Bytes::copy_from_slice(&position.to_le_bytes());
        Ok(self.tree.put(stored::position_key(lane), value)?)
    }

    fn sync(&self) -> Outcome {
        Ok(self.db.sync()?)
    }
}

impl Side for Log {
    fn apply(&self, numbered: &Numbered) -> Outcome {
        self.append(&numbered.op)
    }

    /// A log needs no positions: its records are counted.
    fn note(&self, _lane: usize, _position: u64) -> Outcome {
        Ok(())
    }

    fn sync(&self) -> Outcome {
        Log::sync(self)
    }
}
