//! Spreads a stream of operations over threads: each key has its lane, so that the operations of a
//! key stay in order while different keys go at once.

use crate::failure::{Failure, Outcome};
use crate::trace::{Change, Op};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// A batch is sent on when it has so many operations, or so many bytes of values.
const BATCH_OPS: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that may wait for a slow lane.
const WAITING: usize = 4;

/// An operation with its place in the whole stream, counted from 1.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) op: Op,
}

/// The batches that a lane receives.
pub(crate) type Batches = Receiver<Vec<Numbered>>;

/// The lane of an operation's key.
pub(crate) fn lane_of(op: &Op, lanes: usize) -> usize {
    lane_of_key(op.map, &op.key, lanes)
}

/// The lane of a key of a map.
pub(crate) fn lane_of_key(map: u8, key: &[u8], lanes: usize) -> usize {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[map]);
    crc.update(key);
    ((u64::from(crc.finalize()) * lanes as u64) >> 32) as usize
}

/// The sending end: takes operations in their order.
#[derive(Debug)]
pub(crate) struct Feeder {
    lanes: Vec<(SyncSender<Vec<Numbered>>, Vec<Numbered>, usize)>,
}

impl Feeder {
    /// Hands over one operation. False when its lane has failed, and feeding on makes no sense.
    #[must_use]
    pub(crate) fn push(&mut self, numbered: Numbered) -> bool {
        let lane = lane_of(&numbered.op, self.lanes.len());
        let (sender, batch, bytes) = &mut self.lanes[lane];
        if let Change::Put { value, .. } = &numbered.op.change {
            *bytes += value.len();
        }
        batch.push(numbered);
        if batch.len() < BATCH_OPS && *bytes < BATCH_BYTES {
            return true;
        }
        *bytes = 0;
        sender.send(std::mem::take(batch)).is_ok()
    }

    /// Sends what has gathered. A lane that is gone has said why.
    fn flush(self) {
        for (sender, batch, _) in self.lanes {
            drop(sender.send(batch));
        }
    }
}

/// Runs `work` for each lane on a thread of its own while `feed` hands out operations on this one.
///
/// # Errors
/// The first failure of a lane, else that of `feed`.
pub(crate) fn run<T: Send>(
    lanes: usize,
    feed: impl FnOnce(&mut Feeder) -> Outcome,
    work: impl Fn(usize, Batches) -> Outcome<T> + Sync,
) -> Outcome<Vec<T>> {
    thread::scope(|scope| {
        let mut feeder = Feeder { lanes: Vec::with_capacity(lanes) };
        let mut threads = Vec::with_capacity(lanes);
        for lane in 0..lanes {
            let (sender, batches) = sync_channel(WAITING);
            feeder.lanes.push((sender, Vec::new(), 0));
            let work = &work;
            threads.push(scope.spawn(move || work(lane, batches)));
        }
        let fed = feed(&mut feeder);
        feeder.flush();
        let mut results = Vec::with_capacity(lanes);
        for thread in threads {
            results.push(thread.join().unwrap_or_else(|_| Err(Failure::new("a thread panicked"))));
        }
        let results: Outcome<Vec<T>> = results.into_iter().collect();
        results.and_then(|results| fed.map(|()| results))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Generator, Parameters};
    use std::collections::HashMap;

    fn feed_all(feeder: &mut Feeder, ops: u64) -> u64 {
        let parameters = Parameters { ops, ..Parameters::default() };
        let mut fed = 0;
        for (number, op) in (1..).zip(Generator::new(&parameters)) {
            if !feeder.push(Numbered { number, op }) {
                break;
            }
            fed += 1;
        }
        fed
    }

    #[test]
    fn a_keys_operations_stay_in_order_on_one_lane() {
        let feed = |feeder: &mut Feeder| {
            assert_eq!(feed_all(feeder, 20_000), 20_000);
            Ok(())
        };
        let results = run(3, feed, |_, batches| {
            let mut last = HashMap::new();
            let mut seen = 0_u64;
            for numbered in batches.into_iter().flatten() {
                let before = last.insert(numbered.op.store_key(), numbered.number);
                assert!(before.is_none_or(|before| before < numbered.number));
                seen += 1;
            }
            Ok((seen, last))
        })
        .unwrap();
        assert_eq!(results.iter().map(|(seen, _)| seen).sum::<u64>(), 20_000);
        assert!(results.iter().all(|(seen, _)| *seen > 2_000), "a lane is idle");
        let keys: usize = results.iter().map(|(_, keys)| keys.len()).sum();
        let mut all = HashMap::new();
        for (_, keys) in results {
            all.extend(keys);
        }
        assert_eq!(all.len(), keys, "a key was on two lanes");
    }

    #[test]
    fn a_failed_lane_stops_the_feeding_and_is_told() {
        let feed = |feeder: &mut Feeder| {
            assert!(feed_all(feeder, 100_000) < 100_000);
            Ok(())
        };
        let result: Outcome<Vec<()>> = run(2, feed, |lane, batches| {
            for _ in batches {
                if lane == 1 {
                    return Err(Failure::new("lane 1 is ill"));
                }
            }
            Ok(())
        });
        assert!(matches!(result, Err(Failure::Message { text, .. }) if text == "lane 1 is ill"));
    }
}
