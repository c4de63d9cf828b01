//! A picture of a run: throughput over threads, latencies, bytes; bwtree among its peers.

mod panels;
mod svg;

use crate::index::{Cell, Latency, Results, middle};
use crate::report;
use panels::{
    Frame, Head, Percentiles, Row, SUBJECT, Series, UNORDERED, bars, dots, lines, rows_height,
};
use std::path::PathBuf;
use svg::{Font, INK, SOFT, Svg, figure};

/// What `plot` draws.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What `index --json` has written.
    results: PathBuf,
    /// The picture.
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    choice: Choice,
}

/// Which part of the results; what was measured first if nothing is said.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Choice {
    /// The set of keys.
    #[arg(long)]
    keys: Option<String>,
    /// Bytes of a value.
    #[arg(long)]
    value: Option<usize>,
    /// Keys that were loaded.
    #[arg(long)]
    size: Option<usize>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let path = &options.results;
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| format!("{}: not what `index --json` writes: {error}", path.display()))?;
    report::write(&options.output, &draw(&results, &options.choice)?)
}

const WIDTH: f64 = 1280.0;
const MARGIN: f64 = 28.0;
const COLUMNS: usize = 4;
const LINES_HEIGHT: f64 = 264.0;

/// The phases with a panel, and what is done in them.
const PANELS: [(&str, &str); 7] = [
    ("load", "Load: insert all"),
    ("read", "Read: uniform gets"),
    ("zipf", "Zipf: skewed gets"),
    ("a", "A: half updates, half gets"),
    ("multi", "Gets of 16 keys at once"),
    ("e", "E: scans of 1..100, 5% inserts"),
    ("churn", "Churn: insert new, remove oldest"),
];

/// The cells that the picture shows.
struct Part<'a> {
    results: &'a Results,
    keys: String,
    value: usize,
    size: usize,
    peers: Vec<&'a str>,
    threads: Vec<usize>,
}

/// Draws one part of the results.
pub(crate) fn draw(results: &Results, choice: &Choice) -> Result<String, String> {
    let part = Part::of(results, choice)?;
    let mut svg = Svg::default();
    let mut y = part.heading(&mut svg);
    y = part.throughput(&mut svg, y);
    y = part.costs(&mut svg, y);
    y = part.notes(&mut svg, y);
    Ok(svg.finish(WIDTH, y + 16.0))
}

/// Panels of so many columns, one after the other: where the `at`th lies.
fn place(at: usize, columns: usize, y: f64, height: f64) -> Frame {
    let step = (WIDTH - 2.0 * MARGIN) / columns as f64;
    let (column, row) = (at % columns, at / columns);
    let (x, y) = (MARGIN + column as f64 * step, y + row as f64 * (height + 16.0));
    Frame { x, y, width: step - 14.0, height }
}

/// Takes the map without an order out of the others, and tells its figures in words.
fn bound(series: &mut Vec<Series>) -> String {
    let Some(at) = series.iter().position(|(name, _)| name == UNORDERED) else {
        return String::new();
    };
    let (_, points) = series.remove(at);
    let figures: Vec<String> = points.iter().map(|(_, rate)| figure(*rate)).collect();
    format!("{UNORDERED}, which has no order: {}", figures.join(" / "))
}

/// 1000000 as 1,000,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}

impl<'a> Part<'a> {
    fn of(results: &'a Results, choice: &Choice) -> Result<Self, String> {
        let fits = |cell: &&Cell| {
            choice.keys.as_ref().is_none_or(|keys| *keys == cell.keys)
                && choice.value.is_none_or(|value| value == cell.value_bytes)
                && choice.size.is_none_or(|size| size == cell.size)
        };
        let first = results.cells.iter().find(fits).ok_or("no results of that kind")?;
        let (keys, value, size) = (first.keys.clone(), first.value_bytes, first.size);
        let (peers, threads) = (Vec::new(), Vec::new());
        let mut part = Self { results, keys, value, size, peers, threads };
        let (mut peers, mut threads) = (Vec::new(), Vec::new());
        for cell in part.cells(&results.cells) {
            if !peers.contains(&cell.peer.as_str()) {
                peers.push(cell.peer.as_str());
            }
            threads.push(cell.threads);
        }
        threads.sort_unstable();
        threads.dedup();
        (part.peers, part.threads) = (peers, threads);
        Ok(part)
    }

    fn cells(&self, cells: &'a [Cell]) -> impl Iterator<Item = &'a Cell> + use<'a> {
        let (keys, value, size) = (self.keys.clone(), self.value, self.size);
        cells
            .iter()
            .filter(move |cell| cell.keys == keys && cell.value_bytes == value && cell.size == size)
    }

    fn of_peer(&self, peer: &str, threads: usize) -> impl Iterator<Item = &'a Cell> {
        let cells = self.cells(&self.results.cells);
        cells.filter(move |cell| cell.peer == peer && cell.threads == threads)
    }

    fn is_measured(&self, peer: &str) -> bool {
        let mut cells = self.cells(&self.results.cells).filter(|cell| cell.peer == peer);
        cells.any(|cell| !cell.mops.is_empty())
    }

    /// The threads of panels that show one number of them: as many as there are cores, if measured.
    fn usual_threads(&self) -> usize {
        let fitting = self.threads.iter().filter(|threads| **threads <= self.results.machine.cores);
        fitting.max().or(self.threads.first()).copied().unwrap_or(1)
    }

    fn heading(&self, svg: &mut Svg) -> f64 {
        let kind = match self.keys.as_str() {
            "rising" => "rising 8-byte keys",
            "strings" => "string keys of 15 to 60 bytes",
            _ => "random 8-byte keys",
        };
        let measured = |peer: &&&str| self.is_measured(peer);
        let others = self.peers.iter().filter(|peer| **peer != SUBJECT).filter(measured).count();
        let title = format!(
            "bwtree beside {others} other indexes: {} {kind}, {}-byte values",
            grouped(self.size),
            self.value
        );
        svg.text(MARGIN, 36.0, Font::new(20.0, INK).bold(), &title);
        let machine = &self.results.machine;
        let rounds = self.results.cells.iter().map(|cell| cell.round + 1).max().unwrap_or(0);
        let rounds = match rounds {
            1 => "One round".to_owned(),
            _ => format!("Median of {rounds} rounds"),
        };
        let facts = format!(
            "{rounds}, peers in turn, each in a fresh process, all on mimalloc. \
             {} with {} cores. {}",
            machine.processor, machine.cores, self.results.date
        );
        svg.text(MARGIN, 58.0, Font::new(12.0, SOFT), &facts);
        78.0
    }

    /// A peer's name, with a mark if its answers were wrong in the phase.
    fn marked(&self, peer: &str, phase: &str) -> String {
        let mut cells = self.cells(&self.results.cells).filter(|cell| cell.peer == peer);
        let wrong = cells.any(|cell| cell.wrong.contains_key(phase));
        if wrong { format!("{peer} !") } else { peer.to_owned() }
    }

    fn series(&self, phase: &str) -> Vec<Series> {
        let mut all = Vec::new();
        for peer in &self.peers {
            let rate = |&threads: &usize| {
                let cells = self.of_peer(peer, threads);
                Some((threads, middle(cells.filter_map(|cell| cell.mops.get(phase).copied()))?))
            };
            let points: Vec<_> = self.threads.iter().filter_map(rate).collect();
            if !points.is_empty() {
                all.push((self.marked(peer, phase), points));
            }
        }
        all
    }

    fn throughput(&self, svg: &mut Svg, y: f64) -> f64 {
        let panels: Vec<_> = PANELS
            .into_iter()
            .map(|(phase, about)| (about, self.series(phase)))
            .filter(|(_, series)| !series.is_empty())
            .collect();
        let (over_threads, count) = (self.threads.len() > 1, panels.len());
        let most = panels.iter().map(|(_, series)| series.len()).max().unwrap_or(0);
        let height = if over_threads { LINES_HEIGHT } else { rows_height(most) - 30.0 };
        for (at, (title, mut series)) in panels.into_iter().enumerate() {
            let frame = place(at, COLUMNS, y, height);
            let note = bound(&mut series);
            let threads = self.threads[0];
            let unit = match (over_threads, threads) {
                (true, _) => "million operations a second".to_owned(),
                (false, 1) => "million operations a second, 1 thread".to_owned(),
                (false, _) => format!("million operations a second, {threads} threads"),
            };
            let head = Head { title, unit: &unit, note: &note };
            if over_threads {
                lines(svg, frame, head, &series);
            } else {
                let mut rows: Vec<Row> = Vec::new();
                for (name, points) in series {
                    rows.extend(points.first().map(|(_, rate)| (name, *rate, None)));
                }
                rows.sort_by(|a, b| b.1.total_cmp(&a.1));
                bars(svg, frame, head, &rows);
            }
        }
        y + count.div_ceil(COLUMNS) as f64 * (height + 16.0) + 10.0
    }

    fn percentiles(&self, which: fn(&Cell) -> Option<Latency>) -> Vec<Percentiles> {
        let mut rows = Vec::new();
        for peer in &self.peers {
            let of = |part: fn(&Latency) -> u64| {
                let cells = self.of_peer(peer, self.usual_threads());
                middle(cells.filter_map(which).map(|all| part(&all) as f64))
            };
            let all = (of(|all| all.p50), of(|all| all.p99), of(|all| all.p999));
            if let (Some(p50), Some(p99), Some(p999)) = all {
                rows.push((self.marked(peer, "latency"), [p50, p99, p999]));
            }
        }
        rows.sort_by(|a, b| a.1[2].total_cmp(&b.1[2]));
        rows
    }

    fn costs(&self, svg: &mut Svg, y: f64) -> f64 {
        let height = rows_height(self.peers.len());
        let note = match self.usual_threads() {
            1 => "half gets, half updates; 1 thread".to_owned(),
            threads => format!("half gets, half updates; {threads} threads"),
        };
        let unit = "white: p50; filled: p99; black: p99.9";
        let (gets, updates) = (self.percentiles(|it| it.gets), self.percentiles(|it| it.updates));
        if !gets.is_empty() {
            let head = Head { title: "Latency of a get", unit, note: &note };
            dots(svg, place(0, 3, y, height), head, &gets);
            let head = Head { title: "Latency of an update", ..head };
            dots(svg, place(1, 3, y, height), head, &updates);
        }
        let mut rows: Vec<Row> = Vec::new();
        for peer in &self.peers {
            let of = |part: fn(&Cell) -> Option<f64>| {
                let cells = self.cells(&self.results.bytes).filter(|cell| cell.peer == *peer);
                middle(cells.filter_map(part))
            };
            let (heap, resident) =
                (of(|cell| cell.heap_bytes_per_key), of(|cell| cell.resident_bytes_per_key));
            let name = match heap {
                Some(_) => (*peer).to_owned(),
                None => format!("{peer} (resident)"),
            };
            rows.extend(heap.or(resident).map(|bytes| (name, bytes, resident)));
        }
        rows.sort_by(|a, b| a.1.total_cmp(&b.1));
        if !rows.is_empty() {
            let title = "Bytes per key after the load";
            let head = Head { title, unit: "bytes of heap", note: "the tick: resident memory" };
            bars(svg, place(2, 3, y, height), head, &rows);
        }
        if gets.is_empty() && rows.is_empty() { y } else { y + height + 10.0 }
    }

    /// Versions, and what was left out or is wrong.
    fn notes(&self, svg: &mut Svg, mut y: f64) -> f64 {
        let versions = &self.results.versions.0;
        let version = |peer: &&str| Some(format!("{peer} {}", versions.get(*peer)?));
        let versions: Vec<String> = self.peers.iter().filter_map(version).collect();
        let mut notes = vec![versions.join(", ")];
        for peer in &self.peers {
            let mut cells = self.cells(&self.results.cells).filter(|cell| cell.peer == *peer);
            let note = cells.find_map(|cell| match (&cell.refused, &cell.failed) {
                (Some(why), _) | (None, Some(why)) => Some(format!("{peer} is left out: {why}")),
                _ if cell.wrong.is_empty() => None,
                _ => Some(format!("! {peer} gave wrong answers: {}", cell.faults())),
            });
            notes.extend(note);
        }
        for note in notes {
            let mut rest = note.as_str();
            while !rest.is_empty() {
                let room = rest.char_indices().nth(200).map_or(rest.len(), |(at, _)| at);
                let full = room == rest.len();
                let end = if full { room } else { rest[..room].rfind(' ').unwrap_or(room) };
                svg.text(MARGIN, y + 10.0, Font::new(10.5, SOFT), rest[..end].trim());
                (rest, y) = (rest[end..].trim_start(), y + 15.0);
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(5), "5");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(10_000_000), "10,000,000");
    }

    #[test]
    fn panels_do_not_overlap() {
        let frames: Vec<Frame> = (0..7).map(|at| place(at, 4, 0.0, 100.0)).collect();
        let apart = |a: &Frame, b: &Frame| {
            a.x + a.width <= b.x
                || b.x + b.width <= a.x
                || a.y + a.height <= b.y
                || b.y + b.height <= a.y
        };
        for (at, a) in frames.iter().enumerate() {
            assert!(frames[at + 1..].iter().all(|b| apart(a, b)));
            assert!(a.x + a.width <= WIDTH);
        }
    }
}
