//! What is removed leaves nothing behind, however often the store is closed or killed.
//!
//! Merged pages were recorded as such and never freed when the store ended before their ids were:
//! each restart then left two ids, and 64 live bytes, for ever.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has checked")]

use bwtree::io::SimDisk;
use bwtree::{Builder, CleanOptions, Db, SyncPolicy};
use std::sync::Arc;

fn builder() -> Builder {
    Db::builder("").tiny().without_background().sync_policy(SyncPolicy::Manual)
}

/// Fills and empties a tree so that many pages merge; the live bytes after that.
fn fill_and_empty(db: &Db) -> bwtree::Result<u64> {
    let tree = db.tree("t")?;
    for n in 0..200 {
        tree.put(format!("k{n:05}"), vec![1; 40])?;
    }
    db.sync()?;
    for n in 0..200 {
        tree.delete(format!("k{n:05}"))?;
    }
    db.sync()?;
    for n in (0..200).rev() {
        for _ in 0..9 {
            tree.put(format!("k{n:05}"), vec![1; 20])?;
            tree.delete(format!("k{n:05}"))?;
        }
    }
    db.sync()?;
    for _ in 0..3 {
        db.clean(CleanOptions::default())?;
    }
    Ok(db.stats().live_bytes)
}

fn restarts_leave_nothing(end: impl Fn(Db, SimDisk) -> SimDisk) {
    let (mut disk, mut live, mut merges) = (SimDisk::new(), Vec::new(), 0);
    for _ in 0..40 {
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        live.push(fill_and_empty(&db).unwrap());
        merges += db.stats().merges;
        db.verify().unwrap();
        disk = end(db, disk);
    }
    assert!(merges > 100, "{merges} merges");
    let (early, late) = (live[5..15].iter().max().unwrap(), live[30..].iter().max().unwrap());
    println!("{merges} merges; live bytes {early} early, {late} late");
    assert!(*late <= early + 256, "live bytes grow with restarts: {live:?}");
}

#[test]
fn closing_again_and_again_leaves_nothing() {
    restarts_leave_nothing(|db, disk| {
        db.close().unwrap();
        disk
    });
}

#[test]
fn dying_again_and_again_leaves_nothing() {
    restarts_leave_nothing(|db, disk| {
        let left = disk.kill();
        // The old process writes no more.
        disk.cut_power_after(0);
        drop(db);
        left
    });
}
