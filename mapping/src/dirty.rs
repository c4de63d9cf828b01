//! The dirty list: pages that have something to be written, each with the interval it was put on.
//!
//! Anybody pushes to it, and one thread at a time drains it. An entry may be there twice.

use crate::stack::Stack;
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
pub struct DirtyList(Stack<Listed>);

impl DirtyList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a page on the list.
    pub fn push(&self, page: PageId, interval: u64) {
        self.0.push(Listed { page, interval });
    }

    /// Takes all entries of intervals up to `cut` off the list; later ones stay.
    pub fn drain(&self, cut: u64) -> Pieces<PageId> {
        let mut pages = Pieces::new();
        for listed in self.0.take() {
            if listed.interval <= cut {
                pages.push(listed.page);
            } else {
                self.0.push(listed);
            }
        }
        pages
    }

    /// Whether nothing is on the list at this moment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
