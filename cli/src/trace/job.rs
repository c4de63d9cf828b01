//! A running job: its keys in every map, and the state that the next operation depends on.

use super::fields::{self, class};
use super::parameters::Keys;
use crate::base64;

/// How keys of each kind are written.
impl Keys {
    pub(crate) fn long(self, number: u64) -> Vec<u8> {
        match self {
            Self::Opaque => fields::boxed_long(number),
            Self::Ordered => number.to_be_bytes().to_vec(),
        }
    }

    pub(crate) fn string(self, text: &str) -> Vec<u8> {
        match self {
            Self::Opaque => fields::boxed_string(text.as_bytes()),
            Self::Ordered => text.as_bytes().to_vec(),
        }
    }

    fn pipeline(self, job: u64, pipeline: u32) -> Vec<u8> {
        match self {
            Self::Opaque => {
                let mut key = vec![0x08];
                fields::push_varint(&mut key, job);
                key.push(0x10);
                fields::push_varint(&mut key, u64::from(pipeline));
                key
            }
            Self::Ordered => ordered_pipeline(job, pipeline).to_vec(),
        }
    }

    fn task_group(self, job: u64, pipeline: u32, task: u64) -> Vec<u8> {
        let mut key = self.pipeline(job, pipeline);
        match self {
            Self::Opaque => {
                key.push(0x18);
                fields::push_varint(&mut key, task);
            }
            Self::Ordered => key.extend_from_slice(&task.to_be_bytes()),
        }
        key
    }

    fn checkpoint(self, job: u64, pipeline: u32) -> Vec<u8> {
        self.string(&base64::encode(&ordered_pipeline(job, pipeline)))
    }
}

fn ordered_pipeline(job: u64, pipeline: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&job.to_be_bytes());
    key[8..].copy_from_slice(&pipeline.to_be_bytes());
    key
}

/// A task group's key and the times of its states.
#[derive(Debug)]
pub(crate) struct TaskGroup {
    pub(crate) key: Vec<u8>,
    pub(crate) stamps: [u64; 10],
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) key: Vec<u8>,
    pub(crate) checkpoint_key: Vec<u8>,
    pub(crate) state_key: Vec<u8>,
    pub(crate) groups: Vec<TaskGroup>,
    pub(crate) stamps: [u64; 10],
    /// The number of its last checkpoint.
    pub(crate) checkpoint: u64,
    /// Checkpoints that the monitor map remembers of it.
    pub(crate) remembered: usize,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) batch: bool,
    /// Checkpoints until it ends; a batch job ends by time instead.
    pub(crate) left: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) stamps: [u64; 13],
    pub(crate) pipelines: Vec<Pipeline>,
    /// Its share of the metrics value: what stands before and after the four bytes that change.
    pub(crate) metrics: (Vec<u8>, Vec<u8>),
}

impl Job {
    pub(crate) fn new(id: u64, keys: Keys, shape: (u32, u32), metrics_bytes: usize) -> Self {
        let (pipelines, tasks) = shape;
        Self {
            id,
            batch: false,
            left: 0,
            key: keys.long(id),
            stamps: [0; 13],
            pipelines: (1..=pipelines).map(|number| pipeline(id, number, tasks, keys)).collect(),
            metrics: metrics(id, metrics_bytes),
        }
    }

    /// The value of the slots map for a pipeline: one profile a task group.
    pub(crate) fn slots(pipeline: &Pipeline, now_ms: u64) -> Vec<u8> {
        let mut value = Vec::new();
        for group in &pipeline.groups {
            fields::push_string(&mut value, 0x0a, class::TASK_GROUP.as_bytes());
            fields::push_string(&mut value, 0x12, class::SLOT.as_bytes());
            fields::push_string(&mut value, 0x1a, class::ADDRESS.as_bytes());
            fields::push_string(&mut value, 0x22, b"10.0.0.12");
            fields::push_string(&mut value, 0x2a, class::RESOURCE.as_bytes());
            fields::push_string(&mut value, 0x32, b"3f9c0b3e-5c8f-4f2d-9a51-0d6a1c6c8e11");
            value.extend_from_slice(&now_ms.to_le_bytes());
            value.extend_from_slice(&group.key);
        }
        value
    }
}

fn pipeline(job: u64, number: u32, tasks: u32, keys: Keys) -> Pipeline {
    let group = |task: u32| {
        let id = if task == 0 { 1 } else { 30_000 + u64::from(task) };
        TaskGroup { key: keys.task_group(job, number, id), stamps: [0; 10] }
    };
    Pipeline {
        key: keys.pipeline(job, number),
        checkpoint_key: keys.checkpoint(job, number),
        state_key: keys.string(&format!("checkpoint_state_{job}_{number}")),
        groups: (0..tasks).map(group).collect(),
        stamps: [0; 10],
        checkpoint: 1,
        remembered: 0,
    }
}

/// One job's share of the metrics value, `bytes` long with the four changing bytes in its middle.
fn metrics(job: u64, bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut value = Vec::with_capacity(bytes + 1_024);
    let low = &job.to_be_bytes()[4..];
    let mut task = 0;
    while value.len() < bytes {
        task += 1;
        fields::push_string(&mut value, 0x0a, class::TASK.as_bytes());
        fields::push_string(&mut value, 0x12, class::TASK_GROUP.as_bytes());
        value.push(0x08);
        fields::push_varint(&mut value, job);
        value.extend_from_slice(b"\x10\x01");
        fields::push_varint(&mut value, task);
        fields::push_string(&mut value, 0x1a, class::METRICS_CONTEXT.as_bytes());
        for name in fields::METRIC_NAMES {
            fields::push_string(&mut value, 0x0a, name.as_bytes());
            fields::push_string(&mut value, 0x12, class::COUNTER.as_bytes());
            fields::push_string(&mut value, 0x1a, name.as_bytes());
            value.push(0x20);
            value.extend_from_slice(low);
        }
    }
    (value[..bytes / 2].to_vec(), value[bytes / 2 + 4..bytes].to_vec())
}
