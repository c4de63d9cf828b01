//! How long threads have had a processor. Linux says so.

use std::path::Path;

/// Nanoseconds that a task of `/proc` has had a processor; 0 where nobody tells.
#[must_use]
pub fn processor_nanos(task: &Path) -> u64 {
    let told = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    told.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}
