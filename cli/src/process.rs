//! What the system says of this process: its largest memory and what it has written.

use std::fs;
use std::path::Path;

/// The largest resident memory so far, in bytes; nothing where /proc does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The bytes this process has handed to write calls so far; nothing where /proc does not tell.
/// Writes to a pipe count too: a few kilobytes in a run that writes megabytes.
pub(crate) fn written_bytes() -> Option<u64> {
    let counters = fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}

/// The disk space that the files below `dir` take, in bytes: what is allocated, not what their
/// lengths say. Files that vanish during the count add nothing.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sum += disk_bytes(&entry.path()),
            Ok(meta) if meta.is_file() => sum += allocated(&meta),
            _ => {}
        }
    }
    sum
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    meta.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_counts_nested_files_and_survives_a_missing_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner/a"), vec![1_u8; 100_000]).unwrap();
        fs::write(dir.path().join("b"), vec![1_u8; 50_000]).unwrap();
        let sum = disk_bytes(dir.path());
        assert!((100_000..400_000).contains(&sum), "{sum}");
        assert_eq!(disk_bytes(&dir.path().join("nowhere")), 0);
    }
}
