//! What a page of bwtree is: base page, delta records, consolidation, codec. Pure.
//!
//! A page is a *base page*, an immutable sorted run of entries between two fences, and the *delta
//! records* that were installed on it since. Everything here is a function from bytes to bytes: no
//! atomics, no I/O, no clock, no threads (invariant I5). Who owns the memory, publishes it and
//! orders the records is the engine.
//!
//! | file | what it knows |
//! |---|---|
//! | `key` | a key in two pieces: the prefix that a page cuts off, and the rest |
//! | `entry` | an entry, a layout, and what a page is besides its entries |
//! | `base` | the bytes of a base page and how to look at them |
//! | `heap` | suffixes and values of a page of keys of any length |
//! | `rows` | one entry by its position, or all in order |
//! | `probe` | what a search asks a page for: bytes, or a number |
//! | `search` | where a key is or would be: interpolation, else branchy binary search |
//! | `interpolation` | the line through the keys of a page, and how far it is off |
//! | `hash` | the hash of a key, and the byte of it that lies in pages |
//! | `record` | a delta record and its bytes in memory |
//! | `fold` | base page and records to entries: the heart of consolidation |
//! | `write` | entries to a base page |
//! | `split` | where to split, and the shortest key between two |
//! | `contents` | what a page to be built will hold: entries laid over others, and cut |
//! | `pairs` | the same for a fixed page: runs of rows that lie in pages that are |
//! | `runs` | the same for keys of any length |
//! | `items` | what a scan copies of a page of keys of any length |
//! | `overlay` | sorted entries and newer sorted entries to one |
//! | `inner` | the value of an inner page's entry: its child |
//! | `check` | whether a base page is what it must be |
//! | `codec` | images and delta parts as they lie in the log |
//!
//! ```
//! use bwtree_delta::{Base, Entry, Layout, Op, Record, Shape, base_bytes, fold, write_base};
//!
//! let shape = Shape::whole(Layout::Var);
//! let entries = [Entry::new(b"apple", b"1"), Entry::new(b"pear", b"2")];
//! let mut bytes = vec![0; base_bytes(&shape, &entries)];
//! write_base(&shape, &entries, &mut bytes);
//! let base = Base::new(&bytes);
//! assert_eq!(base.search(b"pear"), Ok(1));
//!
//! let remove = Record { op: Op::Remove, flags: 0, net: -1, key: b"apple", value: b"" };
//! let (mut left, mut dropped) = (Vec::new(), Vec::new());
//! fold(base, &[remove], &mut left, &mut dropped);
//! assert_eq!(left, [base.entry(1)]);
//! assert_eq!(dropped, [(0, &b"1"[..])]);
//! ```
//!
//! Bytes in memory were made here and are trusted. Bytes from the log are not: see [`codec`].

#![forbid(unsafe_code)]

mod base;
mod check;
mod contents;
mod entry;
mod fold;
mod hash;
mod heap;
mod inner;
mod interpolation;
mod items;
mod key;
mod overlay;
mod pairs;
mod plain;
mod probe;
mod record;
mod rows;
mod runs;
mod search;
mod sketch;
mod split;
mod write;

pub mod codec;

pub use base::Base;
pub use check::check;
pub use codec::{
    DecodeError, Image, decode_image, decode_records, encode_image, encode_records, image_bytes,
};
pub use contents::{Contents, Sheet};
pub use entry::{Entry, FLAG_SEPARATED, Layout, Shape, Side};
pub use fold::{fold, fold_entries};
pub use hash::{fingerprint, hash};
pub use inner::{child_of, child_value};
pub use items::{Items, each_item};
pub use key::KeyRef;
pub use pairs::{PairChange, Pairs, each_row, read_rows, tell_first, tell_next};
pub use probe::{Hashed, Number, Probe};
pub use record::{Op, Position, Record};
pub use rows::{Absorbed, Entries};
pub use runs::Runs;
pub use sketch::FRONT_BYTES;
pub use split::{FENCE_BYTES, Fill, shortest_separator, split_index, uncounted};
pub use write::{base_bytes, write_base};
