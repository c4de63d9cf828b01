//! Threads that sync at the same time share syncs, and none of them waits for many.
//!
//! `BWTREE_SYNC_MILLIS=20000 cargo test --release -p bwtree-tests --test shared_syncs --
//! --nocapture` measures for 20 seconds each, and asserts what it has measured unless the machine
//! is busy.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SlowDisk};
use bwtree::{Db, SyncPolicy};
use bwtree_tests::{amount, mix};

/// Sixteen threads that each put and sync, on a disk whose syncs take two milliseconds; and beside
/// it what comes of sixteen that only wait for one another's sleeps of that length, which says how
/// busy the machine is.
#[test]
fn threads_share_syncs() {
    let control = latencies(&{
        let (state, changed) = (Mutex::new((0_u64, 0_u64, false)), Condvar::new());
        move |_, _| {
            let mut held = state.lock().unwrap();
            held.0 += 1;
            let mine = held.0;
            while held.1 < mine {
                if held.2 {
                    held = changed.wait(held).unwrap();
                    continue;
                }
                held.2 = true;
                let covered = held.0;
                drop(held);
                thread::sleep(Duration::from_millis(2));
                held = state.lock().unwrap();
                (held.1, held.2) = (covered, false);
                changed.notify_all();
            }
        }
    });
    println!("control: {control:?}");
    for policy in [SyncPolicy::Manual, SyncPolicy::Always] {
        let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
        let db = Db::builder("memory").sync_policy(policy).open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        disk.delay_syncs(Duration::from_millis(2));
        let [median, p99, p999, most] = latencies(&|thread, at| {
            tree.put([thread.to_be_bytes(), mix(at).to_be_bytes()].concat(), vec![1; 100]).unwrap();
            if policy == SyncPolicy::Manual {
                db.sync().unwrap();
            }
        });
        println!("{policy:?}: {median:?}, p99 {p99:?}, p99.9 {p999:?}, most {most:?}");
        let (puts, syncs) = (tree.len(), db.stats().syncs);
        println!("{puts} puts, {syncs} syncs of files");
        assert!(puts > 3 * syncs, "{puts} puts, {syncs} syncs: none are shared");
        if std::env::var("BWTREE_SYNC_MILLIS").is_ok() {
            let busy = control[1] > 2 * control[0];
            assert!(busy || p99 <= 4 * median, "p99 {p99:?}, median {median:?}");
        }
    }
}

/// How long a step of one of sixteen threads takes: the median, one in a hundred, one in a
/// thousand, and the longest.
fn latencies(step: &(impl Fn(u64, u64) + Sync)) -> [Duration; 4] {
    let (begun, time) = (Instant::now(), Duration::from_millis(amount("BWTREE_SYNC_MILLIS", 500)));
    let mut all: Vec<Duration> = thread::scope(|scope| {
        let run = |thread: u64| {
            move || {
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let begun = Instant::now();
                    step(thread, took.len() as u64);
                    took.push(begun.elapsed());
                }
                took
            }
        };
        let threads: Vec<_> = (0..16).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_unstable();
    [0.5, 0.99, 0.999, 1.0].map(|share| all[((all.len() - 1) as f64 * share) as usize])
}
