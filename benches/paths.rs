//! The hot paths of the map, one at a time, in one thread.

use bwtree::Map;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const KEYS: u64 = 1_000_000;
/// Entries of a scan.
const SCAN: usize = 50;

/// Spreads numbers over all bits, one to one.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

/// A text of 15 to 38 bytes; many begin alike.
fn text(n: u64) -> String {
    format!("user-{}/order-{}", mix(n) % 1000, mix(n))
}

/// Walks over all numbers in an order that looks random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0) % KEYS
    }
}

fn paths<K: bwtree::Key>(criterion: &mut Criterion, name: &str, key: fn(u64) -> K) {
    let map: Map<K, u64> = (0..KEYS).map(|n| (key(n), n)).collect();
    let mut numbers = Numbers(0);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(2));
    group.bench_function("get", |bencher| {
        let next = || key(numbers.next());
        bencher.iter_batched(next, |key| map.get(black_box(&key)), BatchSize::SmallInput);
    });
    group.bench_function("get of nothing", |bencher| {
        let next = || key(KEYS + numbers.next());
        bencher.iter_batched(next, |key| map.get(black_box(&key)), BatchSize::SmallInput);
    });
    group.bench_function("update", |bencher| {
        let next = || {
            let n = numbers.next();
            (key(n), n)
        };
        bencher.iter_batched(next, |(key, n)| map.insert(key, n), BatchSize::SmallInput);
    });
    group.throughput(Throughput::Elements(SCAN as u64));
    group.bench_function("scan of 50", |bencher| {
        let next = || key(numbers.next());
        let scan = |key| map.range::<K, _>(key..).take(SCAN).fold(0, |sum, (_, n)| sum ^ n);
        bencher.iter_batched(next, scan, BatchSize::SmallInput);
    });
    group.throughput(Throughput::Elements(1));
    // Each removed entry goes back somewhere else, so that the map keeps its size.
    group.bench_function("pop_first and an insert", |bencher| {
        bencher.iter(|| {
            let popped = map.pop_first();
            let back = popped.map(|(_, n)| (key(n.wrapping_add(KEYS)), n.wrapping_add(KEYS)));
            back.map(|(key, n)| map.insert(key, n))
        });
    });
    // These two last, because they change the size of the map.
    let mut new = 2 * KEYS;
    group.bench_function("insert", |bencher| {
        let next = || {
            new += 1;
            (key(new), new)
        };
        bencher.iter_batched(next, |(key, n)| map.insert(key, n), BatchSize::SmallInput);
    });
    let mut old = 2 * KEYS;
    group.bench_function("remove", |bencher| {
        let next = || {
            old += 1;
            let key = key(old);
            map.insert(key.clone(), old);
            key
        };
        bencher.iter_batched(next, |key| map.remove(&key), BatchSize::SmallInput);
    });
    group.finish();
}

fn numbers(criterion: &mut Criterion) {
    paths::<u64>(criterion, "u64", mix);
}

fn texts(criterion: &mut Criterion) {
    paths::<String>(criterion, "String", text);
}

criterion_group!(benches, numbers, texts);
criterion_main!(benches);
