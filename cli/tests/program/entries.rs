//! Entries in and out through the real program: put, get, del, scan, count, trees, load, dump.

use crate::run::{bwtree, feed};
use std::fmt::Write;

fn lines(range: std::ops::Range<u32>) -> String {
    let mut text = String::new();
    for i in range {
        writeln!(text, "key{i:05}\tvalue {i} \u{e9}\\t\\\\\\xff").unwrap();
    }
    text
}

#[test]
fn one_entry_lives_and_dies() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    assert_eq!(run(&["put", "DIR/s", "a\\tb", "v\\xff\\n"]).ok(), "");
    assert_eq!(run(&["get", "DIR/s", "a\\tb"]).ok(), "v\\xff\\n\n");
    assert_eq!(run(&["get", "DIR/s", "a\\tb", "--raw"]).stdout, b"v\xff\n");
    let json = run(&["get", "DIR/s", "a\\tb", "--json"]).json();
    assert_eq!((json["k"].as_str(), json["v64"].as_str()), (Some("a\tb"), Some("dv8K")));
    assert_eq!(run(&["count", "DIR/s"]).ok(), "1\n");
    assert_eq!(run(&["trees", "DIR/s"]).ok(), "default\n");
    assert_eq!(run(&["del", "DIR/s", "a\\tb"]).ok(), "removed\n");
    assert_eq!(run(&["del", "DIR/s", "a\\tb", "--json"]).json()["removed"], false);
    let line = run(&["get", "DIR/s", "a\\tb"]).refused();
    assert!(line.contains("no key a\\tb"), "{line}");
    assert_eq!(run(&["count", "DIR/s", "--json"]).json()["entries"], 0);
}

#[test]
fn a_sorted_file_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.tsv");
    let mut text = lines(0..3_000);
    text.push_str("key99999\t\n");
    text.insert_str(0, "\u{1}control\traw \u{7f} stays\n");
    std::fs::write(&path, &text).unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    let loaded = run(&["load", "DIR/s", "--tree", "t", "DIR/in.tsv", "--json"]).json();
    assert_eq!(loaded["loaded"], 3_002);
    assert_eq!(run(&["dump", "DIR/s", "--tree", "t"]).ok(), text);
    assert_eq!(run(&["scan", "DIR/s", "--tree", "t"]).ok(), text);

    let ndjson = run(&["dump", "DIR/s", "--tree", "t", "--format", "ndjson"]).ok();
    assert_eq!(run(&["dump", "DIR/s", "--tree", "t", "--json"]).ok(), ndjson);
    let load = ["load", "DIR/other", "--format", "ndjson"];
    feed(dir.path(), &load, ndjson.as_bytes()).ok();
    assert_eq!(run(&["dump", "DIR/other"]).ok(), text);
    assert_eq!(run(&["dump", "DIR/other", "--json"]).ok(), ndjson);
}

#[test]
fn a_scan_takes_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    feed(dir.path(), &["load", "DIR/s"], lines(0..1_000).as_bytes()).ok();
    let scan = |arguments: &[&str]| {
        let all = [&["scan", "DIR/s"], arguments].concat();
        bwtree(dir.path(), &all).ok()
    };
    assert_eq!(scan(&["--from", "key00990"]), lines(990..1_000));
    assert_eq!(scan(&["--to", "key00003"]), lines(0..3));
    assert_eq!(scan(&["--prefix", "key0012"]), lines(120..130));
    assert_eq!(scan(&["--prefix", "key0012", "--from", "key00125"]), lines(125..130));
    assert_eq!(scan(&["--from", "key00500", "--limit", "4"]), lines(500..504));
    assert_eq!(scan(&["--from", "key00005", "--to", "key00004"]), "");
    assert_eq!(scan(&["--limit", "0"]), "");
    let reversed = scan(&["--reverse", "--limit", "5"]);
    assert!(reversed.lines().rev().eq(lines(995..1_000).lines()), "{reversed}");
    assert_eq!(scan(&["--limit", "2", "--json"]).lines().count(), 2);
}

#[test]
fn a_bad_line_is_named_and_those_before_it_stay() {
    let dir = tempfile::tempdir().unwrap();
    for (bad, part) in [("no tab here", "no tab"), ("a\tb\tc", "second tab"), ("a\t\\q", "\\q")] {
        let text = format!("{}{bad}\n{}", lines(0..10), lines(20..30));
        let line = feed(dir.path(), &["load", "DIR/s"], text.as_bytes()).refused();
        assert!(line.contains("line 11") && line.contains(part), "{line}");
        assert_eq!(bwtree(dir.path(), &["dump", "DIR/s"]).ok(), lines(0..10));
    }
    let key = "k".repeat(5_000);
    let line = feed(dir.path(), &["load", "DIR/s"], format!("{key}\tv\n").as_bytes()).refused();
    assert!(line.contains("line 1"), "{line}");
}

#[test]
fn trees_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    for tree in ["one", "two"] {
        run(&["put", "DIR/s", "key", tree, "--tree", tree]).ok();
    }
    assert_eq!(run(&["get", "DIR/s", "key", "--tree", "one"]).ok(), "one\n");
    assert_eq!(run(&["get", "DIR/s", "key", "--tree", "two"]).ok(), "two\n");
    assert_eq!(run(&["trees", "DIR/s"]).ok(), "one\ntwo\n");
    assert_eq!(run(&["trees", "DIR/s", "--json"]).json()["trees"][1], "two");
    assert!(run(&["count", "DIR/s", "--tree", "three"]).refused().contains("three"));
}
