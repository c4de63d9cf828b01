//! Runs the real program.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// The output of a run that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.stderr, "");
        String::from_utf8(self.stdout).unwrap()
    }

    /// The last line of an output that must be JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    /// The one line on stderr of a run that must have failed.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(matches!(self.code, Some(1..=6)), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("bwtree: "), "{}", self.stderr);
        self.stderr
    }
}

impl Ended {
    /// As [`refused`](Self::refused), with this exit code.
    #[track_caller]
    pub(crate) fn refused_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.refused()
    }
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The program with these arguments; `DIR` stands for `dir`.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bwtree"));
    for argument in arguments {
        command.arg(argument.replace("DIR", dir.to_str().unwrap()));
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn bwtree(dir: &Path, arguments: &[&str]) -> Ended {
    ended(command(dir, arguments).output().unwrap())
}

/// A run that reads `input` on stdin.
pub(crate) fn feed(dir: &Path, arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = command(dir, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may stop reading at a bad line: that is its right.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    ended(output)
}

/// What a run of the program prints on a terminal; nothing where `script` makes none.
pub(crate) fn on_a_terminal(dir: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let program = std::iter::once(quoted(env!("CARGO_BIN_EXE_bwtree")));
    let dir = dir.to_str()?;
    let words = arguments.iter().map(|argument| quoted(&argument.replace("DIR", dir)));
    let line = program.chain(words).collect::<Vec<_>>().join(" ");
    let mut run = Command::new("script");
    let output = run.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().ok()?;
    (!output.stdout.is_empty()).then_some(output.stdout)
}

/// So many lines of TSV, in order.
pub(crate) fn numbered(lines: u32) -> String {
    let mut text = String::new();
    for i in 0..lines {
        writeln!(text, "{i:06}\tvalue {i}").unwrap();
    }
    text
}
