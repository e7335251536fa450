//! Which episodes of a dataset training did not see, as far as the checkpoint's run tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armilla_data::{Dataset, ImageTransform, deterministic};
use armilla_imagine::Encoded;
use armilla_viz::chart::number;
use armilla_world::WorldModel;
use serde_json::Value as Json;
use toml::Value;

use super::Opened;
use super::episodes::{TransformedDataset, recorded, spread};
use crate::commands::fit;
use crate::commands::train::ValidationSplit;
use crate::progress::Progress;

/// Kept from training where neither the command line nor the checkpoint's run says how much.
const VALIDATION_SHARE: f64 = 0.05;

/// A dataset and those of its episodes that are looked at.
pub(super) struct Kept {
    pub(super) seen: TransformedDataset,
    pub(super) episodes: Vec<usize>,
    pub(super) share: f64,
    pub(super) split: ValidationSplit,
    told: Told,
}

/// What the checkpoint's run tells of the episodes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// It kept just these.
    Kept,
    /// It kept another share of them.
    OtherShare(f64),
    /// The dataset is not known to be one of those that it learnt from, or has other episodes since.
    OtherDataset,
    /// There is no run.
    Nothing,
}

impl Kept {
    /// Opens it and checks that it fits the model.
    pub(super) fn open(opened: &Opened, folder: &Path, share: Option<f64>) -> Result<Self> {
        let run = OfRun::read(&opened.folder)?;
        let transforms = run.as_ref().map(|run| run.transforms.clone());
        let seen = TransformedDataset {
            dataset: Arc::new(Dataset::open(folder)?),
            transforms: transforms.unwrap_or_default(),
        };
        let (model, dataset) = (&opened.model, &seen.dataset);
        let interface = model.interface();
        fit::dataset(model.shape(), &interface.cameras, dataset, &seen.transforms)?;
        fit::rate(interface.rate_hz, dataset)?;
        fit::units(&interface.actions, dataset)?;
        let split = run.as_ref().map_or_else(Default::default, |run| run.split);
        let told = match &run {
            None => Told::Nothing,
            Some(run) if !run.learnt_from(dataset, folder) => Told::OtherDataset,
            Some(run) if share.is_some_and(|share| share != run.share) => {
                Told::OtherShare(run.share)
            }
            Some(_) => Told::Kept,
        };
        let share = share.unwrap_or(match (told, run) {
            (Told::OtherDataset, _) => 1.0,
            (_, Some(run)) => run.share,
            (_, None) => VALIDATION_SHARE,
        });
        ensure!(
            (0.0..=1.0).contains(&share),
            "--validation-share: expected a share from 0 to 1, found {share}"
        );
        let all = dataset.episodes().len();
        let episodes = match share {
            1.0 => (0..all).collect(),
            _ => split.of(dataset, share).1,
        };
        ensure!(
            !episodes.is_empty(),
            "{}: expected episodes to look at, found none: {share} of {all} episodes; give a larger --validation-share",
            folder.display()
        );
        Ok(Self {
            seen,
            episodes,
            share,
            split,
            told,
        })
    }

    /// Which episodes they are, for titles.
    pub(super) fn title(&self) -> String {
        let share = number(100.0 * self.share);
        match self.told {
            Told::Kept => format!("the {share} % kept from training"),
            Told::OtherShare(kept) => {
                let kept = number(100.0 * kept);
                format!("{share} % of the episodes, of which training kept {kept} %")
            }
            Told::OtherDataset => {
                format!("{share} % of a dataset that is not, or not known to be, the run's")
            }
            Told::Nothing => {
                format!("{share} % of the episodes, with no run that tells what training kept")
            }
        }
    }

    /// Whether training kept these episodes and no others, where that is known.
    pub(super) fn kept_from_training(&self) -> Option<bool> {
        match self.told {
            Told::Kept => Some(true),
            Told::OtherShare(_) => Some(false),
            Told::OtherDataset | Told::Nothing => None,
        }
    }

    /// So many of them, evenly spread, as latents.
    pub(super) fn encode(&self, model: &WorldModel, count: usize) -> Result<Vec<Encoded>> {
        let count = count.min(self.episodes.len());
        let mut progress = Progress::new("encode", "episodes", count as u64);
        let mut encoded = Vec::with_capacity(count);
        for episode in spread(&self.episodes, count) {
            encoded.push(recorded(&self.seen, episode, model)?.encode(model)?);
            progress.set(encoded.len() as u64, "");
        }
        progress.finish();
        Ok(encoded)
    }
}

/// What a checkpoint's own run tells of its recordings.
struct OfRun {
    /// Folders of its datasets.
    datasets: Vec<PathBuf>,
    /// How many episodes and frames of each it learnt from, where the checkpoint tells.
    learnt: Vec<[u64; 2]>,
    /// Of the episodes, kept from training.
    share: f64,
    /// Which ones.
    split: ValidationSplit,
    /// What became of pictures, without chance.
    transforms: Vec<ImageTransform>,
}

impl OfRun {
    /// Reads it where the checkpoint still lies in the run's folder.
    fn read(checkpoint: &Path) -> Result<Option<Self>> {
        let Ok(checkpoint) = checkpoint.canonicalize() else {
            return Ok(None);
        };
        let file = checkpoint.ancestors().nth(3);
        let file = file.map(|folder| folder.join("config.toml"));
        let Some(file) = file.filter(|file| file.is_file()) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(&file);
        // These keys alone: the run may be of another version.
        let config: Option<toml::Table> = text.ok().and_then(|text| text.parse().ok());
        let Some(config) = config else {
            return Ok(None);
        };
        let Some(share) = config.get("validation_share").and_then(Value::as_float) else {
            return Ok(None);
        };
        let unknown = |key: &str| format!("{}: `{key}`", file.display());
        let split = match config.get("validation_split") {
            Some(split) => split.clone().try_into(),
            None => Ok(ValidationSplit::BEFORE_THE_CHOICE),
        };
        let transforms: Vec<_> = match config.get("transforms") {
            Some(transforms) => {
                let transforms = transforms.clone().try_into();
                transforms.with_context(|| unknown("transforms"))?
            }
            None => Vec::new(),
        };
        Ok(Some(Self {
            datasets: datasets(&config),
            learnt: learnt(&checkpoint),
            share,
            split: split.with_context(|| unknown("validation_split"))?,
            transforms: deterministic(&transforms),
        }))
    }

    /// Whether it learnt from a dataset that still has as many episodes and frames. One that lies nowhere any more may have been moved,
    /// which its counts alone can tell.
    fn learnt_from(&self, dataset: &Dataset, folder: &Path) -> bool {
        let folder = folder.canonicalize().ok();
        let there = self.datasets.iter().map(|own| own.canonicalize().ok());
        let there: Vec<_> = there.collect();
        let is_there = folder.is_some() && there.contains(&folder);
        let was_moved = there.is_empty() || there.contains(&None);
        let learnt = self.split.of(dataset, self.share).0;
        let frames = learnt
            .iter()
            .map(|&episode| dataset.episodes()[episode].length as u64);
        let learnt = [learnt.len() as u64, frames.sum()];
        match self.learnt.is_empty() {
            true => is_there,
            false => (is_there || was_moved) && self.learnt.contains(&learnt),
        }
    }
}

/// The datasets that a run's configuration names.
fn datasets(config: &toml::Table) -> Vec<PathBuf> {
    let parts = config.get("mixture").and_then(Value::as_array);
    let parts = parts.into_iter().flatten();
    let of_parts = parts.filter_map(|part| part.get("dataset"));
    let all = config.get("dataset").into_iter().chain(of_parts);
    all.filter_map(Value::as_str).map(PathBuf::from).collect()
}

/// How many episodes and frames of each dataset the checkpoint's training state counts.
fn learnt(checkpoint: &Path) -> Vec<[u64; 2]> {
    let state = checkpoint.with_file_name("training_state/state.json");
    let text = std::fs::read_to_string(state).unwrap_or_default();
    let state: Json = serde_json::from_str(&text).unwrap_or_default();
    let datasets = state["data"]["datasets"].as_array();
    let datasets = datasets.into_iter().flatten();
    datasets
        .filter_map(|dataset| Some([dataset["episodes"].as_u64()?, dataset["frames"].as_u64()?]))
        .collect()
}
