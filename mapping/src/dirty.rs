//! The dirty list: pages that have something to be written, each with the interval it was put on.
//!
//! Anybody pushes to it, and one thread at a time drains it. An entry may be there twice.

use crate::stack::Stack;
use sync::Advice;
use types::{PageId, Pieces};

/// An entry of the dirty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The page.
    pub page: PageId,
    /// What the clock read when it was put on the list.
    pub interval: u64,
}

/// The dirty list of a store.
#[derive(Debug, Default)]
pub struct DirtyList {
    listed: Stack<Listed>,
    len: Advice,
}

impl DirtyList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a page on the list.
    pub fn push(&self, page: PageId, interval: u64) {
        self.listed.push(Listed { page, interval });
        self.len.add(1);
    }

    /// Takes all entries of intervals up to `cut` off the list; later ones stay.
    pub fn drain(&self, cut: u64) -> Pieces<PageId> {
        let mut pages = Pieces::new();
        self.len.set(0);
        for listed in self.listed.take() {
            if listed.interval <= cut {
                pages.push(listed.page);
            } else {
                self.push(listed.page, listed.interval);
            }
        }
        pages
    }

    /// How many entries there are, about.
    pub fn len_about(&self) -> u64 {
        self.len.get()
    }

    /// Whether nothing is on the list at this moment.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}
