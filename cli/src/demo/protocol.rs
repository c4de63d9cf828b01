//! What a writing child tells its parent, a line a message. A line without its end (the child was
//! killed while writing) is no message.

use crate::latency::Histogram;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Message {
    /// A sync has returned: of each lane so many operations are durable.
    Ack { positions: Vec<u64> },
    /// How it goes: time since the first operation, bytes written, latencies of all puts so far.
    Pace(Pace),
    /// Everything is in, synced and closed.
    Done,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    pub(crate) elapsed: Duration,
    /// Nothing where the system does not tell.
    pub(crate) written_bytes: Option<u64>,
    pub(crate) puts: Histogram,
}

pub(crate) fn join(positions: &[u64]) -> String {
    positions.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

pub(crate) fn split(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|number| number.parse().ok()).collect()
}

impl Message {
    /// The message as a line with its end.
    pub(crate) fn to_line(&self) -> String {
        match self {
            Self::Ack { positions } => format!("ack {}\n", join(positions)),
            Self::Pace(pace) => {
                let written = pace.written_bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
                let nanos = pace.elapsed.as_nanos();
                format!("pace {nanos} {written} {}\n", pace.puts.to_text())
            }
            Self::Done => "done\n".to_owned(),
        }
    }

    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let message = match words.next()? {
            "ack" => Self::Ack { positions: split(words.next()?)? },
            "pace" => Self::Pace(Pace {
                elapsed: Duration::from_nanos(words.next()?.parse().ok()?),
                written_bytes: words.next()?.parse().ok(),
                puts: Histogram::from_text(words.next()?)?,
            }),
            "done" => Self::Done,
            _ => return None,
        };
        words.next().is_none().then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let mut puts = Histogram::default();
        puts.record(Duration::from_micros(5));
        let elapsed = Duration::from_millis(12);
        for message in [
            Message::Ack { positions: vec![3, 0, 99] },
            Message::Pace(Pace { elapsed, written_bytes: Some(7), puts }),
            Message::Pace(Pace { elapsed, ..Pace::default() }),
            Message::Done,
        ] {
            let line = message.to_line();
            assert_eq!(Message::from_line(&line).map(|back| back.to_line()), Some(line));
        }
    }

    #[test]
    fn half_a_line_is_no_message() {
        for bad in ["ack 12,3", "", "\n", "ack\n", "ack 1,\n", "done now\n", "pace 1 2\n"] {
            assert!(Message::from_line(bad).is_none(), "{bad:?}");
        }
    }
}
