//! Traces: the stream of puts and deletes that a stream engine's state maps receive, written down.
//!
//! A trace is little endian and reads from front to back:
//!
//! ```text
//! header   8 bytes  "IMAPTRC1"
//!          u32      n, then n bytes of JSON: the parameters and the names of the maps
//! record   u8       1 put, 2 delete, 0 end of the trace; on a put also
//!                   +0x10: u64 expire_at_ms follows the fixed part
//!                   +0x20: u64 seed follows, and the value is expand(seed, length)
//!          u8       map id, an index into the header's maps
//!          u16      key length
//!          u32      value length; in the end record the length of the footer
//!          u64      virtual time, ms since the epoch; never decreases
//!          [u64 expire_at_ms] [u64 seed] key, value (unless seeded)
//! footer   JSON: counts, and the digest of what is live at the end
//! ```
//!
//! The digest adds up one product an entry, so any order of scanning gives it.

pub(crate) mod fields;
mod generator;
mod job;
mod ledger;
mod parameters;
mod reader;
#[cfg(test)]
mod tests;
pub(crate) mod verb;
mod writer;

pub(crate) use generator::Generator;
pub(crate) use ledger::{Digest, Ledger, Summary};
pub(crate) use parameters::Parameters;
pub(crate) use reader::open;
pub(crate) use writer::Writer;

use crate::random;
use std::borrow::Cow;

pub(crate) const MAGIC: &[u8; 8] = b"IMAPTRC1";
/// The largest value a trace may hold, in bytes: the store's limit, less what a replay adds.
pub(crate) const MAX_VALUE_BYTES: u32 = (64 << 20) - 64;
/// The largest header or footer a reader takes, in bytes.
pub(crate) const MAX_JSON_BYTES: u32 = 16 << 20;

/// The kinds of record and their flags.
pub(crate) mod kind {
    pub(crate) const END: u8 = 0;
    pub(crate) const PUT: u8 = 1;
    pub(crate) const DELETE: u8 = 2;
    pub(crate) const EXPIRES: u8 = 0x10;
    pub(crate) const SEEDED: u8 = 0x20;
}

/// One of the engine's maps; its place in `MAPS` is its id in a trace.
#[derive(Debug)]
pub(crate) struct EngineMap {
    pub(crate) name: &'static str,
    /// The Java class of its values: the append-only log writes it into every record.
    pub(crate) value_class: &'static str,
}

const fn engine_map(name: &'static str, value_class: &'static str) -> EngineMap {
    EngineMap { name, value_class }
}

pub(crate) const MAPS: [EngineMap; 10] = [
    engine_map("engine_runningJobInfo", "org.apache.seatunnel.engine.core.job.JobInfo"),
    engine_map("engine_runningJobState", "org.apache.seatunnel.engine.core.job.JobStatus"),
    engine_map("engine_stateTimestamps", "[Ljava.lang.Long;"),
    engine_map("engine_ownedSlotProfilesIMap", "java.util.HashMap"),
    engine_map("engine_checkpoint-id-map", "java.lang.Long"),
    engine_map("engine_runningJobMetrics", "java.util.HashMap"),
    engine_map(
        "engine_finishedJobState",
        "org.apache.seatunnel.engine.server.master.JobHistoryService$JobState",
    ),
    engine_map("engine_finishedJobMetrics", "org.apache.seatunnel.engine.core.job.JobMetrics"),
    engine_map("engine_finishedJobVertexInfo", "org.apache.seatunnel.engine.core.job.JobDAGInfo"),
    engine_map(
        "engine_checkpoint_monitor",
        "org.apache.seatunnel.engine.core.checkpoint.CheckpointOverview",
    ),
];

/// The ids of the maps.
pub(crate) mod map {
    pub(crate) const INFO: u8 = 0;
    pub(crate) const STATE: u8 = 1;
    pub(crate) const STAMPS: u8 = 2;
    pub(crate) const SLOTS: u8 = 3;
    pub(crate) const CHECKPOINT: u8 = 4;
    pub(crate) const METRICS: u8 = 5;
    pub(crate) const FINISHED_STATE: u8 = 6;
    pub(crate) const FINISHED_METRICS: u8 = 7;
    pub(crate) const FINISHED_GRAPH: u8 = 8;
    pub(crate) const MONITOR: u8 = 9;
}

/// One operation of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    /// Virtual time, in milliseconds since the epoch.
    pub(crate) at_ms: u64,
    /// The id of the map.
    pub(crate) map: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `expire_at_ms` 0 means never.
    Put {
        value: Value,
        expire_at_ms: u64,
    },
    Delete,
}

/// The value of a put: its bytes, or what they are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Full(Vec<u8>),
    Seeded { seed: u64, length: u32 },
}

impl Value {
    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Full(bytes) => bytes.len(),
            Self::Seeded { length, .. } => *length as usize,
        }
    }

    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Full(bytes) => Cow::Borrowed(bytes),
            Self::Seeded { seed, length } => {
                let mut bytes = Vec::new();
                random::expand_into(&mut bytes, *seed, *length as usize);
                Cow::Owned(bytes)
            }
        }
    }
}

impl Op {
    /// The key of a store that holds all maps in one tree: the map's id, then the key.
    pub(crate) fn store_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key.len() + 1);
        key.push(self.map);
        key.extend_from_slice(&self.key);
        key
    }
}
