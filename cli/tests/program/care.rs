//! Looking after a store with the real program: stat, verify, clean, checkpoint, bench.

use crate::run::{bwtree, feed, numbered};

#[test]
fn a_store_is_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bwtree(dir.path(), arguments);
    let text = numbered(5_000);
    for _ in 0..3 {
        feed(dir.path(), &["load", "DIR/s"], text.as_bytes()).ok();
    }
    let stat = run(&["stat", "DIR/s", "--json"]).json();
    assert_eq!(stat["trees"][0]["name"], "default");
    assert_eq!(stat["trees"][0]["entries"], 5_000);
    assert!(stat["trees"][0]["depth"].as_u64() >= Some(2));
    assert!(stat["disk_allocated_bytes"].as_u64() > Some(0));
    assert!(run(&["stat", "DIR/s"]).ok().contains("5,000"));
    assert!(run(&["verify", "DIR/s"]).ok().starts_with("ok"));
    assert_eq!(run(&["verify", "DIR/s", "--json"]).json()["ok"], true);
    assert!(run(&["checkpoint", "DIR/s", "--json"]).json()["seconds"].as_f64() > Some(0.0));
    for budget in
        [&["clean", "DIR/s", "--budget", "64k", "--json"][..], &["clean", "DIR/s", "--json"]]
    {
        let cleaned = run(budget).json();
        assert!(cleaned["disk_bytes_after"].as_u64() > Some(0), "{cleaned}");
    }
    assert_eq!(run(&["dump", "DIR/s"]).ok(), text);
    assert!(run(&["verify", "DIR/s"]).ok().starts_with("ok"));
}

#[test]
fn a_bench_tells_rates_and_latencies() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--keys", "3000", "--ops", "3000"];
    for place in ["DIR/s", "--memory"] {
        let arguments = [&["bench", place, "--json"], &small[..]].concat();
        let text = bwtree(dir.path(), &arguments).ok();
        let names: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| {
                assert_eq!(line["ops"], 3_000);
                assert!(line["ops_per_second"].as_f64() > Some(0.0));
                line["workload"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(names, ["fill", "read", "mixed", "scan"]);
    }
    let arguments = [&["bench", "DIR/fresh", "--workload", "read"], &small[..]].concat();
    let line = bwtree(dir.path(), &arguments).refused();
    assert!(line.contains("fill first"), "{line}");
}
