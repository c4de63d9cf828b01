//! The benches are in `throughput.rs`; run them with `cargo bench -p bwtree-benches`.
