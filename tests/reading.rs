//! A store that is opened for reading only keeps within its memory budget.
//!
//! No thread evicted: reading 16 MiB took 16 MiB of a budget of 4, and a gigabyte a gigabyte.

use std::sync::Arc;

use bwtree::io::MemoryDisk;
use bwtree::{Builder, Db};

const BUDGET: u64 = 4 << 20;
const ENTRIES: u64 = 100_000;

fn builder() -> Builder {
    Db::builder("memory").memory_budget_bytes(BUDGET)
}

#[test]
fn a_scan_and_a_check_keep_within_the_budget() {
    let disk = MemoryDisk::new();
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    (0..ENTRIES).for_each(|n| tree.put(n.to_be_bytes(), vec![n as u8; 150]).unwrap());
    drop(tree);
    db.close().unwrap();
    let db = builder().read_only(true).open_on(Arc::new(disk)).unwrap();
    let tree = db.tree("t").unwrap();
    let (mut most, mut entries) = (0, 0);
    for entry in &tree {
        entry.unwrap();
        entries += 1;
        if entries % 100 == 0 {
            most = most.max(db.stats().memory.total);
        }
    }
    db.verify().unwrap();
    most = most.max(db.stats().memory.total);
    assert_eq!(entries, ENTRIES);
    assert!(most <= BUDGET + BUDGET / 4, "{most} bytes of memory");
}
