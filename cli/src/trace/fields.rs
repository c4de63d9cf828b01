//! The bytes of keys and values as the engine's serializer makes them: tags, varints and strings.

use std::sync::LazyLock;

/// Class names that keys and values carry.
pub(crate) mod class {
    pub(crate) const LONG: &str = "java.lang.Long";
    pub(crate) const STRING: &str = "java.lang.String";
    pub(crate) const PIPELINE: &str =
        "org.apache.seatunnel.engine.server.dag.physical.PipelineLocation";
    pub(crate) const TASK_GROUP: &str =
        "org.apache.seatunnel.engine.server.execution.TaskGroupLocation";
    pub(crate) const TASK: &str = "org.apache.seatunnel.engine.server.execution.TaskLocation";
    pub(crate) const METRICS_CONTEXT: &str =
        "org.apache.seatunnel.engine.server.metrics.SeaTunnelMetricsContext";
    pub(crate) const COUNTER: &str = "org.apache.seatunnel.api.common.metrics.ThreadSafeCounter";
    pub(crate) const SLOT: &str =
        "org.apache.seatunnel.engine.server.resourcemanager.resource.SlotProfile";
    pub(crate) const RESOURCE: &str =
        "org.apache.seatunnel.engine.server.resourcemanager.resource.ResourceProfile";
    pub(crate) const ADDRESS: &str = "com.hazelcast.cluster.Address";
}

/// The names of the metrics that a worker reports for each task.
pub(crate) const METRIC_NAMES: [&str; 8] = [
    "SourceReceivedCount",
    "SourceReceivedBytes",
    "SourceReceivedQPS",
    "SourceReceivedBytesPerSeconds",
    "SinkWriteCount",
    "SinkWriteBytes",
    "SinkWriteQPS",
    "SinkWriteBytesPerSeconds",
];

const WORDS: [&str; 20] = [
    "\"plugin_name\":\"MySQL-CDC\",",
    "\"result_table_name\":\"t_%d\",",
    "\"base-url\":\"jdbc:mysql://10.0.0.1:3306/db\",",
    "\"table-names\":[\"db.orders\"],",
    "\"startup.mode\":\"initial\",",
    "\"checkpoint.interval\":5000,",
    "org.apache.seatunnel.api.table.catalog.CatalogTable",
    "org.apache.seatunnel.api.table.type.BasicType",
    "file:/opt/seatunnel/connectors/connector-cdc-mysql-2.3.13.jar",
    "\"parallelism\":1,",
    "\"job.mode\":\"STREAMING\",",
    "physicalColumn",
    "nullable",
    "varchar(255)",
    "bigint",
    "decimal(18,4)",
    "timestamp",
    "user_id",
    "order_id",
    "amount",
];

pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        out.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The bytes that `push_varint` takes for `number`.
pub(crate) fn varint_len(number: u64) -> u64 {
    u64::from(64 - number.max(1).leading_zeros()).div_ceil(7)
}

/// A tag, a length and the bytes.
pub(crate) fn push_string(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A boxed long inside the serializer's wrapper object.
pub(crate) fn boxed_long(number: u64) -> Vec<u8> {
    let mut out = vec![0x0b, 0x30];
    push_varint(&mut out, number);
    out.push(0x0c);
    out
}

/// A string inside the serializer's wrapper object.
pub(crate) fn boxed_string(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x0b];
    push_string(&mut out, 0x4a, bytes);
    out.push(0x0c);
    out
}

/// An array of boxed longs in which 0 stands for an empty place.
pub(crate) fn long_array(slots: &[u64]) -> Vec<u8> {
    let mut out = vec![0x0b];
    push_string(&mut out, 0x7a, class::LONG.as_bytes());
    out.push(0x18);
    push_varint(&mut out, slots.len() as u64);
    out.extend_from_slice(b"\x10\x01");
    for &slot in slots {
        if slot == 0 {
            out.extend_from_slice(b"\x18\x01");
        } else {
            out.push(0x08);
            push_varint(&mut out, slot);
        }
    }
    out.push(0x0c);
    out
}

/// The Java class of a key, told from its form: a trace does not carry it, but each record of the
/// append-only log does.
pub(crate) fn key_class(key: &[u8]) -> &'static str {
    match key {
        [0x0b, 0x30, ..] => class::LONG,
        [0x0b, 0x4a, ..] => class::STRING,
        // Job, 0x10, pipeline, and in a task group's key 0x18 and the task.
        [0x08, rest @ ..] => {
            let tag = |byte: &u8| *byte < 0x80;
            let after_job = rest.iter().position(tag).map_or(0, |at| at + 2);
            let after_pipeline =
                rest.iter().skip(after_job).position(tag).map_or(0, |at| after_job + at + 1);
            if after_pipeline < rest.len() { class::TASK_GROUP } else { class::PIPELINE }
        }
        _ => match key.len() {
            8 => class::LONG,
            12 => class::PIPELINE,
            20 => class::TASK_GROUP,
            _ => class::STRING,
        },
    }
}

/// `length` bytes of text that compresses as configurations and plans do; `draw` picks words.
pub(crate) fn text(length: usize, mut draw: impl FnMut(u64) -> u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    while out.len() < length {
        out.extend_from_slice(WORDS[draw(WORDS.len() as u64) as usize].as_bytes());
    }
    out.truncate(length);
    out
}

/// The states of a kind of thing: each with its bytes and its place in the array of timestamps.
#[derive(Debug)]
pub(crate) struct States {
    names: &'static [&'static str],
    encoded: Vec<Vec<u8>>,
}

impl States {
    fn new(names: &'static [&'static str]) -> Self {
        let encode = |(ordinal, name): (usize, &&str)| {
            let mut out = Vec::new();
            push_string(&mut out, 0x0a, name.as_bytes());
            out.push(0x10);
            push_varint(&mut out, ordinal as u64);
            out
        };
        Self { names, encoded: names.iter().enumerate().map(encode).collect() }
    }

    /// The place of a state, and its bytes. An unknown name is taken for the first state.
    pub(crate) fn find(&self, name: &str) -> (usize, Vec<u8>) {
        let ordinal = self.names.iter().position(|known| *known == name);
        debug_assert!(ordinal.is_some(), "no state {name}");
        let ordinal = ordinal.unwrap_or(0);
        (ordinal, self.encoded[ordinal].clone())
    }
}

/// The states of a job.
pub(crate) static JOB_STATES: LazyLock<States> = LazyLock::new(|| {
    States::new(&[
        "INITIALIZING",
        "CREATED",
        "PENDING",
        "SCHEDULED",
        "RUNNING",
        "FAILING",
        "FAILED",
        "DOING_SAVEPOINT",
        "SAVEPOINT_DONE",
        "CANCELING",
        "CANCELED",
        "FINISHED",
        "UNKNOWABLE",
    ])
});

/// The states of a pipeline and of a task group.
pub(crate) static RUN_STATES: LazyLock<States> = LazyLock::new(|| {
    States::new(&[
        "CREATED",
        "SCHEDULED",
        "DEPLOYING",
        "RUNNING",
        "FINISHED",
        "CANCELING",
        "CANCELED",
        "FAILING",
        "FAILED",
        "INITIALIZING",
    ])
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_lengths_are_what_is_pushed() {
        for shift in 0..64 {
            for number in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                push_varint(&mut out, number);
                assert_eq!(out.len() as u64, varint_len(number), "{number}");
            }
        }
    }

    #[test]
    fn a_counter_takes_six_bytes_and_states_are_small() {
        assert_eq!(boxed_long(70_000).len(), 6);
        assert_eq!(JOB_STATES.find("RUNNING"), (4, b"\x0a\x07RUNNING\x10\x04".to_vec()));
        assert_eq!(long_array(&[0, 300]).last(), Some(&0x0c));
    }

    #[test]
    fn text_has_the_length_asked_for() {
        let mut turn = 0;
        let made = text(1_001, |bound| {
            turn += 1;
            turn % bound
        });
        assert_eq!(made.len(), 1_001);
    }
}
