//! What was measured: all samples, as they are written to the JSON file.

use super::CellOptions;
use crate::peers::Peer;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One peer, one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) peer: String,
    pub(crate) keys: String,
    pub(crate) value_bytes: usize,
    pub(crate) size: usize,
    pub(crate) threads: usize,
    pub(crate) round: usize,
    /// Million operations a second, by phase.
    pub(crate) mops: BTreeMap<String, f64>,
    /// Processor time that the threads had, of what they could have had, by phase. Less than 1 if
    /// the machine is busy with something else, or if threads sleep at locks.
    #[serde(default)]
    pub(crate) processor_share: BTreeMap<String, f64>,
    pub(crate) gets: Option<Latency>,
    pub(crate) updates: Option<Latency>,
    pub(crate) heap_bytes_per_key: Option<f64>,
    pub(crate) resident_bytes_per_key: Option<f64>,
    /// Wrong answers while others wrote, by phase.
    pub(crate) wrong: BTreeMap<String, String>,
    /// Why it was not measured, which was known before.
    pub(crate) refused: Option<String>,
    /// What went wrong.
    pub(crate) failed: Option<String>,
}

impl Cell {
    pub(super) fn new(options: &CellOptions) -> Self {
        Self {
            peer: options.peer.clone(),
            keys: options.keys.name().to_owned(),
            value_bytes: options.value,
            size: options.size,
            threads: options.threads,
            round: options.round,
            mops: BTreeMap::new(),
            processor_share: BTreeMap::new(),
            gets: None,
            updates: None,
            heap_bytes_per_key: None,
            resident_bytes_per_key: None,
            wrong: BTreeMap::new(),
            refused: None,
            failed: None,
        }
    }

    pub(super) fn refused(options: &CellOptions, why: &str) -> Self {
        Self { refused: Some(why.to_owned()), ..Self::new(options) }
    }

    pub(super) fn failed(options: &CellOptions, why: &str) -> Self {
        Self { failed: Some(why.to_owned()), ..Self::new(options) }
    }

    /// What went wrong, in words.
    pub(crate) fn faults(&self) -> String {
        let wrong = self.wrong.iter().map(|(phase, told)| format!("{phase}: {told}"));
        wrong.chain(self.failed.clone()).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn to_json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    pub(super) fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not a result: {error}: {text}"))
    }
}

/// Latencies in nanoseconds, two looks at the clock included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    pub(crate) samples: u64,
}

impl Latency {
    pub(super) fn of(times: &Histogram<u32>) -> Self {
        Self {
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
            samples: times.len(),
        }
    }
}

/// Versions of the peers, as Cargo.lock had them when this program was built.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Versions(pub(crate) BTreeMap<String, String>);

impl Versions {
    pub(super) fn of(peers: &[&Peer]) -> Self {
        let lock = include_str!("../../../Cargo.lock");
        let version = |package: &str| {
            let start = format!("name = \"{package}\"\nversion = \"");
            let rest = lock.split_once(&start)?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let known = |peer: &&Peer| {
            let version = version(peer.package).unwrap_or_else(|| peer.package.to_owned());
            (peer.name.to_owned(), version)
        };
        Self(peers.iter().map(known).collect())
    }
}

/// The machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.trim_end_matches("kB").trim().parse().unwrap_or(0.0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / 1024.0 / 102.4).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) cells: Vec<Cell>,
    /// Cells of loads only, for their bytes.
    pub(crate) bytes: Vec<Cell>,
}

impl Results {
    pub(super) fn new(versions: Versions, date: String) -> Self {
        Self { date, machine: Machine::this(), versions, cells: Vec::new(), bytes: Vec::new() }
    }

    pub(super) fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| error.to_string())
    }

    /// What went wrong with a peer.
    pub(super) fn faults_of(&self, peer: &str) -> Vec<String> {
        let cells = self.cells.iter().chain(&self.bytes).filter(|cell| cell.peer == peer);
        let faulty = cells.filter(|cell| cell.failed.is_some() || !cell.wrong.is_empty());
        faulty.map(Cell::faults).collect()
    }
}
