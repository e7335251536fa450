//! What a run is set to, and the learning rate of each step.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use armilla_nn::Precision;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The settings of a run. Everything but `log_every` and `checkpoint_every` decides the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Key of all randomness: data order, noise, initial weights.
    pub seed: u64,
    /// The highest learning rate, reached after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises linearly.
    pub warmup_steps: u64,
    /// The learning rate at the end over the highest one; 1 keeps it constant after the warm-up.
    pub min_learning_rate_ratio: f64,
    /// What the learning rate is multiplied by for all parameters below a path, such as `policy.vision.backbone`; the longest path counts,
    /// and 0 leaves parameters as they are.
    pub learning_rate_ratios: BTreeMap<String, f64>,
    /// Decoupled weight decay of parameters of two or more axes; biases and norms do not decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Keeps the division by the second moment finite.
    pub epsilon: f64,
    /// The longest gradient, over all parameters together; 0 is off.
    pub clip_norm: f64,
    /// Decay of the moving average of weights, which is what is exported; 0 is off. It starts lower and rises to this value,
    /// so that the random initial weights are soon forgotten.
    pub ema_decay: f64,
    /// Batches whose mean gradient makes one step; on the CPU they are computed side by side, on a GPU one after another. The
    /// first alone moves the running statistics of batch normalisation.
    pub accumulation: u64,
    /// `f32`, or `bf16` for matrix products and convolutions on GPUs that have it; weights, normalisations and losses stay f32.
    /// The CPU computes in bf16 too, for tests, but slower than in f32.
    pub precision: Precision,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between checkpoints; 0 writes only the last. One is always written at the end.
    pub checkpoint_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            learning_rate: 3e-4,
            warmup_steps: 100,
            min_learning_rate_ratio: 0.1,
            learning_rate_ratios: BTreeMap::new(),
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            clip_norm: 1.0,
            ema_decay: 0.0,
            accumulation: 1,
            precision: Precision::F32,
            log_every: 10,
            checkpoint_every: 0,
        }
    }
}

impl TrainConfig {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range.
    pub fn validate(&self) -> Result<()> {
        let at_least_1 = [
            ("steps", self.steps),
            ("accumulation", self.accumulation),
            ("log_every", self.log_every),
        ];
        for (key, value) in at_least_1 {
            check(key, value > 0, "at least 1", value)?;
        }
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("epsilon", self.epsilon),
        ] {
            check(key, value.is_finite() && value > 0.0, "above 0", value)?;
        }
        let natural = |value: f64| value.is_finite() && value >= 0.0;
        check(
            "weight_decay",
            natural(self.weight_decay),
            "0 or more",
            self.weight_decay,
        )?;
        check(
            "clip_norm",
            natural(self.clip_norm),
            "0 (off) or more",
            self.clip_norm,
        )?;
        for &ratio in self.learning_rate_ratios.values() {
            check("learning_rate_ratios", natural(ratio), "0 or more", ratio)?;
        }
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check(key, (0.0..1.0).contains(&value), "in [0, 1)", value)?;
        }
        let decay = self.ema_decay;
        check(
            "ema_decay",
            (0.0..1.0).contains(&decay),
            "in [0, 1), 0 being off",
            decay,
        )?;
        let ratio = self.min_learning_rate_ratio;
        check(
            "min_learning_rate_ratio",
            (0.0..=1.0).contains(&ratio),
            "in [0, 1]",
            ratio,
        )
    }

    /// What the learning rate of a parameter is multiplied by.
    #[must_use]
    pub fn learning_rate_ratio_of(&self, parameter: &str) -> f64 {
        let below = |path: &String| is_below(parameter, path);
        let groups = self
            .learning_rate_ratios
            .iter()
            .filter(|(path, _)| below(path));
        groups
            .max_by_key(|(path, _)| path.len())
            .map_or(1.0, |(_, &ratio)| ratio)
    }

    /// The learning rate of a step, counted from 0: a linear warm-up, then half a cosine.
    #[must_use]
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (PI * progress).cos());
        let ratio = self.min_learning_rate_ratio + (1.0 - self.min_learning_rate_ratio) * cosine;
        self.learning_rate * ratio
    }
}

/// Whether a parameter's path is a path or leads on from it.
pub(crate) fn is_below(parameter: &str, path: &str) -> bool {
    let rest = parameter.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// An error naming the key unless its value is valid.
fn check(
    key: &'static str,
    valid: bool,
    expected: &'static str,
    found: impl ToString,
) -> Result<()> {
    if valid {
        return Ok(());
    }
    Err(Error::Config {
        key,
        expected,
        found: found.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let config = TrainConfig {
            steps: 110,
            warmup_steps: 10,
            learning_rate: 2.0,
            min_learning_rate_ratio: 0.1,
            ..TrainConfig::default()
        };
        let close = |step, expected: f64| {
            let found = config.learning_rate_at(step);
            assert!((found - expected).abs() < 1e-9, "{step}: {found}");
        };
        close(0, 0.2);
        close(9, 2.0);
        close(10, 2.0);
        close(60, 2.0 * 0.55);
        close(110, 0.2);
        close(500, 0.2);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(TrainConfig::default().validate().is_ok());
        let message = |config: TrainConfig| config.validate().unwrap_err().to_string();
        let found = message(TrainConfig {
            beta2: 1.0,
            ..TrainConfig::default()
        });
        assert_eq!(
            found,
            "training configuration: `beta2` must be in [0, 1), found 1"
        );
        let found = message(TrainConfig {
            learning_rate: f64::NAN,
            ..TrainConfig::default()
        });
        assert!(
            found.contains("`learning_rate` must be above 0, found NaN"),
            "{found}"
        );
    }
}
