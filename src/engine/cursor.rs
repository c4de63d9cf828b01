//! What an iterator holds between two pages: buffered entries and what lies between them, never a
//! pin.

use super::batch::{Batch, Shown};
use super::scan::Wish;
use super::unread::Unread;
use super::{End, Found};
use std::ops::ControlFlow;
use types::PageId;

/// Both ends of a range that is being read. `T` is what is kept of a value.
///
/// What the front has read, what nobody has, and what the back has read follow one another. An end
/// that finds nothing unread takes what the other one has read, so the two never pass each other.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<T> {
    front: Batch<T>,
    unread: Option<Unread>,
    back: Batch<T>,
    /// Pages that were read: short scans ask for few entries.
    reads: u32,
    /// See [`Wish`].
    in_rows: bool,
}

impl<T> Cursor<T> {
    /// A cursor over this. If `in_rows`, see [`Wish`], `keep` runs unpinned.
    pub(crate) fn new(unread: Option<Unread>, in_rows: bool) -> Self {
        Self { front: Batch::empty(), unread, back: Batch::empty(), reads: 0, in_rows }
    }

    /// Whether neither end will give an entry any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.unread.is_none() && self.front.is_empty() && self.back.is_empty()
    }

    /// What `make` makes of the next entry from this end. `fetch` reads a page; after an error it
    /// is asked again. `keep` is what `fetch` keeps of a value.
    #[inline]
    pub(crate) fn next<R, E>(
        &mut self,
        end: End,
        fetch: impl FnMut(&Unread, Wish) -> Result<(Batch<T>, Option<Unread>), E>,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Result<Option<R>, E> {
        if let Some(row) = self.side(end).pop_row(end) {
            return Ok(Some(made(&row, keep, make)));
        }
        self.next_of_any_kind(end, fetch, keep, make)
    }

    /// As `next`, for entries that are no rows or not read yet.
    #[inline(never)]
    fn next_of_any_kind<R, E>(
        &mut self,
        end: End,
        mut fetch: impl FnMut(&Unread, Wish) -> Result<(Batch<T>, Option<Unread>), E>,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Result<Option<R>, E> {
        while self.side(end).is_empty() {
            let Some(unread) = &self.unread else {
                std::mem::swap(&mut self.front, &mut self.back);
                break;
            };
            let (batch, unread) = fetch(unread, self.wish(end))?;
            *self.side(end) = batch;
            self.unread = unread;
            self.reads += 1;
        }
        let side = self.side(end);
        if let Some(row) = side.pop_row(end) {
            return Ok(Some(made(&row, keep, make)));
        }
        Ok(side.pop(end, keep).map(|(key, value)| make(key, value)))
    }

    /// Shows the entries that are left, in order, until `see` breaks off; see [`Batch::each`].
    /// `fetch` reads a page; `see` runs unpinned.
    #[inline]
    pub(crate) fn each<B, E>(
        &mut self,
        mut fetch: impl FnMut(&Unread, Wish) -> Result<(Batch<T>, Option<Unread>), E>,
        mut see: impl FnMut((&[u8], usize), Shown<'_, T>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, E> {
        loop {
            // The one place that this is called at, so that nothing is called for an entry.
            if let broken @ ControlFlow::Break(_) = self.front.each(|key, value| see(key, value)) {
                return Ok(broken);
            }
            if let Some(unread) = &self.unread {
                let (batch, unread) = fetch(unread, self.wish(End::First))?;
                (self.front, self.unread) = (batch, unread);
                self.reads += 1;
            } else if self.back.is_empty() {
                return Ok(ControlFlow::Continue(()));
            } else {
                std::mem::swap(&mut self.front, &mut self.back);
            }
        }
    }

    #[inline]
    fn side(&mut self, end: End) -> &mut Batch<T> {
        match end {
            End::First => &mut self.front,
            End::Last => &mut self.back,
        }
    }

    /// What is wanted of the next page: of numbers 64, 64, 128, 256 ... up to more than most pages
    /// have; a copy of a number costs next to nothing. Of bytes three quarters of that.
    fn wish(&self, end: End) -> Wish {
        let first = if matches!(self.unread, Some(Unread::Numbers(..))) { 64 } else { 48 };
        let limit = first << self.reads.saturating_sub(1).min(6);
        let near = if end == End::First { self.front.near() } else { PageId::NONE };
        Wish { end, limit, in_rows: self.in_rows, near }
    }
}

#[inline]
fn made<T, R>(
    row: &[u8; 16],
    keep: impl Fn(Found<'_>) -> T,
    make: impl FnOnce(&[u8], T) -> R,
) -> R {
    let (key, value) = row.split_at(8);
    make(key, keep(Found { flags: 0, value }))
}
