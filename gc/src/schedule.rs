//! When cleaning runs, and how much more than the live data a store may take on disk.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Smallest [`CleaningSchedule::target_ratio`]: below it cleaning would rewrite nearly full
/// segments for next to no gain.
pub const MIN_TARGET_RATIO: f64 = 1.05;

/// Largest [`CleaningSchedule::target_ratio`].
pub const MAX_TARGET_RATIO: f64 = 100.0;

/// Shortest [`CleaningSchedule::interval`].
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// When the cleaner runs and what it aims at: `disk <= target_ratio x live + slack_bytes`.
///
/// A smaller ratio costs more writing: to keep a store that is updated uniformly at 1.5 x, each
/// byte written makes the cleaner write about two more; at 2 x about one, at 1.25 x about four.
/// Updates that prefer some keys cost less.
///
/// ```
/// # use bwtree_gc::CleaningSchedule;
/// use std::time::Duration;
///
/// let schedule = CleaningSchedule::new()
///     .with_interval(Duration::from_secs(1))?
///     .with_target_ratio(2.0)?;
/// assert_eq!(schedule.bound_bytes(100 << 20), 208 << 20);
/// # Ok::<(), bwtree_gc::InvalidSchedule>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleaningSchedule {
    /// Whether the cleaner runs by itself. Default: true. Cleaning on demand works without it.
    pub enabled: bool,
    /// Time between two looks at the segments. Default: 100 ms.
    pub interval: Duration,
    /// Bytes on disk per live byte that cleaning aims not to exceed. Default: 1.5.
    pub target_ratio: f64,
    /// Bytes on disk beyond the ratio that are never worth cleaning. Default: 8 MiB.
    ///
    /// They keep a small store from being rewritten over and over.
    pub slack_bytes: u64,
}

impl Default for CleaningSchedule {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_millis(100),
            target_ratio: 1.5,
            slack_bytes: 8 << 20,
        }
    }
}

impl CleaningSchedule {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The schedule of a store that is cleaned on demand only.
    #[must_use]
    pub fn disabled() -> Self {
        Self::default().with_enabled(false)
    }

    /// Says whether the cleaner runs by itself.
    #[must_use]
    pub fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// Sets the time between two looks at the segments.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 ms.
    pub fn with_interval(self, interval: Duration) -> Result<Self, InvalidSchedule> {
        Self { interval, ..self }.validated()
    }

    /// Sets the bytes on disk per live byte to stay below.
    ///
    /// # Errors
    ///
    /// If it is not within 1.05 and 100.
    pub fn with_target_ratio(self, target_ratio: f64) -> Result<Self, InvalidSchedule> {
        Self { target_ratio, ..self }.validated()
    }

    /// Sets the bytes on disk beyond the ratio that are never worth cleaning.
    #[must_use]
    pub fn with_slack_bytes(self, slack_bytes: u64) -> Self {
        Self { slack_bytes, ..self }
    }

    /// Checks all fields, for a schedule whose fields were set directly.
    ///
    /// # Errors
    ///
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidSchedule> {
        if self.interval < MIN_INTERVAL {
            return Err(InvalidSchedule::Interval(self.interval));
        }
        // A comparison with NaN is false, so this refuses it too.
        if !(MIN_TARGET_RATIO..=MAX_TARGET_RATIO).contains(&self.target_ratio) {
            return Err(InvalidSchedule::TargetRatio(self.target_ratio));
        }
        Ok(())
    }

    /// Bytes that a store with this many live bytes may take on disk.
    #[must_use]
    pub fn bound_bytes(&self, live_bytes: u64) -> u64 {
        // The cast saturates, and so does the sum.
        ((live_bytes as f64 * self.target_ratio) as u64).saturating_add(self.slack_bytes)
    }

    fn validated(self) -> Result<Self, InvalidSchedule> {
        self.validate().map(|()| self)
    }
}

/// A cleaning schedule with a field out of its range.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidSchedule {
    /// The interval is too short.
    Interval(Duration),
    /// The target ratio is too small, too large, or not a number.
    TargetRatio(f64),
}

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(interval) => write!(
                f,
                "cleaning interval {interval:?} is too short: set at least {MIN_INTERVAL:?}"
            ),
            Self::TargetRatio(ratio) => write!(
                f,
                "cleaning target ratio {ratio} is out of range: \
                 set {MIN_TARGET_RATIO} to {MAX_TARGET_RATIO}"
            ),
        }
    }
}

impl Error for InvalidSchedule {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(CleaningSchedule::default().validate(), Ok(()));
        assert!(CleaningSchedule::default().enabled);
        assert!(!CleaningSchedule::disabled().enabled);
    }

    #[test]
    fn values_out_of_range_are_refused_by_setter_and_by_validate() {
        for ratio in [0.0, -1.0, 1.0, 1.04, 101.0, f64::NAN, f64::INFINITY] {
            let refused = CleaningSchedule::new().with_target_ratio(ratio);
            assert!(refused.is_err(), "{ratio}");
            let direct = CleaningSchedule { target_ratio: ratio, ..CleaningSchedule::default() };
            assert!(direct.validate().is_err(), "{ratio}");
        }
        let refused = CleaningSchedule::new().with_interval(Duration::ZERO);
        assert_eq!(refused, Err(InvalidSchedule::Interval(Duration::ZERO)));
    }

    #[test]
    fn a_refusal_names_the_value_and_the_range() {
        let text = InvalidSchedule::TargetRatio(1.0).to_string();
        assert!(text.contains("ratio 1 ") && text.contains("1.05"), "{text}");
        let text = InvalidSchedule::Interval(Duration::ZERO).to_string();
        assert!(text.contains("0ns") && text.contains("1ms"), "{text}");
    }

    #[test]
    fn the_bound_is_ratio_and_slack_and_saturates() {
        let schedule = CleaningSchedule::new().with_slack_bytes(10);
        assert_eq!(schedule.bound_bytes(0), 10);
        assert_eq!(schedule.bound_bytes(1000), 1510);
        assert_eq!(schedule.bound_bytes(u64::MAX), u64::MAX);
    }
}
