//! A store that is opened and left many times, by a close or by a kill, is as small as before, and
//! what one life has begun the next one ends.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bwtree::io::SimDisk;
use bwtree::{Db, SyncPolicy};

const MIB: u64 = 1 << 20;

/// Each life left the segments that it had prepared, sealed for ever: 2 MiB each time.
#[test]
fn restarts_leave_nothing() {
    for kill in [true, false] {
        let mut disk = SimDisk::new();
        for life in 0..150 {
            let builder = Db::builder("unused").sync_policy(SyncPolicy::EveryMillis(1));
            let db = builder.open_on(Arc::new(disk.clone())).unwrap();
            if life % 50 == 0 {
                db.tree("t").unwrap().put("life", life.to_string()).unwrap();
                db.sync().unwrap();
            }
            // The flusher prepares a segment.
            sleep(Duration::from_millis(3));
            if kill {
                disk = disk.kill();
                drop(db);
            } else {
                db.close().unwrap();
            }
        }
        println!("killed: {kill}: {} bytes", disk.used());
        assert!(disk.used() <= MIB, "{} bytes after 150 lives, killed: {kill}", disk.used());
    }
}

/// A crash in the middle of `drop_tree`: its entry was gone from the names, its pages stayed for
/// good.
#[test]
fn a_drop_that_a_crash_cut_short_is_finished() {
    for background in [true, false] {
        let disk = SimDisk::new();
        let builder = || Db::builder("unused").tiny().sync_policy(SyncPolicy::Manual);
        let db = builder().without_background().open_on(Arc::new(disk.clone())).unwrap();
        let (gone, kept) = (db.tree("gone").unwrap(), db.tree("kept").unwrap());
        for n in 0..3000_u32 {
            gone.put(n.to_be_bytes(), vec![1; 30]).unwrap();
        }
        kept.put("k", "v").unwrap();
        db.sync().unwrap();
        let full = db.stats().live_bytes;
        // Syncs run beside the dropping; the disk is killed as one of them finds it.
        let killed = std::thread::scope(|scope| {
            let dropping = scope.spawn(|| db.drop_tree("gone").unwrap());
            let mut killed = None;
            while !dropping.is_finished() {
                db.sync().unwrap();
                let half = disk.kill();
                if killed.is_none() && !db.tree_names().unwrap().contains(&"gone".into()) {
                    killed = Some(half);
                }
            }
            killed
        });
        // The last sync may have come too early or too late for a half-done drop; both are fine.
        let disk = killed.unwrap_or_else(|| disk.kill());
        let builder = if background { builder() } else { builder().without_background() };
        let db = builder.open_on(Arc::new(disk)).unwrap();
        if db.find_tree("gone").unwrap().is_some() {
            println!("killed before the drop was durable");
            continue;
        }
        let started = Instant::now();
        loop {
            db.sync().unwrap();
            let stats = db.stats();
            // The cleaning duty has the rest: here it is whether entries are gone.
            if stats.live_bytes < full / 2 {
                break;
            }
            if !background {
                db.checkpoint().unwrap();
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{full} -> {stats:?}");
            sleep(Duration::from_millis(20));
        }
        assert_eq!(db.tree_names().unwrap(), ["kept"]);
        assert_eq!(db.tree("gone").unwrap().len(), 0);
        assert_eq!(db.tree("gone").unwrap().iter().count(), 0);
        db.verify().unwrap();
    }
}
