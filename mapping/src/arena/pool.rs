//! Who holds which slab, which one is next, and when memory goes back.

use super::shard::{Held, Shard};
use super::slab::{Freed, GIVER, NOBODY, Run, Slab, Sweep};
use super::slab_set::SlabSet;
use core::cell::Cell;
use std::sync::OnceLock;
use sync::CachePadded;
use sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use sync::lock::TryLock;

/// Tables of slabs: the first has one, and each has twice as many as the one before.
const TABLES: usize = 17;
/// Most slabs there can be.
pub(super) const MOST_SLABS: usize = (1 << TABLES) - 1;

/// The memory behind the slabs.
pub(crate) trait Memory {
    /// Makes a slab usable that never was before. Says whether there is memory.
    fn open(&self, slab: usize) -> bool;
    /// Pages of a slab that have no memory are about to be used.
    fn expect_use(&self, slab: usize, large_pages: bool);
    /// Some pages of a slab are about to be given back, and should stay away.
    fn expect_gaps(&self, slab: usize);
    /// The memory of so many pages of the system goes back. They may be used again.
    fn give_back(&self, slab: usize, first_page: u32, pages: u32);
}

/// How much there is of everything. Models have little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Most slabs.
    pub(super) slabs: usize,
    /// Units of a slab: a multiple of 64.
    pub(super) units: u32,
    /// Units of a page of the system.
    pub(super) page_units: u32,
    /// Shards.
    pub(super) shards: usize,
    /// Most slabs that are kept although they are empty, so that a small map which comes and goes
    /// does not go to the system each time. Shards hold them.
    pub(super) most_kept: u32,
    /// Units that may have memory and be free, beside a quarter of what is in use.
    pub(super) slack: u64,
}

impl Sizes {
    /// Pages of the system in a slab.
    pub(super) fn pages(self) -> u32 {
        self.units / self.page_units
    }
}

/// A run of units of one slab: a page's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slab: usize,
    pub(super) run: Run,
}

/// A shard, and whether a slab that it holds has run empty while it was in use.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) shard: TryLock<Shard>,
    look: AtomicBool,
    /// Units taken less units freed, by who was at home here then.
    balance: AtomicI64,
}

type Slots = Box<[OnceLock<Slab>]>;

/// All slabs, over some memory.
#[derive(Debug)]
pub(crate) struct Pool<M> {
    pub(super) memory: M,
    pub(super) sizes: Sizes,
    tables: [OnceLock<Slots>; TABLES],
    /// Slabs that were ever opened.
    pub(super) opened: AtomicU32,
    pub(super) roomy: SlabSet,
    /// Empty, with memory.
    pub(super) spare: SlabSet,
    /// Empty, without.
    pub(super) vacant: SlabSet,
    pub(super) doors: Box<[CachePadded<Door>]>,
    growth: TryLock<()>,
    /// Slabs that are kept although they are empty.
    pub(super) kept: AtomicU32,
    resident_pages: AtomicU64,
}

/// Where a slab is in the tables.
#[inline]
fn slot_of(slab: usize) -> (usize, usize) {
    let table = (slab + 1).ilog2() as usize;
    (table, slab + 1 - (1 << table))
}

impl<M: Memory> Pool<M> {
    pub(super) fn with(memory: M, sizes: Sizes) -> Self {
        assert!(sizes.slabs <= MOST_SLABS && sizes.units.is_multiple_of(64));
        let door = || Door {
            shard: TryLock::new(Shard::default()),
            look: AtomicBool::new(false),
            balance: AtomicI64::new(0),
        };
        Self {
            memory,
            sizes,
            tables: [const { OnceLock::new() }; TABLES],
            opened: AtomicU32::new(0),
            roomy: SlabSet::new(sizes.slabs),
            spare: SlabSet::new(sizes.slabs),
            vacant: SlabSet::new(sizes.slabs),
            doors: (0..sizes.shards).map(|_| CachePadded::new(door())).collect(),
            growth: TryLock::new(()),
            kept: AtomicU32::new(0),
            resident_pages: AtomicU64::new(0),
        }
    }

    /// Pages of the system in the slabs that are not known to be without memory.
    pub(super) fn resident_pages(&self) -> u64 {
        self.resident_pages.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn slab(&self, slab: usize) -> &Slab {
        let (table, slot) = slot_of(slab);
        let found = self.tables[table].get().and_then(|slots| slots[slot].get());
        let Some(found) = found else { panic!("slab {slab} was never opened") };
        found
    }

    /// Takes so many units. `None` if there is no memory, or if every shard is in use at this
    /// moment: nobody waits. `home` is the shard that the caller found last.
    #[inline]
    pub(super) fn take(&self, units: u32, home: &Cell<usize>) -> Option<Place> {
        for _ in 0..self.doors.len() {
            let number = home.get() % self.doors.len();
            if let Some(mut shard) = self.doors[number].shard.try_lock() {
                let place = self.take_in(&mut shard, number, units);
                drop(shard);
                self.look_behind(number);
                if place.is_some() {
                    self.count(home, i64::from(units));
                }
                return place;
            }
            // Two threads that meet go different ways from now on.
            home.set(number + 1);
        }
        None
    }

    #[inline]
    fn take_in(&self, shard: &mut Shard, number: usize, units: u32) -> Option<Place> {
        if units > self.sizes.units {
            return None;
        }
        loop {
            if let Some((held, run)) = shard.take(|slab| self.slab(slab), units) {
                if held.kept {
                    held.kept = false;
                    self.kept.fetch_sub(1, Ordering::Relaxed);
                }
                self.slab(held.slab).mark(run);
                return Some(Place { slab: held.slab, run });
            }
            let next = self.next(shard, number, units)?;
            if let Some(exhausted) = shard.add(next) {
                self.leave(exhausted, shard);
            }
        }
    }

    /// The next slab of a shard, with room for so many units at least.
    fn next(&self, shard: &mut Shard, number: usize, units: u32) -> Option<Held> {
        let opened = self.opened.load(Ordering::Acquire) as usize;
        // What has memory first: a page that comes to lie where memory was just given back takes
        // it from the system again, and what is given back elsewhere for it goes the same way.
        let sets = [(&self.roomy, true), (&self.spare, false)];
        for (set, whole) in sets.into_iter().chain([(&self.roomy, false), (&self.vacant, false)]) {
            let mut from = 0;
            while let Some(slab) = set.next(from, opened) {
                from = slab + 1;
                if whole && self.slab(slab).has_gaps() {
                    continue;
                }
                if let Some(mut held) = self.try_hold(slab, shard, number) {
                    if held.has(self.slab(slab), units) {
                        return Some(held);
                    }
                    self.leave(held, shard);
                }
            }
        }
        let slab = self.open_another()?;
        self.try_hold(slab, shard, number)
    }

    fn try_hold(&self, at: usize, shard: &mut Shard, number: usize) -> Option<Held> {
        let slab = self.slab(at);
        slab.hold(number as u32 + 1).ok()?;
        // First the hints, then the count, then the bits: what is freed after the count begins
        // anew sets the hint again, what was freed before is found by the sweep.
        for set in [&self.roomy, &self.spare, &self.vacant] {
            set.remove(at);
        }
        let held = Held::sweep(at, slab, shard.free());
        let absent = slab.set_absent(0);
        if absent > 0 {
            self.resident_pages.fetch_add(u64::from(absent), Ordering::Relaxed);
            // A slab for each shard has small pages, so that small maps stay small.
            self.memory.expect_use(at, at > number);
        }
        Some(held)
    }

    /// A slab that has never been used.
    fn open_another(&self) -> Option<usize> {
        let _growing = self.growth.try_lock()?;
        let next = self.opened.load(Ordering::Relaxed) as usize;
        if next >= self.sizes.slabs || !self.memory.open(next) {
            return None;
        }
        // Nobody else initialises anything, so nobody waits here.
        let (table, slot) = slot_of(next);
        let slots =
            self.tables[table].get_or_init(|| (0..1 << table).map(|_| OnceLock::new()).collect());
        slots[slot].get_or_init(|| Slab::new(self.sizes.units, self.sizes.pages()));
        // ORDERING: Release: the slab is seen by who sees that it was opened.
        self.opened.store(next as u32 + 1, Ordering::Release);
        Some(next)
    }

    /// Gives up a slab.
    fn leave(&self, held: Held, shard: &mut Shard) {
        let at = held.slab;
        self.no_longer_kept(&held);
        shard.put_back(held);
        if self.slab(at).let_go() {
            self.vacate(at);
        }
    }

    fn no_longer_kept(&self, held: &Held) {
        if held.kept {
            self.kept.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts units that were taken or freed.
    #[inline]
    fn count(&self, home: &Cell<usize>, units: i64) {
        let door = &self.doors[home.get() % self.doors.len()];
        door.balance.fetch_add(units, Ordering::Relaxed);
    }

    /// Frees a page. From any thread.
    #[inline]
    pub(super) fn free(&self, place: Place, home: &Cell<usize>) {
        let units = place.run.units;
        self.count(home, -i64::from(units));
        let slab = self.slab(place.slab);
        let freed = slab.free(place.run);
        if freed.in_use == 0 {
            self.vacate(place.slab);
            return;
        }
        let roomy = slab.roomy_units();
        if freed.since >= roomy && freed.since - units < roomy {
            self.roomy.insert(place.slab);
            self.shed();
        }
        if self.is_sparse(freed, units) && self.has_excess() {
            self.shed();
            self.trim(place.slab);
        }
    }

    /// Units in use, about.
    pub(super) fn units_in_use(&self) -> u64 {
        let counted = |door: &CachePadded<Door>| door.balance.load(Ordering::Relaxed);
        self.doors.iter().map(counted).sum::<i64>().max(0) as u64
    }

    /// Whether there is much more memory than is in use. A tree that grows has always some free,
    /// as its pages move, and will want it again.
    #[cold]
    fn has_excess(&self) -> bool {
        // ORDERING: of two threads that have each counted something and come here, one sees both.
        fence(Ordering::SeqCst);
        let in_use = self.units_in_use();
        let there = self.resident_pages() * u64::from(self.sizes.page_units);
        there > in_use + in_use / 4 + self.sizes.slack
    }

    /// Whether, with these units, the slab has fallen below a half, a quarter, ... in use.
    #[inline]
    fn is_sparse(&self, freed: Freed, units: u32) -> bool {
        freed.in_use < self.sizes.units / 2 && freed.in_use.ilog2() < (freed.in_use + units).ilog2()
    }

    /// Nothing was in use in this slab, which the caller does not hold: has it found as an empty
    /// one, unless it is in use again, and gives memory back if there is much.
    #[cold]
    fn vacate(&self, at: usize) {
        let slab = self.slab(at);
        loop {
            match slab.hold(GIVER) {
                Ok(()) if slab.is_unused() => break,
                Ok(()) if slab.let_go() => {}
                // Whoever gives memory back looks again when it lets go.
                Ok(()) | Err(GIVER) => return,
                Err(number) => return self.knock(number as usize - 1),
            }
        }
        self.put_by(at, slab);
        self.shed();
    }

    /// By who holds the slab, in which nothing is in use.
    fn put_by(&self, at: usize, slab: &Slab) {
        self.roomy.remove(at);
        // Nothing can have come into use. It is found from now on, by the next line.
        slab.let_go();
        self.spare.insert(at);
    }

    /// While there is much more memory than is in use, that of empty slabs goes back.
    fn shed(&self) {
        let opened = self.opened.load(Ordering::Acquire) as usize;
        let mut from = 0;
        while let Some(at) = self.spare.next(from, opened)
            && self.has_excess()
        {
            from = at + 1;
            let slab = self.slab(at);
            if slab.hold(GIVER).is_err() {
                continue;
            }
            self.spare.remove(at);
            if slab.is_unused() {
                self.give_back(at, slab);
            } else if slab.let_go() {
                // It has run empty meanwhile.
                self.spare.insert(at);
                from = at;
            }
        }
    }

    /// By who holds the slab, in which nothing is in use.
    fn give_back(&self, at: usize, slab: &Slab) {
        let absent = slab.set_absent(self.sizes.pages());
        let pages = self.sizes.pages() - absent;
        self.resident_pages.fetch_sub(u64::from(pages), Ordering::Relaxed);
        self.memory.give_back(at, 0, self.sizes.pages());
        slab.let_go();
        self.vacant.insert(at);
    }

    /// A slab of this shard is empty: sees to it that someone looks.
    fn knock(&self, number: usize) {
        // ORDERING: AcqRel, with the swap in `look_behind`: if that comes first, the shard is not
        // locked any more by who swapped; else it sees this.
        self.doors[number].look.swap(true, Ordering::AcqRel);
        self.look_behind(number);
    }

    /// After the shard was in use: gives up slabs of it that have run empty meanwhile.
    #[inline]
    fn look_behind(&self, number: usize) {
        let door = &self.doors[number];
        // ORDERING: AcqRel: see `knock`.
        while door.look.swap(false, Ordering::AcqRel) {
            let Some(mut shard) = door.shard.try_lock() else {
                // Whoever has it looks when it has done. Again, for that may have been just now.
                door.look.swap(true, Ordering::AcqRel);
                if door.shard.try_lock().is_none() {
                    return;
                }
                continue;
            };
            self.give_up_empty(&mut shard);
        }
    }

    #[cold]
    fn give_up_empty(&self, shard: &mut Shard) {
        let mut empty = [None; 2];
        for (held, empty) in shard.held().zip(&mut empty) {
            if held.kept || !self.slab(held.slab).is_unused() {
                continue;
            }
            if self.kept.fetch_add(1, Ordering::Relaxed) < self.sizes.most_kept {
                held.kept = true;
            } else {
                self.kept.fetch_sub(1, Ordering::Relaxed);
                *empty = Some(held.slab);
            }
        }
        for at in empty.into_iter().flatten() {
            let Some(held) = shard.remove(at) else { continue };
            shard.put_back(held);
            self.put_by(at, self.slab(at));
        }
        self.shed();
    }

    /// Gives back the whole pages of the system in which nothing is in use.
    #[cold]
    fn trim(&self, at: usize) {
        let slab = self.slab(at);
        if slab.hold(GIVER).is_err() {
            // A shard will use them.
            return;
        }
        let (mut absent, size) = (0, self.sizes.page_units);
        self.memory.expect_gaps(at);
        slab.sweep(Sweep::default()).all(|run| {
            let first = run.first.div_ceil(size);
            let pages = ((run.first + run.units) / size).saturating_sub(first);
            if pages > 0 {
                absent += pages;
                self.memory.give_back(at, first, pages);
            }
        });
        let before = slab.set_absent(absent);
        // Units come into use by a shard that holds the slab, which then counts all as there.
        self.resident_pages.fetch_sub(u64::from(absent - before), Ordering::Relaxed);
        self.roomy.insert(at);
        if slab.let_go() {
            self.vacate(at);
        }
    }
}

const _: () = assert!(NOBODY == 0, "shards hold slabs by their number, plus one");
