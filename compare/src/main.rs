//! The program that measures speed: mimalloc for every peer, so that the allocator is the same.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bwtree_compare::run(None)
}
