//! What a generated trace is made of: how many jobs, how often they checkpoint, how large the
//! values are. The defaults reproduce the rates and sizes of a production report (40 streaming
//! jobs, a checkpoint every 5 s: 64 MB of metrics an hour, 690 thousand counter writes a day).

use crate::failure::{Failure, Outcome};
use clap::ValueEnum;
use serde_json::{Value, json};

/// Which release's maps are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// The metrics map is persisted
    V2313,
    /// The metrics map is not, the checkpoint monitor map is
    Dev,
}

/// What happens to a finished job's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum History {
    /// Explicit deletes
    Delete,
    /// An expiry time on the put
    Ttl,
    /// Nothing: they stay
    Leak,
}

/// How keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keys {
    /// As the engine's serializer makes them
    Opaque,
    /// Big endian, a job's keys adjacent
    Ordered,
}

/// Whether a trace holds its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Values {
    /// The bytes of each value
    Full,
    /// A seed and a length in place of each value
    Seeded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// The parameters of a generated trace.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Parameters {
    /// Names the run: equal seeds and options give equal traces
    #[arg(long, default_value_t = DEFAULTS.seed)]
    pub(crate) seed: u64,
    /// Stop after this many operations
    #[arg(long, default_value_t = DEFAULTS.ops)]
    pub(crate) ops: u64,
    /// Whether the trace holds the values or seeds to make them from
    #[arg(long, value_enum, default_value_t = DEFAULTS.values)]
    pub(crate) values: Values,
    /// How keys are made
    #[arg(long, value_enum, default_value_t = DEFAULTS.keys)]
    pub(crate) keys: Keys,
    /// Which maps are persisted
    #[arg(long, value_enum, default_value_t = DEFAULTS.profile)]
    pub(crate) profile: Profile,
    /// Streaming jobs that run at any time
    #[arg(long, default_value_t = DEFAULTS.jobs)]
    pub(crate) jobs: u32,
    /// Task groups a pipeline (2 + parallelism)
    #[arg(long, default_value_t = DEFAULTS.tasks)]
    pub(crate) tasks: u32,
    /// Pipelines a job
    #[arg(long, default_value_t = DEFAULTS.pipelines)]
    pub(crate) pipelines: u32,
    /// Checkpoints that a streaming job lives for (mean)
    #[arg(long, default_value_t = DEFAULTS.checkpoints)]
    pub(crate) checkpoints: u64,
    /// Time between two checkpoints of a job, in milliseconds
    #[arg(long, default_value_t = DEFAULTS.checkpoint_interval_ms)]
    pub(crate) checkpoint_interval_ms: u64,
    /// Pipeline restores in a thousand checkpoints
    #[arg(long, default_value_t = DEFAULTS.restarts_per_1000_checkpoints)]
    pub(crate) restarts_per_1000_checkpoints: f64,
    /// Short batch jobs an hour
    #[arg(long, default_value_t = DEFAULTS.batch_jobs_per_hour)]
    pub(crate) batch_jobs_per_hour: f64,
    /// How long a batch job runs, in seconds
    #[arg(long, default_value_t = DEFAULTS.batch_seconds)]
    pub(crate) batch_seconds: f64,
    /// Share of the jobs that end FAILED
    #[arg(long, default_value_t = DEFAULTS.fail_rate)]
    pub(crate) fail_rate: f64,
    /// Persist the running metrics map (default: as the profile says)
    #[arg(long, value_enum)]
    pub(crate) metrics: Option<Switch>,
    /// Time between two writes of the metrics map, in milliseconds
    #[arg(long, default_value_t = DEFAULTS.metrics_interval_ms)]
    pub(crate) metrics_interval_ms: u64,
    /// One job's share of the metrics map, in bytes
    #[arg(long, default_value_t = DEFAULTS.metrics_bytes_per_job)]
    pub(crate) metrics_bytes_per_job: usize,
    /// Keys that the metrics map is spread over
    #[arg(long, default_value_t = DEFAULTS.metrics_partitions)]
    pub(crate) metrics_partitions: u64,
    /// Members that each write the metrics map
    #[arg(long, default_value_t = DEFAULTS.workers)]
    pub(crate) workers: u32,
    /// Persist the checkpoint monitor map (default: as the profile says)
    #[arg(long, value_enum)]
    pub(crate) monitor: Option<Switch>,
    /// Checkpoints that the monitor map remembers for each pipeline
    #[arg(long, default_value_t = DEFAULTS.monitor_history)]
    pub(crate) monitor_history: usize,
    /// Bytes of each of them
    #[arg(long, default_value_t = DEFAULTS.monitor_entry_bytes)]
    pub(crate) monitor_entry_bytes: usize,
    /// Median size of a job's description, in bytes
    #[arg(long, default_value_t = DEFAULTS.job_info_bytes)]
    pub(crate) job_info_bytes: u32,
    /// Median size of a finished job's graph, in bytes
    #[arg(long, default_value_t = DEFAULTS.dag_bytes)]
    pub(crate) dag_bytes: u32,
    /// Median size of a finished job's metrics a task group, in bytes
    #[arg(long, default_value_t = DEFAULTS.finished_metrics_bytes)]
    pub(crate) finished_metrics_bytes: u32,
    /// What happens to a finished job's entries after the history minutes
    #[arg(long, value_enum, default_value_t = DEFAULTS.history)]
    pub(crate) history: History,
    /// How long a finished job's entries are kept, in minutes
    #[arg(long, default_value_t = DEFAULTS.history_minutes)]
    pub(crate) history_minutes: u64,
}

const DEFAULTS: Parameters = Parameters {
    seed: 1,
    ops: 1_000_000,
    values: Values::Full,
    keys: Keys::Opaque,
    profile: Profile::V2313,
    jobs: 40,
    tasks: 3,
    pipelines: 1,
    checkpoints: 17_280,
    checkpoint_interval_ms: 5_000,
    restarts_per_1000_checkpoints: 0.2,
    batch_jobs_per_hour: 60.0,
    batch_seconds: 30.0,
    fail_rate: 0.03,
    metrics: None,
    metrics_interval_ms: 10_000,
    metrics_bytes_per_job: 4_450,
    metrics_partitions: 1,
    workers: 1,
    monitor: None,
    monitor_history: 32,
    monitor_entry_bytes: 150,
    job_info_bytes: 6_000,
    dag_bytes: 3_000,
    finished_metrics_bytes: 4_000,
    history: History::Delete,
    history_minutes: 1_440,
};

impl Default for Parameters {
    fn default() -> Self {
        DEFAULTS
    }
}

impl Parameters {
    pub(crate) fn metrics_on(&self) -> bool {
        match self.metrics {
            Some(switch) => switch == Switch::On,
            None => self.profile == Profile::V2313,
        }
    }

    pub(crate) fn monitor_on(&self) -> bool {
        match self.monitor {
            Some(switch) => switch == Switch::On,
            None => self.profile == Profile::Dev,
        }
    }

    pub(crate) fn seeded(&self) -> bool {
        self.values == Values::Seeded
    }

    /// Refuses what cannot be generated.
    ///
    /// # Errors
    /// Names the first option out of its range.
    pub(crate) fn check(&self) -> Outcome {
        let at_least_one = [
            ("--ops", self.ops),
            ("--tasks", u64::from(self.tasks)),
            ("--pipelines", u64::from(self.pipelines)),
            ("--checkpoints", self.checkpoints),
            ("--checkpoint-interval-ms", self.checkpoint_interval_ms),
            ("--metrics-interval-ms", self.metrics_interval_ms),
            ("--metrics-partitions", self.metrics_partitions),
        ];
        if let Some((option, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Failure::new(format!("{option} is 0; give at least 1")));
        }
        if self.metrics_bytes_per_job < 16 {
            return Err(Failure::new("--metrics-bytes-per-job is too small; give at least 16"));
        }
        if self.jobs == 0 && self.batch_jobs_per_hour <= 0.0 {
            return Err(Failure::new(
                "no jobs would ever run; raise --jobs or --batch-jobs-per-hour",
            ));
        }
        let numbers = [
            ("--restarts-per-1000-checkpoints", self.restarts_per_1000_checkpoints),
            ("--batch-jobs-per-hour", self.batch_jobs_per_hour),
            ("--batch-seconds", self.batch_seconds),
            ("--fail-rate", self.fail_rate),
        ];
        let bad = |value: f64| !value.is_finite() || value < 0.0;
        if let Some((option, value)) = numbers.iter().find(|(_, value)| bad(*value)) {
            return Err(Failure::new(format!("{option} is {value}; give a number from 0 up")));
        }
        Ok(())
    }

    /// The parameters as the header of a trace holds them.
    pub(crate) fn to_json(&self) -> Value {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned())
        };
        json!({
            "generator": "bwtree",
            "seed": self.seed,
            "ops": self.ops,
            "values": name(self.values.to_possible_value()),
            "keys": name(self.keys.to_possible_value()),
            "profile": name(self.profile.to_possible_value()),
            "jobs": self.jobs,
            "tasks": self.tasks,
            "pipelines": self.pipelines,
            "checkpoints": self.checkpoints,
            "checkpoint_interval_ms": self.checkpoint_interval_ms,
            "restarts_per_1000_checkpoints": self.restarts_per_1000_checkpoints,
            "batch_jobs_per_hour": self.batch_jobs_per_hour,
            "batch_seconds": self.batch_seconds,
            "fail_rate": self.fail_rate,
            "metrics": if self.metrics_on() { "on" } else { "off" },
            "metrics_interval_ms": self.metrics_interval_ms,
            "metrics_bytes_per_job": self.metrics_bytes_per_job,
            "metrics_partitions": self.metrics_partitions,
            "workers": self.workers,
            "monitor": u8::from(self.monitor_on()),
            "monitor_history": self.monitor_history,
            "monitor_entry_bytes": self.monitor_entry_bytes,
            "job_info_bytes": self.job_info_bytes,
            "dag_bytes": self.dag_bytes,
            "finished_metrics_bytes": self.finished_metrics_bytes,
            "history": name(self.history.to_possible_value()),
            "history_minutes": self.history_minutes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_generated_is_refused() {
        assert!(Parameters::default().check().is_ok());
        let bad = [
            Parameters { ops: 0, ..Parameters::default() },
            Parameters { metrics_bytes_per_job: 3, ..Parameters::default() },
            Parameters { fail_rate: f64::NAN, ..Parameters::default() },
            Parameters { jobs: 0, batch_jobs_per_hour: 0.0, ..Parameters::default() },
        ];
        assert!(bad.iter().all(|parameters| parameters.check().is_err()));
    }
}
