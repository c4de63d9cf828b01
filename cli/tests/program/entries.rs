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
    assert_eq!(run(&["dump", "DIR/other", "--tree", "default"]).ok(), text);
    assert_eq!(run(&["dump", "DIR/other", "--tree", "default", "--json"]).ok(), ndjson);
}

#[test]
fn a_dump_of_all_trees_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    for (tree, text) in [("default", lines(0..50)), ("odd\\tname", lines(20..400))] {
        feed(dir.path(), &["load", "DIR/s", "--tree", tree], text.as_bytes()).ok();
    }
    feed(dir.path(), &["load", "DIR/s", "--tree", "empty"], b"").ok();
    assert_eq!(run(&["trees", "DIR/s"]).ok(), "default\nempty\nodd\\tname\n");
    let text = run(&["dump", "DIR/s"]).ok();
    let want = format!(
        "# tree default\n{}# tree empty\n# tree odd\\tname\n{}",
        lines(0..50),
        lines(20..400)
    );
    assert_eq!(text, want);
    let json = run(&["dump", "DIR/s", "--json"]).ok();
    assert!(json.starts_with("{\"tree\":\"default\"}\n"), "{json}");
    for (form, all) in [("tsv", &text), ("ndjson", &json)] {
        let store = format!("DIR/{form}");
        feed(dir.path(), &["load", &store, "--format", form], all.as_bytes()).ok();
        assert_eq!(run(&["dump", &store]).ok(), text);
    }
    let refused = feed(dir.path(), &["load", "DIR/x", "--tree", "t"], text.as_bytes()).refused();
    assert!(refused.contains("line 1") && refused.contains("--tree"), "{refused}");
}

#[test]
fn a_value_comes_from_stdin_from_a_file_and_from_behind_dashes() {
    let dir = tempfile::tempdir().unwrap();
    let get = |key: &str| bwtree(dir.path(), &["get", "DIR/s", "--raw", "--", key]).stdout;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    feed(dir.path(), &["put", "DIR/s", "piped", "-"], &bytes).ok();
    assert_eq!(get("piped"), bytes);
    std::fs::write(dir.path().join("v.bin"), b"\\x41\n\0").unwrap();
    bwtree(dir.path(), &["put", "DIR/s", "filed", "--value-file", "DIR/v.bin"]).ok();
    assert_eq!(get("filed"), b"\\x41\n\0");
    bwtree(dir.path(), &["put", "DIR/s", "--", "-k", "-5"]).ok();
    assert_eq!(get("-k"), b"-5");
    let line = bwtree(dir.path(), &["put", "DIR/s", "k", "-5"]).refused_with(2);
    assert!(line.contains("put DIR -- KEY -5"), "{line}");
    let line = bwtree(dir.path(), &["put", "DIR/new", "k", "--value-file", "DIR/no"]).refused();
    assert!(line.contains("cannot read") && !dir.path().join("new").exists(), "{line}");
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
    for (range, want) in [
        (&["--prefix", "key0012"][..], "10\n"),
        (&["--from", "key00990"], "10\n"),
        (&["--from", "key00005", "--to", "key00004"], "0\n"),
        (&[], "1000\n"),
    ] {
        let counted = bwtree(dir.path(), &[&["count", "DIR/s"], range].concat()).ok();
        assert_eq!(counted, want, "{range:?}");
    }
}

#[test]
fn a_bad_line_is_named_and_those_before_it_stay() {
    let dir = tempfile::tempdir().unwrap();
    for (bad, part) in [("no tab here", "no tab"), ("a\tb\tc", "second tab"), ("a\t\\q", "\\q")] {
        let text = format!("{}{bad}\n{}", lines(0..10), lines(20..30));
        let line = feed(dir.path(), &["load", "DIR/s"], text.as_bytes()).refused();
        assert!(line.contains("line 11") && line.contains(part), "{line}");
        assert!(line.contains("10 lines are loaded, 10 of them synced"), "{line}");
        assert!(
            line.contains("--skip 10") && line.contains("leave it out with --skip 11"),
            "{line}"
        );
        assert_eq!(bwtree(dir.path(), &["scan", "DIR/s"]).ok(), lines(0..10));
    }
    // What the store refuses is refused again.
    let key = "k".repeat(5_000);
    let line = feed(dir.path(), &["load", "DIR/s"], format!("{key}\tv\n").as_bytes()).refused();
    assert!(line.contains("line 1") && line.contains("leave it out with --skip 1"), "{line}");
}

#[test]
fn a_load_that_is_refused_makes_no_tree() {
    let dir = tempfile::tempdir().unwrap();
    let line =
        feed(dir.path(), &["load", "DIR/s", "--tree", "mine"], b"# tree t\na\tb\n").refused();
    assert!(line.contains("leave out --tree"), "{line}");
    assert_eq!(bwtree(dir.path(), &["trees", "DIR/s"]).ok(), "");
    let loaded = feed(dir.path(), &["load", "DIR/s", "--tree", "mine"], b"a\tb\n").ok();
    assert!(loaded.starts_with("loaded 1 entry in "), "{loaded}");
}

#[test]
fn a_load_goes_on_behind_the_lines_it_skips() {
    let dir = tempfile::tempdir().unwrap();
    let head = "# tree t\n";
    let text = format!("{head}{}bad\n{}", lines(0..10), lines(20..30));
    let failed = feed(dir.path(), &["load", "DIR/s", "--json"], text.as_bytes());
    let told: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(
        (&told["ok"], &told["lines"], &told["loaded"]),
        (&false.into(), &11.into(), &10.into())
    );
    assert_eq!(told["synced_lines"], 11);
    let line = failed.refused();
    assert!(line.contains("stdin, line 12") && line.contains("--skip 11"), "{line}");
    // The bad line is skipped as well, and the line that names the tree still counts.
    let resume = ["load", "DIR/s", "--skip", "12", "--memory-budget", "4m", "--json"];
    assert_eq!(feed(dir.path(), &resume, text.as_bytes()).json()["loaded"], 10);
    let want = format!("{}{}", lines(0..10), lines(20..30));
    assert_eq!(bwtree(dir.path(), &["scan", "DIR/s", "--tree", "t"]).ok(), want);
    // Of another file, then.
    let line = feed(dir.path(), &["load", "DIR/s", "--skip", "30"], text.as_bytes());
    let line = line.refused_with(2);
    assert!(line.contains("ends at line 22") && line.contains("over 30"), "{line}");
    let options =
        [["load", "DIR/s", "--memory-budget", "9"], ["clean", "DIR/s", "--target-ratio", "0.5"]];
    for (options, part) in options.iter().zip(["memory budget", "target ratio"]) {
        let line = feed(dir.path(), options, b"").refused_with(2);
        assert!(line.contains(part), "{line}");
    }
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
