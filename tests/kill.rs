//! A process that writes with several threads is killed, again and again, over one directory:
//! nothing that it said was acknowledged is missing, and of each thread a prefix is left.
//!
//! The child is this test program again, with `BWTREE_KILL_CHILD` set. It says on its output what
//! each sync has acknowledged. `BWTREE_KILL_ROUNDS` makes more rounds.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bwtree::{CleanOptions, Db, SyncPolicy};
use bwtree_tests::crash::{contents, text};
use bwtree_tests::lanes::{Lane, Replay};
use bwtree_tests::watch::Watch;
use bwtree_tests::{Random, amount, seed};

const CHILD: &str = "BWTREE_KILL_CHILD";
const LANES: u64 = 3;
/// A lane that has come this far starts in a new directory, so that replaying stays cheap.
const LONGEST: u64 = 400_000;

fn builder(path: &Path) -> bwtree::Builder {
    Db::builder(path).tiny().sync_policy(SyncPolicy::EveryMillis(5)).memory_budget_bytes(1 << 20)
}

/// What the child does until it is killed: the lanes write, and say what was acknowledged.
fn write_until_killed(path: &Path) -> Result<(), String> {
    let db = builder(path).open().map_err(text)?;
    let all = contents(&db)?;
    let start = Replay::default().check(&all, &[0; LANES as usize])?;
    std::thread::scope(|scope| {
        for (lane, &done) in start.iter().enumerate() {
            let db = &db;
            scope.spawn(move || {
                let gone = write_lane(db, lane as u64, done);
                say(&format!("error {gone:?}"));
            });
        }
        let mut random = Random::new(start.iter().sum());
        loop {
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            let done = match random.below(5) {
                0 => db.checkpoint(),
                1 => db.clean(CleanOptions::default()).map(drop),
                _ => {
                    db.evict_pages();
                    Ok(())
                }
            };
            if let Err(error) = done {
                say(&format!("error {error}"));
            }
        }
    })
}

fn write_lane(db: &Db, number: u64, done: u64) -> bwtree::Result<()> {
    let mut lane = Lane::new(db, number, done)?;
    loop {
        lane.step()?;
        if lane.done.is_multiple_of(7) {
            lane.note((number + 1) % LANES)?;
        }
        if lane.done.is_multiple_of(50) {
            let seen = lane.seen(LANES)?;
            db.sync()?;
            let words: Vec<String> = seen.iter().map(u64::to_string).collect();
            say(&format!("acknowledged {}", words.join(" ")));
        }
    }
}

/// A line to the parent, whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(format!("\n{line}.\n").as_bytes()).and_then(|()| out.flush());
}

/// Not a test of its own: what the child runs.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(CHILD) {
        let ended = write_until_killed(&PathBuf::from(path));
        say(&format!("error {ended:?}"));
    }
}

fn start(path: &Path) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
}

/// Lets the child write for a while, kills it, and returns the largest acknowledged counters, and
/// how many syncs were acknowledged.
fn one_life(path: &Path, after: Duration, floor: &mut [u64]) -> Result<u64, String> {
    let mut child = start(path).map_err(text)?;
    let out = child.stdout.take().ok_or("the child has no output")?;
    let (sender, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line.starts_with("acknowledged") {
                let _ignored = sender.send(());
            }
            lines.push(line);
        }
        lines
    });
    // The time is counted from the first acknowledgement on, or a slow machine would kill mere
    // openings; some of the lives end there all the same.
    if !after.as_millis().is_multiple_of(8) {
        let _late = first.recv_timeout(Duration::from_secs(10));
    }
    std::thread::sleep(after);
    child.kill().map_err(text)?;
    child.wait().map_err(text)?;
    let lines = reader.join().map_err(|_| "the reader has panicked")?;
    let mut syncs = 0;
    for line in lines.iter().filter_map(|line| line.strip_suffix('.')) {
        if let Some(counters) = line.strip_prefix("acknowledged ") {
            syncs += 1;
            let counters = counters.split(' ').filter_map(|word| word.parse::<u64>().ok());
            floor.iter_mut().zip(counters).for_each(|(mine, counter)| *mine = counter.max(*mine));
        } else if line.starts_with("error") {
            return Err(format!("the child says: {line}"));
        }
    }
    Ok(syncs)
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let rounds = amount("BWTREE_KILL_ROUNDS", 25);
    let name = "a_killed_process_loses_nothing_that_it_acknowledged";
    let started = Instant::now();
    let seed = seed(name);
    let watch = Watch::new(Duration::from_secs(120));
    let mut random = Random::new(seed);
    let mut replay = Replay::default();
    let mut directory = None;
    let mut floor = vec![0; LANES as usize];
    let (mut syncs, mut operations) = (0, 0);
    for round in 0..rounds {
        let fail = |what: String| -> ! { panic!("seed {seed}, round {round}: {what}") };
        watch.report(format!("seed {seed}, round {round}"));
        if directory.is_none() || floor.iter().any(|&counter| counter > LONGEST) {
            directory = Some(tempfile::tempdir().unwrap_or_else(|error| fail(text(error))));
            floor.fill(0);
        }
        let Some(directory) = &directory else { continue };
        let path = directory.path().join("store");
        let after = Duration::from_millis(random.below(200));
        syncs += one_life(&path, after, &mut floor).unwrap_or_else(|what| fail(what));
        let reopened = || -> Result<Vec<u64>, String> {
            let db = builder(&path).without_background().open().map_err(text)?;
            let counters = replay.check(&contents(&db)?, &floor)?;
            db.verify().map_err(text)?;
            if random.once_in(2) {
                db.close().map_err(text)?;
            }
            Ok(counters)
        };
        floor = { reopened }().unwrap_or_else(|what| fail(what));
        operations = operations.max(floor.iter().sum());
    }
    eprintln!(
        "{name}: {rounds} kills, {syncs} acknowledged syncs, up to {operations} operations in one \
         store, 0 lost, {:.1} s",
        started.elapsed().as_secs_f64()
    );
}
