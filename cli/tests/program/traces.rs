//! Traces through the real program: made, checked, replayed, and refused when damaged.

use crate::run::{bwtree, feed};
use std::path::Path;

fn make(dir: &Path, options: &str) {
    let mut arguments = vec!["trace", "-o", "DIR/t.bin"];
    arguments.extend(options.split_whitespace());
    bwtree(dir, &arguments).ok();
}

#[test]
fn a_replay_meets_the_footer() {
    for (options, replay) in [
        ("--ops 20000 --seed 3", "--sync-every 500 --threads 3"),
        ("--ops 20000 --values seeded --profile dev --monitor-entry-bytes 40", "--sync-ms 20"),
        ("--ops 20000 --jobs 5 --checkpoints 9 --history ttl --history-minutes 1", "--threads 1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), options);
        let checked = bwtree(dir.path(), &["trace", "--verify", "DIR/t.bin", "--json"]).json();
        assert_eq!((&checked["ok"], &checked["ops"]), (&true.into(), &20_000.into()));
        let mut arguments = vec!["replay", "DIR/t.bin", "--dir", "DIR/s", "--json"];
        arguments.push("--check-disk-bound");
        arguments.extend(replay.split_whitespace());
        let told = bwtree(dir.path(), &arguments).json();
        assert_eq!(told["ok"], true, "{options}: {told}");
        for field in ["ops", "digest", "live_keys", "live_bytes"] {
            assert_eq!(told[field], checked[field], "{options}: {field}");
        }
        assert!(told["put_latency"]["count"].as_u64() > Some(10_000));
        assert!(told["disk_samples"].as_u64() >= Some(1));
        let bytes = |field: &str| told[field].as_u64().unwrap();
        assert!(bytes("disk_peak_bytes") >= bytes("disk_final_bytes"), "{told}");
        let again = bwtree(dir.path(), &arguments).refused();
        assert!(again.contains("not empty"), "{again}");
    }
}

#[test]
fn a_trace_comes_through_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let made = bwtree(dir.path(), &["trace", "--ops", "3000", "-o", "-"]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    let told = feed(dir.path(), &["replay", "-", "--dir", "DIR/s"], &made.stdout).ok();
    assert!(told.contains("3,000") && told.contains(" ok"), "{told}");
    assert!(feed(dir.path(), &["trace", "--verify", "-"], &made.stdout).ok().contains("ok"));
}

#[test]
fn a_cut_trace_fails_with_the_operation() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), "--ops 2000");
    let path = dir.path().join("t.bin");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    for arguments in
        [&["replay", "DIR/t.bin", "--dir", "DIR/s"][..], &["trace", "--verify", "DIR/t.bin"]]
    {
        let line = bwtree(dir.path(), arguments).refused();
        assert!(line.contains("cut off after") && line.contains("operations"), "{line}");
    }
}
