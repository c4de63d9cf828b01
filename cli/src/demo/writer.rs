//! The child that writes: runs the traffic into one side, and tells its parent of every sync that
//! has returned. The parent may kill it at any moment.

use super::plan::Plan;
use super::protocol::{Message, Pace, split};
use super::side::{Side, Store, Which};
use super::stored::POSITION_EVERY;
use crate::baseline::Log;
use crate::failure::{Failure, Outcome, written};
use crate::lanes::{self, Batches, Feeder, Numbered};
use crate::latency::Histogram;
use crate::process;
use crate::random::Random;
use crate::trace::{Change, Generator};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Time between two messages about the pace.
const PACE_INTERVAL: Duration = Duration::from_millis(100);

/// Write the demo's traffic into one side
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: Plan,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_enum)]
    side: Which,
    /// Operations of each lane that are in already, with commas between
    #[arg(long, default_value = "")]
    from: String,
    /// Stop before the end and wait to be killed
    #[arg(long)]
    upto: Option<u64>,
    /// Hold in memory what is not synced, so that a kill loses it as a power cut would
    #[arg(long)]
    hold_back: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    match args.side {
        Which::Store => {
            let open = if args.hold_back { Store::open_held } else { Store::open };
            let store = open(&args.dir)?;
            Writing::new(args, &store)?.run()?;
            store.close()?;
        }
        Which::Log => {
            let log = Log::start(&args.dir, args.hold_back)?;
            Writing::new(args, &log)?.run()?;
        }
        #[cfg(feature = "peers")]
        Which::Redb => Writing::new(args, &super::peers::Redb::open(&args.dir)?)?.run()?,
        #[cfg(feature = "peers")]
        Which::Sqlite => Writing::new(args, &super::peers::Sqlite::open(&args.dir)?)?.run()?,
    }
    say(&Message::Done)
}

fn say(message: &Message) -> Outcome {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(message.to_line().as_bytes()).and_then(|()| stdout.flush()))
}

/// What the lanes share.
struct Writing<'a, S> {
    args: &'a Args,
    side: &'a S,
    from: Vec<u64>,
    /// Of each lane: operations that are in and noted.
    positions: Vec<AtomicU64>,
    /// Of each lane: the latencies of its puts. A lane locks only its own, and so waits only while
    /// the pace is told.
    puts: Vec<Mutex<Histogram>>,
    /// Operations of all lanes in this process.
    done: AtomicU64,
    /// Held during a sync and its message; when the pace was told last.
    syncing: Mutex<Option<Instant>>,
    begun: OnceLock<Instant>,
}

impl<'a, S: Side> Writing<'a, S> {
    fn new(args: &'a Args, side: &'a S) -> Outcome<Self> {
        let lanes = args.plan.lanes();
        let from = match args.from.as_str() {
            "" => vec![0; lanes],
            text => split(text).unwrap_or_default(),
        };
        if from.len() != lanes {
            return Err(Failure::new("--from needs one number a thread"));
        }
        Ok(Self {
            args,
            side,
            positions: from.iter().map(|&position| AtomicU64::new(position)).collect(),
            puts: (0..lanes).map(|_| Mutex::default()).collect(),
            from,
            done: AtomicU64::new(0),
            syncing: Mutex::new(None),
            begun: OnceLock::new(),
        })
    }

    fn run(&self) -> Outcome {
        let feed = |feeder: &mut Feeder| {
            self.feed(feeder);
            Ok(())
        };
        lanes::run(self.args.plan.lanes(), feed, |lane, batches| self.work(lane, batches))?;
        self.sync(true)?;
        if self.args.upto.is_some() {
            // Killed here, or told by the end of stdin that the parent is gone.
            drop(io::stdin().lock().read_to_end(&mut Vec::new()));
            return Err(Failure::OutputClosed);
        }
        Ok(())
    }

    fn feed(&self, feeder: &mut Feeder) {
        let lanes = self.args.plan.lanes();
        let mut seen = vec![0_u64; lanes];
        let upto = self.args.upto.unwrap_or(u64::MAX);
        for (number, op) in (1..=upto).zip(Generator::new(&self.args.plan.parameters())) {
            let lane = lanes::lane_of(&op, lanes);
            seen[lane] += 1;
            if seen[lane] <= self.from[lane] {
                continue;
            }
            self.begun.get_or_init(Instant::now);
            if !feeder.push(Numbered { number, op }) {
                break;
            }
        }
    }

    fn work(&self, lane: usize, batches: Batches) -> Outcome {
        let mut random = Random::new(self.args.plan.seed ^ (lane as u64) << 32);
        let mut position = self.from[lane];
        let mut note_at = position + 1 + random.below(POSITION_EVERY);
        for numbered in batches.into_iter().flatten() {
            let start = Instant::now();
            self.side.apply(&numbered)?;
            let mut latency = start.elapsed();
            position += 1;
            if position == note_at {
                self.note(lane, position)?;
                note_at += 1 + random.below(POSITION_EVERY);
            }
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(self.args.plan.sync_every) {
                // The operation that makes the sync due waits for it: its latency shows it.
                let start = Instant::now();
                self.sync(false)?;
                latency += start.elapsed();
            }
            if matches!(numbered.op.change, Change::Put { .. }) {
                let mut puts = self.puts[lane].lock().unwrap_or_else(PoisonError::into_inner);
                puts.record(latency);
            }
        }
        self.note(lane, position)
    }

    fn note(&self, lane: usize, position: u64) -> Outcome {
        self.side.note(lane, position)?;
        // ORDERING: Release, with the Acquire in `sync`: a thread that reads a position there syncs
        // after the position and the operations before it were in.
        self.positions[lane].store(position, Ordering::Release);
        Ok(())
    }

    /// Syncs and tells the parent what is durable now.
    fn sync(&self, last: bool) -> Outcome {
        let mut told = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDERING: Acquire, see `note`. Before the sync: what it acknowledges was in by then.
        let read = |position: &AtomicU64| position.load(Ordering::Acquire);
        let positions = self.positions.iter().map(read).collect();
        self.side.sync()?;
        if last || told.is_none_or(|told| told.elapsed() >= PACE_INTERVAL) {
            *told = Some(Instant::now());
            say(&Message::Pace(self.pace()))?;
        }
        // Last: the parent may kill as soon as it hears of enough, and then has a pace as well.
        say(&Message::Ack { positions })
    }

    fn pace(&self) -> Pace {
        let mut puts = Histogram::default();
        for lane in &self.puts {
            puts.merge(&lane.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let elapsed = self.begun.get().map(Instant::elapsed).unwrap_or_default();
        Pace { elapsed, written_bytes: process::written_bytes(), puts }
    }
}
