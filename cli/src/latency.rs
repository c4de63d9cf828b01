//! A histogram of latencies: buckets of equal relative width (32 a power of two, so a quantile is
//! at most 3 % off), mergeable, and small as text so that one process can hand it to another.

use crate::numbers;
use serde_json::{Value, json};
use std::time::Duration;

/// Buckets a power of two.
const STEPS: usize = 32;
const BITS: u32 = STEPS.trailing_zeros();

#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; STEPS * (65 - BITS as usize)], count: 0, max_ns: 0 }
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let power = ns.ilog2() - BITS;
    (power as usize + 1) * STEPS + ((ns >> power) as usize - STEPS)
}

/// The largest value of a bucket: a quantile is never told too low.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    let low = ((STEPS + bucket % STEPS) as u64) << power;
    low + ((1_u64 << power) - 1)
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The latency in nanoseconds that the share `quantile` of all samples did not exceed.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &samples) in self.buckets.iter().enumerate() {
            seen += samples;
            if seen >= wanted {
                return upper_bound(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "count": self.count,
            "p50_ns": self.quantile_ns(0.5),
            "p99_ns": self.quantile_ns(0.99),
            "p999_ns": self.quantile_ns(0.999),
            "max_ns": self.max_ns,
        })
    }

    /// "p50 1.2 us, p99 4.0 us, p99.9 1.10 ms, max 3.20 ms".
    pub(crate) fn summary(&self) -> String {
        format!(
            "p50 {}, p99 {}, p99.9 {}, max {}",
            numbers::nanos(self.quantile_ns(0.5)),
            numbers::nanos(self.quantile_ns(0.99)),
            numbers::nanos(self.quantile_ns(0.999)),
            numbers::nanos(self.max_ns)
        )
    }

    /// One word of text: the longest latency, then the buckets that are not empty.
    pub(crate) fn to_text(&self) -> String {
        let mut parts = vec![self.max_ns.to_string()];
        for (bucket, samples) in self.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            parts.push(format!("{bucket}:{samples}"));
        }
        parts.join(",")
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut histogram = Self { max_ns: parts.next()?.parse().ok()?, ..Self::default() };
        for part in parts {
            let (bucket, samples) = part.split_once(':')?;
            let samples: u64 = samples.parse().ok()?;
            *histogram.buckets.get_mut(bucket.parse::<usize>().ok()?)? = samples;
            histogram.count += samples;
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_without_gaps() {
        assert_eq!(bucket_of(u64::MAX), Histogram::default().buckets.len() - 1);
        let mut last = 0;
        for bucket in 1..Histogram::default().buckets.len() {
            let upper = upper_bound(bucket);
            assert_eq!(bucket_of(upper), bucket);
            assert_eq!(bucket_of(last + 1), bucket);
            last = upper;
        }
    }

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        for ns in 1..=100_000 {
            histogram.record(Duration::from_nanos(ns));
        }
        for (quantile, exact) in [(0.5, 50_000_f64), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let got = histogram.quantile_ns(quantile) as f64;
            assert!((0.0..0.04).contains(&(got / exact - 1.0)), "{quantile}: {got}");
        }
        assert_eq!(histogram.quantile_ns(1.0), 100_000);
    }

    #[test]
    fn text_and_merge_keep_everything() {
        let mut a = Histogram::default();
        let mut b = Histogram::default();
        a.record(Duration::from_micros(3));
        b.record(Duration::from_millis(7));
        b.record(Duration::ZERO);
        a.merge(&b);
        let back = Histogram::from_text(&a.to_text());
        assert_eq!(back.map(|h| (h.buckets, h.count, h.max_ns)), Some((a.buckets, 3, 7_000_000)));
        assert!(Histogram::from_text("5,9999999:1").is_none());
        assert!(Histogram::from_text("").is_none());
    }
}
