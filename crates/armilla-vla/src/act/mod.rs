//! ACT, the action chunking transformer: pictures and states to a chunk of actions.
//!
//! [Zhao et al.](https://arxiv.org/abs/2304.13705), exactly as LeRobot 0.6.1 has it (`src/lerobot/policies/act/modeling_act.py`): a
//! ResNet-18's cells, the states and a style are tokens of a transformer as DETR's, whose decoder's queries become the actions. In
//! training the style comes from the recorded actions by a variational encoder; when acting it is zero.

mod config;
mod initial;
mod published;

use std::path::Path;

use armilla_core::features::STATE;
use armilla_nn::checkpoint::foreign::Rule;
use armilla_nn::dropout::Dropout;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use armilla_nn::positions::{interleaved_1d, interleaved_2d};
use armilla_nn::random::seeded;
use armilla_nn::reduction::mean;
use armilla_nn::resnet::{ResNet18, ResNetNorm};
use armilla_nn::transformer::{DetrBlock, DetrBlockConfig, Placed};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::batch::{PolicyBatch, PolicyObservations};
use crate::error::{Error, Result};
use crate::lerobot::features::ENVIRONMENT_STATE;
use crate::lerobot::model::{Horizons, Modes, PolicyLoss, PolicyModel, Settings};
use crate::lerobot::{Draws, FeatureKind, Mode, PolicyInputs};

pub use config::ActConfig;
pub use published::act_rules;

/// The policy.
#[derive(Module, Debug)]
pub struct Act {
    vision: Option<Vision>,
    state: Option<Linear>,
    environment_state: Option<Linear>,
    latent: Linear,
    /// Learnt positions of the tokens before the pictures', `[tokens, width]`.
    positions: Param<Tensor<2>>,
    encoder: Stack,
    /// `[action_horizon, width]`.
    queries: Param<Tensor<2>>,
    decoder: Stack,
    action: Linear,
    style: Option<Style>,
    #[module(skip)]
    config: ActConfig,
    #[module(skip)]
    inputs: PolicyInputs,
}

#[derive(Module, Debug)]
struct Vision {
    backbone: ResNet18,
    project: Linear,
}

/// Layers, and the normalisation after them if there is one.
#[derive(Module, Debug)]
struct Stack {
    blocks: Vec<DetrBlock>,
    norm: Option<LayerNorm>,
}

/// The variational encoder: recorded actions to the distribution of their style.
#[derive(Module, Debug)]
struct Style {
    class: Param<Tensor<2>>,
    state: Option<Linear>,
    action: Linear,
    /// `[1, tokens, width]`; LeRobot saves it though it is a formula.
    positions: Param<Tensor<3>>,
    encoder: Stack,
    output: Linear,
}

impl ActConfig {
    /// Without drawing weights, which are to be loaded.
    fn build(&self, inputs: &PolicyInputs, device: &Device) -> Act {
        let linear = |input| LinearConfig::new(input, self.width).init(device);
        let start = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        let states = usize::from(inputs.state.is_some());
        let tokens = 1 + states + usize::from(inputs.environment_state.is_some());
        Act {
            vision: (!inputs.cameras.is_empty()).then(|| Vision {
                backbone: ResNet18::new(ResNetNorm::Frozen, device),
                project: linear(ResNet18::FEATURES),
            }),
            state: inputs.state.map(linear),
            environment_state: inputs.environment_state.map(linear),
            latent: linear(self.style),
            positions: start.init([tokens, self.width], device),
            encoder: self.stack(self.encoder_layers, false, device),
            queries: start.init([self.action_horizon, self.width], device),
            decoder: self.stack(self.decoder_layers, true, device),
            action: LinearConfig::new(self.width, inputs.action).init(device),
            style: self.variational.then(|| Style {
                class: start.init([1, self.width], device),
                state: inputs.state.map(linear),
                action: linear(inputs.action),
                positions: {
                    let tokens = 1 + states + self.action_horizon;
                    let fixed = interleaved_1d(tokens, self.width, device).unsqueeze();
                    Param::from_tensor(fixed).set_require_grad(false)
                },
                encoder: self.stack(self.style_layers, false, device),
                output: LinearConfig::new(self.width, 2 * self.style).init(device),
            }),
            config: self.clone(),
            inputs: inputs.clone(),
        }
    }

    fn stack(&self, layers: usize, decodes: bool, device: &Device) -> Stack {
        let block = DetrBlockConfig::new(self.width, self.heads, self.hidden)
            .with_cross(decodes)
            .with_norm_first(self.norm_first)
            .with_activation(self.activation);
        let norm = || LayerNormConfig::new(self.width).init(device);
        Stack {
            blocks: (0..layers).map(|_| block.init(device)).collect(),
            norm: (decodes || self.norm_first).then(norm),
        }
    }
}

impl Stack {
    fn finish(&self, tokens: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        }
    }
}

impl PolicyModel for Act {
    const KIND: &'static str = "act";
    type Config = ActConfig;

    fn horizons(config: &ActConfig) -> Horizons {
        Horizons {
            history: 1,
            action: config.action_horizon,
            receding: config.receding_horizon,
            published_chunk: config.action_horizon,
            ensemble: config.ensemble,
        }
    }

    fn modes() -> Modes {
        use FeatureKind::{Action, State, Visual};
        [Visual, State, Action]
            .map(|kind| (kind, Mode::MeanStd))
            .into()
    }

    fn init(config: &ActConfig, inputs: &PolicyInputs, seed: u64, device: &Device) -> Result<Self> {
        config.validate(inputs)?;
        Ok(seeded(device, seed, || {
            initial::as_published(config.build(inputs, device))
        }))
    }

    fn unloaded(config: &ActConfig, inputs: &PolicyInputs, device: &Device) -> Result<Self> {
        config.validate(inputs)?;
        Ok(config.build(inputs, device))
    }

    fn config(&self) -> &ActConfig {
        &self.config
    }

    fn inputs(&self) -> &PolicyInputs {
        &self.inputs
    }

    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        _draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>> {
        self.decode(observations, None, &mut Dropout::Off)
    }

    /// Draws `vae_eps`, the styles' noise, `[batch, style]`; then dropout's masks.
    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss> {
        let shape = [batch.actions.dims()[0], self.config.style];
        let noise = self.style.as_ref().map(|style| {
            let noise = draws.normal("vae_eps", shape, &batch.actions.device())?;
            Ok::<_, Error>((style, noise))
        });
        let noise = noise.transpose()?;
        let dropout = &mut draws.dropout(self.config.dropout);
        let found = noise.map(|(style, noise)| {
            let [center, log_variance] = style.encode(batch, dropout);
            let drawn = center.clone() + (log_variance.clone() / 2.0).exp() * noise;
            let spread = center.square() + log_variance.clone().exp() - log_variance - 1.0;
            (drawn, mean(spread) * (0.5 * self.config.style as f64))
        });
        let (latent, divergence) = found.unzip();
        let actions = self.decode(&batch.observations, latent, dropout)?;
        let [count, horizon, width] = actions.dims();
        let weight: Tensor<3> = batch.weight.clone().unsqueeze_dim(2);
        let valid = mean(weight.clone()) * (count * horizon * width) as f64;
        let error = mean((batch.actions.clone() - actions).abs() * weight);
        let action_error = error * (count * horizon * width) as f64 / valid.clamp_min(1.0);
        let mut figures = vec![("action_error", action_error.clone().detach())];
        let mut total = action_error;
        if let Some(divergence) = divergence {
            figures.push(("divergence", divergence.clone().detach()));
            total = total + divergence * self.config.divergence_weight;
        }
        Ok(PolicyLoss { total, figures })
    }

    fn rules(&self) -> Vec<Rule> {
        act_rules()
    }

    fn read_settings(text: &str, path: &Path) -> Result<Settings<ActConfig>> {
        published::read_settings(text, path)
    }

    fn written_settings(settings: &Settings<ActConfig>) -> serde_json::Result<String> {
        published::written_settings(settings)
    }
}

impl Act {
    /// Observations and styles, `[batch, style]` or zero, to actions.
    fn decode(
        &self,
        observations: &PolicyObservations,
        latent: Option<Tensor<2>>,
        dropout: &mut Dropout<'_>,
    ) -> Result<Tensor<3>> {
        let context = self.sense(observations, latent, dropout)?;
        let batch = context.tokens.dims()[0];
        let positions = self.queries.val().unsqueeze::<3>(); // [1, action_horizon, width]
        let mut tokens = positions.zeros_like().repeat_dim(0, batch);
        for block in &self.decoder.blocks {
            let positions = positions.clone();
            let input = Placed { tokens, positions };
            tokens = block.forward_with_context(input, &context, dropout);
        }
        Ok(self.action.forward(self.decoder.finish(tokens)))
    }

    /// The encoder's tokens.
    fn sense(
        &self,
        observations: &PolicyObservations,
        latent: Option<Tensor<2>>,
        dropout: &mut Dropout<'_>,
    ) -> Result<Placed> {
        let states = [
            (STATE, &self.state, &observations.state),
            (
                ENVIRONMENT_STATE,
                &self.environment_state,
                &observations.environment_state,
            ),
        ];
        let mut tokens = Vec::new();
        for (key, layer, value) in states {
            if let Some(layer) = layer {
                let value = value.clone().ok_or_else(|| missing(key))?;
                tokens.push(layer.forward(value));
            }
        }
        let device = self.latent.weight.val().device();
        let batch = observations.batch();
        let latent = latent.unwrap_or_else(|| Tensor::zeros([batch, self.config.style], &device));
        let latent = self.latent.forward(latent).unsqueeze_dim::<3>(1);
        tokens.insert(0, latent);
        let mut positions = vec![self.positions.val()];
        if let Some(vision) = &self.vision {
            if observations.images.len() != self.inputs.cameras.len() {
                return Err(missing("observation.images"));
            }
            for images in &observations.images {
                let (cells, places) = vision.forward(images.clone());
                tokens.push(cells);
                positions.push(places);
            }
        }
        let positions = Tensor::cat(positions, 0).unsqueeze::<3>();
        let mut tokens = Tensor::cat(tokens, 1); // [batch, tokens, width]
        for block in &self.encoder.blocks {
            let positions = positions.clone();
            tokens = block.forward(Placed { tokens, positions }, None, dropout);
        }
        Ok(Placed {
            tokens: self.encoder.finish(tokens),
            positions,
        })
    }
}

fn missing(key: &str) -> Error {
    armilla_core::Error::invalid(key, "what the policy takes", "none").into()
}

impl Vision {
    /// Pictures, `[batch, 1, height, width, 3]`, to cells, `[batch, cells, width]`, and their positions, `[cells, width]`.
    fn forward(&self, images: Tensor<5>) -> (Tensor<3>, Tensor<2>) {
        let grid = self.backbone.forward(images.squeeze_dim(1));
        let [batch, rows, columns, features] = grid.dims();
        let cells = grid.reshape([batch, rows * columns, features]);
        let cells = self.project.forward(cells);
        let positions = interleaved_2d([rows, columns], cells.dims()[2], &cells.device());
        (cells, positions)
    }
}

impl Style {
    /// Mean and logarithm of the variance of each style, `[batch, style]`.
    fn encode(&self, batch: &PolicyBatch, dropout: &mut Dropout<'_>) -> [Tensor<2>; 2] {
        let count = batch.actions.dims()[0];
        let class = self.class.val().unsqueeze::<3>().repeat_dim(0, count);
        let state = self.state.as_ref().zip(batch.observations.state.clone());
        let state = state.map(|(layer, state)| layer.forward(state));
        let actions = self.action.forward(batch.actions.clone());
        let tokens = [Some(class), state, Some(actions)].into_iter().flatten();
        let mut tokens = Tensor::cat(tokens.collect(), 1); // [batch, tokens, width]
        let [_, all, width] = tokens.dims();
        let before = all - batch.weight.dims()[1];
        let before = Tensor::ones([count, before], &batch.weight.device());
        let padding = Tensor::cat(vec![before, batch.weight.clone()], 1).equal_elem(0.0);
        let mask = padding.unsqueeze_dim::<3>(1).expand([count, all, all]);
        for block in &self.encoder.blocks {
            let positions = self.positions.val();
            let input = Placed { tokens, positions };
            tokens = block.forward(input, Some(mask.clone()), dropout);
        }
        let class = self.encoder.finish(tokens).narrow(1, 0, 1);
        let found = self.output.forward(class.reshape([count, width]));
        let half = found.dims()[1] / 2;
        [0, half].map(|start| found.clone().narrow(1, start, half))
    }
}

#[cfg(test)]
mod tests;
