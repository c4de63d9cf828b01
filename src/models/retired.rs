//! Displaced values: what an open cut sees is not dead, and what none sees is not kept.
//!
//! Guarded by the look at the registry after the version of what displaced the value (A8), and by
//! the looks that a keeper and a closer both take at what the other does (`map::retired`).

use super::setting::join_both;
use super::{explore, start};
use crate::map::retired::{Displaced, Retired};
use core::mem::ManuallyDrop;
use mapping::{Clock, OpenCut};
use std::sync::Arc;
use sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// A value that is there from the beginning.
const HANDLE: u64 = 8;

struct Place {
    clock: Clock,
    retired: Retired,
    /// Whether another value is installed, and the version that it got.
    is_displaced: AtomicBool,
    hidden_at: AtomicU64,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::new(1),
            retired: Retired::new(8),
            is_displaced: AtomicBool::new(false),
            hidden_at: AtomicU64::new(0),
        })
    }

    /// What a writer does.
    fn displace(&self) {
        self.is_displaced.store(true, Ordering::SeqCst);
        // Loom takes SeqCst accesses for AcqRel ones.
        fence(Ordering::SeqCst);
        let hidden_at = self.clock.now();
        self.hidden_at.store(hidden_at, Ordering::Relaxed);
        self.retired.displaced(&self.clock, Displaced { handle: HANDLE, born: 1, hidden_at });
    }

    /// What a snapshot begins with.
    fn open(&self) -> OpenCut<'_> {
        self.clock.open_and_tell(|version| {
            fence(Ordering::SeqCst);
            self.retired.closed(&self.clock, version);
        })
    }

    /// What the end of a snapshot does.
    fn close(&self, cut: OpenCut<'_>) {
        let version = cut.version();
        drop(cut);
        fence(Ordering::SeqCst);
        self.retired.closed(&self.clock, version);
    }

    /// How many values are kept, and how many are dead.
    fn counts(self: Arc<Self>) -> (usize, usize) {
        let Ok(mut place) = Arc::try_unwrap(self) else { panic!("a thread has it still") };
        place.retired.counts()
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
