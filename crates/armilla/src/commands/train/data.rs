//! What is trained on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use armilla_core::{FeatureStatistics, Features};
use armilla_data::{Dataset, LoaderCamera, LoaderConfig, LoaderSource, WindowLoader, WindowSpec};
use armilla_world::Shape;
use serde::{Deserialize, Serialize};

use super::TrainRunConfig;
use crate::commands::fit;
use crate::progress::{Progress, say};

/// One more dataset to draw from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MixturePart {
    /// Its folder.
    pub dataset: PathBuf,
    /// How often it is drawn; the first dataset is drawn with weight 1.
    pub weight: f64,
    /// Its names for the first dataset's cameras, where they are others.
    #[serde(default)]
    pub cameras: BTreeMap<String, String>,
}

/// The datasets of a run.
pub(super) struct TrainingData {
    first: Arc<Dataset>,
    others: Vec<(Arc<Dataset>, MixturePart)>,
    /// The configuration's `cameras`.
    chosen: Option<Vec<String>>,
}

/// What a model takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum ModelInputs<'a> {
    /// A policy: pictures of so many cameras.
    Policy(usize),
    /// A world model.
    World(&'a Shape),
}

impl ModelInputs<'_> {
    fn cameras(self) -> usize {
        match self {
            Self::Policy(cameras) => cameras,
            Self::World(shape) => shape.cameras,
        }
    }
}

/// A dataset whose recording has ended: before, it grows and has no statistics.
fn recorded(root: &Path) -> Result<Arc<Dataset>> {
    let dataset = Dataset::open(root)?;
    let recovered = dataset.recovered();
    ensure!(
        !recovered.is_some_and(|found| found.being_recorded),
        "{}: it is being recorded at this moment; train when the recording has ended",
        root.display()
    );
    ensure!(
        !dataset.episodes().is_empty(),
        "{}: expected episodes to learn from, found none",
        root.display()
    );
    Ok(Arc::new(dataset))
}

impl TrainingData {
    pub(super) fn open(config: &TrainRunConfig) -> Result<Self> {
        let share = config.validation_share;
        ensure!(
            (0.0..1.0).contains(&share),
            "validation_share: expected at least 0 and less than 1, found {share}"
        );
        ensure!(
            config.validate_every == 0 || config.validation_batches > 0,
            "validation_batches: expected at least 1 beside validate_every, found 0"
        );
        let root = config.dataset.as_ref();
        let root = root.context("config.toml: `dataset` is missing")?;
        let open = |part: &MixturePart| Ok((recorded(&part.dataset)?, part.clone()));
        let others: Result<Vec<_>> = config.mixture.iter().map(open).collect();
        Ok(Self {
            first: recorded(root)?,
            others: others?,
            chosen: config.cameras.clone(),
        })
    }

    /// Windows of the episodes to train on, of the first dataset's first cameras. None is decoded yet: see [`preload`].
    pub(super) fn loader(
        &self,
        config: &TrainRunConfig,
        spec: WindowSpec,
        inputs: ModelInputs<'_>,
    ) -> Result<WindowLoader> {
        let loader = self.loader_of(config, spec, inputs, |(learnt, _)| learnt)?;
        let (short, all) = (loader.too_short(), loader.episodes().len());
        if short > 0 {
            say(&format!(
                "{short} of {all} episodes to learn from are shorter than a window, and left out"
            ));
        }
        Ok(loader)
    }

    /// The same of the episodes that are kept from training, if they are to be measured on.
    pub(super) fn kept(
        &self,
        config: &TrainRunConfig,
        spec: WindowSpec,
        inputs: ModelInputs<'_>,
    ) -> Result<Option<WindowLoader>> {
        if config.validate_every == 0 {
            return Ok(None);
        }
        for dataset in self.datasets() {
            let share = config.validation_share;
            ensure!(
                !config.split(dataset).1.is_empty(),
                "{}: `validation_share`: expected a share that keeps an episode from training, as `validate_every` measures on them, found {share} of {}; set a larger one, or validate_every=0",
                dataset.root().display(),
                dataset.episodes().len()
            );
        }
        let loader = self.loader_of(config, spec, inputs, |(_, kept)| kept)?;
        Ok(Some(loader))
    }

    fn loader_of(
        &self,
        config: &TrainRunConfig,
        spec: WindowSpec,
        inputs: ModelInputs<'_>,
        part: fn(Split) -> Vec<usize>,
    ) -> Result<WindowLoader> {
        let source = |dataset: &Arc<Dataset>| LoaderSource {
            episodes: Some(part(config.split(dataset))),
            ..LoaderSource::new(Arc::clone(dataset))
        };
        let mut sources = vec![source(&self.first)];
        let names: Vec<_> = self.features().cameras().map(|(name, _)| name).collect();
        for (dataset, part) in &self.others {
            if let Some(unknown) = part
                .cameras
                .keys()
                .find(|key| !names.contains(&key.as_str()))
            {
                bail!(
                    "[[mixture]] of {}: `cameras`: expected names of the first dataset's cameras, {}, before those of this one, found {unknown}",
                    dataset.root().display(),
                    names.join(", ")
                );
            }
            sources[0].weight = Some(1.0);
            sources.push(LoaderSource {
                weight: Some(part.weight),
                cameras: part.cameras.clone(),
                ..source(dataset)
            });
        }
        let mut settings = LoaderConfig::new(spec, config.batch_size, config.train.seed);
        settings.cameras = Some(self.cameras(inputs.cameras())?);
        settings.transforms.clone_from(&config.transforms);
        settings.memory_limit_bytes = (config.memory_limit_gib * f64::from(1 << 30)) as u64;
        let alone = self.others.is_empty();
        let opened = WindowLoader::new(sources, settings);
        let loader = match alone {
            true => opened.with_context(|| self.first.root().display().to_string()),
            false => opened.map_err(Into::into),
        }?;
        for camera in loader.cameras() {
            let place = || format!("{}: camera `{}`", self.first.root().display(), camera.name);
            self.check_size(camera, inputs).with_context(place)?;
        }
        Ok(loader)
    }

    /// Whether pictures are, after all transforms, what the model looks at: a world model at those of its size, a policy, whose robot sends
    /// them so, at those that were recorded.
    fn check_size(&self, camera: &LoaderCamera, inputs: ModelInputs<'_>) -> Result<()> {
        let found = [camera.height, camera.width];
        if let ModelInputs::World(shape) = inputs {
            let side = shape.image_size;
            return fit::image_size(shape, found).map_err(|error| {
                anyhow!("{error}; --set 'transforms=[{{kind=\"resize\",height={side},width={side}}}]' makes them fit")
            });
        }
        let feature = self.first.camera_key(&camera.name)?;
        let recorded = &self.first.features().0[&feature].shape;
        ensure!(
            recorded[..2] == found,
            "`transforms`: expected pictures of {} x {} as recorded, which the model will see later too, found {} x {}: end with a resize",
            recorded[0],
            recorded[1],
            found[0],
            found[1]
        );
        Ok(())
    }

    /// Whether a world model can learn from the datasets.
    pub(super) fn check(&self, shape: &Shape) -> Result<()> {
        let cameras = self.cameras(shape.cameras)?;
        fit::features(shape, &cameras, &self.first)?;
        for (dataset, part) in &self.others {
            let own = cameras
                .iter()
                .map(|name| part.cameras.get(name).unwrap_or(name));
            let own: Vec<_> = own.cloned().collect();
            fit::features(shape, &own, dataset).context("[[mixture]]")?;
        }
        Ok(())
    }

    /// Names of the chosen cameras, or of the first ones, as observations have them.
    pub(super) fn cameras(&self, count: usize) -> Result<Vec<String>> {
        let names = self.features().cameras();
        let names: Vec<_> = names.map(|(name, _)| name.to_owned()).collect();
        let root = self.first.root().display();
        if let Some(chosen) = &self.chosen {
            let known = chosen.iter().all(|name| names.contains(name));
            let distinct: BTreeSet<_> = chosen.iter().collect();
            ensure!(
                known && distinct.len() == count && chosen.len() == count,
                "`cameras`: expected {count} of {} in {root}, each once, found {chosen:?}",
                names.join(", ")
            );
            return Ok(chosen.clone());
        }
        ensure!(
            names.len() >= count,
            "{root}: expected {count} cameras, the model's `cameras`, found {}: {}; a training takes as many as there are by its model's setting `cameras`",
            names.len(),
            names.join(", ")
        );
        Ok(names.into_iter().take(count).collect())
    }

    /// The first dataset's features.
    pub(super) fn features(&self) -> &Features {
        self.first.features()
    }

    /// Steps a second of the first dataset, which the others are brought to.
    pub(super) fn fps(&self) -> u32 {
        self.first.fps()
    }

    /// Cameras that are chosen, or all of the first dataset.
    pub(super) fn camera_count(&self) -> usize {
        let chosen = self.chosen.as_ref().map(Vec::len);
        chosen.unwrap_or_else(|| self.features().cameras().count())
    }

    /// All instructions.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().map(|(dataset, _)| dataset);
        let all = std::iter::once(&self.first).chain(others);
        all.flat_map(|dataset| dataset.tasks().iter().map(String::as_str))
    }

    /// All datasets, the first one first.
    fn datasets(&self) -> impl Iterator<Item = &Arc<Dataset>> {
        std::iter::once(&self.first).chain(self.others.iter().map(|(dataset, _)| dataset))
    }

    /// Refuses datasets whose statistics of a feature that they have are missing or no numbers, before anything is decoded.
    pub(super) fn check_statistics(&self, keys: &[&str]) -> Result<()> {
        for dataset in self.datasets() {
            for &key in keys {
                let width = dataset.features().width(key);
                let whole = |values: &[f64]| {
                    values.len() == width && values.iter().all(|value| value.is_finite())
                };
                let found = dataset.statistics().get(key);
                let is_whole = found.is_some_and(|found| {
                    [&found.mean, &found.std, &found.min, &found.max]
                        .iter()
                        .all(|values| whole(values))
                });
                ensure!(
                    width == 0 || is_whole,
                    "{}: statistics of `{key}`: expected {width} finite numbers each, found {}; `armilla dataset stats DATASET --recount --in-place` counts them",
                    dataset.root().display(),
                    if found.is_some() { "others" } else { "none" }
                );
            }
        }
        Ok(())
    }

    /// Statistics of a feature over all episodes.
    pub(super) fn statistics(
        &self,
        loader: &WindowLoader,
        feature: &str,
    ) -> Result<FeatureStatistics> {
        let root = self.first.root().display();
        let known = loader.statistics().remove(feature);
        known.ok_or_else(|| {
            anyhow!(
                "{root}: no statistics of `{feature}`; `armilla dataset stats DATASET --recount --in-place` counts them"
            )
        })
    }

    /// The first dataset's folder, for errors.
    pub(super) fn root(&self) -> String {
        self.first.root().display().to_string()
    }
}

/// What a checkpoint keeps of its data and of the model's settings: a resumed run must have the same.
pub(super) fn state_of_source(
    loader: &WindowLoader,
    settings: &serde_json::Value,
) -> serde_json::Value {
    let mut state = serde_json::to_value(loader.state()).unwrap_or_default();
    state["model"] = settings.clone();
    state
}

/// Numbers of the episodes to train on and to keep, in this order.
pub(crate) type Split = (Vec<usize>, Vec<usize>);

/// Which episodes a training keeps for validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ValidationSplit {
    /// Some of every stretch of the recordings, which come in groups, of policies or of tasks.
    #[default]
    Spread,
    /// The last ones, which may all be of one group.
    Last,
}

impl ValidationSplit {
    /// What runs did before they said which.
    pub(crate) const BEFORE_THE_CHOICE: Self = Self::Last;

    /// Which episodes of a dataset are trained on and which are kept.
    pub(crate) fn of(self, dataset: &Dataset, validation_share: f64) -> Split {
        self.of_count(dataset.episodes().len(), validation_share)
    }

    fn of_count(self, count: usize, validation_share: f64) -> Split {
        let kept =
            ((count as f64 * validation_share).round() as usize).min(count.saturating_sub(1));
        let kept_before = |episode: usize| match self {
            Self::Spread => episode * kept / count,
            Self::Last => (episode + kept).saturating_sub(count),
        };
        (0..count).partition(|&episode| kept_before(episode) == kept_before(episode + 1))
    }
}

/// Decodes a loader's pictures in advance, if they fit in its memory: it takes long, so all else is checked before.
pub(super) fn preload(loader: &WindowLoader) -> Result<()> {
    if !loader.fits_in_memory() {
        return Ok(());
    }
    let total = loader.episodes().len() as u64;
    let progress = Mutex::new(Progress::new("decode", "episodes", total));
    loader.preload(&|done, _| {
        if let Ok(mut progress) = progress.lock() {
            progress.set(done as u64, "");
        }
    })?;
    if let Ok(progress) = progress.into_inner() {
        progress.finish();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_episodes_keeps_its_share() {
        let spread = |count, share| ValidationSplit::Spread.of_count(count, share);
        let (learnt, kept) = spread(10, 0.3);
        assert_eq!((learnt.len(), kept), (7, vec![3, 6, 9]));
        let (learnt, kept) = spread(4000, 0.05);
        // The groups of `record/two-room`.
        let of_group = |group: std::ops::Range<usize>| {
            let of_group = kept.iter().filter(|episode| group.contains(*episode));
            of_group.count()
        };
        let groups = [0..3000, 3000..3880, 3880..4000];
        assert_eq!(groups.map(of_group), [150, 44, 6]);
        assert!(learnt.iter().all(|episode| !kept.contains(episode)));
    }

    #[test]
    fn the_last_episodes_are_kept_where_that_is_asked_for_and_one_is_always_learnt() {
        let (learnt, kept) = ValidationSplit::Last.of_count(10, 0.3);
        assert_eq!((learnt.len(), kept), (7, vec![7, 8, 9]));
        for (count, share, expected) in [(0, 0.5, 0), (1, 0.9, 0), (5, 0.0, 0), (3, 1.0, 2)] {
            for split in [ValidationSplit::Spread, ValidationSplit::Last] {
                let kept = split.of_count(count, share).1;
                assert_eq!(kept.len(), expected, "{split:?} {count} {share}");
            }
        }
    }
}
