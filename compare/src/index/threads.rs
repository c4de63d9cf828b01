//! Threads that begin together, each with its handle of the map.

use crate::keys::Key;
use crate::peers::{Handle, Index};
use crate::values::Value;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What each thread does in a phase.
pub(super) trait Body<K: Key, V: Value>: Sync {
    /// What it comes back with.
    type Out: Send;
    /// Works until then.
    fn run<H: Handle<K, V>>(&self, thread: usize, handle: &mut H, until: Deadline) -> Self::Out;
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// Rounds until then; one at least, however late the thread was let in.
    pub(super) fn rounds(self) -> impl Iterator<Item = ()> {
        let mut first = true;
        std::iter::from_fn(move || {
            (std::mem::take(&mut first) || Instant::now() < self.0).then_some(())
        })
    }
}

/// What the threads came back with, and the time from the first one's start to the last one's end.
#[derive(Debug)]
pub(super) struct Timed<O> {
    pub(super) outs: Vec<O>,
    pub(super) took: Duration,
}

/// Runs the body in so many threads for so long.
pub(super) fn spread<K, V, I, B>(
    index: &I,
    threads: usize,
    span: Duration,
    body: &B,
) -> Result<Timed<B::Out>, String>
where
    K: Key,
    V: Value,
    I: Index<K, V>,
    B: Body<K, V>,
{
    let barrier = &Barrier::new(threads);
    let work = |thread: usize| {
        let mut handle = index.handle();
        barrier.wait();
        let start = Instant::now();
        let out = body.run(thread, &mut handle, Deadline(start + span));
        (start, Instant::now(), out)
    };
    let ends: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        runs.into_iter().map(|run| run.join().map_err(|_| "a thread panicked")).collect()
    });
    let ends = ends.into_iter().collect::<Result<Vec<_>, _>>()?;
    let first = ends.iter().map(|(start, ..)| *start).min();
    let last = ends.iter().map(|(_, end, _)| *end).max();
    let (Some(first), Some(last)) = (first, last) else { return Err("no thread".to_owned()) };
    Ok(Timed { outs: ends.into_iter().map(|(.., out)| out).collect(), took: last - first })
}
