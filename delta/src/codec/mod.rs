//! Images and delta parts as they lie in the log; little-endian, version in the first byte.
//!
//! ```text
//! image    version u8, level u8, layout u8, flags u8, count u32, right u32, absorbed u32
//!          low length u16, high length u16, absorbed ids u32 each, low key, high key
//!          Fixed8: count x [key 8 big-endian | value 8]
//!          Var:    count x [flags u8 | suffix length u16 | value length u32 | suffix | value]
//! records  version u8, zero u8, u16, count u32
//!          count x [op u8 | flags u8 | net i8 | key length u16 | value length u32 | key | value]
//! ```
//!
//! A suffix is a key without what the fences share, as in memory. In an inner image the
//! key of entry 0 is the low key and not written again. That a child is being merged away is not
//! written either: after a crash nobody is at it.
//!
//! Nothing that is read is believed (R10): what is decoded has been checked for everything that
//! [`check`](crate::check) asks of a base page, or is an error that says what and where. Unknown
//! versions, layouts, ops and flags are errors, which leaves them free for later. What is allocated
//! is in proportion to the bytes that were given.

mod error;
mod image;
mod reader;
mod records;

use types::limits::MAX_KEY_BYTES;

pub use error::DecodeError;
pub use image::{Image, decode_image, encode_image, image_bytes};
pub use records::{decode_records, encode_records};

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;

/// The length of a key as it is written.
fn key_len(len: usize) -> [u8; 2] {
    assert!(len <= MAX_KEY_BYTES, "a key of {len} bytes");
    (len as u16).to_le_bytes()
}
