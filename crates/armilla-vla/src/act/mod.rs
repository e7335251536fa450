//! ACT, the action chunking transformer: pictures and states to a chunk of actions.
//!
//! [Zhao et al.](https://arxiv.org/abs/2304.13705), exactly as LeRobot 0.6.1 has it (`src/lerobot/policies/act/modeling_act.py`): a
//! ResNet-18's cells, the states and a style are tokens of a transformer as DETR's, whose decoder's queries become the actions. In
//! training the style comes from the recorded actions by a variational encoder; when acting it is zero.

mod config;
mod initial;
mod published;

use armilla_nn::dropout::Dropout;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use armilla_nn::positions::{interleaved_1d, interleaved_2d};
use armilla_nn::random::{normal, seeded};
use armilla_nn::reduction::mean;
use armilla_nn::resnet::ResNet18;
use armilla_nn::transformer::{DetrBlock, DetrBlockConfig, Placed};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::batch::{PolicyBatch, PolicyObservations};
use crate::error::Result;
use crate::lerobot::PolicyInputs;

pub use config::ActConfig;
pub use published::{ActCheckpoint, act_rules};

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

/// What training lowers.
#[derive(Clone, Debug)]
pub struct ActLoss {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Mean absolute error of the actions before their episode's end, `[1]`.
    pub action_error: Tensor<1>,
    /// Divergence of the styles from a standard normal distribution, `[1]`, in a variational policy.
    pub divergence: Option<Tensor<1>>,
}

impl ActConfig {
    /// Builds the policy, its weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) when a setting is out of range.
    pub fn init(&self, inputs: &PolicyInputs, seed: u64, device: &Device) -> Result<Act> {
        self.validate(inputs)?;
        Ok(seeded(device, seed, || {
            initial::as_published(self.build(inputs, device))
        }))
    }

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
                backbone: ResNet18::new(device),
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

impl Act {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &ActConfig {
        &self.config
    }

    /// What it senses.
    #[must_use]
    pub fn inputs(&self) -> &PolicyInputs {
        &self.inputs
    }

    /// Normalised actions.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, action_horizon, action]`
    #[must_use]
    pub fn sample_actions(&self, observations: &PolicyObservations) -> Tensor<3> {
        self.decode(observations, None, &mut Dropout::Off)
    }

    /// The loss of one batch. The styles' noise, then dropout's masks come from `generator` alone.
    #[must_use]
    pub fn loss(&self, batch: &PolicyBatch, generator: &mut ChaCha8Rng) -> ActLoss {
        let noise = self.style.as_ref().map(|_| {
            let shape = [batch.actions.dims()[0], self.config.style];
            normal(generator, shape, &batch.actions.device())
        });
        let dropout = &mut Dropout::new(self.config.dropout, generator);
        self.loss_with(batch, noise, dropout)
    }

    /// [`Self::loss`] with the styles' noise given; without it, styles are zero as when acting.
    ///
    /// # Shapes
    ///
    /// - noise: `[batch, style]`, standard normal
    #[must_use]
    pub fn loss_with(
        &self,
        batch: &PolicyBatch,
        noise: Option<Tensor<2>>,
        dropout: &mut Dropout<'_>,
    ) -> ActLoss {
        let found = self.style.as_ref().zip(noise).map(|(style, noise)| {
            let [center, log_variance] = style.encode(batch, dropout);
            let drawn = center.clone() + (log_variance.clone() / 2.0).exp() * noise;
            let spread = center.square() + log_variance.clone().exp() - log_variance - 1.0;
            (drawn, mean(spread) * (0.5 * self.config.style as f64))
        });
        let (latent, divergence) = found.unzip();
        let actions = self.decode(&batch.observations, latent, dropout);
        let [count, horizon, width] = actions.dims();
        let weight: Tensor<3> = batch.weight.clone().unsqueeze_dim(2);
        let valid = mean(weight.clone()) * (count * horizon * width) as f64;
        let error = mean((batch.actions.clone() - actions).abs() * weight);
        let action_error = error * (count * horizon * width) as f64 / valid.clamp_min(1.0);
        let total = match &divergence {
            Some(divergence) => {
                action_error.clone() + divergence.clone() * self.config.divergence_weight
            }
            None => action_error.clone(),
        };
        ActLoss {
            total,
            action_error,
            divergence,
        }
    }

    /// Observations and styles, `[batch, style]` or zero, to actions.
    fn decode(
        &self,
        observations: &PolicyObservations,
        latent: Option<Tensor<2>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let context = self.sense(observations, latent, dropout);
        let batch = context.tokens.dims()[0];
        let positions = self.queries.val().unsqueeze::<3>(); // [1, action_horizon, width]
        let mut tokens = positions.zeros_like().repeat_dim(0, batch);
        for block in &self.decoder.blocks {
            let positions = positions.clone();
            let input = Placed { tokens, positions };
            tokens = block.forward_with_context(input, &context, dropout);
        }
        self.action.forward(self.decoder.finish(tokens))
    }

    /// The encoder's tokens.
    fn sense(
        &self,
        observations: &PolicyObservations,
        latent: Option<Tensor<2>>,
        dropout: &mut Dropout<'_>,
    ) -> Placed {
        let states = [
            (&self.state, &observations.state),
            (&self.environment_state, &observations.environment_state),
        ];
        let states: Vec<_> = states
            .into_iter()
            .filter_map(|(layer, value)| {
                let layer = layer.as_ref()?;
                let value = value.clone();
                Some(layer.forward(value.expect("the state that the policy takes")))
            })
            .collect();
        let device = self.latent.weight.val().device();
        let batch = match observations.images.first() {
            Some(images) => images.dims()[0],
            None => states.first().map_or(0, |state| state.dims()[0]),
        };
        let latent = latent.unwrap_or_else(|| Tensor::zeros([batch, self.config.style], &device));
        let latent = self.latent.forward(latent).unsqueeze_dim::<3>(1);
        let mut tokens: Vec<Tensor<3>> = [latent].into_iter().chain(states).collect();
        let mut positions = vec![self.positions.val()];
        if let Some(vision) = &self.vision {
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
        Placed {
            tokens: self.encoder.finish(tokens),
            positions,
        }
    }
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
