//! Entries that were copied out of a uniform page of keys of any length: what a scan takes of it.
//!
//! Suffixes and values are copied in runs, as they lie in the page; the prefix is copied once, and
//! put before a suffix when its key is wanted.

use std::ops::{ControlFlow, Range};

use crate::base::Base;
use crate::key::KeyRef;
use crate::pairs::AHEAD;
use crate::record::{Op, Record};
use crate::runs::{Part, Parts};

/// Zeros follow a key that is shown, up to a multiple of so many bytes: who checks it a few words
/// at a time then has no rest to check byte by byte.
const PADDING: usize = 16;

/// Entries in the order of their keys, in three pieces of memory.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// The prefix, and behind it the suffix of the key that was asked for last.
    key: Vec<u8>,
    prefix_len: usize,
    /// Suffix and value of each.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    value_len: usize,
}

impl Items {
    /// The entries at these positions of a uniform leaf after its records (newest first, each with
    /// its version), whose keys all belong there. The values of the records are as long as those of
    /// the page.
    ///
    /// # Panics
    /// If the page is not uniform, or has no such positions.
    #[must_use]
    pub fn read(base: Base<'_>, window: Range<usize>, newest_first: &[(u64, Record<'_>)]) -> Self {
        let Some(value_len) = base.value_len() else { panic!("a page that is not uniform") };
        let (heap, prefix) = (base.heap(), base.prefix());
        let count = window.len() + newest_first.len();
        let copied = heap.items(window.start, window.end).len();
        let changed = |(_, record): &(u64, Record<'_>)| record.key.len() + record.value.len();
        let more: usize = newest_first.iter().map(changed).sum();
        let mut bytes = Vec::with_capacity(copied + more);
        let mut ends = Vec::with_capacity(count);
        for Part { of, put } in Parts::new(base, window, newest_first, |_, _| {}) {
            if !of.is_empty() {
                let shift = (bytes.len() as u32).wrapping_sub(heap.offset(of.start) as u32);
                bytes.extend_from_slice(heap.items(of.start, of.end));
                heap.extend_offsets(of.start + 1..of.end + 1, shift, &mut ends);
            }
            if let Some(record) = put {
                bytes.extend_from_slice(&record.key[prefix.len()..]);
                bytes.extend_from_slice(record.value);
                ends.push(bytes.len() as u32);
            }
        }
        let mut key = Vec::with_capacity(prefix.len() + 64);
        key.extend_from_slice(prefix);
        Self { key, prefix_len: prefix.len(), bytes, ends, value_len }
    }

    /// Whether this record can be one of those of [`read`](Self::read) in such a page.
    #[must_use]
    pub fn takes(base: Base<'_>, record: &Record<'_>) -> bool {
        let fits = record.flags == 0 && base.value_len() == Some(record.value.len());
        record.op == Op::Remove || fits
    }

    /// Appends a key without a value, to keys that were all appended.
    pub fn push(&mut self, key: KeyRef<'_>) {
        debug_assert!(self.value_len == 0 && self.prefix_len == 0);
        key.extend_into(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[inline]
    fn item(&self, at: usize) -> (&[u8], &[u8]) {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        let item = &self.bytes[start..self.ends[at] as usize];
        item.split_at(item.len() - self.value_len)
    }

    /// The key at this position.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    #[must_use]
    pub fn key(&self, at: usize) -> KeyRef<'_> {
        KeyRef::new(&self.key[..self.prefix_len], self.item(at).0)
    }

    /// The same in one piece.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn whole_key(&mut self, at: usize) -> &[u8] {
        if self.prefix_len == 0 {
            return self.item(at).0;
        }
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        let suffix = &self.bytes[start..self.ends[at] as usize - self.value_len];
        self.key.truncate(self.prefix_len);
        self.key.extend_from_slice(suffix);
        &self.key
    }

    /// Shows the entries at these positions, until `see` breaks off: the key in one piece, which is
    /// so many bytes, with zeros up to a multiple of sixteen behind it, and the value. An entry
    /// that was shown is taken off the positions.
    ///
    /// # Panics
    /// If there are no such positions.
    #[inline]
    pub fn each<B>(
        &mut self,
        left: &mut Range<usize>,
        mut see: impl FnMut((&[u8], usize), &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Self { key, prefix_len, bytes, ends, value_len } = self;
        let mut start = if left.start == 0 { 0 } else { ends[left.start - 1] as usize };
        for at in left {
            let end = ends[at] as usize;
            let (item, value) = (start..end - *value_len, &bytes[end - *value_len..end]);
            let shown = padded(key, *prefix_len, &bytes[item.start..], item.len());
            start = end;
            see(shown, value)?;
        }
        ControlFlow::Continue(())
    }

    /// The value at this position; empty of keys that were appended.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    #[must_use]
    pub fn value(&self, at: usize) -> &[u8] {
        self.item(at).1
    }
}

/// Shows the entries of a uniform leaf at these positions after its records (newest first, each
/// with its version), whose keys all belong there, until `see` breaks off; as [`Items::each`], but
/// where they lie. `key` is memory to put keys together in. The values of those that are likely to
/// come soon are told to `ahead`, if there is one.
///
/// # Panics
/// If the page is not uniform, or has no such positions.
#[inline]
pub fn each_item<B>(
    base: Base<'_>,
    window: Range<usize>,
    newest_first: &[(u64, Record<'_>)],
    key: &mut Vec<u8>,
    ahead: Option<fn(&[u8])>,
    mut see: impl FnMut((&[u8], usize), &[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let Some(value_len) = base.value_len() else { panic!("a page that is not uniform") };
    let (heap, prefix_len) = (base.heap(), base.prefix_len());
    key.clear();
    key.extend_from_slice(base.prefix());
    for Part { of: mut left, mut put } in Parts::new(base, window, newest_first, |_, _| {}) {
        let mut start = heap.offset(left.start);
        let tell = |at: usize, end: usize| {
            if let Some(ahead) = ahead.filter(|_| at < end) {
                let end = heap.offset(at + 1);
                ahead(&heap.bytes[end - value_len..end]);
            }
        };
        if ahead.is_some() {
            (left.start..left.end.min(left.start + AHEAD)).for_each(|at| tell(at, left.end));
        }
        loop {
            let (bytes, suffix_len, value) = if let Some(at) = left.next() {
                tell(at + AHEAD, left.end);
                let (begin, end) = (start, heap.offset(at + 1));
                start = end;
                let value = &heap.bytes[end - value_len..end];
                (&heap.bytes[begin..], end - value_len - begin, value)
            } else if let Some(record) = put.take() {
                let suffix = &record.key[prefix_len..];
                (suffix, suffix.len(), record.value)
            } else {
                break;
            };
            // The one place that this is called at, so that nothing is called for an entry.
            see(padded(key, prefix_len, bytes, suffix_len), value)?;
        }
    }
    ControlFlow::Continue(())
}

/// Bytes that are copied at once, of most suffixes all.
const CHUNK: usize = 32;

/// The key of this suffix, with which `bytes` begins, behind the prefix that lies in `key` already;
/// and how long it is.
#[expect(clippy::inline_always, reason = "a call costs as much as what it does")]
#[inline(always)]
fn padded<'k>(
    key: &'k mut Vec<u8>,
    prefix_len: usize,
    bytes: &[u8],
    suffix_len: usize,
) -> (&'k [u8], usize) {
    let len = prefix_len + suffix_len;
    match bytes.first_chunk::<CHUNK>() {
        // Of a length that is known where this is compiled, so that nothing is called.
        Some(chunk) if suffix_len <= CHUNK && key.len() >= len + CHUNK => {
            key[prefix_len..][..CHUNK].copy_from_slice(chunk);
        }
        _ => put_suffix(key, prefix_len, &bytes[..suffix_len]),
    }
    key[len..][..PADDING].fill(0);
    (&key[..len.next_multiple_of(PADDING)], len)
}

#[cold]
#[inline(never)]
fn put_suffix(key: &mut Vec<u8>, prefix_len: usize, suffix: &[u8]) {
    key.truncate(prefix_len);
    key.extend_from_slice(suffix);
    key.resize(key.len() + 4 * CHUNK, 0);
}
