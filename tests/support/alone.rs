//! A test's case in a process of its own, whose memory is looked at from outside.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The case that a child is to run.
const CASE: &str = "BWTREE_CASE";

/// The case that this process is to run; `None` in the process of the tests.
#[must_use]
pub fn case() -> Option<String> {
    std::env::var(CASE).ok()
}

/// Runs one case of the test of this name, in this program, until it ends; returns the most bytes
/// that its process has had in memory, as `/proc` told every five milliseconds.
///
/// # Errors
/// If the case fails, how its process ended.
pub fn alone(test: &str, case: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .stdin(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let statm = format!("/proc/{}/statm", child.id());
    let mut peak = 0;
    loop {
        let told = std::fs::read_to_string(&statm).unwrap_or_default();
        let pages = told.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        peak = peak.max(pages.unwrap_or(0) * 4096);
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Ok(Some(status)) if status.success() => return Ok(peak),
            other => return Err(format!("{test}, {case}: {other:?}")),
        }
    }
}

/// Runs these cases of a test, one after the other.
///
/// # Panics
/// At the end, if any has failed or has had more in memory than this.
#[expect(clippy::print_stdout, reason = "a test says what it has measured")]
pub fn all_alone<'a>(test: &str, cases: impl IntoIterator<Item = &'a str>, most_bytes: u64) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut wrong = Vec::new();
    for case in cases {
        match alone(test, case) {
            Ok(peak) => {
                println!("{case}: {:.1} MiB in memory of {:.1}", mib(peak), mib(most_bytes));
                if peak > most_bytes {
                    wrong.push(format!("{case}: {:.1} MiB", mib(peak)));
                }
            }
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
