//! Ranges are removed by whole pages: what that costs, and that the entries are gone, once, in
//! memory and in the log.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SimDisk};
use bwtree::{CleaningSchedule, Db, SyncPolicy, Tree};
use bwtree_tests::{Random, seed};

const MIB: u64 = 1 << 20;

fn quiet(disk: &SimDisk) -> Db {
    let builder = Db::builder("unused").without_background().sync_policy(SyncPolicy::Manual);
    builder.open_on(Arc::new(disk.clone())).unwrap()
}

fn key(n: u32) -> [u8; 8] {
    (u64::from(n) << 8).to_be_bytes()
}

/// Small values, and each 50th one that is too long for a page.
fn value(n: u32) -> Vec<u8> {
    vec![n as u8; if n.is_multiple_of(50) { 3000 } else { 100 }]
}

fn fill(tree: &Tree, entries: u32) {
    (0..entries).for_each(|n| tree.put(key(n), value(n)).unwrap());
}

/// The keys of these numbers, and no others.
fn expect(tree: &Tree, numbers: impl Iterator<Item = u32>) {
    let entries = tree.iter().map(|entry| entry.unwrap());
    let wanted: Vec<u32> = numbers.collect();
    assert_eq!(tree.len(), wanted.len() as u64);
    let found: Vec<(Vec<u8>, Vec<u8>)> = entries.map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
    let wanted: Vec<_> = wanted.into_iter().map(|n| (key(n).to_vec(), value(n))).collect();
    assert!(found == wanted, "{} entries instead of {}", found.len(), wanted.len());
}

/// Each page of the range was read, and each entry got a record.
#[test]
fn pages_inside_the_range_are_not_read() {
    const ENTRIES: u32 = 20_000;
    let (first, last) = (1003, 18_997);
    for evicted in [true, false] {
        let disk = SimDisk::new();
        let db = quiet(&disk);
        let tree = db.tree("t").unwrap();
        fill(&tree, ENTRIES);
        db.sync().unwrap();
        if evicted {
            while db.evict_pages() > 0 {}
        }
        let before = db.stats();
        let removed = tree.remove_range(key(first)..key(last)).unwrap();
        let after = db.stats();
        assert_eq!(removed, u64::from(last - first));
        let read = after.page_ins - before.page_ins;
        println!("{read} of {} pages read", before.pages);
        assert!(read <= 2, "{read} pages of {} were read", before.pages);
        assert!(before.pages > 200);
        // Nothing of it is durable yet.
        let crashed = quiet(&disk.kill());
        expect(&crashed.tree("t").unwrap(), 0..ENTRIES);
        let left = || (0..first).chain(last..ENTRIES);
        expect(&tree, left());
        db.verify().unwrap();
        db.sync().unwrap();
        db.verify().unwrap();
        let live = db.stats().live_bytes;
        assert!(live < before.live_bytes / 4, "{live} live bytes of {}", before.live_bytes);
        let crashed = quiet(&disk.kill());
        expect(&crashed.tree("t").unwrap(), left());
        crashed.verify().unwrap();
        // The keys can be written again, and the pages read, evicted and merged.
        (first..last).rev().step_by(7).for_each(|n| tree.put(key(n), value(n)).unwrap());
        db.sync().unwrap();
        db.evict_pages();
        let again =
            || (0..ENTRIES).filter(|n| !(first..last).contains(n) || (last - 1 - n) % 7 == 0);
        expect(&tree, again());
        assert_eq!(tree.remove_range(..).unwrap(), again().count() as u64);
        assert_eq!(tree.remove_range(..).unwrap(), 0);
        db.sync().unwrap();
        drop(tree);
        db.close().unwrap();
        let db = quiet(&disk);
        expect(&db.tree("t").unwrap(), 0..0);
        db.verify().unwrap();
    }
}

/// Pages that were not in memory since the store was opened, and pages that were written to without
/// being read, have to be read once, and then are emptied as others.
#[test]
fn pages_that_have_to_be_read_are_read_once() {
    const ENTRIES: u32 = 10_000;
    let disk = SimDisk::new();
    let db = quiet(&disk);
    fill(&db.tree("t").unwrap(), ENTRIES);
    db.close().unwrap();
    let db = quiet(&disk);
    let tree = db.tree("t").unwrap();
    assert_eq!(tree.remove_range(key(50)..key(5000)).unwrap(), 4950);
    let read = db.stats().page_ins;
    assert!(read < db.stats().pages, "{read} pages read of {}", db.stats().pages);
    expect(&tree, (0..50).chain(5000..ENTRIES));
    db.sync().unwrap();
    // Now all of them were, and can be written to without being read.
    while db.evict_pages() > 0 {}
    let before = db.stats();
    let put = (5000..ENTRIES).step_by(10);
    put.clone().for_each(|n| tree.put(key(n), value(n)).unwrap());
    tree.discard(key(6001)).unwrap();
    let blind = db.stats().blind_writes - before.blind_writes;
    assert!(blind > 100, "{blind} blind writes");
    let all = (0..50).len() + (5000..ENTRIES).len() - 1;
    assert_eq!(tree.remove_range(..).unwrap(), all as u64);
    expect(&tree, 0..0);
    db.sync().unwrap();
    db.verify().unwrap();
    expect(&quiet(&disk.kill()).tree("t").unwrap(), 0..0);
}

/// Nine tenths of a store many times as large as its memory, beside its background threads: in a
/// small part of the time that their keys take, and the disk comes within its bound.
#[test]
fn most_of_a_store_larger_than_memory_goes_fast() {
    const ENTRIES: u32 = 120_000;
    let schedule = CleaningSchedule::new().with_slack_bytes(MIB);
    let builder = Db::builder("").memory_budget_bytes(MIB).cleaning(schedule);
    let builder = builder.sync_policy(SyncPolicy::EveryMillis(20));
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let (pages, keys) = (db.tree("pages").unwrap(), db.tree("keys").unwrap());
    for tree in [&pages, &keys] {
        (0..ENTRIES).for_each(|n| tree.put(key(n), vec![n as u8; 100]).unwrap());
    }
    db.sync().unwrap();
    let range = key(ENTRIES / 20)..key(ENTRIES - ENTRIES / 20);
    let all = u64::from(ENTRIES) * 9 / 10;
    let timed = |remove: &dyn Fn() -> u64| {
        let begun = Instant::now();
        assert_eq!(remove(), all);
        begun.elapsed()
    };
    let by_pages = timed(&|| pages.remove_range(range.clone()).unwrap());
    let by_keys = timed(&|| {
        let within = keys.range(range.clone()).map(|entry| entry.unwrap().0);
        within.filter(|key| keys.delete(key).unwrap()).count() as u64
    });
    println!("{all} entries: {by_pages:?} by pages, {by_keys:?} by keys");
    assert!(by_pages < by_keys / 4, "{by_pages:?} by pages, {by_keys:?} by keys");
    for tree in [&pages, &keys] {
        assert_eq!(tree.len(), u64::from(ENTRIES) / 10);
        assert_eq!(tree.iter().count() as u64, u64::from(ENTRIES) / 10);
    }
    let begun = Instant::now();
    loop {
        let stats = db.stats();
        let few = stats.pages * 8 * 1024 < 6 * stats.live_bytes;
        if few && stats.disk_bytes <= schedule.bound_bytes(stats.live_bytes) {
            println!("within the bound after {:?}: {} pages", begun.elapsed(), stats.pages);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "not within its bound: {stats:?}");
        thread::sleep(Duration::from_millis(50));
    }
    db.verify().unwrap();
}

/// Ranges that end anywhere: a page that reaches beyond the end keeps what is beyond it.
#[test]
fn nothing_outside_of_the_range_is_removed() {
    const KEYS: u32 = 700;
    let disk = SimDisk::new();
    let builder = Db::builder("unused").tiny().without_background();
    let db = builder.sync_policy(SyncPolicy::Manual).open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    let mut random = Random::new(seed("outside"));
    for _ in 0..60 {
        (0..KEYS).for_each(|n| tree.put(key(n), vec![7; 30]).unwrap());
        let first = random.below(KEYS.into()) as u32;
        let last = first + random.below((KEYS - first).into()) as u32;
        assert_eq!(tree.remove_range(key(first)..key(last)).unwrap(), u64::from(last - first));
        let left = tree.keys().map(|key| key.unwrap());
        assert!(left.eq((0..first).chain(last..KEYS).map(|n| key(n).to_vec())));
        if random.once_in(2) {
            db.sync().unwrap();
            db.evict_pages();
        }
    }
    db.verify().unwrap();
}

/// Writers, readers of the length, syncs and evictions beside removals of the same range.
#[test]
fn removals_beside_writes_lose_and_count_nothing_wrong() {
    const KEYS: u64 = 4000;
    let disk = SimDisk::new();
    let builder = Db::builder("unused").tiny().memory_budget_bytes(MIB);
    let db = builder.sync_policy(SyncPolicy::EveryMillis(2)).open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    let (done, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    let seed = seed("ranges");
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|thread| {
                let tree = &tree;
                scope.spawn(move || {
                    let mut random = Random::new(seed + thread);
                    let mut last = BTreeMap::new();
                    for turn in 0..15_000_u32 {
                        let key = (random.below(KEYS / 2) * 2 + thread).to_be_bytes();
                        let value = vec![turn as u8; 60];
                        tree.put(key, value.clone()).unwrap();
                        last.insert(key, value);
                    }
                    last
                })
            })
            .collect();
        let (tree, db, done, removed) = (&tree, &db, &done, &removed);
        let remover = scope.spawn(move || {
            let mut random = Random::new(seed + 7);
            while !done.load(Ordering::Relaxed) {
                let first = random.below(KEYS);
                let range = first.to_be_bytes()..(first + KEYS / 4).to_be_bytes();
                removed.fetch_add(tree.remove_range(range).unwrap(), Ordering::Relaxed);
                db.evict_pages();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let last: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        remover.join().unwrap();
        // What is there is the last that was put.
        for (key, value) in tree.iter().map(|entry| entry.unwrap()) {
            let thread = usize::from(key[7] % 2);
            assert_eq!(last[thread].get(&key[..]), Some(&value.to_vec()));
        }
    });
    assert_eq!(tree.iter().count() as u64, tree.len());
    db.verify().unwrap();
    let left = tree.len();
    assert_eq!(tree.remove_range(..).unwrap(), left);
    assert!(tree.is_empty());
    println!("{} entries removed beside the writes", removed.load(Ordering::Relaxed));
    assert!(removed.load(Ordering::Relaxed) > 1000);
    db.sync().unwrap();
    db.verify().unwrap();
}
