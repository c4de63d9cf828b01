//! Writes the few shapes of SVG that the picture needs.

use std::fmt::Write;

/// Text.
pub(super) const INK: &str = "#222222";
/// Text that is read second, and axes.
pub(super) const SOFT: &str = "#6b7075";
/// Grid lines.
pub(super) const GRID: &str = "#e4e6e8";
/// The peers.
pub(super) const PEER: &str = "#a3a9af";
/// What the picture is about.
pub(super) const OURS: &str = "#0b62c4";

/// How a text is set: its size, colour, and which end of it lies at the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) colour: &'static str,
    pub(super) anchor: &'static str,
    pub(super) bold: bool,
}

impl Font {
    pub(super) fn new(size: f64, colour: &'static str) -> Self {
        Self { size, colour, anchor: "start", bold: false }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn centred(self) -> Self {
        Self { anchor: "middle", ..self }
    }

    pub(super) fn ending(self) -> Self {
        Self { anchor: "end", ..self }
    }
}

/// A picture that is being drawn.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _always_fits = self.body.write_fmt(text);
    }

    pub(super) fn text(&mut self, x: f64, y: f64, font: Font, text: &str) {
        let Font { size, colour, anchor, bold } = font;
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\" \
             text-anchor=\"{anchor}\"{weight}>{text}</text>\n"
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{colour}\" stroke-width=\"{width}\"/>\n"
        ));
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str, width: f64) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{width}\" stroke-linejoin=\"round\"/>\n",
            points.join(" ")
        ));
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), width: f64, height: f64, colour: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>\n"
        ));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, edge: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\" \
             stroke=\"{edge}\" stroke-width=\"1.5\"/>\n"
        ));
    }

    pub(super) fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"DejaVu Sans, Helvetica, Arial, \
             sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Round numbers from zero to at least `most`.
pub(super) fn ticks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = steps.into_iter().map(|step| step * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let count = (most / step - 0.001).ceil() as u32;
    (0..=count).map(|n| f64::from(n) * step).collect()
}

/// A figure with as many digits as tell something.
pub(super) fn figure(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_reach_the_most() {
        for most in [0.3, 1.0, 4.9, 5.0, 7.3, 23.0, 99.0, 101.0, 2750.0] {
            let ticks = ticks(most);
            assert!((3..=6).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(ticks[0].abs() < 1e-9);
            assert!(ticks.last().is_some_and(|last| *last >= most * 0.99));
        }
        assert!(ticks(f64::NAN).len() > 1);
    }

    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::default();
        svg.text(0.0, 0.0, Font::new(12.0, INK), "RwLock<BTreeMap> & more");
        let text = svg.finish(10.0, 10.0);
        assert!(text.contains("RwLock&lt;BTreeMap&gt; &amp; more"));
    }
}
