//! The arena under threads that free one another's pages, over memory that knows whose it is.

use super::pool::{Memory, Place, Pool, Sizes};
use core::cell::Cell;
use std::sync::mpsc;
use std::thread;
use sync::atomic::{AtomicU64, Ordering::Relaxed};

const SIZES: Sizes =
    Sizes { slabs: 40, units: 512, page_units: 64, shards: 4, most_kept: 2, slack: 0 };

/// Says of each unit whose page it is in.
struct Owners(Vec<AtomicU64>);

impl Owners {
    fn new() -> Self {
        Self((0..SIZES.slabs as u32 * SIZES.units).map(|_| AtomicU64::new(0)).collect())
    }

    fn of(&self, place: Place) -> &[AtomicU64] {
        let first = place.slab * SIZES.units as usize + place.run.first as usize;
        &self.0[first..][..place.run.units as usize]
    }
}

impl Memory for Owners {
    fn open(&self, _slab: usize) -> bool {
        true
    }

    fn expect_use(&self, _slab: usize, _large_pages: bool) {}

    fn expect_gaps(&self, _slab: usize) {}

    fn give_back(&self, slab: usize, first_page: u32, pages: u32) {
        let first = slab * SIZES.units as usize + (first_page * SIZES.page_units) as usize;
        for unit in &self.0[first..][..(pages * SIZES.page_units) as usize] {
            assert_eq!(unit.load(Relaxed), 0, "memory is given back under a page");
        }
    }
}

fn take(pool: &Pool<Owners>, units: u32, owner: u64, home: &Cell<usize>) -> Option<Place> {
    let place = pool.take(units, home)?;
    assert_eq!(place.run.units, units);
    for unit in pool.memory.of(place) {
        assert_eq!(unit.swap(owner, Relaxed), 0, "two pages in one place");
    }
    Some(place)
}

fn free(pool: &Pool<Owners>, place: Place, owner: u64) {
    for unit in pool.memory.of(place) {
        assert_eq!(unit.swap(0, Relaxed), owner, "somebody else's page");
    }
    pool.free(place, &Cell::new(owner as usize));
}

/// The next of some numbers that look random.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn pages_never_overlap_and_all_memory_goes_back() {
    const THREADS: u64 = 4;
    let pool = Pool::with(Owners::new(), SIZES);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel()).unzip();
    let mut refused = 0;
    thread::scope(|scope| {
        let work = (1..).zip(receivers).map(|(thread, mine)| {
            let (pool, senders) = (&pool, senders.clone());
            scope.spawn(move || {
                let (home, mut seed, mut refused) = (Cell::new(0), thread * 0x9e37_79b9, 0);
                for step in 0..60_000 {
                    // It swells and shrinks, so that slabs run empty, and sparse ones are trimmed.
                    let grows = step / 3000 % 2 == 0;
                    if next(&mut seed) % 8 < if grows { 6 } else { 2 } {
                        let units = 8 + (next(&mut seed) % 60) as u32;
                        let owner = thread << 32 | step;
                        match take(pool, units, owner, &home) {
                            Some(place) => {
                                let to = next(&mut seed) % THREADS;
                                let _gone = senders[to as usize].send((place, owner));
                            }
                            None => refused += 1,
                        }
                    }
                    if next(&mut seed) % 8 < 5
                        && let Ok((place, owner)) = mine.try_recv()
                    {
                        free(pool, place, owner);
                    }
                }
                drop(senders);
                for (place, owner) in mine.try_iter() {
                    free(pool, place, owner);
                }
                (mine, refused)
            })
        });
        let left: Vec<_> =
            work.collect::<Vec<_>>().into_iter().filter_map(|t| t.join().ok()).collect();
        assert_eq!(left.len(), THREADS as usize, "a thread has failed");
        for (mine, count) in left {
            refused += count;
            for (place, owner) in mine.try_iter() {
                free(&pool, place, owner);
            }
        }
    });
    drop(senders);
    assert!(refused < 200_000, "{refused} pages refused");
    assert_eq!(pool.check_settled(), 0);
    let kept = u64::from(SIZES.most_kept * SIZES.pages());
    assert!(pool.resident_pages() <= kept, "{} pages of the system", pool.resident_pages());
}

#[test]
fn the_lowest_slab_with_room_is_next() {
    let (pool, home) = (Pool::with(Owners::new(), SIZES), Cell::new(0));
    // 8 pages a slab; the last two slabs are held.
    let pages: Vec<Place> = (0..80).filter_map(|n| take(&pool, 64, n + 1, &home)).collect();
    assert!(pages.iter().enumerate().all(|(at, page)| page.slab == at / 8));
    for at in [51, 27, 30] {
        free(&pool, pages[at], at as u64 + 1);
    }
    let next: Vec<usize> =
        (0..4).filter_map(|_| take(&pool, 64, 7, &home)).map(|page| page.slab).collect();
    assert_eq!(next, [3, 3, 6, 10]);
    assert_eq!(pool.check_settled(), 11);
}

#[test]
fn what_is_too_large_for_one_slab_leaves_it_to_smaller_pages() {
    let (pool, home) = (Pool::with(Owners::new(), SIZES), Cell::new(0));
    let slab = |units| take(&pool, units, 1, &home).map(|page| page.slab);
    assert_eq!(slab(400), Some(0));
    assert_eq!(slab(200), Some(1));
    assert_eq!(slab(100), Some(0));
    assert_eq!(slab(300), Some(1));
    assert_eq!(slab(512), Some(2));
    assert_eq!(slab(513), None);
    assert_eq!(slab(12), Some(1), "the first slab was given up");
}

#[test]
fn a_slab_that_stays_sparse_keeps_only_pages_of_the_system_in_use() {
    let (pool, home) = (Pool::with(Owners::new(), SIZES), Cell::new(0));
    let pages: Vec<Place> = (0..48).filter_map(|n| take(&pool, 32, n + 1, &home)).collect();
    let full = pool.resident_pages();
    assert_eq!(full, 3 * 8);
    // Of the first slab, which is not held any more, two halves of two pages stay.
    for at in (0..16).filter(|at| ![5, 8].contains(at)) {
        free(&pool, pages[at], at as u64 + 1);
    }
    // When it fell below a quarter, three pages of the system were left.
    assert_eq!(pool.resident_pages(), full - 5);
    // It is empty now, but a quarter more memory than is in use may stay.
    free(&pool, pages[5], 6);
    free(&pool, pages[8], 9);
    assert_eq!((pool.check_settled(), pool.resident_pages()), (2, full - 5));
    // Not if less is in use.
    (16..25).for_each(|at| free(&pool, pages[at], at as u64 + 1));
    assert_eq!((pool.check_settled(), pool.resident_pages()), (2, full - 8));
    let again = take(&pool, 512, 99, &home).map(|page| page.slab);
    assert_eq!(again, Some(0), "a slab without memory comes before a new one");
}

/// Memory of any size.
struct Plenty;

impl Memory for Plenty {
    fn open(&self, _slab: usize) -> bool {
        true
    }

    fn expect_use(&self, _slab: usize, _large_pages: bool) {}

    fn expect_gaps(&self, _slab: usize) {}

    fn give_back(&self, _slab: usize, _first_page: u32, _pages: u32) {}
}

#[test]
fn pages_that_are_rewritten_all_the_time_touch_little_more_than_they_need() {
    let (pool, home) = (Pool::with(Plenty, Sizes { units: 32 << 10, ..SIZES }), Cell::new(0));
    let mut seed = 0x9e37_79b9;
    let size = |seed: &mut u64| 40 + (next(seed) % 60) as u32;
    let mut live: Vec<Place> = (0..100).filter_map(|_| pool.take(size(&mut seed), &home)).collect();
    assert_eq!(live.len(), 100);
    let mut most = 0;
    for _ in 0..20_000 {
        let Some(new) = pool.take(size(&mut seed), &home) else { panic!("no room") };
        most = most.max(new.slab as u32 * (32 << 10) + new.run.first + new.run.units);
        let old = core::mem::replace(&mut live[(next(&mut seed) % 100) as usize], new);
        pool.free(old, &home);
    }
    // 7,000 units are in use, and 2,048 are free before a sweep begins anew.
    assert!(most < 14_000, "{most} units were touched");
}

/// What had just given its memory back was filled first, and took it from the system again.
#[test]
fn slabs_that_were_trimmed_come_last() {
    const PER_SLAB: usize = 8;
    let pool = Pool::with(Owners::new(), SIZES);
    let home = Cell::new(0);
    let one = || take(&pool, SIZES.page_units, 1, &home).unwrap();
    let pages: Vec<Place> = (0..6 * PER_SLAB).map(|_| one()).collect();
    let of_slab = |slab: usize| pages.iter().filter(move |page| page.slab == slab).copied();
    for slab in 1..4 {
        of_slab(slab).take(3).for_each(|page| free(&pool, page, 1));
    }
    // Less than a half is in use now, and there is more memory than a quarter too much.
    of_slab(0).take(5).for_each(|page| free(&pool, page, 1));
    assert!(pool.slab(0).has_gaps());
    let slabs: Vec<usize> = (0..10).map(|_| one().slab).collect();
    assert_eq!(slabs, [1, 1, 1, 2, 2, 2, 3, 3, 3, 0]);
}
