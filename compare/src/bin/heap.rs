//! The program that measures bytes: the same peers, over an allocator that counts.
//!
//! Counting costs an atomic addition to one shared word per allocation, which would distort the
//! speed of whoever allocates; hence a program of its own.

use cap::Cap;
use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

fn main() -> ExitCode {
    bwtree_compare::run(Some(|| ALLOCATOR.allocated()))
}
