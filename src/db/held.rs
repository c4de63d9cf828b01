//! What the budget holds beside pages and values: the mapping table, what lies free between pages,
//! and what the log has in memory. It is not counted as it comes, but looked at again and again.

use crate::paging::DurableEngine;
use gc::{Budget, Category};

/// What the streams' frames and the lists of a commit are counted for: one part in so many of the
/// memory budget, and no more than they take at most, about, with the holes that they leave in the
/// heaps of threads.
const LOG_SHARE: u64 = 8;
const MAX_LOG_BYTES: u64 = 8 << 20;

/// What lies free between pages is counted by no more than this part of the budget at a tick.
const SLACK_STEP_SHARE: u64 = 32;

/// Part of the memory budget that the table is counted for at most.
const MOST_TABLE_SHARE: f64 = 0.75;

impl DurableEngine {
    /// Brings up to date what the budget holds of the mapping table and its places, and of what
    /// lies free between pages, and of the log.
    pub(crate) fn count_table(&self) {
        let budget = &self.store.budget;
        let places = self.table.place_bytes().held;
        // Pages must have room, or nothing can be done at all: what is more than this is not
        // counted, and is above the budget.
        let most = (budget.limit_bytes() as f64 * MOST_TABLE_SHARE) as u64;
        set_held(budget, Category::Table, (self.table.memory_bytes() as u64 + places).min(most));
        let of_arena = [Category::Pages, Category::Values, Category::Garbage];
        let pages = of_arena.map(|category| budget.held_bytes(category)).iter().sum();
        // Little by little, so that pages are evicted for it as it comes; and it is not what takes
        // the budget above its limit. When everybody waits they do so mostly for an epoch to pass,
        // after which garbage is what lies free.
        let room = budget.limit_bytes().saturating_sub(budget.total());
        let step = room.min(budget.limit_bytes() / SLACK_STEP_SHARE);
        let most = budget.held_bytes(Category::Slack) + step;
        set_held(budget, Category::Slack, mapping::arena_slack(pages).min(most));
        if !self.store.read_only {
            let log = (budget.limit_bytes() / LOG_SHARE).min(MAX_LOG_BYTES);
            set_held(budget, Category::Log, log);
        }
    }
}

/// Makes what a category holds so many bytes. Called by the evictor alone.
fn set_held(budget: &Budget, category: Category, bytes: u64) {
    let held = budget.held_bytes(category);
    match bytes.checked_sub(held) {
        Some(more) => budget.add(category, more),
        None => budget.sub(category, held - bytes),
    }
}
