//! Until the background has given back what was dropped, or has nothing to write.

use bwtree::Db;
use std::thread;
use std::time::{Duration, Instant};

/// Waits until a store has no more than so many pages: those of dropped trees are given back.
///
/// # Panics
/// If that takes 20 seconds.
pub fn rest(db: &Db, pages: u64) {
    let started = Instant::now();
    while db.stats().pages > pages {
        assert!(started.elapsed() < Duration::from_secs(20), "pages stay: {:?}", db.stats());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the store has not written for so long; returns what it wrote until then.
///
/// # Panics
/// If it still writes when patience is over.
pub fn still(db: &Db, quiet: Duration, patience: Duration) -> u64 {
    let started = Instant::now();
    let before = db.stats().bytes_written;
    let (mut last, mut since) = (before, Instant::now());
    while since.elapsed() < quiet {
        assert!(started.elapsed() < patience, "it writes and writes: {:?}", db.stats());
        thread::sleep(Duration::from_millis(50));
        let now = db.stats().bytes_written;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last - before
}
