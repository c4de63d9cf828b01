//! Delta parts: the newest record of each key that changed, in the order of the keys.

use types::limits::MAX_KEY_BYTES;

use super::VERSION;
use super::error::DecodeError;
use super::key_len;
use super::reader::{Reader, error};
use crate::entry::KNOWN_FLAGS;
use crate::record::{Op, Record};

const HEADER_BYTES: usize = 8;
const RECORD_HEADER_BYTES: usize = 9;

/// Appends a delta part with these records, which are in the order of their keys, each key once.
/// The value of a record with [`FLAG_SEPARATED`](crate::FLAG_SEPARATED) is what shall stand in the
/// log for it.
///
/// # Panics
/// If a key is too long.
pub fn encode_records<'a>(records: impl Iterator<Item = Record<'a>>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
    let mut count = 0_u32;
    for record in records {
        out.extend_from_slice(&[record.op as u8, record.flags, record.net.to_le_bytes()[0]]);
        out.extend_from_slice(&key_len(record.key.len()));
        out.extend_from_slice(&(record.value.len() as u32).to_le_bytes());
        out.extend_from_slice(record.key);
        out.extend_from_slice(record.value);
        count += 1;
    }
    out[start + 4..start + HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// The records of a delta part, in strictly ascending order of their keys.
///
/// Whether they fit the page they are for is another question: [`Record::fits`].
///
/// # Errors
/// If the bytes are not exactly one delta part.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<Record<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return Err(error("unknown version of a delta part", 0));
    }
    if reader.u8()? != 0 || reader.u16()? != 0 {
        return Err(error("unknown flags of a delta part", 1));
    }
    let count = reader.u32()? as usize;
    if count > reader.left() / RECORD_HEADER_BYTES {
        return Err(error("more records than bytes", 4));
    }
    let mut records: Vec<Record<'_>> = Vec::with_capacity(count);
    for _ in 0..count {
        let at = reader.at();
        let record = decode_record(&mut reader)?;
        if records.last().is_some_and(|last| last.key >= record.key) {
            return Err(error("records not in ascending order of their keys", at));
        }
        records.push(record);
    }
    reader.end()?;
    Ok(records)
}

fn decode_record<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
    let at = reader.at();
    let Some(op) = Op::from_number(reader.u8()?) else {
        return Err(error("unknown op of a record", at));
    };
    let flags = reader.u8()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(error("unknown flags of a record", at + 1));
    }
    let net = i8::from_le_bytes([reader.u8()?]);
    if !(-1..=1).contains(&net) {
        return Err(error("a record that counts for more than one entry", at + 2));
    }
    let key_len = reader.u16()? as usize;
    if key_len > MAX_KEY_BYTES {
        return Err(error("a key that is too long", at + 3));
    }
    let value_len = reader.u32()? as usize;
    if value_len > u16::MAX as usize {
        return Err(error("a value that is too long for a page", at + 5));
    }
    if op == Op::Remove && (flags != 0 || value_len != 0) {
        return Err(error("a removal with a value", at + 5));
    }
    let key = reader.bytes(key_len)?;
    let value = reader.bytes(value_len)?;
    Ok(Record { op, flags, net, key, value })
}
