//! `armilla dataset info`: what a dataset holds.

use std::path::PathBuf;

use anyhow::Result;
use armilla_core::features::Feature;
use armilla_data::Dataset;
use clap::Args;
use serde_json::{Map, Value, json};

use super::stats::feature_json;
use crate::hub::{self, HubType};
use crate::progress::{print, say};

/// Instructions that are shown to people.
const TASKS_SHOWN: usize = 5;

/// Arguments of `dataset info`.
#[derive(Args, Debug)]
pub(crate) struct InfoArguments {
    /// The dataset's folder, or OWNER/NAME on the hub.
    pub dataset: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Hash all files too: equal hashes, equal datasets. Reads every byte.
    #[arg(long)]
    pub hash: bool,
}

/// Runs `armilla dataset info`.
pub(super) fn run(arguments: &InfoArguments) -> Result<()> {
    let dataset = Dataset::open(hub::folder(HubType::Dataset, &arguments.dataset)?)?;
    // What was put right is logged as it is done; a recording under way is left alone, and only told of.
    if let Some(recovered) = dataset.recovered().filter(|found| found.being_recorded) {
        say(&format!("{}: {recovered}", arguments.dataset.display()));
    }
    if arguments.json {
        return Ok(print(&serde_json::to_string_pretty(&to_json(
            &dataset,
            arguments.hash,
        )?)?)?);
    }
    show(&dataset)?;
    if arguments.hash {
        print(&format!("  hash {}", dataset.content_hash()?))?;
    }
    Ok(())
}

fn frames(dataset: &Dataset) -> usize {
    dataset
        .episodes()
        .iter()
        .map(|episode| episode.length)
        .sum()
}

fn to_json(dataset: &Dataset, with_hash: bool) -> Result<Value> {
    let mut features = Map::new();
    for (key, feature) in &dataset.features().0 {
        let mut entry = json!({
            "dtype": feature.data_type.name(),
            "shape": feature.shape,
            "names": feature.names,
        });
        if let Some(codec) = dataset.info().codec(key) {
            entry["codec"] = json!(codec);
        }
        if let Some(counted) = dataset.statistics().get(key) {
            entry["statistics"] = feature_json(counted);
        }
        features.insert(key.clone(), entry);
    }
    let lengths: Vec<_> = dataset
        .episodes()
        .iter()
        .map(|episode| episode.length)
        .collect();
    let mut info = json!({
        "path": dataset.root(),
        "robot_type": dataset.info().robot_type,
        "fps": dataset.fps(),
        "episodes": lengths.len(),
        "frames": frames(dataset),
        "shortest_episode": lengths.iter().min(),
        "longest_episode": lengths.iter().max(),
        "tasks": dataset.tasks(),
        "features": features,
        "recovered": dataset.recovered().map(ToString::to_string),
    });
    if with_hash {
        info["hash"] = json!(dataset.content_hash()?);
    }
    Ok(info)
}

fn show(dataset: &Dataset) -> Result<()> {
    let (episodes, fps, frames) = (dataset.episodes().len(), dataset.fps(), frames(dataset));
    let seconds = frames as f64 / f64::from(fps);
    let robot = dataset.info().robot_type.as_deref().unwrap_or("not named");
    print(&format!(
        "{}\n  {episodes} episodes, {frames} frames at {fps} Hz ({seconds:.0} s), robot: {robot}",
        dataset.root().display()
    ))?;
    for (key, feature) in &dataset.features().0 {
        print(&format!("  {key}: {}", described(dataset, key, feature)))?;
        statistics(dataset, key)?;
    }
    let tasks = dataset.tasks();
    print(&format!("  {} tasks", tasks.len()))?;
    let shown = tasks.iter().take(TASKS_SHOWN);
    Ok(shown
        .into_iter()
        .try_for_each(|task| print(&format!("    {task}")))?)
}

/// Type, shape, names and coding of a feature.
fn described(dataset: &Dataset, key: &str, feature: &Feature) -> String {
    let mut text = format!("{} {:?}", feature.data_type.name(), feature.shape);
    if let Some(codec) = dataset.info().codec(key) {
        text += &format!(" {codec}");
    }
    if !feature.names.is_empty() && !feature.data_type.is_picture() {
        text += &format!(" ({})", feature.names.join(", "));
    }
    text
}

/// Mean and standard deviation of what a robot senses and does.
fn statistics(dataset: &Dataset, key: &str) -> Result<()> {
    let row = |values: &[f64]| {
        let values = values.iter().map(|value| format!("{value:.3}"));
        values.collect::<Vec<_>>().join(" ")
    };
    match dataset.statistics().get(key) {
        Some(found) if key == "action" || key.starts_with("observation.") => {
            print(&format!(
                "    mean {}  std {}",
                row(&found.mean),
                row(&found.std)
            ))?;
        }
        _ => {}
    }
    Ok(())
}
