//! A store many times larger than its memory, written at random: what the log costs follows what is
//! written, and the disk what is live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SlowDisk};
use bwtree::{CleanEnd, CleanOptions, CleanProgress, CleaningSchedule, Db, Error, SyncPolicy};
use bwtree_tests::hooks::{HookedDisk, Moment};
use bwtree_tests::still;

const ENTRIES: u64 = 100_000;
const VALUE_BYTES: usize = 200;

/// Scattered, each once.
fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Each entry is written once as a record, about twice in images of pages that split, and moved
/// about once: cleaning takes the emptiest segments, few at a time, close to the bound. When it
/// went for all of them at once, a byte was written eleven times, and the disk was twice the bound.
#[test]
fn random_writes_far_above_the_memory_cost_little_and_keep_the_disk_within_its_bound() {
    let slack = 1 << 20;
    let schedule = CleaningSchedule::new().with_slack_bytes(slack);
    let builder = Db::builder("").cleaning(schedule).memory_budget_bytes(2 << 20);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let mut most = 0.0_f64;
    for number in 0..ENTRIES {
        tree.put(key(number), vec![number as u8; VALUE_BYTES]).unwrap();
        if number.is_multiple_of(1000) {
            let stats = db.stats();
            most =
                most.max(stats.disk_bytes as f64 / schedule.bound_bytes(stats.live_bytes) as f64);
        }
    }
    let stats = db.stats();
    let written = stats.bytes_written as f64 / stats.user_bytes_written as f64;
    println!(
        "{{\"written_per_byte\": {written:.2}, \"disk_per_bound\": {most:.2}, \"segments\": {}}}",
        stats.segments
    );
    assert!(stats.evictions > ENTRIES / 4, "it was not far above the memory: {stats:?}");
    assert!(stats.cleaning_bytes_written > 0, "nothing was cleaned: {stats:?}");
    assert!(written < 6.5, "{written} bytes written for each of the user's: {stats:?}");
    assert!(most < 1.5, "{most} times the bound of the disk: {stats:?}");
    drop(tree);
    db.verify().unwrap();
}

/// A checkpoint wrote each chunk of 512 locations whole in which one had changed: here thirty bytes
/// for each of the user's. Of 40 changed in nine chunks, a store of 80 GB has as many a chunk after
/// 35 MiB.
#[test]
fn checkpoints_cost_what_has_changed() {
    let builder = Db::builder("").cleaning(CleaningSchedule::disabled()).without_background();
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|n| tree.put(key(n), vec![0; VALUE_BYTES]).unwrap());
    db.checkpoint().unwrap();
    let (before, rounds, updates) = (db.stats(), 100_u64, 40_u64);
    let mut written = 0;
    for round in 0..rounds {
        for n in 0..updates {
            let number = (round * updates + n).wrapping_mul(0x9E37_79B9) % ENTRIES;
            tree.put(key(number), vec![round as u8 + 1; VALUE_BYTES]).unwrap();
        }
        db.sync().unwrap();
        let synced = db.stats().bytes_written;
        db.checkpoint().unwrap();
        // The two slots of the superblock cost the same in a store of any size.
        written += db.stats().bytes_written - synced - 8192;
    }
    let after = db.stats();
    let user = after.user_bytes_written - before.user_bytes_written;
    let written = written as f64 / user as f64;
    println!("{{\"checkpoints\": {rounds}, \"written_per_byte\": {written:.2}}}");
    // All of it twice, in two segments.
    assert!(written < 1.6, "{written} bytes written for each of the user's: {after:?}");
    // Nor do deltas pile up: what is live is no more than it was.
    let live = after.live_bytes as f64 / before.live_bytes as f64;
    assert!(live < 1.1, "{live} times what was live: {after:?}");
    drop(tree);
    db.verify().unwrap();
}

/// An opening has something of each frame behind the checkpoint in memory. Of commits of a few
/// bytes there were as many as had a quarter of the live data, or 8 MiB.
#[test]
fn a_checkpoint_is_taken_for_small_commits() {
    let builder = Db::builder("").memory_budget_bytes(1 << 20).sync_policy(SyncPolicy::Always);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    let before = db.stats();
    for number in 0..17_000 {
        tree.put(key(number % 10), "small").unwrap();
    }
    while db.stats().checkpoints == before.checkpoints {
        assert!(begun.elapsed() < Duration::from_secs(20), "no checkpoint: {:?}", db.stats());
        thread::sleep(Duration::from_millis(10));
    }
    let stats = db.stats();
    assert!(stats.commits - before.commits >= 16 << 10, "{stats:?}");
    assert!(stats.bytes_written < 8 << 20, "{stats:?}");
}

/// A checkpoint kept the right to append until it was whole, and each sync waited for that.
#[test]
fn others_commit_while_a_checkpoint_is_written() {
    let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
    let builder = Db::builder("").tiny().without_background();
    let db = builder.open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..30_000).for_each(|n| tree.put(key(n), vec![7; 8]).unwrap());
    disk.delay_syncs(Duration::from_millis(10));
    let (ended, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            // What has been written until here is in the commit that it begins with.
            db.checkpoint().unwrap();
            ended.store(true, Ordering::SeqCst);
        });
        for number in 0_u64.. {
            tree.put(key(number), number.to_be_bytes().to_vec()).unwrap();
            db.sync().unwrap();
            if ended.load(Ordering::SeqCst) {
                break;
            }
            commits.fetch_add(1, Ordering::SeqCst);
        }
    });
    disk.delay_syncs(Duration::ZERO);
    let commits = commits.into_inner();
    println!("{{\"commits\": {commits}}}");
    assert!(commits >= 3, "{commits} commits while a checkpoint was written");
    db.verify().unwrap();
}

/// Whose values lie in a segment its directories do not say.
#[test]
fn segments_with_separated_values_are_emptied() {
    let builder = Db::builder("memory").without_background();
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for number in 0..2000 {
        tree.put(key(number), vec![number as u8; 5000]).unwrap();
    }
    db.checkpoint().unwrap();
    for number in (0..2000_u64).filter(|number| !number.is_multiple_of(3)) {
        tree.remove(key(number)).unwrap();
    }
    // Twelve values fill a segment of the smallest size to 92 of 100, and links have room in each.
    let options = CleanOptions { target_ratio: 1.25, ..CleanOptions::default() };
    let report = db.clean(options).unwrap();
    assert_eq!(report.end, CleanEnd::Reached, "{report:?}");
    assert!(report.moved_bytes > 1 << 20, "{report:?}");
    for number in (0..2000).step_by(3) {
        assert_eq!(tree.get(key(number)).unwrap().as_deref(), Some(&[number as u8; 5000][..]));
    }
    drop(tree);
    db.verify().unwrap();
}

/// What is asked between two steps of a cleaning may use the store: it waited for itself for ever.
#[test]
fn a_cleaning_holds_nothing_while_it_asks() {
    let builder = Db::builder("").cleaning(CleaningSchedule::disabled());
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for round in 0..2 {
        for number in 0..20_000_u64 {
            tree.put(key(number), vec![round; 200]).unwrap();
        }
        db.sync().unwrap();
    }
    let mut asked = 0;
    let mut use_it = |_: &CleanProgress| {
        asked += 1;
        db.verify().unwrap();
        db.clean(CleanOptions { budget_bytes: Some(0), ..CleanOptions::default() }).unwrap();
        db.tree("new").unwrap().put(key(asked), "v").unwrap();
        db.drop_tree("new").unwrap();
        db.sync().unwrap();
        asked < 3
    };
    let options = CleanOptions { progress: Some(&mut use_it), ..CleanOptions::default() };
    let report = db.clean(options).unwrap();
    assert!(report.end == CleanEnd::Stopped || asked < 3, "{report:?}");
    assert!(asked > 0);
    let mut close = |_: &CleanProgress| {
        db.clone().close().unwrap();
        true
    };
    (0..20_000_u64).for_each(|number| tree.put(key(number), vec![2; 200]).unwrap());
    db.sync().unwrap();
    let options = CleanOptions { progress: Some(&mut close), ..CleanOptions::default() };
    assert!(matches!(db.clean(options), Err(Error::Closed)));
}

/// Who has said that a cleaning is to stop was asked once more.
#[test]
fn who_has_stopped_a_cleaning_is_not_asked_again() {
    let builder = Db::builder("").cleaning(CleaningSchedule::disabled());
    let db = builder.memory_budget_bytes(2 << 20).open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for round in 0..4 {
        for number in (0..100_000_u64).filter(|number| round == 0 || number % 4 == round - 1) {
            tree.put(key(number), vec![round as u8; 200]).unwrap();
        }
        db.sync().unwrap();
    }
    let mut stopped = 0;
    for most in 1..60 {
        let mut asked = 0;
        let mut stop = |_: &CleanProgress| {
            asked += 1;
            asked < most
        };
        let options = CleanOptions { progress: Some(&mut stop), ..CleanOptions::default() };
        let report = db.clean(options).unwrap();
        stopped += u32::from(report.end == CleanEnd::Stopped && report.moved_bytes > 0);
        assert!(asked <= most, "asked {asked} times, and stopped the {most}th time");
    }
    assert!(stopped > 0);
}

/// Leaves that had run empty were live until the background came by: a cleaning behind a removal
/// gained nothing, and said so.
#[test]
fn a_cleaning_merges_what_was_emptied() {
    let builder = Db::builder("").without_background().memory_budget_bytes(2 << 20);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let entries = 20_000_u64;
    (0..entries).for_each(|number| tree.put(key(number), vec![1; 900]).unwrap());
    db.sync().unwrap();
    tree.clear().unwrap();
    let report = db.clean(CleanOptions::default()).unwrap();
    let (stats, tree_stats) = (db.stats(), &db.stats().trees[0]);
    assert_eq!((tree_stats.pages, tree_stats.depth), (1, 1), "of no entry: {report:?}");
    assert!(stats.live_bytes < 100_000, "{} live of nothing: {report:?}", stats.live_bytes);
    drop(tree);
    db.verify().unwrap();
}

/// The last large value had a segment made to its size, which stayed open when the value was gone;
/// and the parts of the page went on to name the values that were removed, so that they were live.
#[test]
fn a_large_value_that_is_gone_leaves_no_large_segment() {
    let schedule = CleaningSchedule::new().with_slack_bytes(1 << 20);
    let db = Db::builder("").cleaning(schedule).open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for way in ["by itself", "on demand"] {
        for number in 0..3_u64 {
            tree.put(key(number), vec![1; 8 << 20]).unwrap();
            db.sync().unwrap();
        }
        (0..3_u64).for_each(|number| assert!(tree.delete(key(number)).unwrap()));
        db.sync().unwrap();
        if way == "on demand" {
            db.clean(CleanOptions::default()).unwrap();
        }
        let begun = Instant::now();
        let most = if way == "on demand" { Duration::ZERO } else { Duration::from_secs(5) };
        while db.stats().disk_bytes > 3 << 20 {
            assert!(begun.elapsed() <= most, "{way}: {:?}", db.stats());
            thread::sleep(Duration::from_millis(20));
        }
    }
    drop(tree);
    db.verify().unwrap();
}

/// The image of a page counted as needed, whole, however little its delta parts had put in place
/// of its entries: 115 MB on the disk for 1 MB of data, and nothing for cleaning to win.
#[test]
fn values_that_have_become_short_leave_nothing_behind() {
    const ENTRIES: u64 = 40_000;
    // A key, what it costs in a page, and in the pages above and the table. (On the old code 69 MB
    // were left.)
    const LEFT: u64 = ENTRIES * (16 + 24);
    const SLACK: u64 = 1 << 20;
    for reads in [false, true] {
        let schedule = CleaningSchedule::new().with_slack_bytes(SLACK);
        let builder = Db::builder("").memory_budget_bytes(4 << 20).cleaning(schedule);
        let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
        let tree = db.tree("t").unwrap();
        (0..ENTRIES).for_each(|number| tree.put(key(number), vec![7; 1000]).unwrap());
        for number in 0..ENTRIES {
            if reads {
                assert!(tree.insert(key(number), "").unwrap().is_some());
            } else {
                tree.put(key(number), "").unwrap();
            }
        }
        db.sync().unwrap();
        let begun = Instant::now();
        while db.stats().disk_bytes > LEFT * 3 / 2 + SLACK {
            assert!(begun.elapsed().as_secs() < 10, "reads: {reads}, {:?}", db.stats());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(tree.len(), ENTRIES);
        drop(tree);
        db.verify().unwrap();
    }
}

/// The delta parts of a page and the entries of its image that they had taken the place of were all
/// live: 2.5 times what the entries take stayed on the disk for good, and a cleaning left 1.9.
#[test]
fn values_that_were_replaced_are_in_the_log_once_when_there_is_time() {
    const ENTRIES: u64 = 40_000;
    const NEEDED: u64 = ENTRIES * (16 + VALUE_BYTES as u64);
    const SLACK: u64 = 1 << 20;
    let schedule = CleaningSchedule::new().with_slack_bytes(SLACK);
    let builder = || Db::builder("").memory_budget_bytes(2 << 20).cleaning(schedule);
    for reads in [false, true] {
        let disk = MemoryDisk::new();
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        (0..ENTRIES).for_each(|number| tree.put(key(number), vec![7; VALUE_BYTES]).unwrap());
        let value = |number: u64| vec![number as u8; VALUE_BYTES];
        // In an order that has nothing to do with that of the keys; some are left, some come twice.
        let replaced = |turn: u64| turn.wrapping_mul(turn) % ENTRIES;
        for number in (0..ENTRIES).map(replaced) {
            if reads {
                assert!(tree.insert(key(number), value(number)).unwrap().is_some());
            } else {
                tree.put(key(number), value(number)).unwrap();
            }
        }
        (0..ENTRIES).for_each(|number| tree.put(key(number), value(number)).unwrap());
        db.sync().unwrap();
        let begun = Instant::now();
        while db.stats().disk_bytes > NEEDED * 19 / 10 + SLACK {
            assert!(begun.elapsed().as_secs() < 10, "reads: {reads}, {:?}", db.stats());
            thread::sleep(Duration::from_millis(20));
        }
        let quiet = Duration::from_millis(600);
        still(&db, quiet, Duration::from_secs(20).saturating_sub(begun.elapsed()));
        let report = db.clean(CleanOptions::default()).unwrap();
        // Pages are not full, and an eighth of each may be superseded.
        assert!(report.disk_bytes < NEEDED * 17 / 10 + SLACK, "reads: {reads}, {report:?}");
        // The segments that are kept for a full disk are there too, each with its header.
        still(&db, quiet, Duration::from_secs(10));
        let before = db.stats().bytes_written;
        let again = db.clean(CleanOptions::default()).unwrap();
        let written = db.stats().bytes_written;
        assert_eq!((again.moved_bytes, written), (0, before), "{report:?}, then {again:?}");
        drop(tree);
        db.close().unwrap();
        let db = builder().open_on(Arc::new(disk)).unwrap();
        let tree = db.tree("t").unwrap();
        let wrong = (0..ENTRIES).find(|&n| tree.get(key(n)).unwrap().as_deref() != Some(&value(n)));
        assert_eq!((wrong, tree.len()), (None, ENTRIES));
        drop(tree);
        db.verify().unwrap();
    }
}

/// Whether a page has outgrown its bound was seen by who read it: a scan of a store that had been
/// closed wrote a third of it anew, and gets wrote more than all of it.
#[test]
fn reads_write_nothing_once_there_was_time() {
    const ENTRIES: u64 = 60_000;
    for random in [false, true] {
        let disk = MemoryDisk::new();
        let open = || {
            let builder = Db::builder("").memory_budget_bytes(2 << 20);
            builder.open_on(Arc::new(disk.clone())).unwrap()
        };
        let key = |n: u64| if random { key(n).to_vec() } else { n.to_be_bytes().to_vec() };
        let db = open();
        let tree = db.tree("t").unwrap();
        (0..ENTRIES).for_each(|n| tree.put(key(n), vec![n as u8; 120]).unwrap());
        assert!(!random || db.stats().blind_writes > ENTRIES / 4);
        drop(tree);
        // Those that wrote leave no time.
        db.close().unwrap();
        let db = open();
        let tree = db.tree("t").unwrap();
        // Ascending keys leave nothing to do.
        if random {
            still(&db, Duration::from_millis(1200), Duration::from_secs(20));
        }
        let before = db.stats();
        let (mut from, step) = (0, 7919);
        for _ in 0..ENTRIES {
            assert!(tree.get(key(from)).unwrap().is_some_and(|value| *value == [from as u8; 120]));
            from = (from + step) % ENTRIES;
        }
        assert_eq!(tree.iter().flatten().count() as u64, ENTRIES);
        db.sync().unwrap();
        let after = db.stats();
        let (split, written) =
            (after.splits - before.splits, after.bytes_written - before.bytes_written);
        println!(
            "random: {random}: {} pages, {split} split by reads, {written} bytes",
            after.pages
        );
        // Less than a 64th of all is not worth a pass over the pages.
        assert!(split * 20 <= after.pages, "random: {random}: {split} of {} split", after.pages);
        assert!(written * 10 <= after.live_bytes, "random: {random}: {written} bytes written");
        drop(tree);
        db.verify().unwrap();
    }
}

/// A value that was evicted or moved while it was being changed was taken for another one.
#[test]
fn an_update_runs_again_only_if_the_value_has_changed() {
    let db = Db::builder("").memory_budget_bytes(8 << 20);
    let db = db.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for bytes in [100, 2000, 100_000] {
        tree.put("k", vec![1; bytes]).unwrap();
        let mut calls = 0;
        let before = tree.fetch_and_update("k", |value| {
            calls += 1;
            assert!(calls < 10, "there is no end to it");
            db.sync().unwrap();
            db.evict_pages();
            db.clean(CleanOptions { target_ratio: 1.0, ..CleanOptions::default() }).unwrap();
            value.map(|value| vec![value[0] + 1; bytes])
        });
        assert_eq!((before.unwrap().unwrap()[0], calls), (1, 1), "{bytes}");
        let mut calls = 0;
        let before = tree.fetch_and_update("k", |value| {
            calls += 1;
            if calls == 1 {
                tree.put("k", vec![7; bytes]).unwrap();
            }
            value.map(|value| vec![value[0] + 1; bytes])
        });
        assert_eq!((before.unwrap().unwrap()[0], calls), (7, 2), "{bytes}");
        assert_eq!(tree.get("k").unwrap().as_deref(), Some(&vec![8; bytes][..]));
    }
}

/// A page is read to be written anew, and changed by a commit before it is.
#[test]
fn what_is_committed_while_pages_are_written_anew_stays() {
    const KEYS: u64 = 4000;
    let disk = MemoryDisk::new();
    let schedule = CleaningSchedule::new().with_slack_bytes(64 << 10);
    let builder = || Db::builder("").memory_budget_bytes(1 << 20).cleaning(schedule);
    let hooked = HookedDisk::new(Arc::new(disk.clone()));
    let db = builder().without_background().open_on(Arc::new(hooked.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    for keys in [0..KEYS, 0..KEYS / 2] {
        keys.for_each(|number| tree.put(key(number), vec![0; VALUE_BYTES]).unwrap());
        db.sync().unwrap();
    }
    let ends = AtomicBool::new(false);
    // Who cleans waits at each read for a commit, if there can be one.
    let (cleaner, commits) = (thread::current().id(), Arc::new(AtomicU64::new(0)));
    let seen = Arc::clone(&commits);
    hooked.set(move |moment| {
        if moment == Moment::Read && thread::current().id() == cleaner {
            let (before, begun) = (seen.load(Ordering::Relaxed), Instant::now());
            while seen.load(Ordering::Relaxed) == before && begun.elapsed().as_millis() < 3 {
                thread::yield_now();
            }
        }
    });
    let (last, moved) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = vec![0_u64; KEYS as usize];
            for turn in 1_u64.. {
                let number = turn.wrapping_mul(turn) % KEYS;
                let mut value = turn.to_be_bytes().to_vec();
                value.resize(VALUE_BYTES, 0);
                tree.put(key(number), value).unwrap();
                last[number as usize] = turn;
                if turn % 64 == 0 {
                    db.sync().unwrap();
                    // What is in memory would be written again.
                    db.evict_pages();
                    commits.fetch_add(1, Ordering::Relaxed);
                    if ends.load(Ordering::Relaxed) {
                        return last;
                    }
                }
            }
            last
        });
        let clean = || {
            let budget_bytes = Some(256 << 10);
            let options =
                CleanOptions { target_ratio: 1.0, budget_bytes, ..CleanOptions::default() };
            db.clean(options).unwrap().moved_bytes
        };
        let moved: u64 = (0..2).map(|_| clean()).sum();
        ends.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), moved)
    });
    assert!(moved > 0);
    drop(tree);
    hooked.clear();
    db.close().unwrap();
    let db = builder().open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    for number in 0..KEYS {
        let value = tree.get(key(number)).unwrap().unwrap();
        let turn = u64::from_be_bytes(*value.first_chunk().unwrap());
        assert_eq!(turn, last[number as usize], "key {number}");
    }
    drop(tree);
    db.verify().unwrap();
}

/// Values that lie apart from their pages were live for as long as an older part named them: of 57
/// MiB, of which 21 were left, all stayed, and a cleaning called its target reached.
#[test]
fn large_values_that_were_replaced_are_given_back() {
    const ENTRIES: u64 = 600;
    const LARGE: usize = 20_000;
    let schedule = CleaningSchedule::new().with_slack_bytes(1 << 20);
    let builder = Db::builder("").memory_budget_bytes(4 << 20).cleaning(schedule);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|number| tree.put(key(number), vec![1; LARGE]).unwrap());
    db.sync().unwrap();
    db.evict_pages();
    // A few of each page at a time.
    for turn in 0..6 {
        (0..ENTRIES).filter(|n| n % 10 == turn).for_each(|n| tree.put(key(n), "small").unwrap());
        db.sync().unwrap();
        db.evict_pages();
    }
    let left = ENTRIES * 4 / 10 * LARGE as u64;
    let begun = Instant::now();
    while db.stats().disk_bytes > left * 9 / 8 * 3 / 2 + (1 << 20) {
        assert!(begun.elapsed().as_secs() < 10, "{left} bytes are left: {:?}", db.stats());
        thread::sleep(Duration::from_millis(20));
    }
    db.clean(CleanOptions::default()).unwrap();
    let again = db.clean(CleanOptions::default()).unwrap();
    assert_eq!(again.moved_bytes, 0, "{again:?}");
    for number in 0..ENTRIES {
        let len = if number % 10 < 6 { 5 } else { LARGE };
        assert_eq!(tree.get(key(number)).unwrap().map(|value| value.len()), Some(len));
    }
    drop(tree);
    db.verify().unwrap();
}
