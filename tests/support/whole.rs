//! Is there one order of all operations on a whole map that explains what every thread saw?
//!
//! What a search for a neighbour sees depends on every key, so histories with such searches can't
//! be checked key by key. This is the plain search of Wing and Gong over the state of a map of at
//! most [`KEYS`] keys: try every operation that may be the next one, go on from there, and never
//! look twice at the same (operations done, state). Good for a few dozen operations.

use std::collections::HashSet;

use crate::model::Side;

/// Keys of a map, which are the numbers below this.
pub const KEYS: usize = 6;

/// The value of each key.
pub type State = [Option<u64>; KEYS];

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The value of a key.
    Get(usize),
    /// To set a value; saw the one before.
    Insert(usize, u64),
    /// To take a value away; saw it.
    Remove(usize),
    /// A neighbour of a key.
    Nearest(Side, usize),
    /// The first entry.
    First,
    /// The last entry.
    Last,
    /// All entries at one moment: a snapshot.
    All,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// A value, or that there was none.
    Value(Option<u64>),
    /// An entry, or that there was none.
    Entry(Option<(usize, u64)>),
    /// The value of each key.
    All(State),
}

/// One operation: what was asked and seen, and when it began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub asked: Asked,
    /// What was seen.
    pub saw: Saw,
    /// Before the call.
    pub invoked: u64,
    /// After the return.
    pub returned: u64,
    /// This is the second step of one call, of which the operation before it is the first.
    pub second: bool,
}

fn entry(state: &State, key: usize) -> Option<(usize, u64)> {
    state[key].map(|value| (key, value))
}

/// What an operation sees of a state, and the state after it.
fn apply(asked: Asked, state: &State) -> (Saw, State) {
    let mut after = *state;
    let first = |mut keys: std::ops::Range<usize>| Saw::Entry(keys.find_map(|k| entry(state, k)));
    let last = |keys: std::ops::Range<usize>| Saw::Entry(keys.rev().find_map(|k| entry(state, k)));
    let saw = match asked {
        Asked::Get(key) => Saw::Value(state[key]),
        Asked::Insert(key, value) => Saw::Value(after[key].replace(value)),
        Asked::Remove(key) => Saw::Value(after[key].take()),
        Asked::Nearest(Side::Lt, key) => last(0..key),
        Asked::Nearest(Side::Le, key) => last(0..key + 1),
        Asked::Nearest(Side::Gt, key) => first(key + 1..KEYS),
        Asked::Nearest(Side::Ge, key) => first(key..KEYS),
        Asked::First => first(0..KEYS),
        Asked::Last => last(0..KEYS),
        Asked::All => Saw::All(*state),
    };
    (saw, after)
}

/// Looks for an order of all calls, of a map that begins with `initial`; returns the steps taken.
///
/// # Errors
/// The history, if there is none.
///
/// # Panics
/// If there are more than 64 calls.
pub fn explain(initial: State, calls: &[Call]) -> Result<u64, String> {
    assert!(calls.len() <= 64, "{} calls are too many", calls.len());
    let mut seen = HashSet::new();
    let mut open = vec![(0_u64, initial)];
    let mut steps = 0;
    let all = u64::MAX >> (64 - calls.len().max(1)) as u32;
    while let Some((done, state)) = open.pop() {
        if calls.is_empty() || done == all {
            return Ok(steps);
        }
        let left = |at: &usize| done >> at & 1 == 0;
        let ends = (0..calls.len()).filter(left).map(|at| calls[at].returned).min();
        for at in (0..calls.len()).filter(left) {
            steps += 1;
            let call = &calls[at];
            // Whoever ended before this one began took place before it; a first step, before its
            // second.
            let may = ends.is_some_and(|end| call.invoked < end)
                && !(call.second && done >> (at - 1) & 1 == 0);
            let (saw, after) = apply(call.asked, &state);
            if may && saw == call.saw {
                let next = (done | 1 << at, after);
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
    }
    let mut lines: Vec<&Call> = calls.iter().collect();
    lines.sort_by_key(|call| call.invoked);
    let lines: Vec<String> = lines.into_iter().map(|call| format!("  {call:?}")).collect();
    Err(format!("no order explains, from {initial:?}:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(asked: Asked, saw: Saw, invoked: u64, returned: u64) -> Call {
        Call { asked, saw, invoked, returned, second: false }
    }

    const NONE: State = [None; KEYS];

    #[test]
    fn a_search_that_misses_what_was_always_there_is_caught() {
        // 1 comes before 4 goes, so there always is an entry.
        let insert = call(Asked::Insert(1, 10), Saw::Value(None), 1, 2);
        let remove = call(Asked::Remove(4), Saw::Value(Some(40)), 3, 4);
        let mut state = NONE;
        state[4] = Some(40);
        let first = |saw| call(Asked::First, Saw::Entry(saw), 0, 5);
        assert!(explain(state, &[insert, remove, first(Some((1, 10)))]).is_ok());
        assert!(explain(state, &[insert, remove, first(Some((4, 40)))]).is_ok());
        assert!(explain(state, &[insert, remove, first(None)]).is_err());
    }

    #[test]
    fn what_has_ended_before_comes_before() {
        let insert = call(Asked::Insert(2, 1), Saw::Value(None), 0, 1);
        let looks = |saw| {
            [Asked::Nearest(Side::Le, 2), Asked::Nearest(Side::Gt, 1), Asked::Last, Asked::First]
                .map(|asked| call(asked, Saw::Entry(saw), 2, 3))
        };
        for look in looks(Some((2, 1))) {
            assert!(explain(NONE, &[insert, look]).is_ok());
        }
        for look in looks(None) {
            assert!(explain(NONE, &[insert, look]).is_err());
        }
        let beside = call(Asked::Nearest(Side::Lt, 2), Saw::Entry(None), 2, 3);
        assert!(explain(NONE, &[insert, beside]).is_ok());
    }

    #[test]
    fn a_snapshot_of_two_moments_is_caught() {
        let inserts = [(1, 0), (4, 2)]
            .map(|(key, at)| call(Asked::Insert(key, 10), Saw::Value(None), at, at + 1));
        let shot = |keys: &[usize]| {
            let mut state = NONE;
            for &key in keys {
                state[key] = Some(10);
            }
            [inserts[0], inserts[1], call(Asked::All, Saw::All(state), 0, 4)]
        };
        assert!([&[][..], &[1], &[1, 4]].iter().all(|keys| explain(NONE, &shot(keys)).is_ok()));
        assert!(explain(NONE, &shot(&[4])).is_err(), "the second one without the first");
    }

    #[test]
    fn a_second_step_comes_after_the_first() {
        let look = call(Asked::First, Saw::Entry(Some((3, 1))), 0, 9);
        let take = Call { second: true, ..call(Asked::Remove(3), Saw::Value(Some(1)), 0, 9) };
        let insert = call(Asked::Insert(3, 1), Saw::Value(None), 1, 2);
        assert!(explain(NONE, &[look, take, insert]).is_ok());
        let gone = call(Asked::First, Saw::Entry(None), 0, 9);
        assert!(explain(NONE, &[gone, take, insert]).is_ok());
        let after = call(Asked::First, Saw::Entry(None), 3, 9);
        assert!(explain(NONE, &[after, take, insert]).is_err(), "it is there until it is taken");
    }
}
