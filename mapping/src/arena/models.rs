//! Models of the arena: loom runs every interleaving of threads that allocate and free in slabs of
//! four pages of the system, with memory that reports a race.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p bwtree-mapping --lib models`. Each is
//! complete up to two preemptions. Planted faults that they must find: `tests/mutants/arena-*`.
#![expect(unsafe_code, reason = "pages are loom's UnsafeCells, which report races")]

use super::pool::{Memory, Place, Pool, Sizes};
use core::cell::Cell;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use sync::cell::UnsafeCell;
use sync::model::Builder;
use sync::thread::JoinHandle;

const SLABS: usize = 6;
const PAGES: usize = 4;
const SIZES: Sizes =
    Sizes { slabs: SLABS, units: 64, page_units: 16, shards: 2, most_kept: 0, slack: 0 };

/// Memory of which each page of the system is a cell.
struct Cells([[UnsafeCell<u64>; PAGES]; SLABS]);

impl Cells {
    fn new() -> Self {
        Self(core::array::from_fn(|_| core::array::from_fn(|_| UnsafeCell::new(0))))
    }

    /// Calls `look` with the content of each page of a place.
    fn each(&self, place: Place, mut look: impl FnMut(&mut u64)) {
        let (first, pages) = (place.run.first / 16, place.run.units.div_ceil(16));
        for page in first..first + pages {
            let cell = &self.0[place.slab][page as usize];
            // SAFETY: loom reports whoever else looks at the cell without an order between us.
            cell.with_mut(|content| look(unsafe { &mut *content }));
        }
    }
}

// SAFETY: loom watches the cells.
unsafe impl Send for Cells {}
// SAFETY: as above.
unsafe impl Sync for Cells {}

impl Memory for Cells {
    fn open(&self, _slab: usize) -> bool {
        true
    }

    fn expect_use(&self, _slab: usize, _large_pages: bool) {}

    fn expect_gaps(&self, _slab: usize) {}

    fn give_back(&self, slab: usize, first_page: u32, pages: u32) {
        for cell in &self.0[slab][first_page as usize..][..pages as usize] {
            // SAFETY: as in `each`.
            cell.with_mut(|content| unsafe { *content = 0 });
        }
    }
}

/// Counts, unseen by loom.
#[derive(Default)]
struct Counter(Mutex<u64>);

impl Counter {
    fn next(&self) -> u64 {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        *count
    }
}

/// A pool, and numbers that no two pages share.
struct Setting {
    pool: Pool<Cells>,
    stamps: Counter,
}

/// A page, and what was written to it.
#[derive(Clone, Copy)]
struct Page(Place, u64);

impl Setting {
    fn new(sizes: Sizes) -> Arc<Self> {
        Arc::new(Self { pool: Pool::with(Cells::new(), sizes), stamps: Counter::default() })
    }

    /// Takes a page from the shard that `home` names, and writes to it.
    fn take(&self, units: u32, home: &Cell<usize>) -> Option<Page> {
        let place = self.pool.take(units, home)?;
        let stamp = self.stamps.next();
        self.pool.memory.each(place, |content| *content = stamp);
        Some(Page(place, stamp))
    }

    fn sure(&self, units: u32, home: &Cell<usize>) -> Page {
        let Some(page) = self.take(units, home) else { panic!("no page, and nobody in the way") };
        page
    }

    /// Looks whether a page is as it was left, and frees it.
    fn free(&self, Page(place, stamp): Page) {
        self.pool.memory.each(place, |content| assert_eq!(*content, stamp, "a page changes"));
        self.pool.free(place, &Cell::new(0));
    }
}

fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(2);
    let executions = Arc::new(Counter::default());
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.next();
        model();
    });
    let bound = builder.preemption_bound.unwrap_or_default();
    let line = format!("{name}: {} executions, bound {bound}\n", executions.next() - 1);
    let _unseen = std::io::stderr().write_all(line.as_bytes());
}

fn start<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    match sync::thread::Builder::new().spawn(run) {
        Ok(thread) => thread,
        Err(error) => panic!("loom starts a thread: {error}"),
    }
}

fn join<R>(thread: JoinHandle<R>) -> R {
    match thread.join() {
        Ok(result) => result,
        Err(_) => panic!("a thread of the model has panicked"),
    }
}

/// Runs `change` beside `other`, each with the setting.
fn beside(
    setting: &Arc<Setting>,
    change: impl FnOnce(&Setting) + Send + 'static,
    other: impl FnOnce(&Setting),
) {
    let theirs = Arc::clone(setting);
    let thread = start(move || change(&theirs));
    other(setting);
    join(thread);
}

/// No two pages share a unit, and nobody waits: a thread has its page, or none.
#[test]
fn two_threads_take_pages() {
    explore("two_threads_take_pages", || {
        let setting = Setting::new(SIZES);
        let take = |setting: &Setting| {
            let home = Cell::new(0);
            let pages = [32, 32].map(|units| setting.take(units, &home));
            pages.into_iter().flatten().for_each(|page| setting.free(page));
        };
        beside(&setting, take, take);
        assert_eq!(setting.pool.check_settled(), 0);
        assert_eq!(setting.pool.resident_pages(), 0);
    });
}

/// A page is used again only after its last use; what is free is found.
#[test]
fn a_page_is_freed_while_its_slab_is_swept() {
    explore("a_page_is_freed_while_its_slab_is_swept", || {
        let setting = Setting::new(SIZES);
        let home = Cell::new(0);
        let pages = [16; 4].map(|units| setting.sure(units, &home));
        // Two more slabs, so that the shard has given the first up.
        let full = [64, 64].map(|units| setting.sure(units, &home));
        let free = move |setting: &Setting| pages[..2].iter().for_each(|&page| setting.free(page));
        let mut fresh = None;
        beside(&setting, free, |setting| fresh = setting.take(32, &home));
        let used = setting.pool.check_settled();
        assert!(used == 3 || used == 4);
        if used == 4 {
            // Nothing was free yet; but what is free now is found.
            let page = setting.sure(32, &Cell::new(1));
            assert_eq!(page.0.slab, 0);
            setting.free(page);
        }
        pages[2..].iter().chain(&full).chain(&fresh).for_each(|&page| setting.free(page));
        assert_eq!(setting.pool.check_settled(), 0);
    });
}

/// Of two threads that free the last pages of a slab, one gives the memory back.
#[test]
fn the_last_pages_go_at_once() {
    for held in [true, false] {
        explore("the_last_pages_go_at_once", move || {
            let setting = Setting::new(SIZES);
            let home = Cell::new(0);
            let (left, right) = (setting.sure(32, &home), setting.sure(32, &home));
            let wanted = if held { 0 } else { 2 };
            let others = [64, 64].map(|units| (!held).then(|| setting.sure(units, &home)));
            beside(&setting, move |s| s.free(left), |s| s.free(right));
            assert_eq!(setting.pool.check_settled(), wanted);
            assert_eq!(setting.pool.resident_pages(), u64::from(wanted) * PAGES as u64);
            others.into_iter().flatten().for_each(|page| setting.free(page));
            assert_eq!(setting.pool.check_settled(), 0);
        });
    }
}

/// A slab runs empty while the shard that holds it is in use, and perhaps leaves it.
#[test]
fn a_slab_runs_empty_while_its_shard_is_in_use() {
    for units in [32, 64] {
        explore("a_slab_runs_empty_while_its_shard_is_in_use", move || {
            let setting = Setting::new(SIZES);
            let home = Cell::new(0);
            let last = setting.sure(32, &home);
            let mut fresh = None;
            let other = Cell::new(0);
            beside(&setting, move |s| s.free(last), |s| fresh = s.take(units, &other));
            let Some(page) = fresh else { panic!("the other shard was nobody's") };
            assert_eq!(setting.pool.check_settled(), 1);
            setting.free(page);
            assert_eq!(setting.pool.check_settled(), 0);
            assert_eq!(setting.pool.resident_pages(), 0);
        });
    }
}

/// The last page of a slab goes while a shard gives the slab up.
#[test]
fn a_slab_is_left_while_its_last_page_goes() {
    explore("a_slab_is_left_while_its_last_page_goes", || {
        let setting = Setting::new(SIZES);
        let home = Cell::new(0);
        let [last, full] = [64, 64].map(|units| setting.sure(units, &home));
        let (mut fresh, other) = (None, Cell::new(0));
        beside(&setting, move |s| s.free(last), |s| fresh = s.take(64, &other));
        let used = setting.pool.check_settled();
        assert_eq!(used, 1 + u32::from(fresh.is_some()));
        assert_eq!(setting.pool.resident_pages(), u64::from(used) * PAGES as u64);
        fresh.into_iter().chain([full]).for_each(|page| setting.free(page));
        assert_eq!(setting.pool.check_settled(), 0);
    });
}

/// A slab is taken that is just being trimmed, or given back.
#[test]
fn a_slab_is_taken_while_its_memory_goes_back() {
    for freed in [3, 4] {
        explore("a_slab_is_taken_while_its_memory_goes_back", move || {
            let setting = Setting::new(SIZES);
            let home = Cell::new(0);
            let pages = [16; 4].map(|units| setting.sure(units, &home));
            let full = [64, 64].map(|units| setting.sure(units, &home));
            // From here on the slab can be taken by another shard.
            setting.free(pages[0]);
            let free = move |setting: &Setting| {
                pages[1..freed].iter().for_each(|&page| setting.free(page));
            };
            let mut fresh = None;
            beside(&setting, free, |setting| fresh = setting.take(16, &Cell::new(1)));
            setting.pool.check_settled();
            // The other shard gives it up, too; what was freed behind its back is found again.
            let more = [64, 64].map(|units| setting.sure(units, &Cell::new(1)));
            setting.pool.check_settled();
            pages[freed..].iter().chain(&full).chain(&more).for_each(|&page| setting.free(page));
            fresh.into_iter().for_each(|page| setting.free(page));
            assert_eq!(setting.pool.check_settled(), 0);
            assert_eq!(setting.pool.resident_pages(), 0);
        });
    }
}

/// With one slab that may be kept, one is, whatever is freed at the same time.
#[test]
fn one_empty_slab_is_kept() {
    explore("one_empty_slab_is_kept", || {
        let setting = Setting::new(Sizes { most_kept: 1, ..SIZES });
        let (first, second) = (Cell::new(0), Cell::new(1));
        let (left, right) = (setting.sure(64, &first), setting.sure(64, &second));
        beside(
            &setting,
            move |s| s.free(left),
            |s| {
                s.free(right);
                if let Some(page) = s.take(32, &second) {
                    s.free(page);
                }
            },
        );
        assert_eq!(setting.pool.check_settled(), 0);
        assert!(setting.pool.resident_pages() <= PAGES as u64);
    });
}
