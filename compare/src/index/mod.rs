//! Ordered maps in memory, all peers in turn in each round, one process for each measurement.
//!
//! A process of its own gives each peer a fresh heap, tells what memory it took, and leaves the
//! others alone if it crashes or never comes back.

mod cell;
mod phases;
mod prepare;
mod process;
mod results;
mod summary;
mod threads;

pub(crate) use cell::{measure, run as run_cell};
pub(crate) use results::{Cell, Latency, Results};
pub(crate) use summary::middle;

use crate::keys::KeySet;
use crate::peers::{PEERS, Peer};
use crate::{plot, report};
use phases::Phase;
use results::Versions;
use std::path::PathBuf;

/// What `index` measures.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Peers; all if none is named.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Keys that are loaded.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000])]
    sizes: Vec<usize>,
    /// Threads.
    #[arg(long, value_delimiter = ',', default_values_t = [2])]
    threads: Vec<usize>,
    /// Phases; the load always is one.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Phase::ALL)]
    phases: Vec<Phase>,
    /// Sets of keys.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [KeySet::Random])]
    keys: Vec<KeySet>,
    /// Bytes of a value: 8 or 100.
    #[arg(long, value_delimiter = ',', default_values_t = [8], value_parser = value_bytes)]
    values: Vec<usize>,
    /// Rounds; each figure is the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each phase but the load.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// The peer that ratios are taken to.
    #[arg(long, default_value = "bwtree")]
    base: String,
    /// Writes all samples there.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws them there; see `plot`.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// What the samples say about when they were taken.
    #[arg(long, default_value = "")]
    date: String,
    /// No pass for latencies and none for bytes.
    #[arg(long)]
    throughput_only: bool,
    /// Everything, but small and short: to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
}

fn value_bytes(text: &str) -> Result<usize, String> {
    match text {
        "8" => Ok(8),
        "100" => Ok(100),
        _ => Err("values have 8 or 100 bytes".to_owned()),
    }
}

/// What one process measures.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CellOptions {
    /// The peer.
    #[arg(long)]
    pub(crate) peer: String,
    /// The set of keys.
    #[arg(long, value_enum)]
    pub(crate) keys: KeySet,
    /// Bytes of a value.
    #[arg(long)]
    pub(crate) value: usize,
    /// Keys that are loaded.
    #[arg(long)]
    pub(crate) size: usize,
    /// Threads.
    #[arg(long)]
    pub(crate) threads: usize,
    /// The round, which seeds what is random.
    #[arg(long)]
    pub(crate) round: usize,
    /// Seconds of each phase but the load.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Phases.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) phases: Vec<Phase>,
}

/// Cells that are compared with each other.
#[derive(Debug, Clone, Copy)]
struct Group {
    keys: KeySet,
    value: usize,
    size: usize,
    threads: usize,
}

impl Options {
    /// What `quick` means.
    fn settled(&self) -> Self {
        let mut settled = self.clone();
        if self.quick {
            settled.sizes = vec![10_000];
            settled.keys = vec![KeySet::Random, KeySet::Rising, KeySet::Strings];
            settled.values = vec![8, 100];
            (settled.rounds, settled.seconds) = (1, 0.03);
        }
        if self.throughput_only {
            settled.phases.retain(|phase| *phase != Phase::Latency);
        }
        settled.phases.push(Phase::Load);
        settled.phases.sort_unstable();
        settled.phases.dedup();
        settled
    }

    fn peers(&self) -> Result<Vec<&'static Peer>, String> {
        let all = PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
        for name in &self.peers {
            if PEERS.iter().all(|peer| peer.name != name) {
                return Err(format!("no peer {name}; there are {all}"));
            }
        }
        let named =
            |peer: &&Peer| self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name);
        Ok(PEERS.iter().filter(named).collect())
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for &keys in &self.keys {
            for &value in &self.values {
                for &size in &self.sizes {
                    for &threads in &self.threads {
                        groups.push(Group { keys, value, size, threads });
                    }
                }
            }
        }
        groups
    }

    fn cell(&self, peer: &Peer, group: Group, round: usize) -> CellOptions {
        let Group { keys, value, size, threads } = group;
        let (seconds, phases) = (self.seconds, self.phases.clone());
        let peer = peer.name.to_owned();
        CellOptions { peer, keys, value, size, threads, round, seconds, phases }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let options = &options.settled();
    if options.sizes.iter().chain(&options.threads).any(|&count| count == 0) {
        return Err("sizes and threads begin at 1".to_owned());
    }
    let peers = options.peers()?;
    let mut results = Results::new(Versions::of(&peers), options.date.clone());
    for group in options.groups() {
        for round in 0..options.rounds {
            for peer in &peers {
                results.cells.push(one(peer, &options.cell(peer, group, round)));
            }
            save(options, &results)?;
        }
        if !options.throughput_only {
            for peer in &peers {
                let cell = options.cell(peer, group, 0);
                let bytes = CellOptions { phases: vec![Phase::Load], ..cell };
                results.bytes.push(bytes_of(peer, &bytes));
            }
            save(options, &results)?;
        }
        summary::print(&results, group, &peers, &options.base)
            .map_err(|error| error.to_string())?;
    }
    if let Some(path) = &options.plot {
        report::write(path, &plot::draw(&results, &plot::Choice::default())?)?;
    }
    let faults = results.faults_of("bwtree");
    if faults.is_empty() { Ok(()) } else { Err(format!("bwtree: {}", faults.join("; "))) }
}

fn one(peer: &Peer, cell: &CellOptions) -> Cell {
    match peer.refuses(cell.keys, cell.value) {
        Some(why) => Cell::refused(cell, why),
        None => process::run(cell, process::Program::Fast),
    }
}

fn bytes_of(peer: &Peer, cell: &CellOptions) -> Cell {
    match peer.refuses(cell.keys, cell.value) {
        Some(why) => Cell::refused(cell, why),
        None => process::run(cell, process::Program::Counting),
    }
}

fn save(options: &Options, results: &Results) -> Result<(), String> {
    let Some(path) = &options.json else { return Ok(()) };
    report::write(path, &results.to_json()?)
}
