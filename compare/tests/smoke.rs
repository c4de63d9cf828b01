//! Every peer runs through every phase with answers that are right, at a size that takes seconds.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Peers that are known to answer wrongly even with one thread; compare/README.md tells how.
const FAULTY: [&str; 1] = ["masstree"];

fn compare(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_bwtree-compare");
    match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("{program}: {error}"),
    }
}

fn index(folder: &Path, arguments: &[&str]) -> Value {
    let json = folder.join("results.json");
    let path = json.to_string_lossy();
    let fixed = ["index", "--rounds", "1", "--seconds", "0.01", "--json", &path];
    let output = compare(&[&fixed, arguments].concat());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    match std::fs::read_to_string(&json).map(|text| serde_json::from_str(&text)) {
        Ok(Ok(results)) => results,
        other => panic!("{path}: {other:?}"),
    }
}

fn cells<'a>(results: &'a Value, part: &str) -> &'a [Value] {
    match results[part].as_array() {
        Some(cells) => cells,
        None => panic!("no {part} in {results}"),
    }
}

fn text<'a>(cell: &'a Value, field: &str) -> &'a str {
    cell[field].as_str().unwrap_or_default()
}

fn folder() -> tempfile::TempDir {
    match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => panic!("no temporary folder: {error}"),
    }
}

#[test]
fn every_peer_answers_rightly_in_every_phase() {
    let folder = folder();
    let keys = ["--keys", "random,rising,strings", "--values", "8,100"];
    let results =
        index(folder.path(), &[&["--sizes", "3000", "--threads", "1"], &keys[..]].concat());
    let measured = cells(&results, "cells");
    assert_eq!(measured.len(), 12 * 6);
    for cell in measured {
        let peer = text(cell, "peer");
        let plain = cell["value_bytes"] == 8 && text(cell, "keys") != "strings";
        assert_eq!(cell["refused"].is_null(), peer != "congee" || plain, "{cell}");
        if !cell["refused"].is_null() {
            continue;
        }
        assert!(cell["failed"].is_null(), "{cell}");
        if !FAULTY.contains(&peer) {
            assert_eq!(cell["wrong"].as_object().map(serde_json::Map::len), Some(0), "{cell}");
        }
        for phase in ["load", "read", "zipf", "a", "multi", "hot", "e", "churn"] {
            let rate = cell["mops"][phase].as_f64();
            let ordered = peer != "dashmap" || phase != "e";
            assert_eq!(rate.is_some_and(|rate| rate > 0.0), ordered, "{phase}: {cell}");
        }
        assert!(cell["updates"]["p50"].as_u64().is_some_and(|time| time > 0), "{cell}");
    }
    for cell in cells(&results, "bytes").iter().filter(|cell| cell["refused"].is_null()) {
        let heap = cell["heap_bytes_per_key"].as_f64();
        let raw = if text(cell, "keys") == "strings" { 31.0 } else { 8.0 };
        let least = raw + cell["value_bytes"].as_f64().unwrap_or(f64::MAX);
        let told = heap.map_or(text(cell, "peer") == "bf-tree", |heap| heap >= least * 0.7);
        assert!(told, "less than the entries themselves: {cell}");
    }
}

#[test]
fn bwtree_answers_rightly_to_several_threads() {
    let folder = folder();
    let what = ["--sizes", "2000,20000", "--threads", "2,5", "--keys", "random,strings"];
    let results = index(folder.path(), &[&what[..], &["--peers", "bwtree"]].concat());
    let measured = cells(&results, "cells");
    assert_eq!(measured.len(), 8);
    for cell in measured {
        assert!(cell["failed"].is_null(), "{cell}");
        assert_eq!(cell["wrong"].as_object().map(serde_json::Map::len), Some(0), "{cell}");
    }
}

#[test]
fn results_can_be_drawn() {
    let folder = folder();
    let what = ["--sizes", "2000", "--threads", "1,2", "--peers", "bwtree,rwlock-btreemap"];
    index(folder.path(), &what);
    let (json, svg) = (folder.path().join("results.json"), folder.path().join("out.svg"));
    let output = compare(&["plot", &json.to_string_lossy(), "-o", &svg.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = std::fs::read_to_string(svg).unwrap_or_default();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    for shown in ["bwtree", "rwlock-btreemap", "Churn", "Latency of a get", "Bytes per key"] {
        assert!(picture.contains(shown), "{shown} is not shown");
    }
    let wrong = compare(&["plot", &json.to_string_lossy(), "-o", "x.svg", "--size", "7"]);
    assert!(!wrong.status.success());
}

#[test]
fn unknown_peers_are_refused() {
    let output = compare(&["index", "--peers", "bwtree,nothing"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no peer nothing; there are bwtree"));
}
