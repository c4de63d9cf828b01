//! What safe code can do wrong with pages, and no type sees, is refused or does no harm.
//!
//! Each of these broke memory once: `bwtree-mapping` can be used by itself, and no function of it
//! that is not marked `unsafe` may trust its caller. What does not even compile stands in
//! `mapping/src/misuse.rs`. `tests/sanitize address misuse` sees what is freed too early, or twice,
//! or never.

use mapping::{
    Birth, Chain, Clock, DirtyList, History, Kept, Match, Old, PageBox, PageWriter, Records, Table,
    Word,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sync::epoch::{Collector, Guard};
use types::PageId;

fn page(records: Records, area_bytes: usize) -> PageBox {
    let birth = Birth { base_version: 1, serial: 1, tree: 0 };
    let mut page = PageWriter::new(8, area_bytes, records, birth);
    page.put(b"contents");
    page.finish(0)
}

/// A page that has this one in its history.
fn heir(old: &Arc<Old>) -> PageBox {
    let mut page = page(Records::Sized, 256);
    page.remember(History::of([Arc::clone(old)]));
    page
}

fn table(page: PageBox) -> (Table, PageId) {
    let table = Table::new();
    let Ok(id) = table.allocate() else { panic!("no id is left") };
    table.set_resident(id, page);
    (table, id)
}

fn seen<'g>(table: &'g Table, id: PageId, guard: &'g Guard) -> Chain<'g> {
    let Word::Resident(chain) = table.load(id, guard) else { panic!("no page") };
    chain
}

/// Lets everything that was deferred happen.
fn pass(collector: &Collector) {
    let done = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&done);
    collector.pin().defer(move || set.store(true, Ordering::Release));
    for _ in 0..100_000 {
        collector.pin().flush();
        if done.load(Ordering::Acquire) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("an epoch does not pass");
}

/// What this panics with.
fn refusal(misuse: impl FnOnce()) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(misuse)) else { panic!("it was not refused") };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[test]
fn sizes_that_no_page_has_are_refused() {
    let birth = Birth { base_version: 1, serial: 1, tree: 0 };
    // With the header it is 0 modulo 2^64; and 8 modulo 2^32.
    for base_bytes in [usize::MAX - 63, (1 << 32) + 8] {
        let new = || drop(PageWriter::new(base_bytes, 0, Records::Sized, birth));
        assert!(refusal(new).contains("a base page of"));
    }
    let new = || drop(PageWriter::new(8, usize::MAX - 100, Records::Sized, birth));
    assert!(refusal(new).contains("too large"));
    let short = || drop(PageWriter::new(8, 0, Records::Sized, birth).finish(0));
    assert!(refusal(short).contains("bytes of a base page"));
}

#[test]
fn a_record_has_the_size_that_was_reserved() {
    let sized = page(Records::Sized, 256);
    for bytes in [usize::MAX, usize::MAX - 16, 1 << 32, 257] {
        assert!(sized.page().reserve(Records::Sized, bytes).is_none(), "{bytes} bytes");
    }
    let write = |bytes: &[u8]| {
        let Some(reserved) = sized.page().reserve(Records::Sized, 16) else { panic!("no room") };
        reserved.write(1, 0, |payload| payload.put(bytes));
    };
    assert!(refusal(|| write(&[1; 8])).contains("missing"));
    assert!(refusal(|| write(&[1; 17])).contains("17 bytes where 16"));
    let mut pairs = page(Records::Pairs, 256);
    assert!(refusal(|| pairs.carry(1, 1, 0, &vec![1; 100_000])).contains("pair of 100000"));
}

#[test]
fn records_of_one_kind_are_not_taken_for_the_other() {
    let (collector, mut page) = (Collector::new(), page(Records::Sized, 256));
    page.carry(255, 1, 0, &[1; 8]);
    let (table, id) = table(page);
    let guard = collector.pin();
    let chain = seen(&table, id, &guard);
    let reserve = || assert!(chain.page().reserve(Records::Pairs, 16).is_none());
    assert!(refusal(reserve).contains("another kind"));
    assert!(refusal(|| assert_eq!(chain.pairs().count(), 0)).contains("another kind"));
    assert!(matches!(chain.find_pair(1, [1; 8]), Match::Walk));
}

#[test]
fn a_record_is_installed_in_its_own_page_only() {
    let collector = Collector::new();
    let ((large, one), (small, other)) =
        (table(page(Records::Sized, 100_000)), table(page(Records::Sized, 256)));
    let guard = collector.pin();
    let (far, near) = (seen(&large, one, &guard), seen(&small, other, &guard));
    assert!(far.page().reserve(Records::Sized, 90_000).is_some());
    let written = || {
        let Some(reserved) = far.page().reserve(Records::Sized, 8) else { panic!("no room") };
        reserved.write(1, 0, |payload| payload.put(&[1; 8]))
    };
    assert!(refusal(|| drop(small.append(other, near, written()))).contains("another page"));
    assert!(refusal(|| assert!(written().newest_of(near).is_none())).contains("another page"));
    // A chain that is not what the word has loses, in any table.
    assert!(small.append(other, far, written()).is_err());
    assert!(small.replace(other, far, page(Records::Sized, 0)).is_err());
    assert!(small.evict(other, far, 1).is_none() && !small.cap(other, far));
    assert!(large.append(one, far, written()).is_ok());
    assert!(large.append(one, far, written()).is_err(), "it has a newer record");
    assert_eq!(seen(&large, one, &guard).records().count(), 1);
}

#[test]
fn slots_without_a_record_are_not_looked_at() {
    let collector = Collector::new();
    for records in [Records::Sized, Records::Pairs] {
        let mut page = page(records, 256);
        page.carry(1, 1, 0, &[1; 16]);
        let (table, id) = table(page);
        let guard = collector.pin();
        let chain = seen(&table, id, &guard);
        // No record has this fingerprint, and every slot without one does.
        assert!(matches!(chain.find_sized(0, |_| true), Match::Walk));
        assert!(matches!(chain.find_pair(0, [0; 8]), Match::Walk));
    }
}

#[test]
fn a_page_with_a_history_is_not_listed() {
    let (collector, clock, dirty) = (Collector::new(), Clock::new(1), DirtyList::new());
    let old = Arc::new(Old::copied(page(Records::Sized, 0), 2));
    let mut page = heir(&old);
    page.carry(0, 1, 0, &[1; 8]);
    let (table, id) = table(page);
    let guard = collector.pin();
    let chain = seen(&table, id, &guard);
    let Some(record) = chain.newest() else { panic!("no record") };
    let stamp = || assert_eq!(mapping::stamp(record, chain.page(), id, &clock, &dirty), 0);
    assert!(refusal(stamp).contains("not listed"));
    assert_eq!(chain.history().map(|history| history.newest().hidden_at()), Some(2));
}

#[test]
fn whoever_names_an_old_page_keeps_it() {
    let collector = Collector::new();
    let (table, id) = table(page(Records::Sized, 256));
    let olds = {
        let guard = collector.pin();
        let chain = seen(&table, id, &guard);
        // Of a page that is never replaced, of one that is given up, of one that is dropped.
        let [one, given_up, dropped] = [2, 3, 4].map(|at| Old::of(chain, at));
        drop(dropped);
        given_up.release(&guard);
        given_up.release(&guard);
        assert!(given_up.chain(&guard).is_none());
        [one, given_up]
    };
    pass(&collector);
    assert_eq!(seen(&table, id, &collector.pin()).base(), b"contents", "it is linked");
    let freed = Arc::new(AtomicBool::new(false));
    {
        let (guard, set) = (collector.pin(), Arc::clone(&freed));
        let Some(gone) = table.evict(id, seen(&table, id, &guard), 1) else { panic!("no page") };
        gone.retire(&guard, move || set.store(true, Ordering::Release));
    }
    pass(&collector);
    assert!(freed.load(Ordering::Acquire));
    drop(table);
    let guard = collector.pin();
    assert_eq!(olds[0].chain(&guard).map(Chain::base), Some(&b"contents"[..]), "it is named");
}

#[test]
fn an_old_page_has_no_history() {
    let collector = Collector::new();
    let older = Arc::new(Old::copied(page(Records::Sized, 0), 2));
    let (table, id) = table(heir(&older));
    let old = {
        let guard = collector.pin();
        let chain = seen(&table, id, &guard);
        let old = Arc::new(Old::of(chain, 3));
        let Ok(replaced) = table.replace(id, chain, heir(&old)) else { panic!("lost") };
        assert!(replaced.close_history(&guard));
        assert!(!replaced.close_history(&guard), "once");
        replaced.retire(&guard, || ());
        assert!(chain.history().is_some() && chain.share_history().is_some(), "under that pin");
        old
    };
    pass(&collector);
    let guard = collector.pin();
    let Some(chain) = old.chain(&guard) else { panic!("it is named") };
    assert_eq!(chain.base(), b"contents");
    assert!(chain.history().is_none() && chain.share_history().is_none());
    assert!(table.replace(id, chain, page(Records::Sized, 0)).is_err());
    let again = Old::of(chain, 4);
    drop(old);
    assert_eq!(again.chain(&guard).map(Chain::base), Some(&b"contents"[..]));
}

#[test]
fn a_page_has_so_many_owners_and_no_more() {
    let collector = Collector::new();
    let (table, id) = table(page(Records::Sized, 256));
    let guard = collector.pin();
    let chain = seen(&table, id, &guard);
    let mut olds: Vec<_> = (1..u16::MAX).map(|_| Old::of(chain, 2)).collect();
    assert!(refusal(|| drop(Old::of(chain, 2))).contains("too many"));
    olds.truncate(1);
    drop((Old::of(chain, 2), Kept::Page(Arc::new(Old::of(chain, 2)))));
    assert_eq!(chain.base(), b"contents");
}
