//! A history is what each thread did to a map, what it saw, and when, on one common clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was asked of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation<V> {
    /// Look at the value.
    Get,
    /// Set the value.
    Insert(V),
    /// Take the value away.
    Remove,
    /// Set the value to `new` if it is `expected`; `None` stands for no value.
    CompareExchange {
        /// The value that must be there.
        expected: Option<V>,
        /// The value that is there afterwards.
        new: Option<V>,
    },
}

/// What the caller saw. An operation may show less than it knows: a blind `put` is an insert that
/// is `Done`, `contains_key` is a get that is `Present`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// The value at the moment of the operation, before its effect.
    Value(Option<V>),
    /// Only whether there was one.
    Present(bool),
    /// Nothing.
    Done,
    /// The exchange took place.
    Exchanged,
    /// The exchange did not take place, because this was there.
    Refused(Option<V>),
    /// The exchange did not take place; what was there is not known.
    RefusedUnseen,
}

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<K, V> {
    /// Who did it.
    pub thread: usize,
    /// To which key.
    pub key: K,
    /// What was asked.
    pub operation: Operation<V>,
    /// What was seen; `None` if it never returned, so that it may or may not have taken place.
    pub outcome: Option<Outcome<V>>,
    /// Before the call.
    pub invoked: u64,
    /// After the return; `u64::MAX` if it never returned.
    pub returned: u64,
}

/// All operations of a run, in no particular order.
pub type History<K, V> = Vec<Event<K, V>>;

/// Records what several threads do.
#[derive(Debug)]
pub struct Recorder<K, V> {
    clock: AtomicU64,
    events: Mutex<History<K, V>>,
}

impl<K, V> Default for Recorder<K, V> {
    fn default() -> Self {
        Self { clock: AtomicU64::new(0), events: Mutex::new(Vec::new()) }
    }
}

impl<K, V> Recorder<K, V> {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pen of one thread. What it wrote joins the history when it is dropped.
    pub fn scribe(&self, thread: usize) -> Scribe<'_, K, V> {
        Scribe { recorder: self, thread, events: Vec::new() }
    }

    /// The history. All scribes must be gone by now, which the borrow checker sees to.
    #[must_use]
    pub fn into_history(self) -> History<K, V> {
        self.events.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        // ORDERING: SeqCst, with itself: the one order of all clock readings is what "before" means
        // in a history. An operation lies between its two readings in the order of its thread.
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// The pen of one thread.
#[derive(Debug)]
pub struct Scribe<'a, K, V> {
    recorder: &'a Recorder<K, V>,
    thread: usize,
    events: History<K, V>,
}

impl<K: Clone, V: Clone> Scribe<'_, K, V> {
    /// Runs `call` and records it. If it panics, it is recorded as never returned.
    pub fn record(
        &mut self,
        key: K,
        operation: Operation<V>,
        call: impl FnOnce() -> Outcome<V>,
    ) -> Outcome<V> {
        let at = self.events.len();
        self.events.push(Event {
            thread: self.thread,
            key,
            operation,
            outcome: None,
            invoked: self.recorder.now(),
            returned: u64::MAX,
        });
        let outcome = call();
        let event = &mut self.events[at];
        event.returned = self.recorder.now();
        event.outcome = Some(outcome.clone());
        outcome
    }

    /// Runs `get` and records it.
    pub fn get(&mut self, key: K, get: impl FnOnce() -> Option<V>) -> Outcome<V> {
        self.record(key, Operation::Get, || Outcome::Value(get()))
    }

    /// Runs `insert`, which returns the old value, and records it.
    pub fn insert(&mut self, key: K, value: V, insert: impl FnOnce() -> Option<V>) -> Outcome<V> {
        self.record(key, Operation::Insert(value), || Outcome::Value(insert()))
    }

    /// Runs `remove`, which returns the old value, and records it.
    pub fn remove(&mut self, key: K, remove: impl FnOnce() -> Option<V>) -> Outcome<V> {
        self.record(key, Operation::Remove, || Outcome::Value(remove()))
    }

    /// Runs an exchange, which returns what was there if it was refused, and records it.
    pub fn compare_exchange(
        &mut self,
        key: K,
        expected: Option<V>,
        new: Option<V>,
        exchange: impl FnOnce() -> Result<(), Option<V>>,
    ) -> Outcome<V> {
        let operation = Operation::CompareExchange { expected, new };
        self.record(key, operation, || match exchange() {
            Ok(()) => Outcome::Exchanged,
            Err(current) => Outcome::Refused(current),
        })
    }

    /// Runs a scan and records it as one get of each of `keys`, the keys that can be in its range:
    /// each entry has its own moment between the begin and the end of the scan.
    ///
    /// # Panics
    ///
    /// If the scan is not in order, has a key twice, or has one that can't be there.
    pub fn scan(&mut self, keys: &[K], scan: impl FnOnce() -> Vec<(K, V)>)
    where
        K: Ord + std::fmt::Debug,
    {
        self.scan_snapshot(keys, |_| scan());
    }

    /// As [`scan`](Self::scan), but every entry was there when the snapshot was taken: between the
    /// begin of the scan and its call of what it is given.
    ///
    /// # Panics
    ///
    /// As [`scan`](Self::scan).
    pub fn scan_snapshot(&mut self, keys: &[K], scan: impl FnOnce(&mut dyn FnMut()) -> Vec<(K, V)>)
    where
        K: Ord + std::fmt::Debug,
    {
        let (recorder, mut taken) = (self.recorder, None);
        let invoked = recorder.now();
        let entries = scan(&mut || taken = Some(recorder.now()));
        let returned = taken.unwrap_or_else(|| recorder.now());
        for pair in entries.windows(2) {
            assert!(pair[0].0 < pair[1].0, "scan: {:?} before {:?}", pair[0].0, pair[1].0);
        }
        let mut found: BTreeMap<K, V> = entries.into_iter().collect();
        for key in keys {
            self.events.push(Event {
                thread: self.thread,
                key: key.clone(),
                operation: Operation::Get,
                outcome: Some(Outcome::Value(found.remove(key))),
                invoked,
                returned,
            });
        }
        let strange: Vec<&K> = found.keys().collect();
        assert!(strange.is_empty(), "scan: keys that nobody wrote or outside: {strange:?}");
    }
}

impl<K, V> Drop for Scribe<'_, K, V> {
    fn drop(&mut self) {
        let mut all = self.recorder.events.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut self.events);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn an_event_lies_between_its_call_and_its_return() {
        let recorder = Recorder::new();
        let mut one = recorder.scribe(1);
        let mut two = recorder.scribe(2);
        one.insert('a', 1, || {
            two.get('a', || None);
            None
        });
        drop((one, two));
        let mut history = recorder.into_history();
        history.sort_by_key(|event| event.invoked);
        assert_eq!((history[0].thread, history[1].thread), (1, 2));
        assert!(history[0].invoked < history[1].invoked);
        assert!(history[1].returned < history[0].returned);
        assert_eq!(history[0].outcome, Some(Outcome::Value(None)));
    }

    #[test]
    fn a_call_that_panics_is_recorded_as_never_returned() {
        let recorder = Recorder::new();
        let mut scribe = recorder.scribe(0);
        let call = AssertUnwindSafe(|| scribe.insert('a', 1, || panic!("power cut")));
        assert!(catch_unwind(call).is_err());
        drop(scribe);
        let history = recorder.into_history();
        assert_eq!((history[0].returned, &history[0].outcome), (u64::MAX, &None));
    }

    #[test]
    fn a_scan_is_a_get_of_every_key_in_its_range() {
        let recorder = Recorder::new();
        let mut scribe = recorder.scribe(0);
        scribe.scan(&[1, 2, 3], || vec![(1, 'a'), (3, 'c')]);
        let twice = AssertUnwindSafe(|| scribe.scan(&[1], || vec![(1, 'a'), (1, 'b')]));
        assert!(catch_unwind(twice).is_err());
        let outside = AssertUnwindSafe(|| scribe.scan(&[1], || vec![(2, 'a')]));
        assert!(catch_unwind(outside).is_err());
        drop(scribe);
        let seen: Vec<_> = recorder.into_history().into_iter().take(3).collect();
        let outcomes: Vec<_> = seen.into_iter().map(|event| event.outcome).collect();
        let expected = [Some('a'), None, Some('c')].map(|value| Some(Outcome::Value(value)));
        assert_eq!(outcomes, expected);
    }
}
