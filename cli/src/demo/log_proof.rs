//! Judges the append-only log after its writer was killed: which operations are in it, has it
//! everything that was acknowledged, and does a thread's later operation show without one before
//! it?
//!
//! A thread's operations on one map are in that map's file in their order, so that the records of a
//! thread and a map are counted off against the traffic, one by one.

use super::plan::Plan;
use crate::baseline;
use crate::failure::{Failure, Outcome};
use crate::lanes;
use crate::trace::{Generator, MAPS};
use std::collections::VecDeque;
use std::path::Path;

/// What the log holds of the traffic.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Of each lane: its first operations that are all in.
    pub(crate) positions: Vec<u64>,
    /// Operations that are in although one before them, of the same lane, is not.
    pub(crate) beyond_gaps: u64,
}

impl Kept {
    pub(crate) fn operations(&self) -> u64 {
        self.positions.iter().sum::<u64>() + self.beyond_gaps
    }
}

/// Counts the log below `dir` off against the traffic.
///
/// # Errors
/// If a record is none of the traffic's, or an acknowledged operation is missing.
pub(crate) fn judge(plan: &Plan, acknowledged: &[u64], dir: &Path) -> Outcome<Kept> {
    let lanes = acknowledged.len();
    let mut found = vec![VecDeque::new(); MAPS.len() * lanes];
    let place = |map: u8, lane: usize| usize::from(map) * lanes + lane;
    baseline::records(dir, |map, record, key, _| {
        let lane = lanes::lane_of_key(map, key, lanes);
        found[place(map, lane)].push_back(crc32fast::hash(record));
    })?;
    let mut kept = Kept { positions: vec![0; lanes], beyond_gaps: 0 };
    let mut gap = vec![false; lanes];
    for op in Generator::new(&plan.parameters()) {
        let lane = lanes::lane_of(&op, lanes);
        match found[place(op.map, lane)].pop_front() {
            None => gap[lane] = true,
            Some(crc) if crc != baseline::fingerprint(&op) => {
                return Err(Failure::new("the log holds a record that was never written so"));
            }
            Some(_) if gap[lane] => kept.beyond_gaps += 1,
            Some(_) => kept.positions[lane] += 1,
        }
        if gap.iter().all(|gap| *gap) && found.iter().all(VecDeque::is_empty) {
            break;
        }
    }
    if found.iter().any(|records| !records.is_empty()) {
        return Err(Failure::new("the log holds records beyond the traffic"));
    }
    match kept.positions.iter().zip(acknowledged).position(|(kept, acked)| kept < acked) {
        Some(lane) => Err(Failure::new(format!(
            "the log lost acknowledged operations: thread {lane} is at {}, but {} was acknowledged",
            kept.positions[lane], acknowledged[lane]
        ))),
        None => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Log;

    fn plan() -> Plan {
        Plan { ops: 6_000, threads: 2, seed: 4, sync_every: 100 }
    }

    /// A log with the operations for which `is_in` says so, and the first ones of each lane.
    fn log(is_in: impl Fn(usize) -> bool) -> (tempfile::TempDir, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::start(dir.path(), false).unwrap();
        let mut lanes = vec![0; 2];
        for (number, op) in Generator::new(&plan().parameters()).enumerate() {
            if is_in(number) {
                log.append(&op).unwrap();
                lanes[lanes::lane_of(&op, 2)] += 1;
            }
        }
        (dir, lanes)
    }

    #[test]
    fn first_operations_are_accepted_and_lost_ones_noticed() {
        let (dir, lanes) = log(|number| number < 3_000);
        let kept = judge(&plan(), &lanes, dir.path()).unwrap();
        assert_eq!((&kept.positions, kept.operations()), (&lanes, 3_000));
        let more = [lanes[0], lanes[1] + 1];
        assert!(judge(&plan(), &more, dir.path()).is_err());
    }

    #[test]
    fn a_gap_between_maps_is_counted() {
        let map_of = |wanted: usize| Generator::new(&plan().parameters()).nth(wanted).unwrap().map;
        // The file of one map ends earlier than the others, as files do that are synced in turn.
        let short = map_of(2_900);
        let maps: Vec<u8> = Generator::new(&plan().parameters()).map(|op| op.map).collect();
        let (dir, _) = log(|number| number < 3_000 && (number < 2_000 || maps[number] != short));
        let kept = judge(&plan(), &[0, 0], dir.path()).unwrap();
        assert!(kept.beyond_gaps > 0, "{kept:?}");
    }
}
