//! When a checkpoint is due: after a quarter of the live data has been logged, within bounds.
//!
//! What lies behind the last checkpoint is replayed at open, and counts as disk space until then.
//! A quarter of the live data keeps both in proportion to the store; the bounds keep a small store
//! from checkpointing all the time, and a large one from replaying for long. Where commits are
//! small, it is the number of frames: an opening has each of them in memory.

/// Fewest bytes of log between two checkpoints.
pub const MIN_INTERVAL_BYTES: u64 = 8 << 20;

/// Most bytes of log between two checkpoints.
pub const MAX_INTERVAL_BYTES: u64 = 256 << 20;

/// Bytes of log after which a store with this many live bytes takes a checkpoint.
#[must_use]
pub fn interval_bytes(live_bytes: u64) -> u64 {
    (live_bytes / 4).clamp(MIN_INTERVAL_BYTES, MAX_INTERVAL_BYTES)
}

/// Fewest frames of log between two checkpoints that their number is a reason for: 4 MiB in an
/// opening, whatever the budget. Where commits are scattered over a large store, a checkpoint costs
/// much of what they have cost.
const MIN_FRAMES: u64 = 16 << 10;

/// What an opening has in memory for each frame that it replays, about.
const BYTES_PER_FRAME: u64 = 256;

/// An opening may take this part of the memory budget for the frames that it replays.
const REPLAY_SHARE: u64 = 16;

/// Whether a checkpoint is due, `logged_bytes` in so many frames after the last one: an opening
/// would have to replay them within the memory budget.
#[must_use]
pub fn is_due(logged_bytes: u64, frames: u64, live_bytes: u64, budget_bytes: u64) -> bool {
    let most_frames = (budget_bytes / REPLAY_SHARE / BYTES_PER_FRAME).max(MIN_FRAMES);
    logged_bytes >= interval_bytes(live_bytes) || frames >= most_frames
}

/// Part of the live data that dead segments must amount to before a checkpoint is taken for them.
const WORTHWHILE_SHARE: u64 = 8;

/// Whether a checkpoint is worth taking for what it gives back: `waiting_bytes` of segments are
/// dead and only the start of the replay keeps them.
///
/// Enough for a batch is always worth it. Above the bound by `excess_bytes` so is what ends that,
/// and, when `nothing_else` can be done about it, whatever there is.
#[must_use]
pub fn is_worthwhile(
    waiting_bytes: u64,
    live_bytes: u64,
    excess_bytes: u64,
    nothing_else: bool,
) -> bool {
    let batch = (live_bytes / WORTHWHILE_SHARE).clamp(MIN_INTERVAL_BYTES, MAX_INTERVAL_BYTES);
    waiting_bytes > 0
        && (waiting_bytes >= batch
            || (excess_bytes > 0 && (nothing_else || waiting_bytes >= excess_bytes)))
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
    fn dead_segments_are_given_back_in_batches() {
        const MIB: u64 = 1 << 20;
        assert!(!is_worthwhile(0, 0, 100 * MIB, true));
        assert!(!is_worthwhile(MIB, 0, 0, true));
        assert!(!is_worthwhile(MIB, 0, 2 * MIB, false));
        assert!(is_worthwhile(MIB, 0, 2 * MIB, true));
        assert!(is_worthwhile(2 * MIB, 0, 2 * MIB, false));
        assert!(is_worthwhile(8 * MIB, 0, 0, false));
        assert!(!is_worthwhile(8 * MIB, 800 * MIB, 0, false));
    }

    #[test]
    fn it_is_due_exactly_at_the_interval() {
        assert!(!is_due((8 << 20) - 1, 16383, 0, 0));
        assert!(is_due(8 << 20, 0, 0, 0));
    }

    #[test]
    fn frames_are_replayed_within_the_budget() {
        assert!(is_due(0, 16384, 0, 1 << 20));
        assert!(!is_due(0, 16384, 0, 256 << 20));
        assert!(is_due(0, 65536, 0, 256 << 20));
    }
}
