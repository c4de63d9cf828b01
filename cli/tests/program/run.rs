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
        assert!(matches!(self.code, Some(1 | 2)), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("bwtree: "), "{}", self.stderr);
        self.stderr
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

/// So many lines of TSV, in order.
pub(crate) fn numbered(lines: u32) -> String {
    let mut text = String::new();
    for i in 0..lines {
        writeln!(text, "{i:06}\tvalue {i}").unwrap();
    }
    text
}
