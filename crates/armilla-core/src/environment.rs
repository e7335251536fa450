//! The trait that simulators, robots and recordings are driven through.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::error::Result;
use crate::features::Features;
use crate::observation::Observation;

/// What an environment is, readable before it is reset.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentSpec {
    /// Name, such as `two-room`.
    pub name: String,
    /// Which episodes are drawn, such as `crossing` or `unseen-pairs`.
    pub protocol: String,
    /// Schema of observations and actions.
    pub features: Features,
    /// Control steps a second.
    pub rate_hz: f64,
    /// Steps after which an episode is truncated, at most (an episode may set fewer).
    pub max_steps: usize,
    /// Lower bound of each action value, in the action's units.
    pub action_low: Vec<f32>,
    /// Upper bound of each action value, in the action's units.
    pub action_high: Vec<f32>,
}

/// How an episode begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Fixes scene, start and goal.
    pub seed: u64,
    /// Replaces the instruction that the seed would give; success is still judged by the seed's own.
    pub instruction: Option<String>,
}

/// Facts about an episode or a step that no policy sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Whether the goal holds at this moment.
    pub success: bool,
    /// Figures by name, such as `distance_px` or `coverage`.
    pub figures: BTreeMap<String, f64>,
    /// Words by name, such as `family`, `instruction` or `scene` (a hash of the scene, for disjoint splits).
    pub labels: BTreeMap<String, String>,
}

/// What a step led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the robot senses after the step.
    pub observation: Observation,
    /// Reward of the step.
    pub reward: f32,
    /// Whether the episode reached an end of its own.
    pub terminated: bool,
    /// Whether the episode was cut by its step budget.
    pub truncated: bool,
    /// Facts for evaluation.
    pub info: Info,
}

/// A robot, a simulator or a recording: resets, then takes one action a step.
pub trait Environment: Send {
    /// Schema, rate and bounds.
    fn spec(&self) -> &EnvironmentSpec;

    /// Begins an episode. The same [`Reset`] gives the same episode.
    ///
    /// # Errors
    ///
    /// When the environment cannot be brought to the start.
    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)>;

    /// Carries out one action.
    ///
    /// # Errors
    ///
    /// When the action has the wrong width or is not finite, or no episode was begun.
    fn step(&mut self, action: &Action) -> Result<Step>;
}
