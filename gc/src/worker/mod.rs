//! A worker is a named thread that runs a body at each tick and whenever it is woken.
//!
//! ```text
//!   wake()  --> flag |= WOKEN, unpark --+
//!   stop()  --> flag |= STOP,  unpark --+--> loop { flags -> park until the tick -> body(why) }
//! ```
//!
//! No wake-up is lost. The flag is set before the unpark, and the thread reads it before it parks:
//!
//! 1. A wake before the read is seen by the read, so the thread doesn't park.
//! 2. A wake after the read leaves the unpark token, so the park returns at once.
//! 3. A wake while the body runs is seen by the read after the body, even if the body parks for
//!    reasons of its own and eats the token.
//!
//! Wakes that come faster than the body runs are one wake: a body does all there is to do.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

const WOKEN: u8 = 1;
const STOP: u8 = 2;

/// Why the body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody called [`Waker::wake`] since the last run began.
    Asked,
    /// The tick is over.
    Tick,
    /// The body asked for it by [`Next::Again`].
    Again,
}

/// What the worker does after the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sleep until the next tick or wake.
    Wait,
    /// Run again now: there is more to do, and stopping must be possible in between.
    Again,
    /// End the thread.
    Stop,
}

/// Why a worker ended before it was stopped.
#[derive(Debug)]
pub enum Failure<E> {
    /// The body returned an error.
    Error(E),
    /// The body panicked with this message.
    Panic(String),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "background work failed: {error}"),
            Self::Panic(message) => write!(f, "background work panicked: {message}"),
        }
    }
}

/// What a worker and those who wake it share.
#[derive(Debug, Default)]
struct Signal {
    flags: AtomicU8,
    thread: OnceLock<Thread>,
}

impl Signal {
    fn raise(&self, flag: u8) {
        // ORDERING: Release, partner of the Acquire in `take`: what was written before the wake is
        // seen by the body that it causes.
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        if before & flag == 0
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// The flags; takes WOKEN away, and leaves STOP.
    fn take(&self) -> u8 {
        // ORDERING: Acquire, see `raise`.
        self.flags.fetch_and(!WOKEN, Ordering::AcqRel)
    }
}

/// Wakes a worker. Cheap to clone; harmless when the worker has ended.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Signal>);

impl Waker {
    /// Makes the body run soon. Never blocks; many wakes before it runs are one.
    pub fn wake(&self) {
        self.0.raise(WOKEN);
    }

    /// Whether the worker has ended, or was asked to.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        // ORDERING: Relaxed: a hint; who was about to wake it may come too late anyway.
        self.0.flags.load(Ordering::Relaxed) & STOP != 0
    }
}

/// A background thread. Dropping it stops and joins it.
#[derive(Debug)]
pub struct Worker {
    signal: Arc<Signal>,
    thread: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts a thread of this name that runs `body` whenever it is woken, and `tick` after it
    /// last ran. The first run is at the first tick or wake.
    ///
    /// If the body returns an error or panics, `on_failure` gets it, once, on the same thread, and
    /// the thread ends.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub fn spawn<E: Send + 'static>(
        name: &str,
        tick: Duration,
        body: impl FnMut(Wake) -> Result<Next, E> + Send + 'static,
        on_failure: impl FnOnce(Failure<E>) + Send + 'static,
    ) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let shared = Arc::clone(&signal);
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Set by whichever of the two threads comes first; both set the same.
            let _ = shared.thread.set(thread::current());
            if let Err(failure) = run(&shared, tick, body) {
                on_failure(failure);
            }
        })?;
        let thread = handle.thread().clone();
        let _ = signal.thread.set(thread.clone());
        Ok(Self { signal, thread, handle: Mutex::new(Some(handle)) })
    }

    /// The name of the thread.
    #[must_use]
    pub fn name(&self) -> &str {
        self.thread.name().unwrap_or_default()
    }

    /// Makes the body run soon, as [`Waker::wake`].
    pub fn wake(&self) {
        self.signal.raise(WOKEN);
    }

    /// Something that wakes this worker and can be kept anywhere, also in the body's own state.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.signal))
    }

    /// Whether the thread still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    /// Asks the thread to end after the run it is in, without waiting for it.
    pub fn ask_to_stop(&self) {
        self.signal.raise(STOP);
    }

    /// Ends the thread after the run it is in, and waits for that. Calling it again is harmless.
    ///
    /// Called from the body itself it can't wait, and only sees to it that this run is the last.
    pub fn stop(&self) {
        self.ask_to_stop();
        if thread::current().id() == self.thread.id() {
            return;
        }
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handle.take() {
            // An error here is a panic of `on_failure`, which the panic hook has reported.
            let _ = handle.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of the thread.
fn run<E>(
    signal: &Signal,
    tick: Duration,
    mut body: impl FnMut(Wake) -> Result<Next, E>,
) -> Result<(), Failure<E>> {
    let mut again = false;
    while let Some(why) = wait(signal, tick, again) {
        // The body's state is never looked at after a panic: the thread ends.
        let next = catch_unwind(AssertUnwindSafe(|| body(why)))
            .map_err(|panic| Failure::Panic(message(panic.as_ref())))?
            .map_err(Failure::Error)?;
        match next {
            Next::Wait => again = false,
            Next::Again => again = true,
            Next::Stop => break,
        }
    }
    Ok(())
}

/// Sleeps until there is a reason to run, and says which; `None` to end.
fn wait(signal: &Signal, tick: Duration, again: bool) -> Option<Wake> {
    let deadline = Instant::now().checked_add(tick);
    loop {
        let flags = signal.take();
        if flags & STOP != 0 {
            return None;
        }
        if flags & WOKEN != 0 {
            return Some(Wake::Asked);
        }
        if again {
            return Some(Wake::Again);
        }
        // A tick too long for the clock is none.
        let Some(deadline) = deadline else {
            thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(Wake::Tick);
        }
        thread::park_timeout(left);
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

#[cfg(test)]
mod tests;
