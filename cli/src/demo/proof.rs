//! Judges a store after its writer was killed: is exactly one cut of each lane's history there, and
//! does it hold everything that was acknowledged?
//!
//! Take a lane whose recovered position is p. Its operations up to p must all show, and of the next
//! 16 (the position is written at least that often) a prefix: none, the first, the first two, ...
//! Nothing else may be there, and p may not be older than the last acknowledged position.

use super::plan::Plan;
use super::stored::{self, Entry, POSITION_EVERY, Stamp};
use crate::escape;
use crate::failure::{Failure, Outcome};
use crate::lanes;
use crate::trace::{Generator, Op};
use bwtree::Tree;
use std::collections::{HashMap, HashSet};

type Content = HashMap<Vec<u8>, Stamp>;

/// What a store holds.
#[derive(Debug)]
pub(crate) struct Found {
    content: Content,
    /// Of each lane: the recovered position, 0 when there is none yet.
    positions: Vec<u64>,
}

impl Found {
    pub(crate) fn read(tree: &Tree, lanes: usize) -> Outcome<Self> {
        let mut found = Self { content: HashMap::new(), positions: vec![0; lanes] };
        for entry in tree {
            let (key, value) = entry?;
            found.add(&key, &value)?;
        }
        Ok(found)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        match stored::read(key, value) {
            Some(Entry::Position { lane, position }) if lane < self.positions.len() => {
                self.positions[lane] = position;
            }
            Some(Entry::Put { .. }) => {
                self.content.insert(key.to_vec(), Stamp::of(value));
            }
            _ => return Err(wrong(key, "was never written")),
        }
        Ok(())
    }
}

fn wrong(key: &[u8], what: &str) -> Failure {
    let key = escape::shown(key);
    Failure::new(format!("the recovered store is wrong: key {key} {what}; please report this"))
}

/// A proven cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Of each lane: the operations that are in, to the last one.
    pub(crate) positions: Vec<u64>,
    pub(crate) entries: u64,
}

/// Proves that `found` is one cut that holds everything acknowledged.
///
/// # Errors
/// Names the lane or the key that shows the opposite.
pub(crate) fn prove(plan: &Plan, acknowledged: &[u64], found: &Found) -> Outcome<Cut> {
    for (lane, (got, acked)) in found.positions.iter().zip(acknowledged).enumerate() {
        if got < acked {
            return Err(Failure::new(format!(
                "the recovered store lost acknowledged writes: thread {lane} is at {got}, but \
                 {acked} was acknowledged; please report this"
            )));
        }
    }
    let (mut model, tails) = expect(plan, &found.positions)?;
    let mut positions = found.positions.clone();
    for (lane, tail) in tails.iter().enumerate() {
        positions[lane] += settle(lane, tail, &mut model, &found.content)?;
    }
    for (key, stamp) in &model {
        match found.content.get(key) {
            None => return Err(wrong(key, "is missing")),
            Some(got) if got != stamp => return Err(wrong(key, "has another value")),
            Some(_) => {}
        }
    }
    match found.content.keys().find(|key| !model.contains_key(*key)) {
        Some(key) => Err(wrong(key, "should not be there")),
        None => Ok(Cut { positions, entries: model.len() as u64 }),
    }
}

/// An operation that may or may not show: its key, and what it leaves there.
type Maybe = (Vec<u8>, Option<Stamp>);

/// The content after each lane's operations up to its position, and each lane's next operations.
fn expect(plan: &Plan, positions: &[u64]) -> Outcome<(Content, Vec<Vec<Maybe>>)> {
    let mut model = Content::new();
    let mut seen = vec![0; positions.len()];
    let mut tails = vec![Vec::new(); positions.len()];
    for (number, op) in (1_u64..).zip(Generator::new(&plan.parameters())) {
        let lane = lanes::lane_of(&op, positions.len());
        seen[lane] += 1;
        if seen[lane] <= positions[lane] {
            apply(&mut model, &maybe(number, &op));
        } else if seen[lane] <= positions[lane] + POSITION_EVERY {
            tails[lane].push(maybe(number, &op));
        }
        if seen.iter().zip(positions).all(|(seen, position)| *seen > position + POSITION_EVERY) {
            break;
        }
    }
    match seen.iter().zip(positions).position(|(seen, position)| seen < position) {
        Some(lane) => Err(Failure::new(format!(
            "the recovered store is wrong: thread {lane} is at {}, beyond its {} operations",
            positions[lane], seen[lane]
        ))),
        None => Ok((model, tails)),
    }
}

fn maybe(number: u64, op: &Op) -> Maybe {
    (op.store_key(), Stamp::after(number, op))
}

fn apply(content: &mut Content, (key, stamp): &Maybe) {
    match stamp {
        Some(stamp) => content.insert(key.clone(), *stamp),
        None => content.remove(key),
    };
}

/// Applies to the model the prefix of `tail` that the store shows, and returns its length.
fn settle(lane: usize, tail: &[Maybe], model: &mut Content, found: &Content) -> Outcome<u64> {
    let touched: HashSet<&Vec<u8>> = tail.iter().map(|(key, _)| key).collect();
    let agrees = |model: &Content| touched.iter().all(|key| model.get(*key) == found.get(*key));
    for (length, next) in (0..).zip(tail) {
        if agrees(model) {
            return Ok(length);
        }
        apply(model, next);
    }
    if agrees(model) {
        return Ok(tail.len() as u64);
    }
    Err(Failure::new(format!(
        "the recovered store is wrong: of thread {lane}'s last operations it shows some without \
         those before them; please report this"
    )))
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
