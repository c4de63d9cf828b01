//! How much memory this process has. Linux says so.

/// Bytes that the process has in memory; 0 where nobody tells.
#[must_use]
pub fn resident() -> u64 {
    of_status("VmRSS:")
}

/// The most bytes that the process has had in memory; 0 where nobody tells.
#[must_use]
pub fn peak_resident() -> u64 {
    of_status("VmHWM:")
}

/// The bytes that a store with this budget may have its process take: the budget, a tenth of it,
/// and 16 MiB for the program and its threads, with small memory that was freed and that the
/// allocator keeps for the thread that freed it.
#[must_use]
pub const fn memory_bound(budget: u64) -> u64 {
    budget + budget / 10 + (16 << 20)
}

fn of_status(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map_or(0, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_used_is_told() {
        let before = resident();
        let used = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(resident() - before >= used.len() as u64 / 2, "{before}, {}", resident());
    }
}
