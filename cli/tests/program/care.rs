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
    assert_eq!(stat["store"]["entries"], 5_000);
    assert_eq!(stat["store"]["depth"], stat["trees"][0]["depth"]);
    for field in ["pages", "live_bytes", "disk_bytes", "disk_allocated_bytes", "segments"] {
        assert!(stat["store"][field].as_u64() > Some(0), "{field}: {stat}");
    }
    // Three programs have written to it, this one has not.
    for field in ["bytes_written", "user_bytes_written", "syncs", "splits"] {
        assert_eq!(stat["since_opening"][field], 0, "{field}: {stat}");
    }
    let told = run(&["stat", "DIR/s"]).ok();
    let (store, opening) = told.split_once("this opening").unwrap();
    assert!(store.contains("5,000") && opening.contains("memory budget"), "{told}");
    assert!(
        run(&["verify", "DIR/s"]).ok().starts_with("ok: 1 tree and the catalog, 5,000 entries")
    );
    let verified = run(&["verify", "DIR/s", "--json"]).json();
    assert_eq!(verified["ok"], true);
    assert_eq!((&verified["trees"], &verified["entries"]), (&1.into(), &5_000.into()));
    assert_eq!(verified["pages"], stat["trees"][0]["pages"]);
    assert!(verified["catalog_pages"].as_u64() >= Some(1), "{verified}");
    assert!(run(&["checkpoint", "DIR/s", "--json"]).json()["seconds"].as_f64() > Some(0.0));
    for budget in
        [&["clean", "DIR/s", "--budget", "64k", "--json"][..], &["clean", "DIR/s", "--json"]]
    {
        let cleaned = run(budget).json();
        assert!(cleaned["disk_bytes_after"].as_u64() > Some(0), "{cleaned}");
    }
    assert_eq!(run(&["dump", "DIR/s", "--tree", "default"]).ok(), text);
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
