//! A `Tree` and a `BTreeMap` do the same, across syncs, checkpoints, cleaning, eviction and
//! reopening in every manner.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex};

use bwtree::io::SimDisk;
use bwtree::{Builder, Bytes, CleanOptions, Db, Error, SyncPolicy, Tree};
use bwtree_tests::{Ask, Mix, Ordered, Pull, Random, Side, drive, pull, seed};

type Content = Mutex<BTreeMap<Vec<u8>, Vec<u8>>>;
const NAMES: [&str; 3] = ["one", "two", "a tree whose name is longer"];

/// Some trees of one store, of which the driver uses one at a time.
struct Store {
    disk: SimDisk,
    options: fn(Builder) -> Builder,
    db: Option<Db>,
    trees: Vec<Tree>,
    active: usize,
    /// Only once in so many operations anything happens in between.
    calm: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    reopened: u64,
    killed: u64,
    synced: u64,
    checkpoints: u64,
    cleaned: u64,
    verified: u64,
    dropped: u64,
    splits: u64,
    merges: u64,
    evictions: u64,
    page_ins: u64,
}

fn open(disk: &SimDisk, options: fn(Builder) -> Builder) -> Db {
    options(Db::builder("unused")).open_on(Arc::new(disk.clone())).unwrap()
}

impl Store {
    fn new(options: fn(Builder) -> Builder, calm: u64) -> Self {
        let disk = SimDisk::new();
        let counts = Counts::default();
        let mut store =
            Self { disk, options, db: None, trees: Vec::new(), active: 0, calm, counts };
        store.open();
        store
    }

    fn open(&mut self) {
        let db = open(&self.disk, self.options);
        self.trees = NAMES.iter().map(|name| db.tree(name).unwrap()).collect();
        self.db = Some(db);
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn tree(&self) -> &Tree {
        &self.trees[self.active]
    }

    fn remember(&mut self) {
        let stats = self.db().stats();
        self.counts.splits += stats.splits;
        self.counts.merges += stats.merges;
        self.counts.evictions += stats.evictions;
        self.counts.page_ins += stats.page_ins;
    }

    fn reopen(&mut self) {
        self.remember();
        self.counts.reopened += 1;
        let trees = std::mem::take(&mut self.trees);
        let db = self.db.take().unwrap();
        // In turn: by chance alone a run of twenty can be without one of them.
        match self.counts.reopened % 3 {
            0 => {
                db.close().unwrap();
                assert!(matches!(trees[0].get("k"), Err(Error::Closed)));
            }
            1 => drop(db),
            _ => {
                // As after a kill: the process is gone, with all of what it had not synced.
                db.sync().unwrap();
                self.disk = self.disk.kill();
                self.counts.killed += 1;
                drop(db);
            }
        }
        drop(trees);
        self.open();
    }

    fn between(&mut self, random: &mut Random, models: &[Content]) {
        match random.below(1000 * self.calm) {
            0..20 => {
                self.db().sync().unwrap();
                self.counts.synced += 1;
            }
            20..26 => {
                self.db().checkpoint().unwrap();
                self.counts.checkpoints += 1;
            }
            26..32 => {
                let report = self.db().clean(CleanOptions::default()).unwrap();
                assert!(report.live_bytes <= report.disk_bytes, "{report:?}");
                self.counts.cleaned += 1;
            }
            32..38 => {
                self.reopen();
                self.compare(models);
            }
            38..44 => {
                let report = self.db().verify().unwrap();
                assert_eq!(report.trees, NAMES.len() as u64);
                self.counts.verified += 1;
            }
            44..47 => {
                let which = random.index(NAMES.len());
                let handle = self.trees[which].clone();
                assert!(self.db().drop_tree(NAMES[which]).unwrap());
                assert!(!self.db().drop_tree(NAMES[which]).unwrap());
                assert!(matches!(handle.put("k", "v"), Err(Error::TreeDropped { .. })));
                assert!(matches!(handle.get("k"), Err(Error::TreeDropped { .. })));
                assert!(handle.iter().next().unwrap().is_err());
                assert!(self.db().find_tree(NAMES[which]).unwrap().is_none());
                models[which].lock().unwrap().clear();
                self.trees.clear();
                if random.once_in(2) {
                    self.db().sync().unwrap();
                }
                self.trees = NAMES.iter().map(|name| self.db().tree(name).unwrap()).collect();
                assert!(matches!(handle.put("k", "v"), Err(Error::TreeDropped { .. })));
                self.counts.dropped += 1;
            }
            _ => {}
        }
    }

    /// Every tree has what it should have.
    fn compare(&self, models: &[Content]) {
        let mut names: Vec<_> = NAMES.iter().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(self.db().tree_names().unwrap(), names);
        for (tree, model) in self.trees.iter().zip(models) {
            let model = model.lock().unwrap();
            assert_eq!(tree.len(), model.len() as u64, "len of {}", tree.name());
            let entries = tree.iter().map(|entry| entry.unwrap());
            let wrong = entries.zip(model.iter()).find(|((k, v), (mk, mv))| k != mk || v != mv);
            assert!(wrong.is_none(), "{}: {wrong:?}", tree.name());
            assert_eq!(tree.iter().rev().count(), model.len(), "{}", tree.name());
        }
    }
}

fn owned((key, value): (Bytes, Bytes)) -> (Vec<u8>, Vec<u8>) {
    (key.to_vec(), value.to_vec())
}

fn some(value: Option<Bytes>) -> Option<Vec<u8>> {
    value.map(|value| value.to_vec())
}

impl Ordered<Vec<u8>, Vec<u8>> for Store {
    fn get(&self, key: &Vec<u8>) -> Option<Vec<u8>> {
        let value = self.tree().get(key).unwrap();
        assert_eq!(self.tree().contains_key(key).unwrap(), value.is_some());
        some(value)
    }

    fn insert(&self, key: &Vec<u8>, value: &Vec<u8>) -> Option<Vec<u8>> {
        let value = value.clone();
        // Three ways that come to the same.
        some(match value.len() % 3 {
            0 => self.tree().insert(key, value).unwrap(),
            1 => self.tree().fetch_and_update(key, |_| Some(Bytes::from(value.clone()))).unwrap(),
            _ => {
                let before = self.tree().get(key).unwrap();
                let now = self.tree().update_and_fetch(key, |_| Some(value.clone()));
                assert_eq!(now.unwrap().unwrap(), value);
                before
            }
        })
    }

    fn put(&self, key: &Vec<u8>, value: &Vec<u8>) {
        self.tree().put(key, value.clone()).unwrap();
        let there =
            self.tree().get_or_insert_with(key, || -> Bytes { panic!("it has a value") }).unwrap();
        assert_eq!(there, value);
    }

    fn remove(&self, key: &Vec<u8>) -> Option<Vec<u8>> {
        if key.len().is_multiple_of(2) {
            return some(self.tree().remove(key).unwrap());
        }
        let before = self.tree().get(key).unwrap();
        assert_eq!(self.tree().delete(key).unwrap(), before.is_some());
        some(before)
    }

    fn compare_exchange(
        &self,
        key: &Vec<u8>,
        expected: Option<&Vec<u8>>,
        new: Option<&Vec<u8>>,
    ) -> Result<(), Option<Vec<u8>>> {
        let (expected, new) = (expected.map(Vec::as_slice), new.map(Vec::as_slice));
        let done = self.tree().compare_exchange(key, expected, new).unwrap();
        done.map_err(|refused| {
            assert_eq!(refused.proposed.as_deref(), new);
            some(refused.current)
        })
    }

    fn first(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.tree().first_key_value().unwrap().map(owned)
    }

    fn last(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.tree().last_key_value().unwrap().map(owned)
    }

    fn pop_first(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.tree().pop_first().unwrap().map(owned)
    }

    fn pop_last(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.tree().pop_last().unwrap().map(owned)
    }

    fn range(
        &self,
        from: Bound<&Vec<u8>>,
        to: Bound<&Vec<u8>>,
        pulls: &[Pull],
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut lent, most) = (Vec::new(), pulls.len().clamp(1, 100));
        let end = self.tree().scan((from, to), |key, value| {
            lent.push((key.to_vec(), value.to_vec()));
            if lent.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let given = self.tree().range((from, to)).map(|entry| owned(entry.unwrap()));
        assert_eq!(lent, given.take(most).collect::<Vec<_>>(), "what a scan lends");
        assert_eq!(end.unwrap().is_break(), lent.len() == most, "where a scan breaks off");
        pull(self.tree().range((from, to)).map(|entry| owned(entry.unwrap())), pulls)
    }

    fn remove_range(&self, from: Bound<&Vec<u8>>, to: Bound<&Vec<u8>>) -> u64 {
        self.tree().remove_range((from, to)).unwrap()
    }

    fn look(&self, key: &Vec<u8>) -> Option<Vec<u8>> {
        self.tree().get_with(key, <[u8]>::to_vec).unwrap()
    }

    fn nearest(&self, side: Side, key: &Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
        let tree = self.tree();
        let found = match side {
            Side::Lt => tree.lt(key),
            Side::Le => tree.le(key),
            Side::Gt => tree.gt(key),
            Side::Ge => tree.ge(key),
        };
        found.unwrap().map(owned)
    }

    fn pop_in(
        &self,
        from: Bound<&Vec<u8>>,
        to: Bound<&Vec<u8>>,
        end: Pull,
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let popped = match end {
            Pull::Front => self.tree().pop_first_in((from, to)),
            Pull::Back => self.tree().pop_last_in((from, to)),
        };
        popped.unwrap().map(owned)
    }

    fn keys(&self, pulls: &[Pull]) -> Vec<Vec<u8>> {
        pull(self.tree().keys().map(|key| key.unwrap().to_vec()), pulls)
    }

    fn values(&self, pulls: &[Pull]) -> Vec<Vec<u8>> {
        pull(self.tree().values().map(|value| value.unwrap().to_vec()), pulls)
    }

    fn retain(&self, keep: Ask<'_, Vec<u8>, Vec<u8>>) {
        self.tree().retain(|key, value| keep(&key.to_vec(), &value.to_vec())).unwrap();
    }

    fn extract_if(
        &self,
        from: Bound<&Vec<u8>>,
        to: Bound<&Vec<u8>>,
        pulls: &[Pull],
        wanted: Ask<'_, Vec<u8>, Vec<u8>>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let wanted = |key: &[u8], value: &[u8]| wanted(&key.to_vec(), &value.to_vec());
        pull(self.tree().extract_if((from, to), wanted).map(|entry| owned(entry.unwrap())), pulls)
    }

    fn clear(&self) {
        self.tree().clear().unwrap();
    }

    fn len(&self) -> u64 {
        self.tree().len()
    }
}

/// Drives the trees of a store in turns.
fn run(
    name: &str,
    (options, calm): (fn(Builder) -> Builder, u64),
    (turns, operations): (u64, u64),
    key: impl Fn(&mut Random) -> Vec<u8>,
    value: impl Fn(&mut Random) -> Vec<u8>,
) -> Counts {
    let mut random = Random::new(seed(name));
    let mut store = Store::new(options, calm);
    let models: Vec<Content> = NAMES.iter().map(|_| Content::default()).collect();
    let (mut done, mut hits) = (0, 0);
    for turn in 0..turns {
        store.active = turn as usize % NAMES.len();
        let shrinks = turn / NAMES.len() as u64 % 2 == 1;
        let mix = match shrinks {
            true => Mix { insert: 120, remove: 500, remove_range: 30, ..Mix::default() },
            false if calm > 1 => {
                Mix { remove: 50, ends: 4, remove_range: 0, clear: 0, ..Mix::default() }
            }
            false => Mix::default(),
        };
        let mut own = random.fork();
        let makers = (|random: &mut Random| key(random), |random: &mut Random| value(random));
        let between = |store: &mut Store, _: u64, _: &Content| store.between(&mut own, &models);
        let model = &models[store.active];
        let tally = drive(&mut store, model, &mut random, operations, &mix, makers, between);
        store.compare(&models);
        done += tally.operations;
        hits += tally.hits;
    }
    store.db().verify().unwrap();
    store.reopen();
    store.compare(&models);
    store.db().verify().unwrap();
    store.remember();
    println!("{name}: {done} operations, {hits} hits, {:?}", store.counts);
    assert!(hits > 0);
    let Counts { reopened, killed, synced, checkpoints, cleaned, verified, dropped, .. } =
        store.counts;
    let least = [reopened, killed, synced, checkpoints, cleaned, verified, dropped];
    assert!(least.iter().all(|&count| count > 0), "{:?}", store.counts);
    store.counts
}

fn short_key(random: &mut Random) -> Vec<u8> {
    format!("k{:03}", random.below(500)).into_bytes()
}

#[test]
fn step_by_step() {
    let options = |b: Builder| b.tiny().without_background().sync_policy(SyncPolicy::Manual);
    let value = |random: &mut Random| match random.below(20) {
        0 => random.bytes(5000),
        _ => random.bytes(60),
    };
    let counts = run("step_by_step", (options, 4), (12, 5000), short_key, value);
    assert!(counts.splits > 0 && counts.merges > 0, "{counts:?}");
}

#[test]
fn with_threads_in_the_background() {
    let options = |b: Builder| b.tiny().sync_policy(SyncPolicy::EveryMillis(2));
    let value = |random: &mut Random| random.bytes(100);
    let counts = run("with_threads_in_the_background", (options, 3), (12, 4000), short_key, value);
    assert!(counts.splits > 0 && counts.merges > 0, "{counts:?}");
}

#[test]
fn normal_pages_full_of_small_entries() {
    let options = |b: Builder| b.sync_policy(SyncPolicy::EveryWrites(300));
    let value = |random: &mut Random| random.bytes(20);
    run("normal_pages_full_of_small_entries", (options, 5), (9, 4000), short_key, value);
}

#[test]
fn every_write_synced() {
    let options = |b: Builder| b.tiny().sync_policy(SyncPolicy::Always);
    run("every_write_synced", (options, 1), (6, 1000), short_key, |random| random.bytes(60));
}

#[test]
fn with_little_memory() {
    let options =
        |b: Builder| b.tiny().memory_budget_bytes(1 << 20).sync_policy(SyncPolicy::EveryWrites(50));
    let key = |random: &mut Random| format!("key {:05}", random.below(1200)).into_bytes();
    let value = |random: &mut Random| match random.below(8) {
        0 => random.bytes(8000),
        _ => random.bytes(900),
    };
    let counts = run("with_little_memory", (options, 20), (9, 8000), key, value);
    assert!(counts.evictions > 0 && counts.page_ins > 0, "{counts:?}");
}

#[test]
fn keys_of_any_length_and_normal_pages() {
    let options = |b: Builder| b.sync_policy(SyncPolicy::EveryWrites(100));
    let key = |random: &mut Random| {
        let mut key = vec![b'k'; *random.pick(&[0, 1, 10, 100, 1000, 4095, 4096])];
        for _ in 0..2 {
            if !key.is_empty() {
                let at = random.index(key.len());
                key[at] = random.next_u64() as u8;
            }
        }
        key
    };
    let value = |random: &mut Random| {
        let longest = *random.pick(&[0, 10, 1023, 1024, 1025, 20_000]);
        vec![random.next_u64() as u8; longest]
    };
    run("keys_of_any_length_and_normal_pages", (options, 1), (6, 1500), key, value);
}

#[test]
fn the_largest_value_and_the_longest_key() {
    let disk = SimDisk::new();
    let options: fn(Builder) -> Builder = |b| b;
    let db = open(&disk, options);
    let tree = db.tree("t").unwrap();
    let large: Vec<u8> = (0..64 << 20).map(|i: u32| (i ^ (i >> 11)) as u8).collect();
    let key = vec![7; 4096];
    tree.put(&key, large.clone()).unwrap();
    tree.put("small", vec![1; 1 << 20]).unwrap();
    assert!(matches!(tree.put("k", vec![0; (64 << 20) + 1]), Err(Error::ValueTooLong { .. })));
    assert!(matches!(tree.put(vec![7; 4097], "v"), Err(Error::KeyTooLong { len: 4097 })));
    assert!(matches!(tree.get(vec![7; 4097]), Err(Error::KeyTooLong { .. })));
    assert!(matches!(tree.remove(vec![7; 4097]), Err(Error::KeyTooLong { .. })));
    assert!(matches!(tree.insert(vec![7; 4097], "v"), Err(Error::KeyTooLong { .. })));
    let exchanged = tree.compare_exchange(vec![7; 4097], None, Some(b"v"));
    assert!(matches!(exchanged, Err(Error::KeyTooLong { .. })));
    assert_eq!(tree.len(), 2);
    db.close().unwrap();
    drop(tree);
    let db = open(&disk, options);
    let tree = db.tree("t").unwrap();
    assert_eq!(tree.len(), 2);
    assert!(tree.get(&key).unwrap().unwrap() == large);
    assert_eq!(tree.range(..).next().unwrap().unwrap().0, key);
    db.verify().unwrap();
    assert!(tree.remove(&key).unwrap().unwrap() == large);
    db.checkpoint().unwrap();
    db.clean(CleanOptions::default()).unwrap();
    assert!(db.stats().disk_bytes < 64 << 20, "{:?}", db.stats());
    assert_eq!(tree.get("small").unwrap().unwrap().len(), 1 << 20);
}
