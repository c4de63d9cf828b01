//! What a killed writer left, judged by what its side promises.

use super::plan::Plan;
use super::proof::{self, Found};
use super::report::Check;
use super::side::Store;
use super::watch::Run;
use super::{Screen, log_proof};
use crate::failure::Outcome;
use crate::numbers::{count, seconds};
use std::path::Path;
use std::time::Instant;

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process alone: what it had written is in the page cache.
    Sigkill,
    /// The process, and all that it had not synced.
    PowerCut,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Sigkill => "SIGKILL",
            Self::PowerCut => "the power cut",
        }
    }
}

/// Of each lane the operations that are in, and the checks that say so.
pub(crate) struct Left {
    pub(crate) positions: Vec<u64>,
    pub(crate) checks: Vec<Check>,
}

fn acknowledged(run: &Run, recovered: u64) -> String {
    let acknowledged: u64 = run.positions.iter().sum();
    format!("{} operations acknowledged, {} recovered", count(acknowledged), count(recovered))
}

/// Replays the log and counts it off against the traffic.
pub(crate) fn log(
    plan: &Plan,
    dir: &Path,
    run: &Run,
    end: End,
    screen: &mut Screen,
) -> Outcome<Left> {
    let kept = log_proof::judge(plan, &run.positions, dir)?;
    let counts = acknowledged(run, kept.operations());
    let gaps = match kept.beyond_gaps {
        0 => "each with all that its thread wrote before".to_owned(),
        some => format!("{} of them without one that its thread wrote before", count(some)),
    };
    screen.line(&format!("\n   log: {counts},\n   {gaps}"))?;
    let check = Check {
        what: format!("After {} the log has every acknowledged operation", end.name()),
        ok: true,
        detail: format!("{counts}, {gaps}"),
    };
    Ok(Left { positions: kept.positions, checks: vec![check] })
}

/// Reopens the store and proves what is in it.
pub(crate) fn store(
    plan: &Plan,
    dir: &Path,
    run: &Run,
    end: End,
    screen: &mut Screen,
) -> Outcome<Left> {
    let start = Instant::now();
    let store = Store::open(dir)?;
    let opened = seconds(start.elapsed().as_secs_f64());
    let found = Found::read(&store.tree, plan.lanes())?;
    let cut = proof::prove(plan, &run.positions, &found)?;
    store.close()?;
    let counts = acknowledged(run, cut.positions.iter().sum());
    let entries = count(cut.entries);
    screen.line(&format!(
        "\n   bwtree: {counts}, reopened in {opened}\n   proven: exactly these operations are in, \
         {entries} entries, nothing else"
    ))?;
    let checks = vec![
        Check {
            what: format!("After {} bwtree has every acknowledged write", end.name()),
            ok: true,
            detail: counts,
        },
        Check {
            what: format!("After {} bwtree has exactly one cut of each thread", end.name()),
            ok: true,
            detail: format!("{entries} entries compared, none lost, none surplus"),
        },
    ];
    Ok(Left { positions: cut.positions, checks })
}
