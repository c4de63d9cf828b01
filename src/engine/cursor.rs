//! What an iterator holds between two pages: bounds and buffered entries, never a pin.

use super::Found;
use super::batch::Batch;
use super::scan::{Range, ScanFrom, Wish, before, behind};
use delta::{KeyRef, Layout};
use std::ops::Bound;

/// Both ends of a range that is being read. `T` is what is kept of a value.
///
/// The two ends never pass each other: each looks at the last key that the other has given.
#[derive(Debug)]
pub(crate) struct Cursor<T> {
    /// What was not read yet when the last page was.
    range: Range,
    front: Batch<T>,
    /// Nothing, until the back is asked for.
    back: Option<Batch<T>>,
    layout: Layout,
    /// How many entries the next page is asked for: few at first, for short scans.
    limit: usize,
    /// See [`Wish`].
    in_rows: bool,
}

/// Entries that a read of a scan asks for at most: more than most pages have.
const MOST_READ: usize = 4096;

/// Entries that the first read of a scan asks for: a copy of a number costs next to nothing.
const fn first_read(layout: Layout) -> usize {
    match layout {
        Layout::Fixed8 => 64,
        Layout::Var => 48,
    }
}

impl<T> Cursor<T> {
    /// A cursor over the range. If `in_rows`, see [`Wish`], `keep` runs unpinned.
    pub(crate) fn new(range: Range, layout: Layout, in_rows: bool) -> Self {
        let first = (!is_empty(&range)).then(|| first_page(&range, layout));
        let back = if first.is_some() { None } else { Some(Batch::empty(None)) };
        Self { range, front: Batch::empty(first), back, layout, limit: first_read(layout), in_rows }
    }

    /// A cursor over what is left of the range, which has read nothing yet.
    pub(crate) fn rest(&self) -> Self {
        let mut range = self.range.clone();
        if let Some(key) = self.front.taken_first() {
            exclude(&mut range.0, key);
        }
        if let Some(key) = self.back.as_ref().and_then(Batch::taken_last) {
            exclude(&mut range.1, key);
        }
        let mut rest = Self::new(range, self.layout, self.in_rows);
        if self.front.is_finished() {
            rest.front = Batch::empty(None);
        }
        if self.back.as_ref().is_some_and(Batch::is_finished) {
            rest.back = Some(Batch::empty(None));
        }
        rest
    }

    /// Whether neither end will give an entry any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.front.is_finished() && self.back.as_ref().is_some_and(Batch::is_finished)
    }

    /// What `make` makes of the next entry from the front. `fetch` reads a page; after an error it
    /// is asked again. `keep` is what `fetch` keeps of a value.
    #[inline]
    pub(crate) fn next<R, E>(
        &mut self,
        mut fetch: impl FnMut(&ScanFrom, Wish<'_>) -> Result<Batch<T>, E>,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Result<Option<R>, E> {
        if self.front.is_empty() && !self.fetch_front(&mut fetch)? {
            return Ok(None);
        }
        if self.back.is_none()
            && let Some(row) = self.front.pop_row()
        {
            let (key, value) = row.split_at(8);
            return Ok(Some(make(key, keep(Found { flags: 0, value }))));
        }
        self.next_of_any_kind(keep, make).map(Ok).transpose()
    }

    /// As `next`, of what has been read.
    fn next_of_any_kind<R>(
        &mut self,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Option<R> {
        let (key, value) = self.front.pop_first(keep)?;
        if let Some(back) = &self.back
            && meets(key, back, &self.range.1)
        {
            self.finish();
            return None;
        }
        Some(make(key, value))
    }

    /// Reads pages from the front until one has an entry; `false` if there is none.
    #[cold]
    fn fetch_front<E>(
        &mut self,
        fetch: &mut impl FnMut(&ScanFrom, Wish<'_>) -> Result<Batch<T>, E>,
    ) -> Result<bool, E> {
        while self.front.is_empty() {
            if let Some(key) = self.front.taken_first() {
                exclude(&mut self.range.0, key);
            }
            let Some(from) = &self.front.next else {
                self.finish();
                return Ok(false);
            };
            let wish = Wish { range: &self.range, limit: self.limit, in_rows: self.in_rows };
            self.front = fetch(from, wish)?;
            self.limit = (self.limit * 2).min(MOST_READ);
        }
        Ok(true)
    }

    /// What `make` makes of the next entry from the back.
    pub(crate) fn next_back<R, E>(
        &mut self,
        mut fetch: impl FnMut(&ScanFrom, Wish<'_>) -> Result<Batch<T>, E>,
        keep: impl Fn(Found<'_>) -> T,
        make: impl FnOnce(&[u8], T) -> R,
    ) -> Result<Option<R>, E> {
        loop {
            let back =
                self.back.get_or_insert_with(|| Batch::empty(last_page(&self.range, self.layout)));
            if let Some((key, value)) = back.pop_last(&keep) {
                let taken = self.front.taken_first().is_some_and(|taken| taken >= *key);
                if taken || !behind(KeyRef::from(key), &self.range.0) {
                    self.finish();
                    return Ok(None);
                }
                return Ok(Some(make(key, value)));
            }
            if let Some(key) = back.taken_last() {
                exclude(&mut self.range.1, key);
            }
            let Some(from) = &back.next else {
                self.finish();
                return Ok(None);
            };
            let wish = Wish { range: &self.range, limit: self.limit, in_rows: self.in_rows };
            *back = fetch(from, wish)?;
        }
    }

    fn finish(&mut self) {
        self.front = Batch::empty(None);
        self.back = Some(Batch::empty(None));
    }
}

impl<T> Batch<T> {
    /// Whether there is neither an entry nor a place to go on.
    fn is_finished(&self) -> bool {
        self.is_empty() && self.next.is_none()
    }
}

/// Whether a key from the front was given from the back already, or lies behind the range.
#[cold]
fn meets<T>(key: &[u8], back: &Batch<T>, end: &Bound<Vec<u8>>) -> bool {
    back.taken_last().is_some_and(|taken| taken <= *key) || !before(KeyRef::from(key), end)
}

/// Moves a bound to just beside this key, in the memory that it has.
fn exclude(bound: &mut Bound<Vec<u8>>, key: KeyRef<'_>) {
    if let Bound::Excluded(memory) | Bound::Included(memory) = bound {
        memory.clear();
        key.extend_into(memory);
        let memory = std::mem::take(memory);
        *bound = Bound::Excluded(memory);
    } else {
        *bound = Bound::Excluded(key.to_vec());
    }
}

fn is_empty(range: &Range) -> bool {
    match range {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Excluded(end) | Bound::Included(end),
        ) => start >= end,
        (_, Bound::Excluded(end)) => end.is_empty(),
        _ => false,
    }
}

fn first_page(range: &Range, layout: Layout) -> ScanFrom {
    match (&range.0, layout) {
        (Bound::Included(start) | Bound::Excluded(start), _) => ScanFrom::At(start.clone()),
        (Bound::Unbounded, Layout::Fixed8) => ScanFrom::At(vec![0; 8]),
        (Bound::Unbounded, Layout::Var) => ScanFrom::At(Vec::new()),
    }
}

fn last_page(range: &Range, layout: Layout) -> Option<ScanFrom> {
    match &range.1 {
        Bound::Unbounded => Some(ScanFrom::Below(None)),
        // Below the first key there is nothing.
        Bound::Excluded(end) if end.iter().all(|&byte| byte == 0) && layout == Layout::Fixed8 => {
            None
        }
        Bound::Excluded(end) => Some(ScanFrom::Below(Some(end.clone()))),
        Bound::Included(end) => Some(ScanFrom::Below(successor(end, layout))),
    }
}

/// The smallest key above this one; `None` if there is none.
fn successor(key: &[u8], layout: Layout) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    match layout {
        Layout::Var => next.push(0),
        Layout::Fixed8 => {
            let last = next.iter().rposition(|&byte| byte != u8::MAX)?;
            next[last] += 1;
            next[last + 1..].fill(0);
        }
    }
    Some(next)
}

/// The range of the keys that begin with `prefix`.
pub(crate) fn prefix_range(prefix: &[u8]) -> Range {
    let end = prefix.iter().rposition(|&byte| byte != u8::MAX).map(|last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end
    });
    (Bound::Included(prefix.to_vec()), end.map_or(Bound::Unbounded, Bound::Excluded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_one_begins() {
        let end = |prefix: &[u8]| prefix_range(prefix).1;
        assert_eq!(end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(end(b"a\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(end(b"\xff\xff"), Bound::Unbounded);
        assert_eq!(end(b""), Bound::Unbounded);
    }

    #[test]
    fn successors_are_the_smallest_keys_above() {
        assert_eq!(successor(b"a", Layout::Var), Some(b"a\0".to_vec()));
        assert_eq!(successor(&[0, 0, 0, 0, 0, 0, 1, 255], Layout::Fixed8).unwrap()[6..], [2, 0]);
        assert_eq!(successor(&[255; 8], Layout::Fixed8), None);
    }
}
