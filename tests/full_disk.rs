//! On a disk with no byte left, what gives space back works, and puts are refused until it has.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bwtree::io::SimDisk;
use bwtree::{Builder, CleanOptions, Db, Error, Result, SyncPolicy, Tree};
use bwtree_tests::{Random, seed};

/// Longest time in which a full disk is to be noticed, or room on it.
const PATIENCE: Duration = Duration::from_secs(20);

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn is_full<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Log(log)) if log.is_full())
}

fn key(number: u64) -> Vec<u8> {
    // In no order, so that every leaf is written to.
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

/// A store on a disk of which the test decides how full it is.
struct Store {
    disk: SimDisk,
    policy: SyncPolicy,
    tiny: bool,
    db: Db,
    tree: Tree,
    model: Model,
}

fn builder(policy: SyncPolicy, tiny: bool) -> Builder {
    let builder = Db::builder("unused").memory_budget_bytes(8 << 20).sync_policy(policy);
    if tiny { builder.tiny() } else { builder }
}

impl Store {
    fn new(policy: SyncPolicy, tiny: bool) -> Self {
        let disk = SimDisk::new();
        let db = builder(policy, tiny).open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        Self { disk, policy, tiny, db, tree, model: Model::new() }
    }

    /// Puts until the disk is full, which is told at once and by every put.
    fn fill(&mut self, value_bytes: usize) {
        for number in 0.. {
            let value = vec![number as u8; value_bytes];
            let put = self.tree.put(key(number), value.clone());
            if is_full(&put) {
                // The write is visible if it was its sync that failed.
                if self.tree.get(key(number)).unwrap().is_some() {
                    self.model.insert(key(number), value);
                }
                break;
            }
            put.unwrap();
            self.model.insert(key(number), value);
            if self.policy == SyncPolicy::Manual && number % 50 == 0 && is_full(&self.db.sync()) {
                break;
            }
            assert!(number < 1_000_000, "the disk does not get full");
        }
        // Another program takes what is left.
        self.disk.set_capacity(Some(self.disk.used()));
        self.until_full();
    }

    fn highest_segment(&self) -> u32 {
        let number = |name: String| name.get(4..14).and_then(|digits| digits.parse().ok());
        self.disk.files().into_keys().filter_map(number).max().unwrap()
    }

    fn until_full(&mut self) {
        let started = Instant::now();
        let mut number = 1 << 40;
        loop {
            let put = self.tree.put(key(number), "more");
            if is_full(&put) {
                return;
            }
            put.unwrap();
            self.model.insert(key(number), b"more".to_vec());
            number += 1;
            assert!(started.elapsed() < PATIENCE, "no put is refused");
        }
    }

    /// Removes this part of the keys, all in a row.
    fn remove(&mut self, share: usize) {
        let doomed: Vec<_> = self.model.keys().take(self.model.len() / share).cloned().collect();
        for key in doomed {
            assert!(self.tree.delete(&key).unwrap());
            self.model.remove(&key);
        }
    }

    fn check(&self) {
        check(&self.tree, &self.model);
        self.db.verify().unwrap();
    }

    fn reopen(self, close: bool) -> Self {
        let Self { mut disk, policy, tiny, db, tree, model } = self;
        drop(tree);
        if close {
            db.close().unwrap();
        } else {
            let capacity = disk.used();
            disk = disk.kill();
            disk.set_capacity(Some(capacity));
            drop(db);
        }
        let db = builder(policy, tiny).open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        Self { disk, policy, tiny, db, tree, model }
    }

    /// Puts once there is room, which the store makes itself.
    fn put_again(&mut self, count: u64) {
        let started = Instant::now();
        for number in 0..count {
            loop {
                let put = self.tree.put(key(number), "again");
                if !is_full(&put) {
                    put.unwrap();
                    self.model.insert(key(number), b"again".to_vec());
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "put {number} is still refused");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn check(tree: &Tree, model: &Model) {
    assert_eq!(tree.len(), model.len() as u64);
    let mut found = tree.iter();
    for (key, value) in model {
        let (found_key, found_value) = found.next().unwrap().unwrap();
        assert!(found_key == *key && found_value == *value, "{key:?}");
    }
}

/// Removals passed on a full disk and could not be synced; nothing gave space back; a close failed
/// and was final; and a killed store did not open for writing any more.
#[test]
fn on_a_full_disk_everything_works_that_gives_space_back() {
    let mut random = Random::new(seed("on_a_full_disk"));
    for policy in [
        SyncPolicy::Manual,
        SyncPolicy::Always,
        SyncPolicy::EveryWrites(7),
        SyncPolicy::EveryMillis(5),
    ] {
        for (tiny, room, value_bytes) in [(true, 600 << 10, 60), (false, 3 << 20, 400)] {
            let mut store = Store::new(policy, tiny);
            store.disk.set_capacity(Some(store.disk.used() + room));
            let started = Instant::now();
            store.fill(value_bytes);
            let filled = store.model.len();
            println!("{policy:?} tiny {tiny}: {filled} keys in {:?}", started.elapsed());
            // A try takes no numbers; the threads of the store try as well.
            let before = store.highest_segment();
            for number in 0..500 {
                let put = store.tree.put(key(number), "again");
                // The cleaner may have made room.
                if !is_full(&put) {
                    put.unwrap();
                    store.model.insert(key(number), b"again".to_vec());
                }
            }
            std::thread::sleep(Duration::from_millis(120));
            let now = store.highest_segment();
            assert!(now <= before + 16, "segment {now}, {before} before");
            store.db.sync().unwrap();
            store.check();
            // A crash in this state is recovered from, for writing.
            let crashed = store.disk.crash(&mut |n| random.below(n));
            crashed.set_capacity(Some(crashed.used()));
            let other = builder(policy, tiny).open_on(Arc::new(crashed)).unwrap();
            check(&other.tree("t").unwrap(), &store.model);
            other.close().unwrap();

            store.remove(4);
            store.db.sync().unwrap();
            let mut store = store.reopen(false);
            store.check();
            store.remove(4);
            store.db.sync().unwrap();
            store.db.checkpoint().unwrap();
            store.db.clean(CleanOptions::default()).unwrap();
            let mut store = store.reopen(true);
            store.check();
            store.remove(3);
            store.db.sync().unwrap();
            store.put_again(50);
            store.db.sync().unwrap();
            let store = store.reopen(false);
            store.check();
            // All of it goes.
            store.disk.set_capacity(Some(store.disk.used()));
            store.tree.clear().unwrap();
            store.db.sync().unwrap();
            assert!(store.db.drop_tree("t").unwrap());
            store.db.close().unwrap();
        }
    }
}
