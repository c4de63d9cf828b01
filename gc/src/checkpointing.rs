//! When a checkpoint is due: after a quarter of the live data has been logged, within bounds.
//!
//! What lies behind the last checkpoint is replayed at open, and counts as disk space until then.
//! A quarter of the live data keeps both in proportion to the store; the bounds keep a small store
//! from checkpointing all the time, and a large one from replaying for long.

/// Fewest bytes of log between two checkpoints.
pub const MIN_INTERVAL_BYTES: u64 = 8 << 20;

/// Most bytes of log between two checkpoints.
pub const MAX_INTERVAL_BYTES: u64 = 256 << 20;

/// Bytes of log after which a store with this many live bytes takes a checkpoint.
#[must_use]
pub fn interval_bytes(live_bytes: u64) -> u64 {
    (live_bytes / 4).clamp(MIN_INTERVAL_BYTES, MAX_INTERVAL_BYTES)
}

/// Whether a checkpoint is due, `logged_bytes` after the last one.
#[must_use]
pub fn is_due(logged_bytes: u64, live_bytes: u64) -> bool {
    logged_bytes >= interval_bytes(live_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_a_quarter_of_the_live_data_within_bounds() {
        assert_eq!(interval_bytes(0), 8 << 20);
        assert_eq!(interval_bytes(32 << 20), 8 << 20);
        assert_eq!(interval_bytes(400 << 20), 100 << 20);
        assert_eq!(interval_bytes(1 << 30), 256 << 20);
        assert_eq!(interval_bytes(u64::MAX), 256 << 20);
    }

    #[test]
    fn it_is_due_exactly_at_the_interval() {
        assert!(!is_due((8 << 20) - 1, 0));
        assert!(is_due(8 << 20, 0));
    }
}
