//! bwtree beside other maps and stores, round-robin in one run, answers checked.
//!
//! `cargo run --release -p bwtree-compare -- index` and `-- store`. Figures of different runs mean
//! little, ratios within one run mean more. Two programs are built from this: one is fast, the
//! other one counts bytes; what they measure is the same.

mod index;
mod keys;
mod peers;
mod plot;
mod random;
mod report;
mod store;
mod values;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "bwtree-compare", about = "bwtree beside other maps and stores, in one run")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ordered maps in memory: load, read, update, scan, churn; latencies; bytes.
    Index(index::Options),
    /// Durable stores: small values overwritten for long, restart, full scan.
    Store(store::Options),
    /// A picture of what `index --json` has written.
    Plot(plot::Options),
    /// One peer, one round: what `index` runs in a process of its own.
    #[command(hide = true)]
    Cell(index::CellOptions),
}

/// Counts the heap bytes that are alive now.
pub type CountBytes = fn() -> usize;

/// Runs what the command line says; `count` is there in the program that counts bytes.
pub fn run(count: Option<CountBytes>) -> ExitCode {
    let done = match Args::parse().what {
        What::Index(options) => index::run(&options),
        What::Store(options) => store::run(&options),
        What::Plot(options) => plot::run(&options),
        What::Cell(options) => index::run_cell(&options, count),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            let _ignored = report::complain(&what);
            ExitCode::FAILURE
        }
    }
}
