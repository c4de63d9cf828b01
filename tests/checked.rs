//! Checks beside writers: what threads do while a check looks is no damage.
//!
//! A check of trees whose ranges were removed, or that were cleared and dropped, called pages of
//! them lost, and their entries miscounted, about once in fifteen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::{Db, Error, Map, SyncPolicy};
use bwtree_tests::{Random, amount, seed};

const KEYS: u64 = 20_000;
const WRITERS: u64 = 3;

/// Fills, empties and drops trees.
fn write(db: &Db, random: &mut Random) -> Result<(), Error> {
    let name = format!("t{}", random.below(3));
    let tree = match db.tree(&name) {
        // Another thread drops it.
        Err(Error::TreeDropped { .. }) => return Ok(()),
        tree => tree?,
    };
    let key = |number: u64| number.to_be_bytes();
    let first = random.below(KEYS);
    let written = match random.below(12) {
        0 => db.drop_tree(&name).map(drop),
        1 => tree.clear(),
        2..5 => tree.remove_range(key(first)..key(first + random.below(KEYS / 2))).map(drop),
        5..7 => (first..first + 800).try_for_each(|number| tree.remove(key(number)).map(drop)),
        7..9 => (first..first + 800).try_for_each(|number| tree.delete(key(number)).map(drop)),
        _ => {
            let value = vec![7; 20 + random.index(200)];
            (first..first + 2000).try_for_each(|number| tree.put(key(number), &value))
        }
    };
    match written {
        Err(Error::TreeDropped { .. }) => Ok(()),
        written => written,
    }
}

#[test]
fn what_writers_do_meanwhile_is_no_damage() {
    let mut random = Random::new(seed("what_writers_do_meanwhile_is_no_damage"));
    let seconds = amount("BWTREE_CHECKED_SECONDS", 18);
    for (budget, is_parked) in [(1 << 20, false), (64 << 20, false), (16 << 20, true)] {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::builder(dir.path()).memory_budget_bytes(budget);
        let db = db.sync_policy(SyncPolicy::EveryMillis(20)).open().unwrap();
        let map = Map::<u64, u64>::new();
        let is_over = AtomicBool::new(false);
        let writes = AtomicU64::new(0);
        let (mut checks, mut pages, mut largest) = (0, 0, 0);
        let mut alarms = Vec::new();
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                let mut random = Random::new(random.next_u64());
                let (db, is_over, writes) = (&db, &is_over, &writes);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        write(db, &mut random).unwrap();
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(seconds) / 3 {
                checks += 1;
                let _session = is_parked.then(|| map.session());
                match db.verify() {
                    Ok(report) => {
                        pages += report.pages;
                        largest = largest.max(report.largest_page);
                    }
                    Err(Error::Damaged { found }) => {
                        println!("{}", Error::Damaged { found: found.clone() });
                        alarms.extend(found.iter().map(ToString::to_string));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let writes = writes.into_inner();
        println!("{checks} checks of {pages} pages of {largest} bytes beside {writes} writes");
        assert!(alarms.is_empty(), "{} false alarms, the first: {}", alarms.len(), alarms[0]);
        assert!(checks > 3 && pages > 0 && writes > 10);
        _ = db.verify().unwrap();
        db.close().unwrap();
    }
}
