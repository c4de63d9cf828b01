//! The checker accepts what is right and catches what is wrong, all of it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use super::*;
use crate::history::{History, Recorder};
use crate::random::{Random, seed};

type Small = Event<u8, u64>;

fn event(operation: Operation<u64>, outcome: Outcome<u64>, invoked: u64, returned: u64) -> Small {
    Event { thread: 0, key: 0, operation, outcome: Some(outcome), invoked, returned }
}

/// A history of real threads on a map behind a lock: linearizable by construction. Every value is
/// written once.
fn locked_history(random: &mut Random, threads: usize, each: usize) -> History<u8, u64> {
    let map = Mutex::new(BTreeMap::new());
    let recorder = Recorder::new();
    thread::scope(|scope| {
        for id in 0..threads {
            let (map, recorder, mut random) = (&map, &recorder, random.fork());
            scope.spawn(move || {
                let mut scribe = recorder.scribe(id);
                let mut last_seen = None;
                for step in 0..each {
                    let key = random.below(3) as u8;
                    let value = (id * each + step) as u64;
                    let outcome = match random.below(8) {
                        0..3 => scribe.get(key, || map.lock().unwrap().get(&key).copied()),
                        3..5 => {
                            scribe.insert(key, value, || map.lock().unwrap().insert(key, value))
                        }
                        5 => scribe.remove(key, || map.lock().unwrap().remove(&key)),
                        6 => scribe.compare_exchange(key, last_seen, Some(value), || {
                            exchange(&mut map.lock().unwrap(), key, last_seen, Some(value))
                        }),
                        _ => scribe.record(key, Operation::Insert(value), || {
                            map.lock().unwrap().insert(key, value);
                            Outcome::Done
                        }),
                    };
                    if let Outcome::Value(seen) | Outcome::Refused(seen) = outcome {
                        last_seen = seen;
                    }
                    if random.once_in(4) {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    recorder.into_history()
}

fn exchange(
    map: &mut BTreeMap<u8, u64>,
    key: u8,
    expected: Option<u64>,
    new: Option<u64>,
) -> Result<(), Option<u64>> {
    let current = map.get(&key).copied();
    if current != expected {
        return Err(current);
    }
    match new {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
    Ok(())
}

#[test]
fn every_history_of_a_locked_map_is_accepted() {
    let mut random = Random::new(seed("every_history_of_a_locked_map_is_accepted"));
    let mut checked = Checked::default();
    for round in 0..60 {
        let history = locked_history(&mut random, 2 + round % 4, 300);
        let one = check(&history).unwrap_or_else(|violation| panic!("{violation}"));
        checked.operations += one.operations;
        checked.steps += one.steps;
    }
    assert!(checked.operations >= 60 * 2 * 300, "{checked:?}");
}

#[test]
fn every_injected_wrong_result_is_caught() {
    let mut random = Random::new(seed("every_injected_wrong_result_is_caught"));
    let mut injected = [0; 4];
    for _ in 0..300 {
        let history = locked_history(&mut random, 3, 40);
        for (kind, count) in injected.iter_mut().enumerate() {
            let mut wrong = history.clone();
            if inject(&mut random, &mut wrong, kind) {
                *count += 1;
                assert!(check(&wrong).is_err(), "kind {kind} went unseen: {wrong:?}");
            }
        }
    }
    assert!(injected.iter().all(|&count| count > 100), "{injected:?}");
}

/// Makes one result wrong such that no order can explain it. Says whether there was a place for it.
fn inject(random: &mut Random, history: &mut [Small], kind: usize) -> bool {
    let sees = |event: &Small| matches!(event.outcome, Some(Outcome::Value(_)));
    let insert = |event: &Small| matches!(event.operation, Operation::Insert(_));
    let places: Vec<usize> = match kind {
        // A value that was never written.
        0 => (0..history.len()).filter(|&i| sees(&history[i])).collect(),
        // The value of a write that began only after this returned.
        1 => (0..history.len())
            .filter(|&i| sees(&history[i]) && later_insert(history, i).is_some())
            .collect(),
        // An exchange that says it took place, with a value expected that was never written.
        2 => (0..history.len())
            .filter(|&i| matches!(history[i].outcome, Some(Outcome::Refused(_))))
            .collect(),
        // A write that was seen, and is now taken out of the history.
        _ => (0..history.len())
            .filter(|&i| {
                insert(&history[i])
                    && history.iter().any(|other| {
                        other.key == history[i].key && seen(other) == written(&history[i])
                    })
            })
            .collect(),
    };
    if places.is_empty() {
        return false;
    }
    let at = *random.pick(&places);
    match kind {
        0 => history[at].outcome = Some(Outcome::Value(Some(1 << 40))),
        1 => history[at].outcome = Some(Outcome::Value(later_insert(history, at))),
        2 => {
            history[at].outcome = Some(Outcome::Exchanged);
            history[at].operation =
                Operation::CompareExchange { expected: Some(1 << 40), new: None };
        }
        _ => {
            history[at].operation = Operation::Get;
            history[at].outcome = Some(Outcome::Done);
        }
    }
    true
}

fn written(event: &Small) -> Option<u64> {
    match event.operation {
        Operation::Insert(value) => Some(value),
        _ => None,
    }
}

fn seen(event: &Small) -> Option<u64> {
    match event.outcome {
        Some(Outcome::Value(seen) | Outcome::Refused(seen)) => seen,
        _ => None,
    }
}

fn later_insert(history: &[Small], at: usize) -> Option<u64> {
    let event = &history[at];
    let mut later = history.iter().filter(|e| e.key == event.key && e.invoked > event.returned);
    later.find_map(written)
}

/// Tries every order. The oracle of the oracle.
fn explained_by_some_order(events: &[Small], done: u32, value: Option<u64>) -> bool {
    let open = |i: usize| done & (1 << i) == 0;
    if (0..events.len()).all(|i| !open(i) || events[i].outcome.is_none()) {
        return true;
    }
    (0..events.len()).filter(|&i| open(i)).any(|i| {
        // It may take place now only if nothing open returned before its call.
        let in_time = (0..events.len())
            .filter(|&j| open(j) && j != i)
            .all(|j| events[j].returned > events[i].invoked);
        in_time
            && apply(&events[i], value.as_ref())
                .is_some_and(|after| explained_by_some_order(events, done | 1 << i, after))
    })
}

#[test]
fn it_agrees_with_trying_every_order() {
    let mut random = Random::new(seed("it_agrees_with_trying_every_order"));
    let mut verdicts = [0; 2];
    for _ in 0..30_000 {
        let count = 1 + random.index(7);
        let mut times: Vec<u64> = (0..2 * count as u64).collect();
        random.shuffle(&mut times);
        let history: Vec<Small> =
            times.chunks(2).map(|pair| any_event(&mut random, pair)).collect();
        let expected = explained_by_some_order(&history, 0, None);
        assert_eq!(check(&history).is_ok(), expected, "{history:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|&count| count > 1000), "{verdicts:?}");
}

/// An operation with a result that is right by chance.
fn any_event(random: &mut Random, times: &[u64]) -> Small {
    let mut value = || (!random.once_in(3)).then(|| random.below(2));
    let (a, b, seen) = (value(), value(), value());
    let exchange = Operation::CompareExchange { expected: a, new: b };
    let (operation, outcome) = match random.below(9) {
        0 => (Operation::Get, Outcome::Value(seen)),
        1 => (Operation::Get, Outcome::Present(seen.is_some())),
        2 => (Operation::Insert(a.unwrap_or(0)), Outcome::Value(seen)),
        3 | 4 => (Operation::Insert(a.unwrap_or(1)), Outcome::Done),
        5 => (Operation::Remove, Outcome::Value(seen)),
        6 => (exchange, Outcome::Exchanged),
        7 => (exchange, Outcome::Refused(seen)),
        _ => (exchange, Outcome::RefusedUnseen),
    };
    let mut event = event(operation, outcome, times[0].min(times[1]), times[0].max(times[1]));
    if random.once_in(6) {
        (event.outcome, event.returned) = (None, u64::MAX);
    }
    event
}

#[test]
fn a_stale_read_is_caught_and_reported() {
    let history = [
        event(Operation::Insert(1), Outcome::Value(None), 0, 1),
        event(Operation::Insert(2), Outcome::Value(Some(1)), 2, 3),
        event(Operation::Get, Outcome::Value(Some(1)), 4, 5),
    ];
    let violation = check(&history).unwrap_err();
    assert_eq!((violation.stuck.invoked, violation.value), (4, Some(2)));
    let text = violation.to_string();
    assert!(text.contains("[4, 5]") && text.contains("[2, 3]"), "{text}");
}

#[test]
fn a_lost_update_is_caught() {
    let history = [
        event(Operation::Insert(1), Outcome::Value(None), 0, 5),
        event(Operation::Insert(2), Outcome::Value(None), 1, 4),
    ];
    assert!(check(&history).is_err());
}

#[test]
fn an_operation_that_never_returned_may_or_may_not_have_taken_place() {
    let mut pending = event(Operation::Insert(7), Outcome::Done, 0, u64::MAX);
    pending.outcome = None;
    for seen in [None, Some(7)] {
        let read = event(Operation::Get, Outcome::Value(seen), 1, 2);
        assert!(check(&[pending.clone(), read]).is_ok());
    }
    let flicker = [
        event(Operation::Get, Outcome::Value(Some(7)), 1, 2),
        event(Operation::Get, Outcome::Value(None), 3, 4),
    ];
    assert!(check(&[vec![pending], flicker.to_vec()].concat()).is_err());
}

#[test]
fn initial_values_count() {
    let read = [event(Operation::Get, Outcome::Value(Some(3)), 0, 1)];
    assert!(check(&read).is_err());
    assert!(check_from(&read, |_| Some(3)).is_ok());
}

#[test]
fn a_long_history_of_one_key_is_checked_in_time() {
    let mut random = Random::new(1);
    let mut history = locked_history(&mut random, 4, 5_000);
    for event in &mut history {
        event.key = event.key.min(1);
    }
    // Merging two keys makes it wrong; so only the untouched key counts.
    history.retain(|event| event.key == 0);
    let checked = check(&history).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.operations > 5_000, "{checked:?}");
}
