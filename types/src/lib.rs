//! The nouns of bwtree, introduced once each: page ids, addresses, limits.

mod address;
mod page_id;
mod pieces;

pub mod limits;
pub mod varint;

pub use address::Address;
pub use page_id::PageId;
pub use pieces::Pieces;
