//! A lock that is handed on in the order in which threads came for it.
//!
//! A `Mutex` goes to the thread that happens to run when it is free; a thread that commits in a
//! loop can take it again and again while others wait for a hundred commits. Here the thread that
//! leaves hands the lock to the first of the queue. A thread that waits only until some version is
//! durable says which; it is woken when a commit has covered it, and leaves the queue.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A value and the queue for it.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    queue: Mutex<Queue>,
    value: Mutex<T>,
}

#[derive(Debug, Default)]
struct Queue {
    busy: bool,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    wake: Condvar,
    /// Set under the lock of the queue.
    has_turn: AtomicBool,
    /// What the thread waits for besides its turn; `u64::MAX` if for nothing.
    version: u64,
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a, T> {
    value: Value<'a, T>,
    /// After the value: it is unlocked when the next thread is woken.
    _pass: Option<Pass<'a, T>>,
}

#[derive(Debug)]
enum Value<'a, T> {
    Locked(MutexGuard<'a, T>),
    Detached(Box<T>),
}

#[derive(Debug)]
struct Pass<'a, T>(&'a Turns<T>);

impl<T> Turns<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { queue: Mutex::default(), value: Mutex::new(value) }
    }

    /// Waits for the turn. The flag says that a thread panicked while it had it.
    pub(crate) fn take(&self) -> (Turn<'_, T>, bool) {
        match self.take_unless(u64::MAX, || None::<core::convert::Infallible>) {
            Ok(taken) => taken,
            Err(never) => match never {},
        }
    }

    /// Waits for the turn, or until `leave` has an answer. That is asked at first, when
    /// [`wake`](Self::wake) is called with this version or a higher one, and when the turn comes.
    pub(crate) fn take_unless<R>(
        &self,
        version: u64,
        leave: impl Fn() -> Option<R>,
    ) -> Result<(Turn<'_, T>, bool), R> {
        let mut queue = self.queue();
        if let Some(answer) = leave() {
            return Err(answer);
        }
        if queue.busy {
            let waiter = Arc::new(Waiter {
                wake: Condvar::new(),
                has_turn: AtomicBool::new(false),
                version,
            });
            queue.waiting.push_back(Arc::clone(&waiter));
            loop {
                queue = waiter.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                let has_turn = waiter.has_turn.load(Ordering::Relaxed);
                if let Some(answer) = leave() {
                    if has_turn {
                        queue.pass();
                    } else {
                        queue.waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
                    }
                    return Err(answer);
                }
                if has_turn {
                    break;
                }
            }
        } else {
            queue.busy = true;
        }
        drop(queue);
        Ok(self.taken())
    }

    /// Takes the turn if no thread has it.
    pub(crate) fn try_take(&self) -> Option<(Turn<'_, T>, bool)> {
        if core::mem::replace(&mut self.queue().busy, true) {
            return None;
        }
        Some(self.taken())
    }

    /// The turn of the calling thread, which has come.
    fn taken(&self) -> (Turn<'_, T>, bool) {
        let pass = Some(Pass(self));
        match self.value.lock() {
            Ok(value) => (Turn { value: Value::Locked(value), _pass: pass }, false),
            Err(poisoned) => {
                (Turn { value: Value::Locked(poisoned.into_inner()), _pass: pass }, true)
            }
        }
    }

    /// Lets every waiting thread whose version is not above `version` ask again.
    pub(crate) fn wake(&self, version: u64) {
        for waiter in self.queue().waiting.iter().filter(|waiter| waiter.version <= version) {
            waiter.wake.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Turn<'_, T> {
    /// A turn for a value that no other thread knows.
    pub(crate) fn detached(value: T) -> Self {
        Self { value: Value::Detached(Box::new(value)), _pass: None }
    }
}

impl Queue {
    /// Hands the lock to the first that waits; it stays busy meanwhile.
    fn pass(&mut self) {
        match self.waiting.pop_front() {
            Some(next) => {
                next.has_turn.store(true, Ordering::Relaxed);
                next.wake.notify_one();
            }
            None => self.busy = false,
        }
    }
}

impl<T> Drop for Pass<'_, T> {
    fn drop(&mut self) {
        self.0.queue().pass();
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Value::Locked(value) => value,
            Value::Detached(value) => value,
        }
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Value::Locked(value) => value,
            Value::Detached(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::Duration;

    /// Waits until this many threads are in the queue.
    fn until_waiting<T>(turns: &Turns<T>, count: usize) {
        while turns.queue().waiting.len() < count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The thread that held the lock took it again before any that waited.
    #[test]
    fn turns_come_in_the_order_of_asking() {
        let turns = Turns::new(Vec::new());
        thread::scope(|scope| {
            let (mut first, _) = turns.take();
            first.push(0);
            for number in 1..10 {
                let turns = &turns;
                scope.spawn(move || turns.take().0.push(number));
                until_waiting(turns, number);
            }
            drop(first);
            // This one comes last, though it runs and the others sleep.
            turns.take().0.push(10);
        });
        assert_eq!(*turns.take().0, (0..=10).collect::<Vec<_>>());
    }

    /// Threads that a commit had covered waited for their turn all the same, one after another.
    #[test]
    fn what_a_thread_waits_for_may_come_before_its_turn() {
        let turns = Turns::new(0);
        let durable = AtomicU64::new(0);
        thread::scope(|scope| {
            let held = turns.take();
            let (turns, durable) = (&turns, &durable);
            let waits = |version| {
                let covered = move || (durable.load(Ordering::SeqCst) >= version).then_some(());
                scope.spawn(move || turns.take_unless(version, covered).map(|(turn, _)| *turn))
            };
            let (early, late) = (waits(3), waits(9));
            until_waiting(turns, 2);
            durable.store(5, Ordering::SeqCst);
            turns.wake(5);
            assert_eq!(early.join().unwrap(), Err(()));
            until_waiting(turns, 1);
            drop(held);
            assert_eq!(late.join().unwrap(), Ok(0));
        });
        assert!(!turns.queue().busy);
    }

    /// A thread that does not wait has the turn or not, and hands it on as any other.
    #[test]
    fn a_turn_that_is_taken_at_once_goes_on_to_the_next() {
        let turns = Turns::new(0);
        thread::scope(|scope| {
            let tried = turns.try_take();
            assert!(tried.is_some() && turns.try_take().is_none());
            let turns = &turns;
            let next = scope.spawn(move || *turns.take().0);
            until_waiting(turns, 1);
            drop(tried);
            assert_eq!(next.join().unwrap(), 0);
        });
        assert!(turns.try_take().is_some());
    }

    /// A turn that comes to a thread that needs it no more goes on to the next.
    #[test]
    fn a_turn_that_is_not_needed_is_passed_on() {
        let turns = Turns::new(0);
        let durable = AtomicU64::new(0);
        thread::scope(|scope| {
            let held = turns.take();
            let (turns, durable) = (&turns, &durable);
            let covered = move || (durable.load(Ordering::SeqCst) >= 1).then_some(());
            let first = scope.spawn(move || turns.take_unless(1, covered).is_err());
            until_waiting(turns, 1);
            let second = scope.spawn(move || !turns.take().1);
            until_waiting(turns, 2);
            durable.store(1, Ordering::SeqCst);
            drop(held);
            assert!(first.join().unwrap() && second.join().unwrap());
        });
    }
}
