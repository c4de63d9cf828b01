//! Output: buffered lines and JSON on stdout, progress on a stderr that is a terminal.
//!
//! What reaches a terminal passes [`for_terminal`], so that no stored byte can steer it.

use crate::escape;
use crate::failure::{Outcome, written};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Machine readable or for people.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Format {
    /// Print JSON on stdout instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// A locked, buffered stdout. Call `finish` at the end, so that a failed flush is seen.
#[derive(Debug)]
pub(crate) struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        Self { writer: BufWriter::with_capacity(1 << 16, stdout), is_terminal }
    }

    /// Writes whole characters: as they are, or, to a terminal, without what would steer it.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        written(self.writer.write_all(&for_terminal(bytes, self.is_terminal)))
    }

    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn json(&mut self, value: &Value) -> Outcome {
        self.line(&json_text(value))
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        written(self.writer.flush())
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.flush()
    }
}

/// What is written for `bytes`: on a terminal control characters but tabs and line ends are `\xNN`.
fn for_terminal(bytes: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    if is_terminal {
        Cow::Owned(escape::printable_but(bytes, &['\t', '\n']).into_bytes())
    } else {
        Cow::Borrowed(bytes)
    }
}

/// JSON in which the control characters that JSON allows in a string are `\uNNNN` as well.
fn json_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(escape::is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if escape::is_control(letter) {
            // All of them have 16 bits. Writing to a string cannot fail.
            let _infallible = write!(escaped, "\\u{:04x}", u32::from(letter));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// Prints one JSON object, or the text that `text` makes.
pub(crate) fn answer(format: Format, value: &Value, text: impl FnOnce() -> String) -> Outcome {
    let mut out = Out::new();
    if format.json {
        out.json(value)?;
    } else {
        let text = text();
        if !text.is_empty() {
            out.line(text.trim_end_matches('\n'))?;
        }
    }
    out.finish()
}

/// What a progress bar counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Bytes,
    /// Things of this name.
    Of(&'static str),
}

/// A progress bar over `length` steps on stderr, with the rate, and the time to the end where it is
/// known; invisible when stderr is not a terminal.
pub(crate) fn progress(length: Option<u64>, what: &'static str, unit: Unit) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(&template(length.is_some(), unit));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(what)
}

fn template(known: bool, unit: Unit) -> String {
    let (position, length, rate) = match unit {
        Unit::Bytes => ("{binary_bytes}", "{binary_total_bytes}", "{binary_bytes_per_sec}".into()),
        Unit::Of(name) => ("{human_pos}", "{human_len}", format!("{name}, {{per_sec}}")),
    };
    if known {
        format!("{{prefix}} {{wide_bar}} {position} of {length} {rate}, {{eta}} left {{msg}}")
    } else {
        format!("{{prefix}} {{spinner}} {position} {rate}, {{elapsed}} {{msg}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_terminal_is_spared_control_bytes() {
        let bytes = b"k\x1b[2J\0\tv\xff\n";
        assert_eq!(&*for_terminal(bytes, false), bytes);
        assert_eq!(&*for_terminal(bytes, true), b"k\\x1b[2J\\x00\tv\\xff\n");
    }

    #[test]
    fn json_holds_no_control_character_and_reads_back() {
        let value = json!({ "k": "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e9}\n" });
        let text = json_text(&value);
        assert!(!text.contains(escape::is_control), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_bar_shows_unit_rate_and_time() {
        for (known, unit, parts) in [
            (true, Unit::Bytes, ["binary_bytes", "binary_bytes_per_sec", "eta"]),
            (false, Unit::Of("entries"), ["entries", "per_sec", "elapsed"]),
        ] {
            let template = template(known, unit);
            assert!(ProgressStyle::with_template(&template).is_ok(), "{template}");
            assert!(parts.iter().all(|part| template.contains(part)), "{template}");
        }
    }
}
