//! Links: what says, outside of a segment, that the frames in it were durable.
//!
//! A frame says what was durable when it was written, and the frames of a group are in the segments
//! that the group's streams write to. So the only proof that a segment was ever in use may lie in
//! that segment. When its file is removed, emptied or filled with zeros, no frame is left that says
//! that something is missing, and recovery would take it for a torn tail. A *link* says it
//! elsewhere: a header of 64 bytes, no frame and no part of a group, without a sequence of its own.
//!
//! # The rule
//!
//! When a group has opened segments, its commit ends so:
//!
//! 1. COMMIT is written and synced, as ever. The group, up to sequence `S`, is durable.
//! 2. A link that says "all up to `S` was durable" is written behind the last frame of the segment
//!    in which the COMMIT before this one lies, the *home* of the link, and the home is synced.
//! 3. Only then is the commit acknowledged.
//!
//! Recovery takes what a link says as it takes what a frame says: a replay that ends before `S` is
//! damage. A link says besides in which segments the streams went on, which is for the error only.
//!
//! So, once a commit is acknowledged, a segment with a frame of it can't vanish as a whole without
//! an error: the segment was opened by this commit, and the link of that is elsewhere; or by an
//! earlier one, and then the link proves at least one frame in the segment, which is gone as well.
//! What a link proves is the group that opened the segment. Of later groups nothing is said
//! outside: zeros from behind that group to the end of the newest segment look like a torn tail.
//!
//! The chain of links begins at the superblock: it names the segments that were open at its
//! checkpoint and how far they were filled, and recovery looks whether something is there still
//! (`Opening::check_positions`). The first group of an opening has no link: its superblock proves
//! it, and nothing of the opening counts before (`older.rs`).
//!
//! # The home
//!
//! - *It is read.* If recovery starts before `S`, the foreground stream was in the home or before
//!   it then, so the home is the segment of a position or was begun behind the checkpoint, and is
//!   not given back. If recovery starts at `S` or behind it, the superblock proves what the link
//!   did.
//! - *There is room*: each frame leaves [`ROOM_FOR_LINKS`].
//! - *The group has not opened it.* If the foreground stream has gone on to another segment, the
//!   link lies where the stream left. If only the background stream has opened one, the home is
//!   still open, the link lies behind the COMMIT, and the stream goes on behind the link.
//!
//! # Crashes
//!
//! | a crash | leaves |
//! |---|---|
//! | before 1 ends | no link; a torn tail, with a header that is torn or not there |
//! | in 2 | the group, with a link or without: what a link says is true before it is written |
//! | of the process, with 2 unsynced | the link in the cache, the group on the disk |
//! | in an opening | what it found: its own links are of a generation that does not count yet |
//!
//! A rollback takes nothing from a link: only what was committed is linked, and streams go back to
//! behind it. When they leave their segments, because a reader may have met a COMMIT that was
//! refused (`readers.rs`), the next link lies where that COMMIT was wiped, or where the voided
//! group left the home: no reader needs these bytes.
//!
//! A reader beside a writer that meets a link looks again for what was written before it, as it
//! does for what a frame tells.
//!
//! A link that there is no room for, as on a disk that copies on write, is left out: the commit is
//! durable and stays so. Other failures poison the log, as those of any write and sync do.

use crate::fields::{Fields, put};
use crate::frame::{FLAG_LINK, HEADER_BYTES, MAGIC, SEQUENCE_LIMIT, header_checksum};

/// Bytes of a link.
pub(crate) const LINK_BYTES: u64 = HEADER_BYTES as u64;

/// Bytes that each frame leaves free behind it in its segment: one link for its group, and one for
/// the next, which may open a segment before it writes anything here.
pub(crate) const ROOM_FOR_LINKS: u64 = 2 * LINK_BYTES;

/// What a link says. It has the shape of a frame's header, so the zeros are lengths and checksum of
/// an empty frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The segment it lies in.
    pub(crate) segment: u32,
    pub(crate) generation: u64,
    /// The sequence of a COMMIT that was durable when this was written.
    pub(crate) durable: u64,
    /// The segments in which the streams went on with that group; 0 for none.
    pub(crate) next: [u32; 2],
    pub(crate) attempt: u32,
}

impl Link {
    pub(crate) fn encode(&self, store: u64, offset: u32) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, MAGIC.to_le_bytes());
        put(&mut out, 8, FLAG_LINK.to_le_bytes());
        put(&mut out, 12, self.segment.to_le_bytes());
        put(&mut out, 16, self.generation.to_le_bytes());
        put(&mut out, 24, self.durable.to_le_bytes());
        put(&mut out, 32, self.durable.to_le_bytes());
        put(&mut out, 40, self.next[0].to_le_bytes());
        put(&mut out, 44, self.next[1].to_le_bytes());
        put(&mut out, 60, self.attempt.to_le_bytes());
        let sum = header_checksum(store, offset, &out[8..]);
        put(&mut out, 4, sum.to_le_bytes());
        out
    }

    /// The link in these bytes, found at `offset` of the segment.
    pub(crate) fn decode(bytes: &[u8], store: u64, offset: u32) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut fields = Fields::new(bytes);
        if fields.u32()? != MAGIC
            || fields.u32()? != header_checksum(store, offset, &bytes[8..])
            || fields.u32()? != FLAG_LINK
        {
            return None;
        }
        let (segment, generation) = (fields.u32()?, fields.u64()?);
        let (_sequence, durable) = (fields.u64()?, fields.u64()?);
        let next = [fields.u32()?, fields.u32()?];
        fields.take(12)?;
        let link = Self { segment, generation, durable, next, attempt: fields.u32()? };
        (durable < SEQUENCE_LIMIT).then_some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Header;

    #[test]
    fn bytes_of_a_link_are_as_documented() {
        let link = Link { segment: 7, generation: 3, durable: 9, next: [8, 6], attempt: 2 };
        let bytes = link.encode(0xABCD, 128);
        assert_eq!(&bytes[..4], b"BWFR");
        let seeded = [&0xABCDu64.to_le_bytes()[..], &128u32.to_le_bytes(), &bytes[8..]].concat();
        assert_eq!(bytes[4..8], crc32c::crc32c(&seeded).to_le_bytes());
        let words = bytes[8..].chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()));
        assert_eq!(words.collect::<Vec<_>>(), [4, 7, 3, 0, 9, 0, 9, 0, 8, 6, 0, 0, 0, 2]);
        assert_eq!(Link::decode(&bytes, 0xABCD, 128), Some(link));
        assert!(Link::decode(&bytes, 0xABCD, 192).is_none());
        assert!(Link::decode(&bytes, 0xABCE, 128).is_none());
        // To a program that knows no links it is what lies behind the last frame.
        assert!(Header::decode(&bytes, 0xABCD, 128).is_none());
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert!(Link::decode(&flipped, 0xABCD, 128).is_none(), "byte {at}");
        }
    }
}
