//! A store many times larger than its memory, written at random: what the log costs follows what is
//! written, and the disk what is live.

use std::sync::Arc;

use bwtree::io::MemoryDisk;
use bwtree::{CleanEnd, CleanOptions, CleaningSchedule, Db};

const ENTRIES: u64 = 100_000;
const VALUE_BYTES: usize = 200;

/// Scattered, each once.
fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Each entry is written once as a record, about twice in images of pages that split, and moved
/// about once: cleaning takes the emptiest segments, few at a time, close to the bound. When it
/// went for all of them at once, a byte was written eleven times, and the disk was twice the bound.
#[test]
fn random_writes_far_above_the_memory_cost_little_and_keep_the_disk_within_its_bound() {
    let slack = 1 << 20;
    let schedule = CleaningSchedule::new().with_slack_bytes(slack);
    let builder = Db::builder("").cleaning(schedule).memory_budget_bytes(2 << 20);
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    let mut most = 0.0_f64;
    for number in 0..ENTRIES {
        tree.put(key(number), vec![number as u8; VALUE_BYTES]).unwrap();
        if number.is_multiple_of(1000) {
            let stats = db.stats();
            most =
                most.max(stats.disk_bytes as f64 / schedule.bound_bytes(stats.live_bytes) as f64);
        }
    }
    let stats = db.stats();
    let written = stats.bytes_written as f64 / stats.user_bytes_written as f64;
    println!(
        "{{\"written_per_byte\": {written:.2}, \"disk_per_bound\": {most:.2}, \"segments\": {}}}",
        stats.segments
    );
    assert!(stats.evictions > ENTRIES / 4, "it was not far above the memory: {stats:?}");
    assert!(stats.cleaning_bytes_written > 0, "nothing was cleaned: {stats:?}");
    assert!(written < 6.5, "{written} bytes written for each of the user's: {stats:?}");
    assert!(most < 1.5, "{most} times the bound of the disk: {stats:?}");
    drop(tree);
    db.verify().unwrap();
}

/// Whose values lie in a segment its directories do not say.
#[test]
fn segments_with_separated_values_are_emptied() {
    let builder = Db::builder("memory").without_background();
    let db = builder.open_on(Arc::new(MemoryDisk::new())).unwrap();
    let tree = db.tree("t").unwrap();
    for number in 0..2000 {
        tree.put(key(number), vec![number as u8; 5000]).unwrap();
    }
    db.checkpoint().unwrap();
    for number in (0..2000_u64).filter(|number| !number.is_multiple_of(3)) {
        tree.remove(key(number)).unwrap();
    }
    let options = CleanOptions { target_ratio: 1.2, ..CleanOptions::default() };
    let report = db.clean(options).unwrap();
    assert_eq!(report.end, CleanEnd::Reached, "{report:?}");
    assert!(report.moved_bytes > 1 << 20, "{report:?}");
    for number in (0..2000).step_by(3) {
        assert_eq!(tree.get(key(number)).unwrap().as_deref(), Some(&[number as u8; 5000][..]));
    }
    drop(tree);
    db.verify().unwrap();
}
