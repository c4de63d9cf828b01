//! Pages and the log: what the log holds of a page, and how it gets there and back.
//!
//! | file | what it does |
//! |---|---|
//! | `place` | what committed parts the log holds of a page |
//! | `packed` | the same as the table keeps it, in fewer bytes |
//! | `cut` | one sync: a cut of history becomes a commit |
//! | `visit` | one page of a cut: a delta part or an image, and what a closed commit needs beside |
//! | `dropped` | the pages of a tree that was dropped are given back |
//! | `fetch` | a page comes back from the log |
//! | `parts` | the bytes that it comes back from |
//! | `partial` | a page that is away takes records without being read |
//! | `token` | what the word of a page that is away says of it |
//! | `empty` | the leaves of a range that is removed, by one CAS each |
//! | `mend` | what a page is that cannot be read, and an empty page in its place |
//! | `evict` | a page that is in the log gives its memory back |
//! | `settle` | leaves that have gone quiet become base pages again |
//! | `values` | values too long for a page |
//! | `buried` | ids of pages that were merged away become free |
//! | `chunk` | the mapping table's chunks as bytes |
//! | `checkpoint` | dirty chunks and the superblock |
//! | `clean` | live pages leave segments that are mostly dead |
//! | `reckon` | what a page would take as one image, before one is written |
//! | `folding` | pages whose parts say things twice are written anew, in time that is left |
//! | `rebuild` | an inner page that cannot be read is made again of what is below it |
//! | `strays` | pages that nothing leads to any more are given back |
//! | `recover` | open: chunks, the parts after them, a usable table |
//! | `relief` | a full disk: refusals, and room for commits |
//! | `evacuate` | room on a full disk, without a commit of what is dirty |
//! | `sparse` | leaves that have run empty are merged |
//! | `rest` | trees at rest, for one at a time |
//! | `store` | what ties these to the engine |

pub(crate) mod buried;
pub(crate) mod checkpoint;
pub(crate) mod chunk;
pub(crate) mod clean;
pub(crate) mod cut;
pub(crate) mod dropped;
pub(crate) mod empty;
mod evacuate;
pub(crate) mod evict;
pub(crate) mod fetch;
pub(crate) mod folding;
pub(crate) mod mend;
mod packed;
pub(crate) mod partial;
pub(crate) mod parts;
mod place;
mod rebuild;
mod reckon;
pub(crate) mod recover;
mod relief;
mod rest;
mod settle;
pub(crate) mod sparse;
pub(crate) mod store;
mod strays;
mod token;
pub(crate) mod values;
mod visit;

pub(crate) use place::Place;
pub(crate) use store::{CATALOG, CATALOG_COPY, DurableEngine, LogStore};
