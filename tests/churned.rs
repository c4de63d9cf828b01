//! A map that is churned for minutes, beside snapshots and parked iterators, takes no more memory.
//!
//! A binary of its own, with one test: what the process has from the system is all of it.
//! `BWTREE_HELD_SECONDS=300` for five minutes, told minute by minute.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "a test says what it has seen")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::Map;
use bwtree_tests::{amount, mix as key, resident};

/// Entries of the map, give or take one for each writer.
const KEYS: u64 = 1_000_000;
/// Threads that insert a new key and remove their oldest, in turn.
const WRITERS: u64 = 2;
/// Snapshots that are open at once: one all the time, and one that is opened anew every second.
const OPEN: u64 = 2;
/// Parts of the run; the first is the warm-up.
const PARTS: usize = 5;
/// Seconds, if the environment says nothing else.
const SECONDS: u64 = 10;

/// What the process has at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: u64,
    old_pages: u64,
    /// Pages that there were then.
    pages: u64,
}

/// Inserts and removes the numbers of one writer until it is told to stop; its oldest one then.
fn churn(map: &Map<u64, u64>, writer: u64, done: &AtomicBool) -> u64 {
    let mut oldest = writer;
    while !done.load(Ordering::Relaxed) {
        for _ in 0..100 {
            let new = oldest + KEYS;
            assert_eq!(map.insert(key(new), new), None);
            assert_eq!(map.remove(&key(oldest)), Some(oldest));
            oldest += WRITERS;
        }
    }
    oldest
}

/// Of each writer there must be a run of its numbers without a gap, at most one longer than what it
/// began with: so it was at every moment. Gives the first number of each.
fn look_through(entries: impl Iterator<Item = (u64, u64)>) -> Vec<u64> {
    let mut runs = vec![(u64::MAX, 0, 0); WRITERS as usize];
    let mut last = None;
    for (found, number) in entries {
        assert!(found == key(number) && last < Some(found), "{number} after {last:?}");
        last = Some(found);
        let (least, most, count) = &mut runs[(number % WRITERS) as usize];
        (*least, *most, *count) = ((*least).min(number), (*most).max(number), *count + 1);
    }
    for (least, most, count) in &runs {
        assert_eq!((most - least) / WRITERS + 1, *count, "a gap between {least} and {most}");
        assert!((KEYS / WRITERS..=KEYS / WRITERS + 1).contains(count), "{count} of a writer");
    }
    runs.into_iter().map(|(least, ..)| least).collect()
}

/// A snapshot after the other, each looked through when it is a second old. How many there were.
fn reopen(map: &Map<u64, u64>, done: &AtomicBool) -> u64 {
    let mut taken = 0;
    while !done.load(Ordering::Relaxed) {
        let (snapshot, opened) = (map.snapshot(), Instant::now());
        while opened.elapsed() < Duration::from_secs(1) && !done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        look_through(snapshot.iter());
        taken += 1;
    }
    taken
}

/// The least, the middle and the most of some samples.
fn told(part: &[Sample], of: fn(&Sample) -> u64) -> (u64, u64, u64) {
    let mut figures: Vec<u64> = part.iter().map(of).collect();
    figures.sort_unstable();
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}

/// Prints the memory part by part. The middle of each part must be that of the second part, and not
/// above the map with one old copy of it for each open snapshot; `full` is what the map took when
/// it was loaded. The most of a part is printed only: what was replaced stays for as long as the
/// system lets a thread that is pinned wait.
fn must_be_flat(samples: &[Sample], full: u64) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let parts: Vec<&[Sample]> = samples.chunks_exact(samples.len() / PARTS).take(PARTS).collect();
    let bytes: Vec<_> = parts.iter().map(|part| told(part, |it| it.resident)).collect();
    let pages: Vec<_> = parts.iter().map(|part| told(part, |it| it.old_pages)).collect();
    for ((least, middle, most), pages) in bytes.iter().zip(&pages) {
        let (least, middle, most) = (mib(*least), mib(*middle), mib(*most));
        println!("{least:.1} / {middle:.1} / {most:.1} MiB resident; {pages:?} old pages");
    }
    // A cut sees one page at each place: the leaves of its time, each told once for every leaf of
    // now that it has keys in common with.
    let bytes_then = bytes[1].1;
    let all_pages = samples.iter().map(|it| it.pages).max().unwrap_or(0);
    for ((_, bytes, _), (.., pages)) in bytes.iter().zip(&pages).skip(2) {
        let (bytes, pages) = (*bytes, *pages);
        assert!(bytes <= bytes_then + full / 2, "memory grows from {bytes_then} to {bytes}");
        assert!(pages <= OPEN * 2 * all_pages, "{pages} old pages, {all_pages} present ones");
        // Pages are larger while they are written to, and less full than at first.
        assert!(bytes <= (1 + OPEN) * full * 3 / 2, "{bytes} bytes, {full} at first");
    }
}

#[test]
fn a_map_that_is_churned_takes_no_more_memory() {
    let seconds = amount("BWTREE_HELD_SECONDS", SECONDS);
    let begin = resident();
    assert!(begin > 0, "no /proc/self/status");
    let map = Map::new();
    for number in 0..KEYS {
        map.insert(key(number), number);
    }
    let full = resident() - begin;
    println!("{seconds} s; {full} bytes with {KEYS} keys");

    let first = map.snapshot();
    let (mut parked, mut passing) = (first.iter(), map.iter());
    let half = KEYS as usize / 2;
    assert_eq!(parked.by_ref().take(half).count(), half);
    assert_eq!(passing.by_ref().take(half).count(), half);
    let mut samples = Vec::new();
    let done = AtomicBool::new(false);
    let (oldest, taken) = thread::scope(|scope| {
        let (map, done) = (&map, &done);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || churn(map, writer, done))).collect();
        let reader = scope.spawn(move || reopen(map, done));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(100));
            let (old_pages, pages) = (map.kept_pages() as u64, map.present_pages() as u64);
            samples.push(Sample { resident: resident() - begin, old_pages, pages });
        }
        done.store(true, Ordering::Relaxed);
        let oldest: Vec<u64> = writers.into_iter().map(|it| it.join().unwrap()).collect();
        (oldest, reader.join().unwrap())
    });
    let written = oldest.iter().map(|oldest| oldest / WRITERS).sum::<u64>();
    println!("{written} keys inserted and as many removed, {taken} snapshots");
    assert!(written > KEYS / 10 && taken >= seconds / 5, "{written} keys, {taken} snapshots");
    must_be_flat(&samples, full);

    // What was parked goes on: the snapshot's in its own time, the map's in this one.
    let mut then: Vec<_> = (0..KEYS).map(|number| (key(number), number)).collect();
    then.sort_unstable();
    assert!(parked.eq(then.into_iter().skip(half)));
    let rest: Vec<_> = passing.collect();
    assert!(rest.is_sorted_by(|a, b| a.0 < b.0) && rest.last() == map.last_key_value().as_ref());
    drop(first);
    assert_eq!(map.kept_pages(), 0, "old pages are left when no snapshot is");
    assert_eq!(look_through(map.iter()), oldest);
    map.check().unwrap();
}
