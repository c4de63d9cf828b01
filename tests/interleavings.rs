//! The interleavings that once broke a design of this store, each forced on one thread and cut at
//! every disk change.
//!
//! The names are those of the findings: A4 to A12 of the review, X1 to X5 of the models of merge,
//! split, cut and crash. What lies between two steps of one commit is forced by a hook that runs
//! before a write of that commit; pages are tiny, so a commit of some pages is several writes.
//! What needs two threads between two loads (the order of stamp and list: A3, and the fences)
//! can't be forced so: `concurrent_crash` covers it at random, the models in the engine all of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bwtree::io::SimDisk;
use bwtree::{Bytes, CleanOptions, Db, Tree};
use bwtree_tests::crash::{Contents, Images, open};
use bwtree_tests::hooks::{HookedDisk, Moment};
use bwtree_tests::seed;
use bwtree_tests::watch::Watch;

/// A write: a key's number, and the length of its new value unless it is removed.
type Write = (u32, Option<usize>);

/// What is to be written before which write of a commit, counted from 1.
type Meanwhile = VecDeque<(u32, Vec<Write>)>;

struct Model {
    now: Contents,
    meanwhile: Meanwhile,
    calls: u32,
    serial: u64,
}

/// A store with one tree, and what may be found after a crash.
struct Stage {
    sim: SimDisk,
    disk: HookedDisk,
    db: Option<Db>,
    tree: Option<Tree>,
    model: Arc<Mutex<Model>>,
    allowed: Vec<Contents>,
    acknowledged: u64,
}

type Played = bwtree::Result<()>;

fn lock(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(tree: &Tree, model: &Mutex<Model>, (key, len): Write) -> Played {
    let key = format!("k{key:04}").into_bytes();
    let value = len.map(|len| {
        let mut model = lock(model);
        model.serial += 1;
        Bytes::from(vec![model.serial as u8; len])
    });
    match &value {
        Some(value) => tree.put(&key, value.clone())?,
        None => drop(tree.delete(&key)?),
    }
    let mut model = lock(model);
    let entries = model.now.entry("t".to_owned()).or_default();
    match value {
        Some(value) => drop(entries.insert(key, value)),
        None => drop(entries.remove(&key)),
    }
    Ok(())
}

impl Stage {
    fn new(cut: Option<u64>) -> Self {
        let sim = SimDisk::new();
        if let Some(cut) = cut {
            sim.cut_power_after(cut);
        }
        let model =
            Model { now: Contents::new(), meanwhile: Meanwhile::new(), calls: 0, serial: 0 };
        Self {
            disk: HookedDisk::new(Arc::new(sim.clone())),
            sim,
            db: None,
            tree: None,
            model: Arc::new(Mutex::new(model)),
            allowed: vec![Contents::new()],
            acknowledged: 0,
        }
    }

    fn open(&mut self) -> Played {
        let db = open(Arc::new(self.disk.clone()))?;
        let tree = db.tree("t")?;
        lock(&self.model).now.entry("t".to_owned()).or_default();
        let (model, writer) = (Arc::clone(&self.model), tree.clone());
        self.disk.set(move |moment| {
            if moment != Moment::Write {
                return;
            }
            let due = {
                let mut model = lock(&model);
                model.calls += 1;
                let due = model.meanwhile.front().is_some_and(|(call, _)| *call <= model.calls);
                if due { model.meanwhile.pop_front() } else { None }
            };
            for one in due.into_iter().flat_map(|(_, writes)| writes) {
                if write(&writer, &model, one).is_err() {
                    return;
                }
            }
        });
        (self.db, self.tree) = (Some(db), Some(tree));
        Ok(())
    }

    fn write(&mut self, writes: impl IntoIterator<Item = Write>) -> Played {
        let Some(tree) = &self.tree else { return Ok(()) };
        writes.into_iter().try_for_each(|one| write(tree, &self.model, one))
    }

    /// Runs a single cut, in the middle of which this is written.
    fn cut(&mut self, meanwhile: Meanwhile, run: impl FnOnce(&Db) -> Played) -> Played {
        self.cuts(meanwhile, false, run)
    }

    fn cuts(
        &mut self,
        meanwhile: Meanwhile,
        many: bool,
        run: impl FnOnce(&Db) -> Played,
    ) -> Played {
        let Some(db) = &self.db else { return Ok(()) };
        let before = self.allowed.len();
        {
            let mut model = lock(&self.model);
            self.allowed.push(model.now.clone());
            (model.calls, model.meanwhile) = (0, meanwhile);
        }
        let result = run(db);
        let mut model = lock(&self.model);
        model.meanwhile.clear();
        if many {
            // Later cuts of the same call have what was written between them: with one such run
            // of writes there are two states.
            self.allowed.push(model.now.clone());
        }
        if result.is_ok() {
            self.allowed.drain(..before);
            self.acknowledged = model.serial;
        }
        result
    }

    fn sync(&mut self) -> Played {
        self.cut(Meanwhile::new(), Db::sync)
    }

    fn sync_while(&mut self, call: u32, writes: Vec<Write>) -> Played {
        self.cut(Meanwhile::from([(call, writes)]), Db::sync)
    }

    fn clean(&mut self) -> Played {
        self.cut(Meanwhile::new(), |db| db.clean(CleanOptions::default()).map(drop))
    }

    /// Brings every page in.
    fn read(&mut self) -> Played {
        let Some(tree) = &self.tree else { return Ok(()) };
        tree.iter().try_for_each(|entry| entry.map(drop))
    }

    /// The scene is worth nothing without a merge.
    fn has_merged(&self) {
        let merges = self.db.as_ref().map_or(0, |db| db.stats().merges);
        assert!(merges > 0, "nothing was merged");
    }

    /// The scene is worth nothing without a split.
    fn has_split(&self) {
        let splits = self.db.as_ref().map_or(0, |db| db.stats().splits);
        assert!(splits > 0, "nothing was split");
    }

    fn evict(&mut self) {
        if let Some(db) = &self.db {
            db.evict_pages();
        }
    }
}

/// Plays a scene, then once for every disk change with the power cut there.
#[expect(clippy::print_stderr, reason = "how much was checked is the result")]
fn everywhere(name: &str, scene: impl Fn(&mut Stage) -> Played) {
    let seed = seed(name);
    let watch = Watch::new(Duration::from_secs(45));
    let mut images = Images::new(seed);
    let mut cut = None;
    let mut last = 0;
    loop {
        watch.report(format!("{name}: seed {seed}, cut {cut:?} of {last}"));
        let mut stage = Stage::new(cut);
        let played = stage.open().and_then(|()| scene(&mut stage));
        let changes = stage.sim.changes();
        let powered = stage.sim.is_powered();
        stage.disk.clear();
        stage.sim.cut_power_after(0);
        (stage.tree, stage.db) = (None, None);
        if let (Err(error), true) = (&played, powered) {
            panic!("{name}: seed {seed}, cut {cut:?}: while powered: {error}");
        }
        let checked = images.check(&stage.sim, &stage.allowed, stage.acknowledged, 3);
        if let Err(what) = checked {
            panic!("{name}: seed {seed}, cut {cut:?} of {last}: {what}");
        }
        match cut {
            None => (last, cut) = (changes, Some(0)),
            Some(at) if at < last => cut = Some(at + 1),
            Some(_) => break,
        }
    }
    eprintln!(
        "{name}: {last} power cuts, {} distinct images, {} acknowledged writes found",
        images.distinct(),
        images.acknowledged
    );
}

fn puts(keys: impl IntoIterator<Item = u32>, len: usize) -> Vec<Write> {
    keys.into_iter().map(|key| (key, Some(len))).collect()
}

fn removes(keys: impl IntoIterator<Item = u32>) -> Vec<Write> {
    keys.into_iter().map(|key| (key, None)).collect()
}

/// Every tenth key: pages of some entries, with room between them.
fn sparse() -> Vec<Write> {
    puts((0..60).map(|n| n * 10), 40)
}

#[test]
fn a4a_a_split_between_two_visits_of_one_cut() {
    for call in 1..4 {
        everywhere("a4a", |stage| {
            stage.write(sparse())?;
            stage.sync()?;
            stage.write(puts((0..60).map(|n| n * 10), 44))?;
            stage.sync_while(call, puts((0..60).map(|n| n * 10 + call), 40))?;
            stage.sync()?;
            stage.write(puts([5, 305, 555], 10))?;
            stage.has_split();
            stage.sync()
        });
    }
}

#[test]
fn a4b_only_the_right_half_is_written_after_a_split() {
    for down in [false, true] {
        everywhere("a4b", |stage| {
            for n in 0..40 {
                let key = if down { 400 - n * 10 } else { n * 10 };
                stage.write(puts([key], 40))?;
                stage.sync()?;
            }
            Ok(())
        });
    }
}

/// Pages that have next to nothing in them, but something; all in memory, none with records.
fn thin(stage: &mut Stage) -> Played {
    stage.write(sparse())?;
    stage.sync()?;
    stage.write(removes((0..60).filter(|n| n % 4 != 0).map(|n| n * 10)))?;
    stage.write(puts((0..60).step_by(4).map(|n| n * 10), 2))?;
    stage.sync()?;
    stage.evict();
    stage.read()
}

/// Fills the area of the page of each of these keys, so that it is consolidated, and merged if it
/// is small.
fn churn(keys: impl IntoIterator<Item = u32>) -> Vec<Write> {
    let one = |key: u32| (0..9).flat_map(move |_| [(key + 1, Some(20)), (key + 1, None)]);
    keys.into_iter().flat_map(one).collect()
}

#[test]
fn a5_a_merge_between_drain_and_visit() {
    for (call, step) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
        everywhere("a5", |stage| {
            thin(stage)?;
            // Pages with records of this cut are absorbed by pages that are clean.
            stage.write(puts((0..60).step_by(12).map(|n| n * 10), 41))?;
            stage.write(puts((0..60).step_by(20).map(|n| n * 10 + 2), 900))?;
            stage.sync_while(call, churn((0..60).rev().step_by(step * 3).map(|n| n * 10)))?;
            stage.sync()?;
            stage.write(puts([1, 301], 10))?;
            stage.sync()?;
            stage.has_merged();
            Ok(())
        });
    }
}

#[test]
fn a9_a_page_is_updated_while_cleaning_moves_it() {
    for call in 1..4 {
        everywhere("a9", |stage| {
            for len in 30..38 {
                stage.write(puts((0..60).map(|n| n * 10), len))?;
                stage.sync()?;
            }
            stage.evict();
            let meanwhile = Meanwhile::from([(call, puts((0..60).step_by(3).map(|n| n * 10), 50))]);
            stage.cuts(meanwhile, true, |db| db.clean(CleanOptions::default()).map(drop))?;
            stage.write(puts([10], 20))?;
            stage.sync()
        });
    }
}

#[test]
fn a10_a_checkpoint_names_committed_places_only() {
    everywhere("a10", |stage| {
        stage.write(sparse())?;
        stage.sync()?;
        for call in 1..4 {
            stage.write(puts((0..30).map(|n| n * 20), 41))?;
            let writes = puts((0..30).map(|n| n * 20 + call), 40);
            stage.cut(Meanwhile::from([(call, writes)]), Db::checkpoint)?;
        }
        stage.write(puts([10], 20))?;
        stage.sync()
    });
}

#[test]
fn a11_segments_die_inside_the_window_of_recovery() {
    everywhere("a11", |stage| {
        for len in 0..24 {
            stage.write(puts((0..40).map(|n| n * 10), 40 + len))?;
            stage.sync()?;
            if len % 8 == 7 {
                stage.clean()?;
            }
        }
        Ok(())
    });
}

#[test]
fn a12_a_commit_names_nothing_that_is_not_durable() {
    everywhere("a12", |stage| {
        for round in 0..6 {
            stage.write(puts((0..8).map(|n| n * 10), 1500 + round * 100))?;
            stage.write(puts((0..40).map(|n| n * 10 + 3), 40))?;
            stage.sync()?;
        }
        stage.evict();
        stage.clean()?;
        stage.write(puts((0..4).map(|n| n * 10), 2000))?;
        stage.sync()?;
        stage.clean()
    });
}

#[test]
fn x1_x2_an_id_is_used_again_only_when_a_commit_has_its_merge() {
    for call in 1..3 {
        everywhere("x2", |stage| {
            thin(stage)?;
            for round in 0..3 {
                // The merge comes after the cut, the split that wants an id right behind it.
                stage.write(puts((0..60).step_by(10).map(|n| n * 10), 42))?;
                stage.write(puts((0..60).step_by(20).map(|n| n * 10 + 2), 900))?;
                stage.sync_while(call, churn((0..60).rev().step_by(2).map(|n| n * 10)))?;
                stage.clean()?;
                stage.write(puts((0..60).map(|n| n * 10 + round), 40))?;
                stage.sync()?;
                stage.write(removes((0..60).map(|n| n * 10 + round)))?;
                stage.sync()?;
                stage.evict();
                stage.read()?;
            }
            stage.has_merged();
            Ok(())
        });
    }
}

#[test]
fn x3_an_image_pulls_in_the_right_page_that_has_none() {
    everywhere("x3", |stage| {
        stage.write(sparse())?;
        stage.sync()?;
        // Split in the middle of a cut; then only the left halves are written.
        stage.write(puts([0], 41))?;
        stage.sync_while(1, puts((0..60).map(|n| n * 10 + 5), 40))?;
        stage.write(puts((0..60).step_by(6).map(|n| n * 10), 43))?;
        stage.sync()?;
        stage.evict();
        stage.write(puts([7], 10))?;
        stage.sync()
    });
}

#[test]
fn x4_merged_records_go_with_the_image_of_the_absorber() {
    for checkpoint in [false, true] {
        everywhere("x4", |stage| {
            thin(stage)?;
            stage.cut(Meanwhile::new(), if checkpoint { Db::checkpoint } else { Db::sync })?;
            for first in [10, 20, 30, 40] {
                stage.write(churn((first..first + 9).step_by(3).map(|n| n * 10)))?;
                stage.write(puts([first * 10 - 10], 20))?;
                stage.sync()?;
            }
            stage.evict();
            stage.write(puts([100, 200], 20))?;
            stage.sync()?;
            stage.has_merged();
            Ok(())
        });
    }
}

#[test]
fn x5_what_was_not_committed_stays_dead() {
    everywhere("x5", |stage| {
        stage.write(puts((0..20).map(|n| n * 10), 40))?;
        stage.sync()?;
        for round in 0..4 {
            stage.write(puts((0..20).map(|n| n * 10), 50 + round))?;
            stage.sync()?;
            (stage.tree, stage.db) = (None, None);
            // Dropping the store closes it, which commits nothing new.
            stage.disk.clear();
            stage.open()?;
        }
        Ok(())
    });
}
