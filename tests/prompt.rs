//! Values that were replaced or removed are dropped soon, though nobody writes their pages again.
//!
//! A binary of its own, with one test: other tests would be pinned now and then.

#![cfg(not(any(loom, shuttle)))]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, TryRecvError, channel};

use bwtree::Map;

const MIB: usize = 1 << 20;

/// Operations of one thread after which a value that nobody can see is dropped at the latest.
const OPERATIONS: usize = 96;

/// Bytes of all blocks that are alive.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// A value whose bytes lie apart from it.
struct Block(Vec<u8>);

fn block(bytes: usize) -> Block {
    ALIVE.fetch_add(bytes, Ordering::Relaxed);
    Block(vec![1; bytes])
}

impl Clone for Block {
    fn clone(&self) -> Self {
        block(self.0.len())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        ALIVE.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// MiB of all blocks that are alive: what is resident depends on the allocator, too.
fn alive() -> usize {
    ALIVE.load(Ordering::Relaxed) / MIB
}

#[test]
fn values_are_dropped_soon() {
    cleared();
    let (single, sorted) = replaced();
    println!("replaced: {single} MiB at the most, {sorted} by sorted input");
    println!("beside snapshots: {} MiB at the most", replaced_beside_snapshots());
    println!("removed: disconnected after {} reads at the most", removed_senders());
}

fn cleared() {
    let map: Map<u64, Block> = (0..10).map(|key| (key, block(10 * MIB))).collect();
    let full = alive();
    map.clear();
    let left = alive();
    assert!(full == 100 && left == 0, "{full} MiB, then {left}");

    let texts: Map<String, Block> =
        (0..10).map(|key| (format!("{key}"), block(10 * MIB))).collect();
    assert_eq!(texts.remove_range(..), 10);
    let left = alive();
    assert!(left == 0, "{left} MiB of a removed range");
}

/// MiB of values of 1 MiB that are replaced: one by one, and ten by sorted input.
fn replaced() -> (usize, usize) {
    let mut most = 0;
    let map: Map<u64, Block> = Map::new();
    for _ in 0..1500 {
        drop(map.insert(7, block(MIB)));
        most = most.max(alive());
    }
    assert!(most <= 32, "{most} MiB of a value of 1 MiB");
    for key in 0..300 {
        drop(map.insert(key, block(MIB)));
        drop(map.remove(&key));
        most = most.max(alive());
    }
    assert!(most <= 32, "{most} MiB of a value of 1 MiB");
    let mut run = 0;
    for _ in 0..40 {
        { &map }.extend((0..10).map(|key| (key, block(MIB))));
        run = run.max(alive());
    }
    assert!(run <= 42, "{run} MiB of ten values of 1 MiB");
    (most, run)
}

/// A snapshot keeps what it sees, and no more.
fn replaced_beside_snapshots() -> usize {
    let mut most = 0;
    let map: Map<u64, Block> = (0..4).map(|key| (key, block(MIB))).collect();
    let long = map.snapshot();
    let mut short = VecDeque::new();
    for round in 0..1500 {
        drop(map.insert(round % 4, block(MIB)));
        if round % 3 == 0 {
            short.push_back(map.snapshot());
        }
        if short.len() > 4 {
            drop(short.pop_front());
        }
        most = most.max(alive());
    }
    // Four are the map's, four the long snapshot's, some 16 those of the short ones.
    assert!(most <= 64, "{most} MiB");
    drop(short);
    drop(long);
    assert!(alive() <= 4, "{} MiB of four values when no snapshot is open", alive());
    most
}

/// A removed channel end, and reads.
fn removed_senders() -> usize {
    let map: Map<String, Sender<u8>> = Map::new();
    let (mut ends, mut waited) = (Vec::new(), 0);
    for number in 0..200 {
        let (sender, receiver) = channel();
        drop(map.insert(format!("{number}"), sender));
        ends.push(receiver);
    }
    for (number, end) in ends.iter().enumerate() {
        drop(map.remove(format!("{number}").as_str()));
        let mut reads = 0;
        while end.try_recv() != Err(TryRecvError::Disconnected) {
            assert!(reads <= OPERATIONS, "connected after {reads} reads");
            let _there = map.contains_key("199");
            reads += 1;
        }
        waited = waited.max(reads);
    }
    assert!(waited > 0);
    waited
}
