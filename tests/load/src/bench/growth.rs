//! S10 as plots: what a core gives, and the delay, against the number of streams and of readers.

use std::fmt::Write as _;

use super::Series;

/// Of the whole plot and of its margins, in pixels.
const SIZE: (f64, f64) = (640.0, 360.0);
const MARGIN: f64 = 48.0;

/// One line of a plot: a name, a colour, points.
struct Line {
    name: String,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// File names and SVGs of all that was measured.
pub fn plots(all: &[Series]) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    for what in ["streams", "readers"] {
        let prefix = format!("S10-{what}-");
        let of = |value: fn(&crate::report::Report) -> f64| {
            ["floor", "gateway"].map(|server| {
                let points = all.iter().filter(|one| one.server == server).filter_map(|one| {
                    let count: f64 = one.workload.strip_prefix(&prefix)?.parse().ok()?;
                    let mut values: Vec<f64> = one.reports.iter().map(value).collect();
                    values.sort_by(f64::total_cmp);
                    Some((count, *values.get(values.len() / 2)?))
                });
                let colour = if server == "floor" { "#888" } else { "#06c" };
                Line { name: server.to_owned(), colour, points: points.collect() }
            })
        };
        for (name, title, lines) in [
            ("cpu", "CPU, % of a core", of(|run| run.server.cpu_s * 100.0 / run.seconds)),
            ("p99", "delay p99, ms", of(|run| run.delay.p99_ms)),
        ] {
            if lines.iter().any(|line| !line.points.is_empty()) {
                let svg = plot(&format!("{title}, against {what}"), &lines);
                plots.push((format!("benchmark-{what}-{name}.svg"), svg));
            }
        }
    }
    plots
}

/// Both axes, logarithmic, by the powers of ten at their ends.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn around(lines: &[Line]) -> Self {
        let decades = |value: fn(&(f64, f64)) -> f64| {
            let points = lines.iter().flat_map(|line| &line.points).map(value);
            let logs: Vec<_> = points.filter(|value| *value > 0.0).map(f64::log10).collect();
            let low = logs.iter().copied().fold(f64::MAX, f64::min).floor();
            let high = logs.iter().copied().fold(f64::MIN, f64::max).ceil();
            // Nothing above zero has no logarithm: any decade will do.
            if logs.is_empty() { (0.0, 1.0) } else { (low, high.max(low + 1.0)) }
        };
        Self { x: decades(|point| point.0), y: decades(|point| point.1) }
    }

    /// Where a point is in the plot.
    fn place(&self, point: (f64, f64)) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| {
            (value.max(1e-9).log10() - low).max(0.0) / (high - low)
        };
        (
            MARGIN + share(point.0, self.x) * (SIZE.0 - 2.0 * MARGIN),
            SIZE.1 - MARGIN - share(point.1, self.y) * (SIZE.1 - 2.0 * MARGIN),
        )
    }

    /// A line with its label for each power of ten.
    fn grid(&self) -> String {
        let mut svg = String::new();
        let powers = |(low, high): (f64, f64)| (low as i32..=high as i32).map(|at| 10f64.powi(at));
        let mut draw = |from: (f64, f64), to: (f64, f64), label: f64, at: (f64, f64)| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                from.0, from.1, to.0, to.1, at.0, at.1
            );
        };
        let ends = |(low, high): (f64, f64)| (10f64.powf(low), 10f64.powf(high));
        let ((left, right), (bottom, top)) = (ends(self.x), ends(self.y));
        for value in powers(self.x) {
            let (from, to) = (self.place((value, bottom)), self.place((value, top)));
            draw(from, to, value, (from.0, from.1 + 16.0));
        }
        for value in powers(self.y) {
            let (from, to) = (self.place((left, value)), self.place((right, value)));
            draw(from, to, value, (4.0, from.1 + 4.0));
        }
        svg
    }
}

fn plot(title: &str, lines: &[Line]) -> String {
    let axes = Axes::around(lines);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{MARGIN}\" y=\"20\">{title}</text>\n{}",
        SIZE.0,
        SIZE.1,
        axes.grid()
    );
    for (at, line) in lines.iter().enumerate() {
        let places = line.points.iter().map(|point| axes.place(*point));
        let path: Vec<_> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (name, colour, label) = (&line.name, line.colour, 20.0 + at as f64 * 16.0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{label}\" fill=\"{colour}\">{name}</text>",
            path.join(" "),
            SIZE.0 - MARGIN - 60.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn growth_that_was_measured_is_plotted() {
        let series = |count: u32| Series {
            workload: format!("S10-streams-{count}"),
            server: "gateway".to_owned(),
            reports: vec![Report { seconds: 1.0, ..Report::default() }],
            failures: Vec::new(),
            counted: None,
        };
        let plots = plots(&[series(1), series(10)]);
        let names: Vec<_> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["benchmark-streams-cpu.svg", "benchmark-streams-p99.svg"]);
        assert!(!plots[0].1.contains("NaN") && !plots[0].1.contains("inf"), "{}", plots[0].1);
    }
}
