//! Output: buffered lines and JSON on stdout, progress on stderr when somebody watches.

use crate::failure::{Outcome, written};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
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
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { writer: BufWriter::with_capacity(1 << 16, io::stdout().lock()) }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        written(self.writer.write_all(bytes))
    }

    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn json(&mut self, value: &Value) -> Outcome {
        self.line(&value.to_string())
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        written(self.writer.flush())
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.flush()
    }
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

/// A progress bar over `length` steps on stderr; invisible when stderr is not a terminal.
pub(crate) fn progress(length: Option<u64>, what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{prefix} {wide_bar} {human_pos}/{human_len}"),
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {human_pos} {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(what)
}
