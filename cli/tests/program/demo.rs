//! The demo in small, through the real program: writer killed, cut proven, figures told.

use crate::run::bwtree;
use serde_json::Value;

fn sound(report: &Value) {
    assert_eq!(report["ok"], true, "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), if cfg!(feature = "peers") { 11 } else { 9 });
    for end in ["SIGKILL", "the power cut"] {
        for side in ["the log", "bwtree"] {
            let begin = format!("After {end} {side} has every acknowledged");
            let told = |check: &Value| check["check"].as_str().unwrap().starts_with(&begin);
            assert!(checks.iter().any(told), "{begin}: {report:#}");
        }
    }
    assert!(checks.iter().all(|check| check["ok"] == true), "{report:#}");
    for side in ["log", "store"] {
        let figures = &report[side];
        for field in ["disk_peak_bytes", "disk_final_bytes", "bytes_written"] {
            assert!(figures[field].as_u64() > Some(0), "{side} {field}: {figures}");
        }
        assert!(figures["put_latency"]["count"].as_u64() > Some(0));
        assert!(figures["get_latency"]["count"].as_u64() > Some(0));
        assert!(figures["gets_per_second"].as_f64() > Some(0.0));
        assert!(figures["restart_seconds"].as_f64() > Some(0.0));
    }
    assert!(
        report["log"]["disk_final_bytes"].as_u64() > report["store"]["disk_final_bytes"].as_u64()
    );
}

#[test]
fn a_small_demo_holds_and_tells_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["demo", "--ops", "30000", "--dir", "DIR/d", "--json", "DIR/report.json"];
    let text = bwtree(dir.path(), &options).ok();
    for part in [
        "append-only log",
        "IMap storage",
        "It promises",
        "SIGKILL leaves the page cache",
        "tests/crash.rs",
        "proven",
        "p99.9",
        "get, p50",
        "all checks hold",
        "bwtree load my.store",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let peers = if cfg!(feature = "peers") { "SQLite, WAL" } else { "--features peers" };
    assert!(text.contains(peers), "{text}");
    sound(
        &serde_json::from_slice(&std::fs::read(dir.path().join("report.json")).unwrap()).unwrap(),
    );
    assert!(dir.path().join("d/log").is_dir() && dir.path().join("d/store").is_dir());
    let line = bwtree(dir.path(), &["demo", "--dir", "DIR/d"]).refused();
    assert!(line.contains("not empty"), "{line}");
}

#[test]
fn other_seeds_threads_and_syncs_hold_too() {
    for (threads, seed, sync) in [("1", "5", "7"), ("4", "6", "100"), ("3", "7", "3000")] {
        let dir = tempfile::tempdir().unwrap();
        let run = bwtree(
            dir.path(),
            &[
                "demo",
                "--ops",
                "12000",
                "--threads",
                threads,
                "--seed",
                seed,
                "--sync-every",
                sync,
                "--json",
            ],
        );
        let text = run.ok();
        assert_eq!(text.lines().count(), 1, "only JSON on stdout: {text}");
        sound(&serde_json::from_str(&text).unwrap());
    }
}
