//! Lanes: writers whose operations follow from their number, so that what is left after a crash
//! shows how far each one had come.
//!
//! Operation `n` of a lane is a write in the tree `data`, on keys that only this lane writes but
//! that lie between those of the others, and then `n` in the lane's counter in the tree `counts`.
//! So a cut of history has of each lane a counter `c`, the data of the operations up to `c`, and
//! perhaps that of operation `c + 1`. A note says that a lane has seen another one's counter: it
//! must never be newer than that counter.

use std::collections::BTreeMap;

use bwtree::{Bytes, Db, Tree};

use crate::crash::{Contents, Entries, text};

/// Keys of each lane.
const KEYS: u64 = 150;
/// Operations until a lane turns from growing to shrinking, or back.
const PHASE: u64 = 300;

/// One writer.
#[derive(Debug)]
pub struct Lane {
    number: u64,
    data: Tree,
    counts: Tree,
    /// The last operation that was done; 0 for none.
    pub done: u64,
}

fn mixed(lane: u64, operation: u64) -> u64 {
    let mut z = (lane << 48 ^ operation).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What an operation of a lane does: its key, and the new value unless it removes.
fn operation(lane: u64, n: u64) -> (Vec<u8>, Option<Bytes>) {
    let random = mixed(lane, n);
    let key = format!("k{:03}-{lane}", random % KEYS).into_bytes();
    let shrinking = n / PHASE % 2 == 1;
    let removes = (random >> 16) % 10 < if shrinking { 9 } else { 1 };
    let len = match (random >> 24) % 50 {
        0 => 1500 + (random >> 32) % 2000,
        _ => 8 + (random >> 32) % 50,
    };
    let mut value = vec![n as u8; len as usize];
    value[..8].copy_from_slice(&n.to_le_bytes());
    (key, (!removes).then(|| value.into()))
}

fn counter_key(lane: u64) -> Vec<u8> {
    format!("count-{lane}").into_bytes()
}

fn note_key(lane: u64, other: u64) -> Vec<u8> {
    format!("note-{lane}-{other}").into_bytes()
}

fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(u64::MAX, u64::from_le_bytes)
}

impl Lane {
    /// The lane of this number, to go on after operation `done`.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn new(db: &Db, number: u64, done: u64) -> bwtree::Result<Self> {
        Ok(Self { number, data: db.tree("data")?, counts: db.tree("counts")?, done })
    }

    /// Does the next operation.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn step(&mut self) -> bwtree::Result<()> {
        let n = self.done + 1;
        let (key, value) = operation(self.number, n);
        match value {
            Some(value) => self.data.put(key, value)?,
            None => drop(self.data.delete(key)?),
        }
        self.counts.put(counter_key(self.number), n.to_le_bytes().to_vec())?;
        self.done = n;
        Ok(())
    }

    /// Reads another lane's counter and writes down what it has read.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn note(&self, other: u64) -> bwtree::Result<()> {
        if let Some(count) = self.counts.get(counter_key(other))? {
            self.counts.put(note_key(self.number, other), count)?;
        }
        Ok(())
    }

    /// The counters of all lanes, as this one can see them now.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn seen(&self, lanes: u64) -> bwtree::Result<Vec<u64>> {
        let count = |lane| Ok(self.counts.get(counter_key(lane))?.map_or(0, |c| number(&c)));
        (0..lanes).map(count).collect()
    }
}

/// Replays lanes, and compares what is there with it. Keeps its place between checks: a counter
/// that has gone back is replayed from the start.
#[derive(Debug, Default)]
pub struct Replay {
    lanes: Vec<(u64, Entries)>,
}

impl Replay {
    /// Checks that `all` is a cut of what the lanes have written, at or after `floor`, and returns
    /// the counters.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(&mut self, all: &Contents, floor: &[u64]) -> Result<Vec<u64>, String> {
        let empty = Entries::new();
        let data = all.get("data").unwrap_or(&empty);
        let counts = all.get("counts").unwrap_or(&empty);
        let lanes = floor.len() as u64;
        let count = |lane| counts.get(&counter_key(lane)).map_or(0, |value| number(value));
        let counters: Vec<u64> = (0..lanes).map(count).collect();
        for (lane, (&count, &floor)) in counters.iter().zip(floor).enumerate() {
            if count < floor {
                return Err(format!("lane {lane} is at {count}; {floor} was acknowledged"));
            }
        }
        for lane in 0..lanes {
            for other in 0..lanes {
                let note = counts.get(&note_key(lane, other)).map_or(0, |value| number(value));
                if note > counters[other as usize] {
                    return Err(format!(
                        "lane {lane} has seen lane {other} at {note}, which is at {}",
                        counters[other as usize]
                    ));
                }
            }
        }
        self.lanes.resize_with(floor.len(), Default::default);
        for lane in 0..lanes {
            let suffix = format!("-{lane}").into_bytes();
            let mine = |(key, _): &(&Vec<u8>, &Bytes)| key.ends_with(&suffix);
            let found: BTreeMap<&Vec<u8>, &Bytes> = data.iter().filter(mine).collect();
            self.check_lane(lane, counters[lane as usize], &found).map_err(text)?;
        }
        Ok(counters)
    }

    fn check_lane(
        &mut self,
        lane: u64,
        count: u64,
        found: &BTreeMap<&Vec<u8>, &Bytes>,
    ) -> Result<(), String> {
        let (done, entries) = &mut self.lanes[lane as usize];
        if *done > count {
            (*done, *entries) = (0, Entries::new());
        }
        for n in *done + 1..=count {
            apply(entries, operation(lane, n));
        }
        *done = count;
        if found.iter().map(|(key, value)| (*key, *value)).eq(entries.iter()) {
            return Ok(());
        }
        let mut next = entries.clone();
        apply(&mut next, operation(lane, count + 1));
        if found.iter().map(|(key, value)| (*key, *value)).eq(next.iter()) {
            return Ok(());
        }
        let keys: std::collections::BTreeSet<&Vec<u8>> =
            found.keys().copied().chain(entries.keys()).collect();
        let version = |value: Option<&Bytes>| value.map(|v| number(&v[..8]));
        let wrong: Vec<String> = keys
            .into_iter()
            .filter(|key| found.get(key).copied() != entries.get(*key))
            .map(|key| {
                format!(
                    "{}: {:?}, wanted {:?}",
                    String::from_utf8_lossy(key),
                    version(found.get(key).copied()),
                    version(entries.get(key))
                )
            })
            .collect();
        Err(format!(
            "lane {lane} at {count}: {} wrong: {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(6)]
        ))
    }
}

fn apply(entries: &mut Entries, (key, value): (Vec<u8>, Option<Bytes>)) {
    match value {
        Some(value) => drop(entries.insert(key, value)),
        None => drop(entries.remove(&key)),
    }
}
