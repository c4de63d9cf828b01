//! What each side goes through: half of the traffic, a kill, the other half; and a power cut.

use super::killed::{self, End};
use super::plan::Course;
use super::report::{Check, Figures};
use super::restart::{self, Restart};
use super::side::{Store, Which};
use super::watch::{Run, Until, Watch};
use super::{Demo, Screen};
use crate::failure::Outcome;
use crate::numbers::{bytes, count, seconds};
use crate::out::Out;
use crate::{clean, process, sampler};
use std::path::PathBuf;

const LOG: &str = "
1  the append-only log, killed in the middle

   It is modelled on the write-ahead log by which such engines persist their maps (Apache
   SeaTunnel's IMap storage): one file a map, a record an operation, nothing ever removed, all of it
   replayed at a start. It promises after SIGKILL what was written, after a power cut what was
   synced; each file ends where it ends.
";
const STORE: &str = "
2  bwtree, killed in the middle

   It promises one moment of the whole store, not older than the last acknowledged sync.
";
const POWER: &str = "
3  the power is cut, on both sides

   SIGKILL leaves the page cache, and so what was never synced. Here the writers hold that in their
   own memory, and it dies with them. All of it does: a real power cut may keep any part, which the
   test tests/crash.rs of the repository plays through, at every write to the disk.";
#[cfg(not(feature = "peers"))]
const NO_PEERS: &str = "
   For columns of redb and SQLite: cargo run --release -p bwtree-cli --features peers -- demo";

impl Demo<'_> {
    fn folder(&self, side: Which) -> PathBuf {
        self.dir.join(side.name())
    }

    pub(super) fn run_log(&mut self, course: &Course, checks: &mut Vec<Check>) -> Outcome<Figures> {
        let dir = self.folder(Which::Log);
        self.screen.line(LOG)?;
        let kill = self.kill();
        let mut watch = Watch::start(self.plan, course, &dir, Which::Log, self.screen)?;
        let mut run = watch.run(None, kill)?;
        let left = killed::log(self.plan, &dir, &run, End::Sigkill, watch.screen())?;
        watch.say("")?;
        let rest = watch.run(Some(&left.positions), Until::Done)?;
        add(&mut run, &rest);
        let disk = watch.finish();
        let restart = restart::measure(&dir, Which::Log)?;
        self.screen.line(&format!(
            "\n   {} on disk; a restart reads all of it: {}",
            bytes(disk.last_bytes),
            seconds(restart.seconds)
        ))?;
        checks.extend(left.checks);
        checks.push(holds("The log, replayed, holds what the traffic left", course, &restart));
        let disk_final = disk.last_bytes;
        Ok(Figures { side: Which::Log, disk, disk_final, pace: run.pace, restart })
    }

    pub(super) fn run_store(
        &mut self,
        course: &Course,
        checks: &mut Vec<Check>,
    ) -> Outcome<Figures> {
        let dir = self.folder(Which::Store);
        self.screen.line(STORE)?;
        let kill = self.kill();
        let mut watch = Watch::start(self.plan, course, &dir, Which::Store, self.screen)?;
        let mut run = watch.run(None, kill)?;
        let left = killed::store(self.plan, &dir, &run, End::Sigkill, watch.screen())?;
        watch.say("")?;
        let rest = watch.run(Some(&left.positions), Until::Done)?;
        add(&mut run, &rest);
        let before = process::disk_bytes(&dir);
        let store = Store::open(&dir)?;
        clean::clean(&store.db, None, clean::DEFAULT_TARGET)?;
        store.close()?;
        let disk = watch.finish();
        let restart = restart::measure(&dir, Which::Store)?;
        self.screen.line(&format!(
            "\n   cleaned: {} on disk, {} before; a restart takes {}",
            bytes(disk.last_bytes),
            bytes(before),
            seconds(restart.seconds)
        ))?;
        checks.extend(left.checks);
        let what = "The store, finished, cleaned and reopened, holds what the traffic left";
        checks.push(holds(what, course, &restart));
        checks.push(bounded(&disk));
        let disk_final = disk.last_bytes;
        Ok(Figures { side: Which::Store, disk, disk_final, pace: run.pace, restart })
    }

    /// Cuts the power in the middle of a sync interval, on both sides.
    pub(super) fn cut_power(&mut self, course: &Course, checks: &mut Vec<Check>) -> Outcome {
        self.screen.line(POWER)?;
        for side in [Which::Log, Which::Store] {
            let dir = self.dir.join("power").join(side.name());
            let mut quiet = Screen { out: Out::new(), shown: false };
            let mut watch = Watch::start(self.plan, course, &dir, side, &mut quiet)?;
            let run =
                watch.run(None, Until::Killed { after: self.plan.ops / 4, holding_back: true })?;
            watch.finish();
            let judge = if side == Which::Store { killed::store } else { killed::log };
            let left = judge(self.plan, &dir, &run, End::PowerCut, self.screen)?;
            checks.extend(left.checks);
        }
        Ok(())
    }

    #[cfg(not(feature = "peers"))]
    pub(super) fn run_peers(
        &mut self,
        _: &Course,
        _: &mut Vec<Figures>,
        _: &mut Vec<Check>,
    ) -> Outcome {
        self.screen.line(NO_PEERS)
    }

    #[cfg(feature = "peers")]
    pub(super) fn run_peers(
        &mut self,
        course: &Course,
        sides: &mut Vec<Figures>,
        checks: &mut Vec<Check>,
    ) -> Outcome {
        use super::peers::{Redb, Sqlite};
        for side in [Which::Redb, Which::Sqlite] {
            let dir = self.folder(side);
            let title = side.title();
            self.screen.line(&format!("\n{}  {title}, not killed\n", sides.len() + 2))?;
            let mut watch = Watch::start(self.plan, course, &dir, side, self.screen)?;
            let run = watch.run(None, Until::Done)?;
            match side {
                Which::Redb => Redb::open(&dir)?.compact()?,
                _ => Sqlite::open(&dir)?.vacuum()?,
            }
            let disk = watch.finish();
            let restart = restart::measure(&dir, side)?;
            let what = format!("{title}, compacted and reopened, holds what the traffic left");
            checks.push(holds(&what, course, &restart));
            let disk_final = disk.last_bytes;
            sides.push(Figures { side, disk, disk_final, pace: run.pace, restart });
        }
        Ok(())
    }

    fn kill(&self) -> Until {
        Until::Killed { after: self.plan.ops / 2, holding_back: false }
    }
}

/// Adds the pace of the second half to that of the first.
fn add(run: &mut Run, rest: &Run) {
    run.pace.elapsed += rest.pace.elapsed;
    run.pace.puts.merge(&rest.pace.puts);
    run.pace.written_bytes =
        run.pace.written_bytes.zip(rest.pace.written_bytes).map(|(first, then)| first + then);
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
