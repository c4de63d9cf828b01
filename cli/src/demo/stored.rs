//! Layout of the demo's operations in the store, by which a crash can be judged exactly.
//!
//! Key: map id, key. Value: number of the operation, expiry time (8 bytes little endian each),
//! value; so no two puts store the same bytes. A lane's position, how many of its operations are
//! in, has a key of its own and is written after every 1 to 16 operations.

use crate::lanes::Numbered;
use crate::trace::{Change, Op, Value};

/// The first byte of a position's key; no map has this id.
const POSITION: u8 = 0xff;
/// Bytes before the value.
const HEAD_BYTES: usize = 16;
/// The most operations between two positions of a lane.
pub(crate) const POSITION_EVERY: u64 = 16;

/// What an operation makes of its key: these bytes, or nothing.
pub(crate) fn change(numbered: &Numbered) -> Option<Vec<u8>> {
    match &numbered.op.change {
        Change::Delete => None,
        Change::Put { value: written, expire_at_ms } => {
            Some(value(numbered.number, *expire_at_ms, written))
        }
    }
}

fn value(number: u64, expire_at_ms: u64, value: &Value) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEAD_BYTES + value.len());
    stored.extend_from_slice(&number.to_le_bytes());
    stored.extend_from_slice(&expire_at_ms.to_le_bytes());
    stored.extend_from_slice(&value.bytes());
    stored
}

pub(crate) fn position_key(lane: usize) -> Vec<u8> {
    let mut key = vec![POSITION];
    key.extend_from_slice(&(lane as u32).to_be_bytes());
    key
}

/// An entry of the store, told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Position {
        lane: usize,
        position: u64,
    },
    /// What an operation put.
    Put {
        map: u8,
        key: &'a [u8],
        expire_at_ms: u64,
        value: &'a [u8],
    },
}

/// Tells an entry apart; nothing when the demo cannot have written it.
pub(crate) fn read<'a>(key: &'a [u8], stored: &'a [u8]) -> Option<Entry<'a>> {
    let (&map, key) = key.split_first()?;
    if map == POSITION {
        let lane = u32::from_be_bytes(key.try_into().ok()?) as usize;
        return Some(Entry::Position {
            lane,
            position: u64::from_le_bytes(stored.try_into().ok()?),
        });
    }
    let (_number, rest) = stored.split_first_chunk::<8>()?;
    let (expire, value) = rest.split_first_chunk::<8>()?;
    Some(Entry::Put { map, key, expire_at_ms: u64::from_le_bytes(*expire), value })
}

/// What a stored value is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    crc: u32,
    length: usize,
}

impl Stamp {
    pub(crate) fn of(stored: &[u8]) -> Self {
        Self { crc: crc32fast::hash(stored), length: stored.len() }
    }

    /// The stamp of what an operation leaves under its key: nothing after a delete.
    pub(crate) fn after(number: u64, op: &Op) -> Option<Self> {
        match &op.change {
            Change::Delete => None,
            Change::Put { value: put, expire_at_ms } => {
                Some(Self::of(&value(number, *expire_at_ms, put)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_apart() {
        let stored = value(7, 9, &Value::Full(b"data".to_vec()));
        let want = Entry::Put { map: 3, key: b"k", expire_at_ms: 9, value: b"data" };
        assert_eq!(read(b"\x03k", &stored), Some(want));
        let position = 55_u64.to_le_bytes();
        let want = Entry::Position { lane: 2, position: 55 };
        assert_eq!(read(&position_key(2), &position), Some(want));
        assert_eq!(read(b"", b""), None);
        assert_eq!(read(b"\x03k", b"short"), None);
    }
}
