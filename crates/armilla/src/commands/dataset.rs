//! `armilla dataset`: looking into datasets.

use std::path::Path;

use anyhow::Result;
use armilla_data::Dataset;
use serde_json::json;

use crate::cli::DatasetCommand;
use crate::progress::{print, say};

/// Runs `armilla dataset`.
pub(crate) fn run(command: &DatasetCommand) -> Result<()> {
    match command {
        DatasetCommand::Info { dataset, json } => info(dataset, *json),
    }
}

fn info(root: &Path, as_json: bool) -> Result<()> {
    let dataset = Dataset::open(root)?;
    // What was put right is logged as it is done; a recording under way is left alone, and only told of.
    if let Some(recovered) = dataset.recovered().filter(|found| found.being_recorded) {
        say(&format!("{}: {recovered}", root.display()));
    }
    let frames: usize = dataset
        .episodes()
        .iter()
        .map(|episode| episode.length)
        .sum();
    let features: std::collections::BTreeMap<_, _> = dataset
        .features()
        .0
        .iter()
        .map(|(key, feature)| {
            (
                key,
                format!(
                    "{:?} {:?} {:?}",
                    feature.data_type, feature.shape, feature.names
                ),
            )
        })
        .collect();
    if as_json {
        let value = json!({
            "path": root,
            "fps": dataset.fps(),
            "episodes": dataset.episodes().len(),
            "frames": frames,
            "tasks": dataset.tasks(),
            "features": features,
            "hash": dataset.content_hash()?,
            "recovered": dataset.recovered().map(ToString::to_string),
        });
        return Ok(print(&serde_json::to_string_pretty(&value)?)?);
    }
    let seconds = frames as f64 / f64::from(dataset.fps());
    let (episodes, fps) = (dataset.episodes().len(), dataset.fps());
    print(&format!(
        "{}\n  {episodes} episodes, {frames} frames at {fps} Hz ({seconds:.0} s)",
        root.display()
    ))?;
    for (key, feature) in features {
        print(&format!("  {key}: {feature}"))?;
    }
    statistics(&dataset)?;
    print(&format!("  {} tasks", dataset.tasks().len()))?;
    dataset
        .tasks()
        .iter()
        .take(5)
        .try_for_each(|task| print(&format!("    {task}")))?;
    Ok(())
}

/// Mean and standard deviation of what a robot senses and does.
fn statistics(dataset: &Dataset) -> Result<()> {
    let row = |values: &[f64]| {
        values
            .iter()
            .map(|value| format!("{value:.3}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (key, statistics) in dataset.statistics() {
        if key == "action" || key.starts_with("observation.") {
            print(&format!(
                "  {key} mean {}  std {}",
                row(&statistics.mean),
                row(&statistics.std)
            ))?;
        }
    }
    Ok(())
}
