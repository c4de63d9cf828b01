//! Durable stores: 16-byte keys and 100-byte values overwritten uniformly, a sync every so often.

use crate::random::{Random, mix};
use crate::report::table;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Operations.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Operations between two syncs.
    #[arg(long, default_value_t = 10_000)]
    sync_every: u64,
}

type Failed = Box<dyn std::error::Error>;

trait Store {
    /// Puts these, durable at return.
    fn put_all(
        &mut self,
        entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Failed>;
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failed>;
    /// Entries in a full scan.
    fn scan(&self) -> Result<u64, Failed>;
}

struct Ours(bwtree::Tree, bwtree::Db);

impl Store for Ours {
    fn put_all(
        &mut self,
        entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Failed> {
        for (key, value) in entries {
            self.0.put(key, value)?;
        }
        Ok(self.1.sync()?)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }
    fn scan(&self) -> Result<u64, Failed> {
        let mut count = 0;
        for entry in &self.0 {
            count += u64::from(!entry?.1.is_empty());
        }
        Ok(count)
    }
}

fn open_ours(path: &Path) -> Result<Box<dyn Store>, Failed> {
    let db = bwtree::Db::builder(path).sync_policy(bwtree::SyncPolicy::Manual).open()?;
    Ok(Box::new(Ours(db.tree("t")?, db)))
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("t");

struct Redb(redb::Database);

impl Store for Redb {
    fn put_all(
        &mut self,
        entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Failed> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        use redb::ReadableDatabase;
        let table = self.0.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }
    fn scan(&self) -> Result<u64, Failed> {
        use redb::{ReadableDatabase, ReadableTable};
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let mut count = 0;
        for entry in table.iter()? {
            count += u64::from(!entry?.1.value().is_empty());
        }
        Ok(count)
    }
}

fn open_redb(path: &Path) -> Result<Box<dyn Store>, Failed> {
    std::fs::create_dir_all(path)?;
    Ok(Box::new(Redb(redb::Database::create(path.join("store.redb"))?)))
}

struct Fjall(fjall::Keyspace, fjall::Database);

impl Store for Fjall {
    fn put_all(
        &mut self,
        entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Failed> {
        for (key, value) in entries {
            self.0.insert(key, value)?;
        }
        Ok(self.1.persist(fjall::PersistMode::SyncAll)?)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }
    fn scan(&self) -> Result<u64, Failed> {
        let mut count = 0;
        for entry in self.0.iter() {
            count += u64::from(!entry.value()?.is_empty());
        }
        Ok(count)
    }
}

fn open_fjall(path: &Path) -> Result<Box<dyn Store>, Failed> {
    let db = fjall::Database::builder(path).open()?;
    Ok(Box::new(Fjall(db.keyspace("t", fjall::KeyspaceCreateOptions::default)?, db)))
}

fn key(n: u64) -> Vec<u8> {
    format!("{:016x}", mix(n)).into_bytes()
}

fn value(n: u64, version: u64) -> Vec<u8> {
    let mut random = Random::new(n ^ (version << 32));
    (0..13).flat_map(|_| random.next().to_le_bytes()).take(100).collect()
}

/// Bytes that the files below a directory take on the disk.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => disk_bytes(&entry.path()),
        Ok(facts) => facts.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

type Open = fn(&Path) -> Result<Box<dyn Store>, Failed>;

fn measure(open: Open, options: &Options) -> Result<Vec<String>, Failed> {
    let Options { keys, operations, sync_every } = *options;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    let live = keys * 116;
    let mut latest = vec![0; keys as usize];
    let mut store = open(&path)?;
    let mut random = Random::new(1);
    let (start, mut peak, mut done) = (Instant::now(), 0, 0);
    while done < operations {
        let mut batch = (0..sync_every).map(|offset| {
            let n = if done + offset < keys { done + offset } else { random.below(keys) };
            latest[n as usize] = done + offset;
            (key(n), value(n, done + offset))
        });
        store.put_all(&mut batch)?;
        done += sync_every;
        peak = peak.max(disk_bytes(&path));
    }
    let puts = operations as f64 / start.elapsed().as_secs_f64();
    drop(store);
    let start = Instant::now();
    let store = open(&path)?;
    let first = store.get(&key(0))?;
    let opened = start.elapsed();
    if first != Some(value(0, latest[0])) {
        return Err("the first key is not what was put".into());
    }
    let start = Instant::now();
    let entries = store.scan()?;
    let scanned = start.elapsed();
    if entries != keys {
        return Err(format!("{entries} entries in a scan of {keys}").into());
    }
    for n in (0..keys).step_by(97) {
        if store.get(&key(n))? != Some(value(n, latest[n as usize])) {
            return Err(format!("key {n} is not what was put last").into());
        }
    }
    drop(store);
    Ok(vec![
        format!("{:.0}", puts / 1e3),
        format!("{:.2}", peak as f64 / live as f64),
        format!("{:.2}", disk_bytes(&path) as f64 / live as f64),
        format!("{:.1}", opened.as_secs_f64() * 1e3),
        format!("{:.1}", scanned.as_secs_f64() * 1e3),
    ])
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let stores: [(&str, Open); 3] =
        [("bwtree", open_ours), ("redb", open_redb), ("fjall", open_fjall)];
    let heading = format!(
        "{} keys, {} puts, a sync every {}",
        options.keys, options.operations, options.sync_every
    );
    let columns =
        ["thousand puts/s", "disk peak / live", "disk end / live", "open + get, ms", "scan, ms"];
    let mut rows = vec![vec![heading]];
    rows[0].extend(columns.map(String::from));
    for (name, open) in stores {
        let mut row = vec![name.to_string()];
        row.extend(measure(open, options).map_err(|error| format!("{name}: {error}"))?);
        rows.push(row);
    }
    table(&rows).map_err(|error| error.to_string())
}
