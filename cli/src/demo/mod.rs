//! `bwtree demo`: job-state traffic through the append-only log that stream engines use today, and
//! through the store, with the same threads and the same syncs.
//!
//! Each side is written by a process of its own, which is killed in the middle; what it left is
//! judged by what that side promises. Another process then writes the rest, and all of it is
//! compared with the traffic. Then both sides are killed once more, with what they had not synced
//! in the memory of the process, so that it is lost as in a power cut. The table at the end has
//! other stores as well, with the feature `peers`.

mod child;
mod held;
mod killed;
mod log_proof;
#[cfg(feature = "peers")]
mod peers;
mod plan;
mod proof;
mod protocol;
mod report;
pub(crate) mod restart;
mod side;
mod sides;
mod stored;
mod watch;
pub(crate) mod writer;

use crate::failure::{Context, Failure, Outcome};
use crate::numbers::{count, seconds};
use crate::out::Out;
use plan::{Course, Plan};
use report::Report;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// See the store beside an append-only log, killed in the middle, under job-state traffic
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: Plan,
    /// Work in this new or empty folder and keep what is made (default: a temporary one)
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures as JSON into this file; alone, print them instead of the text
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<String>,
}

/// The text of the demo, unless JSON was asked for in its place.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Out,
    shown: bool,
}

impl Screen {
    /// Prints a line at once.
    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        if !self.shown {
            return Ok(());
        }
        self.out.line(line)?;
        self.out.flush()
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let only_json = args.json.as_deref() == Some("-");
    let mut screen = Screen { out: Out::new(), shown: !only_json };
    let (dir, _temporary) = place(args.dir.as_deref())?;
    let report = Demo { plan: &args.plan, dir: &dir, screen: &mut screen }.run()?;
    let json = report.to_json();
    match args.json.as_deref() {
        None => {}
        Some("-") => screen.out.json(&json)?,
        Some(path) => {
            fs::write(path, format!("{json:#}\n")).context(format_args!("cannot write {path}"))?;
        }
    }
    if args.dir.is_some() {
        screen.line(&format!("\nkept in {}", dir.display()))?;
    }
    screen.out.finish()?;
    match report.failed() {
        0 => Ok(()),
        failed => {
            let all = report.checks.len();
            Err(Failure::new(format!("{failed} of {all} checks failed; see the list of checks")))
        }
    }
}

/// The folder to work in, and what removes it at the end.
fn place(wanted: Option<&Path>) -> Outcome<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(dir) = wanted else {
        let made = tempfile::Builder::new().prefix("bwtree-demo-").tempdir();
        let made = made.context("cannot make a temporary folder; name one with --dir")?;
        return Ok((made.path().to_owned(), Some(made)));
    };
    let shown = dir.display();
    fs::create_dir_all(dir).context(format_args!("cannot make {shown}"))?;
    let mut entries = fs::read_dir(dir).context(format_args!("cannot list {shown}"))?;
    if entries.next().is_some() {
        return Err(Failure::new(format!("{shown} is not empty; name a new or an empty folder")));
    }
    Ok((dir.to_owned(), None))
}

/// What to do next.
const NEXT: &str = "
With your own data:
  bwtree load my.store entries.tsv     # a line an entry: key, tab, value; or --format ndjson
  bwtree stat my.store                 # what it takes on the disk
With traffic of your own size:
  bwtree trace -o day.trace --ops 5000000 --jobs 200
  bwtree replay day.trace --dir my.store --check-disk-bound";

struct Demo<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    screen: &'a mut Screen,
}

impl Demo<'_> {
    fn run(&mut self) -> Outcome<Report> {
        let start = Instant::now();
        let course = Course::of(self.plan);
        self.introduce(&course)?;
        let mut checks: Vec<report::Check> = Vec::new();
        let mut sides =
            vec![self.run_log(&course, &mut checks)?, self.run_store(&course, &mut checks)?];
        self.cut_power(&course, &mut checks)?;
        self.run_peers(&course, &mut sides, &mut checks)?;
        let report = Report {
            ops: self.plan.ops,
            threads: self.plan.threads,
            seed: self.plan.seed,
            sync_every: self.plan.sync_every,
            live_bytes: course.summary.live.bytes,
            live_keys: course.summary.live.keys,
            sides,
            checks,
        };
        self.screen.line(&format!("\n{}", report.table()))?;
        self.screen.line(&report.checks())?;
        let took = seconds(start.elapsed().as_secs_f64());
        let verdict = match report.failed() {
            0 => "all checks hold".to_owned(),
            failed => format!("{failed} checks FAILED"),
        };
        self.screen.line(&format!("{verdict}, in {took}"))?;
        self.screen.line(NEXT)?;
        Ok(report)
    }

    fn introduce(&mut self, course: &Course) -> Outcome {
        let (plan, parameters) = (self.plan, self.plan.parameters());
        self.screen.line(&format!(
            "The state of {} streaming jobs, as a stream engine writes it: {} operations on {} \
             live keys.\n{} threads, a sync every {} operations, seed {}, in {}",
            parameters.jobs,
            count(plan.ops),
            count(course.summary.live.keys),
            plan.threads,
            count(plan.sync_every),
            plan.seed,
            self.dir.display()
        ))
    }
}
