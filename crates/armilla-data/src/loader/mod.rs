//! Windows in time, batch after batch, from frames held in memory.
//!
//! A [`FrameStore`] decodes an episode selection once (side by side on rayon's threads) and holds the pictures as
//! bytes, below a limit. A [`WindowLoader`] cuts windows from it; [`WindowLoader::batch`] is a pure function of the
//! step, so a run that is resumed needs no state of the loader. Several loaders may share a store.
//!
//! A window is anchored at a frame `t`:
//! - observations are the frames `t + offset`. Offsets before the episode's start repeat its first frame; offsets past
//!   its end make no window;
//! - actions are the `action_horizon` ones from `t +` the first offset on (or from [`WindowSpec::actions_from`]). Past
//!   the episode's end they repeat the last and `action_is_pad` says so; such windows exist only if
//!   [`WindowSpec::allow_short_tail`];
//! - the later picture, if asked for, is drawn evenly from `min_steps` to `max_steps` after the first observation,
//!   within the episode; if even `min_steps` lies past its end, it is the last frame. By [`LaterSpec::last_share`] it is
//!   the latest of these instead.
//!
//! The pictures are one camera's.

mod order;
mod store;

use std::sync::Arc;

use armilla_core::WindowBatch;
use armilla_core::random::stream;
use rand::RngExt as _;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use order::Order;
pub use store::{FrameStore, StoreConfig, StoredEpisode};

/// A later picture of the same episode, for goals in hindsight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaterSpec {
    /// Fewest steps after the window's first observation.
    pub min_steps: usize,
    /// Most steps after it.
    pub max_steps: usize,
    /// Share of the windows, from 0 to 1, whose later picture is the latest possible.
    pub last_share: f64,
}

/// What a window holds.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// Steps from the anchor to each observation, such as `[0]`, `[-1, 0]` or `[0, 5, 10, 15]`.
    pub observation_offsets: Vec<i64>,
    /// Actions in a window; may be zero.
    pub action_horizon: usize,
    /// Steps from the anchor to the first action; the first observation's offset if none.
    pub actions_from: Option<i64>,
    /// Whether windows may reach past the episode's end with their actions.
    pub allow_short_tail: bool,
    /// A later picture, if wanted.
    pub later: Option<LaterSpec>,
}

impl WindowSpec {
    /// Whole windows without a later picture.
    #[must_use]
    pub fn new(observation_offsets: &[i64], action_horizon: usize) -> Self {
        Self {
            observation_offsets: observation_offsets.to_vec(),
            action_horizon,
            actions_from: None,
            allow_short_tail: false,
            later: None,
        }
    }

    fn first_offset(&self) -> i64 {
        self.observation_offsets.first().copied().unwrap_or(0)
    }

    /// Number of anchors in an episode: they are its first frames.
    fn anchors(&self, length: usize) -> usize {
        let mut reach = self.observation_offsets.iter().copied().max().unwrap_or(0);
        if !self.allow_short_tail && self.action_horizon > 0 {
            let from = self.actions_from.unwrap_or(self.first_offset());
            reach = reach.max(from + self.action_horizon as i64 - 1);
        }
        length.saturating_sub(usize::try_from(reach).unwrap_or(0))
    }

    fn check(&self) -> Result<()> {
        if self.observation_offsets.is_empty() {
            return Err(Error::invalid(
                "observation offsets",
                "at least one",
                "none",
            ));
        }
        if let Some(later) = self.later.filter(|later| later.min_steps > later.max_steps) {
            let found = format!("{} > {}", later.min_steps, later.max_steps);
            return Err(Error::invalid(
                "later picture",
                "min_steps <= max_steps",
                found,
            ));
        }
        let share = self.later.map_or(0.0, |later| later.last_share);
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid(
                "later picture",
                "a last_share from 0 to 1",
                share,
            ));
        }
        Ok(())
    }
}

/// A window: an episode's position in the store's selection, and the anchor's frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Position of the episode among [`FrameStore::episodes`].
    pub episode: usize,
    /// Frame number of the anchor.
    pub frame: usize,
}

/// Hands out batches of windows.
pub struct WindowLoader {
    store: Arc<FrameStore>,
    spec: WindowSpec,
    batch_size: usize,
    seed: u64,
    windows: Vec<Window>,
    order: Order,
}

impl WindowLoader {
    /// Decodes a dataset into a store of its own and cuts windows from it.
    ///
    /// # Errors
    ///
    /// As [`FrameStore::load`] and [`Self::new`].
    pub fn open(
        dataset: &Dataset,
        config: &StoreConfig,
        spec: WindowSpec,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self> {
        let store = FrameStore::load(dataset, config, &|_, _| ())?;
        Self::new(Arc::new(store), spec, batch_size, seed)
    }

    /// Cuts windows from a store.
    ///
    /// # Errors
    ///
    /// When no episode is long enough for one window, or the specification or batch size makes no sense.
    pub fn new(
        store: Arc<FrameStore>,
        spec: WindowSpec,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self> {
        spec.check()?;
        let mut windows = Vec::new();
        for (episode, stored) in store.episodes().iter().enumerate() {
            let frames = 0..spec.anchors(stored.length);
            windows.extend(frames.map(|frame| Window { episode, frame }));
        }
        if windows.is_empty() || batch_size == 0 {
            let longest = store.episodes().iter().map(|e| e.length).max().unwrap_or(0);
            return Err(Error::invalid(
                "windows",
                "a batch size above zero, and an episode at least as long as a window",
                format!("batch size {batch_size}, {spec:?}, longest episode {longest} frames"),
            ));
        }
        Ok(Self {
            order: Order::permuted(windows.len(), seed),
            store,
            spec,
            batch_size,
            seed,
            windows,
        })
    }

    /// Draws windows by weight, with replacement, instead of each once an epoch.
    ///
    /// # Errors
    ///
    /// When a weight is negative or not finite, or all are zero.
    pub fn with_weights(mut self, weight: impl Fn(Window) -> f32) -> Result<Self> {
        let weights: Vec<_> = self.windows.iter().map(|&window| weight(window)).collect();
        self.order = Order::weighted(&weights, self.seed)?;
        Ok(self)
    }

    /// Number of distinct windows: an epoch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Never true: a loader without a window cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The frames it cuts from.
    #[must_use]
    pub fn store(&self) -> &Arc<FrameStore> {
        &self.store
    }

    /// The windows of a batch.
    #[must_use]
    pub fn windows(&self, step: u64) -> Vec<Window> {
        let picked = self.order.pick(step, self.batch_size);
        picked
            .into_iter()
            .map(|index| self.windows[index])
            .collect()
    }

    /// The batch of a step: the same step gives the same batch, always.
    #[must_use]
    pub fn batch(&self, step: u64) -> WindowBatch {
        let windows = self.windows(step);
        let mut batch = WindowBatch {
            batch: windows.len(),
            time: self.spec.observation_offsets.len(),
            action_horizon: self.spec.action_horizon,
            height: self.store.height(),
            width: self.store.width(),
            ..WindowBatch::default()
        };
        let picture = self.store.picture_len();
        batch
            .images
            .reserve_exact(batch.batch * batch.time * picture);
        let mut later = stream(self.seed, "later", step);
        for window in windows {
            self.fill(&mut batch, window);
            if let Some(spec) = self.spec.later {
                // Drawn for every window alike, so that one window's episode does not move the next one's draw.
                self.fill_later(&mut batch, window, spec, later.random::<f64>());
            }
        }
        batch
    }

    fn fill(&self, batch: &mut WindowBatch, window: Window) {
        let episode = &self.store.episodes()[window.episode];
        let at = |offset: i64| {
            let frame = window.frame as i64 + offset;
            (frame.clamp(0, episode.length as i64 - 1) as usize, frame)
        };
        for &offset in &self.spec.observation_offsets {
            let (frame, _) = at(offset);
            batch.images.extend_from_slice(episode.image(frame));
            batch.states.extend_from_slice(episode.states.row(frame));
        }
        let from = self.spec.actions_from.unwrap_or(self.spec.first_offset());
        for step in 0..self.spec.action_horizon {
            let (frame, asked) = at(from + step as i64);
            batch.actions.extend_from_slice(episode.actions.row(frame));
            batch.action_is_pad.push(asked >= episode.length as i64);
        }
        batch.instructions.push(episode.instruction.clone());
    }

    fn fill_later(&self, batch: &mut WindowBatch, window: Window, spec: LaterSpec, draw: f64) {
        let episode = &self.store.episodes()[window.episode];
        let last = episode.length - 1;
        let first = window
            .frame
            .saturating_add_signed(self.spec.first_offset() as isize);
        let remaining = last - first.min(last);
        let most = spec.max_steps.min(remaining);
        let least = spec.min_steps.min(most);
        // One draw decides both: below `last_share` for the latest, and the rest of it spreads over all.
        let steps = if draw < spec.last_share {
            most
        } else {
            let even = (draw - spec.last_share) / (1.0 - spec.last_share);
            (least + (even * (most - least + 1) as f64) as usize).min(most)
        };
        batch
            .later_images
            .extend_from_slice(episode.image(first + steps));
        batch.later_steps.push(steps as u32);
    }
}
