//! Retire and read, with the real crossbeam-epoch under loom: what a pinned reader has reached is
//! not freed before it unpins.
//!
//! `RUSTFLAGS="--cfg crossbeam_loom" cargo test --release -p bwtree-sync --features model-epoch
//! --test reclaim -- --nocapture`
//!
//! The mapping table relies on this: a page that is unlinked by a CAS of its word is retired under
//! the pin of who unlinked it, and a reader that loaded the word before holds a pin of its own.

use crossbeam_epoch::Collector;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::sync::{Mutex, PoisonError};

/// A word that names one of two pages, and whether the first one has been freed.
struct Word {
    page: AtomicUsize,
    freed: AtomicUsize,
}

/// Runs `reader` beside a thread that unlinks the first page, retires it, and then pushes the
/// epoch on as far as it can.
fn explore(name: &str, reader: fn(&Collector, &Word)) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    let executions = std::sync::Arc::new(Mutex::new(0_u64));
    let freed_early = std::sync::Arc::new(Mutex::new(0_u64));
    let (count, freed_count) = (executions.clone(), freed_early.clone());
    let one_more = |count: &Mutex<u64>| *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    builder.check(move || {
        one_more(&count);
        let collector = Collector::new();
        let word = Arc::new(Word { page: AtomicUsize::new(1), freed: AtomicUsize::new(0) });
        let (collector2, word2) = (collector.clone(), word.clone());
        let writer = thread::spawn(move || {
            let handle = collector2.register();
            let guard = handle.pin();
            assert_eq!(word2.page.swap(2, Ordering::AcqRel), 1);
            let retired = word2.clone();
            guard.defer(move || retired.freed.store(1, Ordering::Relaxed));
            guard.flush();
            drop(guard);
            for _ in 0..3 {
                handle.pin().flush();
            }
        });
        reader(&collector, &word);
        let joined = writer.join().is_ok();
        assert!(joined, "the writer has panicked");
        if word.freed.load(Ordering::Relaxed) == 1 {
            one_more(&freed_count);
        }
        drop(collector);
    });
    let total = *executions.lock().unwrap_or_else(PoisonError::into_inner);
    let freed = *freed_early.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(freed > 0, "nothing was ever freed while the collector lived: the model shows nothing");
    let line = format!("{name}: {total} executions, freed before the end in {freed}\n");
    let _unseen = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

fn read(word: &Word) {
    if word.page.load(Ordering::Acquire) == 1 {
        for _ in 0..2 {
            let freed = word.freed.load(Ordering::Relaxed);
            assert_eq!(freed, 0, "a page was freed under a reader");
        }
    }
}

#[test]
fn what_a_pinned_reader_has_reached_is_not_freed() {
    explore("retire/read", |collector, word| {
        let handle = collector.register();
        let guard = handle.pin();
        read(word);
        drop(guard);
    });
}

#[test]
#[should_panic(expected = "a page was freed under a reader")]
fn without_a_pin_it_would_be() {
    explore("retire/read without a pin", |_, word| read(word));
}
