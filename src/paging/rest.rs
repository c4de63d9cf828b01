//! Trees at rest: held by background work while it changes the shape of trees, and by a check of
//! them. Nothing that a reader or a writer does waits for it.
//!
//! Who waits comes before who has just let go. By a plain mutex the cleaner, which waits, was
//! outrun by checks one after the other, and the log grew meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// One at a time.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Held by who is to have it next: who has let go queues up behind.
    turn: Mutex<()>,
    held: Mutex<()>,
}

impl Rest {
    /// Waits until it is free, and takes it.
    pub(crate) fn take(&self) -> MutexGuard<'_, ()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it if it is free, and nobody waits for it.
    pub(crate) fn try_take(&self) -> Option<MutexGuard<'_, ()>> {
        let _turn = try_lock(&self.turn)?;
        try_lock(&self.held)
    }
}

fn try_lock(lock: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    match lock.try_lock() {
        Ok(held) => Some(held),
        Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;
    use sync::atomic::{AtomicBool, AtomicU64, Ordering};

    #[test]
    fn who_waits_comes_before_who_has_just_let_go() {
        let (rest, taken, over) = (Rest::default(), AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _held = rest.take();
                    taken.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_micros(200));
                }
            });
            while taken.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            let mut turns = 0;
            for _ in 0..50 {
                thread::sleep(Duration::from_millis(1));
                let before = taken.load(Ordering::Relaxed);
                let held = rest.take();
                turns += taken.load(Ordering::Relaxed) - before;
                drop(held);
            }
            over.store(true, Ordering::Relaxed);
            assert!(turns <= 60, "the other took it {turns} times while 50 waited");
        });
    }
}
