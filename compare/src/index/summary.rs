//! The tables of a run: throughput and its ratio to the base, bytes, latencies, what was left out.

use super::Group;
use super::phases::Phase;
use super::results::{Cell, Latency, Results};
use crate::peers::Peer;
use crate::report::{line, median, table};
use std::io;

/// Prints what was measured in this group.
pub(super) fn print(
    results: &Results,
    group: Group,
    peers: &[&Peer],
    base: &str,
) -> io::Result<()> {
    let Group { keys, value, size, threads } = group;
    let name = keys.name();
    line(&format!(
        "\n{size} keys ({name}), values of {value} bytes, {threads} thread(s): Mops/s, and the \
         median of the rounds' ratios to {base}"
    ))?;
    let part = Part { results, group };
    table(&part.throughput(peers, base))?;
    let costs = part.costs(peers);
    if costs.iter().skip(1).flat_map(|row| &row[1..]).any(|cell| cell != "-") {
        line("")?;
        table(&costs)?;
    }
    for told in part.left_out(peers) {
        line(&told)?;
    }
    if let Some(share) = part.share(peers).filter(|share| *share < QUIET) {
        line(&format!(
            "! BUSY MACHINE: readers had {:.0} % of their processors; the figures are too low, and \
             the ratios rough",
            share * 100.0
        ))?;
    }
    Ok(())
}

/// Share of the processors below which a run says that it was disturbed.
const QUIET: f64 = 0.9;

/// The results of one group.
struct Part<'a> {
    results: &'a Results,
    group: Group,
}

/// The median of what is there.
pub(crate) fn middle(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let figures: Vec<f64> = figures.collect();
    (!figures.is_empty()).then(|| median(figures))
}

/// The median of the ratios of the rounds that both have.
pub(crate) fn ratio(these: &[(usize, f64)], base: &[(usize, f64)]) -> Option<f64> {
    let of = |round: usize| base.iter().find(|(other, _)| *other == round).map(|(_, rate)| *rate);
    middle(these.iter().filter_map(|(round, rate)| Some(rate / of(*round)?)))
}

impl Part<'_> {
    fn in_group<'b>(&'b self, cells: &'b [Cell], peer: &'b str) -> impl Iterator<Item = &'b Cell> {
        let Group { keys, value, size, threads } = self.group;
        cells.iter().filter(move |cell| {
            (cell.peer.as_str(), cell.keys.as_str()) == (peer, keys.name())
                && (cell.value_bytes, cell.size, cell.threads) == (value, size, threads)
        })
    }

    fn rounds(&self, peer: &str, phase: Phase) -> Vec<(usize, f64)> {
        let cells = self.in_group(&self.results.cells, peer);
        cells.filter_map(|cell| Some((cell.round, *cell.mops.get(phase.name())?))).collect()
    }

    /// The processor time that readers had, who sleep at no lock that matters.
    fn share(&self, peers: &[&Peer]) -> Option<f64> {
        let cells = peers.iter().flat_map(|peer| self.in_group(&self.results.cells, peer.name));
        middle(cells.filter_map(|cell| cell.processor_share.get(Phase::Read.name()).copied()))
    }

    fn wrong(&self, peer: &str, phase: Phase) -> bool {
        let mut cells = self.in_group(&self.results.cells, peer);
        cells.any(|cell| cell.wrong.contains_key(phase.name()))
    }

    fn throughput(&self, peers: &[&Peer], base: &str) -> Vec<Vec<String>> {
        let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Latency);
        let phases: Vec<Phase> = phases
            .filter(|phase| peers.iter().any(|peer| !self.rounds(peer.name, *phase).is_empty()))
            .collect();
        let mut rows = vec![vec!["Mops/s (ratio)".to_owned()]];
        rows[0].extend(phases.iter().map(|phase| phase.name().to_owned()));
        for peer in peers {
            let mut row = vec![peer.name.to_owned()];
            for &phase in &phases {
                let rounds = self.rounds(peer.name, phase);
                let rate = middle(rounds.iter().map(|(_, rate)| *rate));
                let ratio = ratio(&rounds, &self.rounds(base, phase));
                let mark = if self.wrong(peer.name, phase) { "!" } else { "" };
                row.push(match (rate, ratio) {
                    (Some(rate), Some(ratio)) => format!("{mark}{rate:.2} ({ratio:.2})"),
                    (Some(rate), None) => format!("{mark}{rate:.2}"),
                    _ => "-".to_owned(),
                });
            }
            rows.push(row);
        }
        rows
    }

    fn costs(&self, peers: &[&Peer]) -> Vec<Vec<String>> {
        let columns = [
            "bytes a key, ns",
            "heap",
            "resident",
            "get p50",
            "p99",
            "p99.9",
            "max",
            "update p50",
            "p99",
            "p99.9",
            "max",
        ];
        let mut rows = vec![columns.map(str::to_owned).to_vec()];
        for peer in peers {
            let whole =
                |figure: Option<f64>| figure.map_or("-".to_owned(), |it| format!("{it:.0}"));
            let bytes = |part: fn(&Cell) -> Option<f64>| {
                let cells = self.in_group(&self.results.bytes, peer.name);
                let figure = middle(cells.filter_map(part));
                figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"))
            };
            let mut row = vec![peer.name.to_owned()];
            row.push(bytes(|cell| cell.heap_bytes_per_key));
            row.push(bytes(|cell| cell.resident_bytes_per_key));
            let which: [fn(&Cell) -> Option<Latency>; 2] = [|cell| cell.gets, |cell| cell.updates];
            for which in which {
                let parts: [fn(Latency) -> u64; 4] =
                    [|all| all.p50, |all| all.p99, |all| all.p999, |all| all.max];
                for part in parts {
                    let cells = self.in_group(&self.results.cells, peer.name);
                    row.push(whole(middle(cells.filter_map(which).map(|all| part(all) as f64))));
                }
            }
            rows.push(row);
        }
        rows
    }

    /// Lines about peers that refused, failed or answered wrongly.
    fn left_out(&self, peers: &[&Peer]) -> Vec<String> {
        let mut lines = Vec::new();
        for peer in peers {
            let cells = self.in_group(&self.results.cells, peer.name);
            for cell in cells.chain(self.in_group(&self.results.bytes, peer.name)) {
                let why = match (&cell.refused, &cell.failed) {
                    (Some(why), _) => format!("left out: {}: {why}", peer.name),
                    (None, Some(_)) => {
                        format!("FAILED, left out: {}: {}", peer.name, cell.faults())
                    }
                    _ if cell.wrong.is_empty() => continue,
                    _ => format!("! WRONG ANSWERS: {}: {}", peer.name, cell.faults()),
                };
                if !lines.contains(&why) {
                    lines.push(why);
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        // A machine that halves its speed in the second round changes no ratio.
        let (base, these) = ([(0, 10.0), (1, 5.0), (2, 10.0)], [(0, 20.0), (1, 10.0), (2, 19.0)]);
        assert_eq!(ratio(&these, &base), Some(2.0));
        assert_eq!(ratio(&these[..1], &base[1..]), None);
        assert_eq!(ratio(&[], &base), None);
    }

    #[test]
    fn the_middle_of_nothing_is_nothing() {
        assert_eq!(middle(std::iter::empty()), None);
        assert_eq!(middle([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    }
}
