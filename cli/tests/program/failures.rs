//! How the real program fails: one line, an exit code that says why, and quietly when its output is
//! no longer read.

use crate::run::{bwtree, command, feed, numbered, on_a_terminal};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// A key, a value and a name that would clear a terminal and more.
const HOSTILE: &str = "a\u{1b}[2J\u{7}\u{9b}31m\u{7f}\u{202e}z";

/// Whether the bytes hold what steers a terminal, line ends and tabs apart.
fn steers(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains(|letter: char| {
        letter.is_control() && !"\t\r\n".contains(letter) || letter == '\u{202e}'
    })
}

#[test]
fn stored_bytes_do_not_steer_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    feed(dir.path(), &["put", "DIR/s", HOSTILE, "-", "--tree", HOSTILE], b"v\x1b[2J\0").ok();
    let tree = ["--tree", HOSTILE];
    let piped = bwtree(dir.path(), &[&["get", "DIR/s", HOSTILE, "--raw"], &tree[..]].concat());
    assert_eq!(piped.stdout, b"v\x1b[2J\0");
    for arguments in [
        &["get", "DIR/s", HOSTILE][..],
        &["get", "DIR/s", HOSTILE, "--raw"],
        &["get", "DIR/s", HOSTILE, "--json"],
        &["scan", "DIR/s"],
        &["scan", "DIR/s", "--json"],
        &["dump", "DIR/s"],
        &["get", "DIR/s", "missing"],
    ] {
        let arguments = [arguments, &tree].concat();
        let Some(seen) = on_a_terminal(dir.path(), &arguments) else {
            println!("skipped: script(1) makes no terminal here");
            return;
        };
        assert!(!steers(&seen), "{arguments:?}: {:?}", String::from_utf8_lossy(&seen));
    }
    for verb in ["dump", "trees", "stat"] {
        let seen = on_a_terminal(dir.path(), &[verb, "DIR/s"]).unwrap();
        assert!(!steers(&seen) && seen.windows(4).any(|part| part == b"\\x1b"), "{verb}");
    }
}

#[test]
fn no_message_holds_a_control_byte() {
    let dir = tempfile::tempdir().unwrap();
    bwtree(dir.path(), &["put", "DIR/s", "k", "v"]).ok();
    let path = format!("DIR/{HOSTILE}");
    for arguments in [
        &["get", "DIR/s", HOSTILE][..],
        &["get", "DIR/s", "k", "--tree", HOSTILE],
        &["get", &path, "k"],
        &["load", "DIR/s", &path],
        &["put", "DIR/s", "k", "--value-file", &path],
        &["replay", &path, "--dir", "DIR/r"],
        &["trace", "-o", &format!("{path}/x")],
        &[HOSTILE],
        &["get", "DIR/s", "k", &format!("--{HOSTILE}")],
    ] {
        let line = bwtree(dir.path(), arguments).refused();
        assert!(!steers(line.as_bytes()) && line.contains("\\xc2\\x9b"), "{line:?}");
    }
    let bad = format!("k\t\\{HOSTILE}\n");
    let line = feed(dir.path(), &["load", "DIR/s"], bad.as_bytes()).refused();
    assert!(!steers(line.as_bytes()), "{line:?}");
}

/// Changes a byte of the one place in the store's files that holds `text`.
fn damage(store: &Path, text: &[u8]) {
    for entry in fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|part| part == text) {
            bytes[at] ^= 1;
            return fs::write(path, bytes).unwrap();
        }
    }
    panic!("no file holds the text");
}

#[test]
fn the_exit_code_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    feed(dir.path(), &["load", "DIR/s"], numbered(5_000).as_bytes()).ok();
    run(&["get", "DIR/s"]).refused_with(2);
    run(&["put", "DIR/s", "k", "\\q"]).refused_with(2);
    run(&["get", "DIR/s", "missing"]).refused_with(3);
    run(&["count", "DIR/s", "--tree", "missing"]).refused_with(3);
    run(&["dump", "DIR/s", "--tree", "missing"]).refused_with(3);
    run(&["count", "DIR/missing"]).refused_with(3);
    run(&["load", "DIR/s", "DIR/missing.tsv"]).refused_with(1);

    let db = bwtree::Db::open(dir.path().join("s")).unwrap();
    let line = run(&["put", "DIR/s", "k", "v"]).refused_with(5);
    assert_eq!(line.matches("the store").count(), 1, "{line}");
    let holder = format!("process {}, program", std::process::id());
    assert!(line.contains(&holder) && line.contains("close it there"), "{line}");
    // Reading goes on beside it.
    db.tree("default").unwrap().put("new", "value").unwrap();
    db.sync().unwrap();
    assert_eq!(run(&["get", "DIR/s", "new"]).ok(), "value\n");
    assert_eq!(run(&["count", "DIR/s"]).ok(), "5001\n");
    assert_eq!(run(&["dump", "DIR/s", "--tree", "default"]).ok().lines().count(), 5001);
    assert_eq!(run(&["scan", "DIR/s", "--from", "new"]).ok(), "new\tvalue\n");
    assert_eq!(run(&["trees", "DIR/s"]).ok(), "default\n");
    assert!(run(&["verify", "DIR/s"]).ok().starts_with("ok"));
    let reader = bwtree::Db::builder(dir.path().join("s")).read_only(true).open().unwrap();
    let stat = run(&["stat", "DIR/s", "--json"]).json();
    assert_eq!((&stat["store"]["readers"], &stat["store"]["entries"]), (&1.into(), &5001.into()));
    drop(reader);
    db.tree("default").unwrap().delete("new").unwrap();
    db.close().unwrap();

    if let Ok(full) = File::options().write(true).open("/dev/full") {
        let output = command(dir.path(), &["dump", "DIR/s"]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{output:?}");
    }

    // Damage in a leaf: a count does not read it, a dump and the check do.
    damage(&dir.path().join("s"), b"value 2500");
    assert_eq!(run(&["count", "DIR/s"]).ok(), "5000\n");
    for verb in ["dump", "verify"] {
        let line = run(&[verb, "DIR/s"]).refused_with(4);
        assert!(line.contains("offset"), "{line}");
        assert_eq!(line.matches("restore").count(), 1, "{line}");
        assert_eq!(line.matches("damaged").count(), 1, "{line}");
    }

    // The keys that are told are given up, and the store is as good as new.
    let verified = run(&["verify", "DIR/s", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    let damage = &told["damage"][0];
    assert_eq!((&told["ok"], &damage["tree"]), (&false.into(), &"default".into()), "{told}");
    let range = ["first", "end"].map(|bound| damage[bound].as_str().unwrap());
    let part = ["del", "DIR/s", "--from", range[0], "--to", "002500"];
    assert!(run(&part).refused_with(4).contains("bwtree del"));
    assert!(run(&["del", "DIR/s", "--from", range[0], "--to", range[1]]).ok().contains("removed"));
    assert!(run(&["verify", "DIR/s"]).ok().starts_with("ok"));

    let help = run(&["--help"]).ok();
    for line in ["3  no such key", "4  the store is damaged", "6  the disk is full"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn a_full_disk_is_told_with_how_far_a_load_came() {
    let dir = tempfile::tempdir().unwrap();
    let (mount, file) = (dir.path().join("m"), dir.path().join("in.tsv"));
    fs::create_dir(&mount).unwrap();
    fs::write(&file, numbered(600_000)).unwrap();
    let script = r#"mount -t tmpfs -o size=6m tmpfs "$1" || exit
        "$0" load "$1/s" "$2"; echo "code $?"; "$0" count "$1/s""#;
    let mut run = Command::new("unshare");
    run.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_bwtree")]).arg(mount).arg(file);
    let output = run.output().map(|output| (output.stdout, output.stderr)).unwrap_or_default();
    let (told, line) = (String::from_utf8_lossy(&output.0), String::from_utf8_lossy(&output.1));
    let Some(told) = told.strip_prefix("code ") else {
        println!("skipped: no file system can be mounted here: {line}");
        return;
    };
    let (code, entries) = told.trim().split_once('\n').unwrap();
    assert!(code == "6" && line.contains("no room"), "{code}: {line}");
    let (_, skip) = line.split_once("--skip ").unwrap();
    let skip: u64 = skip.trim().trim_end_matches(')').parse().unwrap();
    // What was told to be durable is there, and perhaps more.
    assert!(0 < skip && skip <= entries.parse().unwrap(), "{skip} of {entries}");
}

#[test]
fn mistakes_of_usage_exit_with_two() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["fly"], &["get"], &["scan", "DIR", "--limit", "x"]] {
        let ended = bwtree(dir.path(), arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.refused();
    }
    let long = "k".repeat(5000);
    for (arguments, told) in [
        (&["put", "DIR/s", &long, "v"][..], "too long"),
        (&["put", "DIR/s", "k", "v", "--tree", ""], "name"),
    ] {
        let ended = bwtree(dir.path(), arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.refused().contains(told));
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
    fs::write(dir.path().join("file"), b"text").unwrap();
    assert!(bwtree(dir.path(), &["count", "DIR/file"]).refused().contains("is a file"));
    fs::create_dir(dir.path().join("empty")).unwrap();
    bwtree(dir.path(), &["count", "DIR/empty"]).refused();
    assert_eq!(fs::read_dir(dir.path().join("empty")).unwrap().count(), 0);
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
    assert_eq!(&first, b"# tree d");
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
