//! The benches are in `paths.rs` and `throughput.rs`: `cargo bench -p bwtree-benches` runs both.
