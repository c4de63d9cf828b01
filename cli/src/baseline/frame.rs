//! One record of the append-only log.

use crate::trace::fields::{key_class, push_string, push_varint, varint_len};
use crate::trace::{Change, MAPS, Op};

/// The bytes before each record.
pub(super) const HEADER_BYTES: usize = 12;

const DELETED: u8 = 0x08;
const KEY: u8 = 0x12;
const KEY_CLASS: u8 = 0x1a;
const VALUE: u8 = 0x22;
const VALUE_CLASS: u8 = 0x2a;
const TIME: u8 = 0x30;

fn value_class(map: u8) -> &'static str {
    MAPS.get(usize::from(map)).map_or("", |map| map.value_class)
}

/// The length of the framed record of `op`.
pub(crate) fn record_bytes(op: &Op) -> u64 {
    let field = |length: usize| 1 + varint_len(length as u64) + length as u64;
    let value = match &op.change {
        Change::Put { value, .. } => field(value.len()) + field(value_class(op.map).len()),
        Change::Delete => 0,
    };
    let key = field(op.key.len()) + field(key_class(&op.key).len());
    HEADER_BYTES as u64 + 2 + key + value + 1 + varint_len(op.at_ms)
}

/// Makes the framed record of `op` the content of `out`.
pub(super) fn encode(out: &mut Vec<u8>, op: &Op) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
    let deleted = matches!(op.change, Change::Delete);
    out.extend_from_slice(&[DELETED, u8::from(deleted)]);
    push_string(out, KEY, &op.key);
    push_string(out, KEY_CLASS, key_class(&op.key).as_bytes());
    if let Change::Put { value, .. } = &op.change {
        push_string(out, VALUE, &value.bytes());
        push_string(out, VALUE_CLASS, value_class(op.map).as_bytes());
    }
    out.push(TIME);
    push_varint(out, op.at_ms);
    let length = (out.len() - HEADER_BYTES) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
}

/// What tells the record of `op` from that of another operation.
pub(crate) fn fingerprint(op: &Op) -> u32 {
    let mut record = Vec::new();
    encode(&mut record, op);
    crc32fast::hash(&record[HEADER_BYTES..])
}

/// What a replay needs of a record: the key, and the value unless it deletes. Nothing when the
/// record makes no sense.
pub(super) fn decode(record: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let [DELETED, deleted, rest @ ..] = record else { return None };
    let mut rest = rest;
    let (mut key, mut value) = (None, None);
    while let [tag, after @ ..] = rest {
        if *tag == TIME {
            break;
        }
        let (length, after) = read_varint(after)?;
        let (field, after) = after.split_at_checked(length)?;
        match *tag {
            KEY => key = Some(field),
            VALUE => value = Some(field),
            _ => {}
        }
        rest = after;
    }
    match (*deleted, value) {
        (0, Some(value)) => Some((key?, Some(value))),
        (0, None) => None,
        (_, _) => Some((key?, None)),
    }
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 127) << (7 * i);
        if *byte < 128 {
            return Some((number as usize, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Generator, Parameters};

    #[test]
    fn records_have_the_length_told_and_decode() {
        let parameters = Parameters { ops: 8_000, checkpoints: 20, ..Parameters::default() };
        let mut out = Vec::new();
        for op in Generator::new(&parameters) {
            encode(&mut out, &op);
            assert_eq!(out.len() as u64, record_bytes(&op));
            let value = match &op.change {
                Change::Put { value, .. } => Some(value.bytes()),
                Change::Delete => None,
            };
            assert_eq!(decode(&out[HEADER_BYTES..]), Some((&*op.key, value.as_deref())));
        }
    }

    #[test]
    fn nonsense_decodes_to_nothing() {
        for bad in [&b""[..], b"\x08", b"\x09\x00", b"\x08\x00\x12\x05ab", b"\x08\x00\x12\x01a\x30"]
        {
            assert_eq!(decode(bad), None);
        }
    }
}
