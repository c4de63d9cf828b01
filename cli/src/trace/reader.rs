//! Reads a trace, front to back, and believes nothing: a damaged or cut trace is an error that
//! names the operation at which it shows, and no length in it is trusted beyond what a store would
//! take.

use super::{Change, Digest, MAGIC, MAX_JSON_BYTES, MAX_VALUE_BYTES, Op, Value, kind};
use crate::failure::{Context, Failure, Outcome};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};

/// The part of the footer that a replay is held against.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    pub(crate) ops: u64,
    pub(crate) live: Digest,
    /// Entries that have expired by this virtual time are not live.
    pub(crate) end_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    input: R,
    maps: usize,
    /// Whole operations read so far.
    ops: u64,
    last_ms: u64,
    footer: Option<Footer>,
}

/// A trace in a file, or on stdin for `-`.
pub(crate) fn open(path: &str) -> Outcome<Reader<Box<dyn Read>>> {
    let input: Box<dyn Read> = if path == "-" {
        Box::new(BufReader::with_capacity(1 << 20, io::stdin().lock()))
    } else {
        let file = File::open(path)
            .context(format_args!("cannot read the trace {path}"))
            .map_err(|failure| failure.map_text(|text| text + "; make one with bwtree trace"))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    Reader::new(input)
}

impl<R: Read> Reader<R> {
    /// Reads the header. `input` should be buffered.
    pub(crate) fn new(input: R) -> Outcome<Self> {
        let mut reader = Self { input, maps: 0, ops: 0, last_ms: 0, footer: None };
        let mut magic = [0; 8];
        let known = reader.input.read_exact(&mut magic).is_ok() && &magic == MAGIC;
        if !known {
            return Err(Failure::new("this is not a trace; make one with bwtree trace"));
        }
        let length = u32::from_le_bytes(reader.array()?);
        let header = reader.json(length, "header")?;
        reader.maps = match header.get("maps").and_then(Json::as_array) {
            Some(maps) if (1..=255).contains(&maps.len()) => maps.len(),
            _ => return Err(Failure::new("damaged trace: its header names no maps; make it anew")),
        };
        Ok(reader)
    }

    fn damaged(&self, what: &str) -> Failure {
        let ops = self.ops;
        Failure::new(format!("damaged trace: {what} after {ops} operations; make the trace anew"))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Outcome {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("it is cut off"),
            _ => Failure::new(format!("cannot read on after {} operations: {error}", self.ops)),
        })
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn json(&mut self, length: u32, what: &str) -> Outcome<Json> {
        if length > MAX_JSON_BYTES {
            return Err(self.damaged(&format!("a {what} of {length} bytes")));
        }
        let bytes = self.bytes(length as usize)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| self.damaged(&format!("a {what} that is not JSON")))
    }

    /// The next operation; nothing after the last one, and from then on there is a footer.
    pub(crate) fn next_op(&mut self) -> Outcome<Option<Op>> {
        if self.footer.is_some() {
            return Ok(None);
        }
        let fixed: [u8; 16] = self.array()?;
        let [bits, map, k0, k1, v0, v1, v2, v3, time @ ..] = fixed;
        let key_bytes = u16::from_le_bytes([k0, k1]);
        let length = u32::from_le_bytes([v0, v1, v2, v3]);
        let at_ms = u64::from_le_bytes(time);
        if at_ms < self.last_ms {
            return Err(self.damaged("time that goes backwards"));
        }
        self.last_ms = at_ms;
        if bits == kind::END {
            self.read_footer(length, at_ms)?;
            return Ok(None);
        }
        if usize::from(map) >= self.maps {
            return Err(self.damaged(&format!("a map {map} that the header lacks")));
        }
        if length > MAX_VALUE_BYTES {
            return Err(self.damaged(&format!("a value of {length} bytes")));
        }
        let put = |bits: u8| bits & !(kind::EXPIRES | kind::SEEDED) == kind::PUT;
        let op = match bits {
            bits if put(bits) => self.read_put(bits, map, key_bytes, length, at_ms)?,
            kind::DELETE if length == 0 => {
                let key = self.bytes(usize::from(key_bytes))?;
                Op { at_ms, map, key, change: Change::Delete }
            }
            kind::DELETE => return Err(self.damaged("a delete with a value")),
            _ => return Err(self.damaged(&format!("an unknown record 0x{bits:02x}"))),
        };
        self.ops += 1;
        Ok(Some(op))
    }

    fn read_put(
        &mut self,
        bits: u8,
        map: u8,
        key_bytes: u16,
        length: u32,
        at_ms: u64,
    ) -> Outcome<Op> {
        let mut expire_at_ms = 0;
        if bits & kind::EXPIRES != 0 {
            expire_at_ms = u64::from_le_bytes(self.array()?);
            if expire_at_ms == 0 {
                return Err(self.damaged("an expiry time of 0"));
            }
        }
        let seed = match bits & kind::SEEDED {
            0 => None,
            _ => Some(u64::from_le_bytes(self.array()?)),
        };
        let key = self.bytes(usize::from(key_bytes))?;
        let value = match seed {
            Some(seed) => Value::Seeded { seed, length },
            None => Value::Full(self.bytes(length as usize)?),
        };
        Ok(Op { at_ms, map, key, change: Change::Put { value, expire_at_ms } })
    }

    fn read_footer(&mut self, length: u32, end_ms: u64) -> Outcome {
        let footer = self.json(length, "footer")?;
        let number = |name: &str| footer.get(name).and_then(Json::as_u64);
        let sum = footer.get("digest").and_then(Json::as_str);
        let sum = sum.and_then(|text| u64::from_str_radix(text, 16).ok());
        let (Some(ops), Some(keys), Some(bytes), Some(sum)) =
            (number("ops"), number("live_keys"), number("live_bytes"), sum)
        else {
            return Err(self.damaged("a footer without its counts"));
        };
        if ops != self.ops {
            return Err(self.damaged(&format!("an end whose footer counts {ops} operations")));
        }
        if !matches!(self.input.read(&mut [0]), Ok(0)) {
            return Err(self.damaged("bytes behind the end"));
        }
        self.footer = Some(Footer { ops, live: Digest { keys, bytes, sum }, end_ms });
        Ok(())
    }

    /// The footer.
    ///
    /// # Errors
    /// The trace has not been read to its end.
    pub(crate) fn footer(&self) -> Outcome<&Footer> {
        self.footer.as_ref().ok_or_else(|| self.damaged("no footer"))
    }
}
