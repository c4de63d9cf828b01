//! Is there one order of all operations that explains what every thread saw?
//!
//! The search of Wing and Gong with Lowe's memory: walk through the calls and returns in time
//! order; a call whose outcome fits the present value may take place now and is lifted out; at the
//! return of an operation that has not taken place the last choice is undone. A pair of (operations
//! done, value) that has been seen before leads nowhere again. Linearizability is local, so every
//! key is searched for itself.
//!
//! An operation that never returned may take place at any time after its call, or never.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;

use crate::history::{Event, Operation, Outcome};

/// What was looked at. A test that checked nothing has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Keys, each with a history of its own.
    pub keys: usize,
    /// Operations.
    pub operations: usize,
    /// Steps of the search.
    pub steps: u64,
}

/// A history of one key that no order explains.
#[derive(Clone, Debug)]
pub struct Violation<K, V> {
    /// The key.
    pub key: K,
    /// The operation that could not be placed in the attempt that came furthest.
    pub stuck: Event<K, V>,
    /// The value before it in that attempt.
    pub value: Option<V>,
    /// The operations that overlap it, and the last few that ended before it, by time of call.
    pub around: Vec<Event<K, V>>,
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Display for Violation<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?}: no order explains what was seen", self.key)?;
        writeln!(f, "  stuck, with the value {:?}, at: {}", self.value, line(&self.stuck))?;
        for event in &self.around {
            writeln!(f, "  {}", line(event))?;
        }
        Ok(())
    }
}

fn line<K, V: fmt::Debug>(event: &Event<K, V>) -> String {
    let end = match event.returned {
        u64::MAX => "never".to_owned(),
        at => at.to_string(),
    };
    let (thread, start) = (event.thread, event.invoked);
    let outcome = &event.outcome;
    format!("[{start}, {end}] thread {thread}: {:?} -> {outcome:?}", event.operation)
}

/// Checks a history of a map that is empty at its begin.
///
/// # Errors
///
/// The first key whose history has no explanation.
pub fn check<K, V>(history: &[Event<K, V>]) -> Result<Checked, Box<Violation<K, V>>>
where
    K: Ord + Clone,
    V: Clone + Eq + Hash,
{
    check_from(history, |_| None)
}

/// Checks a history of a map that has the values of `initial` at its begin.
///
/// # Errors
///
/// The first key whose history has no explanation.
pub fn check_from<K, V>(
    history: &[Event<K, V>],
    initial: impl Fn(&K) -> Option<V>,
) -> Result<Checked, Box<Violation<K, V>>>
where
    K: Ord + Clone,
    V: Clone + Eq + Hash,
{
    let mut keys: BTreeMap<&K, Vec<&Event<K, V>>> = BTreeMap::new();
    for event in history {
        keys.entry(&event.key).or_default().push(event);
    }
    let mut checked = Checked::default();
    for (key, mut events) in keys {
        events.sort_by_key(|event| event.invoked);
        let (steps, stuck) = Search::new(&events).run(initial(key));
        checked.keys += 1;
        checked.operations += events.len();
        checked.steps += steps;
        if let Some((at, value)) = stuck {
            return Err(Box::new(violation(key, &events, at, value)));
        }
    }
    Ok(checked)
}

/// The value after `event`, if its outcome can be what it saw with `value` there.
#[expect(clippy::option_option, reason = "the outer one is the verdict, the inner one the value")]
fn apply<K, V: Clone + Eq>(event: &Event<K, V>, value: Option<&V>) -> Option<Option<V>> {
    let (fits_exchange, after) = match &event.operation {
        Operation::Get => (true, value),
        Operation::Insert(new) => (true, Some(new)),
        Operation::Remove => (true, None),
        Operation::CompareExchange { expected, new } if expected.as_ref() == value => {
            (true, new.as_ref())
        }
        Operation::CompareExchange { .. } => (false, value),
    };
    let is_exchange = matches!(event.operation, Operation::CompareExchange { .. });
    let explained = match &event.outcome {
        None | Some(Outcome::Done) => true,
        Some(Outcome::Value(seen)) => !is_exchange && seen.as_ref() == value,
        Some(Outcome::Present(seen)) => !is_exchange && *seen == value.is_some(),
        Some(Outcome::Exchanged) => is_exchange && fits_exchange,
        Some(Outcome::Refused(seen)) => !fits_exchange && seen.as_ref() == value,
        Some(Outcome::RefusedUnseen) => !fits_exchange,
    };
    explained.then(|| after.cloned())
}

fn violation<K: Clone, V: Clone>(
    key: &K,
    events: &[&Event<K, V>],
    at: usize,
    value: Option<V>,
) -> Violation<K, V> {
    const BEFORE: usize = 5;
    let stuck = events[at];
    let mut before: Vec<_> =
        events.iter().filter(|e| e.returned < stuck.invoked).copied().collect();
    before.sort_by_key(|event| event.returned);
    let mut around = before.split_off(before.len().saturating_sub(BEFORE));
    let overlaps = |e: &&&Event<K, V>| {
        e.returned > stuck.invoked && e.invoked < stuck.returned && e.invoked != stuck.invoked
    };
    around.extend(events.iter().filter(overlaps).take(64).copied());
    around.sort_by_key(|event| event.invoked);
    Violation {
        key: key.clone(),
        stuck: stuck.clone(),
        value,
        around: around.into_iter().cloned().collect(),
    }
}

/// One key's calls and returns as a linked list in time order, and what has taken place so far.
struct Search<'a, K, V> {
    events: &'a [&'a Event<K, V>],
    /// Entry 0 is the head; entry `2 i + 1` is the call of event `i`, entry `2 i + 2` its return.
    next: Vec<usize>,
    previous: Vec<usize>,
    done: Done,
    /// Events that returned and have not taken place.
    open: usize,
}

const HEAD: usize = 0;
const END: usize = usize::MAX;

impl<'a, K, V: Clone + Eq + Hash> Search<'a, K, V> {
    fn new(events: &'a [&'a Event<K, V>]) -> Self {
        let mut times: Vec<(u64, usize)> = Vec::with_capacity(2 * events.len());
        for (i, event) in events.iter().enumerate() {
            times.push((event.invoked, 2 * i + 1));
            if event.outcome.is_some() {
                times.push((event.returned, 2 * i + 2));
            }
        }
        times.sort_unstable();
        let mut search = Self {
            events,
            next: vec![END; 2 * events.len() + 1],
            previous: vec![END; 2 * events.len() + 1],
            done: Done::new(events.len()),
            open: times.len() - events.len(),
        };
        let mut last = HEAD;
        for (_, entry) in times {
            search.next[last] = entry;
            search.previous[entry] = last;
            last = entry;
        }
        search
    }

    /// The steps taken, and if it failed: where, and with which value, it came furthest.
    fn run(mut self, initial: Option<V>) -> (u64, Option<(usize, Option<V>)>) {
        let mut value = initial;
        let mut seen: HashSet<(DoneKey, Option<V>)> = HashSet::new();
        let mut choices: Vec<(usize, Option<V>)> = Vec::new();
        let mut furthest: Option<(usize, usize, Option<V>)> = None;
        let mut steps = 0;
        let mut entry = self.next[HEAD];
        while self.open > 0 {
            steps += 1;
            let i = (entry - 1) / 2;
            let is_call = entry % 2 == 1;
            if is_call {
                entry = self.next[entry];
                let Some(after) = apply(self.events[i], value.as_ref()) else { continue };
                self.done.set(i);
                if seen.insert((self.done.key(), after.clone())) {
                    self.lift(i);
                    choices.push((i, std::mem::replace(&mut value, after)));
                    entry = self.next[HEAD];
                } else {
                    self.done.clear(i);
                }
                continue;
            }
            // A return before its operation took place: the last choice was wrong.
            if furthest.as_ref().is_none_or(|(depth, ..)| choices.len() > *depth) {
                furthest = Some((choices.len(), i, value.clone()));
            }
            let Some((last, before)) = choices.pop() else {
                return (steps, furthest.map(|(_, at, value)| (at, value)));
            };
            value = before;
            self.done.clear(last);
            self.unlift(last);
            entry = self.next[2 * last + 1];
        }
        (steps, None)
    }

    /// Takes the call and the return of event `i` out of the list.
    fn lift(&mut self, i: usize) {
        self.unlink(2 * i + 1);
        if self.events[i].outcome.is_some() {
            self.unlink(2 * i + 2);
            self.open -= 1;
        }
    }

    /// Undoes the last `lift` that was not undone.
    fn unlift(&mut self, i: usize) {
        if self.events[i].outcome.is_some() {
            self.relink(2 * i + 2);
            self.open += 1;
        }
        self.relink(2 * i + 1);
    }

    fn unlink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = after;
        if after != END {
            self.previous[after] = before;
        }
    }

    fn relink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = entry;
        if after != END {
            self.previous[after] = entry;
        }
    }
}

/// A set of events as bits. Nearly all of it is full below some point and empty above another, so
/// a copy for the memory takes only what lies between.
struct Done {
    words: Vec<u64>,
    /// All words below are full.
    full: usize,
    /// All words from here on are empty.
    end: usize,
}

/// The set: its first word that is not full, and the words from there to the last not empty.
type DoneKey = (usize, Box<[u64]>);

impl Done {
    fn new(events: usize) -> Self {
        Self { words: vec![0; events.div_ceil(64)], full: 0, end: 0 }
    }

    fn set(&mut self, i: usize) {
        self.words[i / 64] |= 1 << (i % 64);
        self.end = self.end.max(i / 64 + 1);
        while self.full < self.end && self.words[self.full] == u64::MAX {
            self.full += 1;
        }
    }

    fn clear(&mut self, i: usize) {
        self.words[i / 64] &= !(1 << (i % 64));
        self.full = self.full.min(i / 64);
        while self.end > 0 && self.words[self.end - 1] == 0 {
            self.end -= 1;
        }
        self.full = self.full.min(self.end);
    }

    fn key(&self) -> DoneKey {
        (self.full, self.words[self.full..self.end].into())
    }
}

#[cfg(test)]
mod tests;
