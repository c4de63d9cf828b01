//! A damaged page costs its own keys, and nothing else.
//!
//! One byte of one leaf made cleaning fail, then the thread that cleaned, and then every write,
//! again after each opening.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bwtree::io::MemoryDisk;
use bwtree::{Builder, CleanOptions, Db, SyncPolicy};

const ENTRIES: u32 = 4000;
const VICTIM: u32 = 2000;

fn builder() -> Builder {
    Db::builder("memory").memory_budget_bytes(2 << 20).sync_policy(SyncPolicy::EveryMillis(10))
}

fn value(n: u32, turn: u32) -> Vec<u8> {
    format!("<value {n:08} of turn {turn:08}>").repeat(16).into_bytes()
}

/// A closed store whose leaf around `VICTIM` has one wrong byte.
fn damaged() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|n| tree.put(n.to_be_bytes(), value(n, 0)).unwrap());
    drop(tree);
    db.close().unwrap();
    let wanted = value(VICTIM, 0);
    let mut files = disk.files();
    let mut flipped = 0;
    for bytes in files.values_mut() {
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(wanted.len()).position(|w| w == wanted) {
            bytes[at + found] ^= 1;
            flipped += 1;
            at += found + wanted.len();
        }
    }
    assert!(flipped > 0, "the value is nowhere");
    MemoryDisk::with_files(files)
}

#[test]
fn everything_else_is_read_written_cleaned_and_closed() {
    let disk = damaged();
    for turn in 1..4 {
        let db = builder().open_on(Arc::new(disk.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        let mut lost = Vec::new();
        for n in 0..ENTRIES {
            match tree.get(n.to_be_bytes()) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{n} is missing, and nothing says why"),
                Err(error) => {
                    assert!(error.is_damage(), "{error}");
                    lost.push(n);
                }
            }
        }
        println!("turn {turn}: keys {lost:?} are lost");
        assert!(lost.contains(&VICTIM), "the damage is not noticed");
        assert!(lost.len() <= 40 && lost.is_sorted_by(|a, b| a + 1 == *b), "{lost:?}");
        assert!(db.verify().unwrap_err().is_damage());
        // Three times over, so that the cleaner empties every segment that it can.
        for _ in 0..3 {
            for n in (0..ENTRIES).filter(|n| !lost.contains(n)) {
                tree.put(n.to_be_bytes(), value(n, turn)).unwrap();
            }
            db.sync().unwrap();
            thread::sleep(Duration::from_millis(150));
        }
        db.clean(CleanOptions::default()).unwrap();
        db.checkpoint().unwrap();
        for n in (0..ENTRIES).filter(|n| !lost.contains(n)) {
            assert_eq!(tree.get(n.to_be_bytes()).unwrap().as_deref(), Some(&value(n, turn)[..]));
        }
        let stats = db.stats();
        assert!(stats.disk_bytes < 4 * stats.live_bytes + (8 << 20), "{}", stats.disk_bytes);
        drop(tree);
        db.close().unwrap();
    }
}

/// Dropping the tree, and then an idle store.
#[test]
fn a_tree_with_a_damaged_page_stops_no_other() {
    let disk = damaged();
    let db = builder().open_on(Arc::new(disk)).unwrap();
    let other = db.tree("other").unwrap();
    // It cannot be emptied; that is told, and is the tree's own affair.
    let dropped = db.drop_tree("t");
    assert!(dropped.as_ref().is_err_and(bwtree::Error::is_damage), "{dropped:?}");
    for n in 0..ENTRIES {
        other.put(n.to_be_bytes(), value(n, 9)).unwrap();
        if n % 500 == 0 {
            thread::sleep(Duration::from_millis(60));
        }
    }
    db.sync().unwrap();
    assert_eq!(other.len(), u64::from(ENTRIES));
    drop(other);
    db.close().unwrap();
}
