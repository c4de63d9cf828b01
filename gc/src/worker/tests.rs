//! Workers with real threads: wake, tick, stop, failure.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};

use super::*;

/// Longer than any test takes; reaching it is a failure.
const LONG: Duration = Duration::from_mins(1);
/// A tick that does not come during a test.
const NEVER: Duration = Duration::MAX;

fn sending(next: Next) -> (impl FnMut(Wake) -> Result<Next, String>, Receiver<Wake>) {
    let (send, receive) = mpsc::channel();
    let body = move |why| {
        let _ = send.send(why);
        Ok(next)
    };
    (body, receive)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of a failure handler")]
fn unexpected(failure: Failure<String>) {
    panic!("{failure}");
}

fn reporting() -> (impl FnOnce(Failure<String>) + Send, Receiver<String>) {
    let (send, receive): (Sender<String>, _) = mpsc::channel();
    (move |failure: Failure<String>| send.send(failure.to_string()).unwrap(), receive)
}

#[test]
fn a_wake_runs_the_body_and_without_one_it_sleeps() {
    let (body, runs) = sending(Next::Wait);
    let worker = Worker::spawn("sleeper", NEVER, body, unexpected).unwrap();
    assert_eq!(worker.name(), "sleeper");
    let nothing = runs.recv_timeout(Duration::from_millis(20));
    assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    worker.wake();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    worker.waker().wake();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    assert!(worker.is_running());
}

#[test]
fn a_tick_runs_the_body_again_and_again() {
    let (body, runs) = sending(Next::Wait);
    let tick = Duration::from_millis(2);
    let start = Instant::now();
    let _worker = Worker::spawn("ticker", tick, body, unexpected).unwrap();
    for _ in 0..5 {
        assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Tick));
    }
    assert!(start.elapsed() >= 5 * tick);
}

#[test]
fn no_wake_is_lost() {
    // A wake is lost if it comes after the last run began and no run follows.
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(AtomicU64::new(0));
    let (from, to) = (Arc::clone(&asked), Arc::clone(&seen));
    let body = move |_| {
        to.store(from.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok::<_, String>(Next::Wait)
    };
    let worker = Worker::spawn("busy", NEVER, body, unexpected).unwrap();
    for round in 1..=20_000 {
        asked.store(round, Ordering::SeqCst);
        worker.wake();
        if round % 3 == 0 {
            let start = Instant::now();
            while seen.load(Ordering::SeqCst) < round {
                assert!(start.elapsed() < LONG, "the wake of round {round} was lost");
                thread::yield_now();
            }
        }
    }
    worker.stop();
}

#[test]
fn a_wake_is_not_lost_when_the_body_parks_by_itself() {
    let (send, runs) = mpsc::channel();
    let (go, wait_for_go) = mpsc::channel::<()>();
    let body = move |why| {
        send.send(why).unwrap();
        wait_for_go.recv().unwrap();
        // Eats the token that the second wake left.
        thread::park_timeout(Duration::from_millis(1));
        Ok::<_, String>(Next::Wait)
    };
    let worker = Worker::spawn("parker", NEVER, body, unexpected).unwrap();
    worker.wake();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    worker.wake();
    go.send(()).unwrap();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    go.send(()).unwrap();
}

#[test]
fn a_body_can_run_on_and_can_still_be_stopped() {
    let (body, runs) = sending(Next::Again);
    let worker = Worker::spawn("runner", NEVER, body, unexpected).unwrap();
    worker.wake();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Again));
    worker.stop();
    assert!(!worker.is_running());
}

#[test]
fn a_body_can_end_the_worker() {
    let (body, runs) = sending(Next::Stop);
    let worker = Worker::spawn("once", NEVER, body, unexpected).unwrap();
    worker.wake();
    assert_eq!(runs.recv_timeout(LONG), Ok(Wake::Asked));
    // The channel closes when the thread drops its body.
    assert_eq!(runs.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    worker.wake();
    worker.stop();
}

#[test]
fn stopping_joins_and_may_be_repeated_by_anyone() {
    let (started, wait_for_start) = mpsc::channel();
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    let body = move |_| {
        started.send(()).unwrap();
        thread::sleep(Duration::from_millis(20));
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, String>(Next::Wait)
    };
    let worker = Worker::spawn("slow", NEVER, body, unexpected).unwrap();
    worker.wake();
    wait_for_start.recv_timeout(LONG).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                worker.stop();
                assert_eq!(ended.load(Ordering::SeqCst), 1, "stop came back too early");
            });
        }
    });
    assert!(!worker.is_running());
    worker.wake();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn dropping_stops_a_sleeping_worker() {
    let (body, runs) = sending(Next::Wait);
    drop(Worker::spawn("dropped", NEVER, body, unexpected).unwrap());
    assert_eq!(runs.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn stopping_from_inside_the_body_does_not_deadlock() {
    let slot: Arc<Mutex<Option<Arc<Worker>>>> = Arc::default();
    let own = Arc::clone(&slot);
    let (done, wait_for_end) = mpsc::channel();
    let body = move |_| {
        // Also the last owner: dropping the worker here must not join itself.
        let worker = own.lock().unwrap().take().unwrap();
        worker.stop();
        drop(worker);
        done.send(()).unwrap();
        Ok::<_, String>(Next::Again)
    };
    let worker = Arc::new(Worker::spawn("inside", NEVER, body, unexpected).unwrap());
    let waker = worker.waker();
    *slot.lock().unwrap() = Some(worker);
    waker.wake();
    assert_eq!(wait_for_end.recv_timeout(LONG), Ok(()));
    // A second run would have sent again.
    assert_eq!(wait_for_end.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn an_error_is_reported_once_and_ends_the_worker() {
    let (report, failures) = reporting();
    let body = |_| Err("disk on fire".to_owned());
    let worker = Worker::spawn("failing", Duration::from_millis(1), body, report).unwrap();
    let text = failures.recv_timeout(LONG).unwrap();
    assert_eq!(text, "background work failed: disk on fire");
    assert_eq!(failures.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    worker.wake();
    worker.stop();
    assert!(!worker.is_running());
}

#[test]
fn a_panic_is_reported_once_and_ends_the_worker() {
    for owned in [true, false] {
        let (report, failures) = reporting();
        let body = move |_| -> Result<Next, String> {
            if owned { panic!("page {} is odd", 7) } else { panic!("odd page") }
        };
        let worker = Worker::spawn("panicking", NEVER, body, report).unwrap();
        worker.wake();
        let text = failures.recv_timeout(LONG).unwrap();
        let expected = if owned { "page 7 is odd" } else { "odd page" };
        assert_eq!(text, format!("background work panicked: {expected}"));
        assert_eq!(failures.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        worker.stop();
    }
}
