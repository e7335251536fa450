//! `report.html`: one page with results, curves and filmstrips that needs neither network nor script.

mod sections;

use armilla_core::Rate;

use crate::chart::{LineChart, escape, write_to};
use crate::error::Result;
use crate::filmstrip::Filmstrip;

/// A success rate and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Share of successes in [0, 1].
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Episodes it rests on.
    pub episodes: usize,
}

impl From<Rate> for Estimate {
    fn from(rate: Rate) -> Self {
        let interval = rate.wilson();
        Self {
            value: rate.value(),
            low: interval.low,
            high: interval.high,
            episodes: rate.episodes,
        }
    }
}

impl Estimate {
    /// Both ends of the interval, in percent.
    pub(crate) fn interval(self) -> String {
        format!("{} – {}", percent(self.low), percent(self.high))
    }
}

/// Percent on a drawing; what is not a number is drawn at zero.
pub(crate) fn share(value: f64) -> f64 {
    if value.is_finite() {
        100.0 * value.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// A share as a number of percent.
pub(crate) fn percent(value: f64) -> String {
    if value.is_finite() {
        format!("{:.1}", 100.0 * value)
    } else {
        "–".to_owned()
    }
}

/// One evaluation: a policy on a protocol, with what it must be seen beside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultRow {
    /// Environment, such as `two-room`.
    pub env: String,
    /// Protocol, such as `crossing`.
    pub protocol: String,
    /// Who acted.
    pub policy: String,
    /// Success at any step.
    pub success: Estimate,
    /// Success at the last step.
    pub success_at_end: Option<Estimate>,
    /// The rate aimed at, in [0, 1].
    pub target: Option<f64>,
    /// What knows less, or more, on the same episodes: nothing, random, straight line, expert.
    pub floors: Vec<(String, Estimate)>,
    /// The same policy by instruction family.
    pub families: Vec<(String, Estimate)>,
}

/// What a rate of an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The policy's own success.
    Policy,
    /// The same policy, counted otherwise.
    Part,
    /// Somebody else's on the same episodes.
    Floor,
}

impl ResultRow {
    /// All rates in the order in which they are drawn, from top to bottom.
    pub(crate) fn rates(&self) -> Vec<(Role, &str, Estimate)> {
        fn named(
            role: Role,
            rates: &[(String, Estimate)],
        ) -> impl Iterator<Item = (Role, &str, Estimate)> {
            rates
                .iter()
                .map(move |(name, rate)| (role, name.as_str(), *rate))
        }
        let at_end = self.success_at_end;
        std::iter::once((Role::Policy, self.policy.as_str(), self.success))
            .chain(at_end.map(|rate| (Role::Part, "at the last step", rate)))
            .chain(named(Role::Part, &self.families))
            .chain(named(Role::Floor, &self.floors))
            .collect()
    }
}

/// A stage of the run and how long it took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// A figure that must not fall below a bound, such as the effective rank of the latents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Healthy from here on, where a bound is known.
    pub at_least: Option<f64>,
}

/// Curves with words below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    /// The chart; its title becomes the heading.
    pub chart: LineChart,
    /// What is to be seen.
    pub caption: String,
}

/// A recorded dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatasetRow {
    /// Its name.
    pub name: String,
    /// Episodes in it.
    pub episodes: usize,
    /// Frames in it.
    pub frames: usize,
    /// Hash of its content.
    pub hash: String,
}

/// A command and what it is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// What it does.
    pub purpose: String,
    /// What to type.
    pub line: String,
}

/// All that the page says. Empty lists leave their section out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportData {
    /// Heading.
    pub title: String,
    /// One or two sentences below it.
    pub summary: String,
    /// Machine, versions, seed and date, by name.
    pub facts: Vec<(String, String)>,
    /// Evaluations, the most important first.
    pub results: Vec<ResultRow>,
    /// Health of the latents.
    pub latents: Vec<Figure>,
    /// Reality against imagination.
    pub filmstrips: Vec<Filmstrip>,
    /// What a camera saw in episodes.
    pub episodes: Vec<Filmstrip>,
    /// Curves of what was measured.
    pub curves: Vec<Plot>,
    /// The figures as a terminal shows them, line by line.
    pub lines: Vec<String>,
    /// Training curves.
    pub plots: Vec<Plot>,
    /// Stages in their order.
    pub stages: Vec<Stage>,
    /// Datasets that were recorded.
    pub datasets: Vec<DatasetRow>,
    /// Hashes by split, which show that training and evaluation share nothing.
    pub splits: Vec<(String, String)>,
    /// How to get the same figures.
    pub reproduce: Vec<Command>,
}

/// Writes the page.
///
/// # Errors
///
/// When a picture of a filmstrip cannot be encoded.
pub fn render(data: &ReportData) -> Result<String> {
    let mut page = String::new();
    write_to(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>\n{}</style></head><body><main>",
            escape(&data.title),
            include_str!("report/style.css")
        ),
    );
    page += &sections::head(data);
    page += &sections::cards(data);
    page += &sections::results(data);
    page += &sections::filmstrips(
        "Imagination",
        "What the camera saw, above what the world model foresaw from the first frames and the actions alone.",
        &data.filmstrips,
    )?;
    page += &sections::filmstrips(
        "Episodes",
        "What the camera saw, step by step, above the goal where there is a picture of it.",
        &data.episodes,
    )?;
    page += &sections::latents(data);
    page += &sections::plots("Curves", &data.curves);
    page += &sections::lines(data);
    page += &sections::plots("Training", &data.plots);
    page += &sections::stages(data);
    page += &sections::data(data);
    page += &sections::reproduce(data);
    page += "</main></body></html>\n";
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Series;
    use crate::filmstrip::FilmRow;
    use armilla_core::Image;

    fn estimate(successes: usize) -> Estimate {
        Rate {
            successes,
            episodes: 100,
        }
        .into()
    }

    fn example() -> ReportData {
        let row = |env: &str, successes| ResultRow {
            env: env.to_owned(),
            protocol: "crossing".to_owned(),
            policy: "<planner>".to_owned(),
            success: estimate(successes),
            success_at_end: Some(estimate(successes - 1)),
            target: Some(0.6),
            floors: vec![("straight line".to_owned(), estimate(33))],
            families: vec![("push & pull".to_owned(), estimate(50))],
        };
        ReportData {
            title: "Armilla <demo>".to_owned(),
            facts: vec![("seed".to_owned(), "7".to_owned())],
            results: vec![row("two-room", 71), row("tabletop", 40)],
            latents: vec![Figure {
                name: "effective rank".to_owned(),
                value: 12.5,
                at_least: Some(8.0),
            }],
            filmstrips: vec![Filmstrip {
                rows: vec![FilmRow {
                    label: "real".to_owned(),
                    images: vec![Image::filled(4, 4, [1, 2, 3])],
                }],
                ..Filmstrip::default()
            }],
            plots: vec![Plot {
                chart: LineChart {
                    title: "world model".to_owned(),
                    series: vec![Series::default()],
                    ..LineChart::default()
                },
                caption: String::new(),
            }],
            stages: vec![Stage {
                name: "record".to_owned(),
                seconds: 61.0,
            }],
            splits: vec![("train".to_owned(), "ab12".to_owned())],
            ..ReportData::default()
        }
    }

    #[test]
    fn the_page_holds_every_row_and_escapes() {
        let page = render(&example()).unwrap();
        for text in [
            "Armilla &lt;demo&gt;",
            "&lt;planner&gt;",
            "push &amp; pull",
            "straight line",
            "two-room",
            "tabletop",
            "71.0",
            "✓ target 60 %",
            "✗ below target 60 %",
            "12.5",
            "world model",
            "record",
            "ab12",
            "data:image/png;base64,",
        ] {
            assert!(page.contains(text), "{text} is missing");
        }
        assert!(!page.contains("<planner>") && !page.contains("<script"));
        for tag in ["table", "section", "div", "svg", "tr", "td", "th", "figure"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn the_policys_rates_stand_above_the_floors() {
        let data = example();
        let rates: Vec<_> = data.results[0]
            .rates()
            .into_iter()
            .map(|(role, name, rate)| (role, name, percent(rate.value)))
            .collect();
        assert_eq!(
            rates,
            [
                (Role::Policy, "<planner>", "71.0".to_owned()),
                (Role::Part, "at the last step", "70.0".to_owned()),
                (Role::Part, "push & pull", "50.0".to_owned()),
                (Role::Floor, "straight line", "33.0".to_owned()),
            ]
        );
    }

    #[test]
    fn nothing_gives_a_page_without_sections() {
        let page = render(&ReportData::default()).unwrap();
        assert!(page.starts_with("<!doctype html>") && !page.contains("<section>"));
    }

    #[test]
    fn odd_numbers_stay_on_the_drawing() {
        let mut data = example();
        data.results[0].success = Estimate {
            value: f64::NAN,
            low: -1.0,
            high: 7.0,
            episodes: 0,
        };
        data.stages[0].seconds = f64::NAN;
        data.latents[0].value = f64::INFINITY;
        let page = render(&data).unwrap();
        assert!(!page.contains("NaN") && !page.contains("width=\"-") && !page.contains("\"700"));
    }
}
