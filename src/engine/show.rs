//! Entries shown where they lie, page by page: a scan that copies nothing.
//!
//! As `scan` does, it goes on by key and holds no pin between two pages. While it shows one, it is
//! pinned: for those who have pinned their thread anyway.

use super::scan::{FIRST_ROWS, FRONT, rest, rows_within};
use super::{Engine, Store, TreeCore, Unread};
use crate::engine::End;
use delta::Number;
use std::ops::ControlFlow;
use types::PageId;

/// Rows and entries that a short scan looks at.
const FEW: usize = 64;

impl<S: Store> Engine<S> {
    /// Shows the rows of the first page of numbers from one to another, in order, until `see`
    /// breaks off. Says which numbers are then left.
    ///
    /// `see` runs pinned, once for each row, with what is alive as long as that.
    ///
    /// LINEARIZES: at the load of the page's word.
    #[inline]
    pub(crate) fn show_numbers<B>(
        &self,
        tree: &TreeCore,
        (first, last): (u64, u64),
        mut see: impl FnMut(&[u8; 16]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Option<Unread>>, S::Error> {
        self.retrying(|guard| {
            let number = Number::new(first.to_be_bytes());
            let ahead = |sketch| number.ahead_with(sketch, (0, FEW));
            let stop = self.leaf_ahead(tree, number, ahead, guard)?;
            stop.chain.page().prefetch_records();
            let (window, (from, upto)) = rows_within(stop.base, (first, last));
            let left = upto.checked_add(1).and_then(|next| Unread::numbers(next, last));
            if left.is_some() && window.len() < FEW {
                self.prefetch_right(&stop, FIRST_ROWS, guard);
            }
            let shown = self.with_changes(&stop, (from, upto), |changes| {
                delta::each_row(stop.base, window, changes, S::ahead(), &mut see)
            });
            self.fold_if_quiet(tree, &stop, guard);
            Ok(shown.map_continue(|()| left))
        })
    }

    /// The same of keys of any length, from one up to another. `near` is the page that is likely to
    /// have the first, or none, and `memory` is where keys are put together.
    #[inline]
    pub(crate) fn show_items<B>(
        &self,
        tree: &TreeCore,
        (start, end): (&[u8], Option<&[u8]>),
        (near, memory): (&mut PageId, &mut Vec<u8>),
        mut see: impl FnMut((&[u8], usize), &[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Option<Unread>>, S::Error> {
        self.retrying(|guard| {
            let stop = self.leaf_of_scan(tree, start, *near, guard)?;
            let (base, page) = (stop.base, stop.chain.page());
            // One after the other the lines would be waited for.
            page.prefetch_base(base.heads_span());
            let at = |key: &[u8]| base.search(key).unwrap_or_else(|at| at);
            let from = at(start);
            let window = from..end.map_or_else(|| base.count(), at).max(from);
            page.prefetch_base(base.items_span(from..window.end.min(from + FEW)));
            let left = rest(base, (start, end), End::First);
            if left.is_some() && window.len() < FEW {
                self.prefetch_right(&stop, FRONT, guard);
            }
            let records = self.records_within(&stop, (start, end));
            let shown =
                delta::each_item(base, window, &records, memory, S::ahead(), |key, value| {
                    see(key, value)
                });
            *near = base.right();
            self.fold_if_quiet(tree, &stop, guard);
            Ok(shown.map_continue(|()| left))
        })
    }
}
