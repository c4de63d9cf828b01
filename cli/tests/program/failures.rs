//! How the real program fails: one line, an exit code, and quietly when nobody reads on.

use crate::run::{bwtree, command, feed, numbered};
use std::io::Read;
use std::process::Stdio;

#[test]
fn mistakes_of_usage_exit_with_two() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["fly"], &["get"], &["scan", "DIR", "--limit", "x"]] {
        let ended = bwtree(dir.path(), arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.refused();
    }
    assert!(bwtree(dir.path(), &["--help"]).ok().contains("demo"));
    assert!(bwtree(dir.path(), &["--version"]).ok().starts_with("bwtree "));
    assert!(!bwtree(dir.path(), &["--help"]).ok().contains("demo-writer"));
}

#[test]
fn a_missing_store_is_said_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for verb in ["count", "dump", "scan", "trees", "stat", "verify", "clean", "checkpoint"] {
        let line = bwtree(dir.path(), &[verb, "DIR/none"]).refused();
        assert!(line.contains("no store"), "{verb}: {line}");
    }
    for arguments in [["get", "DIR/none", "k"], ["del", "DIR/none", "k"]] {
        assert!(bwtree(dir.path(), &arguments).refused().contains("no store"));
    }
    assert!(!dir.path().join("none").exists());
    std::fs::write(dir.path().join("file"), b"text").unwrap();
    assert!(bwtree(dir.path(), &["count", "DIR/file"]).refused().contains("is a file"));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    bwtree(dir.path(), &["count", "DIR/empty"]).refused();
    assert_eq!(std::fs::read_dir(dir.path().join("empty")).unwrap().count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_a_dump_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let text = numbered(40_000);
    feed(dir.path(), &["load", "DIR/s"], text.as_bytes()).ok();
    let mut child = command(dir.path(), &["dump", "DIR/s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"000000\tv");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_missing_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["load", "DIR/s", "DIR/nowhere.tsv"][..],
        &["replay", "DIR/nowhere.bin", "--dir", "DIR/s"],
        &["trace", "--verify", "DIR/nowhere.bin"],
    ] {
        assert!(bwtree(dir.path(), arguments).refused().contains("nowhere"), "{arguments:?}");
    }
    assert!(!dir.path().join("s").exists());
}
