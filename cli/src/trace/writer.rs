//! Writes a trace.

use super::{Change, MAGIC, MAPS, Op, Parameters, Summary, Value, kind};
use serde_json::json;
use std::io::{self, Write};

#[derive(Debug)]
pub(crate) struct Writer<W> {
    out: W,
    /// One record's bytes; kept to save an allocation an operation.
    record: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header. `out` should be buffered.
    pub(crate) fn new(mut out: W, parameters: &Parameters) -> io::Result<Self> {
        let header = json!({
            "params": parameters.to_json(),
            "maps": MAPS.iter().map(|map| map.name).collect::<Vec<_>>(),
            "value_classes": MAPS.iter().map(|map| map.value_class).collect::<Vec<_>>(),
        })
        .to_string();
        out.write_all(MAGIC)?;
        out.write_all(&(header.len() as u32).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        Ok(Self { out, record: Vec::new() })
    }

    fn fixed(&mut self, kind: u8, map: u8, key_bytes: usize, bytes: usize, at_ms: u64) {
        self.record.clear();
        self.record.extend_from_slice(&[kind, map]);
        self.record.extend_from_slice(&(key_bytes as u16).to_le_bytes());
        self.record.extend_from_slice(&(bytes as u32).to_le_bytes());
        self.record.extend_from_slice(&at_ms.to_le_bytes());
    }

    pub(crate) fn write(&mut self, op: &Op) -> io::Result<()> {
        match &op.change {
            Change::Delete => {
                self.fixed(kind::DELETE, op.map, op.key.len(), 0, op.at_ms);
                self.record.extend_from_slice(&op.key);
            }
            Change::Put { value, expire_at_ms } => {
                let expires = if *expire_at_ms > 0 { kind::EXPIRES } else { 0 };
                let seeded = if matches!(value, Value::Seeded { .. }) { kind::SEEDED } else { 0 };
                let bits = kind::PUT | expires | seeded;
                self.fixed(bits, op.map, op.key.len(), value.len(), op.at_ms);
                if *expire_at_ms > 0 {
                    self.record.extend_from_slice(&expire_at_ms.to_le_bytes());
                }
                if let Value::Seeded { seed, .. } = value {
                    self.record.extend_from_slice(&seed.to_le_bytes());
                }
                self.record.extend_from_slice(&op.key);
                if let Value::Full(bytes) = value {
                    self.record.extend_from_slice(bytes);
                }
            }
        }
        self.out.write_all(&self.record)
    }

    /// Writes the end record with the footer, and flushes.
    pub(crate) fn finish(mut self, summary: &Summary) -> io::Result<W> {
        let footer = summary.to_json().to_string();
        self.fixed(kind::END, 0, 0, footer.len(), summary.end_ms);
        self.record.extend_from_slice(footer.as_bytes());
        self.out.write_all(&self.record)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
