//! How the program fails: one clear line, an exit code that a script can act on, and silence when
//! the reader of our output has gone away.

use crate::escape;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit codes, as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  any other failure
  2  the command line makes no sense
  3  no such key, tree or store
  4  the store is damaged
  5  the store is open elsewhere
  6  the disk is full";

/// Kind of a failure, which its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Damaged = 4,
    Locked = 5,
    DiskFull = 6,
}

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What happened and what to do about it, in one line.
    Message { kind: Kind, text: String },
    /// Our output is no longer read (`bwtree scan ... | head`): an ordinary end.
    OutputClosed,
}

/// What a verb returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::of(Kind::Other, text)
    }

    pub(crate) fn of(kind: Kind, text: impl Into<String>) -> Self {
        Self::Message { kind, text: text.into() }
    }

    /// The failure with its text changed, of the same kind.
    pub(crate) fn map_text(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Message { kind, text } => Self::Message { kind, text: change(text) },
            Self::OutputClosed => self,
        }
    }

    /// Prints the failure on stderr as one line, without control characters whatever a key, a file
    /// or a tree is called, and returns its exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Message { kind, text } => {
                // If stderr is closed as well, there is no place left to report to.
                drop(writeln!(io::stderr().lock(), "bwtree: {}", one_line(&text)));
                ExitCode::from(kind as u8)
            }
        }
    }
}

fn one_line(text: &str) -> String {
    escape::printable(text.split_whitespace().collect::<Vec<_>>().join(" ").as_bytes())
}

/// Failures that know their kind and the whole chain of their causes.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(kind(&error), in_verbs(&chain(&error)))
    }
}

/// What the library advises, and what that is on the command line.
const ADVICE: [(&str, &str); 3] = [
    ("give these keys up by remove_range over all of them", "give these keys up by bwtree del"),
    (
        "allow its creation, or check the path",
        "bwtree put, load or replay makes one; or check the path",
    ),
    ("reopen the store", "run it again"),
];

/// The text of an error, with the verbs of the program where the library names its calls.
fn in_verbs(text: &str) -> String {
    let change = |text: String, (call, verb): (&str, &str)| text.replace(call, verb);
    ADVICE.into_iter().fold(text.to_owned(), change)
}

/// The text of an error and of its sources. A source that the text has in it already, as the
/// library's errors do, is not repeated.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Kind of an error, by its type or by that of the first source that tells.
fn kind(error: &(dyn Error + 'static)) -> Kind {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = if let Some(error) = error.downcast_ref::<bwtree::Error>() {
            kind_of_store(error)
        } else if let Some(error) = error.downcast_ref::<bwtree::LogError>() {
            kind_of_log(error)
        } else if let Some(error) = error.downcast_ref::<io::Error>() {
            kind_of_io(error)
        } else {
            Kind::Other
        };
        if found != Kind::Other {
            return found;
        }
        next = error.source();
    }
    Kind::Other
}

fn kind_of_store(error: &bwtree::Error) -> Kind {
    match error {
        bwtree::Error::Corrupt { .. } | bwtree::Error::Damaged { .. } => Kind::Damaged,
        bwtree::Error::NoSuchTree { .. } => Kind::NotFound,
        bwtree::Error::Log(error) => kind_of_log(error),
        // All options come from the command line.
        bwtree::Error::InvalidOption { .. }
        | bwtree::Error::KeyTooLong { .. }
        | bwtree::Error::TreeName { .. } => Kind::Usage,
        _ => Kind::Other,
    }
}

fn kind_of_log(error: &bwtree::LogError) -> Kind {
    match error {
        bwtree::LogError::Io { source, .. }
        | bwtree::LogError::Refused { source, .. }
        | bwtree::LogError::Denied { source, .. } => kind_of_io(source),
        bwtree::LogError::Poisoned { cause } => kind_of_log(cause),
        bwtree::LogError::Corrupt { .. } => Kind::Damaged,
        bwtree::LogError::Locked { .. } => Kind::Locked,
        bwtree::LogError::Full { .. } => Kind::DiskFull,
        bwtree::LogError::Missing { .. } | bwtree::LogError::NotAStore { .. } => Kind::NotFound,
        _ => Kind::Other,
    }
}

fn kind_of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        _ => Kind::Other,
    }
}

/// Puts "what we were doing" before the text of an error.
pub(crate) trait Context<T> {
    fn context(self, doing: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Context<T> for Result<T, E> {
    fn context(self, doing: impl Display) -> Outcome<T> {
        self.map_err(|error| error.into().map_text(|text| format!("{doing}: {text}")))
    }
}

/// The outcome of a write to stdout: a closed pipe is not an error of ours.
pub(crate) fn written(result: io::Result<()>) -> Outcome {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::from(error).map_text(|text| format!("could not write the output: {text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bwtree::LogError;
    use std::sync::Arc;

    fn told(error: impl Into<Failure>) -> (Kind, String) {
        match error.into() {
            Failure::Message { kind, text } => (kind, text),
            Failure::OutputClosed => panic!("no message"),
        }
    }

    #[test]
    fn a_source_is_told_once() {
        let source = Arc::new(io::Error::other("the cable is out"));
        let io = LogError::Io { op: "write", file: "seg-1".to_owned(), source };
        let poisoned = LogError::Poisoned { cause: Arc::new(io) };
        let (kind, text) = told(bwtree::Error::Log(poisoned));
        assert_eq!((kind, text.matches("the cable is out").count()), (Kind::Other, 1), "{text}");
        assert_eq!(text.matches("seg-1").count(), 1, "{text}");
    }

    #[test]
    fn a_source_that_the_text_leaves_out_is_added() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("cannot write")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let full = Outer(io::Error::from(io::ErrorKind::StorageFull));
        let (kind, text) = told(full);
        assert_eq!(kind, Kind::DiskFull);
        assert!(text.starts_with("cannot write: "), "{text}");
    }

    #[test]
    fn a_poisoned_log_has_the_kind_of_its_first_failure() {
        let full = || LogError::of_call("write", "seg-1", io::ErrorKind::StorageFull.into());
        let corrupt = LogError::Corrupt { file: "f".to_owned(), offset: 1, what: "w".to_owned() };
        let locked =
            LogError::Locked { path: "p".to_owned(), owner: "o".to_owned(), advice: "close it" };
        for (error, want) in [
            (full(), Kind::DiskFull),
            (LogError::Poisoned { cause: Arc::new(full()) }, Kind::DiskFull),
            (corrupt, Kind::Damaged),
            (locked, Kind::Locked),
            (LogError::Missing { path: "p".to_owned() }, Kind::NotFound),
            (LogError::ReadOnly, Kind::Other),
        ] {
            assert_eq!(told(bwtree::Error::Log(error.clone())).0, want, "{error}");
        }
    }

    #[test]
    fn advice_names_verbs() {
        let dir = tempfile::tempdir().unwrap();
        let missing = bwtree::Db::builder(dir.path()).create(false).open().unwrap_err();
        assert!(told(missing).1.contains("bwtree put, load or replay"));
        let poisoned = LogError::Poisoned { cause: Arc::new(LogError::ReadOnly) };
        assert!(told(bwtree::Error::Log(poisoned)).1.ends_with("run it again"));
    }

    #[test]
    fn a_report_is_one_line_without_control_characters() {
        let line = one_line("no key \u{1b}[31mred\u{7}\nat \u{9b}2J");
        assert_eq!(line, "no key \\x1b[31mred\\x07 at \\xc2\\x9b2J");
    }
}
