//! One peer, one round: loads it, checks it, runs the phases, checks it again.

use super::phases::{
    Churn, Load, ManyReads, Phase, Reads, Scans, Tally, TimedUpdates, Times, Updates,
};
use super::prepare::Work;
use super::results::{Cell, Latency};
use super::threads::{Body, Timed, spread};
use super::{CellOptions, process};
use crate::CountBytes;
use crate::keys::Key;
use crate::peers::{Handle, Index, dispatch};
use crate::report;
use crate::values::Value;
use std::marker::PhantomData;
use std::time::Duration;

/// Entries that are looked up, and scans that are checked one by one, after the load.
const CHECKED_GETS: usize = 20_000;
const CHECKED_SCANS: usize = 500;

/// Measures what the options say and prints it as one line of JSON.
pub(crate) fn run(options: &CellOptions, count: Option<CountBytes>) -> Result<(), String> {
    let cell = dispatch(options, count)?;
    report::line(&cell.to_json()?).map_err(|error| error.to_string())
}

/// Measures one peer.
pub(crate) fn measure<K: Key, V: Value, I: Index<K, V>>(
    options: &CellOptions,
    count: Option<CountBytes>,
) -> Result<Cell, String> {
    let work = Work::<K>::prepare(options);
    let mut cell = Cell::new(options);
    let heap = || count.map(|count| count());
    let before = (heap(), process::resident_bytes());
    let index = I::with_room(work.size + work.scan_inserts * work.threads + work.size / 2);
    let mut run = Run { index: &index, work: &work, options, value: PhantomData, added: 0 };
    run.phase(Phase::Load, &mut cell)?;
    let grown = |before: Option<usize>, after: Option<usize>| {
        Some(after?.saturating_sub(before?) as f64 / work.size as f64)
    };
    cell.heap_bytes_per_key = grown(before.0, heap()).filter(|_| !I::RESERVES);
    cell.resident_bytes_per_key = grown(before.1, process::resident_bytes());
    run.check_gets()?;
    run.check_all()?;
    if let Err(wrong) = run.check_scans() {
        cell.wrong.insert(Phase::E.name().to_owned(), wrong);
    }
    for &phase in &options.phases {
        if phase != Phase::Load && (I::ORDERED || phase != Phase::E) {
            run.phase(phase, &mut cell)?;
        }
    }
    if let Err(wrong) = run.check_all() {
        cell.wrong.insert("at the end".to_owned(), wrong);
    }
    Ok(cell)
}

struct Run<'a, K, V, I> {
    index: &'a I,
    work: &'a Work<K>,
    options: &'a CellOptions,
    value: PhantomData<fn() -> V>,
    /// Entries that there must be.
    added: u64,
}

impl<K: Key, V: Value, I: Index<K, V>> Run<'_, K, V, I> {
    fn phase(&mut self, phase: Phase, cell: &mut Cell) -> Result<(), String> {
        let work = self.work;
        let threads = work.threads;
        let reads = |accesses| Reads { accesses, threads };
        let updates = |accesses| Updates { accesses, threads, seed: work.seed };
        let before = process::processor_seconds();
        let timed = match phase {
            Phase::Load => self.spread(&Load(work)),
            Phase::Read => self.spread(&reads(&work.uniform)),
            Phase::Zipf => self.spread(&reads(&work.zipf)),
            Phase::A => self.spread(&updates(&work.uniform)),
            Phase::Multi => self.spread(&ManyReads(work)),
            Phase::Hot => self.spread(&updates(&work.hot)),
            Phase::E => self.spread(&Scans(work)),
            Phase::Churn => self.spread(&Churn(work, PhantomData::<fn() -> V>)),
            Phase::Latency => return self.latency(cell),
        }?;
        self.settle(phase, &timed.outs, cell);
        let operations: u64 = timed.outs.iter().map(|tally| tally.operations).sum();
        let rate = operations as f64 / timed.took.as_secs_f64() / 1e6;
        cell.mops.insert(phase.name().to_owned(), rate);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = threads.min(cores) as f64 * timed.took.as_secs_f64();
        if let Some((after, before)) = process::processor_seconds().zip(before) {
            cell.processor_share.insert(phase.name().to_owned(), (after - before) / whole);
        }
        Ok(())
    }

    fn spread<B: Body<K, V>>(&self, body: &B) -> Result<Timed<B::Out>, String> {
        let span = Duration::from_secs_f64(self.options.seconds);
        spread(self.index, self.work.threads, span, body)
    }

    fn latency(&mut self, cell: &mut Cell) -> Result<(), String> {
        let timed = self.spread(&TimedUpdates(self.work))?;
        let mut all = Times::new()?;
        for out in timed.outs {
            let (tally, times) = out?;
            self.settle(Phase::Latency, &[tally], cell);
            let added = (all.gets.add(&times.gets), all.updates.add(&times.updates));
            if added != (Ok(()), Ok(())) {
                return Err("latencies beyond the histogram".to_owned());
            }
        }
        cell.gets = Some(Latency::of(&all.gets));
        cell.updates = Some(Latency::of(&all.updates));
        Ok(())
    }

    /// Notes wrong answers, and what was added.
    fn settle(&mut self, phase: Phase, tallies: &[Tally], cell: &mut Cell) {
        let sum = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
        let (wrong, operations) = (sum(|tally| tally.wrong), sum(|tally| tally.operations));
        let (asked, given) = (sum(|tally| tally.asked), sum(|tally| tally.given));
        // Scans that begin near the last key are short, and no others.
        let short = asked as f64 * (100.0 / self.work.size as f64 + 0.005);
        if wrong > 0 {
            let told = format!("{wrong} wrong answers in {operations} operations");
            cell.wrong.entry(phase.name().to_owned()).or_insert(told);
        } else if (asked as f64 - given as f64) > short {
            let told = format!("{given} entries of {asked} asked for");
            cell.wrong.insert(phase.name().to_owned(), told);
        }
        self.added += sum(|tally| tally.added);
    }

    fn check_gets(&self) -> Result<(), String> {
        let mut handle = self.index.handle();
        for number in (0..self.work.size).step_by(self.work.size / CHECKED_GETS + 1) {
            let found = handle.get(&self.work.keys[number]);
            if found != Some(V::of(number as u64, 0)) {
                return Err(format!("key {number}: {found:?} is not what was put"));
            }
        }
        for absent in self.work.keys.get(self.work.size..).unwrap_or_default().iter().take(1000) {
            if let Some(found) = handle.get(absent) {
                return Err(format!("{absent:?} was never put and has {found:?}"));
            }
        }
        Ok(())
    }

    /// One scan over everything: each key once, in order, with its value, and none missing.
    fn check_all(&self) -> Result<(), String> {
        let expected = self.added as usize;
        let counted = self.index.count();
        if I::ORDERED {
            let mut check = Check::new(&self.work.keys);
            self.index.handle().all(expected, |key, value| check.see(key, value));
            let given = check.finish()?;
            if given != expected {
                let counted = counted.map_or_else(String::new, |it| format!(", {it} by its count"));
                return Err(format!("{given} entries in a scan of all, of {expected}{counted}"));
            }
        } else if counted != Some(expected) {
            return Err(format!("{counted:?} entries by its own count, of {expected}"));
        }
        Ok(())
    }

    fn check_scans(&self) -> Result<(), String> {
        if !I::ORDERED {
            return Ok(());
        }
        let mut handle = self.index.handle();
        let step = self.work.size / CHECKED_SCANS + 1;
        let mut short = 0;
        for (scan, number) in (0..self.work.size).step_by(step).enumerate() {
            let (key, count) = (&self.work.keys[number], scan % 100 + 1);
            let mut check = Check::new(&self.work.keys);
            handle.scan(key, count, |key, value| check.see(key, value));
            if check.first != Some(number) {
                let first = check.first.map(|first| &self.work.keys[first]);
                return Err(format!("a scan from {key:?}, which is there, begins with {first:?}"));
            }
            let given = check.finish()?;
            short += usize::from(given < count);
            if given > count {
                return Err(format!("a scan of {count} gives {given}"));
            }
        }
        let allowed = CHECKED_SCANS * 100 / self.work.size + 10;
        (short <= allowed).then_some(()).ok_or_else(|| format!("{short} scans are too short"))
    }
}

/// Looks at each entry of a scan: the key must be one that was put, the value its value, and the
/// keys must rise.
struct Check<'a, K> {
    keys: &'a [K],
    first: Option<usize>,
    last: Option<&'a K>,
    given: usize,
    wrong: Option<String>,
}

impl<'a, K: Key> Check<'a, K> {
    fn new(keys: &'a [K]) -> Self {
        Self { keys, first: None, last: None, given: 0, wrong: None }
    }

    fn see<V: Value>(&mut self, key: &K::View, value: &V) {
        self.given += 1;
        let number = value.number().map_or(usize::MAX, |number| number as usize);
        let known = self.keys.get(number).filter(|known| known.view() == key);
        if known.is_none() {
            self.wrong.get_or_insert_with(|| format!("{key:?} has the value {value:?}"));
        } else if self.last.is_some_and(|last| known <= Some(last)) {
            let last = self.last;
            self.wrong.get_or_insert_with(|| format!("{key:?} does not come after {last:?}"));
        }
        self.first.get_or_insert(number);
        self.last = known;
    }

    /// How many entries there were.
    fn finish(self) -> Result<usize, String> {
        match self.wrong {
            Some(wrong) => Err(format!("in a scan: {wrong}")),
            None => Ok(self.given),
        }
    }
}
