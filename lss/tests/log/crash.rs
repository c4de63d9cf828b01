//! Power cuts at every change of the disk, also while a crash is being recovered from.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bwtree_lss::io::{Disk, Fault, Op, SimDisk};
use bwtree_lss::{Appender, Error, Log, PageId, Stream};

use crate::driver::{Driver, History, KIND, parts_of, small};
use crate::random::Random;

/// What was checked.
#[derive(Debug, Default)]
struct Checked {
    states: HashSet<u64>,
    openings: u64,
    acknowledgements: u64,
}

impl Checked {
    fn saw(&mut self, disk: &SimDisk) {
        let mut hasher = DefaultHasher::new();
        disk.files().hash(&mut hasher);
        self.states.insert(hasher.finish());
    }
}

/// One life of a store: open, begin, some steps; ends at the first error or after `steps`.
fn live(disk: &SimDisk, steps: u64, history: &mut History, random: &Random, durable: bool) -> bool {
    let opened = Driver::open(Arc::new(disk.clone()), history, random.clone());
    let mut driver = match opened {
        Ok(driver) => driver,
        // With the power off nothing can be read; damage is never an answer.
        Err(error @ Error::Corrupt { .. }) => panic!("{error}"),
        Err(_) => return false,
    };
    if durable {
        driver.settle(history);
    }
    if driver.begin().is_err() {
        return false;
    }
    driver.settle(history);
    for _ in 0..steps {
        if driver.step(history).is_err() {
            return false;
        }
    }
    disk.is_powered() && {
        driver.check_reads();
        true
    }
}

fn crash(disk: &SimDisk, random: &mut Random) -> SimDisk {
    // All lost and all kept are the likeliest mistakes' places; the rest is any mixture.
    match random.below(5) {
        0 => disk.crash(&mut |n| n - 1),
        1 => disk.crash(&mut |_| 0),
        _ => disk.crash(&mut |n| random.below(n)),
    }
}

fn cut_everywhere(seed: u64, steps: u64, crashes: u64, checked: &mut Checked) {
    let whole = SimDisk::new();
    let random = Random(seed);
    let mut history = History::default();
    assert!(live(&whole, steps, &mut history, &random, true));
    assert!(history.acknowledgements > 0);
    for cut in 0..=whole.changes() {
        let disk = SimDisk::new();
        disk.cut_power_after(cut);
        let mut history = History::default();
        live(&disk, steps, &mut history, &random, true);
        checked.acknowledgements += history.acknowledgements;
        for nth in 0..crashes {
            let mut chance = Random(seed ^ (cut << 20) ^ (nth << 50));
            let mut history = history.clone();
            let mut disk = crash(&disk, &mut chance);
            // Half of the time the recovery is cut as well, up to three times.
            for _ in 0..3 {
                checked.saw(&disk);
                if chance.one_in(2) {
                    break;
                }
                disk.cut_power_after(chance.below(25));
                let again = Random(chance.next());
                live(&disk, 4, &mut history, &again, true);
                checked.openings += 1;
                disk = crash(&disk, &mut chance);
            }
            checked.saw(&disk);
            checked.openings += 1;
            let again = Random(chance.next());
            assert!(
                live(&disk, 3, &mut history, &again, true),
                "seed {seed}, cut {cut}, crash {nth}: opens, begins and goes on"
            );
        }
    }
}

#[test]
fn a_crash_anywhere_leaves_exactly_one_commit_not_older_than_the_acknowledged() {
    let seeds = std::env::var("BWTREE_LSS_SEEDS").map_or(40, |n| n.parse().unwrap());
    let mut checked = Checked::default();
    for seed in 1..=seeds {
        cut_everywhere(seed, 25, 8, &mut checked);
    }
    println!(
        "{{\"crash_states\": {}, \"openings\": {}, \"acknowledged\": {}, \"seeds\": {seeds}}}",
        checked.states.len(),
        checked.openings,
        checked.acknowledgements
    );
    assert!(checked.states.len() > 5000);
    assert!(checked.acknowledgements > 5000);
}

#[test]
fn a_killed_process_and_then_a_power_cut_lose_nothing_that_the_reopened_store_acknowledged() {
    let mut openings = 0;
    for seed in 1..=2000 {
        let mut random = Random(seed);
        let disk = SimDisk::new();
        let mut history = History::default();
        disk.cut_power_after(random.below(90));
        live(&disk, 30, &mut history, &Random(seed), true);
        // The cache of the system survives the process; nothing of it needs to be durable.
        let disk = disk.kill();
        disk.cut_power_after(random.below(30));
        live(&disk, 5, &mut history, &Random(seed + 1000), false);
        let disk = crash(&disk, &mut random);
        let fine = live(&disk, 3, &mut history, &Random(seed + 2000), true);
        assert!(fine, "seed {seed}");
        openings += 1;
    }
    println!("{{\"kill_then_power_cut\": {openings}}}");
    assert!(openings > 0);
}

/// What is voided by a rollback must not come back, whichever of its frames and of those that
/// were written over them survive.
#[test]
fn what_was_rolled_back_never_comes_back() {
    let mut found = [0u64; 3];
    for seed in 0..2000 {
        let mut random = Random(seed);
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, _) = Log::open(shared, small()).unwrap();
        let mut appender = log.appender();
        appender.begin([], b"", 0).unwrap();
        append_some(&mut appender, &mut random, b'1');
        appender.commit(1).unwrap();
        for _ in 0..=random.below(2) {
            append_some(&mut appender, &mut random, b'x');
            appender.rollback().unwrap();
        }
        append_some(&mut appender, &mut random, b'2');
        let last_sync = random.one_in(2);
        if !last_sync {
            disk.fail(Op::Sync, 1 + random.below(2), Fault::Eio);
        }
        let committed = appender.commit(2).is_ok();
        drop(appender);
        drop(log);
        let disk = crash(&disk, &mut random);
        let (log, recovered) = Log::open(Arc::new(disk), small()).unwrap();
        assert!(recovered.version == 2 || (recovered.version == 1 && !committed), "seed {seed}");
        found[recovered.version as usize] += 1;
        for part in parts_of(&log, &recovered) {
            let payload = log.read(part.address, part.page, part.kind).unwrap();
            assert_eq!(payload[0], b'0' + part.version as u8, "seed {seed}");
        }
    }
    println!("{{\"rolled_back\": {}, \"then_recovered_1_2\": {:?}}}", 2000, &found[1..]);
    assert!(found[1] > 0 && found[2] > 0);
}

fn append_some(appender: &mut Appender<'_>, random: &mut Random, first: u8) {
    for _ in 0..=random.below(12) {
        let stream = [Stream::Foreground, Stream::Background][random.below(2) as usize];
        let mut payload = vec![first];
        payload.resize(1 + random.below(500) as usize, 7);
        let page = PageId::new(1);
        appender.append(stream, page, KIND, 0, &[], &payload).unwrap();
    }
}
