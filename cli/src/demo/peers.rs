//! Other stores under the demo's traffic, each in the way that is fastest for it while a sync still
//! makes all before it durable: one transaction from one sync to the next.

use super::side::Side;
use super::stored;
use crate::failure::{Context, Failure, Outcome};
use crate::lanes::Numbered;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("jobs");

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All entries of a side.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The folder of a side, made if missing.
fn folder(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir).context(format_args!("cannot make {}", dir.display()))
}

fn failed(error: impl Into<redb::Error>) -> Failure {
    Failure::from(error.into()).map_text(|text| format!("redb: {text}"))
}

/// redb, with its default cache.
pub(crate) struct Redb {
    db: Database,
    open: Mutex<Option<WriteTransaction>>,
}

impl Redb {
    pub(crate) fn open(dir: &Path) -> Outcome<Self> {
        folder(dir)?;
        let db = Database::create(dir.join("jobs.redb")).map_err(failed)?;
        Ok(Self { db, open: Mutex::default() })
    }

    pub(crate) fn entries(&self) -> Outcome<Entries> {
        let mut entries = Entries::new();
        for entry in self.reader()?.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            entries.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(entries)
    }

    pub(crate) fn reader(&self) -> Outcome<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        self.db.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)
    }

    pub(crate) fn get(
        reader: &ReadOnlyTable<&'static [u8], &'static [u8]>,
        key: &[u8],
    ) -> Outcome<bool> {
        let value = reader.get(key).map_err(failed)?;
        Ok(value.is_some_and(|value| !value.value().to_vec().is_empty()))
    }

    /// What redb has in place of a cleaning.
    pub(crate) fn compact(mut self) -> Outcome {
        // Each call does one step, as far as it can.
        while self.db.compact().map_err(failed)? {}
        Ok(())
    }
}

impl Side for Redb {
    fn apply(&self, numbered: &Numbered) -> Outcome {
        let key = numbered.op.store_key();
        let value = stored::change(numbered);
        let mut open = lock(&self.open);
        if open.is_none() {
            *open = Some(self.db.begin_write().map_err(failed)?);
        }
        let Some(transaction) = &*open else { return Ok(()) };
        let mut table = transaction.open_table(TABLE).map_err(failed)?;
        match value {
            Some(value) => drop(table.insert(&*key, &*value).map_err(failed)?),
            None => drop(table.remove(&*key).map_err(failed)?),
        }
        Ok(())
    }

    fn note(&self, _lane: usize, _position: u64) -> Outcome {
        Ok(())
    }

    fn sync(&self) -> Outcome {
        match lock(&self.open).take() {
            Some(transaction) => transaction.commit().map_err(failed),
            None => Ok(()),
        }
    }
}

/// `SQLite` with a write-ahead log, each commit synced.
pub(crate) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub(crate) fn open(dir: &Path) -> Outcome<Self> {
        folder(dir)?;
        let connection = Connection::open(dir.join("jobs.sqlite")).context("SQLite")?;
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS jobs (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;";
        connection.execute_batch(setup).context("SQLite")?;
        Ok(Self(Mutex::new(connection)))
    }

    pub(crate) fn entries(&self) -> Outcome<Entries> {
        let connection = lock(&self.0);
        let mut rows = connection.prepare("SELECT k, v FROM jobs ORDER BY k").context("SQLite")?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).context("SQLite")?;
        rows.collect::<rusqlite::Result<Entries>>().context("SQLite")
    }

    pub(crate) fn get(&self, key: &[u8]) -> Outcome<bool> {
        let connection = lock(&self.0);
        let mut get =
            connection.prepare_cached("SELECT v FROM jobs WHERE k = ?1").context("SQLite")?;
        let value: Option<Vec<u8>> =
            get.query_row(params![key], |row| row.get(0)).optional().context("SQLite")?;
        Ok(value.is_some())
    }

    /// What `SQLite` has in place of a cleaning.
    pub(crate) fn vacuum(&self) -> Outcome {
        let work = "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);";
        lock(&self.0).execute_batch(work).context("SQLite")
    }
}

impl Side for Sqlite {
    fn apply(&self, numbered: &Numbered) -> Outcome {
        let key = numbered.op.store_key();
        let value = stored::change(numbered);
        let connection = lock(&self.0);
        if connection.is_autocommit() {
            connection.execute_batch("BEGIN IMMEDIATE").context("SQLite")?;
        }
        let done = match value {
            Some(value) => connection
                .prepare_cached("INSERT OR REPLACE INTO jobs VALUES (?1, ?2)")
                .and_then(|mut put| put.execute(params![key, value])),
            None => connection
                .prepare_cached("DELETE FROM jobs WHERE k = ?1")
                .and_then(|mut delete| delete.execute(params![key])),
        };
        done.map(drop).context("SQLite")
    }

    fn note(&self, _lane: usize, _position: u64) -> Outcome {
        Ok(())
    }

    fn sync(&self) -> Outcome {
        let connection = lock(&self.0);
        if connection.is_autocommit() {
            return Ok(());
        }
        connection.execute_batch("COMMIT").context("SQLite")
    }
}
