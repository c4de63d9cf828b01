//! Regions of a tree grow and shrink while the power is cut again and again: leaves and the pages
//! above them are split and merged all the time, and each life begins with what a commit has of
//! merges that were under way.
//!
//! One thread writes, so that what is left is what it had done up to some moment. A range that was
//! being removed then may be there in part.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{SimDisk, SlowDisk};
use bwtree::{Builder, Db, SyncPolicy, Tree};
use bwtree_tests::crash::text;
use bwtree_tests::watch::Watch;
use bwtree_tests::{Random, amount, seed};

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(usize, u32),
    Discard(usize),
    RemoveRange(usize, usize),
}

/// What a value says of who wrote it, key by key.
type State = Vec<Option<u32>>;

/// What has been written, and how much of it must be left.
struct Written {
    start: State,
    steps: Vec<Step>,
    acknowledged: usize,
}

impl Written {
    /// Whether what is left was there after some step, and not before the one acknowledged.
    fn check(&self, found: &State) -> Result<(), String> {
        let mut state = self.start.clone();
        let mut wrong = state.iter().zip(found).filter(|(one, other)| one != other).count();
        for (at, step) in self.steps.iter().enumerate() {
            let may_end = at >= self.acknowledged;
            if may_end && wrong == 0 {
                return Ok(());
            }
            let (keys, new) = match *step {
                Step::Put(key, serial) => (key..key + 1, Some(serial)),
                Step::Discard(key) => (key..key + 1, None),
                Step::RemoveRange(from, to) => (from..to, None),
            };
            let gone = |key: &usize| found[*key].is_none() && state[*key].is_some();
            if may_end && wrong == keys.clone().filter(gone).count() {
                return Ok(());
            }
            for key in keys {
                wrong -= usize::from(state[key] != found[key]);
                state[key] = new;
                wrong += usize::from(state[key] != found[key]);
            }
        }
        if wrong == 0 {
            return Ok(());
        }
        let first = (0..found.len()).find(|&key| state[key] != found[key]);
        let of_first = first.map(|key| (state[key], found[key]));
        Err(format!("no state of {} steps: {first:?} {of_first:?}, {wrong} keys", self.steps.len()))
    }
}

/// Which keys a store has.
#[derive(Debug, Clone, Copy)]
struct Keys {
    count: usize,
    /// Default limits and keys of 1 to 3 KB, 40 of which have all but their end in common; else
    /// short ones and tiny pages.
    long: bool,
}

impl Keys {
    fn key(self, number: usize) -> Vec<u8> {
        if !self.long {
            return format!("key {number:06}").into_bytes();
        }
        let (group, end) = (number / 40, number % 40);
        let mut key = format!("{group:03}").into_bytes();
        key.resize(1200 + group % 7 * 300, b'x');
        key.extend(format!("{end:02}").bytes());
        key
    }

    fn builder(self) -> Builder {
        let builder = Db::builder("").sync_policy(SyncPolicy::EveryMillis(1));
        if self.long { builder.memory_budget_bytes(8 << 20) } else { builder.tiny() }
    }

    fn found(self, tree: &Tree) -> bwtree::Result<State> {
        (0..self.count)
            .map(|number| {
                let value = tree.get(self.key(number))?;
                Ok(value.and_then(|value| value.first_chunk().copied()).map(u32::from_be_bytes))
            })
            .collect()
    }

    /// What a tree holds, if its checks have nothing to say.
    fn check(self, db: &Db, tree: &Tree) -> Result<State, String> {
        db.verify().map_err(text)?;
        let found = self.found(tree).map_err(text)?;
        let there = found.iter().flatten().count();
        let iterated = [tree.iter().flatten().count(), tree.iter().rev().flatten().count()];
        let counted = tree.len();
        if iterated != [there; 2] || counted != there as u64 {
            return Err(format!("{there} keys, {iterated:?} by iterators, len {counted}"));
        }
        Ok(found)
    }
}

struct Life<'a> {
    keys: Keys,
    tree: Tree,
    written: &'a mut Written,
    serial: &'a mut u32,
}

impl Life<'_> {
    fn put(&mut self, key: usize) -> bwtree::Result<()> {
        *self.serial += 1;
        self.written.steps.push(Step::Put(key, *self.serial));
        let mut value = self.serial.to_be_bytes().to_vec();
        value.resize(4 + *self.serial as usize % 60, 1);
        self.tree.put(self.keys.key(key), value)
    }

    /// Puts or takes away neighbours, or puts what lies anywhere.
    fn change(&mut self, random: &mut Random, most: usize) -> bwtree::Result<()> {
        let from = random.index(self.keys.count);
        let to = self.keys.count.min(from + random.index(most));
        match random.below(4) {
            0 => (from..to).try_for_each(|key| {
                self.written.steps.push(Step::Discard(key));
                self.tree.discard(self.keys.key(key))
            }),
            1 => {
                self.written.steps.push(Step::RemoveRange(from, to));
                self.tree.remove_range(self.keys.key(from)..self.keys.key(to)).map(drop)
            }
            2 => (from..to).try_for_each(|key| self.put(key)),
            _ => (from..to).step_by(2).try_for_each(|_| self.put(random.index(self.keys.count))),
        }
    }
}

/// Opens, writes at once, and goes on until the power is gone.
fn live(
    keys: Keys,
    disk: &SimDisk,
    written: &mut Written,
    serial: &mut u32,
    random: &mut Random,
) -> Result<(), String> {
    // The slower a commit, the more merges it finds under way.
    let slow = SlowDisk::new(Arc::new(disk.clone()));
    slow.delay_syncs(Duration::from_millis(random.below(5)));
    let go = || -> Result<(), String> {
        let db = keys.builder().open_on(Arc::new(slow)).map_err(text)?;
        let tree = db.tree("t").map_err(text)?;
        let mut life = Life { keys, tree: tree.clone(), written, serial };
        for _ in 0..3 {
            let from = random.index(keys.count);
            for key in from..keys.count.min(from + random.index(400)) {
                life.put(key).map_err(text)?;
            }
        }
        if random.once_in(3) {
            keys.check(&db, &tree)?;
        }
        loop {
            life.change(random, keys.count / 4).map_err(text)?;
            if random.once_in(5) {
                db.sync().map_err(text)?;
                life.written.acknowledged = life.written.steps.len();
            }
        }
    };
    // All that goes wrong comes from the power.
    go().or_else(|what| if disk.is_powered() { Err(format!("in a life: {what}")) } else { Ok(()) })
}

#[expect(clippy::print_stderr, reason = "how much was checked is the result")]
fn lives(name: &str, keys: Keys) {
    let (started, seconds) = (Instant::now(), amount("BWTREE_REGIONS_SECONDS", 6));
    let seed = seed(name);
    let watch = Watch::new(Duration::from_secs(90));
    let mut random = Random::new(seed);
    let (mut disk, mut state, mut serial) = (SimDisk::new(), vec![None; keys.count], 0);
    let mut lives = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        let case = format!("{name}: seed {seed}, life {lives}");
        watch.report(case.clone());
        let (victim, lasts) = (disk.clone(), Duration::from_millis(30 + random.below(200)));
        let end = thread::spawn(move || {
            thread::sleep(lasts);
            victim.cut_power_after(0);
        });
        let mut written = Written { start: state.clone(), steps: Vec::new(), acknowledged: 0 };
        let lived = live(keys, &disk, &mut written, &mut serial, &mut random);
        lived.unwrap_or_else(|what| panic!("{case}: {what}"));
        assert!(end.join().is_ok());
        disk = disk.kill();
        // What is checked is a copy: the next life begins with what this one has left.
        let copy = keys.builder().open_on(Arc::new(disk.kill()));
        let copy = copy.unwrap_or_else(|error| panic!("{case}: recovery: {error}"));
        let tree = copy.tree("t").unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = keys.check(&copy, &tree);
        state = found.unwrap_or_else(|what| panic!("{case}: {what}"));
        written.check(&state).unwrap_or_else(|what| panic!("{case}: {what}"));
        lives += 1;
    }
    eprintln!("{name}: {lives} lives, {serial} puts, {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn regions_of_long_keys() {
    lives("regions_of_long_keys", Keys { count: 8000, long: true });
}

#[test]
fn regions_of_tiny_pages() {
    lives("regions_of_tiny_pages", Keys { count: 6000, long: false });
}
