//! Writers wait for no memory that only they can give back, and for no more syncs than they need.
//!
//! Apart from `budget`, which samples the memory of a store that two threads keep busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SimDisk, SlowDisk};
use bwtree::{CleanOptions, Db, Map, SyncPolicy};

/// A value was counted before its writer was let in: the writer waited for memory that it held
/// itself, and all others with it, for two minutes.
#[test]
fn values_as_large_as_the_budget_pass() {
    const LONGEST: Duration = Duration::from_secs(20);
    for (budget, bytes, threads, rounds) in
        [(1 << 20, 1100 << 10, 1, 3), (1 << 20, 20 << 20, 1, 2), (8 << 20, 3 << 20, 3, 8)]
    {
        let builder = Db::builder("memory").memory_budget_bytes(budget);
        let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
        let tree = db.tree("t").unwrap();
        let done = AtomicU64::new(0);
        let timed = |what: &str, put: &dyn Fn() -> bwtree::Result<()>| {
            let begun = Instant::now();
            put().unwrap();
            let took = begun.elapsed();
            assert!(took < LONGEST, "{what} took {took:?}: {bytes} bytes, {budget} of memory");
        };
        thread::scope(|scope| {
            for thread in 0..threads {
                let (tree, done) = (&tree, &done);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let value = vec![thread as u8 + round as u8; bytes];
                        timed("a large put", &|| tree.put([thread as u8], value.clone()));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            while done.load(Ordering::Relaxed) < threads {
                timed("a small put", &|| tree.put("small", "value"));
                timed("a removal", &|| tree.delete("small").map(drop));
                thread::sleep(Duration::from_millis(1));
            }
        });
        for thread in 0..threads {
            let value = tree.get([thread as u8]).unwrap().unwrap();
            let last = thread as u8 + rounds as u8 - 1;
            assert!(value.len() == bytes && value.iter().all(|&b| b == last));
        }
        db.sync().unwrap();
        let memory = db.stats().memory;
        assert!(memory.values <= budget, "{memory:?}");
    }
}

/// What an iterator had seen of a value was the value, and stayed in memory after the eviction of
/// its page: a writer beside an iterator that was parked waited for that.
#[test]
fn a_parked_iterator_keeps_no_value_in_memory() {
    let builder = Db::builder("memory").memory_budget_bytes(1 << 20);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let value = |key: u8| vec![key; 2 << 20];
    tree.put("a", "first").unwrap();
    tree.put("b", value(b'b')).unwrap();
    let mut parked = tree.iter();
    assert_eq!(parked.next().unwrap().unwrap().0, "a");
    let begun = Instant::now();
    tree.put("c", "small").unwrap();
    tree.put("d", value(b'd')).unwrap();
    tree.put("e", "small").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(parked.next().unwrap().unwrap().1 == value(b'b'));
    drop(parked);
    assert!(db.stats().memory.values <= 2 << 20, "{:?}", db.stats().memory);
}

/// A sync for each entry: 2,000 took four seconds.
#[test]
fn many_removals_are_durable_by_one_sync() {
    let disk = SimDisk::new();
    let open = |disk: SimDisk| {
        let builder = Db::builder("memory").sync_policy(SyncPolicy::Always).without_background();
        builder.open_on(Arc::new(disk)).unwrap()
    };
    let db = open(disk.clone());
    let tree = db.tree("t").unwrap();
    let removals: [&dyn Fn() -> bwtree::Result<()>; 3] = [
        &|| tree.remove_range(..[0, 100].as_slice()).map(drop),
        &|| tree.retain(|key, _| key >= [0, 200].as_slice()),
        &|| tree.clear(),
    ];
    for number in 0..300_u16 {
        tree.put(number.to_be_bytes(), "value").unwrap();
    }
    for (remove, left) in removals.into_iter().zip([200, 100, 0]) {
        let before = db.stats().commits;
        remove().unwrap();
        let commits = db.stats().commits - before;
        assert!(commits <= 2, "{commits} commits");
        assert_eq!(tree.len(), left);
        // Nothing that was not synced.
        let after = open(disk.crash(&mut |_| 0));
        assert_eq!(after.tree("t").unwrap().len(), left);
    }
}

/// Inner pages and the table, which stay in memory, take more than the whole budget: nothing can be
/// evicted, and nothing is dirty. Writes, removals among them, waited for 60 s and failed.
#[test]
fn what_stays_in_memory_may_be_more_than_the_budget() {
    const KEYS: u64 = 20_000;
    let builder = Db::builder("memory").memory_budget_bytes(1 << 20);
    let builder = builder.sync_policy(SyncPolicy::EveryMillis(20));
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    // Two keys beside one another have 2,000 bytes in common, so an inner page has few children.
    let key = |n: u64| {
        let (group, n) = (n % 100, n * 7919 % KEYS);
        [[group as u8; 2000].as_slice(), &n.to_be_bytes()].concat()
    };
    let mut longest = Duration::ZERO;
    let mut timed = |write: &dyn Fn()| {
        let begun = Instant::now();
        write();
        longest = longest.max(begun.elapsed());
    };
    (0..KEYS).for_each(|n| timed(&|| tree.put(key(n), vec![7; 300]).unwrap()));
    let memory = db.stats().memory;
    assert_eq!(tree.len(), KEYS);
    (0..KEYS).for_each(|n| timed(&|| tree.discard(key(n)).unwrap()));
    assert_eq!(tree.len(), 0);
    println!("longest write {longest:?}; {memory:?}");
    assert!(longest < Duration::from_secs(20), "{longest:?}");
}

/// Merges behind a commit read their leaves, by turns, in little memory: each one evicted what
/// another had brought in, in the thread whose next commit would have freed memory. Writers waited
/// for up to 26 seconds, or were told that the budget does not suffice.
#[test]
fn merges_behind_a_commit_keep_no_writer_waiting() {
    const KEYS: u64 = 5000;
    const LONGEST: Duration = Duration::from_secs(1);
    let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
    let builder = Db::builder("memory").memory_budget_bytes(1 << 20);
    let db = builder.open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    let key = |n: u64| {
        let mut key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
        key.resize(1000, b's');
        key
    };
    let mut longest = Duration::ZERO;
    let mut timed = |step: &dyn Fn() -> bwtree::Result<()>| {
        let begun = Instant::now();
        step().unwrap();
        longest = longest.max(begun.elapsed());
    };
    disk.delay_reads(Duration::from_millis(1));
    for _ in 0..2 {
        for n in 0..KEYS {
            timed(&|| tree.put(key(n), n.to_be_bytes().to_vec()));
        }
        for n in 0..KEYS {
            timed(&|| tree.discard(key(n * 1009 % KEYS)));
        }
    }
    println!("{{\"longest_ms\": {}}}", longest.as_millis());
    assert!(longest < LONGEST, "a writer waited for {longest:?}");
    drop(tree);
    db.close().unwrap();
}

/// A session of a map is a pin for as long as its thread likes. Stores shared their epoch with
/// maps: a check, a cleaning or a close that gave a dropped tree back waited for a session, in the
/// very thread that had it, and what was replaced in the pages stayed in memory.
#[test]
fn a_parked_session_of_a_map_keeps_no_store_waiting() {
    const KEYS: u64 = 10_000;
    const LONGEST: Duration = Duration::from_secs(20);
    let map = Map::<u64, u64>::new();
    let _parked = map.session();
    let disk = MemoryDisk::new();
    let builder = Db::builder("memory").memory_budget_bytes(4 << 20);
    let db = builder.sync_policy(SyncPolicy::EveryMillis(20));
    let db = db.open_on(Arc::new(disk)).unwrap();
    let begun = Instant::now();
    for name in ["dropped", "emptied"] {
        let tree = db.tree(name).unwrap();
        for round in 0..4_u8 {
            for key in 0..KEYS {
                tree.put(key.to_be_bytes(), vec![round; 300]).unwrap();
            }
        }
    }
    let memory = db.stats().memory;
    assert!(memory.total <= memory.budget * 11 / 10, "{memory:?}");
    assert!(db.drop_tree("dropped").unwrap());
    db.clean(CleanOptions::default()).unwrap();
    db.tree("emptied").unwrap().clear().unwrap();
    assert_eq!(db.verify().unwrap().dropped_pages, 0);
    assert!(db.drop_tree("emptied").unwrap());
    db.close().unwrap();
    let took = begun.elapsed();
    assert!(took < LONGEST, "{took:?}");
}
