//! The panels: lines over threads, bars, and dots of percentiles.

use super::svg::{Font, GRID, INK, OURS, PEER, SOFT, Svg, figure, ticks};

/// The peer that stands out.
pub(super) const SUBJECT: &str = "bwtree";
/// The peer without an order: a bound, told in words so that it does not flatten the others.
pub(super) const UNORDERED: &str = "dashmap";

/// Where a panel lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Room for a title above the plot.
const TITLE: f64 = 54.0;
/// Least distance of two labels below each other.
const LABEL: f64 = 12.5;
/// Width of the column of names beside bars and dots.
const NAMES: f64 = 116.0;

fn colour(name: &str) -> &'static str {
    if name.trim_end_matches(" !") == SUBJECT { OURS } else { PEER }
}

fn label(name: &str, size: f64) -> Font {
    let font = Font::new(size, INK);
    if colour(name) == OURS { Font { colour: OURS, ..font.bold() } } else { font }
}

/// What a panel says above its plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) note: &'a str,
}

impl Head<'_> {
    fn draw(self, svg: &mut Svg, frame: Frame) {
        svg.text(frame.x, frame.y + 14.0, Font::new(14.0, INK).bold(), self.title);
        svg.text(frame.x, frame.y + 30.0, Font::new(11.0, SOFT), self.unit);
        svg.text(frame.x, frame.y + 45.0, Font::new(11.0, SOFT), self.note);
    }
}

/// A line: the name of a peer, and its points by threads.
pub(super) type Series = (String, Vec<(usize, f64)>);

/// Throughput over threads, each peer a line with its name at the end.
pub(super) fn lines(svg: &mut Svg, frame: Frame, head: Head<'_>, series: &[Series]) {
    head.draw(svg, frame);
    let mut threads: Vec<usize> =
        series.iter().flat_map(|(_, points)| points.iter().map(|(threads, _)| *threads)).collect();
    threads.sort_unstable();
    threads.dedup();
    let most = series.iter().flat_map(|(_, points)| points.iter().map(|(_, rate)| *rate));
    let ticks = ticks(most.fold(0.0, f64::max));
    let top = ticks.last().copied().unwrap_or(1.0);
    let (left, right) = (frame.x + 26.0, frame.x + frame.width - 120.0);
    let (high, low) = (frame.y + TITLE + 4.0, frame.y + frame.height - 34.0);
    let at_y = |rate: f64| low - (low - high) * rate / top;
    let last = threads.len().saturating_sub(1).max(1) as f64;
    let at_x = |count: usize| {
        let at = threads.iter().position(|other| *other == count).unwrap_or(0) as f64;
        left + 8.0 + (right - left - 16.0) * at / last
    };
    for tick in &ticks {
        svg.line((left, at_y(*tick)), (right, at_y(*tick)), GRID, 1.0);
        let font = Font::new(10.0, SOFT).ending();
        svg.text(left - 4.0, at_y(*tick) + 3.5, font, &format!("{tick}"));
    }
    for &count in &threads {
        svg.text(at_x(count), low + 14.0, Font::new(10.0, SOFT).centred(), &count.to_string());
    }
    let middle = f64::midpoint(left, right);
    svg.text(middle, low + 28.0, Font::new(10.0, SOFT).centred(), "threads");
    let mut order: Vec<&Series> = series.iter().collect();
    order.sort_by_key(|(name, _)| colour(name) == OURS);
    let mut ends = Vec::new();
    for (name, points) in order {
        let places: Vec<_> =
            points.iter().map(|(count, rate)| (at_x(*count), at_y(*rate))).collect();
        let ours = colour(name) == OURS;
        let width = if ours { 3.0 } else { 1.5 };
        svg.path(&places, colour(name), width);
        for place in &places {
            svg.dot(*place, if ours { 3.0 } else { 1.5 }, colour(name), colour(name));
        }
        if let (Some(place), Some((_, rate))) = (places.last(), points.last()) {
            ends.push((*place, name, *rate));
        }
    }
    end_labels(svg, ends, right, (high - 4.0, low + 28.0));
}

/// Names at the ends of lines, moved apart where they would overlap.
fn end_labels(
    svg: &mut Svg,
    mut ends: Vec<((f64, f64), &String, f64)>,
    right: f64,
    (high, low): (f64, f64),
) {
    ends.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    let heights: Vec<f64> = ends.iter().map(|((_, y), ..)| *y).collect();
    for (((x, y), name, rate), moved) in ends.into_iter().zip(apart(&heights, LABEL, high, low)) {
        svg.line((x + 3.0, y), (right + 10.0, moved), GRID, 1.0);
        let text = format!("{} {name}", figure(rate));
        svg.text(right + 12.0, moved + 3.5, label(name, 10.0), &text);
    }
}

/// Heights, in their order, that are at least so far apart, within the limits if that is possible.
fn apart(wanted: &[f64], least: f64, high: f64, low: f64) -> Vec<f64> {
    let mut at = wanted.to_vec();
    let mut limit = low;
    for place in at.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - least;
    }
    let mut limit = high;
    for place in &mut at {
        *place = place.max(limit);
        limit = *place + least;
    }
    at
}

/// A bar: the name of a peer, its figure, and a second one as a tick.
pub(super) type Row = (String, f64, Option<f64>);

/// Height that so many rows take.
pub(super) fn rows_height(rows: usize) -> f64 {
    TITLE + rows as f64 * 20.0 + 30.0
}

/// Bars from the left, in the order given.
pub(super) fn bars(svg: &mut Svg, frame: Frame, head: Head<'_>, rows: &[Row]) {
    head.draw(svg, frame);
    let most = rows.iter().map(|(_, value, second)| second.unwrap_or(0.0).max(*value));
    let most = most.fold(0.0, f64::max);
    let (left, right) = (frame.x + NAMES, frame.x + frame.width - 52.0);
    let at_x = |value: f64| left + (right - left) * value / most.max(1e-9);
    for (at, (name, value, second)) in rows.iter().enumerate() {
        let y = frame.y + TITLE + at as f64 * 20.0;
        svg.text(left - 6.0, y + 12.0, label(name, 11.0).ending(), name);
        svg.bar((left, y + 2.0), at_x(*value) - left, 13.0, colour(name));
        let mut end = at_x(*value);
        if let Some(second) = second {
            let x = at_x(*second);
            svg.line((end.min(x), y + 8.5), (x, y + 8.5), SOFT, 1.0);
            svg.line((x, y + 3.0), (x, y + 14.0), INK, 2.0);
            end = end.max(x);
        }
        svg.text(end + 5.0, y + 12.5, label(name, 10.0), &figure(*value));
    }
}

/// Percentiles of a peer: the name, and p50, p99, p99.9 in nanoseconds.
pub(super) type Percentiles = (String, [f64; 3]);

/// Percentiles on a logarithmic axis.
pub(super) fn dots(svg: &mut Svg, frame: Frame, head: Head<'_>, rows: &[Percentiles]) {
    head.draw(svg, frame);
    let all = || rows.iter().flat_map(|(_, figures)| figures.iter().copied());
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(1.0, f64::max));
    let first = least.max(1.0).log10().floor() as i32;
    let last = (most.log10().ceil() as i32).max(first + 1);
    let (left, right) = (frame.x + NAMES, frame.x + frame.width - 20.0);
    let span = f64::from(last - first);
    let at_x =
        |value: f64| left + (right - left) * (value.max(1.0).log10() - f64::from(first)) / span;
    let low = frame.y + TITLE + rows.len() as f64 * 20.0;
    for power in first..=last {
        let value = 10_f64.powi(power);
        let text = match power {
            ..3 => format!("{value:.0} ns"),
            3..6 => format!("{:.0} \u{b5}s", value / 1e3),
            _ => format!("{:.0} ms", value / 1e6),
        };
        svg.line((at_x(value), frame.y + TITLE), (at_x(value), low), GRID, 1.0);
        svg.text(at_x(value), low + 14.0, Font::new(10.0, SOFT).centred(), &text);
    }
    for (at, (name, figures)) in rows.iter().enumerate() {
        let y = frame.y + TITLE + at as f64 * 20.0 + 10.0;
        svg.text(left - 6.0, y + 3.5, label(name, 11.0).ending(), name);
        svg.line((at_x(figures[0]), y), (at_x(figures[2]), y), colour(name), 1.5);
        for (value, fill) in figures.iter().zip(["#ffffff", colour(name), INK]) {
            svg.dot((at_x(*value), y), 4.0, fill, if fill == INK { INK } else { colour(name) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart_and_keep_their_order() {
        let places = apart(&[10.0, 11.0, 11.5, 50.0, 99.0, 99.5], 5.0, 0.0, 100.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 4.999), "{places:?}");
        assert!(places.iter().all(|place| (0.0..=100.0).contains(place)));
        assert!((places[3] - 50.0).abs() < 1e-9, "one that has room stays: {places:?}");
    }
}
