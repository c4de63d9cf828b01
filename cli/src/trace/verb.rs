//! `bwtree trace`: makes a trace, or checks one against its own footer.

use super::{Digest, Generator, Ledger, Parameters, Writer, reader};
use crate::failure::{Context, Failure, Outcome, written};
use crate::numbers;
use crate::out::{self, Format, Unit};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Make a trace of job-state traffic, or check one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write, - for stdout
    #[arg(short, long, required_unless_present = "verify")]
    output: Option<String>,
    /// Read this trace (- for stdin) to its end and check it against its footer
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    verify: Option<String>,
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    match (&args.verify, &args.output) {
        (Some(path), _) => verify(path, args.format),
        (None, Some(path)) if path == "-" => {
            let out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            generate(&args.parameters, out, |_| Ok(()), closed_pipe)
        }
        (None, Some(path)) => {
            let file =
                File::create(path).context(format_args!("cannot create the trace {path}"))?;
            let out = BufWriter::with_capacity(1 << 20, file);
            let told = |footer: &Value| {
                out::answer(args.format, footer, || {
                    let number = |name: &str| footer.get(name).and_then(Value::as_u64).unwrap_or(0);
                    format!(
                        "{path}: {} operations, {} live keys, {} live, digest {}",
                        numbers::count(number("ops")),
                        numbers::count(number("live_keys")),
                        numbers::bytes(number("live_bytes")),
                        footer.get("digest").and_then(Value::as_str).unwrap_or("-"),
                    )
                })
            };
            generate(&args.parameters, out, told, |error| {
                let doing = format!("cannot write the trace {path}: ");
                Failure::from(error).map_text(|text| doing + &text)
            })
        }
        (None, None) => Err(Failure::new("say where to write the trace, with -o FILE")),
    }
}

fn closed_pipe(error: io::Error) -> Failure {
    written(Err(error)).err().unwrap_or(Failure::OutputClosed)
}

fn generate(
    parameters: &Parameters,
    out: impl Write,
    told: impl FnOnce(&Value) -> Outcome,
    failed: impl Fn(io::Error) -> Failure,
) -> Outcome {
    parameters.check()?;
    let bar = out::progress(Some(parameters.ops), "generating", Unit::Of("operations"));
    let mut writer = Writer::new(out, parameters).map_err(&failed)?;
    let mut ledger = Ledger::default();
    let mut generator = Generator::new(parameters);
    for op in &mut generator {
        ledger.apply(&op);
        writer.write(&op).map_err(&failed)?;
        bar.inc(1);
    }
    let summary = ledger.summary(generator.now_ms());
    writer.finish(&summary).map_err(&failed)?;
    bar.finish_and_clear();
    told(&summary.to_json())
}

fn verify(path: &str, format: Format) -> Outcome {
    let mut reader = reader::open(path)?;
    let mut ledger = Ledger::default();
    let bar = out::progress(None, "checking", Unit::Of("operations"));
    while let Some(op) = reader.next_op()? {
        ledger.apply(&op);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let footer = reader.footer()?;
    let live = ledger.summary(footer.end_ms).live;
    check(live, footer.live)?;
    let value = json!({
        "ops": footer.ops,
        "live_keys": live.keys,
        "live_bytes": live.bytes,
        "digest": live.hex(),
        "ok": true,
    });
    out::answer(format, &value, || {
        format!(
            "{path}: ok, {} operations, {} live keys, {} live, digest {}",
            numbers::count(footer.ops),
            numbers::count(live.keys),
            numbers::bytes(live.bytes),
            live.hex()
        )
    })
}

/// What was found in the trace against what its footer says.
pub(crate) fn check(found: Digest, footer: Digest) -> Outcome {
    if found == footer {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the trace contradicts its footer: {} live keys, {} bytes, digest {} against {} keys, {} \
         bytes, {}; make the trace anew",
        found.keys,
        found.bytes,
        found.hex(),
        footer.keys,
        footer.bytes,
        footer.hex()
    )))
}
