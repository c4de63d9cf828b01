//! The program `bwtree`: a demo of the store, replay of traces, loading, dumping, looking and
//! looking after. One verb a file; the calls into the library that all verbs share are in `store`.

mod args;
mod base64;
mod baseline;
mod bench;
mod checkpoint;
mod clean;
mod count;
mod del;
mod demo;
mod dump;
mod escape;
mod failure;
mod get;
mod lanes;
mod latency;
mod load;
mod numbers;
mod out;
mod process;
mod put;
mod random;
mod record;
mod replay;
mod sampler;
mod scan;
mod stat;
mod store;
mod table;
mod trace;
mod trees;
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    args::run(std::env::args_os())
}
