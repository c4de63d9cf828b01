//! The life of the jobs as an endless stream of operations, cut at the number asked for.
//!
//! Events wait in a heap by their virtual time: a checkpoint of a streaming job, the periodic write
//! of the metrics map, the arrival and the end of a batch job. Each event pushes the operations
//! that it causes; the iterator hands them out one by one. Live data stays proportional to the
//! running jobs and the kept history, whatever the length of the trace.

use super::fields::{self, JOB_STATES, RUN_STATES};
use super::job::{Job, Pipeline};
use super::parameters::{History, Parameters};
use super::{Change, MAX_VALUE_BYTES, Op, Value, map};
use crate::random::Random;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Virtual time at the start of a trace, in milliseconds since the epoch.
const START_MS: u64 = 1_750_000_000_000;
/// The engine's job ids count milliseconds from here.
const JOB_IDS_FROM_MS: u64 = 1_514_764_800_000;

/// What happens next; jobs are named by the number of their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Checkpoint(u64),
    Metrics,
    BatchArrives,
    BatchEnds(u64),
}

/// A value to put: its bytes, or only its length where values are seeded.
enum Content {
    Bytes(Vec<u8>),
    Length(usize),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// An iterator over the operations of a trace.
#[derive(Debug)]
pub(crate) struct Generator {
    parameters: Parameters,
    random: Random,
    now_ms: u64,
    /// Operations handed out so far.
    issued: u64,
    /// Operations that the last event caused and that have not been taken yet.
    ready: VecDeque<Op>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Ties between events of one millisecond go by the order in which they were planned.
    planned: u64,
    jobs: BTreeMap<u64, Job>,
    /// Streaming jobs of the first moment that have not been started yet.
    unstarted: u32,
    started: u64,
    value_seed: u64,
    /// Keys of finished jobs, with the time at which their history goes.
    history: VecDeque<(u64, Vec<u8>)>,
}

impl Generator {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self {
            random: Random::new(parameters.seed),
            now_ms: START_MS,
            issued: 0,
            ready: VecDeque::new(),
            events: BinaryHeap::new(),
            planned: 0,
            jobs: BTreeMap::new(),
            unstarted: parameters.jobs,
            started: 0,
            value_seed: parameters.seed.wrapping_mul(1_000_003).wrapping_add(7),
            history: VecDeque::new(),
            parameters: parameters.clone(),
        }
    }

    /// The virtual time of the last event, in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn plan(&mut self, at_ms: u64, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at_ms, self.planned, event)));
    }

    /// Lets one thing happen; afterwards `ready` may hold operations. False when nothing is left.
    fn step(&mut self) -> bool {
        if self.unstarted > 0 {
            self.start_first_jobs();
            return true;
        }
        let Some(Reverse((at_ms, _, event))) = self.events.pop() else { return false };
        self.now_ms = self.now_ms.max(at_ms);
        self.drop_history();
        match event {
            Event::Checkpoint(job) => self.checkpoint(at_ms, job),
            Event::Metrics => {
                self.write_metrics(None);
                self.plan(at_ms + self.parameters.metrics_interval_ms, Event::Metrics);
            }
            Event::BatchArrives => {
                let job = self.start(true);
                let run = self.parameters.batch_seconds * 1e3 * self.random.between(0.5, 2.0);
                self.plan(at_ms + run as u64, Event::BatchEnds(job));
                self.plan_batch(at_ms);
            }
            Event::BatchEnds(job) => self.end(job),
        }
        true
    }

    /// Starts one of the first streaming jobs; with the last of them the other events begin.
    fn start_first_jobs(&mut self) {
        let jobs = u64::from(self.parameters.jobs);
        let step = self.parameters.checkpoint_interval_ms;
        let position = jobs - u64::from(self.unstarted);
        let job = self.start(false);
        self.plan(self.now_ms + step + position * step / jobs, Event::Checkpoint(job));
        self.now_ms += 20;
        self.unstarted -= 1;
        if self.unstarted == 0 {
            self.begin_events();
        }
    }

    fn begin_events(&mut self) {
        if self.parameters.metrics_on() {
            self.plan(self.now_ms + self.parameters.metrics_interval_ms, Event::Metrics);
        }
        self.plan_batch(self.now_ms);
    }

    fn plan_batch(&mut self, from_ms: u64) {
        let rate = self.parameters.batch_jobs_per_hour;
        if rate > 0.0 {
            let gap = 3_600_000.0 / rate * self.random.between(0.5, 1.5);
            self.plan(from_ms + (gap as u64).max(1), Event::BatchArrives);
        }
    }

    fn checkpoint(&mut self, at_ms: u64, number: u64) {
        let step = self.parameters.checkpoint_interval_ms;
        let Some(mut job) = self.jobs.remove(&number) else { return };
        if job.left == 0 {
            self.jobs.insert(number, job);
            self.end(number);
            // Churn: a new job takes its place.
            let next = self.start(false);
            self.plan(at_ms + step, Event::Checkpoint(next));
            return;
        }
        job.left -= 1;
        for i in 0..job.pipelines.len() {
            let pipeline = &mut job.pipelines[i];
            pipeline.checkpoint += 1;
            let counter = fields::boxed_long(pipeline.checkpoint);
            self.put(map::CHECKPOINT, &pipeline.checkpoint_key, counter);
            if self.parameters.monitor_on() {
                self.write_monitor(&job.key, &mut job.pipelines[i]);
            }
        }
        let restarts = self.parameters.restarts_per_1000_checkpoints / 1_000.0;
        if restarts > 0.0 && self.random.unit() < restarts {
            self.restart(&mut job);
        }
        self.jobs.insert(number, job);
        self.plan(at_ms + step, Event::Checkpoint(number));
    }

    // ------------------------------------------------------------------------------- operations

    fn put(&mut self, map: u8, key: &[u8], content: impl Into<Content>) {
        self.put_until(map, key, content, 0);
    }

    fn put_until(&mut self, map: u8, key: &[u8], content: impl Into<Content>, expire_at_ms: u64) {
        let content = content.into();
        let value = if self.parameters.seeded() {
            let length = match &content {
                Content::Bytes(bytes) => bytes.len(),
                Content::Length(length) => *length,
            };
            self.value_seed = (self.value_seed)
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Value::Seeded {
                seed: self.value_seed,
                length: length.min(MAX_VALUE_BYTES as usize) as u32,
            }
        } else {
            Value::Full(match content {
                Content::Bytes(bytes) => bytes,
                Content::Length(length) => vec![0; length],
            })
        };
        self.push(map, key, Change::Put { value, expire_at_ms });
    }

    fn delete(&mut self, map: u8, key: &[u8]) {
        self.push(map, key, Change::Delete);
    }

    fn push(&mut self, map: u8, key: &[u8], change: Change) {
        self.ready.push_back(Op { at_ms: self.now_ms, map, key: key.to_vec(), change });
    }

    /// Text of about `median` bytes, log-normally distributed.
    fn text(&mut self, median: u32, deviation: f64) -> Content {
        let length = self.sized(median, deviation);
        self.text_of(length)
    }

    fn sized(&mut self, median: u32, deviation: f64) -> usize {
        let length = f64::from(median) * self.random.normal(deviation).exp();
        (length as usize).clamp(64, MAX_VALUE_BYTES as usize)
    }

    fn text_of(&mut self, length: usize) -> Content {
        if self.parameters.seeded() {
            return Content::Length(length);
        }
        Content::Bytes(fields::text(length, |bound| self.random.below(bound)))
    }

    // ------------------------------------------------------------------------- states of a job

    fn move_job(&mut self, job: &mut Job, state: &str) {
        let (place, bytes) = JOB_STATES.find(state);
        job.stamps[place] = self.now_ms;
        self.put(map::STAMPS, &job.key, fields::long_array(&job.stamps));
        // The first state is only stamped.
        if state != "INITIALIZING" {
            self.put(map::STATE, &job.key, bytes);
        }
    }

    fn move_run(&mut self, key: &[u8], stamps: &mut [u64; 10], state: &str) {
        let (place, bytes) = RUN_STATES.find(state);
        stamps[place] = self.now_ms;
        self.put(map::STAMPS, key, fields::long_array(stamps));
        if state != "INITIALIZING" {
            self.put(map::STATE, key, bytes);
        }
    }

    fn move_pipeline(&mut self, pipeline: &mut Pipeline, state: &str) {
        self.move_run(&pipeline.key, &mut pipeline.stamps, state);
    }

    fn move_groups(&mut self, pipeline: &mut Pipeline, states: &[&str]) {
        for group in &mut pipeline.groups {
            for state in states {
                self.move_run(&group.key, &mut group.stamps, state);
            }
        }
    }

    // ------------------------------------------------------------------------ a job's lifetime

    /// Starts a job and returns its number.
    fn start(&mut self, batch: bool) -> u64 {
        self.started += 1;
        let sequence = self.started & 63;
        let id = (self.now_ms - JOB_IDS_FROM_MS) << 22 | sequence << 16 | 1;
        let shape = (self.parameters.pipelines, self.parameters.tasks);
        let mut job =
            Job::new(id, self.parameters.keys, shape, self.parameters.metrics_bytes_per_job);
        job.batch = batch;
        if !batch {
            let life = self.parameters.checkpoints as f64 * self.random.between(0.5, 1.5);
            job.left = (life as u64).max(1);
        }
        let info = self.text(self.parameters.job_info_bytes, 0.6);
        self.put(map::INFO, &job.key, info);
        self.move_job(&mut job, "INITIALIZING");
        self.move_job(&mut job, "CREATED");
        for pipeline in &mut job.pipelines {
            self.move_pipeline(pipeline, "INITIALIZING");
            self.move_pipeline(pipeline, "CREATED");
            self.move_groups(pipeline, &["INITIALIZING", "CREATED"]);
        }
        self.move_job(&mut job, "PENDING");
        self.move_job(&mut job, "SCHEDULED");
        for pipeline in &mut job.pipelines {
            self.put(map::CHECKPOINT, &pipeline.checkpoint_key, fields::boxed_long(1));
            self.deploy(pipeline);
        }
        self.move_job(&mut job, "RUNNING");
        self.jobs.insert(self.started, job);
        self.started
    }

    fn deploy(&mut self, pipeline: &mut Pipeline) {
        self.move_pipeline(pipeline, "SCHEDULED");
        self.put(map::SLOTS, &pipeline.key, Job::slots(pipeline, self.now_ms));
        self.put(map::STATE, &pipeline.state_key, RUN_STATES.find("RUNNING").1);
        self.move_pipeline(pipeline, "DEPLOYING");
        self.move_groups(pipeline, &["DEPLOYING"]);
        self.move_groups(pipeline, &["RUNNING"]);
        self.move_pipeline(pipeline, "RUNNING");
    }

    /// A pipeline's restore: everything of the job fails and is deployed again.
    fn restart(&mut self, job: &mut Job) {
        for pipeline in &mut job.pipelines {
            self.move_groups(pipeline, &["FAILED"]);
            self.move_pipeline(pipeline, "FAILING");
            self.move_pipeline(pipeline, "FAILED");
            self.delete(map::SLOTS, &pipeline.key);
            self.move_groups(pipeline, &["CREATED"]);
            self.move_pipeline(pipeline, "CREATED");
            let counter = fields::boxed_long(pipeline.checkpoint);
            self.put(map::CHECKPOINT, &pipeline.checkpoint_key, counter);
            self.deploy(pipeline);
        }
    }

    /// Ends a job: its history is written, its running state deleted.
    fn end(&mut self, number: u64) {
        let Some(mut job) = self.jobs.remove(&number) else { return };
        let failed = self.random.unit() < self.parameters.fail_rate;
        let state = match (failed, job.batch) {
            (true, _) => "FAILED",
            (false, true) => "FINISHED",
            (false, false) => "CANCELED",
        };
        let gone_at_ms = self.now_ms + self.parameters.history_minutes * 60_000;
        let expire = if self.parameters.history == History::Ttl { gone_at_ms } else { 0 };
        for i in 0..job.pipelines.len() {
            let pipeline = &mut job.pipelines[i];
            self.move_groups(pipeline, &[state]);
            self.move_pipeline(pipeline, state);
            self.put(map::STATE, &pipeline.state_key, RUN_STATES.find(state).1);
            if self.parameters.metrics_on() {
                self.write_metrics(Some(job.id));
            }
            let empty = b"\x0a\x00".to_vec();
            self.put_until(map::FINISHED_METRICS, &job.key, empty, expire);
            let median =
                self.parameters.finished_metrics_bytes.saturating_mul(self.parameters.tasks);
            let metrics = self.text(median, 0.3);
            self.put_until(map::FINISHED_METRICS, &job.key, metrics, expire);
            self.delete(map::SLOTS, &job.pipelines[i].key);
            self.delete(map::CHECKPOINT, &job.pipelines[i].checkpoint_key);
        }
        self.move_job(&mut job, state);
        let graph = self.text(self.parameters.dag_bytes, 0.4);
        self.put_until(map::FINISHED_GRAPH, &job.key, graph, expire);
        let groups = self.parameters.tasks as usize * self.parameters.pipelines as usize;
        let trouble = if failed { self.sized(3_000, 0.5) } else { 0 };
        let outcome = self.text_of(260 + 120 * groups + trouble);
        self.put_until(map::FINISHED_STATE, &job.key, outcome, expire);
        self.forget(&job);
        if self.parameters.history == History::Delete {
            self.history.push_back((gone_at_ms, job.key));
        }
    }

    fn forget(&mut self, job: &Job) {
        self.delete(map::STAMPS, &job.key);
        for pipeline in &job.pipelines {
            self.delete(map::STATE, &pipeline.key);
            self.delete(map::STAMPS, &pipeline.key);
            self.delete(map::STATE, &pipeline.state_key);
            for group in &pipeline.groups {
                self.delete(map::STATE, &group.key);
                self.delete(map::STAMPS, &group.key);
            }
        }
        self.delete(map::STATE, &job.key);
        self.delete(map::INFO, &job.key);
        if self.parameters.monitor_on() {
            self.delete(map::MONITOR, &job.key);
        }
    }

    /// Deletes the history of jobs whose time is over. Every job's history lives equally long, so
    /// the queue is in order.
    fn drop_history(&mut self) {
        while let Some((at_ms, _)) = self.history.front()
            && *at_ms <= self.now_ms
            && let Some((_, key)) = self.history.pop_front()
        {
            for map in [map::FINISHED_METRICS, map::FINISHED_GRAPH, map::FINISHED_STATE] {
                self.delete(map, &key);
            }
        }
    }

    // ----------------------------------------------------------------------- the large values

    /// Every worker writes the metrics of the whole cluster again; `only` is a job that has just
    /// ended, for which one worker writes the partition it was in.
    fn write_metrics(&mut self, only: Option<u64>) {
        let partitions = self.parameters.metrics_partitions;
        let tick = ((self.now_ms / 1_000) as u32).to_le_bytes();
        let workers = if only.is_some() { 1 } else { self.parameters.workers };
        for _ in 0..workers {
            for partition in 0..partitions {
                if only.is_some_and(|id| id % partitions != partition) {
                    continue;
                }
                let jobs = || self.jobs.values().filter(|job| job.id % partitions == partition);
                if jobs().next().is_none() && only.is_none() {
                    continue;
                }
                let content = if self.parameters.seeded() {
                    Content::Length(jobs().count() * self.parameters.metrics_bytes_per_job + 2)
                } else {
                    let mut value = vec![0x0b];
                    for job in jobs() {
                        value.extend_from_slice(&job.metrics.0);
                        value.extend_from_slice(&tick);
                        value.extend_from_slice(&job.metrics.1);
                    }
                    value.push(0x0c);
                    Content::Bytes(value)
                };
                let key = self.parameters.keys.long(partition + 1);
                self.put(map::METRICS, &key, content);
            }
        }
    }

    /// A checkpoint's trigger, one update an acknowledgement, and its completion: each writes the
    /// whole overview again.
    fn write_monitor(&mut self, job_key: &[u8], pipeline: &mut Pipeline) {
        let entry = self.parameters.monitor_entry_bytes;
        let base = 180 + pipeline.remembered * entry;
        for i in 0..=self.parameters.tasks {
            let value = self.overview(pipeline.checkpoint, i, base + 40);
            self.put(map::MONITOR, job_key, value);
        }
        let mut length = base;
        if pipeline.remembered < self.parameters.monitor_history {
            pipeline.remembered += 1;
            length += entry;
        }
        let value = self.overview(pipeline.checkpoint, 255, length);
        self.put(map::MONITOR, job_key, value);
    }

    fn overview(&self, checkpoint: u64, step: u32, length: usize) -> Content {
        if self.parameters.seeded() {
            return Content::Length(length);
        }
        let mut value = checkpoint.to_le_bytes().to_vec();
        value.extend_from_slice(&step.to_le_bytes());
        value.extend(b"CheckpointHistoryEntry.COMPLETED".iter().cycle().take(length));
        value.truncate(length);
        Content::Bytes(value)
    }
}

impl Iterator for Generator {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if self.issued >= self.parameters.ops {
            return None;
        }
        if self.parameters.jobs == 0 && self.planned == 0 {
            self.begin_events();
        }
        while self.ready.is_empty() {
            if !self.step() {
                return None;
            }
        }
        self.issued += 1;
        self.ready.pop_front()
    }
}
