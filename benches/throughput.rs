//! Throughput of the map and of a store with one thread and several.

use bwtree::{Db, Map, SyncPolicy};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};

const KEYS: u64 = 1_000_000;

/// Spreads numbers over all bits, one to one.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

/// Runs `count` operations shared out over `threads`, and says how long that took.
fn spread(threads: u64, count: u64, work: &(dyn Fn(u64) + Sync)) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..count).step_by(threads as usize).for_each(work));
        }
    });
    start.elapsed()
}

fn threads() -> Vec<u64> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut counts: Vec<u64> = [1, 2, 4, 8, 16].into_iter().filter(|&n| n <= cores).collect();
    counts.push(cores * 4);
    counts
}

fn map(criterion: &mut Criterion) {
    let map: Map<u64, u64> = Map::new();
    spread(2, KEYS, &|n| {
        map.insert(mix(n), n);
    });
    let mut group = criterion.benchmark_group("map");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for threads in threads() {
        group.bench_function(format!("get/{threads} threads"), |bencher| {
            bencher.iter_custom(|count| {
                spread(threads, count, &|n| {
                    assert!(map.get(&mix(mix(n) % KEYS)).is_some());
                })
            });
        });
        group.bench_function(format!("half updates/{threads} threads"), |bencher| {
            bencher.iter_custom(|count| {
                spread(threads, count, &|n| {
                    let key = mix(mix(n) % KEYS);
                    if n % 2 == 0 {
                        map.insert(key, n);
                    } else {
                        map.get(&key);
                    }
                })
            });
        });
        group.bench_function(format!("scan of 50/{threads} threads"), |bencher| {
            bencher.iter_custom(|count| {
                spread(threads, count, &|n| {
                    assert_eq!(map.range(mix(n) / 2..).take(50).count(), 50);
                })
            });
        });
    }
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let open = || {
        let db = Db::builder(folder.path()).sync_policy(SyncPolicy::EveryWrites(1000)).open()?;
        let tree = db.tree("bench")?;
        Ok::<_, bwtree::Error>((db, tree))
    };
    let Ok((_db, tree)) = open() else { return };
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for threads in threads() {
        group.bench_function(format!("put, a sync every 1000/{threads} threads"), |bencher| {
            bencher.iter_custom(|count| {
                spread(threads, count, &|n| {
                    let key = mix(mix(n) % 100_000).to_be_bytes();
                    assert!(tree.put(key, vec![n as u8; 100]).is_ok());
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, map, store);
criterion_main!(benches);
