//! How the program fails: one clear line, an exit code, and silence when the reader of our output
//! has gone away.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What happened and what to do about it, in one line.
    Message(String),
    /// Nobody reads our output any more (`bwtree scan ... | head`): an ordinary end.
    OutputClosed,
}

/// What a verb returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// Says the failure on stderr as one line and returns the exit code for it.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Message(text) => {
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                // If stderr is closed as well there is nobody left to tell.
                drop(writeln!(io::stderr().lock(), "bwtree: {line}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl From<bwtree::Error> for Failure {
    fn from(error: bwtree::Error) -> Self {
        Self::Message(error.to_string())
    }
}

/// Puts "what we were doing" before the text of an error.
pub(crate) trait Context<T> {
    fn context(self, doing: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, doing: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::Message(format!("{doing}: {error}")))
    }
}

/// The outcome of a write to stdout: a closed pipe is not an error of ours.
pub(crate) fn written(result: io::Result<()>) -> Outcome {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Message(format!("could not write the output: {error}")),
    })
}
