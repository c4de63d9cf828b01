//! `bwtree load`: fills a tree from lines of text.

use crate::failure::{Context, Failure, Outcome};
use crate::numbers;
use crate::out::{self, Format};
use crate::record::{self, Lines};
use crate::store::{self, Place};
use bwtree::{Bytes, Db};
use indicatif::ProgressBar;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Instant;

/// Put the lines of a file into a tree; makes the store and the tree if they are missing
///
/// What stands under a key already is replaced. A line that makes no sense stops the load with its
/// number; the lines before it stay loaded.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The file to read, - for stdin
    #[arg(default_value = "-")]
    file: String,
    /// The form of the lines
    #[arg(long, value_enum, default_value = "tsv")]
    format: Lines,
    #[command(flatten)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (input, length): (Box<dyn BufRead>, Option<u64>) = if args.file == "-" {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file).context(format_args!("cannot read {}", args.file))?;
        let length = file.metadata().ok().map(|meta| meta.len());
        (Box::new(BufReader::with_capacity(1 << 20, file)), length)
    };
    let start = Instant::now();
    let db = store::open(Db::builder(&args.place.dir), &args.place.dir)?;
    let bar = out::progress(length, "loading");
    let loaded = fill(args, &db, input, &bar);
    bar.finish_and_clear();
    // Closing syncs, whatever happened: the lines before a bad one stay.
    db.close()?;
    let loaded = loaded?;
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({ "loaded": loaded, "seconds": seconds });
    out::answer(args.output, &value, || {
        format!("loaded {} entries in {}", numbers::count(loaded), numbers::seconds(seconds))
    })
}

fn fill(args: &Args, db: &Db, mut input: impl BufRead, bar: &ProgressBar) -> Outcome<u64> {
    let tree = db.tree(&args.place.tree)?;
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = input
            .read_until(b'\n', &mut line)
            .context(format_args!("cannot read {} after line {number}", args.file))?;
        if read == 0 {
            db.sync()?;
            return Ok(number);
        }
        number += 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let stored = record::parse(args.format, text).and_then(|(key, value)| {
            tree.put(&key, Bytes::from(value)).map_err(|error| error.to_string())
        });
        stored.map_err(|what| {
            let before = numbers::count(number - 1);
            let file = &args.file;
            Failure::new(format!("{file}, line {number}: {what} (the {before} before it are in)"))
        })?;
        bar.inc(read as u64);
    }
}
