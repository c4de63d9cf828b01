//! Traces there and back: every option, the other implementation's check, and damaged traces.

use super::parameters::{History, Keys, Profile, Values};
use super::reader::Reader;
use super::{Generator, Ledger, Op, Parameters, Summary, Writer, verb};
use std::path::Path;
use std::process::Command;

/// The independent implementation of the format, where the checkout has it.
const PYTHON_TOOL: &str = "/work/shared/tools/imap_trace.py";

fn small() -> Parameters {
    Parameters {
        ops: 6_000,
        jobs: 7,
        checkpoints: 30,
        batch_jobs_per_hour: 900.0,
        metrics_bytes_per_job: 300,
        history_minutes: 3,
        restarts_per_1000_checkpoints: 20.0,
        fail_rate: 0.3,
        ..Parameters::default()
    }
}

/// The default of each kind, and one trace a dimension.
fn variants() -> Vec<Parameters> {
    vec![
        small(),
        Parameters { values: Values::Seeded, ..small() },
        Parameters { keys: Keys::Ordered, pipelines: 2, tasks: 5, ..small() },
        Parameters { profile: Profile::Dev, metrics_partitions: 3, ..small() },
        Parameters { history: History::Ttl, values: Values::Seeded, ..small() },
        Parameters { history: History::Leak, workers: 3, metrics_partitions: 4, ..small() },
        Parameters { jobs: 0, ..small() },
        Parameters { batch_jobs_per_hour: 0.0, seed: 99, ..small() },
    ]
}

fn write(parameters: &Parameters) -> (Vec<u8>, Vec<Op>, Summary) {
    let mut writer = Writer::new(Vec::new(), parameters).unwrap();
    let mut ledger = Ledger::default();
    let mut generator = Generator::new(parameters);
    let mut ops = Vec::new();
    for op in &mut generator {
        ledger.apply(&op);
        writer.write(&op).unwrap();
        ops.push(op);
    }
    let summary = ledger.summary(generator.now_ms());
    (writer.finish(&summary).unwrap(), ops, summary)
}

/// Reads a trace to its end; the text of the failure if there is one.
fn read(bytes: &[u8]) -> Result<Vec<Op>, String> {
    let run = || {
        let mut reader = Reader::new(bytes)?;
        let mut ledger = Ledger::default();
        let mut ops = Vec::new();
        while let Some(op) = reader.next_op()? {
            ledger.apply(&op);
            ops.push(op);
        }
        let footer = reader.footer()?;
        verb::check(ledger.summary(footer.end_ms).live, footer.live)?;
        Ok(ops)
    };
    run().map_err(|failure: crate::failure::Failure| format!("{failure:?}"))
}

#[test]
fn what_is_written_is_read_back() {
    for parameters in variants() {
        let (bytes, ops, summary) = write(&parameters);
        assert_eq!(ops.len(), 6_000, "{parameters:?}");
        assert_eq!(summary.ops(), 6_000);
        assert!(summary.live.keys > 0);
        assert_eq!(read(&bytes).as_ref(), Ok(&ops), "{parameters:?}");
    }
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let (first, ..) = write(&small());
    let (again, ..) = write(&small());
    let (other, ..) = write(&Parameters { seed: 2, ..small() });
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn live_data_stays_small_while_the_log_grows() {
    let (_, _, summary) = write(&Parameters { ops: 60_000, ..Parameters::default() });
    assert!(summary.log_bytes() > 10 * summary.live.bytes, "{:?}", summary.live);
}

#[test]
fn python_accepts_our_traces_and_we_accept_its() {
    if !Path::new(PYTHON_TOOL).exists() || Command::new("python3").arg("-V").output().is_err() {
        println!("SKIPPED: {PYTHON_TOOL} or python3 is not here, traces were not cross-checked");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.bin");
    for parameters in variants() {
        std::fs::write(&path, write(&parameters).0).unwrap();
        let python = Command::new("python3").arg(PYTHON_TOOL).arg("--verify").arg(&path).output();
        let python = python.unwrap();
        let said = String::from_utf8_lossy(&python.stdout).into_owned();
        assert!(python.status.success() && said.contains("OK"), "{parameters:?}: {said}");
    }
    let theirs = dir.path().join("theirs.bin");
    for options in
        ["", "--values seeded --history ttl", "--profile dev --pipelines 2", "--keys ordered"]
    {
        let made = Command::new("python3")
            .arg(PYTHON_TOOL)
            .args("--quiet --ops 4000 --jobs 5 --checkpoints 20 --history-minutes 1 -o".split(' '))
            .arg(&theirs)
            .args(options.split_whitespace())
            .status();
        assert!(made.unwrap().success(), "{options}");
        let bytes = std::fs::read(&theirs).unwrap();
        assert_eq!(read(&bytes).map(|ops| ops.len()), Ok(4_000), "{options}");
    }
}

#[test]
fn a_cut_trace_is_refused_wherever_it_is_cut() {
    let (bytes, ..) = write(&Parameters { ops: 40, ..small() });
    for length in 0..bytes.len() {
        let text = read(&bytes[..length]).unwrap_err();
        assert!(text.contains("trace"), "cut at {length}: {text}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(read(&longer).unwrap_err().contains("behind the end"));
}

#[test]
fn a_damaged_trace_is_refused_or_at_least_does_no_harm() {
    let (bytes, ops, _) = write(&Parameters { ops: 60, metrics_bytes_per_job: 16, ..small() });
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        match read(&damaged) {
            Err(_) => refused += 1,
            // A header's text or a time in the middle may change unseen; content may not.
            Ok(read) => {
                let content = |ops: &[Op]| ops.iter().map(Op::store_key).collect::<Vec<_>>();
                assert_eq!(content(&read).len(), content(&ops).len(), "byte {at}");
            }
        }
    }
    assert!(refused * 10 > bytes.len() * 6, "{refused} of {}", bytes.len());
}

#[test]
fn damage_names_the_operation() {
    let (bytes, ops, _) = write(&Parameters { ops: 3, ..small() });
    let cut = bytes.len() - 400;
    let text = read(&bytes[..cut]).unwrap_err();
    assert!(text.contains("operations"), "{text}");
    assert!(ops.len() == 3);
    assert!(read(b"IMAPTRC2....").unwrap_err().contains("not a trace"));
}
