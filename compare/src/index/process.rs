//! The process of a measurement: how it is started, waited for and understood.

use super::CellOptions;
use super::results::Cell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// This one.
    Fast,
    /// The one that counts bytes; this one if that is missing, which then tells less.
    Counting,
}

/// A measurement that takes longer is given up: the peer hangs.
const PATIENCE: Duration = Duration::from_mins(2);
/// More of it for each key.
const PATIENCE_PER_KEY: Duration = Duration::from_micros(20);
/// Two programs that were built further apart are of different sources.
const BUILT_TOGETHER: Duration = Duration::from_mins(5);

/// Measures in a process of its own; what goes wrong there is part of the result.
pub(super) fn run(cell: &CellOptions, program: Program) -> Cell {
    match try_run(cell, program) {
        Ok(done) => done,
        Err(why) => Cell::failed(cell, &why),
    }
}

fn try_run(cell: &CellOptions, program: Program) -> Result<Cell, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = match program {
        Program::Fast => this,
        Program::Counting => counting(&this).unwrap_or(this),
    };
    let mut command = Command::new(&path);
    command.arg("cell").args(arguments(cell));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", path.display()))?;
    let patience = PATIENCE
        + PATIENCE_PER_KEY * cell.size as u32
        + Duration::from_secs_f64(cell.seconds * 2.0 * cell.phases.len() as f64);
    let ended = wait(&mut child, patience)?;
    let (mut out, mut complaint) = (String::new(), String::new());
    let read = |pipe: Option<&mut dyn Read>, text: &mut String| match pipe {
        Some(pipe) => pipe.read_to_string(text).map_err(|error| error.to_string()),
        None => Ok(0),
    };
    read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read), &mut out)?;
    read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read), &mut complaint)?;
    if !ended.success() {
        let lines: Vec<&str> = complaint.lines().filter(|line| !line.is_empty()).take(3).collect();
        let said = lines.join(" | ").replace("bwtree-compare: ", "");
        let shown: String = said.chars().take(300).collect();
        return Err(if shown.is_empty() { ended.to_string() } else { shown });
    }
    Cell::from_json(&out)
}

/// Waits so long and no longer.
fn wait(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus, String> {
    let start = Instant::now();
    loop {
        if let Some(ended) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(ended);
        }
        if start.elapsed() > patience {
            let _ended_by_itself = child.kill();
            child.wait().map_err(|error| error.to_string())?;
            return Err(format!("hangs: given up after {} s", patience.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn arguments(cell: &CellOptions) -> Vec<String> {
    let phases: Vec<&str> = cell.phases.iter().map(|phase| phase.name()).collect();
    [
        ("--peer", cell.peer.clone()),
        ("--keys", cell.keys.name().to_owned()),
        ("--value", cell.value.to_string()),
        ("--size", cell.size.to_string()),
        ("--threads", cell.threads.to_string()),
        ("--round", cell.round.to_string()),
        ("--seconds", cell.seconds.to_string()),
        ("--phases", phases.join(",")),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

/// The program that counts, if it lies beside this one and was built with it.
pub(super) fn counting(this: &Path) -> Option<PathBuf> {
    let path = this.with_file_name("bwtree-compare-heap");
    let built = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let late = built(this)?.duration_since(built(&path)?).unwrap_or_default();
    (late < BUILT_TOGETHER).then_some(path)
}

/// Bytes of memory that this process has.
pub(super) fn resident_bytes() -> Option<usize> {
    let facts = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = facts.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? << 10)
}

/// Seconds that this process has run for, in all its threads. In ticks of 10 ms.
pub(super) fn processor_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let facts = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; user and system ticks are 12th and 13th after it.
    let mut fields = facts.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_used_is_counted() {
        let before = processor_seconds();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let used = processor_seconds().zip(before).map(|(after, before)| after - before);
        // Other threads of the tests may run too, and other programs instead of this one.
        assert!(used.is_some_and(|used| (0.02..300.0).contains(&used)), "{used:?}");
    }

    #[test]
    fn memory_that_is_used_is_counted() {
        let before = resident_bytes();
        let used = std::hint::black_box(vec![1_u8; 32 << 20]);
        let grown = resident_bytes().zip(before).map(|(after, before)| after - before);
        assert!(grown.is_some_and(|grown| grown >= used.len() / 2), "{grown:?}");
    }
}
