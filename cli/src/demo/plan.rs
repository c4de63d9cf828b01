//! What a demo runs: the traffic, how it is spread and synced, and what is live after each part.

use crate::trace::{Generator, Ledger, Parameters, Summary};
use std::path::Path;
use std::process::Command;

/// Operations between two points of a course.
const STEP: u64 = 500;

/// The options that parent and children share.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// Operations to run through each side
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) ops: u64,
    /// Threads that write
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
    /// Names the traffic: equal seeds give equal operations
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Operations between two syncs
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sync_every: u64,
}

impl Plan {
    pub(crate) fn lanes(&self) -> usize {
        usize::from(self.threads)
    }

    /// Forty streaming jobs as in production, with more short jobs that come and go.
    pub(crate) fn parameters(&self) -> Parameters {
        Parameters {
            seed: self.seed,
            ops: self.ops,
            batch_jobs_per_hour: 120.0,
            history_minutes: 120,
            ..Parameters::default()
        }
    }

    /// Adds the plan to the command line of a child.
    pub(crate) fn pass(&self, command: &mut Command, dir: &Path) {
        command.arg("--dir").arg(dir);
        for (option, value) in [
            ("--ops", self.ops),
            ("--threads", u64::from(self.threads)),
            ("--seed", self.seed),
            ("--sync-every", self.sync_every),
        ] {
            command.arg(option).arg(value.to_string());
        }
    }
}

/// What the traffic adds up to, worked out before it runs.
#[derive(Debug)]
pub(crate) struct Course {
    /// Live bytes and log bytes after every `STEP` operations.
    points: Vec<(u64, u64)>,
    pub(crate) summary: Summary,
}

impl Course {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut ledger = Ledger::default();
        let mut generator = Generator::new(&plan.parameters());
        let mut points = vec![(0, 0)];
        for (number, op) in (1_u64..).zip(&mut generator) {
            ledger.apply(&op);
            if number.is_multiple_of(STEP) {
                points.push((ledger.live_bytes(), ledger.log_bytes()));
            }
        }
        Self { points, summary: ledger.summary(generator.now_ms()) }
    }

    fn at(&self, ops: u64) -> (u64, u64) {
        let last = self.points.len() - 1;
        self.points[((ops / STEP) as usize).min(last)]
    }

    /// Bytes of keys and values that are live after so many operations.
    pub(crate) fn live_at(&self, ops: u64) -> u64 {
        self.at(ops).0
    }

    /// The length of an append-only log after so many operations.
    pub(crate) fn log_at(&self, ops: u64) -> u64 {
        self.at(ops).1
    }
}
