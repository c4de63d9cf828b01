//! Whole trees under schedules of shuttle's: every operation linearizable, every tree sound.
//!
//! A few threads do some dozens of operations on a map with tiny pages, and are switched at random
//! at any access to an atomic: with a bounded number of switches at places that were drawn before
//! (PCT), or anywhere. Retired pages are freed, and ids used again, as soon as nobody is pinned.
//!
//! Run: `RUSTFLAGS="--cfg shuttle" cargo test --release -p bwtree-tests --test schedules`. It tries
//! `BWTREE_SCHEDULES` schedules of each kind (default 300).
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bwtree::Map;
use bwtree_tests::concurrent::{Boxed, Concurrent, Way};
use bwtree_tests::history::Outcome;
use bwtree_tests::{Random, Recorder, check};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, rand, thread};

const THREADS: usize = 3;
/// Operations of each thread.
const STEPS: usize = 24;
/// Switches of a schedule that PCT draws.
const SWITCHES: usize = 4;
const KEYS: [u64; 4] = [8, 16, 24, 32];
/// Distance of two recorded keys.
const GAP: u64 = 8;

/// What was looked at in all schedules.
#[derive(Debug, Default)]
struct Total {
    schedules: AtomicU64,
    histories: AtomicU64,
    operations: AtomicU64,
}

fn step<M: Concurrent>(
    map: &M,
    scribe: &mut bwtree_tests::Scribe<'_, u64, u64>,
    random: &mut Random,
    value: u64,
) {
    let key = *random.pick(&KEYS);
    match random.below(13) {
        0..3 => {
            scribe.get(key, || map.get(key));
        }
        3..5 => {
            scribe.insert(key, value, || map.insert(key, value));
        }
        5..7 => {
            scribe.remove(key, || map.remove(key));
        }
        7 => {
            let Outcome::Value(seen) = scribe.get(key, || map.get(key)) else {
                unreachable!("a get shows a value")
            };
            scribe
                .compare_exchange(key, seen, Some(value), || map.exchange(key, seen, Some(value)));
        }
        8 => {
            let (way, range) = (Way::any(random), (Bound::Included(1), Bound::Unbounded));
            scribe.scan(&KEYS, || {
                let mut all = map.scan(range.0, range.1, way);
                all.retain(|(key, _)| key % GAP == 0);
                all
            });
        }
        9 => {
            let (way, range) = (Way::any(random), (Bound::Included(1), Bound::Unbounded));
            scribe.scan_snapshot(&KEYS, |taken| {
                let mut all = map.scan_snapshot(taken, range.0, range.1, way).unwrap();
                all.retain(|(key, _)| key % GAP == 0);
                all
            });
        }
        // Neighbours come and go, so that pages split and merge.
        _ => {
            let put = random.once_in(2);
            for neighbour in (key - GAP + 1)..key {
                if put {
                    map.put(neighbour, value);
                } else {
                    map.remove(neighbour);
                }
            }
        }
    }
}

/// One schedule of one run.
fn run<M: Concurrent + Send + Sync + 'static>(
    map: Arc<M>,
    sound: fn(&M) -> Result<(), String>,
    total: &Total,
) {
    let recorder = Arc::new(Recorder::new());
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (map, recorder) = (Arc::clone(&map), Arc::clone(&recorder));
            let mut random = Random::new(rand::Rng::r#gen(&mut rand::thread_rng()));
            thread::spawn(move || {
                let mut scribe = recorder.scribe(thread);
                for at in 0..STEPS {
                    let value = 1 + (at * THREADS + thread) as u64;
                    step(&*map, &mut scribe, &mut random, value);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let Ok(recorder) = Arc::try_unwrap(recorder) else { unreachable!("all have ended") };
    match check(&recorder.into_history()) {
        Ok(checked) => {
            total.schedules.fetch_add(1, Ordering::Relaxed);
            total.histories.fetch_add(checked.keys as u64, Ordering::Relaxed);
            total.operations.fetch_add(checked.operations as u64, Ordering::Relaxed);
        }
        Err(violation) => panic!("{violation}"),
    }
    sound(&map).unwrap();
}

fn schedules() -> usize {
    std::env::var("BWTREE_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

fn all<M: Concurrent + Send + Sync + 'static>(
    name: &str,
    scheduler: impl Scheduler + 'static,
    map: fn() -> M,
    sound: fn(&M) -> Result<(), String>,
) {
    let (total, begin) = (Arc::new(Total::default()), Instant::now());
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let counted = Arc::clone(&total);
    Runner::new(scheduler, config).run(move || run(Arc::new(map()), sound, &counted));
    println!("{name}: {total:?}, 0 violations, {} ms", begin.elapsed().as_millis());
    assert_eq!(total.schedules.load(Ordering::Relaxed), schedules() as u64);
}

type Numbers = Map<u64, u64>;

fn texts() -> Boxed {
    Boxed(Map::with_tiny_pages())
}

#[test]
fn a_map_of_numbers_under_pct() {
    let scheduler = PctScheduler::new(SWITCHES, schedules());
    all("numbers, pct", scheduler, Numbers::with_tiny_pages, Numbers::check);
}

#[test]
fn a_map_of_numbers_under_random_switches() {
    let scheduler = RandomScheduler::new(schedules());
    all("numbers, random", scheduler, Numbers::with_tiny_pages, Numbers::check);
}

#[test]
fn a_map_of_texts_under_pct() {
    let scheduler = PctScheduler::new(SWITCHES, schedules());
    all("texts, pct", scheduler, texts, |map| map.0.check());
}

#[test]
fn a_map_of_texts_under_random_switches() {
    let scheduler = RandomScheduler::new(schedules());
    all("texts, random", scheduler, texts, |map| map.0.check());
}
