//! Windows in time, batch after batch, from one dataset or a mixture of several.
//!
//! A [`WindowLoader`] holds the numbers of its episodes in memory and decodes pictures when a batch needs them, window by
//! window on the threads of rayon's pool. Pictures that were decoded (and resized) are kept as long as
//! [`LoaderConfig::memory_limit_bytes`] allows: where all fit, [`WindowLoader::preload`] decodes each once.
//!
//! [`WindowLoader::batch`] is a pure function of the step. A run that is resumed therefore needs the step, and
//! [`WindowLoader::state`] to check that the data and settings are still those of before. [`WindowLoader::batches`] computes
//! batches ahead.
//!
//! A window is anchored at a frame `t`:
//! - observations are the frames `t + offset`. Offsets before the episode's start repeat its first frame, and
//!   `observation_is_pad` says so; offsets past its end make no window;
//! - actions are the `action_horizon` ones from `t +` the first offset on (or from [`WindowSpec::actions_from`]). Before
//!   the episode's start they repeat the first, past its end the last, and `action_is_pad` says so; windows that reach past the end exist only if
//!   [`WindowSpec::allow_short_tail`];
//! - the later picture, if asked for, is drawn evenly from `min_steps` to `max_steps` after the first observation,
//!   within the episode; if even `min_steps` lies past its end, it is the last frame. By [`LaterSpec::last_share`] it is
//!   the latest of these instead.
//!
//! # Mixtures
//!
//! Datasets may differ in cameras, rates and scales. A camera is found by its name or through [`LoaderSource::cameras`];
//! where a dataset has none, its pictures are black and `is_missing` says so. Steps mean the same time in all of them, that of the
//! first or of [`WindowSpec::rate_hz`]. [`LoaderConfig::normalization`] scales each by its own statistics. States and actions that are
//! narrower than the widest end in zeros.
//!
//! # Memory
//!
//! Four bytes for each value of state and action, and for each frame's instruction; the kept pictures; beside them the
//! batches that are ahead.

mod batch;
mod costs;
mod episodes;
mod frames;
mod jitter;
mod mixing;
mod order;
mod prefetch;
mod rows;
mod source;
mod spec;
mod state;
mod transform;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use armilla_core::features::camera_key;
use armilla_core::{Normalization, Statistics};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::statistics;
use costs::BatchCounters;
pub use costs::LoaderCosts;
use episodes::Episodes;
use frames::Frames;
pub use jitter::ColorJitter;
pub use mixing::ChannelMix;
use order::Order;
pub use prefetch::Batches;
pub use source::LoaderSource;
use source::{Opened, open_all};
pub use spec::{LaterSpec, WindowSpec};
pub use state::{DatasetState, LoaderState};
pub use transform::{ImageTransform, apply_transforms, deterministic, size_after_transforms};

/// How windows are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// What a window holds.
    pub spec: WindowSpec,
    /// Windows a batch.
    pub batch_size: usize,
    /// Seed of the order and of everything that is drawn.
    pub seed: u64,
    /// Cameras by name, in the order of [`armilla_core::WindowBatch::cameras`]; all of the first dataset's if none.
    pub cameras: Option<Vec<String>>,
    /// Changes of the pictures, in this order. What all pictures undergo alike before the first random one is kept in memory.
    pub transforms: Vec<ImageTransform>,
    /// How `observation.state` and `action` are scaled, by feature key, each dataset by its own statistics; not at all where
    /// nothing is said.
    pub normalization: BTreeMap<String, Normalization>,
    /// Bytes for rows and kept pictures.
    pub memory_limit_bytes: u64,
}

impl LoaderConfig {
    /// All cameras as they are, in 2 GiB at most.
    #[must_use]
    pub fn new(spec: WindowSpec, batch_size: usize, seed: u64) -> Self {
        Self {
            spec,
            batch_size,
            seed,
            cameras: None,
            transforms: Vec::new(),
            normalization: BTreeMap::new(),
            memory_limit_bytes: 2 << 30,
        }
    }
}

/// An episode that windows are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderEpisode {
    /// Position of its dataset among the sources.
    pub source: usize,
    /// Its number in the dataset.
    pub index: usize,
    /// Frames.
    pub length: usize,
}

/// A window: an episode's position in [`WindowLoader::episodes`], and the anchor's frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Position of the episode.
    pub episode: usize,
    /// Frame number of the anchor.
    pub frame: usize,
}

/// A camera of the batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderCamera {
    /// Its name.
    pub name: String,
    /// Rows of a picture after all transforms.
    pub height: usize,
    /// Columns of a picture after all transforms.
    pub width: usize,
}

/// Hands out batches of windows. Sharing it among threads is fine.
pub struct WindowLoader {
    config: LoaderConfig,
    sources: Vec<Opened>,
    cameras: Vec<LoaderCamera>,
    /// Widths of state and action: the widest of all sources.
    widths: [usize; 2],
    episodes: Episodes,
    frames: Frames,
    order: Order,
    batch_costs: BatchCounters,
}

impl WindowLoader {
    /// Reads the numbers of all episodes.
    ///
    /// # Errors
    ///
    /// When no episode is long enough for one window, a setting makes no sense, an episode or camera does not exist, a
    /// camera's pictures differ in size among the sources, statistics for the normalisation are missing, the rows alone need
    /// more memory than allowed, or a file cannot be read.
    pub fn new(sources: Vec<LoaderSource>, config: LoaderConfig) -> Result<Self> {
        config.spec.check()?;
        if config.batch_size == 0 {
            return Err(Error::invalid("batch_size", "at least 1", 0));
        }
        let (mut sources, cameras, widths) = open_all(sources, &config)?;
        let row_bytes = sources.iter().map(Opened::row_bytes).sum::<u64>();
        let left = config.memory_limit_bytes.checked_sub(row_bytes);
        let left = left.ok_or_else(|| {
            let needed = format!("{} MiB", row_bytes.div_ceil(1 << 20));
            let expected = format!(
                "at most {} MiB (raise the limit or select fewer episodes)",
                config.memory_limit_bytes >> 20
            );
            Error::invalid("memory of states and actions", expected, needed)
        })?;
        for source in &mut sources {
            source.read_rows(&config)?;
        }
        let episodes = Episodes::new(&sources, &config.spec);
        episodes.check(&sources, &config.spec)?;
        let weights: Option<Vec<_>> = sources.iter().map(|source| source.weight).collect();
        let order = match weights {
            Some(weights) => {
                let counts = episodes.windows_by_source(sources.len());
                source::check_weights(&sources)?;
                Order::mixed(&counts, &weights, config.seed)
            }
            None => Order::permuted(episodes.windows(), config.seed),
        };
        let largest = sources.iter().map(Opened::largest_picture).max();
        Ok(Self {
            frames: Frames::new(left, largest.unwrap_or(0)),
            order,
            config,
            sources,
            cameras,
            widths,
            episodes,
            batch_costs: BatchCounters::default(),
        })
    }

    /// Draws windows by weight, with replacement, instead of each once an epoch.
    ///
    /// # Errors
    ///
    /// When a weight is negative or not finite, or all are zero.
    pub fn with_weights(mut self, weight: impl Fn(Window) -> f32) -> Result<Self> {
        let weights: Vec<_> = (0..self.len())
            .map(|index| weight(self.episodes.window(index)))
            .collect();
        self.order = Order::weighted(&weights, self.config.seed)?;
        Ok(self)
    }

    /// Number of distinct windows: an epoch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.episodes.windows()
    }

    /// Never true: a loader without a window cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of [`Self::episodes`] no window is cut from, as they are shorter than one.
    #[must_use]
    pub fn too_short(&self) -> usize {
        self.episodes.too_short()
    }

    /// The episodes that windows are cut from.
    #[must_use]
    pub fn episodes(&self) -> &[LoaderEpisode] {
        self.episodes.all()
    }

    /// The cameras of the batches.
    #[must_use]
    pub fn cameras(&self) -> &[LoaderCamera] {
        &self.cameras
    }

    /// Values of a state and of an action.
    #[must_use]
    pub fn widths(&self) -> [usize; 2] {
        self.widths
    }

    /// Statistics over all episodes of all sources, by feature key: a model that sees a mixture without normalisation scales by these.
    /// Those of a camera are of the sources that have it.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let sources = self.sources.iter();
        let named: Vec<_> = sources
            .map(|source| source.named_statistics(&self.cameras))
            .collect();
        if let [only] = named.as_slice() {
            return only.clone();
        }
        let mut all = statistics::merge_all(named.iter());
        for camera in &self.cameras {
            let key = camera_key(&camera.name);
            let parts = named.iter().filter_map(|source| source.get(&key));
            all.extend(statistics::merge(parts).map(|joined| (key.clone(), joined)));
        }
        all
    }

    /// The windows of a batch.
    #[must_use]
    pub fn windows(&self, step: u64) -> Vec<Window> {
        let picked = self.order.pick(step, self.config.batch_size);
        picked
            .into_iter()
            .map(|index| self.episodes.window(index))
            .collect()
    }

    /// Whether all pictures can be kept in memory.
    #[must_use]
    pub fn fits_in_memory(&self) -> bool {
        let pictures =
            |source: &Opened| source.frames() * source.cameras.iter().flatten().count() as u64;
        let largest = self.sources.iter().map(Opened::largest_picture).max();
        let all = self.sources.iter().map(pictures).sum();
        self.frames.holds(all, largest.unwrap_or(0))
    }

    /// Decodes all pictures into memory, side by side, if they fit. `progress` is told how many episodes of how many are done.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn preload(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<()> {
        if !self.fits_in_memory() {
            return Ok(());
        }
        let (done, all) = (AtomicUsize::new(0), self.episodes());
        all.par_iter().try_for_each(|episode| {
            let source = &self.sources[episode.source];
            for camera in source.cameras.iter().flatten() {
                self.frames.preload(&camera.place, episode.index)?;
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, all.len());
            Ok(())
        })
    }
}
