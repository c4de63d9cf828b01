//! Displaced values: what an open cut sees is not dead, and what none sees is not kept.
//!
//! Guarded by the look at the registry after the version of what displaced the value (A8), and by
//! the looks that a keeper and a closer both take at what the other does (`mapping::Clock`).

use super::setting::join_both;
use super::{explore, start};
use core::mem::ManuallyDrop;
use mapping::{Clock, Kept, OpenCut};
use std::sync::Arc;
use sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use sync::epoch::{Collector, Guard};

struct Place {
    clock: Clock,
    epoch: Collector,
    /// Whether another value is installed, and the version that it got.
    is_displaced: AtomicBool,
    hidden_at: AtomicU64,
    /// How often a value was given back.
    dead: AtomicU64,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::new(1),
            epoch: Collector::new(),
            is_displaced: AtomicBool::new(false),
            hidden_at: AtomicU64::new(0),
            dead: AtomicU64::new(0),
        })
    }

    fn free(&self, kept: Kept) {
        drop(kept);
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    /// What a writer does with the value that was there from version 1 on.
    fn displace(&self) {
        let guard = self.epoch.pin();
        self.is_displaced.store(true, Ordering::SeqCst);
        // Loom takes SeqCst accesses for AcqRel ones.
        fence(Ordering::SeqCst);
        let hidden_at = self.clock.now();
        self.hidden_at.store(hidden_at, Ordering::Relaxed);
        if self.clock.none_open() {
            self.free(Kept::Value(8));
        } else {
            self.clock.keep((1, hidden_at), Kept::Value(8), &guard, |kept| self.free(kept));
        }
    }

    fn open(&self) -> OpenCut<'_> {
        self.clock.open(&self.epoch.pin())
    }

    /// What the end of a snapshot does.
    fn close(&self, cut: OpenCut<'_>) {
        let guard: Guard = self.epoch.pin();
        self.clock.close(cut, &guard, |kept| self.free(kept));
    }

    /// How many values are kept, and how many are dead.
    fn counts(self: Arc<Self>) -> (usize, u64) {
        let Ok(mut place) = Arc::try_unwrap(self) else { panic!("a thread has it still") };
        let guard = place.epoch.pin();
        (place.clock.take_kept(&guard).len(), place.dead.load(Ordering::Relaxed))
    }
}

#[test]
fn what_a_cut_sees_is_kept_until_it_is_closed() {
    explore("retired/open", || {
        let it = Place::new();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.displace());
        let cut = start(move || {
            let cut = ManuallyDrop::new(two.open()).version();
            (cut, !two.is_displaced.load(Ordering::SeqCst))
        });
        let ((), (cut, saw_it)) = join_both(writer, cut);
        let sees_it = cut < it.hidden_at.load(Ordering::Relaxed);
        assert!(sees_it || !saw_it, "it is not the cut's and was seen");
        assert_eq!(it.counts(), if sees_it { (1, 0) } else { (0, 1) });
    });
}

#[test]
fn what_no_cut_sees_is_not_kept() {
    explore("retired/close", || {
        let it = Place::new();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || one.displace());
        let closer = start(move || two.close(two.open()));
        join_both(writer, closer);
        assert_eq!(it.counts(), (0, 1));
    });
}

#[test]
fn what_goes_from_one_cut_to_another_is_not_lost() {
    explore("retired/close/close", || {
        let it = Place::new();
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let writer = start(move || {
            let cut = one.open();
            one.displace();
            one.close(cut);
        });
        let closer = start(move || two.close(two.open()));
        join_both(writer, closer);
        assert_eq!(it.counts(), (0, 1));
    });
}

#[test]
fn what_two_cuts_see_goes_with_the_second() {
    explore("retired/close/close of two", || {
        // The cuts are other threads'.
        let it: &'static Place = Box::leak(Box::new(Place::new()));
        let (older, newer) = (it.open(), it.open());
        it.displace();
        join_both(start(move || it.close(older)), start(move || it.close(newer)));
        assert_eq!(it.dead.load(Ordering::Relaxed), 1);
    });
}
