//! Goal-conditioned behaviour cloning: a picture and the picture of a goal to a chunk of actions.
//!
//! The plainest thing that can be learnt from the recordings that a world model learns from, and so what a planner in one has to beat:
//! the recorded actions that led from a frame towards a later one of the same episode (hindsight relabelling, as in
//! [Ding et al.](https://arxiv.org/abs/1906.05838)), regressed by squared error. Both pictures enter one convolutional network as six
//! channels. There is neither language nor proprioception in it.

mod batch;
mod cloning;
mod config;

use std::fs;
use std::path::Path;

use armilla_nn::Activation;
use armilla_nn::checkpoint::{load_weights, save_weights, write_atomically};
use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{ConvBlock, ConvBlockConfig, Mlp, MlpConfig, StridedConvConfig};
use armilla_nn::random::seeded;
use armilla_nn::reduction::mean;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use batch::GoalBatch;
pub use cloning::GoalCloning;
pub use config::{GoalPolicyConfig, GoalShape};

const KIND: &str = "armilla_goal";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// The model.
#[derive(Module, Debug)]
pub struct GoalPolicy {
    convolutions: Vec<ConvBlock>,
    head: Mlp,
    #[module(skip)]
    config: GoalPolicyConfig,
    #[module(skip)]
    shape: GoalShape,
}

impl GoalPolicyConfig {
    /// Builds the model, its weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when a setting is out of range.
    pub fn init(&self, shape: &GoalShape, seed: u64, device: &Device) -> Result<GoalPolicy> {
        self.validate(shape)?;
        Ok(seeded(device, seed, || self.build(shape, device)))
    }

    fn build(&self, shape: &GoalShape, device: &Device) -> GoalPolicy {
        let inputs = [2 * CHANNELS]
            .into_iter()
            .chain(self.channels.iter().copied());
        let convolutions = inputs.zip(&self.channels).map(|(input, &output)| {
            let conv = StridedConvConfig::new(input, output);
            ConvBlockConfig::new(conv, Activation::Silu).init(device)
        });
        let smallest = shape.side >> self.channels.len();
        let features = smallest * smallest * self.channels.last().copied().unwrap_or(0);
        let output = self.action_horizon * shape.action_mean.len();
        GoalPolicy {
            convolutions: convolutions.collect(),
            head: MlpConfig::new(features, self.hidden, output)
                .with_depth(self.depth)
                .with_batch_norm(true)
                .with_activation(Activation::Silu)
                .init(device),
            config: self.clone(),
            shape: shape.clone(),
        }
    }
}

impl GoalPolicy {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &GoalPolicyConfig {
        &self.config
    }

    /// What it was trained on.
    #[must_use]
    pub fn shape(&self) -> &GoalShape {
        &self.shape
    }

    /// Pictures and goals to normalised actions.
    ///
    /// # Shapes
    ///
    /// - pictures: `[batch, height, width, 6]`, in `[-0.5, 0.5]`
    /// - output: `[batch, action_horizon, action]`
    #[must_use]
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<3> {
        let layers = self.convolutions.iter();
        let features = layers.fold(pictures, |pictures, layer| layer.forward(pictures));
        let features: Tensor<2> = features.flatten(1, 3);
        let actions = self.head.forward(features);
        let batch = actions.dims()[0];
        let width = self.shape.action_mean.len();
        actions.reshape([batch, self.config.action_horizon, width])
    }

    /// Mean squared error of the actions on the way to the goal, `[1]`.
    #[must_use]
    pub fn loss(&self, batch: GoalBatch) -> Tensor<1> {
        let error = self.forward(batch.pictures) - batch.actions;
        let error: Tensor<2> = error.square().mean_dim(2).squeeze_dim(2);
        mean(error * batch.weight.clone()) / mean(batch.weight).clamp_min(1e-6)
    }

    /// Writes `config.json` and `model.safetensors` into `directory`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).map_err(|error| Error::file(directory, error))?;
        let file = File {
            kind: KIND.to_owned(),
            config: self.config.clone(),
            shape: self.shape.clone(),
        };
        let path = directory.join(CONFIG);
        let json = serde_json::to_string_pretty(&file)
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "JSON", error))?;
        write_atomically(&path, (json + "\n").as_bytes())?;
        let metadata = [("type".to_owned(), KIND.to_owned())].into();
        Ok(save_weights(self, &directory.join(WEIGHTS), &metadata)?)
    }

    /// Whether a directory holds such a policy, by its `config.json`.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        let json = fs::read_to_string(directory.join(CONFIG)).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        json["type"] == KIND
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file and what is wrong with it.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let json = fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        let file: File = serde_json::from_str(&json)
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "a goal policy", error))?;
        file.config.validate(&file.shape)?;
        let model = file.config.build(&file.shape, device);
        Ok(load_weights(model, &directory.join(WEIGHTS))?.valid())
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    config: GoalPolicyConfig,
    shape: GoalShape,
}

#[cfg(test)]
mod tests;
