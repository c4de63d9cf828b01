//! Which segments to clean: the ones that give most space, for longest, at least copying.
//!
//! Cost and benefit, as log-structured file systems have it. To clean a segment of utilisation `u`
//! costs reading it and writing `u` of it (`1 + u`), and gains `1 - u`. The gain is worth more in a
//! segment that has not changed for long: what is dead in it stays the same, while a young segment
//! will soon give more by itself. So the score is `(1 - u) x age / (1 + u)`.

use std::cmp::Ordering;

/// Utilisation above which cleaning a segment is not worth it by itself.
pub const WORTHWHILE_UTILISATION: f64 = 0.9;

/// What is known about one sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Number of the segment.
    pub id: u32,
    /// Bytes it takes on disk.
    pub size_bytes: u64,
    /// Bytes of it that something still refers to.
    pub live_bytes: u64,
    /// How far its last frame lies behind the newest one, in frames or any other measure that
    /// grows with what is written: only the proportion between segments counts.
    pub age: u64,
}

impl SegmentUse {
    /// Bytes that cleaning this segment gives back.
    #[must_use]
    pub fn gain_bytes(&self) -> u64 {
        self.size_bytes.saturating_sub(self.live_bytes)
    }

    /// Live bytes per byte on disk, at most 1.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        if self.size_bytes == 0 {
            return 0.0;
        }
        (self.live_bytes as f64 / self.size_bytes as f64).min(1.0)
    }

    /// What cleaning gains over what it costs; larger is better.
    fn score(&self) -> f64 {
        let used = self.utilisation();
        // One more, so that among segments of age 0 the emptier one still wins.
        (1.0 - used) * (self.age as f64 + 1.0) / (1.0 + used)
    }
}

/// How full a segment may be and still be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reach {
    /// Up to [`WORTHWHILE_UTILISATION`].
    #[default]
    Worthwhile,
    /// Any that gives back at least a byte: for cleaning on demand, or a full disk.
    Anything,
}

/// The segments to clean, in the order in which to clean them, to gain `goal_bytes` by moving
/// `budget_bytes`.
///
/// Dead segments come first and all of them, even beyond the goal, since they are freed unread.
/// Then the best scores, until the goal is reached, the budget is spent or nothing in reach is
/// left. No more are chosen than the budget is for: what is not moved now may die by itself.
#[must_use]
pub fn choose(
    segments: &[SegmentUse],
    goal_bytes: u64,
    budget_bytes: u64,
    reach: Reach,
) -> Vec<u32> {
    let limit = match reach {
        Reach::Worthwhile => WORTHWHILE_UTILISATION,
        Reach::Anything => 1.0,
    };
    let mut victims: Vec<&SegmentUse> = segments
        .iter()
        .filter(|s| s.live_bytes == 0 || (s.gain_bytes() > 0 && s.utilisation() <= limit))
        .collect();
    victims.sort_by(|a, b| better(a, b));
    let (mut gained, mut moved) = (0_u64, 0_u64);
    victims
        .into_iter()
        .take_while(|s| {
            let wanted = s.live_bytes == 0 || (gained < goal_bytes && moved < budget_bytes);
            gained = gained.saturating_add(s.gain_bytes());
            moved = moved.saturating_add(s.live_bytes);
            wanted
        })
        .map(|s| s.id)
        .collect()
}

/// Dead ones first, then by score; the older number breaks a tie.
fn better(a: &SegmentUse, b: &SegmentUse) -> Ordering {
    (b.live_bytes == 0)
        .cmp(&(a.live_bytes == 0))
        .then(b.score().total_cmp(&a.score()))
        .then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u32, live_bytes: u64, age: u64) -> SegmentUse {
        SegmentUse { id, size_bytes: 100, live_bytes, age }
    }

    #[test]
    fn among_equally_full_segments_the_oldest_goes_first() {
        let segments: Vec<_> = (0..10).map(|i| segment(i, 50, u64::from(10 - i))).collect();
        assert_eq!(choose(&segments, 120, u64::MAX, Reach::Worthwhile), [0, 1, 2]);
        assert_eq!(choose(&segments, 1, u64::MAX, Reach::Worthwhile), [0]);
        assert_eq!(choose(&segments, 500, u64::MAX, Reach::Worthwhile).len(), 10);
    }

    #[test]
    fn among_equally_old_segments_the_emptiest_goes_first() {
        let segments = [segment(1, 80, 0), segment(2, 20, 0), segment(3, 50, 0)];
        assert_eq!(choose(&segments, 200, u64::MAX, Reach::Worthwhile), [2, 3, 1]);
    }

    #[test]
    fn a_cold_fuller_segment_goes_before_a_hot_emptier_one() {
        // The hot one was written just now and dies by itself; the cold one will not change.
        let hot = segment(1, 40, 2);
        let cold = segment(2, 75, 1000);
        assert_eq!(choose(&[hot, cold], 25, u64::MAX, Reach::Worthwhile), [2]);
        assert_eq!(choose(&[hot, cold], 26, u64::MAX, Reach::Worthwhile), [2, 1]);
    }

    #[test]
    fn dead_segments_go_first_and_all_of_them() {
        let segments = [segment(1, 10, 10_000), segment(2, 0, 0), segment(3, 0, 1)];
        let mut chosen = choose(&segments, 1, u64::MAX, Reach::Worthwhile);
        chosen.sort_unstable();
        assert_eq!(chosen, [2, 3]);
        let mut without_goal = choose(&segments, 0, u64::MAX, Reach::Worthwhile);
        without_goal.sort_unstable();
        assert_eq!(without_goal, [2, 3]);
        assert_eq!(choose(&segments, 201, u64::MAX, Reach::Worthwhile).last(), Some(&1));
    }

    #[test]
    fn where_nothing_is_to_gain_nothing_is_chosen() {
        assert!(choose(&[], 100, u64::MAX, Reach::Anything).is_empty());
        let full = [segment(1, 100, 9), segment(2, 120, 9)];
        assert!(choose(&full, 1000, u64::MAX, Reach::Anything).is_empty());
        assert!(choose(&[segment(1, 5, 1)], 0, u64::MAX, Reach::Anything).is_empty());
    }

    #[test]
    fn no_more_are_chosen_than_can_be_emptied() {
        let segments = [segment(1, 40, 9), segment(2, 40, 8), segment(3, 40, 7), segment(4, 0, 0)];
        assert_eq!(choose(&segments, 1000, 41, Reach::Worthwhile), [4, 1, 2]);
        assert_eq!(choose(&segments, 1000, 40, Reach::Worthwhile), [4, 1]);
        assert_eq!(choose(&segments, 1000, 0, Reach::Worthwhile), [4]);
    }

    #[test]
    fn nearly_full_segments_are_cleaned_only_when_asked() {
        let segments = [segment(1, 91, 1_000_000), segment(2, 90, 0)];
        assert_eq!(choose(&segments, 1000, u64::MAX, Reach::Worthwhile), [2]);
        assert_eq!(choose(&segments, 1000, u64::MAX, Reach::Anything), [1, 2]);
    }

    #[test]
    fn an_empty_file_counts_as_dead() {
        let empty = SegmentUse { id: 7, size_bytes: 0, live_bytes: 0, age: 0 };
        assert_eq!(choose(&[empty], 10, u64::MAX, Reach::Worthwhile), [7]);
    }
}
