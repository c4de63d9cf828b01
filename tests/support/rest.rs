//! Until the background has given back what was dropped.

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
