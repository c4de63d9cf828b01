//! Which page leaves memory: a second-chance clock hand over the page ids.
//!
//! A read sets a page's reference bit; the hand clears it and takes a page only when it finds the
//! bit clear, that is, when nobody read the page for a whole turn. The bit and the eviction itself
//! are the engine's, behind [`Evictable`]; here is the hand.

/// What holds the pages that the hand goes over.
pub trait Evictable {
    /// Number of page ids in use or once used: the hand visits `0..page_count`.
    fn page_count(&self) -> u32;

    /// Tries to evict one page, or takes its reference bit away.
    fn try_evict(&self, id: u32) -> Evicted;
}

/// What became of one visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The page left memory and gave back this many bytes.
    Freed(u64),
    /// The page had been read since the last visit. Its bit is clear now.
    Referenced,
    /// The page has something that is not durable yet, so it can't go.
    Dirty,
    /// Nothing in memory has this id, or somebody else was faster.
    Absent,
}

/// What one run of the hand came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Swept {
    /// Bytes given back.
    pub freed_bytes: u64,
    /// Pages evicted.
    pub freed_pages: u32,
    /// Visits that found a dirty page. If the goal was missed and this is not 0, a cut helps.
    pub dirty: u32,
    /// Visits in all: at most two turns.
    pub visited: u64,
}

/// The hand. It stays where it stopped, so that every page gets its turn.
#[derive(Debug, Default)]
pub struct Sweeper {
    hand: u32,
}

impl Sweeper {
    /// A hand at the first page id.
    #[must_use]
    pub const fn new() -> Self {
        Self { hand: 0 }
    }

    /// Evicts until `goal_bytes` are freed, or two turns are over.
    ///
    /// Two turns are enough: the first clears every reference bit, the second takes what nobody
    /// read meanwhile. What is left then is dirty, or in use.
    pub fn run(&mut self, host: &impl Evictable, goal_bytes: u64) -> Swept {
        let mut swept = Swept::default();
        let count = host.page_count();
        let most = 2 * u64::from(count);
        while swept.freed_bytes < goal_bytes && swept.visited < most {
            if self.hand >= count {
                self.hand = 0;
            }
            let id = self.hand;
            self.hand += 1;
            swept.visited += 1;
            match host.try_evict(id) {
                Evicted::Freed(bytes) => {
                    swept.freed_bytes = swept.freed_bytes.saturating_add(bytes);
                    swept.freed_pages += 1;
                }
                Evicted::Dirty => swept.dirty += 1,
                Evicted::Referenced | Evicted::Absent => {}
            }
        }
        swept
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Clone, Copy)]
    enum Page {
        Resident { referenced: bool },
        Dirty,
        Gone,
    }

    struct Host(RefCell<Vec<Page>>);

    impl Host {
        fn new(pages: impl IntoIterator<Item = Page>) -> Self {
            Self(RefCell::new(pages.into_iter().collect()))
        }

        fn resident(&self) -> Vec<usize> {
            let pages = self.0.borrow();
            (0..pages.len()).filter(|&i| matches!(pages[i], Page::Resident { .. })).collect()
        }
    }

    impl Evictable for Host {
        fn page_count(&self) -> u32 {
            self.0.borrow().len() as u32
        }

        fn try_evict(&self, id: u32) -> Evicted {
            let page = &mut self.0.borrow_mut()[id as usize];
            match *page {
                Page::Resident { referenced: true } => {
                    *page = Page::Resident { referenced: false };
                    Evicted::Referenced
                }
                Page::Resident { referenced: false } => {
                    *page = Page::Gone;
                    Evicted::Freed(100)
                }
                Page::Dirty => Evicted::Dirty,
                Page::Gone => Evicted::Absent,
            }
        }
    }

    const CLEAN: Page = Page::Resident { referenced: false };
    const READ: Page = Page::Resident { referenced: true };

    #[test]
    fn it_stops_at_the_goal_and_goes_on_from_there() {
        let host = Host::new([CLEAN; 10]);
        let mut sweeper = Sweeper::new();
        let first = sweeper.run(&host, 250);
        assert_eq!((first.freed_bytes, first.freed_pages, first.visited), (300, 3, 3));
        assert_eq!(sweeper.run(&host, 100).visited, 1);
        assert_eq!(host.resident(), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn pages_that_were_read_get_a_second_chance() {
        let host = Host::new([READ, CLEAN, READ, CLEAN]);
        let mut sweeper = Sweeper::new();
        assert_eq!(sweeper.run(&host, 200).freed_bytes, 200);
        assert_eq!(host.resident(), [0, 2]);
        assert_eq!(sweeper.run(&host, 100).freed_pages, 1);
    }

    #[test]
    fn two_turns_take_everything_that_is_clean() {
        let host = Host::new([READ; 7]);
        let swept = Sweeper::new().run(&host, u64::MAX);
        assert_eq!((swept.freed_pages, swept.visited), (7, 14));
    }

    #[test]
    fn it_ends_when_nothing_can_go_and_says_why() {
        let host = Host::new([Page::Dirty, Page::Gone, Page::Dirty]);
        let swept = Sweeper::new().run(&host, 1);
        assert_eq!((swept.freed_bytes, swept.dirty, swept.visited), (0, 4, 6));
        assert_eq!(Sweeper::new().run(&Host::new([]), 1), Swept::default());
    }

    #[test]
    fn nothing_is_visited_for_no_goal() {
        assert_eq!(Sweeper::new().run(&Host::new([CLEAN]), 0), Swept::default());
    }

    #[test]
    fn a_table_that_became_smaller_is_no_trouble() {
        let mut sweeper = Sweeper::new();
        sweeper.run(&Host::new([CLEAN; 8]), 700);
        assert_eq!(sweeper.run(&Host::new([CLEAN; 2]), 100).freed_pages, 1);
    }
}
