//! Settings of ACT.

use armilla_nn::Activation;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lerobot::PolicyInputs;

/// Names are checked with sizes from files that anyone can have written.
const LARGEST: usize = 1 << 14;

/// Settings of an [`Act`](super::Act).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActConfig {
    /// Actions predicted at once.
    pub action_horizon: usize,
    /// Of these, actions carried out before the next are asked for.
    pub receding_horizon: usize,
    /// Features of a token; with cameras divisible by 4.
    pub width: usize,
    /// Heads of attention, which share the width.
    pub heads: usize,
    /// Hidden features of the feed-forward networks.
    pub hidden: usize,
    /// Their non-linearity.
    pub activation: Activation,
    /// Whether normalisation stands before each half of a layer instead of after it.
    pub norm_first: bool,
    /// Layers over what is sensed.
    pub encoder_layers: usize,
    /// Layers that turn it into actions. 1 in the published code, which meant 7 (<https://github.com/tonyzhaozh/act/issues/25>).
    pub decoder_layers: usize,
    /// Whether training also finds a style in the recorded actions: the variational part.
    pub variational: bool,
    /// Layers of the encoder that finds it.
    pub style_layers: usize,
    /// Values of a style.
    pub style: usize,
    /// Weight of the styles' divergence from a standard normal distribution in the loss.
    pub divergence_weight: f64,
    /// Share of values dropped in training.
    pub dropout: f64,
    /// If given, chunks are asked for at every step, and overlapping actions averaged with weights `exp(-this * age)`, the oldest first.
    pub ensemble: Option<f64>,
}

impl Default for ActConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl ActConfig {
    /// As published and as LeRobot's defaults are.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            action_horizon: 100,
            receding_horizon: 100,
            width: 512,
            heads: 8,
            hidden: 3200,
            activation: Activation::Relu,
            norm_first: false,
            encoder_layers: 4,
            decoder_layers: 1,
            variational: true,
            style_layers: 4,
            style: 32,
            divergence_weight: 10.0,
            dropout: 0.1,
            ensemble: None,
        }
    }

    /// For training on two cores.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            action_horizon: 16,
            receding_horizon: 8,
            width: 128,
            heads: 4,
            hidden: 256,
            encoder_layers: 2,
            style_layers: 1,
            style: 8,
            ..Self::paper()
        }
    }

    /// Checks the settings against what the policy senses.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, inputs: &PolicyInputs) -> Result<()> {
        let sizes = [
            ("action_horizon", self.action_horizon),
            ("width", self.width),
            ("heads", self.heads),
            ("hidden", self.hidden),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("style_layers", self.style_layers),
            ("style", self.style),
            ("action", inputs.action),
            ("observation.state", inputs.state.unwrap_or(1)),
            (
                "observation.environment_state",
                inputs.environment_state.unwrap_or(1),
            ),
        ];
        for (key, value) in sizes {
            if !(1..=LARGEST).contains(&value) {
                return Err(Error::config(key, format!("1 to {LARGEST}"), value));
            }
        }
        let most = match self.ensemble {
            Some(_) => 1,
            None => self.action_horizon,
        };
        if !(1..=most).contains(&self.receding_horizon) {
            let expected = format!("1 to {most}, the action_horizon, or 1 with an ensemble");
            let found = self.receding_horizon;
            return Err(Error::config("receding_horizon", expected, found));
        }
        let parts = if inputs.cameras.is_empty() { 2 } else { 4 };
        if !self.width.is_multiple_of(self.heads) || !self.width.is_multiple_of(parts) {
            let expected = format!("a multiple of {parts} and of {} heads", self.heads);
            return Err(Error::config("width", expected, self.width));
        }
        if !matches!(self.activation, Activation::Relu | Activation::Gelu) {
            let found = format!("{:?}", self.activation).to_lowercase();
            return Err(Error::config("activation", "relu or gelu", found));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("dropout", "0 to below 1", self.dropout));
        }
        if !self.divergence_weight.is_finite() || self.ensemble.is_some_and(|m| !m.is_finite()) {
            let found = format!("{} and {:?}", self.divergence_weight, self.ensemble);
            return Err(Error::config(
                "divergence_weight, ensemble",
                "numbers",
                found,
            ));
        }
        if inputs.cameras.is_empty() && inputs.environment_state.is_none() {
            let expected = "a camera or observation.environment_state";
            return Err(Error::config("inputs", expected, "neither"));
        }
        Ok(())
    }
}
