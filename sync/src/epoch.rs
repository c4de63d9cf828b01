//! Epochs: what is unlinked is freed only when nobody who was pinned then still is.
//!
//! In production this is crossbeam-epoch over collectors of our own, so that other users of that
//! crate in the process cannot hold our garbage back: one for maps, whose users may stay pinned for
//! as long as they like (sessions, iterators), and one for stores, where nobody is pinned while a
//! user's code runs or a file is read, so that what waits for all that are pinned waits shortly. A
//! thread that has ended its thread-locals pins through a handle made for the occasion.
//!
//! Under loom nothing is freed before the model ends: the models look for lost updates and wrong
//! answers, and a model of its own covers crossbeam-epoch's pin and defer. Under shuttle what was
//! deferred runs as soon as nobody is pinned, so that memory goes and page ids come back as early
//! as they may.

#[cfg(not(any(loom, shuttle)))]
mod production {
    use core::fmt;
    use crossbeam_epoch as epoch;
    use std::sync::LazyLock;
    use std::thread::LocalKey;

    type Source = LazyLock<epoch::Collector>;

    static OF_MAPS: Source = LazyLock::new(epoch::Collector::new);
    static OF_STORES: Source = LazyLock::new(epoch::Collector::new);

    std::thread_local! {
        static HANDLE_OF_MAPS: epoch::LocalHandle = OF_MAPS.register();
        static HANDLE_OF_STORES: epoch::LocalHandle = OF_STORES.register();
    }

    /// The source of pins. All collectors of maps share their epochs, and all of stores.
    #[derive(Debug, Default)]
    pub struct Collector {
        is_of_store: bool,
    }

    /// A pin: while it lives, nothing unlinked since it was made is freed.
    pub struct Guard(epoch::Guard);

    impl Collector {
        /// A collector for maps.
        pub fn new() -> Self {
            Self { is_of_store: false }
        }

        /// A collector for stores: pins of maps hold back nothing of theirs.
        pub fn of_stores() -> Self {
            Self { is_of_store: true }
        }

        /// Pins the current thread. Pins nest; each costs about 10 ns.
        #[inline]
        pub fn pin(&self) -> Guard {
            let (handle, collector) = self.source();
            Guard(handle.try_with(epoch::LocalHandle::pin).unwrap_or_else(|_| {
                // The thread is ending and its handle is gone.
                collector.register().pin()
            }))
        }

        /// Whether the current thread is pinned, by whatever guard of such a collector.
        #[inline]
        pub fn is_pinned(&self) -> bool {
            self.source().0.try_with(epoch::LocalHandle::is_pinned).unwrap_or(false)
        }

        #[inline]
        fn source(&self) -> (&'static LocalKey<epoch::LocalHandle>, &'static Source) {
            if self.is_of_store {
                (&HANDLE_OF_STORES, &OF_STORES)
            } else {
                (&HANDLE_OF_MAPS, &OF_MAPS)
            }
        }
    }

    impl Guard {
        /// Runs `action` once no thread that is pinned now is still pinned, in any thread.
        pub fn defer(&self, action: impl FnOnce() + Send + 'static) {
            self.0.defer(action);
        }

        /// Lets go for a moment, if no other pin of this thread is left. What was found under the
        /// pin may be gone then, so nothing of it may be in use: all is behind `&mut self`.
        pub fn repin(&mut self) {
            self.0.repin();
        }

        /// Hands this thread's deferred actions over, so that any thread may run them.
        pub fn flush(&self) {
            self.0.flush();
        }
    }

    impl fmt::Debug for Guard {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Guard")
        }
    }
}

#[cfg(loom)]
mod modelled {
    use core::fmt;
    use std::sync::{Arc, Mutex, PoisonError};

    type Actions = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;

    /// The source of pins; runs what was deferred when it is dropped, at the end of a model.
    #[derive(Default)]
    pub struct Collector(Actions);

    /// A pin.
    pub struct Guard(Actions);

    impl Collector {
        /// A collector.
        pub fn new() -> Self {
            Self::default()
        }

        /// A collector: each has epochs of its own here.
        pub fn of_stores() -> Self {
            Self::default()
        }

        /// Pins the current thread.
        pub fn pin(&self) -> Guard {
            Guard(Arc::clone(&self.0))
        }

        /// Nobody asks in a model.
        pub fn is_pinned(&self) -> bool {
            false
        }
    }

    impl Drop for Collector {
        fn drop(&mut self) {
            loop {
                let actions =
                    std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
                if actions.is_empty() {
                    break;
                }
                actions.into_iter().for_each(|action| action());
            }
        }
    }

    impl Guard {
        /// Keeps `action` until the model ends.
        pub fn defer(&self, action: impl FnOnce() + Send + 'static) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(action));
        }

        /// Nothing to do.
        pub fn repin(&mut self) {}

        /// Nothing to do.
        pub fn flush(&self) {}
    }

    impl fmt::Debug for Guard {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Guard")
        }
    }

    impl fmt::Debug for Collector {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Collector")
        }
    }
}

#[cfg(loom)]
pub use modelled::{Collector, Guard};
#[cfg(not(any(loom, shuttle)))]
pub use production::{Collector, Guard};

#[cfg(shuttle)]
mod scheduled {
    use core::fmt;
    use std::sync::{Arc, Mutex, PoisonError};

    type Action = Box<dyn FnOnce() + Send>;

    /// How many are pinned, and what waits for them. Nobody is scheduled away while it is locked.
    #[derive(Default)]
    struct Pins {
        pinned: usize,
        waiting: Vec<Action>,
    }

    /// The source of pins.
    #[derive(Default)]
    pub struct Collector(Arc<Mutex<Pins>>);

    /// A pin.
    pub struct Guard(Arc<Mutex<Pins>>);

    fn with<R>(pins: &Mutex<Pins>, run: impl FnOnce(&mut Pins) -> R) -> R {
        run(&mut pins.lock().unwrap_or_else(PoisonError::into_inner))
    }

    impl Collector {
        /// A collector.
        pub fn new() -> Self {
            Self::default()
        }

        /// A collector: each has epochs of its own here.
        pub fn of_stores() -> Self {
            Self::default()
        }

        /// Pins the current thread.
        pub fn pin(&self) -> Guard {
            with(&self.0, |pins| pins.pinned += 1);
            Guard(Arc::clone(&self.0))
        }

        /// Nobody asks in a schedule.
        pub fn is_pinned(&self) -> bool {
            false
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let free = with(&self.0, |pins| {
                pins.pinned -= 1;
                if pins.pinned == 0 { core::mem::take(&mut pins.waiting) } else { Vec::new() }
            });
            // Whoever is pinned from now on can't reach what these free.
            free.into_iter().for_each(|action| action());
        }
    }

    impl Guard {
        /// Runs `action` when nobody is pinned.
        pub fn defer(&self, action: impl FnOnce() + Send + 'static) {
            with(&self.0, |pins| pins.waiting.push(Box::new(action)));
        }

        /// Nothing to do: what is retired comes back when nobody is pinned.
        pub fn repin(&mut self) {}

        /// Nothing to do.
        pub fn flush(&self) {}
    }

    impl fmt::Debug for Guard {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Guard")
        }
    }

    impl fmt::Debug for Collector {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Collector")
        }
    }
}

#[cfg(shuttle)]
pub use scheduled::{Collector, Guard};
