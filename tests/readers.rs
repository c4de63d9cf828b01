//! Stores that are opened for reading beside one that writes, in this process and in others: each
//! sees one moment, not before its opening, for as long as it lives, and holds back no more.
//!
//! The opening found the store locked. The children are this test program again, with
//! `BWTREE_READERS_CHILD` set.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SimDisk};
use bwtree::{CleanOptions, CleaningSchedule, Db, Error, SyncPolicy};
use bwtree_tests::Random;
use bwtree_tests::hooks::{HookedDisk, Moment};

const CHILD: &str = "BWTREE_READERS_CHILD";
/// Keys that are written together: the round is the same in all of them.
const GROUP: u64 = 40;
/// Values this long lie apart.
const LARGE: usize = 3000;
const KEYS: u64 = 400;

fn builder(path: &Path) -> bwtree::Builder {
    Db::builder(path).tiny().sync_policy(SyncPolicy::Manual).memory_budget_bytes(2 << 20)
}

fn value(round: u64, key: u64) -> Vec<u8> {
    let len = if key.is_multiple_of(50) { LARGE } else { 20 + (round % 60) as usize };
    let mut value = round.to_be_bytes().to_vec();
    value.resize(len, (round ^ key) as u8);
    value
}

/// Writes one round: every key of every group, in any order, and a tree of its own; then syncs.
fn write_round(db: &Db, round: u64, random: &mut Random) -> bwtree::Result<()> {
    let tree = db.tree("t")?;
    let first = random.below(KEYS);
    for n in 0..KEYS {
        let key = (first + n * 7) % KEYS;
        if key % GROUP == round % GROUP {
            tree.delete(key.to_be_bytes())?;
        } else {
            tree.put(key.to_be_bytes(), value(round, key))?;
        }
    }
    db.tree(&format!("round-{round}"))?.put("round", round.to_be_bytes().to_vec())?;
    if round > 1 {
        db.drop_tree(&format!("round-{}", round - 1))?;
    }
    db.sync()
}

/// Everything in a store, which must be all of one round; returns that.
fn round_of(db: &Db) -> Result<u64, String> {
    let text = |error: Error| error.to_string();
    let Some(tree) = db.find_tree("t").map_err(text)? else { return Ok(0) };
    let mut entries = Vec::new();
    for entry in &tree {
        let (key, value) = entry.map_err(text)?;
        let key = u64::from_be_bytes(key[..].try_into().map_err(|_| "a key of another length")?);
        entries.push((key, value));
    }
    let Some((_, first)) = entries.first() else { return Err("the tree is empty".into()) };
    let round = u64::from_be_bytes(first[..8].try_into().map_err(|_| "a short value")?);
    let keys: Vec<u64> = entries.iter().map(|&(key, _)| key).collect();
    let expected: Vec<u64> = (0..KEYS).filter(|key| key % GROUP != round % GROUP).collect();
    if keys != expected {
        return Err(format!("round {round} has the keys {keys:?}"));
    }
    for (key, found) in &entries {
        if found[..] != value(round, *key)[..] {
            return Err(format!("key {key} of round {round} holds {found:?}"));
        }
    }
    let names: Vec<String> =
        db.tree_names().map_err(text)?.into_iter().filter(|name| name != "t").collect();
    if names != [format!("round-{round}")] {
        return Err(format!("round {round} has the trees {names:?}"));
    }
    Ok(round)
}

/// Writes, checkpoints and cleans as fast as it can while `goes_on`; says each round that is
/// synced.
fn write_while(db: &Db, goes_on: &dyn Fn() -> bool, mut synced: impl FnMut(u64)) {
    let mut random = Random::new(7);
    let start = round_of(db).unwrap();
    for round in start + 1.. {
        if !goes_on() {
            break;
        }
        // A whole round is one commit: no other thread syncs.
        write_round(db, round, &mut random).unwrap();
        synced(round);
        match round % 7 {
            0 => db.checkpoint().unwrap(),
            3 => drop(db.clean(CleanOptions::default()).unwrap()),
            _ => {
                db.evict_pages();
            }
        }
    }
}

fn open(path: &Path, read_only: bool) -> Db {
    // The writer has no threads that might commit half of a round.
    let builder = builder(path).read_only(read_only);
    if read_only { builder.open() } else { builder.without_background().open() }.unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(format!("\n{line}.\n").as_bytes()).and_then(|()| out.flush());
}

/// Not a test of its own: what a child runs. It writes, or holds a view, until it is killed.
#[test]
fn child() {
    let Some(what) = std::env::var_os(CHILD) else { return };
    let what = what.into_string().unwrap();
    let (what, path) = what.split_once(' ').unwrap();
    let path = Path::new(path);
    match what {
        "write" => {
            let db = open(path, false);
            say(&format!("synced {}", round_of(&db).unwrap()));
            write_while(&db, &|| true, |round| say(&format!("synced {round}")));
        }
        "hold" => {
            let db = open(path, true);
            say(&format!("holds {}", round_of(&db).unwrap()));
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
                say(&format!("{:?}", round_of(&db)));
            }
        }
        _ => {
            // Opens again and again.
            while std::io::stdin().lines().next().is_some_and(|line| line.is_ok()) {
                let db = open(path, true);
                say(&format!("{:?}", round_of(&db)));
            }
        }
    }
}

/// A child process, killed at the end.
struct Process {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    fn start(what: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, format!("{what} {}", path.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// The rest of the next line that begins so.
    fn next(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.as_mut().unwrap().read_line(&mut line).unwrap();
            assert!(read > 0, "the child has ended");
            if let Some(rest) =
                line.trim_end().strip_suffix('.').and_then(|l| l.strip_prefix(begin))
            {
                return rest.to_owned();
            }
            assert!(!line.contains("panicked"), "{line}");
        }
    }

    fn ask(&mut self) -> String {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.next("Ok(")
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Readers of this process and of others, while a process writes as fast as it can and is killed
/// and started again.
#[test]
fn readers_see_one_round_beside_a_process_that_writes_and_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    drop(open(path, false));
    let mut far = Process::start("open", path);
    let mut holder: Option<(Process, String)> = None;
    let (mut opened, mut lowest) = (0, 0);
    let started = Instant::now();
    for life in 0..3 {
        let mut writer = Process::start("write", path);
        writer.next("synced ");
        // What it says is read by a thread, so that it never waits.
        let synced = Arc::new(AtomicU64::new(lowest));
        let said = Arc::clone(&synced);
        let ends = Instant::now() + Duration::from_millis(1300);
        let mut output = writer.output.take().unwrap();
        let listener = std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).unwrap_or(0) > 0 {
                if let Some(round) = line.trim().strip_prefix("synced ") {
                    let round = round.trim_end_matches('.').parse().unwrap_or(0);
                    said.fetch_max(round, Ordering::SeqCst);
                }
                line.clear();
            }
        });
        let mut views: Vec<(Db, u64)> = Vec::new();
        while Instant::now() < ends {
            let floor = synced.load(Ordering::SeqCst);
            let db = open(path, true);
            let round = round_of(&db).unwrap();
            assert!(round >= floor, "life {life}: {round} after {floor}");
            opened += 1;
            if opened % 8 == 0 {
                let floor = synced.load(Ordering::SeqCst);
                let there: u64 = far.ask().trim_end_matches(')').parse().unwrap();
                assert!(there >= floor, "life {life}: {there} after {floor} in a child");
                for (view, round) in &views {
                    assert_eq!(round_of(view), Ok(*round), "life {life}");
                }
                views.truncate(2);
                views.push((db, round));
            } else if opened % 8 == 4 {
                let next = db.refreshed().unwrap();
                assert!(round_of(&next).unwrap() >= round);
                next.verify().unwrap();
            }
        }
        writer.kill();
        listener.join().unwrap();
        lowest = synced.load(Ordering::SeqCst);
        // A child holds a view over the whole life of the next writer.
        if let Some((mut child, round)) = holder.take() {
            assert_eq!(child.ask(), format!("{round})"));
        }
        let mut child = Process::start("hold", path);
        let round = child.next("holds ");
        holder = Some((child, round));
        for (view, round) in &views {
            assert_eq!(round_of(view), Ok(*round), "life {life}");
        }
    }
    assert!(opened > 20 && lowest > 10, "{opened} openings, {lowest} rounds");
    drop(far);
    let db = open(path, false);
    let mut random = Random::new(8);
    (1..4).for_each(|n| write_round(&db, lowest + 10 * n, &mut random).unwrap());
    db.clean(CleanOptions::default()).unwrap();
    assert_eq!(db.stats().readers, 1);
    assert!(db.stats().held_bytes > 0);
    // Nothing is held for those that were killed, and none of their files is left.
    drop(holder);
    db.checkpoint().unwrap();
    assert_eq!((db.stats().readers, db.stats().held_bytes), (0, 0));
    db.close().unwrap();
    let left = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("reader-")).collect();
    assert!(left.is_empty(), "{left:?} after {:?}", started.elapsed());
}

/// Between any two reads of a view's opening, and of its pages, whole rounds are written, and
/// checkpoints, and the log is cleaned.
#[test]
fn a_view_is_one_round_whatever_is_written_between_its_reads() {
    let disk = MemoryDisk::new();
    let builder = || builder(Path::new("memory")).without_background();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let mut random = Random::new(9);
    write_round(&db, 1, &mut random).unwrap();
    let hooked = HookedDisk::new(Arc::new(disk));
    let last = Arc::new(AtomicU64::new(1));
    let (writer, written) = (db.clone(), Arc::clone(&last));
    hooked.set(move |moment| {
        assert_eq!(moment, Moment::Read, "a reader writes");
        if random.below(30) == 0 {
            let round = written.load(Ordering::Relaxed) + 1;
            write_round(&writer, round, &mut random).unwrap();
            match random.below(3) {
                0 => writer.checkpoint().unwrap(),
                1 => drop(writer.clean(CleanOptions::default()).unwrap()),
                _ => {}
            }
            written.store(round, Ordering::Relaxed);
        }
    });
    let mut views: Vec<(Db, u64)> = Vec::new();
    let mut moved_on = 0;
    for _ in 0..12 {
        let floor = last.load(Ordering::Relaxed);
        let view = builder().read_only(true).open_on(Arc::new(hooked.clone())).unwrap();
        let opened = last.load(Ordering::Relaxed);
        let round = round_of(&view).unwrap();
        assert!((floor..=opened).contains(&round), "{round}, {floor} to {opened}");
        moved_on += u64::from(opened > floor);
        views.push((view, round));
        if views.len() > 2 {
            views.swap_remove(round as usize % 3);
        }
        for (view, round) in &views {
            assert_eq!(round_of(view), Ok(*round));
        }
    }
    assert!(moved_on > 5, "{moved_on} openings with writes");
    hooked.clear();
    drop(views);
    db.checkpoint().unwrap();
    assert_eq!((db.stats().readers, db.stats().held_bytes), (0, 0));
}

/// Pages, values and the catalog of a view, while the writer goes round its log several times and
/// gives back what the view does not need.
#[test]
fn a_view_outlives_several_turns_of_the_log_and_holds_no_more_than_there_was() {
    let disk = MemoryDisk::new();
    let open = |read_only| {
        let builder = builder(Path::new("memory")).without_background().read_only(read_only);
        builder.open_on(Arc::new(disk.clone())).unwrap()
    };
    let db = open(false);
    let mut random = Random::new(3);
    write_round(&db, 1, &mut random).unwrap();
    let there = db.stats().disk_bytes;
    let view = open(true);
    // Only what its table names is in memory; a page is read when it is wanted.
    let mut most = 0;
    for round in 2..30 {
        write_round(&db, round, &mut random).unwrap();
        if round % 3 == 0 {
            let report = db.clean(CleanOptions::default()).unwrap();
            assert_eq!(report.held_bytes, db.stats().held_bytes);
        }
        db.checkpoint().unwrap();
        most = most.max(db.stats().held_bytes);
        if round == 15 {
            assert_eq!(round_of(&view.refreshed().unwrap()), Ok(15));
        }
    }
    let stats = db.stats();
    assert_eq!((stats.readers, view.stats().readers), (1, 0));
    assert!(stats.bytes_written > 10 * there, "{stats:?}");
    assert!(most > 0 && most <= there, "{most} held of {there}");
    assert_eq!(round_of(&view), Ok(1));
    view.verify().unwrap();
    assert!(matches!(view.tree("new"), Err(Error::NoSuchTree { .. })));
    drop(view);
    db.checkpoint().unwrap();
    assert_eq!((db.stats().readers, db.stats().held_bytes), (0, 0));
    assert_eq!(round_of(&db.refreshed().unwrap()), Ok(29));
}

/// On a full disk a reader keeps space from being won back; the error says so, the reserve is not
/// spent on what can't be won, and all is well when the reader is gone.
#[test]
fn on_a_full_disk_what_readers_hold_is_told_and_comes_back() {
    let disk = SimDisk::new();
    let open = |read_only| {
        let builder = builder(Path::new("sim")).without_background().read_only(read_only);
        builder.open_on(Arc::new(disk.clone()))
    };
    let db = open(false).unwrap();
    let mut random = Random::new(4);
    for round in 1..4 {
        write_round(&db, round, &mut random).unwrap();
        db.checkpoint().unwrap();
    }
    let view = open(true).unwrap();
    for round in 4..7 {
        write_round(&db, round, &mut random).unwrap();
        db.checkpoint().unwrap();
    }
    let cleaned = db.clean(CleanOptions::default()).unwrap();
    assert!(cleaned.held_bytes > 0 && cleaned.held_bytes < cleaned.disk_bytes, "{cleaned:?}");
    // Segments that are half empty: to empty them would be worth it, if it gave them back.
    let filler = db.tree("filler").unwrap();
    (0..1500_u64).for_each(|n| filler.put(n.to_be_bytes(), vec![1; 100]).unwrap());
    db.checkpoint().unwrap();
    (0..1500_u64).filter(|n| n % 16 < 9).for_each(|n| {
        filler.delete(n.to_be_bytes()).unwrap();
    });
    db.checkpoint().unwrap();
    disk.set_capacity(Some(disk.used() + (16 << 10)));
    let tree = db.tree("t").unwrap();
    let full = (0..100_000_u64).find_map(|n| {
        let put = tree.put((n % KEYS).to_be_bytes(), value(n, 1)).and_then(|()| db.sync());
        put.err()
    });
    let text = full.unwrap().to_string();
    let holder = format!("held back for readers in process {}", std::process::id());
    assert!(text.contains("no room") && text.contains(&holder), "{text}");
    // What is tried again and again makes nothing worse: what it moved would be held.
    let held = db.stats().held_bytes;
    for _ in 0..20 {
        let _full = db.sync();
    }
    assert!(db.stats().held_bytes <= held, "{held} before: {:?}", db.stats());
    let _full = db.clean(CleanOptions::default());
    assert_eq!(round_of(&view), Ok(3));
    // The reserve is still good for an opening.
    drop((tree, filler));
    drop(db);
    let db = open(false).unwrap();
    assert_eq!(round_of(&view), Ok(3));
    drop(view);
    let tree = db.tree("t").unwrap();
    db.sync().unwrap();
    db.clean(CleanOptions::default()).unwrap();
    tree.put("more", "room").unwrap();
    db.sync().unwrap();
    drop(tree);
    db.close().unwrap();
    assert!(open(false).unwrap().tree("t").unwrap().get("more").unwrap().is_some());
}

/// An idle store beside which another one reads writes nothing, and neither does that one; what was
/// held comes back without a write of anybody.
#[test]
fn an_idle_store_with_a_reader_writes_nothing() {
    let disk = SimDisk::new();
    let open = |read_only| {
        let schedule =
            CleaningSchedule { interval: Duration::from_millis(20), ..CleaningSchedule::new() };
        let builder = builder(Path::new("sim")).cleaning(schedule).read_only(read_only);
        builder.open_on(Arc::new(disk.clone())).unwrap()
    };
    let db = open(false);
    let mut random = Random::new(5);
    write_round(&db, 1, &mut random).unwrap();
    let view = open(true);
    (2..6).for_each(|round| write_round(&db, round, &mut random).unwrap());
    db.checkpoint().unwrap();
    let started = Instant::now();
    // At rest when nothing was changed for as long as it takes to notice that it is idle.
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(800) {
        assert!(started.elapsed() < Duration::from_secs(20), "it writes and writes");
        std::thread::sleep(Duration::from_millis(20));
        if disk.changes() != last {
            (last, since) = (disk.changes(), Instant::now());
        }
    }
    assert!(db.stats().held_bytes > 0);
    assert!(round_of(&view).is_ok());
    assert_eq!(disk.changes(), last);
    drop(view);
    while db.stats().held_bytes > 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", db.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Thousands of openings, with no writer and with one that does nothing: nothing is left of them.
#[test]
fn openings_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), false);
    write_round(&db, 1, &mut Random::new(6)).unwrap();
    let read = || {
        let builder = builder(folder.path()).without_background().read_only(true);
        (0..1000).for_each(|_| drop(builder.clone().open().unwrap()));
    };
    std::thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
    });
    assert_eq!(db.stats().readers, 0);
    let second = builder(folder.path()).open().unwrap_err().to_string();
    let me = format!("process {}, readers", std::process::id());
    assert!(second.contains(&me) && second.contains("reading only"), "{second}");
    db.close().unwrap();
    let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with("reader-")));
}
