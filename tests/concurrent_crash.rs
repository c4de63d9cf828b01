//! Threads write while the power is cut at a random moment: what is left is a cut of history.
//!
//! Each lane is a thread (see `lanes`). Of each a prefix is left, not older than what a sync
//! acknowledged, and nobody has seen more of another than is left of it. Background threads sync
//! and clean, and one more thread evicts, checkpoints and cleans on top of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bwtree::io::SimDisk;
use bwtree::{CleanOptions, Db, SyncPolicy};
use bwtree_tests::crash::{Contents, contents, open};
use bwtree_tests::lanes::{Lane, Replay};
use bwtree_tests::watch::Watch;
use bwtree_tests::{Random, amount, seed};

/// What the threads of a run have had acknowledged, lane by lane.
#[derive(Debug, Default)]
struct Acknowledged(Vec<AtomicU64>);

impl Acknowledged {
    fn note(&self, counters: &[u64]) {
        for (mine, &counter) in self.0.iter().zip(counters) {
            mine.fetch_max(counter, Ordering::SeqCst);
        }
    }

    fn all(&self) -> Vec<u64> {
        self.0.iter().map(|counter| counter.load(Ordering::SeqCst)).collect()
    }
}

/// Steps until the power is gone. Every error comes from that.
fn write_on(db: &Db, mut lane: Lane, lanes: u64, acknowledged: &Acknowledged, mut random: Random) {
    let mut go = || -> bwtree::Result<()> {
        loop {
            lane.step()?;
            if random.once_in(5) {
                lane.note(random.below(lanes))?;
            }
            if random.once_in(60) {
                let seen = lane.seen(lanes)?;
                db.sync()?;
                acknowledged.note(&seen);
            }
        }
    };
    drop(go());
}

fn disturb(db: &Db, disk: &SimDisk, mut random: Random) {
    while disk.is_powered() {
        match random.below(8) {
            0 => drop(db.checkpoint()),
            1 => drop(db.clean(CleanOptions::default())),
            _ => drop(db.evict_pages()),
        }
        std::thread::sleep(Duration::from_micros(random.below(2000)));
    }
}

struct Round {
    lanes: u64,
    /// Disk changes until the power is cut.
    cut: u64,
    policy: SyncPolicy,
}

/// Runs one round on a store that may hold something, and returns what was acknowledged.
fn run(disk: &SimDisk, round: &Round, start: &[u64], random: &mut Random) -> Vec<u64> {
    let Round { lanes, cut, policy } = *round;
    disk.cut_power_after(cut);
    let acknowledged = Acknowledged(start.iter().copied().map(AtomicU64::new).collect());
    let builder = Db::builder("").tiny().sync_policy(policy).memory_budget_bytes(1 << 20);
    let Ok(db) = builder.open_on(Arc::new(disk.clone())) else { return acknowledged.all() };
    std::thread::scope(|scope| {
        for (lane, &done) in start.iter().enumerate() {
            let (db, acknowledged, random) = (&db, &acknowledged, random.fork());
            scope.spawn(move || {
                if let Ok(lane) = Lane::new(db, lane as u64, done) {
                    write_on(db, lane, lanes, acknowledged, random);
                }
            });
        }
        scope.spawn(|| disturb(&db, disk, random.fork()));
    });
    assert!(!disk.is_powered(), "a lane has ended while the power was on");
    acknowledged.all()
}

/// What the image of a crash holds, after the checks that need no model.
fn recovered(image: &SimDisk) -> Result<Contents, String> {
    let db = open(Arc::new(image.clone())).map_err(|error| format!("recovery: {error}"))?;
    let all = contents(&db)?;
    db.verify().map_err(|error| format!("verify: {error}"))?;
    image.cut_power_after(0);
    Ok(all)
}

#[expect(clippy::print_stderr, reason = "how much was checked is the result")]
fn rounds(name: &str, stores: u64, lanes: u64, longest: u64) {
    let started = Instant::now();
    let seed = seed(name);
    let watch = Watch::new(Duration::from_secs(90));
    let mut random = Random::new(seed);
    let mut replay = Replay::default();
    let (mut images, mut found) = (0, 0);
    for store in 0..stores {
        let mut disk = SimDisk::new();
        let mut start = vec![0; lanes as usize];
        // The store lives on over some crashes.
        for life in 0..4 {
            let policy = match random.below(3) {
                0 => SyncPolicy::Manual,
                1 => SyncPolicy::EveryWrites(40),
                _ => SyncPolicy::EveryMillis(1),
            };
            let round = Round { lanes, cut: random.below(longest), policy };
            let case = format!("{name}: seed {seed}, store {store}, life {life}, {policy:?}");
            watch.report(case.clone());
            let acknowledged = run(&disk, &round, &start, &mut random);
            found += acknowledged.iter().sum::<u64>();
            let mut survivor = None;
            for _ in 0..6 {
                images += 1;
                let image = disk.crash(&mut |choices| random.below(choices));
                let checked =
                    recovered(&image.kill()).and_then(|all| replay.check(&all, &acknowledged));
                match checked {
                    Ok(counters) => survivor = Some((image, counters)),
                    Err(what) => panic!("{case}, cut {}: {what}", round.cut),
                }
            }
            if let Some((image, counters)) = survivor {
                (disk, start) = (image, counters);
            }
        }
    }
    eprintln!(
        "{name}: {images} images of {} power cuts, {found} acknowledged operations found, \
         0 failures, {:.1} s",
        stores * 4,
        started.elapsed().as_secs_f64()
    );
}

/// More stores than in an ordinary run: `BWTREE_CRASH_TIMES` as many.
fn times() -> u64 {
    amount("BWTREE_CRASH_TIMES", 1)
}

#[test]
fn two_lanes_keep_a_prefix_each() {
    rounds("two_lanes_keep_a_prefix_each", 20 * times(), 2, 400);
}

#[test]
fn three_lanes_keep_a_prefix_each() {
    rounds("three_lanes_keep_a_prefix_each", 20 * times(), 3, 900);
}
