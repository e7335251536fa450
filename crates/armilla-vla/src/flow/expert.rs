//! The action expert: noisy actions and a context to clean actions.
//!
//! One token an action. It reads the context by cross-attention once, and its summary at every block as AdaLN's condition.

use armilla_nn::attention::{Attention, AttentionConfig};
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use armilla_nn::positions::time_embedding;
use armilla_nn::transformer::{AdaLnBlock, AdaLnBlockConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::FlowPolicyConfig;
use super::readout::Context;

/// Each row `times` times, one copy after the other.
pub(crate) fn repeated(rows: Tensor<3>, times: usize) -> Tensor<3> {
    let [batch, tokens, width] = rows.dims();
    rows.unsqueeze_dim::<4>(1)
        .expand([batch, times, tokens, width])
        .reshape([batch * times, tokens, width])
}

/// Noisy actions and a context to clean ones.
#[derive(Module, Debug)]
pub(crate) struct ActionExpert {
    action_in: Linear,
    positions: Param<Tensor<2>>,
    time: Linear,
    cross_norm: LayerNorm,
    cross: Attention,
    blocks: Vec<AdaLnBlock>,
    norm: LayerNorm,
    action_out: Linear,
}

impl ActionExpert {
    pub(crate) fn new(config: &FlowPolicyConfig, action: usize, device: &Device) -> Self {
        let width = config.width;
        let positions = Initializer::Normal {
            mean: 0.0,
            std: 0.5,
        };
        Self {
            action_in: LinearConfig::new(action, width).init(device),
            positions: positions.init([config.action_horizon, width], device),
            time: LinearConfig::new(width, width).init(device),
            cross_norm: LayerNormConfig::new(width).init(device),
            cross: AttentionConfig::new(width, config.heads).init(device),
            blocks: (0..config.expert_blocks)
                .map(|_| {
                    AdaLnBlockConfig::new(width, config.heads)
                        .with_ratio(2)
                        .init(device)
                })
                .collect(),
            norm: LayerNormConfig::new(width).init(device),
            action_out: LinearConfig::new(width, action).init(device),
        }
    }

    /// The clean actions behind noisy ones. There may be several draws for each row of the context, one after the other.
    ///
    /// # Shapes
    ///
    /// - point: `[batch * draws, action_horizon, action]`, and the same out
    /// - time: `[batch * draws]`
    pub(crate) fn clean(&self, point: Tensor<3>, time: Tensor<1>, context: &Context) -> Tensor<3> {
        let [rows, horizon, _] = point.dims();
        let [batch, keys, width] = context.tokens.dims();
        let draws = rows / batch;
        let summary = repeated(context.summary.clone().unsqueeze_dim(1), draws); // [rows, 1, width]
        let embedded: Tensor<3> = self
            .time
            .forward(time_embedding(time, width))
            .unsqueeze_dim(1);
        let condition = summary + embedded;

        let tokens = self.action_in.forward(point) + self.positions.val().unsqueeze();
        let tokens = (tokens + condition.clone()).reshape([batch, draws * horizon, width]);
        let mask =
            context
                .is_pad
                .clone()
                .unsqueeze_dim::<3>(1)
                .expand([batch, draws * horizon, keys]);
        let query = self.cross_norm.forward(tokens.clone());
        let read = self
            .cross
            .forward(query, context.tokens.clone(), Some(mask));
        let mut tokens = (tokens + read).reshape([rows, horizon, width]);
        for block in &self.blocks {
            tokens = block.forward(tokens, condition.clone(), None);
        }
        self.action_out.forward(self.norm.forward(tokens)) // [batch * draws, action_horizon, action]
    }

    /// Where the weights live.
    pub(crate) fn device(&self) -> Device {
        self.positions.val().device()
    }
}
