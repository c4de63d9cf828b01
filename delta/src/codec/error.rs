//! What is wrong with bytes that were read from the log, and where.

use core::fmt;

/// Bytes that are no page image or delta part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError {
    /// What is wrong.
    pub what: &'static str,
    /// At which byte of the part.
    pub offset: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the part", self.what, self.offset)
    }
}

impl core::error::Error for DecodeError {}
