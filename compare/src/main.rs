//! bwtree beside other maps and stores, round-robin in one run, answers checked.
//!
//! `cargo run --release -p bwtree-compare -- index` and `-- store`. Figures of different runs mean
//! little, ratios within one run mean more; each figure is the median of the rounds.

mod index;
mod random;
mod report;
mod store;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(about = "bwtree beside other maps and stores, in one run")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ordered maps in memory: load, read, update, scan.
    Index(index::Options),
    /// Durable stores: small values overwritten for long, restart, full scan.
    Store(store::Options),
}

fn main() -> ExitCode {
    let done = match Args::parse().what {
        What::Index(options) => index::run(&options),
        What::Store(options) => store::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            let _ignored = report::complain(&what);
            ExitCode::FAILURE
        }
    }
}
