//! `bwtree demo`: job-state traffic through the append-only log that stream engines use today, and
//! through the store, with the same threads and the same syncs.
//!
//! The store's writer is a process of its own and is killed in the middle; what it left is proven
//! to be exactly one cut of history with everything acknowledged in it. Another process then writes
//! the rest, the store is cleaned, closed, opened again and compared with the traffic.

mod child;
mod plan;
mod proof;
mod protocol;
mod report;
pub(crate) mod restart;
mod side;
mod stored;
mod watch;
pub(crate) mod writer;

use crate::clean;
use crate::failure::{Context, Failure, Outcome};
use crate::numbers::{bytes, count, seconds};
use crate::out::Out;
use crate::process;
use crate::sampler;
use plan::{Course, Plan};
use proof::Found;
use report::{Check, Figures, Report};
use restart::Restart;
use side::{Store, Which};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use watch::{Run, Until, Watch};

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
        let (log, log_check) = self.run_log(&course)?;
        let (store, mut checks) = self.run_store(&course)?;
        checks.push(log_check);
        let report = Report {
            ops: self.plan.ops,
            threads: self.plan.threads,
            seed: self.plan.seed,
            sync_every: self.plan.sync_every,
            live_bytes: course.summary.live.bytes,
            live_keys: course.summary.live.keys,
            log,
            store,
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

    fn folder(&self, side: Which) -> PathBuf {
        self.dir.join(side.name())
    }

    // ---------------------------------------------------------------------------------- the log

    fn run_log(&mut self, course: &Course) -> Outcome<(Figures, Check)> {
        let dir = self.folder(Which::Log);
        self.screen.line("\n1  the append-only log\n")?;
        let mut watch = Watch::start(self.plan, course, &dir, Which::Log, self.screen)?;
        let run = watch.run(None, Until::Done)?;
        let disk = watch.finish();
        let restart = restart::measure(&dir, Which::Log)?;
        self.screen.line(&format!(
            "\n   {} on disk; a restart reads all of it: {}",
            bytes(process::disk_bytes(&dir)),
            seconds(restart.seconds)
        ))?;
        let check = holds("The log, replayed, holds what the traffic left", course, &restart);
        Ok((
            Figures { disk, disk_final: process::disk_bytes(&dir), pace: run.pace, restart },
            check,
        ))
    }

    // -------------------------------------------------------------------------------- the store

    fn run_store(&mut self, course: &Course) -> Outcome<(Figures, Vec<Check>)> {
        let dir = self.folder(Which::Store);
        self.screen.line("\n2  bwtree, its writer killed in the middle\n")?;
        let mut watch = Watch::start(self.plan, course, &dir, Which::Store, self.screen)?;
        let mut run = watch.run(None, Until::Killed { after: self.plan.ops / 2 })?;
        let (cut, killed) = recover(self.plan, &dir, &run, &mut watch)?;
        let rest = watch.run(Some(&cut), Until::Done)?;
        run.pace.elapsed += rest.pace.elapsed;
        run.pace.puts.merge(&rest.pace.puts);
        run.pace.written_bytes =
            run.pace.written_bytes.zip(rest.pace.written_bytes).map(|(first, then)| first + then);

        let before = process::disk_bytes(&dir);
        let store = Store::open(&dir)?;
        clean::clean(&store.db, None, clean::DEFAULT_TARGET)?;
        store.close()?;
        let disk = watch.finish();
        let disk_final = process::disk_bytes(&dir);
        let restart = restart::measure(&dir, Which::Store)?;
        self.screen.line(&format!(
            "\n   cleaned: {} on disk, {} before; a restart takes {}",
            bytes(disk_final),
            bytes(before),
            seconds(restart.seconds)
        ))?;
        let mut checks = killed;
        let what = "The store, finished, cleaned and reopened, holds what the traffic left";
        checks.push(holds(what, course, &restart));
        checks.push(bounded(&disk));
        Ok((Figures { disk, disk_final, pace: run.pace, restart }, checks))
    }
}

/// Reopens the killed store and proves what is in it: each lane's operations that are in.
fn recover(
    plan: &Plan,
    dir: &Path,
    run: &Run,
    watch: &mut Watch<'_>,
) -> Outcome<(Vec<u64>, Vec<Check>)> {
    let acknowledged: u64 = run.positions.iter().sum();
    let start = Instant::now();
    let store = Store::open(dir)?;
    let opened = start.elapsed().as_secs_f64();
    let found = Found::read(&store.tree, plan.lanes())?;
    let cut = proof::prove(plan, &run.positions, &found)?;
    store.close()?;
    let recovered: u64 = cut.positions.iter().sum();
    watch.say(&format!(
        "\n   killed (SIGKILL) after {} acknowledged operations; reopened in {}\n   \
         proven: exactly {} operations are in, {} entries, nothing else\n",
        count(acknowledged),
        seconds(opened),
        count(recovered),
        count(cut.entries)
    ))?;
    let checks = vec![
        Check {
            what: "After the kill every acknowledged write is there".to_owned(),
            ok: true,
            detail: format!(
                "{} operations acknowledged, {} recovered",
                count(acknowledged),
                count(recovered)
            ),
        },
        Check {
            what: "After the kill exactly one cut of each thread's history is there".to_owned(),
            ok: true,
            detail: format!("{} entries compared, none lost, none surplus", count(cut.entries)),
        },
    ];
    Ok((cut.positions, checks))
}

fn holds(what: &str, course: &Course, restart: &Restart) -> Check {
    let (wanted, got) = (course.summary.live, restart.live);
    let detail = if wanted == got {
        format!("{} keys, {}, digest {}", count(got.keys), bytes(got.bytes), got.hex())
    } else {
        format!(
            "{} keys, {} bytes, digest {} instead of {}, {}, {}",
            got.keys,
            got.bytes,
            got.hex(),
            wanted.keys,
            wanted.bytes,
            wanted.hex()
        )
    };
    Check { what: what.to_owned(), ok: wanted == got, detail }
}

fn bounded(disk: &sampler::Observed) -> Check {
    let detail = match disk.worst {
        None => format!("{} samples, the largest {}", disk.samples, bytes(disk.peak_bytes)),
        Some((disk_bytes, live)) => format!(
            "{} of {} samples over, the worst {} with {} live",
            disk.over,
            disk.samples,
            bytes(disk_bytes),
            bytes(live)
        ),
    };
    Check {
        what: "The store's disk space never exceeded twice the live data and 64 MiB".to_owned(),
        ok: disk.over == 0,
        detail,
    }
}
