//! A store that is left alone comes within its bound on disk by its own duties, and then writes
//! nothing more.
//!
//! Each story was a store that did not: the duties waited for cuts that an idle store never makes,
//! or moved values for ever whose segments came out as badly filled as before.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says what it has measured")]

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SimDisk};
use bwtree::{CleanEnd, CleanOptions, CleaningSchedule, Db, Error, SyncPolicy};
use bwtree_tests::alone::{all_alone, case};
use bwtree_tests::{processor_nanos, still};

const MIB: u64 = 1 << 20;

/// Bytes of the files of a directory, as the system tells them.
fn bytes_on_disk(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).unwrap();
    // A file may go between its listing and the look at it.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

/// Waits until the store has not written for two seconds; returns what it wrote until then.
fn rest(db: &Db, patience: Duration) -> u64 {
    let started = Instant::now();
    let written = still(db, Duration::from_secs(2), patience);
    println!("at rest after {:?}: {written} bytes written", started.elapsed());
    written
}

/// Keys that come in no order.
fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(2_654_435_761).to_be_bytes()
}

/// Everything goes but a tenth, in one of the ways there are; then nothing more is asked of the
/// store. The space was kept for as long as one liked to wait.
#[test]
fn what_was_removed_is_given_back() {
    for (policy, ways) in [
        (SyncPolicy::EveryMillis(20), ["delete", "drop_tree"]),
        (SyncPolicy::Manual, ["remove_range", "clear"]),
    ] {
        for way in ways {
            let folder = tempfile::tempdir().unwrap();
            let db = Db::builder(folder.path()).sync_policy(policy).open().unwrap();
            let (kept, gone) = (db.tree("kept").unwrap(), db.tree("gone").unwrap());
            for n in 0..40_000_u32 {
                let tree = if n % 10 == 0 { &kept } else { &gone };
                tree.put(key(n), vec![n as u8; 500]).unwrap();
            }
            db.sync().unwrap();
            let full = bytes_on_disk(folder.path());
            match way {
                "delete" => (0..40_000_u32)
                    .for_each(|n| assert!(gone.delete(key(n)).unwrap() == (n % 10 != 0))),
                "remove_range" => assert_eq!(gone.remove_range(..).unwrap(), 36_000),
                "clear" => gone.clear().unwrap(),
                _ => assert!(db.drop_tree("gone").unwrap()),
            }
            db.sync().unwrap();
            rest(&db, Duration::from_secs(12));
            let stats = db.stats();
            let disk = bytes_on_disk(folder.path());
            println!("{policy:?} {way}: {full} -> {disk}, live {}", stats.live_bytes);
            // What is kept has 2 MB.
            assert!(stats.live_bytes < 6 * MIB, "{way}: {} live bytes", stats.live_bytes);
            assert!(disk <= 3 * stats.live_bytes / 2 + 8 * MIB, "{way}: {disk}, {stats:?}");
            assert_eq!(kept.len(), 4000);
            db.verify().unwrap();
        }
    }
}

/// Values of 4.3 MB: each filled half of a segment, and the rest of it counted as garbage that the
/// cleaner tried to win by moving the value into the same half of another segment. It wrote
/// 1.7 GiB in ten seconds.
#[test]
fn large_values_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Db::builder(folder.path()).sync_policy(SyncPolicy::EveryMillis(20));
    let db = builder.cleaning(CleaningSchedule::new().with_slack_bytes(MIB)).open().unwrap();
    let tree = db.tree("t").unwrap();
    for n in 0..24_u8 {
        tree.put([n], vec![n; 4_300_000]).unwrap();
        db.sync().unwrap();
    }
    let written = rest(&db, Duration::from_secs(20));
    let stats = db.stats();
    let disk = bytes_on_disk(folder.path());
    println!("{disk} bytes on disk, {} live, {} checkpoints", stats.live_bytes, stats.checkpoints);
    assert!(written <= stats.live_bytes, "{written} bytes written at rest");
    assert!(disk <= 3 * stats.live_bytes / 2 + MIB, "{disk} bytes on disk: {stats:?}");
    assert!(stats.checkpoints < 20, "{} checkpoints", stats.checkpoints);
    (0..24_u8).for_each(|n| assert!(tree.get([n]).unwrap().unwrap() == vec![n; 4_300_000]));
}

/// Checkpoints were taken when the cleaner came by: with an interval of an hour, in an hour.
#[test]
fn checkpoints_do_not_wait_for_cleaning() {
    let folder = tempfile::tempdir().unwrap();
    let schedule = CleaningSchedule::new().with_interval(Duration::from_secs(3600)).unwrap();
    let db = Db::builder(folder.path()).cleaning(schedule).open().unwrap();
    let tree = db.tree("t").unwrap();
    let before = db.stats().checkpoints;
    for n in 0..24_u32 {
        tree.put([n as u8 % 4], vec![1; MIB as usize]).unwrap();
        db.sync().unwrap();
    }
    let started = Instant::now();
    while db.stats().checkpoints == before {
        assert!(started.elapsed() < Duration::from_secs(10), "no checkpoint: {:?}", db.stats());
        sleep(Duration::from_millis(20));
    }
}

/// Cleaning on demand took any ratio, made a fresh store larger, and did so again each time.
#[test]
fn cleaning_on_demand_ends_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Db::builder(folder.path()).sync_policy(SyncPolicy::Manual);
    let db = builder.cleaning(CleaningSchedule::disabled()).open().unwrap();
    let to = |target_ratio| CleanOptions { target_ratio, ..CleanOptions::default() };
    for ratio in [f64::NAN, f64::INFINITY, 0.5, -1.0, 0.0] {
        let refused = db.clean(to(ratio)).unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { .. }), "{ratio}: {refused}");
    }
    let tree = db.tree("t").unwrap();
    let put = |round: u32| {
        for n in 0..8000_u32 {
            if round == 0 || n % 3 != 0 {
                tree.put(n.to_be_bytes(), vec![(n + round) as u8; 400]).unwrap();
            }
        }
        db.sync().unwrap();
    };
    put(0);
    for round in 0..3 {
        let before = db.stats().disk_bytes;
        let first = db.clean(to(1.05)).unwrap();
        println!("round {round}: {before} -> {first:?}");
        // The reserve for a full disk may be filled meanwhile: five segments of 64 KiB.
        let reserve = 5 * (64 << 10);
        assert!(first.disk_bytes <= before + reserve, "it became larger: {before} -> {first:?}");
        assert!(first.disk_bytes + first.freed_bytes >= before);
        let tolerance = if first.end == CleanEnd::Reached { MIB } else { 2 * MIB };
        assert!(first.disk_bytes <= first.live_bytes * 21 / 20 + tolerance + reserve, "{first:?}");
        // Nothing of the background's, which keeps quiet pages folded.
        rest(&db, Duration::from_secs(12));
        db.sync().unwrap();
        let written = db.stats().bytes_written;
        let again = db.clean(to(1.05)).unwrap();
        assert_eq!(again.moved_bytes, 0, "{again:?}");
        assert_eq!(db.stats().bytes_written, written, "written for nothing: {again:?}");
        put(round + 1);
    }
    let again = db.clean(CleanOptions { budget_bytes: Some(0), ..to(1.0) }).unwrap();
    assert_eq!(again.moved_bytes, 0, "{again:?}");
    db.verify().unwrap();
}

/// What an idle store folded took effect page by page, each with a commit of its own, and each of
/// these made it look busy, so that it went on slowly: it wrote for ten seconds.
#[test]
fn many_pages_settle_in_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::builder(folder.path()).leaf_bytes(300).open().unwrap();
    let (kept, gone) = (db.tree("kept").unwrap(), db.tree("gone").unwrap());
    let tree = |n: u32| if n.is_multiple_of(5) { &kept } else { &gone };
    for n in 0..200_000_u32 {
        let n = (u64::from(n) * 77_773 % 200_000) as u32;
        tree(n).put(n.to_be_bytes(), vec![n as u8; 60]).unwrap();
    }
    for n in 0..200_000_u32 {
        tree(n).put(n.to_be_bytes(), vec![n as u8; 60]).unwrap();
    }
    db.sync().unwrap();
    println!("{} pages", db.stats().pages);
    let before = db.stats().syncs;
    let begun = Instant::now();
    assert!(db.drop_tree("gone").unwrap());
    rest(&db, Duration::from_secs(30));
    println!("at rest after {:?}, {} syncs", begun.elapsed(), db.stats().syncs - before);
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    db.verify().unwrap();
}

/// To be asked how one is read a page of each tree, and evicted one of the user's for it: 20,000
/// pages each time.
#[test]
fn who_looks_at_the_statistics_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::builder(folder.path()).memory_budget_bytes(1 << 20).open().unwrap();
    for n in 0..3000 {
        db.tree(&format!("tree {n}")).unwrap().put("k", "v").unwrap();
    }
    db.sync().unwrap();
    db.evict_pages();
    let before = db.stats();
    let after = db.stats();
    assert!(before.resident_pages < 1000 && after.trees.iter().all(|tree| tree.depth == 1));
    // The catalog may be away.
    let read = after.page_ins - before.page_ins;
    assert!(read < 300, "{read} pages were read");
    assert!(after.page_ins < 600, "{} pages were read", after.page_ins);
}

/// Few large values among many small ones: that two of a hundred were removed was taken for a
/// fiftieth of their bytes, and was a hundred times what was left. They stayed for good, and a
/// cleaning said that nothing was to be gained.
#[test]
fn large_values_among_small_ones_are_given_back() {
    type Way = (&'static str, fn(&Db, &bwtree::Tree, [u8; 4]));
    let ways: [Way; 4] = [
        ("delete", |_, tree, key| assert!(tree.delete(key).unwrap())),
        ("replaced by a short one", |_, tree, key| tree.put(key, "short").unwrap()),
        ("a range", |_, tree, key| assert_eq!(tree.remove_range(key..=key).unwrap(), 1)),
        // What the page has is not known then.
        ("discard, evicted", |db, tree, key| {
            db.sync().unwrap();
            db.evict_pages();
            tree.discard(key).unwrap();
        }),
    ];
    for (way, remove) in ways {
        let disk = SimDisk::new();
        let builder = || Db::builder("").memory_budget_bytes(8 << 20);
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        let check = |db: &Db| {
            db.verify().unwrap();
            let tree = db.tree("t").unwrap();
            for n in (0..400_u32).filter(|n| n % 100 != 50) {
                let value = tree.get(n.to_be_bytes()).unwrap();
                assert_eq!(value.as_deref(), Some(&[n as u8; 2000][..]));
            }
            // Those too that are there still.
            tree.values().for_each(|value| drop(value.unwrap()));
        };
        for n in 0..400_u32 {
            let bytes = if n % 100 == 50 { 4 * MIB as usize } else { 2000 };
            tree.put(n.to_be_bytes(), vec![n as u8; bytes]).unwrap();
        }
        db.sync().unwrap();
        for n in [50, 150, 250, 350_u32] {
            remove(&db, &tree, n.to_be_bytes());
        }
        let begun = Instant::now();
        let mut stats = db.stats();
        while stats.live_bytes > MIB || stats.disk_bytes > 6 * MIB {
            assert!(begun.elapsed() < Duration::from_secs(8), "{way}: {stats:?}");
            // What has to go may be named by parts that are there still.
            let killed = MemoryDisk::with_files(disk.files());
            check(&builder().open_on(Arc::new(killed)).unwrap());
            sleep(Duration::from_millis(20));
            stats = db.stats();
        }
        println!("{way}: {} of live, {:?}", stats.live_bytes, begun.elapsed());
        check(&db);
        let killed = builder().open_on(Arc::new(MemoryDisk::with_files(disk.files()))).unwrap();
        check(&killed);
        let live = killed.stats().live_bytes;
        assert!(live <= 2 * MIB, "{way}: {live} bytes are live after a kill");
    }
}

/// The same with values that lie in their pages: entries that are removed may be far longer than
/// those that stay, and what they took was shared out evenly. And who writes without reading does
/// not know how long they were.
#[test]
fn long_entries_among_short_ones_are_given_back() {
    type Way = (&'static str, fn(&bwtree::Tree, [u8; 4]));
    let ways: [Way; 4] = [
        ("delete", |tree, key| assert!(tree.delete(key).unwrap())),
        ("discard, evicted", |tree, key| tree.discard(key).unwrap()),
        ("discard, evicted, then written", |tree, key| tree.discard(key).unwrap()),
        ("put, evicted", |tree, key| tree.put(key, "short").unwrap()),
    ];
    for (way, remove) in ways {
        let folder = tempfile::tempdir().unwrap();
        let builder = || Db::builder(folder.path()).memory_budget_bytes(32 << 20);
        let db = builder().open().unwrap();
        let tree = db.tree("t").unwrap();
        let is_long = |n: u32| n.is_multiple_of(25);
        for n in 0..400_000_u32 {
            tree.put(n.to_be_bytes(), vec![n as u8; if is_long(n) { 1000 } else { 10 }]).unwrap();
        }
        db.sync().unwrap();
        let loaded = db.stats().live_bytes;
        if way.contains("evicted") {
            db.evict_pages();
        }
        for n in (0..400_000_u32).filter(|n| is_long(*n)) {
            remove(&tree, n.to_be_bytes());
        }
        let blind = db.stats().blind_writes;
        assert!(!way.contains("evicted") || blind > 10_000, "{way}: {blind} without reading");
        if way.contains("written") {
            db.sync().unwrap();
            for n in (1..400_000_u32).step_by(100) {
                let old = tree.insert(n.to_be_bytes(), vec![n as u8; 10]).unwrap();
                assert_eq!(old.map(|old| old.len()), Some(10));
            }
        }
        rest(&db, Duration::from_secs(20));
        let (live, disk) = (db.stats().live_bytes, bytes_on_disk(folder.path()));
        println!("{way}: {loaded} bytes were live, {live} are; {disk} on disk");
        // 384,000 entries of 14 bytes: 7.4 MB in pages, of which an eighth more may be left.
        assert!(disk < 3 * (9 * MIB) / 2 + 8 * MIB, "{way}: {loaded}, {live}, {disk}");
        let report = db.clean(CleanOptions::default()).unwrap();
        let live = db.stats().live_bytes;
        println!("{way}: {live} are live when it was cleaned, {report:?}");
        assert!(live < 9 * MIB, "{way}: {loaded}, {live}, {disk}");
        let again = db.clean(CleanOptions::default()).unwrap();
        assert_eq!(again.moved_bytes, 0, "{way}: {again:?}");
        drop(tree);
        db.close().unwrap();
        let db = builder().open().unwrap();
        db.verify().unwrap();
        let tree = db.tree("t").unwrap();
        let left = tree.iter().map(Result::unwrap).filter(|(_, value)| value.len() == 10).count();
        assert_eq!(left, 384_000, "{way}");
    }
}

/// Nanoseconds that threads of this name have had a processor.
#[cfg(target_os = "linux")]
fn on_processor(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_named = |task: &Path| std::fs::read_to_string(task.join("comm")).unwrap().trim() == name;
    tasks.filter(|task| is_named(task)).map(|task| processor_nanos(&task)).sum()
}

/// After each commit, of one page and of few bytes, the background looked at all pages of the store
/// for some that could be merged: 35 % of a processor, with 750 MB and five commits a second.
#[cfg(target_os = "linux")]
#[test]
fn who_writes_little_has_not_all_pages_looked_at() {
    const PAGES: u64 = 4000;
    if case().is_none() {
        // Beside no other store.
        return all_alone("who_writes_little_has_not_all_pages_looked_at", ["alone"], u64::MAX);
    }
    let builder = Db::builder("memory").sync_policy(SyncPolicy::EveryMillis(20));
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..8 * PAGES as u32).for_each(|n| tree.put(key(n), [7; 900]).unwrap());
    db.sync().unwrap();
    rest(&db, Duration::from_secs(20));
    assert!(db.stats().pages >= PAGES, "{:?}", db.stats());
    let (before, commits, begun) =
        (on_processor("bwtree-clean"), db.stats().commits, Instant::now());
    while db.stats().commits < commits + 100 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no commits: {:?}", db.stats());
        tree.put(key(7), [8; 900]).unwrap();
        sleep(Duration::from_millis(5));
    }
    let each = (on_processor("bwtree-clean") - before) / 100;
    println!("{each} ns of the background for each commit");
    // 17 us, and 790 when it looked at all of them.
    assert!(each < 200_000, "{each} ns for a commit of one page of {PAGES}");
}
