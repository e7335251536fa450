//! A world model and a planner, driven as any other policy.

mod episode;

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::features::STATE;
use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, Error, Goal, Image, Observation, Policy,
    PolicyRequest, Result,
};
use armilla_world::{Frame, Plan, PlanConfig, Planner, Problem, WorldModel};
use burn::tensor::Device;

use episode::{Episode, Rhythm};

/// Of how many episodes plans are kept for people to look at.
const KEPT_EPISODES: usize = 8;
/// Episodes a policy keeps state of, at most; beyond it the oldest is forgotten.
const EPISODES: usize = 4096;

/// Plans to the goal, carries out the first `receding_horizon` model steps, and plans again from what it sees then.
pub struct PlannerPolicy {
    model: WorldModel,
    planner: Planner,
    period_secs: f64,
    episodes: BTreeMap<EpisodeId, Episode>,
    plans: BTreeMap<EpisodeId, BTreeMap<u64, Plan>>,
}

impl PlannerPolicy {
    /// Opens a world model's checkpoint to plan for an environment.
    ///
    /// # Errors
    ///
    /// When the checkpoint cannot be loaded, or model, plan and environment do not fit each other.
    pub fn open(
        checkpoint: &Path,
        plan: PlanConfig,
        spec: &EnvironmentSpec,
        device: &Device,
    ) -> Result<Self> {
        let failed = |error| Error::behind(format!("world model {}", checkpoint.display()), error);
        Self::new(
            WorldModel::load(checkpoint, device).map_err(failed)?,
            plan,
            spec,
        )
    }

    /// Plans in a model for an environment.
    ///
    /// # Errors
    ///
    /// When model, plan and environment do not fit each other.
    pub fn new(model: WorldModel, plan: PlanConfig, spec: &EnvironmentSpec) -> Result<Self> {
        check(&model, spec)?;
        let planner = model
            .planner(plan, &spec.action_low, &spec.action_high)
            .map_err(|error| Error::behind("plan settings", error))?;
        let fits = model.check_planner(&planner);
        fits.map_err(|error| Error::behind("plan settings", error))?;
        let period_secs = 1.0 / spec.rate_hz;
        Ok(Self {
            model,
            planner,
            period_secs,
            episodes: BTreeMap::new(),
            plans: BTreeMap::new(),
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &WorldModel {
        &self.model
    }

    /// Plans of the first episodes by environment step, for people to look at.
    #[must_use]
    pub fn plans(&self) -> &BTreeMap<EpisodeId, BTreeMap<u64, Plan>> {
        &self.plans
    }

    fn rhythm(&self) -> Rhythm {
        let config = self.model.shape();
        Rhythm {
            action_repeat: config.action_repeat,
            receding_horizon: self.planner.config().receding_horizon,
            history: config.history,
        }
    }

    /// Encodes what is new and states the searches.
    fn problems(&mut self, requests: &[PolicyRequest]) -> Result<Vec<Problem>> {
        let mut frames = Vec::new();
        for PolicyRequest {
            episode,
            observation,
            ..
        } in requests
        {
            let Observation { images, state, .. } = observation;
            frames.push(frame(&self.model, "observation", images, state)?);
            let episode = self.episodes.get(episode);
            if episode.is_none_or(|episode| episode.goal.is_none()) {
                let none = || Error::invalid("observation", "a goal to plan to", "none");
                let Goal { images, state } = observation.goal.as_ref().ok_or_else(none)?;
                frames.push(frame(&self.model, "goal", images, state)?);
            }
        }
        let views = self.planner.config().views;
        let failed = |error| Error::behind("encoding the observation", error);
        let mut latents = self
            .model
            .encode_views(&frames, views)
            .map_err(failed)?
            .into_iter();
        let rhythm = self.rhythm();
        let mut problems = Vec::with_capacity(requests.len());
        for request in requests {
            let episode = self.episodes.entry(request.episode).or_default();
            let latent = latents.next().unwrap_or_default();
            let warm_start = episode.see(request.step, latent, rhythm);
            if episode.goal.is_none() {
                episode.goal = latents.next();
            }
            problems.push(Problem {
                episode: request.episode,
                step: request.step,
                context: episode.latents.concat(),
                past: episode.past.clone(),
                goal: episode.goal.clone().unwrap_or_default(),
                warm_start,
            });
        }
        Ok(problems)
    }

    /// Keeps what the next plan needs, and what people may want to see.
    fn remember(&mut self, request: &PolicyRequest, plan: &Plan) {
        let rhythm = self.rhythm();
        if let Some(episode) = self.episodes.get_mut(&request.episode) {
            episode.plan(request.step, plan.clone(), rhythm);
        }
        if self.plans.contains_key(&request.episode) || self.plans.len() < KEPT_EPISODES {
            self.plans
                .entry(request.episode)
                .or_default()
                .insert(request.step, plan.clone());
        }
    }
}

impl Policy for PlannerPolicy {
    fn name(&self) -> &'static str {
        "planner"
    }

    fn reset(&mut self, episode: EpisodeId) -> Result<()> {
        self.plans.remove(&episode);
        self.episodes.insert(episode, Episode::default());
        if self.episodes.len() > EPISODES {
            self.episodes.pop_first();
        }
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let problems = self.problems(requests)?;
        let plans = self
            .model
            .plan(&self.planner, &problems)
            .map_err(|error| Error::behind("planning", error))?;
        let repeat = self.model.shape().action_repeat;
        let steps = self.planner.config().receding_horizon * repeat;
        let mut chunks = Vec::with_capacity(plans.len());
        for (request, plan) in requests.iter().zip(&plans) {
            self.remember(request, plan);
            let actions = plan.environment_actions(repeat).take(steps);
            let chunk = ActionChunk {
                actions: actions.cloned().map(Action).collect(),
                starts_at_secs: request.observation.captured_at_secs,
                period_secs: self.period_secs,
            };
            chunk.check(self.model.shape().action)?;
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// Whether the model can look through an environment's cameras and act at its rate and in its units.
fn check(model: &WorldModel, spec: &EnvironmentSpec) -> Result<()> {
    let (shape, interface) = (model.shape(), model.interface());
    spec.check_cameras(&interface.cameras, shape.image_size)?;
    let (expected, found) = (shape.state, spec.features.width(STATE));
    if expected > 0 && expected != found {
        let expected = format!("{expected} values, as the world model was trained on");
        let what = format!("state of environment {}", spec.name);
        return Err(Error::invalid(what, expected, found));
    }
    spec.check_rate(interface.rate_hz, "config.json")?;
    spec.check_units(&interface.actions.low, &interface.actions.high)
}

/// What the model looks at of what is sensed: the cameras that it was trained on, and proprioception where it takes some.
fn frame<'a>(
    model: &WorldModel,
    what: &str,
    images: &'a BTreeMap<String, Image>,
    state: &'a [f32],
) -> Result<Frame<'a>> {
    let picture = |camera: &String| {
        images.get(camera).ok_or_else(|| {
            let expected = format!("a picture from camera `{camera}`");
            let found: Vec<_> = images.keys().collect();
            Error::invalid(what, expected, format!("{found:?}"))
        })
    };
    let images = model.interface().cameras.iter().map(picture);
    let width = model.shape().state;
    if width > 0 && state.len() != width {
        let expected = format!("{width} values of proprioception");
        return Err(Error::invalid(what, expected, state.len()));
    }
    let frame = Frame {
        images: images.collect::<Result<_>>()?,
        state: if width > 0 { state } else { &[] },
    };
    model
        .check_frame(&frame)
        .map_err(|error| Error::behind(format!("{what} of an episode"), error))?;
    Ok(frame)
}

#[cfg(test)]
mod tests;
