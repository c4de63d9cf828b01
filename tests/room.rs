//! On a full disk, what is removed gives room back, whatever its shape, and every removal that is
//! visible becomes durable.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bwtree::io::SimDisk;
use bwtree::{Builder, CleanOptions, Db, Error, Result, SyncPolicy, Tree};
use bwtree_tests::{Random, seed};

/// Longest time in which room is to be made.
const PATIENCE: Duration = Duration::from_secs(20);

/// Trees and keys, and the lengths of the values.
type Model = BTreeMap<(usize, u64), u32>;

fn is_full<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Log(log)) if log.is_full())
}

/// A value of which every byte tells whose it is.
fn value(key: u64, len: u32) -> Vec<u8> {
    let mut random = Random::new(key << 20 | u64::from(len));
    let mut bytes: Vec<u8> = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        bytes.extend(random.next_u64().to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

fn key(number: u64, rising: bool) -> [u8; 8] {
    let number = if rising { number } else { number.wrapping_mul(0x9E37_79B9_7F4A_7C15) };
    number.to_be_bytes()
}

/// What a store is made of.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    room: u64,
    /// A value has so many bytes, or one of these.
    values: &'static [u32],
    trees: usize,
    rising: bool,
    evicted: bool,
    policy: SyncPolicy,
}

const PLAIN: Shape = Shape {
    name: "",
    room: 4 << 20,
    values: &[],
    trees: 1,
    rising: false,
    evicted: false,
    policy: SyncPolicy::EveryWrites(100),
};

struct Store {
    shape: Shape,
    disk: SimDisk,
    db: Db,
    trees: Vec<Tree>,
    model: Model,
    random: Random,
    bytes: u64,
}

fn builder(policy: SyncPolicy, path: &Path) -> Builder {
    Db::builder(path).memory_budget_bytes(8 << 20).sync_policy(policy)
}

fn open(disk: &SimDisk, shape: Shape) -> (Db, Vec<Tree>) {
    let unused = Path::new("unused");
    let db = builder(shape.policy, unused).open_on(Arc::new(disk.clone())).unwrap();
    let trees = (0..shape.trees).map(|tree| db.tree(&format!("tree {tree}")).unwrap());
    let trees = trees.collect();
    (db, trees)
}

impl Store {
    /// A store that has filled its disk, of which another program has the rest.
    fn full(shape: Shape, random: Random) -> Self {
        let disk = SimDisk::new();
        let (db, trees) = open(&disk, shape);
        disk.set_capacity(Some(disk.used() + shape.room));
        let mut store = Self { shape, disk, db, trees, model: Model::new(), random, bytes: 0 };
        let mut number = 0;
        while store.put(number) {
            number += 1;
        }
        assert!(number > 8, "the disk is full with {number} entries");
        store.disk.set_capacity(Some(store.disk.used()));
        // A smaller one may still have found room; now there is none.
        while store.put(number) {
            number += 1;
        }
        store.db.sync().unwrap();
        if shape.evicted {
            store.db.evict_pages();
        }
        store
    }

    fn put(&mut self, number: u64) -> bool {
        let len = self.shape.values[number as usize % self.shape.values.len()];
        let tree = number as usize % self.shape.trees;
        let put = self.trees[tree].put(key(number, self.shape.rising), value(number, len));
        // It is visible if it is its sync that has failed.
        let full = is_full(&put);
        if !full || self.trees[tree].contains_key(key(number, self.shape.rising)).unwrap() {
            self.model.insert((tree, number), len);
            self.bytes += u64::from(len);
        }
        if !full {
            put.unwrap();
        }
        !full
    }

    /// Removes one entry of so many, and returns how many bytes these were.
    fn remove(&mut self, of: usize) -> u64 {
        let mut doomed: Vec<_> = self.model.keys().copied().collect();
        self.random.shuffle(&mut doomed);
        doomed.truncate(doomed.len().div_ceil(of));
        let before = self.bytes;
        for (tree, number) in doomed {
            let removed = self.trees[tree].delete(key(number, self.shape.rising));
            assert!(removed.unwrap(), "{}: {number} was there", self.shape.name);
            self.bytes -= u64::from(self.model.remove(&(tree, number)).unwrap());
        }
        before - self.bytes
    }

    /// Puts entries of so many bytes, for which the store makes room itself.
    fn put_again(&mut self, from: u64, bytes: u64) {
        let (started, goal) = (Instant::now(), self.bytes + bytes);
        let mut number = from;
        while self.bytes < goal {
            if self.put(number) {
                number += 1;
                continue;
            }
            let (name, left) = (self.shape.name, goal - self.bytes);
            assert!(started.elapsed() < PATIENCE, "{name}: no room for {left} of {bytes} bytes");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.db.sync().unwrap();
    }

    fn check(&self) {
        check(&self.db, &self.trees, &self.model, self.shape.rising);
    }

    fn reopen(self, close: bool) -> Self {
        let Self { shape, mut disk, db, trees, model, random, bytes } = self;
        drop(trees);
        if close {
            db.close().unwrap();
        } else {
            let capacity = disk.used();
            disk = disk.kill();
            disk.set_capacity(Some(capacity));
            drop(db);
        }
        let (db, trees) = open(&disk, shape);
        Self { shape, disk, db, trees, model, random, bytes }
    }
}

fn check(db: &Db, trees: &[Tree], model: &Model, rising: bool) {
    let entries: u64 = trees.iter().map(Tree::len).sum();
    assert_eq!(entries, model.len() as u64);
    for (&(tree, number), &len) in model {
        let found = trees[tree].get(key(number, rising)).unwrap();
        assert!(found.is_some_and(|found| found == value(number, len)), "{tree} {number}");
    }
    db.verify().unwrap();
}

/// Values above 1 KiB gave no room back when every second of them was removed.
#[test]
fn what_is_removed_gives_room_back_whatever_its_shape() {
    const KIB: u32 = 1 << 10;
    const MIB: u32 = 1 << 20;
    let shapes = [
        Shape { name: "small", values: &[20, 90, 300], ..PLAIN },
        Shape { name: "rising", values: &[100], rising: true, ..PLAIN },
        Shape { name: "small and evicted", values: &[700], evicted: true, ..PLAIN },
        Shape { name: "apart", values: &[KIB + 1, 3 * KIB], ..PLAIN },
        Shape { name: "apart and evicted", values: &[4 * KIB], evicted: true, ..PLAIN },
        Shape { name: "apart and rising", values: &[2 * KIB], rising: true, ..PLAIN },
        Shape { name: "some in a segment", values: &[30 * KIB, 70 * KIB], room: 8 << 20, ..PLAIN },
        Shape { name: "half a segment", values: &[40 * KIB, 40 * KIB, 2000], ..PLAIN },
        Shape { name: "one in a segment", values: &[MIB, MIB / 2], room: 24 << 20, ..PLAIN },
        Shape { name: "large", values: &[3 * MIB], room: 40 << 20, ..PLAIN },
        Shape { name: "mixed", values: &[9, 500, 1500, 9, 20_000, 80, 90_000], ..PLAIN },
        Shape { name: "many trees", values: &[40, 2000], trees: 40, ..PLAIN },
    ];
    let mut random = Random::new(seed("what_is_removed"));
    for shape in shapes {
        let started = Instant::now();
        let mut store = Store::full(shape, random.fork());
        let entries = store.model.len();
        let removed = store.remove(4);
        store.db.sync().unwrap();
        store.put_again(1 << 30, removed / 5);
        store.check();
        // As an opening finds it, which does not know what its images held.
        let mut store = store.reopen(false);
        store.check();
        let removed = store.remove(4);
        store.put_again(1 << 31, removed / 5);
        store.db.clean(CleanOptions::default()).unwrap();
        let store = store.reopen(true);
        store.check();
        println!("{}: {entries} entries in {:?}", shape.name, started.elapsed());
    }
}

/// A removal was visible and could not be made durable any more, nor could anything that followed.
#[test]
fn every_removal_on_a_full_disk_becomes_durable() {
    let policies = [
        SyncPolicy::Always,
        SyncPolicy::EveryWrites(10),
        SyncPolicy::EveryMillis(3),
        SyncPolicy::Manual,
    ];
    let mut random = Random::new(seed("every_removal"));
    let runs = (0..20).map(|run| (run, policies[run % 4], 1_u64 << 20 << (run % 3)));
    // As large a store as is needed for all chunks of the table to be more than a step moves.
    for (run, policy, room) in runs.chain([(20, SyncPolicy::Always, 30 << 20)]) {
        let disk = SimDisk::new();
        let rising = run % 2 == 1;
        let shape = Shape { rising, policy, ..PLAIN };
        let (db, trees) = open(&disk, shape);
        disk.set_capacity(Some(disk.used() + room));
        let model = removals(&db, &trees[0], (rising, [700, 3000][run / 4 % 2]), &mut random);
        db.sync().unwrap();
        check(&db, &trees, &model, rising);
        // A crash at this moment loses none of it.
        let crashed = disk.crash(&mut |n| random.below(n));
        crashed.set_capacity(Some(disk.used()));
        let (other, others) = open(&crashed, shape);
        check(&other, &others, &model, rising);
        other.close().unwrap();
        drop(trees);
        db.close().unwrap();
        let (db, trees) = open(&disk, shape);
        check(&db, &trees, &model, rising);
    }
}

/// Power is cut while values and pages are moved and given back: every removal that was
/// acknowledged is there, and nothing else is gone.
#[test]
fn a_power_cut_on_a_full_disk_loses_nothing_acknowledged() {
    let mut random = Random::new(seed("a_power_cut_on_a_full_disk"));
    let mut cuts = 0;
    for run in 0..24 {
        let values: &[u32] = if run % 3 == 0 { &[100, 700] } else { &[40, 1100, 5000] };
        let policy = SyncPolicy::Always;
        let shape = Shape { name: "cut", values, policy, room: 900 << 10, ..PLAIN };
        let mut store = Store::full(shape, random.fork());
        store.db.evict_pages();
        let mut doomed: Vec<_> = store.model.keys().copied().collect();
        random.shuffle(&mut doomed);
        store.disk.cut_power_after(1 + random.below(3000));
        let mut unsure = None;
        for (tree, number) in doomed.split_off(doomed.len() / 3) {
            let removed = store.trees[tree].delete(key(number, false));
            if removed.is_err() {
                unsure = Some(number);
                break;
            }
            store.model.remove(&(tree, number));
        }
        cuts += usize::from(!store.disk.is_powered());
        let crashed = store.disk.crash(&mut |n| random.below(n));
        crashed.set_capacity(Some(store.disk.used()));
        let (db, trees) = open(&crashed, shape);
        if let Some(number) = unsure
            && !trees[0].contains_key(key(number, false)).unwrap()
        {
            store.model.remove(&(0, number));
        }
        check(&db, &trees, &store.model, false);
        drop(trees);
        db.close().unwrap();
        let (db, trees) = open(&crashed, shape);
        check(&db, &trees, &store.model, false);
    }
    println!("{cuts} cuts of power");
    assert!(cuts > 4, "the power was cut {cuts} times");
}

/// The same where a file system keeps the accounts.
#[test]
fn every_removal_on_a_small_file_system_becomes_durable() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(dir.path(), 24 << 20) else {
        println!("skipped: no right to mount a file system");
        return;
    };
    let mut random = Random::new(seed("a_small_file_system"));
    let path = mount.0.join("store");
    let db = builder(SyncPolicy::Always, &path).open().unwrap();
    let trees = vec![db.tree("t").unwrap()];
    let model = removals(&db, &trees[0], (false, 900), &mut random);
    check(&db, &trees, &model, false);
    drop(trees);
    db.close().unwrap();
    let db = builder(SyncPolicy::Always, &path).open().unwrap();
    let trees = vec![db.tree("t").unwrap()];
    check(&db, &trees, &model, false);
    drop(trees);
    db.close().unwrap();
}

/// A file system in memory, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, bytes: u64) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Fills the disk, and removes two thirds of all keys by two threads, each its own ones, beside one
/// that reads; then puts go on.
fn removals(db: &Db, tree: &Tree, (rising, longest): (bool, u64), random: &mut Random) -> Model {
    let len = |number: u64| 8 + (number * 7919 % longest) as u32;
    let mut model = Model::new();
    for number in 0.. {
        let put = tree.put(key(number, rising), value(number, len(number)));
        if is_full(&put) {
            if tree.contains_key(key(number, rising)).unwrap() {
                model.insert((0, number), len(number));
            }
            break;
        }
        put.unwrap();
        model.insert((0, number), len(number));
    }
    // What is dirty when the disk is full has the reserve.
    db.sync().unwrap();
    let mut numbers: Vec<u64> = model.keys().map(|(_, number)| *number).collect();
    if !rising {
        random.shuffle(&mut numbers);
    }
    let doomed: Vec<u64> = numbers.into_iter().filter(|number| number % 3 != 0).collect();
    let removing = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while removing.load(Ordering::Acquire) > 0 {
                db.evict_pages();
                for entry in tree {
                    let (found, value_found) = entry.unwrap();
                    assert!((8..8 + longest).contains(&(value_found.len() as u64)), "{found:?}");
                }
            }
        });
        for thread in 0..2 {
            let removing = &removing;
            let mine = doomed.iter().skip(thread).step_by(2);
            scope.spawn(move || {
                for &number in mine {
                    let removed = tree.delete(key(number, rising));
                    assert!(removed.is_ok_and(|removed| removed), "removal of {number}");
                }
                removing.fetch_sub(1, Ordering::Release);
            });
        }
    });
    for number in doomed {
        model.remove(&(0, number));
    }
    let started = Instant::now();
    for number in (1 << 40)..(1 << 40) + 100 {
        while is_full(&tree.put(key(number, rising), value(number, 50))) {
            assert!(started.elapsed() < PATIENCE, "puts do not go on");
            std::thread::sleep(Duration::from_millis(1));
        }
        model.insert((0, number), 50);
    }
    model
}
