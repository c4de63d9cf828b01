//! Models of the production code: loom runs every interleaving, with every value that a load may
//! see under weak memory, of two or three threads that do one or two operations each.
//!
//! | file | property |
//! |---|---|
//! | `installs` | no update is lost, in a page and at the end of its area |
//! | `pairs` | a record found by its fingerprint is an answer that a walk may give |
//! | `splits` | every key is found at every moment; a page is nobody before it is linked to |
//! | `bulk` | a run of keys is in its leaf at once, however many pages that becomes |
//! | `merges` | no update goes to a page that has been absorbed; no parent names a buried page |
//! | `crashed` | a page that was merged away, and is named after a crash, is found where it went |
//! | `lowers` | a root takes the place of its only child, whatever becomes of that meanwhile |
//! | `hints` | what the directory names is believed only as far as the page says so |
//! | `neighbours` | a search that passes empty pages sees one moment of all of them |
//! | `stamps` | a record stamped `v` is in every cut `>= v` (I13); none sees the future (A8) |
//! | `dates` | a cut of a tree in memory is one moment, for as long as it is open (A8) |
//! | `snapshots` | a cut of a tree in memory finds every key, and leaves nothing behind |
//! | `retired` | a displaced value is kept for the cuts that see it, and no longer |
//! | `cuts` | each commit is a prefix of history, through the real log and recovery |
//! | `evictions` | a page that has something the log has not is not given up |
//! | `partial` | a write that reads nothing is in its page, once, and counted |
//! | `empty` | a leaf of a range that is removed is emptied as a whole, and in the right commit |
//! | `ids` | no page id has two owners |
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p bwtree --lib models -- --nocapture`. The
//! models are complete up to two preemptions, but for one of three threads over the log and one of
//! cuts that come and go, which the clock stops; `LOOM_MAX_PREEMPTIONS` and `LOOM_MAX_DURATION`
//! (seconds for each model) change that. A model must take the same steps whenever it is scheduled
//! in the same way: what it runs may depend neither on addresses nor on the order of a hash map.
//!
//! The planted faults that the models must find are in `tests/mutants`.

mod bulk;
mod crashed;
mod cuts;
mod dates;
mod empty;
mod evictions;
mod hints;
mod ids;
mod installs;
mod lowers;
mod merges;
mod neighbours;
mod pairs;
mod partial;
mod retired;
mod setting;
mod snapshots;
mod splits;
mod stamps;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sync::model::Builder;
use sync::thread::JoinHandle;

/// Preemptions of a running thread that a model is complete for.
const PREEMPTIONS: usize = 2;
/// A model that has not ended after this is stopped, and its line says so.
const MOST_TIME: Duration = Duration::from_secs(120);
/// Scheduling points of one execution; more of them mean that it never ends.
const MOST_BRANCHES: usize = 20_000;
/// Words of stack: the log needs more than loom gives.
const STACK: usize = 32 << 10;

/// Runs `model` in every interleaving, and says how many there were.
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_up_to(PREEMPTIONS, name, model);
}

/// The same, with so many preemptions if no other number is asked for that is larger.
fn explore_up_to(least: usize, name: &str, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_threads = 5;
    builder.max_branches = MOST_BRANCHES;
    let bound = builder.preemption_bound.get_or_insert(least);
    if least > PREEMPTIONS {
        *bound = least.max(*bound);
    }
    builder.max_duration.get_or_insert(MOST_TIME);
    let (bound, limit) = (builder.preemption_bound, builder.max_duration);
    let executions = Arc::new(Mutex::new(0_u64));
    let (counter, model) = (Arc::clone(&executions), Arc::new(model));
    let begin = Instant::now();
    builder.check(move || {
        *counter.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let model = Arc::clone(&model);
        join(start(move || model()));
    });
    let executions = *executions.lock().unwrap_or_else(PoisonError::into_inner);
    let done = setting::take_done();
    let time = begin.elapsed();
    let bounded = limit.is_some_and(|limit| time >= limit);
    let verdict = if bounded { "stopped by the clock" } else { "complete" };
    let (bound, ms) = (bound.unwrap_or_default(), time.as_millis());
    let line = format!("{name}: {executions} executions, {verdict} at bound {bound}, {ms} ms\n");
    let _unseen = std::io::stderr().write_all(line.as_bytes());
    // What a model is about comes about, whatever sizes have become since it was written.
    for (word, executions) in done.by_word() {
        assert!(executions > 0 || !name.contains(word), "{name}: nothing to {word}: {done:?}");
    }
}

/// Starts a thread of a model.
fn start<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    match sync::thread::Builder::new().stack_size(STACK).spawn(run) {
        Ok(thread) => thread,
        Err(error) => panic!("loom starts a thread: {error}"),
    }
}

/// What a thread of a model has returned.
fn join<R>(thread: JoinHandle<R>) -> R {
    match thread.join() {
        Ok(result) => result,
        Err(_) => panic!("a thread of the model has panicked"),
    }
}
