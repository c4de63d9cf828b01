//! Watching a side being written: a line of the table every second, samples of the disk all the
//! time, and the kill at the moment asked for.

use super::Screen;
use super::child::{Heard, Writer};
use super::plan::{Course, Plan};
use super::protocol::{Message, Pace};
use super::side::Which;
use crate::failure::{Failure, Outcome};
use crate::numbers::{bytes, count, ratio};
use crate::process;
use crate::random::Random;
use crate::sampler::{Observed, Sampler};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest time, in microseconds, between the message after which to kill and the kill.
const MAX_KILL_DELAY_US: u64 = 20_000;

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Done,
    /// Kill the writer soon after so many operations are acknowledged.
    Killed {
        after: u64,
        /// Whether what was not synced is lost with the process.
        holding_back: bool,
    },
}

/// What one writing process achieved.
#[derive(Debug)]
pub(crate) struct Run {
    /// Of each lane: the operations that it had acknowledged last.
    pub(crate) positions: Vec<u64>,
    pub(crate) pace: Pace,
}

impl Run {
    fn done(&self) -> u64 {
        self.positions.iter().sum()
    }
}

pub(crate) struct Watch<'a> {
    plan: &'a Plan,
    course: &'a Course,
    dir: &'a Path,
    side: Which,
    screen: &'a mut Screen,
    live: Arc<AtomicU64>,
    sampler: Sampler,
    start: Instant,
    next_line: Instant,
    /// The operations of the last line.
    shown: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn start(
        plan: &'a Plan,
        course: &'a Course,
        dir: &'a Path,
        side: Which,
        screen: &'a mut Screen,
    ) -> Outcome<Self> {
        let live = Arc::new(AtomicU64::new(0));
        let last = if side == Which::Log { "" } else { "the log then" };
        let header = ["time", "operations", "live", "disk", "disk / live", last];
        screen.line(&line(header.map(str::to_owned)))?;
        let now = Instant::now();
        Ok(Self {
            plan,
            course,
            dir,
            side,
            screen,
            sampler: Sampler::start(dir, Arc::clone(&live)),
            live,
            start: now,
            next_line: now + INTERVAL,
            shown: None,
        })
    }

    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        self.screen.line(text)
    }

    pub(crate) fn screen(&mut self) -> &mut Screen {
        self.screen
    }

    /// Lets a process write, from the given positions on.
    pub(crate) fn run(&mut self, from: Option<&[u64]>, until: Until) -> Outcome<Run> {
        // A writer that is to be killed must not be done before: it waits at three quarters.
        let (upto, hold_back) = match until {
            Until::Done => (None, false),
            Until::Killed { holding_back, .. } => (Some(self.plan.ops / 4 * 3), holding_back),
        };
        let mut writer = Writer::start(self.plan, self.dir, self.side, from, upto, hold_back)?;
        let positions = from.map_or_else(|| vec![0; self.plan.lanes()], <[u64]>::to_vec);
        let mut run = Run { positions, pace: Pace::default() };
        let (mut done, mut killed) = (false, false);
        // Judging what a killed writer left took its time.
        self.next_line = self.next_line.max(Instant::now() + INTERVAL / 2);
        let mut random = Random::new(self.plan.seed);
        let mut kill_at: Option<Instant> = None;
        loop {
            let due = kill_at.map_or(self.next_line, |kill_at| kill_at.min(self.next_line));
            let wait = due.saturating_duration_since(Instant::now());
            match writer.hear(wait) {
                Heard::Message(Message::Ack { positions }) => run.positions = positions,
                Heard::Message(Message::Pace(pace)) => run.pace = pace,
                Heard::Message(Message::Done) => done = true,
                Heard::Nothing => {}
                Heard::End => break,
            }
            self.live.store(self.course.live_at(run.done()), Ordering::Relaxed);
            if Instant::now() >= self.next_line {
                self.show(run.done())?;
                self.next_line = Instant::now() + INTERVAL;
            }
            if let Until::Killed { after, .. } = until
                && run.done() >= after
                && !killed
            {
                // Not at once: right after a message the writer is always at the same place.
                let delay = Duration::from_micros(random.below(MAX_KILL_DELAY_US));
                if Instant::now() >= *kill_at.get_or_insert_with(|| Instant::now() + delay) {
                    writer.kill()?;
                    (killed, kill_at) = (true, None);
                }
            }
        }
        let status = writer.wait()?;
        if done || killed {
            if self.shown != Some(run.done()) {
                self.show(run.done())?;
            }
            return Ok(run);
        }
        let side = self.side.name();
        Err(Failure::new(format!(
            "the process that writes the {side} failed ({status}); see above"
        )))
    }

    fn show(&mut self, ops: u64) -> Outcome {
        self.shown = Some(ops);
        let live = self.course.live_at(ops);
        let disk = process::disk_bytes(self.dir);
        let log =
            if self.side == Which::Log { String::new() } else { bytes(self.course.log_at(ops)) };
        self.screen.line(&line([
            format!("{:.1} s", self.start.elapsed().as_secs_f64()),
            count(ops),
            bytes(live),
            bytes(disk),
            ratio(disk, live),
            log,
        ]))
    }

    pub(crate) fn finish(self) -> Observed {
        self.sampler.finish()
    }
}

/// One line of the running table.
fn line(cells: [String; 6]) -> String {
    let [time, ops, live, disk, ratio, log] = cells;
    let text = format!("   {time:>7}  {ops:>11}  {live:>10}  {disk:>10}  {ratio:>11}  {log:>12}");
    text.trim_end().to_owned()
}
