//! The arena: memory for pages, which finds its way back to the system.
//!
//! ```text
//!   slab   2 MiB of address space, cut into units of 64 bytes; a page is a run of them
//!   slab's record, outside of it   a bit for each unit | units in use | who holds it
//!   shard  what one thread at a time allocates from: up to two slabs that it holds
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `slab` | the record of a slab: bits, counts, holder |
//! | `runs` | the free runs of a slab, by length |
//! | `shard` | from which of its slabs a shard takes a page |
//! | `pool` | who holds which slab; which one next; when memory goes back |
//! | `slab_set` | sets of slabs, lowest first |
//! | `space` | addresses, and the system behind them |
//!
//! # Protocol
//!
//! 1. Only the *holder* of a slab, which is a shard, allocates in it: it *sweeps* the bits, makes
//!    lists of free runs of them, step by step as it needs some, takes pages out of those, and sets
//!    their bits.
//! 2. Freeing clears bits, from any thread, held or not; so neighbours become one run by
//!    themselves, which the next sweep finds. Nobody waits: shards are tried, never waited for,
//!    and a thread that finds none takes its page from the global allocator.
//! 3. Who frees counts. A slab in which a sixteenth has been freed since it was swept is *roomy*;
//!    one in which nothing is in use any more gives its memory back. A sweep through a slab that
//!    has become roomy begins anew before it comes to what was never touched: so a few pages that
//!    are rewritten all the time do not make all of a slab resident.
//! 4. A shard whose slabs are exhausted holds the *lowest* roomy slab next. Pages of a tree that
//!    is written are rewritten all the time; so they move down, and high slabs run empty. Slabs
//!    that were trimmed (5) come behind all that have their memory.
//! 5. Pages that nobody rewrites stay where they are. In a slab that is not held, and that falls
//!    below a half, a quarter, an eighth .. in use, whole free pages of the system are given back
//!    (*trimmed*).
//!
//! Whether a slab is roomy, or vacant, is a hint to who looks for one. What is true is told by its
//! bits, to its holder.

mod pool;
mod runs;
#[cfg(test)]
mod settled;
mod shard;
mod slab;
mod slab_set;
#[cfg(not(loom))]
mod space;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
pub(crate) use pool::Pool;
#[cfg(not(loom))]
pub(crate) use space::Space;
