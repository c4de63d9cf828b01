//! The power is cut at every disk change of small random workloads: what recovery finds is exactly
//! the state at the last acknowledged sync, or at the one that was under way.
//!
//! Everything runs on one thread. In half of the workloads the disk calls back in the middle of
//! syncs, checkpoints, cleanings and page-ins, and more is written there: a split or a merge
//! between two writes of one commit. What is written there lies behind the cut, so it must not be
//! found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bwtree::io::SimDisk;
use bwtree::{Bytes, CleanOptions, Db, Error, Tree};
use bwtree_tests::crash::{Contents, Entries, Images, open, text};
use bwtree_tests::hooks::{HookedDisk, Moment};
use bwtree_tests::watch::Watch;
use bwtree_tests::{Random, amount, seed};

const TREES: [&str; 3] = ["a", "b", "c"];
const KEYS: u64 = 160;

/// What a workload does.
#[derive(Clone, Copy, Debug)]
struct Style {
    operations: u64,
    /// Once in how many disk calls the hook writes; 0 for never.
    hook: u64,
    trees: usize,
    /// Trees are dropped and cleared, and ranges removed, a few times as often.
    drops: bool,
}

/// The store as it should be, and what may be found after a crash at this moment.
struct World {
    sim: SimDisk,
    random: Random,
    trees: Vec<Option<Tree>>,
    /// For the hook, while it is on.
    db: Option<Db>,
    now: Contents,
    /// States that a crash now may leave.
    allowed: Vec<Contents>,
    /// Set during an operation that cuts more than once: each state in between may be found.
    records_cuts: bool,
    hook_is_on: bool,
    hook: u64,
    operation: u64,
    writes: u64,
    acknowledged: u64,
    failure: Option<String>,
}

type Shared = Arc<Mutex<World>>;

fn world(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn key(&mut self) -> Vec<u8> {
        format!("k{:03}", self.random.below(KEYS)).into_bytes()
    }

    fn value(&mut self) -> Bytes {
        let len = match self.random.below(40) {
            0 => 1025 + self.random.index(3000),
            1 => 300 + self.random.index(500),
            _ => self.random.index(60),
        };
        let first = self.writes as u8;
        (0..len).map(|at| first.wrapping_add(at as u8)).collect::<Vec<u8>>().into()
    }

    fn shrinks(&self) -> bool {
        self.operation / 50 % 2 == 1
    }
}

/// One write, in the store first and then in the model: what the hook does meanwhile comes before.
fn write(shared: &Shared, tree: usize, key: &[u8], value: Option<Bytes>) -> bwtree::Result<()> {
    let Some(handle) = world(shared).trees[tree].clone() else { return Ok(()) };
    let had = match &value {
        Some(value) => handle.put(key, value.clone()).map(|()| None)?,
        None => Some(handle.delete(key)?),
    };
    let mut world = world(shared);
    world.writes += 1;
    let entries = world.now.entry(TREES[tree].to_owned()).or_default();
    let removed = match value {
        Some(value) => entries.insert(key.to_vec(), value).is_some(),
        None => entries.remove(key).is_some(),
    };
    if had.is_some_and(|had| had != removed) {
        world.failure = Some(format!("delete of {key:?} says {had:?}"));
    }
    Ok(())
}

/// Removes a range of keys, in the store first and then in the model.
fn remove_range(shared: &Shared, tree: usize, from: &[u8], to: &[u8]) -> bwtree::Result<()> {
    let Some(handle) = world(shared).trees[tree].clone() else { return Ok(()) };
    let removed = handle.remove_range(from..to)?;
    let mut world = world(shared);
    let entries = world.now.entry(TREES[tree].to_owned()).or_default();
    let before = entries.len();
    entries.retain(|key, _| key.as_slice() < from || key.as_slice() >= to);
    let gone = before - entries.len();
    if removed != gone as u64 {
        world.failure = Some(format!("remove_range says {removed} instead of {gone}"));
    }
    world.writes += 1;
    Ok(())
}

/// A write of the hook has failed.
fn told_by_hook(shared: &Shared, error: &Error) {
    let mut world = world(shared);
    if world.sim.is_powered() && !matches!(error, Error::Closed) {
        world.failure = Some(format!("a write in the middle of a sync: {error}"));
    }
}

/// What the hook does: a run of writes on neighbouring keys, so that pages split or merge.
fn disturb(shared: &Shared) {
    let (tree, keys, removes) = {
        let mut world = world(shared);
        if !world.hook_is_on || world.hook == 0 {
            return;
        }
        let once_in = world.hook;
        if !world.random.once_in(once_in) {
            return;
        }
        let count = TREES.len() as u64;
        let tree = world.random.below(count) as usize;
        let first = world.random.below(KEYS);
        let run = 1 + world.random.below(25);
        (tree, first..(first + run).min(KEYS), world.random.once_in(2))
    };
    let evicts = world(shared).random.once_in(4);
    if let (true, Some(db)) = (evicts, &world(shared).db) {
        db.evict_pages();
    }
    let ranges = removes && world(shared).random.once_in(3);
    if ranges && world(shared).sim.is_powered() {
        // Of so few pages, none of them damaged, that it does not wait for the turn to append,
        // which this thread has.
        let key = |number: u64| format!("k{number:03}").into_bytes();
        if let Err(error) = remove_range(shared, tree, &key(keys.start), &key(keys.end)) {
            told_by_hook(shared, &error);
            return;
        }
    }
    for key in keys {
        let value = (!removes).then(|| world(shared).value());
        let written = write(shared, tree, format!("k{key:03}").as_bytes(), value);
        if let Err(error) = written {
            told_by_hook(shared, &error);
            return;
        }
    }
    let mut world = world(shared);
    if world.records_cuts {
        let now = world.now.clone();
        world.allowed.push(now);
    }
}

/// Runs what makes everything durable. `cuts_once`: what the hook writes is then not durable.
fn durably(
    shared: &Shared,
    db: Option<&Db>,
    cuts_once: bool,
    sync: impl FnOnce() -> bwtree::Result<()>,
) -> bwtree::Result<()> {
    let (before, writes) = {
        let mut world = world(shared);
        let now = world.now.clone();
        world.allowed.push(now);
        world.records_cuts = !cuts_once;
        world.hook_is_on = true;
        world.db = db.cloned();
        (world.allowed.len() - 1, world.writes)
    };
    let result = sync();
    let mut world = world(shared);
    world.hook_is_on = false;
    world.db = None;
    if result.is_ok() {
        world.allowed.drain(..before);
        world.acknowledged = writes;
    }
    result
}

fn operate(
    shared: &Shared,
    open_db: &mut Option<Db>,
    disk: &HookedDisk,
    style: Style,
) -> bwtree::Result<()> {
    let Some(db) = open_db else { return Ok(()) };
    let (dice, tree, shrinks) = {
        let mut world = world(shared);
        world.operation += 1;
        let tree = world.random.index(style.trees);
        (world.random.below(1000), tree, world.shrinks())
    };
    let dice = match dice {
        200..230 if style.drops => 113,
        230..240 if style.drops => 110,
        240..260 if style.drops => 95,
        dice => dice,
    };
    if world(shared).trees[tree].is_none() {
        let handle = db.tree(TREES[tree])?;
        let mut world = world(shared);
        world.now.entry(TREES[tree].to_owned()).or_default();
        world.trees[tree] = Some(handle);
    }
    let handle = world(shared).trees[tree].clone();
    let Some(handle) = handle else { return Ok(()) };
    match dice {
        0..50 => durably(shared, Some(db), true, || db.sync()),
        50..62 => durably(shared, Some(db), true, || db.checkpoint()),
        62..72 => durably(shared, Some(db), false, || db.clean(CleanOptions::default()).map(drop)),
        72..95 => {
            db.evict_pages();
            Ok(())
        }
        95..110 => {
            let (from, to) = {
                let mut world = world(shared);
                let first = world.random.below(KEYS);
                let to = first + world.random.below(60);
                (format!("k{first:03}").into_bytes(), format!("k{to:03}").into_bytes())
            };
            remove_range(shared, tree, &from, &to)
        }
        110..113 => {
            handle.clear()?;
            let mut world = world(shared);
            world.now.insert(TREES[tree].to_owned(), Entries::new());
            world.writes += 1;
            Ok(())
        }
        113..117 => {
            world(shared).trees[tree] = None;
            drop(handle);
            db.drop_tree(TREES[tree])?;
            let mut world = world(shared);
            world.now.remove(TREES[tree]);
            world.writes += 1;
            Ok(())
        }
        117..121 => {
            world(shared).trees.iter_mut().for_each(|tree| *tree = None);
            drop(handle);
            // Closing refuses all writes first, so nothing can be written in the middle of it.
            let Some(closing) = open_db.take() else { return Ok(()) };
            durably(shared, None, true, || closing.close())?;
            *open_db = Some(open(Arc::new(disk.clone()))?);
            Ok(())
        }
        _ => {
            let (key, value) = {
                let mut world = world(shared);
                let removes = world.random.below(100) < if shrinks { 88 } else { 20 };
                let key = world.key();
                let value = (!removes).then(|| world.value());
                (key, value)
            };
            write(shared, tree, &key, value)
        }
    }
}

/// What a run has left.
struct Left {
    disk: SimDisk,
    allowed: Vec<Contents>,
    acknowledged: u64,
    changes: u64,
}

/// Runs a workload until the power is cut, after `cut` disk changes.
fn run(seed: u64, style: Style, cut: Option<u64>) -> Result<Left, String> {
    let sim = SimDisk::new();
    if let Some(cut) = cut {
        sim.cut_power_after(cut);
    }
    let disk = HookedDisk::new(Arc::new(sim.clone()));
    let shared = Arc::new(Mutex::new(World {
        sim: sim.clone(),
        random: Random::new(seed),
        trees: vec![None; TREES.len()],
        db: None,
        now: Contents::new(),
        allowed: vec![Contents::new()],
        records_cuts: false,
        hook_is_on: false,
        hook: style.hook,
        operation: 0,
        writes: 0,
        acknowledged: 0,
        failure: None,
    }));
    let hook = Arc::clone(&shared);
    // Not at a read: who brings a page in holds back others who need the same page.
    disk.set(move |moment| {
        if moment != Moment::Read {
            disturb(&hook);
        }
    });
    let mut result = Ok(());
    let mut left = match open(Arc::new(disk.clone())) {
        Ok(db) => Some(db),
        Err(error) => {
            result = Err(error);
            None
        }
    };
    for _ in 0..style.operations {
        if result.is_ok() {
            result = operate(&shared, &mut left, &disk, style);
        }
    }
    if let (Ok(()), Some(db)) = (&result, &left) {
        result = durably(&shared, Some(db), true, || db.sync());
    }
    disk.clear();
    let changes = sim.changes();
    let image = sim.clone();
    let powered = sim.is_powered();
    sim.cut_power_after(0);
    let mut world = world(&shared);
    world.trees.clear();
    drop(left);
    match (result, world.failure.take()) {
        // Without power pages cannot be read and are given up, and those that were written without
        // being read have an unknown number of entries.
        (_, Some(failure)) if powered || !failure.starts_with("remove_range") => {
            return Err(failure);
        }
        (Err(error), None) if powered => return Err(format!("while powered: {}", text(error))),
        _ => {}
    }
    let (allowed, acknowledged) = (std::mem::take(&mut world.allowed), world.acknowledged);
    Ok(Left { disk: image, allowed, acknowledged, changes })
}

/// Cuts each of `workloads` at every change, or every `stride`th from a random one on.
#[expect(clippy::print_stderr, reason = "how much was checked is the result")]
fn cut_everywhere(name: &str, workloads: u64, style: Style, images_per_cut: usize, stride: u64) {
    let started = Instant::now();
    let seed = seed(name);
    let watch = Watch::new(Duration::from_secs(45));
    let mut images = Images::new(seed);
    let mut cuts = 0;
    for workload in 0..workloads {
        let seed = seed.wrapping_add(workload);
        let fail = |cut: Option<u64>, what: String| -> ! {
            panic!("{name}: workload seed {seed}, cut {cut:?}, {style:?}: {what}")
        };
        watch.report(format!("{name}: workload seed {seed}, uncut, {style:?}"));
        let whole = run(seed, style, None).unwrap_or_else(|what| fail(None, what));
        let checked = images.check(&whole.disk, &whole.allowed, whole.acknowledged, 1);
        checked.unwrap_or_else(|what| fail(None, what));
        let mut cut = seed % stride;
        while cut < whole.changes {
            watch.report(format!("{name}: workload seed {seed}, cut {cut}, {style:?}"));
            let left = run(seed, style, Some(cut)).unwrap_or_else(|what| fail(Some(cut), what));
            let checked =
                images.check(&left.disk, &left.allowed, left.acknowledged, images_per_cut);
            checked.unwrap_or_else(|what| fail(Some(cut), what));
            cuts += 1;
            cut += stride;
        }
    }
    eprintln!(
        "{name}: {cuts} power cuts, {} images, {} distinct ({} of them of a cut recovery), {} \
         acknowledged writes found, 0 failures, {:.1} s",
        images.taken,
        images.distinct(),
        images.nested,
        images.acknowledged,
        started.elapsed().as_secs_f64()
    );
}

/// More workloads than in an ordinary run: `BWTREE_CRASH_TIMES` as many.
fn times() -> u64 {
    amount("BWTREE_CRASH_TIMES", 1)
}

#[test]
fn quiet_workloads_cut_everywhere() {
    let style = Style { operations: 200, hook: 0, trees: 2, drops: false };
    cut_everywhere("quiet_workloads_cut_everywhere", 20 * times(), style, 4, 1);
}

#[test]
fn workloads_with_writes_in_the_middle_of_syncs_cut_everywhere() {
    let style = Style { operations: 200, hook: 2, trees: 2, drops: false };
    let name = "workloads_with_writes_in_the_middle_of_syncs_cut_everywhere";
    cut_everywhere(name, 20 * times(), style, 4, 1);
}

#[test]
fn one_busy_tree_cut_everywhere() {
    let style = Style { operations: 260, hook: 1, trees: 1, drops: false };
    cut_everywhere("one_busy_tree_cut_everywhere", 16 * times(), style, 3, 1);
}

/// A drop that was cut short left the tree's pages for good, and nothing noticed.
#[test]
fn drops_cut_everywhere() {
    let style = Style { operations: 220, hook: 4, trees: 3, drops: true };
    cut_everywhere("drops_cut_everywhere", 6 * times(), style, 3, 2);
}

#[test]
fn long_workloads_cut_here_and_there() {
    let style = Style { operations: 1500, hook: 3, trees: 3, drops: false };
    cut_everywhere("long_workloads_cut_here_and_there", 3 * times(), style, 3, 11);
}
