//! The datasets of a loader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE, camera_key};
use armilla_core::{FeatureStatistics, Normalization, Statistics};

use super::frames::Camera;
use super::rows::{self, EpisodeRows};
use super::spec::Pace;
use super::transform::{Randomizing, compile};
use super::{LoaderCamera, LoaderConfig};
use crate::dataset::{Dataset, Rows};
use crate::error::{Error, Result};

/// A dataset to cut windows from.
pub struct LoaderSource {
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// Episode numbers, in the order in which they are kept; all if none. Splits are made here.
    pub episodes: Option<Vec<usize>>,
    /// How often it is drawn, beside the others. Where none of the sources says, every window comes once an epoch.
    pub weight: Option<f64>,
    /// The dataset's name for a camera of the loader, where it is another.
    pub cameras: BTreeMap<String, String>,
}

impl LoaderSource {
    /// All of a dataset.
    #[must_use]
    pub fn new(dataset: Arc<Dataset>) -> Self {
        Self {
            dataset,
            episodes: None,
            weight: None,
            cameras: BTreeMap::new(),
        }
    }
}

/// A camera of a source.
pub(super) struct SourceCamera {
    pub(super) place: Camera,
    pub(super) randomizing: Randomizing,
}

/// A source with its rows.
pub(super) struct Opened {
    pub(super) dataset: Arc<Dataset>,
    pub(super) episodes: Vec<usize>,
    pub(super) weight: Option<f64>,
    pub(super) pace: Pace,
    /// The loader's cameras, as far as it has them.
    pub(super) cameras: Vec<Option<SourceCamera>>,
    /// The rows of each episode.
    pub(super) rows: Vec<EpisodeRows>,
}

impl Opened {
    /// Frames of its episodes.
    pub(super) fn frames(&self) -> u64 {
        let lengths = self
            .episodes
            .iter()
            .map(|&index| self.dataset.episodes()[index].length);
        lengths.sum::<usize>() as u64
    }

    /// Its dataset's statistics, those of the loader's cameras by the names that they have there.
    pub(super) fn named_statistics(&self, cameras: &[LoaderCamera]) -> Statistics {
        let own = self.dataset.statistics();
        let mut named = own.clone();
        for (camera, found) in cameras.iter().zip(&self.cameras) {
            let key = camera_key(&camera.name);
            named.remove(&key);
            let found = found.as_ref().and_then(|found| own.get(&found.place.key));
            named.extend(found.map(|found| (key, found.clone())));
        }
        named
    }

    /// Bytes that its rows take.
    pub(super) fn row_bytes(&self) -> u64 {
        self.frames() * rows::bytes_a_frame(&self.dataset) as u64
    }

    /// Bytes of its largest picture as kept.
    pub(super) fn largest_picture(&self) -> usize {
        let cameras = self.cameras.iter().flatten();
        let sizes = cameras.map(|camera| camera.place.resizing.picture_len());
        sizes.max().unwrap_or(0)
    }

    pub(super) fn read_rows(&mut self, config: &LoaderConfig) -> Result<()> {
        self.rows = rows::read(&self.dataset, &self.episodes)?;
        for (key, &mode) in &config.normalization {
            let statistics = self.statistics(key)?.clone();
            for rows in &mut self.rows {
                normalize(&statistics, mode, rows, key);
            }
        }
        Ok(())
    }

    fn statistics(&self, key: &str) -> Result<&FeatureStatistics> {
        let root = self.dataset.root().display();
        if ![STATE, ACTION].contains(&key) {
            let expected = format!("`{STATE}` or `{ACTION}`");
            return Err(Error::invalid("normalization", expected, key));
        }
        let width = self.dataset.features().width(key);
        let known = self.dataset.statistics().get(key);
        known
            .filter(|known| known.mean.len() == width)
            .ok_or_else(|| {
                let what = format!("{root}: statistics of `{key}`");
                let found = known.map_or("none".to_owned(), |known| known.mean.len().to_string());
                Error::invalid(
                    what,
                    format!("{width} values each (`armilla dataset stats DATASET --recount --in-place` counts them)"),
                    found,
                )
            })
    }
}

fn normalize(
    statistics: &FeatureStatistics,
    mode: Normalization,
    rows: &mut EpisodeRows,
    key: &str,
) {
    let Rows { values, .. } = match key {
        STATE => &mut rows.states,
        _ => &mut rows.actions,
    };
    statistics.normalize(mode, values);
}

/// The sources, the cameras of the batches, and the widths of state and action.
type AllOpened = (Vec<Opened>, Vec<LoaderCamera>, [usize; 2]);

/// Finds out what each source has of what is asked for.
pub(super) fn open_all(sources: Vec<LoaderSource>, config: &LoaderConfig) -> Result<AllOpened> {
    let Some(first) = sources.first() else {
        return Err(Error::invalid("datasets", "at least one", "none"));
    };
    let names = config.cameras.clone().unwrap_or_else(|| {
        let keys = first.dataset.cameras();
        keys.map(|key| key.strip_prefix(IMAGE_PREFIX).unwrap_or(key).to_owned())
            .collect()
    });
    let own = f64::from(first.dataset.fps());
    let rate = config.spec.rate_hz.unwrap_or(own);
    let opened: Result<Vec<_>> = sources
        .into_iter()
        .enumerate()
        .map(|(number, source)| open((number, source), &names, config, rate))
        .collect();
    let opened = opened?;
    let cameras: Result<Vec<_>> = names
        .into_iter()
        .enumerate()
        .map(|(number, name)| common_camera(&opened, number, name))
        .collect();
    let widths = [STATE, ACTION].map(|key| {
        let widths = opened
            .iter()
            .map(|source| source.dataset.features().width(key));
        widths.max().unwrap_or(0)
    });
    Ok((opened, cameras?, widths))
}

/// The source of a number, read at a rate of steps a second.
fn open(
    (number, source): (usize, LoaderSource),
    names: &[String],
    config: &LoaderConfig,
    rate: f64,
) -> Result<Opened> {
    let dataset = source.dataset;
    let count = dataset.episodes().len();
    let episodes = source.episodes.unwrap_or_else(|| (0..count).collect());
    let mut seen = BTreeSet::new();
    for &episode in &episodes {
        if episode >= count || !seen.insert(episode) {
            let what = format!("{}: episode of the selection", dataset.root().display());
            let expected = format!("each once, below {count}");
            return Err(Error::invalid(what, expected, episode));
        }
    }
    let mut cameras = Vec::new();
    for (camera, name) in names.iter().enumerate() {
        let renamed = source.cameras.get(name);
        let key = dataset.camera_key(renamed.unwrap_or(name));
        let key = match (key, renamed) {
            (Ok(key), _) => key,
            // What was named must be there; what was not may be missing in one of several.
            (Err(error), Some(_)) => return Err(error),
            (Err(_), None) => {
                cameras.push(None);
                continue;
            }
        };
        let shape = &dataset.features().0[&key].shape;
        let (resizing, randomizing) = compile(&config.transforms, [shape[0], shape[1]])?;
        let place = Camera {
            dataset: Arc::clone(&dataset),
            source: number,
            camera,
            key,
            resizing,
        };
        cameras.push(Some(SourceCamera { place, randomizing }));
    }
    Ok(Opened {
        pace: Pace::new(dataset.fps(), rate),
        dataset,
        episodes,
        weight: source.weight,
        cameras,
        rows: Vec::new(),
    })
}

/// A camera of the batches: of one size in all sources that have it.
fn common_camera(sources: &[Opened], number: usize, name: String) -> Result<LoaderCamera> {
    let mut common: Option<([usize; 2], &Opened)> = None;
    for source in sources {
        let Some(camera) = &source.cameras[number] else {
            continue;
        };
        let size = camera.randomizing.target();
        match common {
            Some((known, other)) if known != size => {
                return Err(Error::invalid(
                    format!("camera `{name}` of {}", source.dataset.root().display()),
                    format!(
                        "{known:?} pixels as in {} (add a resize transform)",
                        other.dataset.root().display()
                    ),
                    format!("{size:?}"),
                ));
            }
            _ => common = Some((size, source)),
        }
    }
    match common {
        Some(([height, width], _)) => Ok(LoaderCamera {
            name,
            height,
            width,
        }),
        None => {
            let known: BTreeSet<_> = sources
                .iter()
                .flat_map(|source| source.dataset.cameras())
                .collect();
            Err(Error::invalid("camera", format!("one of {known:?}"), name))
        }
    }
}

/// Checks the weights of a mixture.
pub(super) fn check_weights(sources: &[Opened]) -> Result<()> {
    for source in sources {
        let weight = source.weight.unwrap_or(0.0);
        if !(weight > 0.0 && weight.is_finite()) {
            let what = format!("weight of {}", source.dataset.root().display());
            return Err(Error::invalid(what, "a finite number above zero", weight));
        }
    }
    Ok(())
}
