//! The page's sections, from top to bottom.

use super::{Estimate, Figure, Plot, ReportData, ResultRow, Role, percent, share};
use crate::chart::{escape, line_chart, number, write_to};
use crate::error::Result;
use crate::filmstrip::{self, Filmstrip};

/// Title, summary and facts.
pub(super) fn head(data: &ReportData) -> String {
    let mut html = format!(
        "<header><h1>{}</h1><p class=\"summary\">{}</p><dl class=\"facts\">",
        escape(&data.title),
        escape(&data.summary)
    );
    for (name, value) in &data.facts {
        let (name, value) = (escape(name), escape(value));
        write_to(
            &mut html,
            format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>"),
        );
    }
    html + "</dl></header>"
}

/// The figures that a reader looks for first.
pub(super) fn cards(data: &ReportData) -> String {
    let mut html = String::from("<div class=\"cards\">");
    for row in &data.results {
        write_to(
            &mut html,
            format_args!(
                "<div class=\"card\"><p><b>{}</b><br>{}</p><p class=\"big\">{}<small> %</small></p>\
                 <p>95 %: {}<br>{} episodes</p>{}</div>",
                escape(&row.env),
                escape(&row.protocol),
                percent(row.success.value),
                row.success.interval(),
                row.success.episodes,
                verdict(row)
            ),
        );
    }
    let seconds: f64 = data.stages.iter().map(|stage| stage.seconds).sum();
    if seconds > 0.0 {
        write_to(
            &mut html,
            format_args!(
                "<div class=\"card\"><p><b>whole run</b><br>{} stages</p><p class=\"big\">{:.1}<small> min</small></p></div>",
                data.stages.len(),
                seconds / 60.0
            ),
        );
    }
    html + "</div>"
}

fn verdict(row: &ResultRow) -> String {
    let Some(target) = row.target else {
        return String::new();
    };
    let (class, words) = if row.success.value >= target {
        ("good", "✓ target")
    } else {
        ("bad", "✗ below target")
    };
    format!(
        "<p class=\"{class}\">{words} {} %</p>",
        number(100.0 * target)
    )
}

/// One block an evaluation: the policy, then what it must be seen beside, on one scale.
pub(super) fn results(data: &ReportData) -> String {
    if data.results.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<section><h2>Results</h2><p>Share of episodes that succeed, on a scale from 0 to 100 %. The dot is the measured \
         rate, the line its 95 % Wilson interval, the dashed mark the target. Floors and expert ran on the same episodes.</p>",
    );
    for row in &data.results {
        html += &result(row);
    }
    html + "</section>"
}

fn result(row: &ResultRow) -> String {
    let mut html = format!(
        "<div class=\"block\"><h3>{} · {}</h3><table class=\"rows\"><thead><tr><td></td><td></td><td>success</td>\
         <td class=\"rest\">95 % interval</td><td class=\"rest\">N</td></tr></thead><tbody>",
        escape(&row.env),
        escape(&row.protocol)
    );
    let mut before = Role::Policy;
    for (role, name, estimate) in row.rates() {
        let (class, target) = match role {
            Role::Policy => ("main", row.target),
            Role::Part => ("part", None),
            Role::Floor if before != Role::Floor => ("floor gap", None),
            Role::Floor => ("floor", None),
        };
        html += &line(class, name, estimate, target);
        before = role;
    }
    html + "</tbody></table></div>"
}

fn line(class: &str, name: &str, estimate: Estimate, target: Option<f64>) -> String {
    format!(
        "<tr class=\"{class}\"><th scope=\"row\">{}</th><td class=\"wide\">{}</td><td class=\"value\">{} %</td>\
         <td class=\"rest\">{}</td><td class=\"rest\">{}</td></tr>",
        escape(name),
        interval_bar(estimate, target),
        percent(estimate.value),
        estimate.interval(),
        estimate.episodes
    )
}

/// Positions are percentages, so the bar stretches with the page while dot and strokes keep their shape.
fn interval_bar(estimate: Estimate, target: Option<f64>) -> String {
    let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(share);
    let mut svg = format!(
        "<svg class=\"bar\" role=\"img\" aria-label=\"{} %, interval {}\">",
        percent(estimate.value),
        estimate.interval()
    );
    for x in [0, 25, 50, 75, 100] {
        write_to(
            &mut svg,
            format_args!("<line class=\"grid-line\" x1=\"{x}%\" x2=\"{x}%\" y1=\"0\" y2=\"22\"/>"),
        );
    }
    write_to(
        &mut svg,
        format_args!(
            "<rect class=\"fill\" x=\"0\" y=\"6\" width=\"{value:.2}%\" height=\"10\" rx=\"2\"/>\
             <line class=\"span\" x1=\"{low:.2}%\" x2=\"{high:.2}%\" y1=\"11\" y2=\"11\"/>\
             <circle class=\"dot\" cx=\"{value:.2}%\" cy=\"11\" r=\"5.5\"/>"
        ),
    );
    if let Some(target) = target.map(share) {
        write_to(
            &mut svg,
            format_args!(
                "<line class=\"target\" x1=\"{target:.2}%\" x2=\"{target:.2}%\" y1=\"-1\" y2=\"23\"/>"
            ),
        );
    }
    svg + "</svg>"
}

/// Rows of pictures under a heading.
pub(super) fn filmstrips(title: &str, text: &str, strips: &[Filmstrip]) -> Result<String> {
    if strips.is_empty() {
        return Ok(String::new());
    }
    let mut html = format!("<section><h2>{title}</h2><p>{text}</p>");
    for strip in strips {
        html += "<div class=\"block\">";
        html += &filmstrip::html(strip)?;
        html += "</div>";
    }
    Ok(html + "</section>")
}

/// Health of the latents.
pub(super) fn latents(data: &ReportData) -> String {
    if data.latents.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<section><h2>Latents</h2><p>Whether the world model's code is alive.</p><div class=\"cards\">",
    );
    for figure in &data.latents {
        write_to(
            &mut html,
            format_args!(
                "<div class=\"card\"><p>{}</p><p class=\"big\">{}</p>{}</div>",
                escape(&figure.name),
                if figure.value.is_finite() {
                    number(figure.value)
                } else {
                    "–".to_owned()
                },
                health(figure)
            ),
        );
    }
    html + "</div></section>"
}

fn health(figure: &Figure) -> String {
    match figure.at_least {
        None => String::new(),
        Some(bound) if figure.value >= bound => {
            format!("<p class=\"good\">✓ at least {}</p>", number(bound))
        }
        Some(bound) => format!("<p class=\"bad\">✗ at least {}</p>", number(bound)),
    }
}

/// Curves, two in a row where there is room.
pub(super) fn plots(title: &str, plots: &[Plot]) -> String {
    if plots.is_empty() {
        return String::new();
    }
    let mut html = format!("<section><h2>{title}</h2><div class=\"grid\">");
    for plot in plots {
        write_to(
            &mut html,
            format_args!(
                "<figure class=\"block\"><h3>{}</h3>{}<figcaption>{}</figcaption></figure>",
                escape(&plot.chart.title),
                line_chart(&plot.chart),
                escape(&plot.caption)
            ),
        );
    }
    html + "</div></section>"
}

/// Figures in columns.
pub(super) fn lines(data: &ReportData) -> String {
    if data.lines.is_empty() {
        return String::new();
    }
    let text = escape(&data.lines.join("\n"));
    format!("<section><h2>Figures</h2><pre class=\"block\">{text}</pre></section>")
}

/// Stages with bars for their time.
pub(super) fn stages(data: &ReportData) -> String {
    if data.stages.is_empty() {
        return String::new();
    }
    let longest = data
        .stages
        .iter()
        .map(|stage| stage.seconds)
        .fold(1e-9, f64::max);
    let mut html =
        String::from("<section><h2>Time</h2><div class=\"block\"><table class=\"rows\"><tbody>");
    for stage in &data.stages {
        write_to(
            &mut html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td class=\"wide\"><svg class=\"bar\" aria-hidden=\"true\"><rect class=\"length\" \
                 x=\"0\" y=\"5\" height=\"12\" width=\"{:.2}%\" rx=\"3\"/></svg></td><td>{}</td></tr>",
                escape(&stage.name),
                share(stage.seconds / longest),
                duration(stage.seconds)
            ),
        );
    }
    html + "</tbody></table></div></section>"
}

/// Datasets, and the hashes that keep training and evaluation apart.
pub(super) fn data(data: &ReportData) -> String {
    if data.datasets.is_empty() && data.splits.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section><h2>Data</h2>");
    if !data.datasets.is_empty() {
        html += "<div class=\"block\"><h3>Recorded</h3><table class=\"rows\"><thead><tr><th>dataset</th><td>episodes</td><td>frames</td>\
                 <td class=\"rest\">content</td></tr></thead><tbody>";
        for row in &data.datasets {
            write_to(
                &mut html,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"hash rest\">{}</td></tr>",
                    escape(&row.name),
                    row.episodes,
                    row.frames,
                    escape(&row.hash)
                ),
            );
        }
        html += "</tbody></table></div>";
    }
    if !data.splits.is_empty() {
        html += "<div class=\"block\"><h3>Splits</h3><table class=\"rows\"><tbody>";
        for (name, hash) in &data.splits {
            let (name, hash) = (escape(name), escape(hash));
            write_to(
                &mut html,
                format_args!(
                    "<tr><th scope=\"row\">{name}</th><td class=\"hash\">{hash}</td></tr>"
                ),
            );
        }
        html += "</tbody></table></div>";
    }
    html + "</section>"
}

/// Commands to type.
pub(super) fn reproduce(data: &ReportData) -> String {
    if data.reproduce.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section><h2>Reproduce</h2>");
    for command in &data.reproduce {
        write_to(
            &mut html,
            format_args!(
                "<p>{}</p><pre>{}</pre>",
                escape(&command.purpose),
                escape(&command.line)
            ),
        );
    }
    html + "</section>"
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 99.5 {
        return format!("{seconds:.*} s", usize::from(seconds < 10.0));
    }
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}
