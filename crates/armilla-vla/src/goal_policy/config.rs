//! Settings of goal-conditioned behaviour cloning.

use armilla_core::FeatureStatistics;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Names are checked with sizes from files that anyone can have written.
const LARGEST: usize = 1 << 14;

/// Settings of a [`GoalPolicy`](super::GoalPolicy).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoalPolicyConfig {
    /// Channels after each convolution; every one halves the picture.
    pub channels: Vec<usize>,
    /// Width of the network over the last convolution's values.
    pub hidden: usize,
    /// Linear layers of it.
    pub depth: usize,
    /// Actions predicted at once.
    pub action_horizon: usize,
    /// Of these, actions carried out before the next are asked for.
    pub receding_horizon: usize,
    /// Steps from a frame to the furthest one that training takes for its goal.
    pub goal_max_steps: usize,
    /// Share of the windows whose goal is the latest possible.
    pub goal_last_share: f64,
}

impl Default for GoalPolicyConfig {
    fn default() -> Self {
        Self {
            channels: vec![32, 64, 64, 64],
            hidden: 256,
            depth: 3,
            action_horizon: 5,
            receding_horizon: 5,
            goal_max_steps: 200,
            goal_last_share: 0.5,
        }
    }
}

/// What a [`GoalPolicy`](super::GoalPolicy) was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalShape {
    /// Name of the camera.
    pub camera: String,
    /// Side of its square pictures.
    pub side: usize,
    /// Mean of each value of an action in the recordings.
    pub action_mean: Vec<f64>,
    /// Its standard deviation.
    pub action_std: Vec<f64>,
    /// Its smallest value; empty in checkpoints from before it was kept.
    #[serde(default)]
    pub action_min: Vec<f64>,
    /// Its largest value.
    #[serde(default)]
    pub action_max: Vec<f64>,
    /// Control steps a second of the recordings, where known.
    #[serde(default)]
    pub fps: Option<f64>,
}

impl GoalShape {
    /// Mean and standard deviation of the actions, as recordings keep them.
    pub(super) fn statistics(&self) -> FeatureStatistics {
        FeatureStatistics {
            mean: self.action_mean.clone(),
            std: self.action_std.clone(),
            ..FeatureStatistics::default()
        }
    }
}

impl GoalPolicyConfig {
    /// Checks the settings against each other and against what it is trained on.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, shape: &GoalShape) -> Result<()> {
        let sizes = [
            ("hidden", self.hidden),
            ("depth", self.depth),
            ("action_horizon", self.action_horizon),
            ("goal_max_steps", self.goal_max_steps),
            ("side", shape.side),
            ("action_mean", shape.action_mean.len()),
        ];
        for (key, value) in sizes {
            if !(1..=LARGEST).contains(&value) {
                return Err(Error::config(key, format!("1 to {LARGEST}"), value));
            }
        }
        let horizon = self.receding_horizon;
        if !(1..=self.action_horizon).contains(&horizon) {
            let expected = format!("1 to action_horizon, {}", self.action_horizon);
            return Err(Error::config("receding_horizon", expected, horizon));
        }
        let layers = self.channels.len();
        let known = self
            .channels
            .iter()
            .all(|size| (1..=LARGEST).contains(size));
        if layers == 0 || layers > 8 || !known || !shape.side.is_multiple_of(1 << layers) {
            let expected = format!(
                "numbers from 1 to {LARGEST}, each halving {} px",
                shape.side
            );
            return Err(Error::config(
                "channels",
                expected,
                format!("{:?}", self.channels),
            ));
        }
        let share = self.goal_last_share;
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::config("goal_last_share", "0 to 1", share));
        }
        let widths = [shape.action_mean.len(), shape.action_std.len()];
        if widths[0] != widths[1] {
            return Err(Error::config("action_std", widths[0], widths[1]));
        }
        let extremes = [shape.action_min.len(), shape.action_max.len()];
        if ![[0; 2], [widths[0]; 2]].contains(&extremes) {
            let expected = format!("{} values each, or none", widths[0]);
            let found = format!("{} and {}", extremes[0], extremes[1]);
            return Err(Error::config("action_min and action_max", expected, found));
        }
        Ok(())
    }
}
