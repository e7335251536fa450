//! Line charts as SVG: readable in light and dark, on a phone, and as files of their own.

use std::fmt::Write as _;

mod axis;

use axis::Range;
pub use axis::number;

/// Colours that people with any colour vision tell apart (ΔE of 17 or more, with Machado's simulations of 2009 too); the page may override them as
/// `--series-1` and so on.
const COLORS: [&str; 6] = [
    "#2563eb", "#e8710a", "#12805c", "#b5179e", "#6b7280", "#92400e",
];
/// How curves beyond the colours are broken, which begin anew; none is like a reference's.
const DASHES: [&str; 3] = ["", "2 3", "10 3 2 3"];
const REFERENCE_DASH: &str = "6 4";
/// Size of the drawing in its own units; a page scales it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 44.0;
const LEGEND_ROW: f64 = 18.0;
const X_TICKS: f64 = 6.0;
/// Longer curves are drawn as the mean of this many stretches, with their extremes as a band.
const STRETCHES: usize = 160;

/// A curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points `(x, y)` in the order of x. What is not finite is left out; so is y ≤ 0 on a logarithmic axis.
    pub points: Vec<(f64, f64)>,
    /// Drawn dashed, for a reference or a floor.
    pub dashed: bool,
}

/// A chart with one or more curves over one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// Said to screen readers.
    pub title: String,
    /// Under the horizontal axis.
    pub x_label: String,
    /// Beside the vertical axis.
    pub y_label: String,
    /// Whether the vertical axis is logarithmic.
    pub logarithmic: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// Draws the chart as one `<svg>` element. Without any point that can be drawn it says so instead.
#[must_use]
pub fn line_chart(chart: &LineChart) -> String {
    let curves: Vec<Curve> = chart.series.iter().map(|s| Curve::of(chart, s)).collect();
    let mut svg = String::new();
    let legend = legend(chart);
    write_to(
        &mut svg,
        format_args!(
            "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"currentColor\">",
            escape(&chart.title)
        ),
    );
    match Frame::around(chart, &curves, legend.height) {
        None => write_to(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" opacity=\"0.6\">no data</text>",
                WIDTH / 2.0,
                HEIGHT / 2.0
            ),
        ),
        Some(frame) => {
            svg += &axes(chart, &frame);
            for (index, curve) in curves.iter().enumerate() {
                svg += &curve.draw(
                    &frame,
                    &stroke(index),
                    &dash(index, chart.series[index].dashed),
                );
            }
            svg += &legend.svg;
        }
    }
    svg + "</svg>"
}

/// Makes text safe inside HTML and XML, attributes included.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // Control characters are not allowed in XML at all.
            other if other.is_control() && !other.is_whitespace() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writing to a string cannot fail.
pub(crate) fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).ok();
}

/// One stretch of a curve: where it is, its mean and its extremes, in the axis' scale.
struct Stretch {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// A curve in the axis' scale, thinned to what can be seen.
struct Curve {
    stretches: Vec<Stretch>,
    /// All places; the stretches' means do not reach the ends.
    xs: Vec<f64>,
    thinned: bool,
}

impl Curve {
    fn of(chart: &LineChart, series: &Series) -> Self {
        let points: Vec<(f64, f64)> = series
            .points
            .iter()
            .map(|&(x, y)| (x, if chart.logarithmic { y.log10() } else { y }))
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        let every = points.len().div_ceil(STRETCHES).max(1);
        let stretches = points.chunks(every).map(|points| {
            let count = points.len() as f64;
            let values = || points.iter().map(|point| point.1);
            Stretch {
                x: points.iter().map(|point| point.0).sum::<f64>() / count,
                mean: values().sum::<f64>() / count,
                low: values().fold(f64::INFINITY, f64::min),
                high: values().fold(f64::NEG_INFINITY, f64::max),
            }
        });
        Self {
            stretches: stretches.collect(),
            xs: points.iter().map(|point| point.0).collect(),
            thinned: every > 1,
        }
    }

    fn draw(&self, frame: &Frame, stroke: &str, dash: &str) -> String {
        let mut svg = String::new();
        let [first, ..] = self.stretches.as_slice() else {
            return svg;
        };
        if self.stretches.len() == 1 {
            let [x, y] = frame.place(first.x, first.mean);
            return format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" style=\"fill:{stroke}\"/>"
            );
        }
        if self.thinned {
            let highs = self.stretches.iter().map(|s| frame.place(s.x, s.high));
            let lows = self.stretches.iter().rev().map(|s| frame.place(s.x, s.low));
            let band = outline(highs.chain(lows));
            write_to(
                &mut svg,
                format_args!(
                    "<polygon points=\"{band}\" style=\"fill:{stroke}\" opacity=\"0.15\"/>"
                ),
            );
        }
        let line = outline(self.stretches.iter().map(|s| frame.place(s.x, s.mean)));
        write_to(
            &mut svg,
            format_args!(
                "<polyline points=\"{line}\" style=\"fill:none;stroke:{stroke};stroke-width:2;\
                 stroke-linejoin:round{dash}\"/>"
            ),
        );
        svg
    }
}

fn outline(points: impl Iterator<Item = [f64; 2]>) -> String {
    let points: Vec<_> = points.map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    points.join(" ")
}

/// How a curve is broken, as a style; nothing for one that is whole.
fn dash(index: usize, is_reference: bool) -> String {
    let pattern = match is_reference {
        true => REFERENCE_DASH,
        false => DASHES[index / COLORS.len() % DASHES.len()],
    };
    match pattern {
        "" => String::new(),
        pattern => format!(";stroke-dasharray:{pattern}"),
    }
}

fn stroke(index: usize) -> String {
    let color = index % COLORS.len();
    format!("var(--series-{},{})", color + 1, COLORS[color])
}

/// Where values lie on the drawing.
struct Frame {
    x: Range,
    y: Range,
    top: f64,
}

impl Frame {
    fn around(chart: &LineChart, curves: &[Curve], legend_height: f64) -> Option<Self> {
        let stretches = || curves.iter().flat_map(|curve| &curve.stretches);
        let x = Range::of(curves.iter().flat_map(|curve| curve.xs.iter().copied()))?;
        let y = Range::of(stretches().flat_map(|s| [s.low, s.high]))?;
        let y = if chart.logarithmic {
            y.padded()
        } else {
            y.reaching_zero_if_near().padded()
        };
        Some(Self {
            x,
            y,
            top: 10.0 + legend_height,
        })
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let bottom = HEIGHT - BOTTOM;
        [
            LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT),
            bottom - self.y.share(y) * (bottom - self.top),
        ]
    }
}

fn axes(chart: &LineChart, frame: &Frame) -> String {
    let mut svg = String::new();
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (value, label) in frame.y.labelled_ticks(chart.logarithmic) {
        let [_, y] = frame.place(0.0, value);
        write_to(
            &mut svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" opacity=\"0.13\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" opacity=\"0.75\">{label}</text>",
                LEFT - 7.0,
                y + 4.0
            ),
        );
    }
    for value in frame.x.ticks(X_TICKS) {
        let [x, _] = frame.place(value, 0.0);
        write_to(
            &mut svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" opacity=\"0.75\">{}</text>",
                bottom + 17.0,
                number(value)
            ),
        );
    }
    let middle = f64::midpoint(frame.top, bottom);
    write_to(
        &mut svg,
        format_args!(
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"currentColor\" opacity=\"0.5\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(&chart.x_label),
            escape(&chart.y_label)
        ),
    );
    svg
}

struct Legend {
    svg: String,
    height: f64,
}

/// One entry a curve, in as many rows as they need. A lone curve needs none where the axis says what it is.
fn legend(chart: &LineChart) -> Legend {
    let mut legend = Legend {
        svg: String::new(),
        height: 0.0,
    };
    if chart.series.len() < 2 {
        return legend;
    }
    let (mut x, mut y) = (LEFT, 14.0);
    for (index, series) in chart.series.iter().enumerate() {
        // Widths of letters are not known here; this much fits system fonts of this size.
        let width = 38.0 + 7.2 * series.name.chars().count() as f64;
        if x > LEFT && x + width > WIDTH {
            (x, y) = (LEFT, y + LEGEND_ROW);
        }
        let dash = dash(index, series.dashed);
        write_to(
            &mut legend.svg,
            format_args!(
                "<line x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" style=\"stroke:{};stroke-width:3{dash}\"/>\
                 <text x=\"{}\" y=\"{y}\">{}</text>",
                x + 18.0,
                y - 4.0,
                y - 4.0,
                stroke(index),
                x + 23.0,
                escape(&series.name)
            ),
        );
        x += width;
    }
    legend.height = y - 14.0 + LEGEND_ROW;
    legend
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[&[(f64, f64)]], logarithmic: bool) -> String {
        line_chart(&LineChart {
            title: "a < b".to_owned(),
            logarithmic,
            series: points
                .iter()
                .map(|points| Series {
                    name: "loss".to_owned(),
                    points: points.to_vec(),
                    dashed: false,
                })
                .collect(),
            ..LineChart::default()
        })
    }

    #[test]
    fn nothing_to_draw_is_said() {
        for svg in [
            chart(&[], false),
            chart(&[&[]], true),
            chart(&[&[(0.0, f64::NAN), (f64::INFINITY, 1.0)]], false),
            chart(&[&[(0.0, -1.0), (1.0, 0.0)]], true),
        ] {
            assert!(svg.contains("no data"), "{svg}");
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        }
    }

    #[test]
    fn any_points_give_finite_coordinates() {
        let noisy: Vec<_> = (0..1000)
            .map(|i| (f64::from(i), f64::from(i % 7)))
            .collect();
        let cases: [&[(f64, f64)]; 6] = [
            &[(3.0, 2.0)],
            &[(0.0, 5.0), (1.0, 5.0)],
            &[(0.0, 1e-300), (1.0, 1e300)],
            &[(0.0, 1e15), (1.0, 1e15 + 1.0)],
            &[(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)],
            &noisy,
        ];
        for points in cases {
            for logarithmic in [false, true] {
                let svg = chart(&[points], logarithmic);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                assert!(
                    svg.contains("<polyline") || svg.contains("<circle"),
                    "{svg}"
                );
            }
        }
        assert!(chart(&[&noisy], false).contains("<polygon"));
    }

    #[test]
    fn a_legend_wraps_and_is_escaped() {
        let names = [
            "a<b",
            "a rather long name of a curve",
            "another long name of a curve",
        ];
        let series = names.iter().cycle().take(6).map(|name| Series {
            name: (*name).to_owned(),
            points: vec![(0.0, 1.0), (1.0, 2.0)],
            dashed: true,
        });
        let svg = line_chart(&LineChart {
            series: series.collect(),
            ..LineChart::default()
        });
        assert!(svg.contains("a&lt;b") && svg.contains("y=\"32\""), "{svg}");
    }
}
