//! Filling a batch.

use std::time::Instant;

use armilla_core::random::stream;
use armilla_core::{CameraWindows, WindowBatch};
use rand::RngExt as _;
use rayon::prelude::*;

use super::rows::EpisodeRows;
use super::source::{Opened, SourceCamera};
use super::{LaterSpec, Window, WindowLoader};
use crate::dataset::Rows;
use crate::error::{Error, Result};

/// The frames of one window.
struct Plan<'a> {
    source: &'a Opened,
    rows: &'a EpisodeRows,
    /// Number of the episode in its dataset.
    episode: usize,
    /// Frames of the observations and then of the later picture, within the episode.
    pictures: Vec<usize>,
    /// Seed of its transforms.
    seed: u64,
}

impl WindowLoader {
    /// The batch of a step: the same step gives the same batch, always.
    ///
    /// # Errors
    ///
    /// When a picture cannot be read or decoded.
    pub fn batch(&self, step: u64) -> Result<WindowBatch> {
        let begin = Instant::now();
        let windows = self.windows(step);
        let spec = &self.config.spec;
        let mut batch = WindowBatch {
            batch: windows.len(),
            time: spec.observation_offsets.len(),
            action_horizon: spec.action_horizon,
            ..WindowBatch::default()
        };
        let mut later = stream(self.config.seed, "later", step);
        let mut transforms = stream(self.config.seed, "transforms", step);
        let mut plans = Vec::with_capacity(windows.len());
        for window in windows {
            let mut plan = self.plan(window, transforms.random());
            self.fill_numbers(&mut batch, window, &plan);
            if let Some(spec) = spec.later {
                // Drawn for every window alike, so that one window's episode does not move the next one's draw.
                let (frame, steps) = self.later(window, &plan, spec, later.random::<f64>());
                plan.pictures.push(frame);
                batch.later_steps.push(steps);
            }
            plans.push(plan);
        }
        for number in 0..self.cameras.len() {
            batch.cameras.push(self.pictures(number, &plans)?);
        }
        self.batch_costs.add(begin);
        Ok(batch)
    }

    fn plan(&self, window: Window, seed: u64) -> Plan<'_> {
        let episode = self.episodes()[window.episode];
        let source = &self.sources[episode.source];
        let frames = self.config.spec.observation_offsets.iter().map(|&offset| {
            let frame = window.frame as i64 + source.pace.frames(offset);
            frame.clamp(0, episode.length as i64 - 1) as usize
        });
        Plan {
            source,
            rows: &source.rows[self.episodes.place_in_source(window.episode)],
            episode: episode.index,
            pictures: frames.collect(),
            seed,
        }
    }

    fn fill_numbers(&self, batch: &mut WindowBatch, window: Window, plan: &Plan<'_>) {
        let (spec, pace) = (&self.config.spec, plan.source.pace);
        let length = self.episodes()[window.episode].length as i64;
        let [state, action] = self.widths;
        for (&offset, &frame) in spec.observation_offsets.iter().zip(&plan.pictures) {
            let before = window.frame as i64 + pace.frames(offset) < 0;
            batch.observation_is_pad.push(before);
            extend(&mut batch.states, &plan.rows.states, frame, state);
        }
        for step in 0..spec.action_horizon as i64 {
            let asked = window.frame as i64 + pace.frames(spec.first_action() + step);
            let frame = asked.clamp(0, length - 1) as usize;
            extend(&mut batch.actions, &plan.rows.actions, frame, action);
            batch.action_is_pad.push(asked != frame as i64);
        }
        batch
            .instructions
            .push(self.instruction(plan, window.frame));
    }

    fn instruction(&self, plan: &Plan<'_>, frame: usize) -> String {
        let tasks = &plan.rows.tasks;
        let task = tasks.get(frame).or(tasks.first());
        let known = plan.source.dataset.tasks();
        let text = task.and_then(|&task| known.get(task as usize));
        let episode = || plan.source.dataset.episodes()[plan.episode].instruction();
        text.map_or_else(|| episode().to_owned(), Clone::clone)
    }

    /// Draws the later picture's frame, and tells the steps to it.
    fn later(&self, window: Window, plan: &Plan<'_>, spec: LaterSpec, draw: f64) -> (usize, u32) {
        let pace = plan.source.pace;
        let last = self.episodes()[window.episode].length - 1;
        let offset = pace.frames(self.config.spec.first_offset());
        let first = window
            .frame
            .saturating_add_signed(offset as isize)
            .min(last);
        let frames = |steps: usize| {
            let least = usize::from(steps > 0);
            let steps = i64::try_from(steps).unwrap_or(i64::MAX);
            // A dataset that is slower than the steps has no frame of less than a half.
            usize::try_from(pace.frames(steps)).unwrap_or(0).max(least)
        };
        let most = frames(spec.max_steps).min(last - first);
        let least = frames(spec.min_steps).min(most);
        // One draw decides both: below `last_share` for the latest, and the rest of it spreads over all.
        let after = if draw < spec.last_share {
            most
        } else {
            let even = (draw - spec.last_share) / (1.0 - spec.last_share);
            (least + (even * (most - least + 1) as f64) as usize).min(most)
        };
        (first + after, pace.steps(after))
    }

    /// The pictures of a camera, window by window side by side.
    fn pictures(&self, number: usize, plans: &[Plan<'_>]) -> Result<CameraWindows> {
        let camera = &self.cameras[number];
        let mut windows = CameraWindows {
            name: camera.name.clone(),
            height: camera.height,
            width: camera.width,
            ..CameraWindows::default()
        };
        let picture = windows.picture_len();
        let time = self.config.spec.observation_offsets.len();
        windows.images = vec![0; plans.len() * time * picture];
        let cameras = plans.iter().map(|plan| &plan.source.cameras[number]);
        windows.is_missing = cameras.map(Option::is_none).collect();
        if self.config.spec.later.is_none() {
            let images = windows.images.par_chunks_mut(time * picture).zip(plans);
            images.try_for_each(|(images, plan)| self.write(plan, number, images))?;
            return Ok(windows);
        }
        windows.later_images = vec![0; plans.len() * picture];
        let images = windows.images.par_chunks_mut(time * picture);
        let images = images
            .zip(windows.later_images.par_chunks_mut(picture))
            .zip(plans);
        images.try_for_each(|((images, later), plan)| {
            // Together, since they change alike and may share what is decoded.
            let mut all = vec![0; (time + 1) * picture];
            self.write(plan, number, &mut all)?;
            images.copy_from_slice(&all[..time * picture]);
            later.copy_from_slice(&all[time * picture..]);
            Ok::<_, Error>(())
        })?;
        Ok(windows)
    }

    fn write(&self, plan: &Plan<'_>, number: usize, images: &mut [u8]) -> Result<()> {
        let Some(camera) = &plan.source.cameras[number] else {
            return Ok(());
        };
        let SourceCamera { place, randomizing } = camera;
        let (kept, frames) = (&self.frames, &plan.pictures);
        if randomizing.is_none() {
            return kept.write(place, plan.episode, frames, images);
        }
        let mut resized = vec![0; frames.len() * place.resizing.picture_len()];
        kept.write(place, plan.episode, frames, &mut resized)?;
        let mut generator = stream(plan.seed, "transforms", number as u64);
        randomizing.write(&resized, images, &mut generator)
    }
}

/// Adds a row and zeros up to a width.
fn extend(values: &mut Vec<f32>, rows: &Rows, frame: usize, width: usize) {
    let end = values.len() + width;
    if rows.width > 0 {
        values.extend_from_slice(rows.row(frame));
    }
    values.resize(end, 0.0);
}
