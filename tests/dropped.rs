//! Of a tree that was dropped no page is kept, and what still holds a handle to it is told so,
//! whatever others do at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{MemoryDisk, SlowDisk};
use bwtree::{CleanOptions, CleaningSchedule, Db, Error, Result, SyncPolicy, Tree};
use bwtree_tests::{Random, rest, seed};

const MIB: u64 = 1 << 20;

/// Every operation that can fail, in turn.
fn operations(tree: &Tree) -> Vec<(&'static str, Result<()>)> {
    let some = |_: Option<&[u8]>| Some("x");
    vec![
        ("get", tree.get("k").map(drop)),
        ("get_with", tree.get_with("k", |_| ()).map(drop)),
        ("contains_key", tree.contains_key("k").map(drop)),
        ("insert", tree.insert("k", "v").map(drop)),
        ("insert, large", tree.insert("k", vec![1; 9000]).map(drop)),
        ("remove", tree.remove("k").map(drop)),
        ("put", tree.put("k", "v")),
        ("delete", tree.delete("k").map(drop)),
        ("compare_exchange", tree.compare_exchange("k", None, None).map(drop)),
        ("fetch_and_update", tree.fetch_and_update("k", some).map(drop)),
        ("update_and_fetch", tree.update_and_fetch("k", some).map(drop)),
        ("get_or_insert_with", tree.get_or_insert_with("k", || "v").map(drop)),
        ("lt", tree.lt("k").map(drop)),
        ("le", tree.le("k").map(drop)),
        ("gt", tree.gt("k").map(drop)),
        ("ge", tree.ge("k").map(drop)),
        ("first_key_value", tree.first_key_value().map(drop)),
        ("last_key_value", tree.last_key_value().map(drop)),
        ("pop_first", tree.pop_first().map(drop)),
        ("pop_last", tree.pop_last().map(drop)),
        ("pop_first_in", tree.pop_first_in("a"..).map(drop)),
        ("pop_last_in", tree.pop_last_in("a"..).map(drop)),
        ("iter", tree.iter().collect::<Result<Vec<_>>>().map(drop)),
        ("keys, back", tree.keys().rev().collect::<Result<Vec<_>>>().map(drop)),
        ("values", tree.values().collect::<Result<Vec<_>>>().map(drop)),
        ("prefix", tree.prefix("k").collect::<Result<Vec<_>>>().map(drop)),
        ("scan", tree.scan(.., |_, _| std::ops::ControlFlow::<()>::Continue(())).map(drop)),
        ("retain", tree.retain(|_, _| true)),
        ("extract_if", tree.extract_if(.., |_, _| true).collect::<Result<Vec<_>>>().map(drop)),
        ("remove_range", tree.remove_range(..).map(drop)),
        ("clear", tree.clear()),
    ]
}

#[test]
fn a_handle_to_a_dropped_tree_says_so() {
    for tiny in [true, false] {
        let disk = Arc::new(MemoryDisk::new());
        let builder = Db::builder("memory").sync_policy(SyncPolicy::EveryMillis(5));
        let builder = if tiny { builder.tiny() } else { builder };
        let db = builder.open_on(disk).unwrap();
        let old = db.tree("t").unwrap();
        (0..2000_u32).for_each(|n| old.put(n.to_be_bytes(), vec![7; 30]).unwrap());
        let mut parked = old.iter();
        assert!(parked.next().unwrap().is_ok());
        assert!(db.drop_tree("t").unwrap());
        // The name is free at once, and what comes under it is another tree.
        let new = db.tree("t").unwrap();
        assert!(new.is_empty() && new.get(0_u32.to_be_bytes()).unwrap().is_none());
        new.put("mine", "1").unwrap();
        // At once, and when nothing is left of it.
        for _ in 0..2 {
            for (what, result) in operations(&old) {
                let said = matches!(&result, Err(Error::TreeDropped { name }) if name == "t");
                assert!(said, "{what}: {result:?}");
            }
            assert!(old.is_empty() && format!("{old:?}").contains("0 entries"));
            db.sync().unwrap();
            rest(&db, 4);
        }
        // What was read before is given; then it ends.
        let end = parked.find(Result::is_err).unwrap();
        assert!(matches!(end, Err(Error::TreeDropped { .. })), "{end:?}");
        // Not with the same error again and again: who counts what is left comes to an end.
        assert!(parked.next().is_none() && parked.next_back().is_none());
        assert_eq!(old.iter().flatten().count(), 0);
        let mine: Vec<_> = new.iter().map(Result::unwrap).collect();
        assert_eq!(mine, [("mine".into(), "1".into())]);
        db.verify().unwrap();
        // What the new one writes goes to no page of the old one, whose ids it may have now.
        (0..2000_u32).for_each(|n| new.put(n.to_be_bytes(), vec![8; 30]).unwrap());
        assert_eq!(new.iter().flatten().count(), 2001);
        db.verify().unwrap();
    }
}

/// Threads that use, drop and make the same trees, in pages so small that every one of them splits.
#[test]
fn beside_readers_and_writers() {
    let mut random = Random::new(seed("beside_readers_and_writers"));
    let disk = Arc::new(MemoryDisk::new());
    let builder = Db::builder("memory").tiny().memory_budget_bytes(MIB);
    let db = builder.sync_policy(SyncPolicy::EveryMillis(1)).open_on(disk).unwrap();
    let (done, dropped, told) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..3 {
            let (mut random, db, done, dropped, told) =
                (random.fork(), &db, &done, &dropped, &told);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let name = ["a", "b", "c"][random.index(3)];
                    let tree = db.tree(name).unwrap();
                    for _ in 0..random.below(300) {
                        let key = (random.below(2000) as u32).to_be_bytes();
                        let result = match random.below(8) {
                            0 => tree.get(key).map(drop),
                            1 => tree.delete(key).map(drop),
                            2 => tree.range(key..).take(60).try_for_each(|e| e.map(drop)),
                            3 => tree.gt(key).map(drop),
                            4 => tree.put(key, vec![1; 1200]),
                            _ => tree.put(key, vec![key[3]; 40]),
                        };
                        match result {
                            Ok(()) => {}
                            Err(Error::TreeDropped { .. }) => {
                                told.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                    if random.once_in(2) && db.drop_tree(name).unwrap() {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    if random.once_in(20) {
                        db.evict_pages();
                    }
                }
            });
        }
        while begun.elapsed() < Duration::from_millis(2500) {
            thread::sleep(Duration::from_millis(30));
            if random.once_in(4) {
                db.clean(CleanOptions::default()).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let (dropped, told) = (dropped.into_inner(), told.into_inner());
    println!("{dropped} drops, {told} operations were told");
    assert!(dropped > 100 && told > 10, "{dropped} drops, {told} told");
    db.verify().unwrap();
    for name in ["a", "b", "c"] {
        db.drop_tree(name).unwrap();
    }
    db.clean(CleanOptions::default()).unwrap();
    rest(&db, 2);
    db.verify().unwrap();
    db.checkpoint().unwrap();
    // The catalog, and the table; what is written of a tree while it is taken away counts for ever.
    assert!(db.stats().live_bytes < 4096, "{:?}", db.stats());
}

/// Trees that come and go faster than the background gives them back, on a slow disk: all of them
/// waited, with a page each, and the table and the reserve grew with them, for good.
#[test]
fn no_more_than_some_wait_at_a_time() {
    let disk = SlowDisk::new(Arc::new(MemoryDisk::new()));
    let builder = || Db::builder("memory").sync_policy(SyncPolicy::EveryMillis(5));
    let db = builder().open_on(Arc::new(disk.clone())).unwrap();
    disk.delay_syncs(Duration::from_millis(30));
    let mut most = 0;
    for n in 0..20_000_u32 {
        let name = format!("tree {n}");
        db.tree(&name).unwrap().put("k", "v").unwrap();
        assert!(db.drop_tree(&name).unwrap());
        if n % 100 == 0 {
            most = most.max(db.stats().pages);
        }
    }
    println!("at most {most} pages");
    assert!(most < 4500, "{most} pages");
    disk.delay_syncs(Duration::ZERO);
    db.close().unwrap();
    let db = builder().open_on(Arc::new(disk)).unwrap();
    // The catalog had two thousand names for a moment: most of its pages go when nobody writes.
    rest(&db, 2);
    let stats = db.stats();
    println!(
        "{} pages, {} bytes on disk, {} live",
        stats.pages, stats.disk_bytes, stats.live_bytes
    );
    assert!(stats.pages <= 4 && stats.disk_bytes <= MIB + stats.live_bytes, "{stats:?}");
}

/// A closure that is called in the middle of background work drops trees: nobody else can give them
/// back meanwhile, and it is not kept waiting for that.
#[test]
fn a_drop_waits_for_no_one_without_end() {
    let builder = Db::builder("memory").cleaning(CleaningSchedule::disabled());
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for round in 0..2 {
        (0..16_000_u32).for_each(|n| {
            if round == 0 || n / 64 % 4 != 0 {
                tree.put(n.to_be_bytes(), vec![round; 500]).unwrap();
            }
        });
        db.sync().unwrap();
    }
    let mut dropped = 0;
    let mut progress = |_: &_| {
        while dropped < 1100 {
            let name = format!("tree {dropped}");
            db.tree(&name).unwrap();
            assert!(db.drop_tree(&name).unwrap());
            dropped += 1;
        }
        true
    };
    let options =
        CleanOptions { target_ratio: 1.0, progress: Some(&mut progress), ..Default::default() };
    db.clean(options).unwrap();
    assert_eq!(dropped, 1100);
    // Those of the tree that is there, its and the catalog's.
    rest(&db, db.stats().trees[0].pages + 2);
    db.verify().unwrap();
}
