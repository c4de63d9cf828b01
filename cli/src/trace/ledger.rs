//! The books of a trace: what is live after each operation, and the footer that a replay must meet.

use super::{Change, MAPS, Op, Value};
use crate::baseline;
use crate::random::GOLDEN;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;

/// Counts and an order-free checksum of live entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) keys: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    pub(crate) sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, map: u8, key: &[u8], value: &[u8]) {
        self.add_known(share(map, key, value), (key.len() + value.len()) as u64);
    }

    fn add_known(&mut self, share: u64, bytes: u64) {
        self.keys += 1;
        self.bytes += bytes;
        self.sum = self.sum.wrapping_add(share);
    }

    /// The sum as a footer spells it.
    pub(crate) fn hex(&self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// What one entry adds to the sum.
fn share(map: u8, key: &[u8], value: &[u8]) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[map]);
    crc.update(&(key.len() as u16).to_le_bytes());
    crc.update(key);
    crc.update(value);
    u64::from(crc.finalize()).wrapping_mul(GOLDEN)
}

/// A live entry without its bytes.
#[derive(Debug)]
struct Entry {
    bytes: u64,
    expire_at_ms: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Share(u64),
    /// Expanded only at the end: most values are overwritten before anybody asks.
    Seeded {
        seed: u64,
        length: u32,
    },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    puts: u64,
    deletes: u64,
    value_bytes: u64,
    log_bytes: u64,
}

/// Follows the operations of a trace.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    live: HashMap<Vec<u8>, Entry>,
    live_bytes: u64,
    tallies: [Tally; MAPS.len()],
    first_ms: Option<u64>,
    /// The number of entries at which expired ones are looked for.
    sweep_at: usize,
}

impl Ledger {
    pub(crate) fn apply(&mut self, op: &Op) {
        self.first_ms.get_or_insert(op.at_ms);
        let key = op.store_key();
        let old = match &op.change {
            Change::Put { value, expire_at_ms } => {
                let content = match value {
                    Value::Full(bytes) => Content::Share(share(op.map, &op.key, bytes)),
                    Value::Seeded { seed, length } => {
                        Content::Seeded { seed: *seed, length: *length }
                    }
                };
                let bytes = (op.key.len() + value.len()) as u64;
                self.live_bytes += bytes;
                self.live.insert(key, Entry { bytes, expire_at_ms: *expire_at_ms, content })
            }
            Change::Delete => self.live.remove(&key),
        };
        self.live_bytes -= old.map_or(0, |entry| entry.bytes);
        self.tally(op);
        if self.live.len() > self.sweep_at {
            self.sweep(op.at_ms);
        }
    }

    fn tally(&mut self, op: &Op) {
        let Some(tally) = self.tallies.get_mut(usize::from(op.map)) else { return };
        match &op.change {
            Change::Put { value, .. } => {
                tally.puts += 1;
                tally.value_bytes += value.len() as u64;
            }
            Change::Delete => tally.deletes += 1,
        }
        tally.log_bytes += baseline::record_bytes(op);
    }

    /// Time never goes back, so an expired entry is gone for good unless it is put again.
    fn sweep(&mut self, now_ms: u64) {
        let live_bytes = &mut self.live_bytes;
        self.live.retain(|_, entry| {
            let gone = entry.expire_at_ms != 0 && entry.expire_at_ms <= now_ms;
            if gone {
                *live_bytes -= entry.bytes;
            }
            !gone
        });
        self.sweep_at = self.live.len() * 2 + 1_024;
    }

    /// Bytes of live keys and values now; expired entries may count until they are swept.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes that an append-only log of every operation so far would have.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.log_bytes).sum()
    }

    /// Closes the books at `end_ms`.
    pub(crate) fn summary(&self, end_ms: u64) -> Summary {
        let mut live = Digest::default();
        for (key, entry) in &self.live {
            if entry.expire_at_ms != 0 && entry.expire_at_ms <= end_ms {
                continue;
            }
            let share = match entry.content {
                Content::Share(share) => share,
                Content::Seeded { seed, length } => {
                    share(key[0], &key[1..], &Value::Seeded { seed, length }.bytes())
                }
            };
            live.add_known(share, entry.bytes);
        }
        let hours = (end_ms - self.first_ms.unwrap_or(end_ms)) as f64 / 3_600_000.0;
        Summary { live, end_ms, virtual_hours: hours, tallies: self.tallies }
    }
}

/// The footer of a trace.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) live: Digest,
    /// The virtual time of the end; entries that have expired by then are not live.
    pub(crate) end_ms: u64,
    virtual_hours: f64,
    tallies: [Tally; MAPS.len()],
}

impl Summary {
    fn sum(&self, field: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.iter().map(field).sum()
    }

    pub(crate) fn puts(&self) -> u64 {
        self.sum(|tally| tally.puts)
    }

    pub(crate) fn ops(&self) -> u64 {
        self.puts() + self.sum(|tally| tally.deletes)
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.sum(|tally| tally.log_bytes)
    }

    pub(crate) fn to_json(&self) -> Json {
        let mut maps = Map::new();
        for (map, tally) in MAPS.iter().zip(&self.tallies) {
            if *tally != Tally::default() {
                let counts = json!({
                    "puts": tally.puts,
                    "deletes": tally.deletes,
                    "value_bytes": tally.value_bytes,
                    "wal_bytes": tally.log_bytes,
                });
                maps.insert(map.name.to_owned(), counts);
            }
        }
        json!({
            "ops": self.ops(),
            "puts": self.puts(),
            "deletes": self.sum(|tally| tally.deletes),
            "live_keys": self.live.keys,
            "live_bytes": self.live.bytes,
            "digest": self.live.hex(),
            "value_bytes_written": self.sum(|tally| tally.value_bytes),
            "upstream_wal_bytes": self.log_bytes(),
            "virtual_hours": (self.virtual_hours * 1e3).round() / 1e3,
            "maps": maps,
        })
    }
}
