//! What the demo says at its end: one table for all sides, and the checks.

use super::protocol::Pace;
use super::restart::Restart;
use super::side::Which;
use crate::latency::Histogram;
use crate::numbers::{self, bytes, count, nanos, ratio};
use crate::sampler::Observed;
use crate::table::Table;
use serde_json::{Value, json};

/// The figures of one side.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) side: Which,
    pub(crate) disk: Observed,
    pub(crate) disk_final: u64,
    pub(crate) pace: Pace,
    pub(crate) restart: Restart,
}

/// Something that must hold.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) ok: bool,
    /// The numbers behind it.
    pub(crate) detail: String,
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ops: u64,
    pub(crate) threads: u16,
    pub(crate) seed: u64,
    pub(crate) sync_every: u64,
    pub(crate) live_bytes: u64,
    pub(crate) live_keys: u64,
    /// The log, the store, and more with the feature `peers`.
    pub(crate) sides: Vec<Figures>,
    pub(crate) checks: Vec<Check>,
}

impl Report {
    pub(crate) fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.ok).count()
    }

    pub(crate) fn table(&self) -> String {
        let titles = self.sides.iter().map(|side| side.side.title());
        let mut table = Table::new(std::iter::once("").chain(titles));
        let mut row = |name: &str, cell: &dyn Fn(&Figures) -> String| {
            table.row(std::iter::once(name.to_owned()).chain(self.sides.iter().map(cell)));
        };
        let known = |number: Option<u64>| number.map_or("-".to_owned(), bytes);
        let quantile = |of: &Histogram, share| nanos(of.quantile_ns(share));
        row("live data", &|_| bytes(self.live_bytes));
        row("disk, peak", &|side| bytes(side.disk.peak_bytes));
        row("disk, at the end", &|side| bytes(side.disk_final));
        row("disk at the end / live", &|side| ratio(side.disk_final, self.live_bytes));
        row("bytes written", &|side| known(side.pace.written_bytes));
        row("puts a second", &|side| count(side.puts_per_second() as u64));
        row("put, p50", &|side| quantile(&side.pace.puts, 0.5));
        row("put, p99", &|side| quantile(&side.pace.puts, 0.99));
        row("put, p99.9", &|side| quantile(&side.pace.puts, 0.999));
        row("put, longest", &|side| nanos(side.pace.puts.max_ns()));
        row("gets a second, 1 thread", &|side| count(side.gets_per_second() as u64));
        row("get, p50", &|side| quantile(&side.restart.gets, 0.5));
        row("get, p99", &|side| quantile(&side.restart.gets, 0.99));
        row("restart, time", &|side| numbers::seconds(side.restart.seconds));
        row("restart, memory", &|side| known(side.restart.peak_memory_bytes));
        table.render(2)
    }

    pub(crate) fn checks(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let verdict = if check.ok { "ok  " } else { "FAIL" };
            for part in ["  ", verdict, "  ", &check.what, "\n        ", &check.detail, "\n"] {
                text.push_str(part);
            }
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let checks: Vec<Value> = (self.checks.iter())
            .map(|check| json!({ "check": check.what, "ok": check.ok, "detail": check.detail }))
            .collect();
        let mut value = json!({
            "ok": self.failed() == 0,
            "ops": self.ops,
            "threads": self.threads,
            "seed": self.seed,
            "sync_every": self.sync_every,
            "live_keys": self.live_keys,
            "live_bytes": self.live_bytes,
            "checks": checks,
        });
        for side in &self.sides {
            value[side.side.name()] = side.to_json();
        }
        value
    }
}

impl Figures {
    fn puts_per_second(&self) -> f64 {
        numbers::rate(self.pace.puts.count(), self.pace.elapsed.as_secs_f64())
    }

    fn gets_per_second(&self) -> f64 {
        numbers::rate(self.restart.gets.count(), self.restart.get_seconds)
    }

    fn to_json(&self) -> Value {
        json!({
            "disk_peak_bytes": self.disk.peak_bytes,
            "disk_final_bytes": self.disk_final,
            "bytes_written": self.pace.written_bytes,
            "puts_per_second": self.puts_per_second(),
            "put_latency": self.pace.puts.to_json(),
            "gets_per_second": self.gets_per_second(),
            "get_latency": self.restart.gets.to_json(),
            "restart_seconds": self.restart.seconds,
            "restart_peak_memory_bytes": self.restart.peak_memory_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Digest;
    use std::time::Duration;

    fn figures(side: Which, disk: u64) -> Figures {
        let mut puts = Histogram::default();
        (0..500).for_each(|i| puts.record(Duration::from_nanos(2_000 + i)));
        let gets = puts.clone();
        Figures {
            side,
            disk: Observed { peak_bytes: disk, samples: 9, ..Observed::default() },
            disk_final: disk,
            pace: Pace { elapsed: Duration::from_millis(10), written_bytes: None, puts },
            restart: Restart {
                seconds: 0.5,
                gets,
                get_seconds: 0.005,
                peak_memory_bytes: None,
                live: Digest::default(),
            },
        }
    }

    fn report(ok: bool) -> Report {
        Report {
            ops: 1_000,
            threads: 2,
            seed: 1,
            sync_every: 10,
            live_bytes: 1 << 20,
            live_keys: 7,
            sides: vec![figures(Which::Log, 90 << 20), figures(Which::Store, 2 << 20)],
            checks: vec![Check { what: "a".to_owned(), ok, detail: "b".to_owned() }],
        }
    }

    #[test]
    fn the_table_has_a_line_a_figure_and_both_sides() {
        let table = report(true).table();
        assert_eq!(table.lines().count(), 17);
        let row = "disk, peak                      90.0 MiB    2.0 MiB";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("50,000") && table.contains("100,000"), "{table}");
        assert!(table.lines().all(|line| line.len() < 80 && line.is_ascii()));
    }

    #[test]
    fn a_failed_check_shows_everywhere() {
        assert_eq!((report(true).failed(), report(false).failed()), (0, 1));
        assert!(report(false).checks().contains("FAIL  a"));
        assert_eq!(report(false).to_json()["ok"], false);
    }
}
