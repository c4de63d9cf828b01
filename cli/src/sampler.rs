//! A thread that watches a folder grow: disk space every 50 ms beside the live bytes of the moment,
//! so that a bound on space is checked all the time and not only at the end.

use crate::process;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(50);
/// What the store may take beside twice the live bytes.
pub(crate) const BOUND_SLACK_BYTES: u64 = 64 << 20;

/// The disk space a store with `live` bytes of data may take.
pub(crate) fn bound(live: u64) -> u64 {
    2 * live + BOUND_SLACK_BYTES
}

/// What the samples said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observed {
    pub(crate) peak_bytes: u64,
    /// The disk space at the last sample.
    pub(crate) last_bytes: u64,
    pub(crate) samples: u64,
    /// Samples in which the disk took more than `bound` of the live bytes.
    pub(crate) over: u64,
    /// The worst of those: disk bytes and live bytes.
    pub(crate) worst: Option<(u64, u64)>,
}

impl Observed {
    fn note(&mut self, disk: u64, live: u64) {
        self.samples += 1;
        self.peak_bytes = self.peak_bytes.max(disk);
        self.last_bytes = disk;
        if disk > bound(live) {
            self.over += 1;
            let excess = |(disk, live): (u64, u64)| disk - bound(live);
            if self.worst.is_none_or(|worst| excess(worst) < disk - bound(live)) {
                self.worst = Some((disk, live));
            }
        }
    }
}

/// A running sampler. What makes the traffic keeps `live` up to date.
#[derive(Debug)]
pub(crate) struct Sampler {
    dir: PathBuf,
    live: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Observed>,
}

impl Sampler {
    pub(crate) fn start(dir: &Path, live: Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (dir, live, stop) = (dir.to_owned(), Arc::clone(&live), Arc::clone(&stop));
            thread::spawn(move || {
                let mut observed = Observed::default();
                while !stop.load(Ordering::Relaxed) {
                    observed.note(process::disk_bytes(&dir), live.load(Ordering::Relaxed));
                    thread::park_timeout(INTERVAL);
                }
                observed
            })
        };
        Self { dir: dir.to_owned(), live, stop, thread }
    }

    /// Stops and takes a last sample, so that a short run has one.
    pub(crate) fn finish(self) -> Observed {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let mut observed = self.thread.join().unwrap_or_default();
        observed.note(process::disk_bytes(&self.dir), self.live.load(Ordering::Relaxed));
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_excess_is_kept() {
        let mut observed = Observed::default();
        observed.note(bound(10), 10);
        assert_eq!((observed.over, observed.worst), (0, None));
        observed.note(bound(10) + 5, 10);
        observed.note(bound(90) + 9, 90);
        observed.note(bound(10) + 7, 10);
        assert_eq!(observed.over, 3);
        assert_eq!(observed.worst, Some((bound(90) + 9, 90)));
        assert_eq!((observed.samples, observed.peak_bytes), (4, bound(90) + 9));
        assert_eq!(observed.last_bytes, bound(10) + 7);
    }

    #[test]
    fn a_short_run_has_a_sample() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), vec![7_u8; 20_000]).unwrap();
        let observed = Sampler::start(dir.path(), Arc::default()).finish();
        assert!(observed.samples >= 1 && observed.peak_bytes >= 20_000);
    }
}
