//! `armilla world check`: whether latents are alive and heed the action.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use armilla_viz::Series;
use armilla_viz::report::{Figure, ReportData};
use armilla_world::Diagnostics;
use clap::Args;
use serde_json::{Map, Value, json};

use super::kept::Kept;
use super::table::{cell, table};
use super::{Findings, ModelArguments, plot};
use crate::commands::report::{at_least, diagnose};
use crate::hub::{self, HubType};

/// Arguments of `world check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// A dataset: a folder, or OWNER/NAME on the hub.
    #[arg(long)]
    pub dataset: PathBuf,
    /// Windows to measure on.
    #[arg(long, default_value_t = 256)]
    pub windows: usize,
    /// Share of the dataset's episodes to take, evenly spread or the last as the checkpoint's run says, 1 for all. Unless given, those that the run kept from training, all of a dataset that is not the run's, 0.05 where no run is beside the checkpoint.
    #[arg(long)]
    pub validation_share: Option<f64>,
}

/// Runs `armilla world check`.
pub(super) fn run(arguments: &CheckArguments) -> Result<()> {
    ensure!(
        arguments.windows > 1,
        "--windows: expected at least 2, to hold the actions of one against another's, found {}",
        arguments.windows
    );
    let opened = arguments.model.open()?;
    let folder = hub::folder(HubType::Dataset, &arguments.dataset)?;
    let kept = Kept::open(&opened, &folder, arguments.validation_share)?;
    let (share, split, untouched) = (kept.share, kept.split, kept.kept_from_training());
    let (of_run, episodes) = (kept.title(), kept.episodes.len());
    let found = diagnose(
        &opened.model,
        &kept.seen,
        kept.episodes,
        arguments.windows,
        &opened.device,
    )?;
    ensure!(
        found.windows > 1,
        "{}: expected at least 2 windows, to hold the actions of one against another's, found 1 in {episodes} episodes",
        arguments.dataset.display()
    );
    let figures = figures(&found);
    let title = format!(
        "{}: {} windows of {episodes} episodes, {of_run}",
        arguments.dataset.display(),
        found.windows
    );
    let rows: Vec<_> = figures
        .iter()
        .map(|&(name, value)| row(name, value))
        .collect();
    let mut lines = vec![title.clone()];
    lines.extend(table(&["", "found", "healthy", ""], &rows));
    let json: Map<String, Value> = figures
        .iter()
        .map(|&(name, value)| {
            let bound = at_least(name);
            let healthy = bound.map(|bound| value >= bound);
            let figure = json!({ "value": value, "at_least": bound, "healthy": healthy });
            (name.to_owned(), figure)
        })
        .collect();
    let json = json!({
        "checkpoint": arguments.model.checkpoint,
        "dataset": arguments.dataset,
        "validation_share": share,
        "validation_split": split,
        "kept_from_training": untouched,
        "episodes": episodes,
        "windows": found.windows,
        "figures": json,
        "std": found.std,
    });
    arguments.model.report(&Findings {
        lines,
        figures: json,
        page: page(title, &found),
        ..Findings::default()
    })
}

fn page(summary: String, found: &Diagnostics) -> ReportData {
    let figure = |(name, value): (&str, f64)| Figure {
        name: name.replace('_', " "),
        value,
        at_least: at_least(name),
    };
    let mut std = found.std.clone();
    std.sort_by(|a, b| b.total_cmp(a));
    let points = (1..).zip(std).map(|(rank, std)| (f64::from(rank), std));
    let series = Series {
        name: "standard deviation".to_owned(),
        points: points.collect(),
        dashed: false,
    };
    let caption = "Of each of a latent's values, the largest first: a collapsed latent falls to 0.";
    ReportData {
        title: "Whether latents are alive".to_owned(),
        summary,
        latents: figures(found).map(figure).into(),
        curves: vec![plot(
            "standard deviation",
            "value of the latent",
            caption,
            vec![series],
        )],
        ..ReportData::default()
    }
}

/// The figures by name.
pub(crate) fn figures(found: &Diagnostics) -> [(&'static str, f64); 6] {
    [
        ("effective_rank", found.effective_rank),
        ("smallest_std", found.smallest_std()),
        ("mean_std", found.mean_std()),
        ("action_shuffle_ratio", found.action_shuffle_ratio),
        ("copy_ratio", found.copy_ratio),
        ("straightness", found.straightness),
    ]
}

fn row(name: &str, value: f64) -> Vec<String> {
    let bound = at_least(name);
    let verdict = match bound {
        Some(bound) if value >= bound => "ok",
        Some(_) => "LOW",
        None => "",
    };
    let bound = bound.map_or_else(String::new, |bound| format!(">= {bound}"));
    vec![
        name.replace('_', " "),
        cell(Some(value), 3),
        bound,
        verdict.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_what_is_healthy() {
        assert_eq!(
            row("effective_rank", 3.0),
            ["effective rank", "3.000", ">= 8", "LOW"]
        );
        assert_eq!(row("copy_ratio", 1.5)[2..], [">= 1", "ok"]);
        assert_eq!(row("straightness", 0.5), ["straightness", "0.500", "", ""]);
    }
}
