//! Of trees that were made and dropped nothing is left, on disk or in memory.
//!
//! Each drop kept its entry in the catalog, its root, and what the process knew of it: 30,000 of
//! them took 90 MiB, which no budget counted. A process of its own, for its memory is looked at.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use bwtree::{CleanOptions, Db, SyncPolicy};
use bwtree_tests::{resident, rest};

const MIB: u64 = 1 << 20;

fn make_and_drop(db: &Db, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let name = format!("tree {n}");
        let tree = db.tree(&name).unwrap();
        tree.put("k", n.to_be_bytes().to_vec()).unwrap();
        assert!(db.drop_tree(&name).unwrap());
        assert!(!db.drop_tree(&name).unwrap());
        // So that no more of them wait at one moment than at another.
        if n % 500 == 499 {
            rest(db, 8);
        }
    }
}

#[test]
fn ten_thousand_trees_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || Db::builder(folder.path()).sync_policy(SyncPolicy::EveryMillis(50));
    let db = builder().open().unwrap();
    let kept = db.tree("kept").unwrap();
    kept.put("k", "v").unwrap();
    make_and_drop(&db, 0..2000);
    let before = resident();
    make_and_drop(&db, 2000..10_000);
    let after = resident();
    println!("{before}, then {after} bytes resident");
    assert!(after <= before + 6 * MIB, "memory grows: {before} -> {after}");
    assert_eq!(db.tree_names().unwrap(), ["kept"]);
    db.clean(CleanOptions::default()).unwrap();
    drop(kept);
    db.close().unwrap();
    let db = builder().read_only(true).open().unwrap();
    assert_eq!(db.tree_names().unwrap(), ["kept"]);
    db.verify().unwrap();
    let stats = db.stats();
    println!(
        "{} bytes on disk, {} live, {} pages",
        stats.disk_bytes, stats.live_bytes, stats.pages
    );
    assert!(stats.disk_bytes <= MIB + stats.live_bytes, "{stats:?}");
    assert!(stats.pages <= 3, "{stats:?}");
}
