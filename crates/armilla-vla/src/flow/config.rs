//! Settings of the flow-matching policy.

use serde::{Deserialize, Serialize};

use super::text::TextConfig;
use super::vision::VisionConfig;
use crate::error::{Error, Result};
use crate::lerobot::{Camera, PolicyInputs};

/// No width, side or count is larger: settings come from files that anyone can have written.
const LARGEST: usize = 1 << 16;
/// No stack of blocks is deeper.
const DEEPEST: usize = 1 << 10;

/// Everything about a [`FlowPolicy`](super::FlowPolicy) that does not follow from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowPolicyConfig {
    /// Values of a token.
    pub width: usize,
    /// Heads of attention; they share the width.
    pub heads: usize,
    /// Places in the picture that are read out.
    pub slots: usize,
    /// Times that the slots look at the picture.
    pub looks: usize,
    /// Width of the network that turns places and words into the expert's condition.
    pub hidden: usize,
    /// Blocks of the action expert.
    pub expert_blocks: usize,
    /// Actions predicted at once.
    pub action_horizon: usize,
    /// Actions carried out before the next prediction.
    pub receding_horizon: usize,
    /// Draws of noise and time for each observation of a training batch.
    pub draws: usize,
    /// Weight of the grounding loss beside the flow-matching loss.
    pub grounding_weight: f64,
    /// Euler steps from noise to actions.
    pub sampling_steps: usize,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// The text encoder.
    pub text: TextConfig,
}

impl Default for FlowPolicyConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl FlowPolicyConfig {
    /// Sizes that reach their figure on a simulated table after four minutes of training on two CPU cores.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            width: 96,
            heads: 4,
            slots: 6,
            looks: 2,
            hidden: 256,
            expert_blocks: 2,
            action_horizon: 8,
            receding_horizon: 4,
            draws: 2,
            grounding_weight: 0.05,
            sampling_steps: 5,
            vision: VisionConfig::default(),
            text: TextConfig::default(),
        }
    }

    /// Checks the settings against each other and against what the policy senses.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, inputs: &PolicyInputs) -> Result<()> {
        let camera = self.check_inputs(inputs)?;
        self.check_sizes(inputs)?;
        if self.heads == 0 || !self.width.is_multiple_of(2 * self.heads) || self.width == 0 {
            let expected = format!("a multiple of twice the heads ({})", self.heads);
            return Err(Error::config("width", expected, self.width));
        }
        if !(1..=self.action_horizon).contains(&self.receding_horizon) {
            let expected = format!("1 to the action horizon ({})", self.action_horizon);
            return Err(Error::config(
                "receding_horizon",
                expected,
                self.receding_horizon,
            ));
        }
        let channels = &self.vision.channels;
        let fits = |count: &usize| (8..=LARGEST).contains(count) && count.is_multiple_of(8);
        if !(1..=16).contains(&channels.len()) || !channels.iter().all(fits) {
            let found = format!("{channels:?}");
            return Err(Error::config(
                "vision.channels",
                "one to 16 multiples of 8",
                found,
            ));
        }
        let divisor = 1 << channels.len();
        if [camera.height, camera.width]
            .iter()
            .any(|side| *side == 0 || side % divisor != 0)
        {
            let found = format!("pictures of {} x {} pixels", camera.height, camera.width);
            let expected = format!("sides that divide by {divisor}, two per stage");
            return Err(Error::config("vision.channels", expected, found));
        }
        Ok(())
    }

    /// The one camera; with it a state and instructions are taken.
    fn check_inputs<'a>(&self, inputs: &'a PolicyInputs) -> Result<&'a Camera> {
        let parts = (inputs.cameras.as_slice(), inputs.state, inputs.vocabulary);
        match (parts, inputs.environment_state) {
            (([camera], Some(_), Some(_)), None) => Ok(camera),
            _ => Err(Error::config(
                "input_features",
                "one camera, observation.state and instructions",
                format!("{inputs:?}"),
            )),
        }
    }

    /// Checks that no setting alone is too small or too large.
    fn check_sizes(&self, inputs: &PolicyInputs) -> Result<()> {
        let counts = [
            ("slots", self.slots),
            ("hidden", self.hidden),
            ("action_horizon", self.action_horizon),
            ("draws", self.draws),
            ("looks", self.looks),
            ("sampling_steps", self.sampling_steps),
            ("text.max_tokens", self.text.max_tokens),
            ("width", self.width),
        ];
        if let Some((key, count)) = counts
            .iter()
            .find(|(_, count)| !(1..=LARGEST).contains(count))
        {
            return Err(Error::config(key, format!("1 to {LARGEST}"), count));
        }
        let depths = [
            ("looks", self.looks),
            ("expert_blocks", self.expert_blocks),
            ("vision.blocks", self.vision.blocks),
            ("text.blocks", self.text.blocks),
        ];
        if let Some((key, depth)) = depths.iter().find(|(_, depth)| *depth > DEEPEST) {
            return Err(Error::config(key, format!("up to {DEEPEST}"), depth));
        }
        let sides = inputs.cameras.iter().flat_map(|camera| {
            [
                ("height of a picture", camera.height),
                ("width of a picture", camera.width),
            ]
        });
        let widths = [
            ("observation.state", inputs.state.unwrap_or(1)),
            ("action", inputs.action),
        ];
        let mut sizes = sides.chain(widths);
        if let Some((key, size)) = sizes.find(|(_, size)| !(1..=LARGEST).contains(size)) {
            return Err(Error::config(key, format!("1 to {LARGEST}"), size));
        }
        let weight = self.grounding_weight;
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::config("grounding_weight", "0 or more", weight));
        }
        Ok(())
    }
}
