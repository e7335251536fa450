//! A world model and a planner, driven as any other policy.

mod episode;
mod past;

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::features::STATE;
use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, Error, Image, Observation, Policy,
    PolicyRequest, Result,
};
use armilla_world::{Frame, Plan, PlanConfig, Planner, Problem, WorldModel};
use burn::tensor::Device;

use episode::{Episode, Planned, Rhythm};
use past::Past;

/// Of how many episodes plans are kept for people to look at.
const KEPT_EPISODES: usize = 8;
/// Plans that are kept of each of these, at most; beyond it the earliest goes.
const KEPT_PLANS: usize = 1024;
/// Episodes a policy keeps state of, at most; beyond it the one asked for longest ago is forgotten.
const EPISODES: usize = 4096;

/// Plans to the goal, answers with the first `receding_horizon` model steps, and plans again from what it sees then.
pub struct PlannerPolicy {
    model: WorldModel,
    planner: Planner,
    period_secs: f64,
    /// Model steps of a plan that an answer holds.
    answered: usize,
    episodes: BTreeMap<EpisodeId, Episode>,
    /// How often an episode was begun or asked for.
    touches: u64,
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
            answered: planner.config().receding_horizon,
            planner,
            period_secs,
            episodes: BTreeMap::new(),
            touches: 0,
            plans: BTreeMap::new(),
        })
    }

    /// Answers with whole plans, for who averages them or asks for the next before they are carried out.
    #[must_use]
    pub fn with_whole_chunks(self) -> Self {
        Self {
            answered: self.planner.config().horizon,
            ..self
        }
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
            answered: self.answered,
        }
    }

    /// Latents that a search looks back on.
    fn latents(&self) -> usize {
        let (model, plan) = (self.model.shape().history, self.planner.config().history);
        if plan == 0 { model } else { model.min(plan) }
    }

    /// What is kept of an episode, which is now the last that was asked for.
    fn touch(&mut self, episode: EpisodeId) -> &mut Episode {
        self.touches += 1;
        let kept = self.episodes.entry(episode).or_default();
        kept.touched = self.touches;
        kept
    }

    /// Forgets the episodes asked for longest ago, where there are too many.
    fn forget(&mut self) {
        while self.episodes.len() > EPISODES {
            let oldest = self.episodes.iter().min_by_key(|(_, kept)| kept.touched);
            let Some(oldest) = oldest.map(|(&episode, _)| episode) else {
                return;
            };
            self.episodes.remove(&oldest);
        }
    }

    /// Encodes what is seen and states the searches.
    fn problems(&self, requests: &[PolicyRequest]) -> Result<Vec<Problem>> {
        let shape = self.model.shape();
        let pasts: Vec<_> = requests
            .iter()
            .map(|request| Past::of(request, shape.action_repeat, self.latents()))
            .collect();
        let (mut frames, mut with_goal) = (Vec::new(), Vec::new());
        for (request, past) in requests.iter().zip(&pasts) {
            for Observation { images, state, .. } in &past.frames {
                frames.push(frame(&self.model, "observation", images, state)?);
            }
            let episode = self.episodes.get(&request.episode);
            let is_new = episode.is_none_or(|episode| episode.goal.is_none());
            with_goal.push(is_new);
            if is_new {
                let none = || Error::invalid("observation", "a goal to plan to", "none");
                let goal = request.observation.goal.as_ref().ok_or_else(none)?;
                frames.push(frame(&self.model, "goal", &goal.images, &goal.state)?);
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
        for ((request, past), with_goal) in requests.iter().zip(pasts).zip(with_goal) {
            let seen = latents.by_ref().take(past.frames.len()).collect();
            let goal = if with_goal { latents.next() } else { None };
            let (context, past) = self.context(seen, past)?;
            let episode = self.episodes.get(&request.episode);
            let known = episode.and_then(|episode| episode.goal.clone());
            let steps = (request.step, begins(request));
            let warm_start = episode.map(|episode| episode.warm_start(steps, rhythm));
            problems.push(Problem {
                episode: request.episode,
                step: request.step,
                context,
                past,
                goal: goal.or(known).unwrap_or_default(),
                warm_start: warm_start.unwrap_or_default(),
            });
        }
        Ok(problems)
    }

    /// The newest latents when the plan begins, one after the other, and the actions between them. What no frame shows is predicted.
    fn context(
        &self,
        mut latents: Vec<Vec<f32>>,
        past: Past<'_>,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let Past { mut done, lead, .. } = past;
        let views = self.planner.config().views;
        let failed = |error| Error::behind("predicting what is there when the plan begins", error);
        for block in lead {
            let next = self.model.after(views, &latents, &done, &block);
            latents.push(next.map_err(failed)?);
            done.push(block);
            if latents.len() > self.latents() {
                latents.remove(0);
                done.remove(0);
            }
        }
        Ok((latents.concat(), done))
    }

    /// Keeps what the next plan needs, and what people may want to see.
    fn remember(&mut self, request: &PolicyRequest, problem: Problem, plan: &Plan) {
        let episode = self.touch(request.episode);
        episode.goal = Some(problem.goal);
        episode.plan(Planned {
            asked: request.step,
            begins: begins(request),
            warm_start: problem.warm_start,
            plan: plan.clone(),
        });
        self.forget();
        if self.plans.contains_key(&request.episode) || self.plans.len() < KEPT_EPISODES {
            let plans = self.plans.entry(request.episode).or_default();
            plans.insert(request.step, plan.clone());
            if plans.len() > KEPT_PLANS {
                plans.pop_first();
            }
        }
    }
}

impl Policy for PlannerPolicy {
    fn name(&self) -> &'static str {
        "planner"
    }

    /// As far back as the search looks: a model step is several environment steps.
    fn history(&self) -> usize {
        (self.latents() - 1) * self.model.shape().action_repeat + 1
    }

    fn wants_actions(&self) -> bool {
        true
    }

    fn reset(&mut self, episode: EpisodeId) -> Result<()> {
        self.plans.remove(&episode);
        self.episodes.remove(&episode);
        self.touch(episode);
        self.forget();
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let problems = self.problems(requests)?;
        let plans = self
            .model
            .plan(&self.planner, &problems)
            .map_err(|error| Error::behind("planning", error))?;
        let repeat = self.model.shape().action_repeat;
        let steps = self.answered * repeat;
        let found = requests.iter().zip(&plans);
        found
            .clone()
            .try_for_each(|(request, plan)| check_cost(request, plan))?;
        let mut chunks = Vec::with_capacity(plans.len());
        for ((request, plan), problem) in found.zip(problems) {
            self.remember(request, problem, plan);
            let actions = plan.environment_actions(repeat).take(steps);
            let chunk = ActionChunk {
                actions: actions.cloned().map(Action).collect(),
                starts_at_secs: request.observation.captured_at_secs
                    + request.coming.len() as f64 * self.period_secs,
                period_secs: self.period_secs,
            };
            chunk.check(self.model.shape().action)?;
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// The environment step at which the plan begins that is asked for.
fn begins(request: &PolicyRequest) -> u64 {
    request.step.saturating_add(request.coming.len() as u64)
}

/// Whether a plan was chosen by what it costs: where the model predicts nothing, none is better than another.
fn check_cost(request: &PolicyRequest, plan: &Plan) -> Result<()> {
    if plan.cost.is_finite() {
        return Ok(());
    }
    let PolicyRequest { episode, step, .. } = request;
    let what = format!("cost of the plan of episode {episode} at step {step}");
    Err(Error::invalid(what, "a finite number", plan.cost))
}

/// Whether the model can look through an environment's cameras and act at its rate and in its units.
fn check(model: &WorldModel, spec: &EnvironmentSpec) -> Result<()> {
    let (shape, interface) = (model.shape(), model.interface());
    spec.check_cameras(&interface.cameras, shape.image_size, "config.json")?;
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
