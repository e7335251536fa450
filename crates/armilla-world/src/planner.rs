//! Search for the actions whose predicted latents cost least, many problems at once: random shooting, CEM, iCEM, MPPI and gradient
//! descent, as [`Method`](crate::Method) has it.
//!
//! All candidates of several problems go through the model as the rows of one matrix. Each problem draws from a stream of its
//! own, keyed by seed, episode and step, so that a plan does not depend on what else was planned beside it; only a deadline is shared.

mod group;
#[cfg(test)]
mod model_tests;
mod space;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use armilla_nn::lanes::side_by_side;

use crate::error::{Result, ensure};
use crate::evaluation::{Cost, Dynamics};
use crate::limits::{MOST_COLORED, MOST_DRAWN};
use crate::plan_config::{Coordinates, Noise, PlanConfig};
use crate::scale::ActionScale;

use group::{Group, search};
pub(crate) use space::Space;

/// Where a search starts and what it seeks.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Names the random stream, with `step`.
    pub episode: u64,
    /// Environment step, or any number that differs between the plans of an episode.
    pub step: u64,
    /// The last latents a model step apart, oldest first, `[frames, latent]`.
    pub context: Vec<f32>,
    /// The actions between them in their own units, those of a model step after one another: one fewer than latents.
    pub past: Vec<Vec<f32>>,
    /// The goal's latent.
    pub goal: Vec<f32>,
    /// Actions to search around, [`Plan::shifted`] of the plan before; may be empty.
    pub warm_start: Vec<Vec<f32>>,
}

impl Problem {
    /// The actions of [`Self::past`], one after the other.
    pub(crate) fn past(&self) -> impl Iterator<Item = f32> {
        self.past.iter().flatten().copied()
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Actions in their own units, one a model step, or one an environment step where none is [held](PlanConfig::hold).
    pub actions: Vec<Vec<f32>>,
    /// Cost of the whole.
    pub cost: f32,
    /// Cost of each model step, `[horizon]`.
    pub step_costs: Vec<f32>,
    /// Predicted latents, `[horizon, latent]`, of all views where there are several.
    pub latents: Vec<f32>,
    /// Iterations that were done: fewer than asked for where a deadline ended the search.
    pub iterations: usize,
}

impl Plan {
    /// What is left after so many environment steps, `action_repeat` of them a model step, to warm-start the next search. An action that is held
    /// for several steps goes by whole: the nearest one begins.
    #[must_use]
    pub fn shifted(&self, environment_steps: usize, action_repeat: usize) -> Vec<Vec<f32>> {
        let held = (action_repeat / self.actions_a_step()).max(1);
        let done = environment_steps.saturating_add(held / 2) / held;
        self.actions[done.min(self.actions.len())..].to_vec()
    }

    /// An action for each environment step, `action_repeat` of them a model step.
    pub fn environment_actions(&self, action_repeat: usize) -> impl Iterator<Item = &Vec<f32>> {
        let held = action_repeat / self.actions_a_step();
        let actions = self.actions.iter();
        actions.flat_map(move |action| std::iter::repeat_n(action, held))
    }

    fn actions_a_step(&self) -> usize {
        (self.actions.len() / self.step_costs.len().max(1)).max(1)
    }
}

/// A search with its settings and the actions' bounds.
#[derive(Clone, Debug)]
pub struct Planner {
    config: PlanConfig,
    pub(crate) space: Space,
    /// Actions of a model step.
    actions_a_step: usize,
}

impl Planner {
    /// Takes the bounds of an action, in its own units.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range, the bounds do not fit each other, or `coordinates` are
    /// `standard`, which needs the units of the recordings: [`Self::in_units`].
    pub fn new(config: PlanConfig, low: &[f32], high: &[f32]) -> Result<Self> {
        let bounds = config.coordinates == Coordinates::Bounds;
        let expected = "`bounds` for a search without the units of the recordings";
        ensure(bounds, "coordinates", expected, "`standard`")?;
        Self::in_space(config, Space::bounds(low, high))
    }

    /// Takes the bounds of an action and the units of the recordings.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range or the units do not fit each other.
    pub fn in_units(config: PlanConfig, actions: &ActionScale) -> Result<Self> {
        actions.validate(actions.low.len())?;
        let space = match config.coordinates {
            Coordinates::Bounds => Space::bounds(&actions.low, &actions.high),
            Coordinates::Standard => Space::standard(actions),
        };
        Self::in_space(config, space)
    }

    fn in_space(config: PlanConfig, space: Space) -> Result<Self> {
        config.validate()?;
        space.validate()?;
        Ok(Self {
            config,
            space,
            actions_a_step: 1,
        })
    }

    /// Plans for a model whose steps are so many environment steps, each with an action of its own unless it is
    /// [held](PlanConfig::hold). Without this there is one; with 0, nothing to plan.
    #[must_use]
    pub fn with_action_repeat(mut self, action_repeat: usize) -> Self {
        self.actions_a_step = if self.config.hold { 1 } else { action_repeat };
        self
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &PlanConfig {
        &self.config
    }

    /// Actions of a model step: one where it is held, or else one an environment step.
    #[must_use]
    pub fn actions_a_step(&self) -> usize {
        self.actions_a_step
    }

    /// Numbers that make a model step's actions.
    pub(crate) fn block(&self) -> usize {
        self.actions_a_step * self.space.action()
    }

    /// Numbers that make a plan.
    pub(crate) fn values(&self) -> usize {
        self.config.horizon * self.block()
    }

    /// A plan for each problem, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a plan has no actions or more than a search can hold, a latent or a warm start has the
    /// wrong width, or gradient descent finds no way through model and cost.
    pub fn plan(
        &self,
        dynamics: &dyn Dynamics,
        cost: &dyn Cost,
        problems: &[Problem],
    ) -> Result<Vec<Plan>> {
        self.check_length()?;
        let limit = Duration::from_millis(self.config.deadline_ms);
        let until = (!limit.is_zero()).then(|| Instant::now() + limit);
        for problem in problems {
            self.check(problem, dynamics.latent())?;
        }
        let mut past = problems.iter().flat_map(|problem| &problem.past);
        if let Some(first) = past.next().map(Vec::len) {
            let found = past.find(|block| block.len() != first).map(Vec::len);
            let expected = format!("blocks of {first} values, as the first");
            ensure(found.is_none(), "past", expected, found.unwrap_or(first))?;
        }
        let together = (self.config.rows / self.config.num_samples).max(1);
        // Problems share the rows of one matrix, so they look equally far back.
        let alike = problems.chunk_by(|one, other| one.past.len() == other.past.len());
        let groups: Vec<_> = alike
            .flat_map(|problems| problems.chunks(together))
            .collect();
        let plans = side_by_side(&dynamics.device(), groups.len(), 1, |part| {
            let groups = groups[part].iter();
            let groups = groups.map(|problems| Group::new(self, dynamics, cost, problems));
            search(groups.collect(), &self.config, until)
        });
        let plans: Result<Vec<_>> = plans.into_iter().collect();
        Ok(plans?.concat())
    }

    /// Whether a plan has actions, and not more than a search can hold: how many there are depends on the model too.
    pub(crate) fn check_length(&self) -> Result<()> {
        let (config, repeat) = (&self.config, self.actions_a_step);
        ensure(repeat > 0, "action_repeat", "at least 1", repeat)?;
        let actions = config.horizon.saturating_mul(repeat);
        let fits = config.noise != Noise::Colored || actions <= MOST_COLORED;
        let expected = format!("one of `colored` noise with at most {MOST_COLORED} actions");
        ensure(fits, "plan", expected, actions)?;
        let drawn = actions
            .saturating_mul(self.space.action())
            .saturating_mul(config.num_samples);
        let expected = format!("candidates of at most {MOST_DRAWN} numbers in all");
        ensure(drawn <= MOST_DRAWN, "num_samples", expected, drawn)
    }

    /// Whether a problem fits a model with so many values a latent.
    fn check(&self, problem: &Problem, latent: usize) -> Result<()> {
        let found = problem.context.len();
        let whole = found > 0 && found.is_multiple_of(latent);
        let expected = format!("whole latents of {latent} values");
        ensure(whole, "context", expected, found)?;
        let (expected, found) = (problem.context.len() / latent - 1, problem.past.len());
        ensure(expected == found, "past", expected, found)?;
        let found = problem.goal.len();
        ensure(found == latent, "goal", format!("{latent} values"), found)?;
        let action = self.space.action();
        let wrong = problem
            .warm_start
            .iter()
            .find(|values| values.len() != action);
        let found = wrong.map_or(action, Vec::len);
        let expected = format!("{action} values an action");
        ensure(wrong.is_none(), "warm start", expected, found)
    }
}
