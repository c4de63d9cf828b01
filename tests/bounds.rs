//! A page is at most a stated size, however it came to be.
//!
//! Each of these was found on a store that no test had looked at in this way: on a slow disk, with
//! a page that is evicted after each write, with keys that begin alike for thousands of bytes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SlowDisk};
use bwtree::{Builder, Db, SyncPolicy};
use bwtree_tests::{Random, amount, seed};

const BUDGET: u64 = 64 << 20;

fn options() -> Builder {
    Db::builder("memory").memory_budget_bytes(BUDGET).sync_policy(SyncPolicy::EveryMillis(10))
}

fn rising(thread: u64, at: u64) -> [u8; 16] {
    key(thread, at)
}

fn scattered(thread: u64, at: u64) -> [u8; 16] {
    key(thread, at.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn key(thread: u64, at: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key[8..].copy_from_slice(&thread.to_be_bytes());
    key
}

/// More writes than in an ordinary run: `BWTREE_BOUNDS_TIMES` as many.
fn times() -> u64 {
    amount("BWTREE_BOUNDS_TIMES", 1)
}

/// Loads a store on a disk whose syncs take this long; all must be there, in pages within bounds.
fn load_slowly(delay: u64, threads: u64, each: u64, bytes: usize, key: fn(u64, u64) -> [u8; 16]) {
    let each = each * times();
    let memory = MemoryDisk::new();
    let disk = SlowDisk::new(Arc::new(memory.clone()));
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    disk.delay_syncs(Duration::from_millis(delay));
    thread::scope(|scope| {
        for thread in 0..threads {
            let tree = &tree;
            scope.spawn(move || {
                for at in 0..each {
                    tree.put(key(thread, at), vec![at as u8; bytes]).unwrap();
                }
            });
        }
    });
    disk.delay_syncs(Duration::ZERO);
    assert_eq!(tree.len(), threads * each);
    check(&db, &tree, threads, each, bytes, key);
    drop(tree);
    db.close().unwrap();
    let db = options().open_on(Arc::new(memory)).unwrap();
    let tree = db.tree("t").unwrap();
    check(&db, &tree, threads, each, bytes, key);
}

fn check(
    db: &Db,
    tree: &bwtree::Tree,
    threads: u64,
    each: u64,
    bytes: usize,
    key: fn(u64, u64) -> [u8; 16],
) {
    for thread in 0..threads {
        for at in (0..each).step_by(7) {
            let value = tree.get(key(thread, at)).unwrap();
            assert_eq!(value.as_deref(), Some(vec![at as u8; bytes].as_slice()), "{thread} {at}");
        }
    }
    db.verify().unwrap();
}

/// 60,000 rising keys of 600 bytes, or 400,000 of 156, on a disk whose syncs take 20 to 300 ms: the
/// records newer than the commit under way were carried from page to page and never made one split,
/// until a page of 512 KiB ended the writer.
#[test]
fn rising_keys_on_a_slow_disk() {
    load_slowly(20, 1, 40_000, 600, rising);
    load_slowly(300, 1, 40_000, 600, rising);
    load_slowly(300, 4, 10_000, 300, rising);
}

#[test]
fn scattered_keys_on_a_slow_disk() {
    load_slowly(300, 1, 30_000, 600, scattered);
    load_slowly(20, 4, 10_000, 300, scattered);
}

#[test]
fn a_sync_of_two_seconds_changes_nothing_but_the_sync() {
    load_slowly(2000, 1, 20_000, 600, rising);
    load_slowly(2000, 2, 10_000, 600, scattered);
}

/// All of the memory is dirty and each sync takes longer than a writer waits while nothing happens:
/// as long as files are synced it waits on. It was told that the memory stays above the budget,
/// after a minute in which the log had written as fast as the disk could.
#[test]
fn writers_wait_for_a_slow_disk_as_long_as_it_syncs() {
    const PATIENCE: Duration = Duration::from_millis(600);
    const ENTRIES: u64 = 4000;
    let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
    let builder = Db::builder("memory").memory_budget_bytes(2 << 20);
    let builder = builder.patience(PATIENCE);
    let db = builder.open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    disk.delay_syncs(PATIENCE / 3);
    let mut longest = Duration::ZERO;
    for at in 0..ENTRIES {
        let begun = Instant::now();
        tree.put(scattered(0, at), vec![at as u8; 600]).unwrap();
        longest = longest.max(begun.elapsed());
    }
    println!("longest wait: {longest:?}");
    assert!(longest > PATIENCE, "no writer waited longer than it may");
    disk.delay_syncs(Duration::ZERO);
    assert_eq!(tree.len(), ENTRIES);
    db.verify().unwrap();
}

/// Few keys are written again and again, a tenth of the budget in all, while a sync takes a second.
/// How much was written was taken for what is in memory: writers waited for a whole commit.
#[test]
fn who_writes_little_again_and_again_waits_for_no_commit() {
    const SYNC: Duration = Duration::from_secs(1);
    let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
    let db = Db::builder("memory").memory_budget_bytes(BUDGET / 4);
    let db = db.sync_policy(SyncPolicy::EveryMillis(10)).open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    disk.delay_syncs(SYNC);
    let until = Instant::now() + 5 * SYNC;
    let longest = thread::scope(|scope| {
        let writers = (0..2_u64).map(|thread| {
            let tree = &tree;
            scope.spawn(move || {
                let (mut longest, mut random) = (Duration::ZERO, Random::new(thread));
                while Instant::now() < until {
                    let value = vec![7; 500 + random.index(500)];
                    let begun = Instant::now();
                    tree.put(scattered(0, random.below(2000)), value).unwrap();
                    longest = longest.max(begun.elapsed());
                }
                longest
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap()
    });
    println!("longest put: {longest:?}");
    assert!(longest < SYNC / 2, "{longest:?} beside syncs of {SYNC:?}");
    disk.delay_syncs(Duration::ZERO);
    db.verify().unwrap();
}

/// A write, a sync, an eviction, again and again: a page that came back from the log was as large
/// as what it had got, and nothing ever cut it. At the 513th entry of 1,000 bytes it could not be
/// read any more, acknowledged data and all.
#[test]
fn a_page_that_is_evicted_after_each_write_is_cut() {
    let memory = MemoryDisk::new();
    let open = || options().without_background().open_on(Arc::new(memory.clone())).unwrap();
    let value = |at: u64| vec![at as u8; 1000];
    let db = open();
    let tree = db.tree("t").unwrap();
    let entries = 2000 * times();
    for at in 0..entries {
        tree.put(at.to_be_bytes(), value(at)).unwrap();
        db.sync().unwrap();
        db.evict_pages();
    }
    for at in 0..entries {
        assert_eq!(tree.get(at.to_be_bytes()).unwrap().as_deref(), Some(value(at).as_slice()));
    }
    db.verify().unwrap();
    drop(tree);
    db.close().unwrap();
    let db = open();
    assert_eq!(db.tree("t").unwrap().iter().count() as u64, entries);
    db.verify().unwrap();
}

/// Keys that begin alike for thousands of bytes: an inner page of 8 KiB had room for two of them,
/// levels grew until there was one "that no tree has", and the store could not be read.
#[test]
fn keys_with_long_prefixes_make_no_tower() {
    for prefix in [0, 500, 1500, 2722, 3000, 4000, 4088] {
        for rising in [true, false] {
            let memory = MemoryDisk::new();
            let open = || options().open_on(Arc::new(memory.clone())).unwrap();
            let key = |at: u64| {
                let at = if rising { at } else { at.wrapping_mul(0x9E37_79B9_7F4A_7C15) };
                let mut key = vec![b'k'; prefix];
                key.extend_from_slice(&at.to_be_bytes());
                key
            };
            let db = open();
            let tree = db.tree("t").unwrap();
            for at in 0..1000 {
                tree.put(key(at), at.to_be_bytes().to_vec()).unwrap();
            }
            db.sync().unwrap();
            let report = db.verify().unwrap();
            assert!(report.depth <= 4, "{} levels with a prefix of {prefix}", report.depth);
            drop(tree);
            db.close().unwrap();
            let db = open();
            let tree = db.tree("t").unwrap();
            for at in 0..1000 {
                assert_eq!(tree.get(key(at)).unwrap().as_deref(), Some(&at.to_be_bytes()[..]));
            }
            db.verify().unwrap();
        }
    }
}

/// Keys of every length, in groups that begin alike for a length of their own: separators between
/// two of a group are long, and no two groups share a prefix that a page could cut off.
#[test]
fn keys_of_all_lengths_make_no_tower() {
    let mut random = Random::new(seed("bounds"));
    let memory = MemoryDisk::new();
    let db = options().open_on(Arc::new(memory)).unwrap();
    let tree = db.tree("t").unwrap();
    let mut keys = std::collections::BTreeMap::new();
    for group in 0..400_u64 {
        let mut prefix = group.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec();
        let len = random.below(4080) as usize;
        prefix.resize(8 + len, b'p');
        for at in 0..8_u64 {
            let mut key = prefix.clone();
            key.extend_from_slice(&at.to_be_bytes());
            let key = key[..key.len().min(4096)].to_vec();
            tree.put(&key, at.to_be_bytes().to_vec()).unwrap();
            keys.insert(key, at);
        }
    }
    for (key, at) in &keys {
        assert_eq!(tree.get(key).unwrap().as_deref(), Some(&at.to_be_bytes()[..]));
    }
    let report = db.verify().unwrap();
    assert!(report.depth <= 5, "{} levels", report.depth);
    for key in keys.keys() {
        tree.delete(key).unwrap();
    }
    db.verify().unwrap();
}

/// A window of 2,000 entries that moves on: what is removed at its beginning filled no page's area,
/// so no page was merged, and a store of 12,000 entries had 61,000 pages.
#[test]
fn a_window_that_moves_leaves_no_pages_behind() {
    const WINDOW: u64 = 2000;
    let db = Db::builder("memory")
        .memory_budget_bytes(4 << 20)
        .open_on(Arc::new(MemoryDisk::new()))
        .unwrap();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    for at in 0..60_000_u64 {
        tree.put(at.to_be_bytes(), vec![at as u8; 900]).unwrap();
        if let Some(old) = at.checked_sub(WINDOW) {
            assert!(tree.delete(old.to_be_bytes()).unwrap());
        }
    }
    println!("{} window steps/s", 60_000.0 / begun.elapsed().as_secs_f64());
    assert_eq!(tree.len(), WINDOW);
    let needed = WINDOW * 900 / 8192;
    // What the writers and the background leave to be done takes a moment at most.
    let patience = Instant::now() + Duration::from_secs(5);
    while db.stats().pages > 2 * needed && Instant::now() < patience {
        thread::sleep(Duration::from_millis(50));
    }
    let pages = db.stats().pages;
    assert!(pages <= 2 * needed, "{pages} pages where {needed} are needed");
    db.verify().unwrap();
}

/// The same in files, with too little memory for all pages. A leaf whose last removal falls into a
/// commit is folded by no writer, for the commit needs it; the walk that merges what has run empty
/// began a merge, had to wait for a page to be read, and passed the half-done one by, and all that
/// lay below the same inner page. Pages rose without end, to 9,000 after so many steps.
#[test]
fn a_window_that_moves_through_commits_leaves_few_pages_behind() {
    const WINDOW: u64 = 10_000;
    let needed = WINDOW * 900 / 8192;
    for at_once in [1, WINDOW / 10] {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::builder(folder.path()).memory_budget_bytes(16 << 20).open().unwrap();
        let tree = db.tree("t").unwrap();
        let mut pages = Vec::new();
        for at in 0..200_000_u64 {
            tree.put(at.to_be_bytes(), vec![at as u8; 900]).unwrap();
            if at >= WINDOW && (at + 1).is_multiple_of(at_once) {
                let first = (at + 1 - WINDOW).to_be_bytes();
                assert_eq!(tree.remove_range(..first.as_slice()).unwrap(), at_once);
            }
            if at.is_multiple_of(2000) && at > 100_000 {
                pages.push(db.stats().pages);
            }
        }
        pages.sort_unstable();
        let (median, most) = (pages[pages.len() / 2], pages[pages.len() - 1]);
        println!("{at_once} at once: {median} pages, most {most}, of {needed} that are needed");
        assert!(median <= 2 * needed && most <= 4 * needed, "{median}, most {most}");
        drop(tree);
        db.close().unwrap();
    }
}

/// Entries removed, in pages that were evicted since and that no writer comes to again.
#[test]
fn evicted_pages_that_ran_empty_are_merged() {
    for keep in [0, 10] {
        let db = Db::builder("memory")
            .memory_budget_bytes(4 << 20)
            .open_on(Arc::new(MemoryDisk::new()))
            .unwrap();
        let tree = db.tree("t").unwrap();
        for at in 0..40_000_u64 {
            tree.put(at.to_be_bytes(), vec![at as u8; 500]).unwrap();
        }
        for at in 0..40_000_u64 {
            if keep == 0 || at % keep != 0 {
                assert!(tree.delete(at.to_be_bytes()).unwrap());
            }
        }
        let live = tree.len() * 520;
        let needed = live / 8192 + 8;
        let patience = Instant::now() + Duration::from_secs(10);
        while db.stats().pages > 4 * needed && Instant::now() < patience {
            thread::sleep(Duration::from_millis(50));
        }
        let stats = db.stats();
        assert!(stats.pages <= 4 * needed, "{} pages for {live} live bytes", stats.pages);
        db.verify().unwrap();
    }
}

/// A store with pages that are larger than pages may be, as earlier versions left them, opens, says
/// all that it holds, takes writes, and has ordinary pages afterwards.
#[test]
fn oversized_pages_are_read_and_healed() {
    const ENTRIES: u64 = 2000;
    let memory = MemoryDisk::new();
    let value = |at: u64| vec![at as u8; 900];
    let db = options().leaf_bytes(450 << 10).open_on(Arc::new(memory.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    for at in 0..ENTRIES {
        tree.put(at.to_be_bytes(), value(at)).unwrap();
    }
    drop(tree);
    db.close().unwrap();

    let db = options().read_only(true).open_on(Arc::new(memory.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    let large = db.verify().unwrap().largest_page;
    assert!(large > 200 << 10, "pages of {large} bytes are not too large");
    assert_eq!(tree.iter().count() as u64, ENTRIES);
    drop(tree);
    db.close().unwrap();

    let db = options().open_on(Arc::new(memory.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    for at in (0..ENTRIES).step_by(3) {
        tree.put(at.to_be_bytes(), value(at + 1)).unwrap();
    }
    for at in 0..ENTRIES {
        let expected = value(if at % 3 == 0 { at + 1 } else { at });
        assert_eq!(tree.get(at.to_be_bytes()).unwrap().as_deref(), Some(expected.as_slice()));
    }
    db.verify().unwrap();
    drop(tree);
    db.close().unwrap();

    let db = options().open_on(Arc::new(memory)).unwrap();
    assert_eq!(db.tree("t").unwrap().iter().count() as u64, ENTRIES);
    let large = db.verify().unwrap().largest_page;
    assert!(large < 20 << 10, "there is still a page of {large} bytes");
}
