//! A store with four times as many bytes as its memory budget answers everything rightly and
//! stays within the budget.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::MemoryDisk;
use bwtree::{Builder, Bytes, Db, SyncPolicy, Tree};
use bwtree_tests::{Random, seed};

const BUDGET: u64 = 4 << 20;
/// Entries of each thread; with the separated values, all have about four times the budget.
const ENTRIES: u64 = 45_000;
const THREADS: u64 = 2;
/// One in so many values is apart from its page.
const LARGE: u64 = 60;
const LARGE_BYTES: usize = 5 << 10;

fn value(key: u64, stamp: u32) -> Vec<u8> {
    let len = if key.is_multiple_of(LARGE) { LARGE_BYTES } else { 100 };
    let mut value = vec![stamp as u8; len];
    value[..8].copy_from_slice(&key.to_be_bytes());
    value[8..12].copy_from_slice(&stamp.to_be_bytes());
    value
}

/// The key of an entry; those of the threads lie side by side in the pages.
fn key(thread: u64, number: u64) -> u64 {
    number * THREADS + thread
}

fn options(builder: Builder) -> Builder {
    builder.memory_budget_bytes(BUDGET).sync_policy(SyncPolicy::EveryMillis(20))
}

/// One thread's entries: what each should be, 0 for none.
fn work(tree: &Tree, thread: u64, stamps: &mut [u32], mut random: Random, operations: u64) {
    let expected = |number: u64, stamp: u32| (stamp > 0).then(|| value(key(thread, number), stamp));
    for operation in 0..operations {
        let number = random.below(ENTRIES);
        let stamp = &mut stamps[number as usize];
        let at = key(thread, number).to_be_bytes();
        match random.below(20) {
            0..9 => {
                let got = tree.get(at).unwrap();
                assert!(got.as_deref() == expected(number, *stamp).as_deref(), "get {number}");
            }
            9..17 => {
                let new = operation as u32 + 1_000_000;
                let put = value(key(thread, number), new);
                if random.once_in(2) {
                    tree.put(at, put).unwrap();
                } else {
                    let old = tree.insert(at, put).unwrap();
                    assert!(old.as_deref() == expected(number, *stamp).as_deref(), "insert");
                }
                *stamp = new;
            }
            17 => {
                let old = tree.remove(at).unwrap();
                assert!(old.as_deref() == expected(number, *stamp).as_deref(), "remove {number}");
                *stamp = 0;
            }
            _ => {
                let end = (number + 60).min(ENTRIES);
                let range = tree.range(at..key(thread, end).to_be_bytes());
                let mut entries: Vec<_> = if random.once_in(2) {
                    range.map(|entry| entry.unwrap()).collect()
                } else {
                    let mut all: Vec<_> = range.rev().map(|entry| entry.unwrap()).collect();
                    all.reverse();
                    all
                };
                assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
                entries.retain(|(key, _)| key[7] as u64 % THREADS == thread);
                let right = (number..end).filter_map(|number| {
                    expected(number, stamps[number as usize])
                        .map(|value| (key(thread, number).to_be_bytes(), value))
                });
                assert!(entries.iter().map(|(k, v)| (&k[..], &v[..])).eq(
                    right.collect::<Vec<_>>().iter().map(|(k, v)| (k.as_slice(), v.as_slice()))
                ));
            }
        }
    }
}

#[test]
fn a_store_larger_than_its_budget() {
    let mut random = Random::new(seed("a_store_larger_than_its_budget"));
    let disk = MemoryDisk::new();
    let db = options(Db::builder("unused")).open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    let (done, most, samples) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut stamps = vec![vec![1_u32; ENTRIES as usize]; THREADS as usize];
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let memory = db.stats().memory;
                assert_eq!(memory.budget, BUDGET);
                most.fetch_max(memory.total, Ordering::Relaxed);
                samples.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .zip(&mut stamps)
            .map(|(thread, stamps)| {
                let (random, tree) = (random.fork(), &tree);
                scope.spawn(move || {
                    for number in 0..ENTRIES {
                        let at = key(thread, number);
                        tree.put(at.to_be_bytes(), value(at, 1)).unwrap();
                    }
                    work(tree, thread, stamps, random, 60_000);
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap();
        for result in results {
            result.unwrap();
        }
    });
    let stats = db.stats();
    let (most, samples) = (most.into_inner(), samples.into_inner());
    println!("most memory {most} of {BUDGET} in {samples} samples; {stats:?}");
    assert!(stats.live_bytes > 3 * BUDGET, "too little data: {}", stats.live_bytes);
    assert!(stats.evictions > 0 && stats.page_ins > 0);
    assert!(samples > 50);
    assert!(most <= BUDGET + BUDGET / 10, "{most} bytes of memory, the budget is {BUDGET}");

    db.close().unwrap();
    drop(tree);
    let db = options(Db::builder("unused")).open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    let there = stamps.iter().flatten().filter(|&&stamp| stamp > 0).count() as u64;
    assert_eq!(tree.len(), there);
    let mut seen = 0;
    for entry in &tree {
        let (at, found) = entry.unwrap();
        let at = u64::from_be_bytes(at.as_ref().try_into().unwrap());
        let stamp = stamps[(at % THREADS) as usize][(at / THREADS) as usize];
        assert!(stamp > 0 && value(at, stamp) == found, "after reopening: {at}");
        seen += 1;
    }
    assert_eq!(seen, there);
    db.verify().unwrap();
    assert!(db.stats().memory.total <= BUDGET + BUDGET / 10, "{:?}", db.stats().memory);
}

#[test]
fn pages_that_go_quiet_are_folded_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::builder(folder.path()).sync_policy(SyncPolicy::Manual).open().unwrap();
    let (quiet, other) = (db.tree("quiet").unwrap(), db.tree("other").unwrap());
    for n in 0..5 {
        quiet.put([n], "written once, and then left alone").unwrap();
    }
    // Each sync moves the clock on. These are too few to fill the area of their own page.
    for n in 0..10_u64 {
        other.put("counter", n.to_be_bytes().to_vec()).unwrap();
        db.sync().unwrap();
    }
    let started = Instant::now();
    while db.stats().consolidations == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing was folded");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((quiet.len(), other.len()), (5, 1));
    assert_eq!(quiet.iter().count(), 5);
    db.verify().unwrap();
}

/// A value of 2,000 bytes that was cut out of a buffer of a MiB kept all of it in memory, and the
/// budget knew of the 2,000.
#[test]
fn a_value_holds_nothing_of_the_larger_buffer_that_it_was_cut_out_of() {
    struct Buffer(Vec<u8>, #[expect(dead_code, reason = "is counted")] Arc<()>);
    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let db = options(Db::builder("")).open_on(Arc::new(MemoryDisk::new())).unwrap();
    let (tree, held) = (db.tree("t").unwrap(), Arc::new(()));
    let buffer = Bytes::from_owner(Buffer(vec![1; 1 << 20], Arc::clone(&held)));
    for (n, len) in [1, 1024, 1025, 2000, 32 << 10].into_iter().enumerate() {
        tree.put([n as u8], buffer.slice(..len)).unwrap();
    }
    drop(buffer);
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(tree.get([3]).unwrap().unwrap().len(), 2000);
}
