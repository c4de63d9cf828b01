//! What a store promises, at the size at which it does: minutes in all.
//!
//! `BWTREE_FULL=1 cargo test --release -p bwtree-tests --test full_size -- NAME --exact
//! --nocapture` runs one at its full size; without the variable, each takes seconds and says
//! whether it works at all. Rates are printed, and asserted at full size only.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says what it has measured")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{FileDisk, MemoryDisk, SlowDisk};
use bwtree::{CleaningSchedule, Db, SyncPolicy, Tree};
use bwtree_tests::alone::{all_alone, case};
use bwtree_tests::{amount, is_full_size, memory_bound, mix, processor_nanos, resident};

const MIB: u64 = 1 << 20;

/// The size of this run.
fn size(usual: u64, full: u64) -> u64 {
    if is_full_size() { full } else { usual }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

fn rising(thread: u64, at: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key[8..].copy_from_slice(&thread.to_be_bytes());
    key
}

fn scattered(thread: u64, at: u64) -> [u8; 16] {
    rising(thread, mix(at))
}

/// Bytes of the files of a directory, as the system tells them.
fn bytes_on_disk(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).unwrap();
    // A file may go between its listing and the look at it.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

/// Bytes that this process has passed to the system to write.
fn bytes_passed() -> u64 {
    let told = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("wchar:")).unwrap();
    line.trim().parse().unwrap()
}

/// Nanoseconds that this thread has had a processor.
fn on_processor() -> u64 {
    processor_nanos(Path::new("/proc/thread-self"))
}

/// Nanoseconds that all threads of this process have had one, in hundredths of a second.
fn all_on_processor() -> u64 {
    let told = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = told.rsplit_once(") ").unwrap().1;
    let ticks = |at: usize| behind_name.split(' ').nth(at).unwrap().parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000_000
}

/// Syncs of 20, 300 and 2,000 ms, rising and random keys, one and four writers, for five minutes in
/// all, in files: all is there, in pages within their bounds, and the memory within its own.
#[test]
fn slow_disks() {
    const BUDGET: u64 = 64 * MIB;
    let each = size(600, 25_000);
    if let Some(case) = case() {
        let words: Vec<u64> = case.split(' ').map(|word| word.parse().unwrap()).collect();
        return load_slowly(words[0], words[1] == 1, words[2], Duration::from_millis(each), BUDGET);
    }
    let mut cases = Vec::new();
    for delay in [20, 300, 2000] {
        for random in [0, 1] {
            cases.extend([1, 4].map(|threads| format!("{delay} {random} {threads}")));
        }
    }
    let in_short = ["20 1 4".to_owned(), "300 0 1".to_owned()];
    let cases = if is_full_size() { &cases[..] } else { &in_short };
    all_alone("slow_disks", cases.iter().map(String::as_str), memory_bound(BUDGET));
}

fn load_slowly(delay: u64, random: bool, threads: u64, time: Duration, budget: u64) {
    const BYTES: usize = 600;
    let key = if random { scattered } else { rising };
    let folder = tempfile::tempdir().unwrap();
    let builder = || Db::builder(folder.path()).memory_budget_bytes(budget);
    let disk = SlowDisk::new(Arc::new(FileDisk::new(folder.path())));
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    disk.delay_syncs(Duration::from_millis(delay));
    let begun = Instant::now();
    let (counts, waits): (Vec<u64>, Vec<Duration>) = thread::scope(|scope| {
        let write = |thread| {
            let tree = &tree;
            move || {
                let (mut at, mut longest) = (0, Duration::ZERO);
                while begun.elapsed() < time {
                    let put = Instant::now();
                    tree.put(key(thread, at), vec![at as u8; BYTES]).unwrap();
                    longest = longest.max(put.elapsed());
                    at += 1;
                }
                (at, longest)
            }
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(write(thread))).collect();
        thread::sleep(time);
        // A commit under way may have many more syncs to make.
        disk.delay_syncs(Duration::ZERO);
        threads.into_iter().map(|thread| thread.join().unwrap()).unzip()
    });
    let syncs = db.stats().syncs;
    let longest = waits.iter().max().copied().unwrap();
    let check = |db: &Db, tree: &Tree| {
        assert_eq!(tree.len(), counts.iter().sum::<u64>());
        for (thread, &count) in counts.iter().enumerate() {
            for at in 0..count {
                let value = tree.get(key(thread as u64, at)).unwrap();
                let right = value.is_some_and(|v| v.len() == BYTES && v[0] == at as u8);
                assert!(right, "{thread} {at}");
            }
        }
        // No page is above its bound, among other things.
        db.verify().unwrap().largest_page
    };
    let largest = check(&db, &tree);
    drop(tree);
    db.close().unwrap();
    let db = builder().open().unwrap();
    let again = check(&db, &db.tree("t").unwrap());
    println!(
        "{delay} ms, random {random}: {counts:?} entries, the longest put {longest:?}, {syncs} \
         syncs of files, pages up to {largest}, {again}"
    );
}

/// One key is put, synced, and its page evicted, 100,000 times over; and as often a new one.
///
/// What a round costs must not follow how many there were. The time of a tenth is compared only
/// at the full size: a system that counts processors in ticks of 10 ms says nothing of the 5 ms
/// that a tenth takes in the short form. What is written for a round can be compared at any size.
#[test]
fn put_sync_and_evict() {
    for new in [false, true] {
        let db = Db::builder("memory").open_on(Arc::new(MemoryDisk::new())).unwrap();
        let tree = db.tree("t").unwrap();
        let rounds = size(3000, 100_000);
        let (mut rates, mut steps, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pages, mut largest) = (0, 0);
        for tenth in 0..10 {
            let begun = Instant::now();
            let bytes_before = db.stats().bytes_written;
            let (mut written, mut evicted) = (0, 0);
            for at in tenth * rounds / 10..(tenth + 1) * rounds / 10 {
                let before = on_processor();
                tree.put(rising(0, if new { at } else { 7 }), vec![at as u8; 100]).unwrap();
                db.sync().unwrap();
                let between = on_processor();
                // A look at each page of the store, for tests alone.
                db.evict_pages();
                written += between - before;
                evicted += on_processor() - between;
            }
            rates.push((rounds as f64 / 10.0 / begun.elapsed().as_secs_f64()) as u64);
            steps.push((written * 10 / rounds / 1000, evicted * 10 / rounds / 1000));
            bytes.push((db.stats().bytes_written - bytes_before) * 10 / rounds);
            largest = largest.max(db.verify().unwrap().largest_page);
            pages = pages.max(db.stats().pages);
        }
        println!("new keys: {new}: us of processor to write and to evict: {steps:?}");
        println!("new keys: {new}: per s {rates:?}, {pages} pages, the largest {largest}");
        println!("new keys: {new}: bytes written for a round {bytes:?}");
        assert_eq!(tree.len(), if new { rounds } else { 1 });
        let needed = if new { rounds * 116 / 8192 } else { 1 };
        assert!(pages <= 3 * needed + 4, "{pages} pages where {needed} are needed");
        let writing = |tenth: usize| steps[tenth].0.max(5);
        let slower = writing(8).min(writing(9)) >= 3 * writing(1);
        assert!(!(is_full_size() && slower), "it becomes slower: {steps:?}");
        let more = bytes[8].min(bytes[9]) >= 2 * bytes[1];
        assert!(!more, "more is written for a round: {bytes:?}");
    }
}

/// Keys of every length to 4,096, and between them every length of what they have in common.
///
/// Of the eight million pairs of a length and of a common beginning, a million are drawn: 120
/// beginnings for each length, and 240 lengths for each beginning. What a page does about keys
/// depends on what those beside one another have in common, and on how long the longest are: of
/// both every value occurs, and all that are long with all that are short. Once the beginnings are
/// those of one another, so that all keys begin alike, and once each is of eight keys alone, so
/// that no page can leave one off.
#[test]
fn keys_of_every_length() {
    if let Some(case) = case() {
        return long_keys(case == "nested");
    }
    all_alone("keys_of_every_length", ["nested", "apart"], memory_bound(KEYS_BUDGET));
}

/// Inner pages stay in memory, and of long keys that have nothing in common they are as large as
/// the keys: a GiB for a million of two KiB. With less, writers wait nearly all the time.
const KEYS_BUDGET: u64 = 4096 * MIB;

fn long_keys(nested: bool) {
    let entries = size(3000, 1_000_000);
    // The numbers of the others are as small as the key has bytes for.
    let key = |n: u64| {
        let (length, common) = if nested {
            let length = 1 + n % 4096;
            (length, mix(n) % length)
        } else {
            let common = (mix(n / 8) % 4080) as usize;
            (16 + common as u64 + mix(n) % (4081 - common as u64), common as u64)
        };
        let mut key = Vec::with_capacity(4096);
        if !nested {
            key.extend_from_slice(&mix(n / 8).to_be_bytes());
        }
        key.resize(key.len() + common as usize, b'k');
        // What tells it from all others, which of a short key is what there is room for.
        let mut tail = mix(n ^ 0xABCD).to_be_bytes().repeat(512);
        tail[0] &= 0x7F;
        tail[0] ^= u8::from(tail[0] == b'k') << 6;
        key.extend_from_slice(&tail);
        key.truncate(length.min(4096) as usize);
        key
    };
    let folder = tempfile::tempdir().unwrap();
    let builder = || Db::builder(folder.path()).memory_budget_bytes(KEYS_BUDGET);
    let db = builder().open().unwrap();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    let (mut lengths, mut shared) = (vec![false; 4097], vec![false; 4097]);
    for n in 0..entries {
        let key = key(n);
        lengths[key.len()] = true;
        // Two short keys may be the same; the first has it.
        let _another = tree.insert(&key, n.to_be_bytes().to_vec()).unwrap();
    }
    println!("nested {nested}: {} entries in {:?}", tree.len(), begun.elapsed());
    let check = |db: &Db, tree: &Tree| {
        let mut same = 0;
        for n in 0..entries {
            let found = tree.get(key(n)).unwrap().unwrap();
            let found = u64::from_be_bytes(found.as_ref().try_into().unwrap());
            assert!(found == n || key(found) == key(n), "{n}");
            same += u64::from(found != n);
        }
        assert_eq!(tree.len(), entries - same);
        db.verify().unwrap()
    };
    let report = check(&db, &tree);
    println!("after {:?}: {report:?}", begun.elapsed());
    drop(tree);
    db.close().unwrap();
    let db = builder().open().unwrap();
    let tree = db.tree("t").unwrap();
    let mut last = Vec::new();
    for entry in &tree {
        let (key, _) = entry.unwrap();
        assert!(last[..] < key[..], "keys are in order");
        shared[last.iter().zip(&key[..]).take_while(|(a, b)| a == b).count()] = true;
        last = key.to_vec();
    }
    check(&db, &tree);
    let count = |of: &[bool]| of.iter().filter(|is| **is).count();
    let (lengths, shared) = (count(&lengths), count(&shared));
    println!("{lengths} lengths, {shared} of what neighbours share, after {:?}", begun.elapsed());
    assert!(report.depth <= 6, "{report:?}");
}

/// Nine tenths of a million entries go, in each of the ways there are; then nothing more is asked
/// of the store. After five seconds the disk is within its bound, and then nothing is written.
#[test]
fn what_was_removed_is_given_back_in_five_seconds() {
    let Some(case) = case() else {
        let cases = [
            "drop_tree 8",
            "remove 8",
            "remove_range 8",
            "remove 4",
            "remove_range 4",
            "drop_tree 4",
        ];
        let cases = cases.into_iter().take(size(1, 6) as usize);
        let test = "what_was_removed_is_given_back_in_five_seconds";
        return all_alone(test, cases, memory_bound(256 * MIB));
    };
    let (way, slack) = case.split_once(' ').unwrap();
    let slack = slack.parse::<u64>().unwrap() * MIB;
    let entries = size(40_000, 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let schedule = CleaningSchedule::new().with_slack_bytes(slack);
    let db = Db::builder(folder.path()).cleaning(schedule).open().unwrap();
    let (kept, gone) = (db.tree("kept").unwrap(), db.tree("gone").unwrap());
    // One tree in which each tenth key stays, or the lowest tenth, or two of which one goes.
    let is_kept =
        |n: u64| if way == "remove_range" { n < entries / 10 } else { n.is_multiple_of(10) };
    for n in (0..entries).map(|n| if way == "remove_range" { n } else { mix(n) % entries }) {
        let tree = if is_kept(n) || way != "drop_tree" { &kept } else { &gone };
        tree.put(rising(0, n), vec![n as u8; 200]).unwrap();
    }
    for n in 0..entries {
        let tree = if is_kept(n) || way != "drop_tree" { &kept } else { &gone };
        tree.put(rising(0, n), vec![n as u8; 200]).unwrap();
    }
    db.sync().unwrap();
    let full = bytes_on_disk(folder.path());
    let begun = Instant::now();
    match way {
        "remove" => (0..entries).filter(|&n| !is_kept(n)).for_each(|n| {
            assert!(kept.remove(rising(0, n)).unwrap().is_some());
        }),
        "remove_range" => {
            let gone = kept.remove_range(rising(0, entries / 10).as_slice()..).unwrap();
            assert_eq!(gone, entries - entries / 10);
        }
        _ => assert!(db.drop_tree("gone").unwrap()),
    }
    println!("{case}: {:?} to remove", begun.elapsed());
    let idle = Instant::now();
    let mut within = None;
    let mut seconds = Vec::new();
    let bound = || 3 * db.stats().live_bytes / 2 + slack;
    while idle.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(50));
        if within.is_none() && bytes_on_disk(folder.path()) <= bound() {
            within = Some(idle.elapsed());
        }
        if seconds.len() < idle.elapsed().as_secs() as usize {
            seconds.push(mib(bytes_on_disk(folder.path())) as u64);
        }
    }
    let (disk, live) = (bytes_on_disk(folder.path()), db.stats().live_bytes);
    let user = kept.len() * 216;
    println!(
        "{case}: {full} -> {disk} bytes, {live} live, {user} of the user's; within its bound \
         after {within:?}; MiB each second {seconds:?}"
    );
    let before = bytes_passed();
    let (mut last, mut rest) = (before, idle.elapsed());
    while idle.elapsed() < Duration::from_secs(5 + size(2, 10)) {
        thread::sleep(Duration::from_millis(50));
        let now = bytes_passed();
        if now > last + 64 {
            (last, rest) = (now, idle.elapsed());
        }
    }
    let written = last - before;
    println!("{case}: {written} bytes written then, the last after {rest:?}");
    assert_eq!(kept.len(), entries / 10);
    db.verify().unwrap();
    if is_full_size() {
        assert!(disk <= bound(), "{disk} bytes on disk, {live} live");
        assert!(written < 8192, "{written} bytes written at rest");
    }
}

/// A window of 10,000 entries of 900 bytes moves on a million times, with 16 MiB of memory; the
/// oldest goes with each put, or a tenth of the window at once.
#[test]
fn a_window_that_moves() {
    const WINDOW: u64 = 10_000;
    const BUDGET: u64 = 16 * MIB;
    let Some(case) = case() else {
        let cases = ["one by one", "a tenth at once"];
        return all_alone("a_window_that_moves", cases, memory_bound(BUDGET));
    };
    let puts = size(40_000, 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let db = Db::builder(folder.path()).memory_budget_bytes(BUDGET).open().unwrap();
    let tree = db.tree("t").unwrap();
    let (mut rates, mut pages, mut disks) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs = Vec::new();
    let (mut begun, mut writer, mut all) = (Instant::now(), on_processor(), all_on_processor());
    let mut looking = Duration::ZERO;
    for at in 0..puts {
        tree.put(at.to_be_bytes(), vec![at as u8; 900]).unwrap();
        if case == "one by one" {
            if let Some(old) = at.checked_sub(WINDOW) {
                assert!(tree.delete(old.to_be_bytes()).unwrap());
            }
        } else if (at + 1) % (WINDOW / 10) == 0 && at >= WINDOW {
            let first = (at + 1 - WINDOW).to_be_bytes();
            assert_eq!(tree.remove_range(..first.as_slice()).unwrap(), WINDOW / 10);
        }
        if (at + 1) % (WINDOW / 10) == 0 && at >= WINDOW {
            let look = Instant::now();
            pages.push(db.stats().pages);
            looking += look.elapsed();
        }
        if (at + 1) % (puts / 10) == 0 {
            let took = begun.elapsed().saturating_sub(std::mem::take(&mut looking));
            rates.push((puts as f64 / 10.0 / took.as_secs_f64()) as u64);
            disks.push(mib(bytes_on_disk(folder.path())) as u64);
            let each = |nanos: u64| (nanos * 10 / puts) as f64 / 1000.0;
            let now = (on_processor(), all_on_processor());
            costs.push((each(now.0 - writer), each(now.1 - all)));
            (begun, writer, all) = (Instant::now(), now.0, now.1);
        }
    }
    let needed = WINDOW * 900 / 8192;
    println!("{case}: us of processor for each put, of the writer and of all threads: {costs:?}");
    pages.sort_unstable();
    let [half, most, all] = [2, 10, u64::MAX].map(|part| {
        let last = pages.len() as u64 - 1;
        pages[(last - last / part) as usize]
    });
    println!("{case}: puts/s {rates:?}, MiB on disk {disks:?}");
    println!(
        "{case}: {needed} pages are needed; {half} in half of the time, {most} in nine tenths"
    );
    println!("{case}: {all} at the most");
    assert_eq!(tree.len(), WINDOW);
    db.verify().unwrap();
    // Those that have run empty since the last commit are in the log still. While a store is young,
    // all that it has left to do is a large part of it.
    let times = size(4, 2);
    assert!(most <= times * needed, "{most} pages where {needed} are needed");
    if is_full_size() {
        assert!(rates.iter().all(|&rate| rate >= 50_000), "{rates:?}");
    }
}

/// A store without entries is opened a thousand times and killed, and as often closed.
#[test]
fn a_thousand_lives() {
    let Some(case) = case() else {
        let folder = tempfile::tempdir().unwrap();
        for kill in [true, false] {
            let mut peaks = Vec::new();
            for life in 0..size(30, 1000) {
                let program = std::env::current_exe().unwrap();
                let mut child = Command::new(program)
                    .args(["a_thousand_lives", "--exact", "--nocapture", "--test-threads=1"])
                    .env("BWTREE_CASE", format!("{kill} {}", folder.path().display()))
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let peak = lines.find_map(|line| line.unwrap().strip_prefix("open ")?.parse().ok());
                let peak: u64 = peak.unwrap();
                if kill {
                    child.kill().unwrap();
                }
                assert_eq!(child.wait().unwrap().success(), !kill);
                if life % size(10, 100) == 0 {
                    peaks.push(peak / 1024);
                }
            }
            let disk = bytes_on_disk(folder.path());
            println!("killed {kill}: {disk} bytes on disk; KiB in memory {peaks:?}");
            assert!(disk <= MIB, "{disk} bytes, killed {kill}");
        }
        return;
    };
    let (kill, folder) = case.split_once(' ').unwrap();
    let db = Db::builder(folder).sync_policy(SyncPolicy::EveryMillis(1)).open().unwrap();
    // The flusher prepares a segment.
    thread::sleep(Duration::from_millis(3));
    println!("\nopen {}", resident());
    if kill == "true" {
        thread::sleep(Duration::from_secs(60));
    }
    db.close().unwrap();
}

/// Trees that are made and dropped, one after the other, without waiting for anything.
#[test]
fn thirty_thousand_trees() {
    let Some(_) = case() else {
        return all_alone("thirty_thousand_trees", ["it"], memory_bound(16 * MIB));
    };
    let folder = tempfile::tempdir().unwrap();
    let db = Db::builder(folder.path()).open().unwrap();
    let (mut resident_kib, mut disks, mut times) = (Vec::new(), Vec::new(), Vec::new());
    let trees = amount("BWTREE_TREES", size(1000, 30_000));
    for tenth in 0..10 {
        let begun = Instant::now();
        for n in tenth * trees / 10..(tenth + 1) * trees / 10 {
            let name = format!("tree {n}");
            db.tree(&name).unwrap().put("k", "v").unwrap();
            assert!(db.drop_tree(&name).unwrap());
        }
        times.push(begun.elapsed().as_millis());
        resident_kib.push(resident() / 1024);
        disks.push(bytes_on_disk(folder.path()) / 1024);
    }
    println!("KiB in memory {resident_kib:?}, on disk {disks:?}, ms {times:?}");
    bwtree_tests::rest(&db, 8);
    println!("KiB in memory at rest: {}", resident() / 1024);
    assert!(db.tree_names().unwrap().is_empty());
    db.close().unwrap();
    let disk = bytes_on_disk(folder.path());
    println!("{disk} bytes on disk after the close");
    assert!(disk <= MIB, "{disk} bytes");
}

/// Updates spread over as many pages as a store of 80 GB has: ten million. Each page has some 300
/// bytes here, so that they fit a machine; what a checkpoint and a commit cost depends on their
/// number and on how many of them changed.
#[test]
fn updates_spread_over_many_pages() {
    const VALUE_BYTES: usize = 200;
    let Some(_) = case() else {
        return all_alone("updates_spread_over_many_pages", ["it"], memory_bound(4096 * MIB));
    };
    let entries = size(100_000, 10_000_000);
    let updates = 66 * MIB / 216 * entries / 10_000_000;
    let folder = tempfile::tempdir().unwrap();
    let builder = Db::builder(folder.path()).memory_budget_bytes(4096 * MIB).leaf_bytes(440);
    let db = builder.open().unwrap();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    (0..entries).for_each(|n| tree.put(rising(0, n), vec![1; VALUE_BYTES]).unwrap());
    db.checkpoint().unwrap();
    println!("loaded after {:?}: {} pages", begun.elapsed(), db.stats().pages);
    let mut before = db.stats();
    for way in ["one checkpoint at the end", "one every 8 MiB"] {
        let begun = Instant::now();
        for n in 0..updates {
            let at = mix(n ^ (way.len() as u64) << 40) % entries;
            tree.put(rising(0, at), vec![2; VALUE_BYTES]).unwrap();
            if way != "one checkpoint at the end" && n % (8 * MIB / 216) == 0 {
                db.checkpoint().unwrap();
            }
        }
        db.checkpoint().unwrap();
        let after = db.stats();
        let user = after.user_bytes_written - before.user_bytes_written;
        let cleaned = after.cleaning_bytes_written - before.cleaning_bytes_written;
        let log = after.bytes_written - before.bytes_written - cleaned;
        println!(
            "{way}: {updates} updates in {:?}, {user} bytes of the user's, {log} of the log \
             ({:.2}), {cleaned} of cleaning, {} checkpoints, {} pages, {} live",
            begun.elapsed(),
            log as f64 / user as f64,
            after.checkpoints - before.checkpoints,
            after.pages,
            after.live_bytes,
        );
        // A store of this size takes one after 256 MiB. Ten write the list of chunks ten times.
        let most = if way == "one checkpoint at the end" { 200 } else { 225 };
        assert!(log * 100 <= most * user, "{way}: {log} bytes for {user} of the user's");
        before = after;
    }
}
