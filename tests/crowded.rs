//! Memory stays within its bound on a machine with more threads than it can run.
//!
//! A process of its own, for what is looked at is the memory of the whole process. Threads that
//! are taken off their processors while they are pinned keep the epoch; what others hand over
//! meanwhile takes memory of its own. That was in no count, and a budget of 64 MiB took 153.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::{Db, SyncPolicy};
use bwtree_tests::{Random, amount, resident, seed};

const BUDGET: u64 = 64 << 20;
/// What a process may have: README's bound.
const MOST: u64 = BUDGET + BUDGET / 10 + (16 << 20);
const KEYS: u64 = 1_000_000;
const WRITERS: u64 = 4;
/// Threads that only take the processors from others.
const OTHERS: u64 = 8;

#[test]
fn a_crowded_machine_takes_no_more_memory() {
    let mut random = Random::new(seed("a_crowded_machine_takes_no_more_memory"));
    let seconds = amount("BWTREE_CROWDED_SECONDS", 12);
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path()).memory_budget_bytes(BUDGET);
    let db = db.sync_policy(SyncPolicy::EveryMillis(50)).open().unwrap();
    let tree = db.tree("t").unwrap();
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let (tree, is_over, written) = (&tree, &is_over, &written);
        for _ in 0..WRITERS {
            let mut random = random.fork();
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    tree.put(random.below(KEYS).to_be_bytes(), [7; 200]).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..OTHERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    core::hint::spin_loop();
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(10));
            samples.push(resident());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let (most, written) = (samples.into_iter().max().unwrap_or(0), written.into_inner());
    println!("{written} writes: {} KiB resident at most", most >> 10);
    assert!(written > 3000, "{written} were written");
    assert!(most <= MOST, "{most} bytes, and {MOST} are allowed");
    db.close().unwrap();
}
