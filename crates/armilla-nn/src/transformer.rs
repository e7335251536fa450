//! Transformer blocks: pre-norm, with optional cross-attention; and AdaLN-zero, conditioned by a vector.
//!
//! The conditioned block follows DiT (<https://arxiv.org/abs/2212.09748>): shift, scale and gate of both halves come from one
//! linear layer that starts at zero, so a fresh block is the identity.

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::tensor::{Bool, Device, Tensor};

use crate::Activation;
use crate::attention::{Attention, AttentionConfig};
use crate::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig, layer_norm};

const EPSILON: f64 = 1e-5;

/// How to build a [`Block`].
#[derive(Config, Debug)]
pub struct BlockConfig {
    /// Features of a token.
    pub dim: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Hidden features of the feed-forward network over `dim`.
    #[config(default = 4)]
    pub ratio: usize,
    /// Hidden features of the feed-forward network, in place of `ratio`.
    pub hidden: Option<usize>,
    /// Whether the block also attends to a context.
    #[config(default = false)]
    pub cross: bool,
    /// Added to the variances of the normalisations.
    #[config(default = "EPSILON")]
    pub epsilon: f64,
    /// The feed-forward network's non-linearity.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl BlockConfig {
    /// Builds it with fresh weights.
    #[must_use]
    pub fn init(&self, device: &Device) -> Block {
        let norm = || {
            LayerNormConfig::new(self.dim)
                .with_epsilon(self.epsilon)
                .init(device)
        };
        let attention = || AttentionConfig::new(self.dim, self.heads).init(device);
        Block {
            attention_norm: norm(),
            attention: attention(),
            cross: self.cross.then(|| Cross {
                norm: norm(),
                attention: attention(),
            }),
            feed_forward_norm: norm(),
            feed_forward: feed_forward(
                self.dim,
                self.hidden.unwrap_or(self.ratio * self.dim),
                self.activation,
            )
            .init(device),
        }
    }
}

/// A pre-norm block: self-attention, by configuration cross-attention, feed-forward, each added to its input.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    cross: Option<Cross>,
    feed_forward_norm: LayerNorm,
    feed_forward: Mlp,
}

#[derive(Module, Debug)]
struct Cross {
    norm: LayerNorm,
    attention: Attention,
}

/// What a block's tokens attend to beside themselves.
#[derive(Clone, Debug)]
pub struct Context {
    /// `[batch, context, dim]`.
    pub tokens: Tensor<3>,
    /// `[batch or 1, tokens, context]`, true where a token may *not* look.
    pub mask: Option<Tensor<3, Bool>>,
}

impl Block {
    /// Applies the block without a context.
    ///
    /// # Shapes
    ///
    /// - tokens and output: `[batch, tokens, dim]`
    /// - mask: `[batch or 1, tokens, tokens]`, true where a token may *not* look
    #[must_use]
    pub fn forward(&self, tokens: Tensor<3>, mask: Option<Tensor<3, Bool>>) -> Tensor<3> {
        assert!(
            self.cross.is_none(),
            "a block with cross-attention needs a context: forward_with_context"
        );
        let tokens = self.attend_to_self(tokens, mask);
        self.feed(tokens)
    }

    /// Applies a block built `with_cross(true)`.
    ///
    /// # Shapes
    ///
    /// - tokens and output: `[batch, tokens, dim]`
    /// - mask: `[batch or 1, tokens, tokens]`, true where a token may *not* look
    #[must_use]
    pub fn forward_with_context(
        &self,
        tokens: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
        context: &Context,
    ) -> Tensor<3> {
        let tokens = self.attend_to_self(tokens, mask);
        let tokens = match &self.cross {
            None => {
                panic!("a block without cross-attention got a context: build it with_cross(true)")
            }
            Some(cross) => {
                let query = cross.norm.forward(tokens.clone());
                let Context { tokens: keys, mask } = context.clone();
                tokens + cross.attention.forward(query, keys, mask)
            }
        };
        self.feed(tokens)
    }

    fn attend_to_self(&self, tokens: Tensor<3>, mask: Option<Tensor<3, Bool>>) -> Tensor<3> {
        let normed = self.attention_norm.forward(tokens.clone());
        tokens + self.attention.forward(normed.clone(), normed, mask)
    }

    fn feed(&self, tokens: Tensor<3>) -> Tensor<3> {
        let normed = self.feed_forward_norm.forward(tokens.clone());
        tokens + self.feed_forward.forward(normed)
    }
}

/// How to build an [`AdaLnBlock`].
#[derive(Config, Debug)]
pub struct AdaLnBlockConfig {
    /// Features of a token and of the condition.
    pub dim: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Hidden features of the feed-forward network over `dim`.
    #[config(default = 4)]
    pub ratio: usize,
    /// Hidden features of the feed-forward network, in place of `ratio`.
    pub hidden: Option<usize>,
    /// How to build its attention, in place of `heads` that share the features of a token.
    pub attention: Option<AttentionConfig>,
    /// The feed-forward network's non-linearity.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl AdaLnBlockConfig {
    /// Builds it with fresh weights, the modulation's all zero.
    #[must_use]
    pub fn init(&self, device: &Device) -> AdaLnBlock {
        AdaLnBlock {
            modulation: LinearConfig::new(self.dim, 6 * self.dim)
                .with_initializer(Some(Initializer::Zeros))
                .init(device),
            attention: self
                .attention
                .clone()
                .unwrap_or_else(|| AttentionConfig::new(self.dim, self.heads))
                .init(device),
            feed_forward: feed_forward(
                self.dim,
                self.hidden.unwrap_or(self.ratio * self.dim),
                self.activation,
            )
            .init(device),
        }
    }
}

/// A block whose normalisation and residuals are set by a condition; the identity before training.
#[derive(Module, Debug)]
pub struct AdaLnBlock {
    modulation: Linear,
    attention: Attention,
    feed_forward: Mlp,
}

impl AdaLnBlock {
    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - tokens and output: `[batch, tokens, dim]`
    /// - condition: `[batch, tokens, dim]`, or `[batch, 1, dim]` for all tokens alike
    /// - mask: `[batch or 1, tokens, tokens]`, true where a token may *not* look
    #[must_use]
    pub fn forward(
        &self,
        tokens: Tensor<3>,
        condition: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
    ) -> Tensor<3> {
        let [_, _, dim] = tokens.dims();
        let modulation = self.modulation.forward(Activation::Silu.forward(condition));
        let part = |index: usize| modulation.clone().narrow(2, index * dim, dim);
        let normed = modulate(tokens.clone(), part(0), part(1));
        let attended = self.attention.forward(normed.clone(), normed, mask);
        let tokens = tokens + attended * part(2);
        let normed = modulate(tokens.clone(), part(3), part(4));
        tokens + self.feed_forward.forward(normed) * part(5)
    }
}

fn feed_forward(dim: usize, hidden: usize, activation: Activation) -> MlpConfig {
    MlpConfig::new(dim, hidden, dim).with_activation(activation)
}

/// Normalises each token, then scales by `1 + scale` and shifts.
fn modulate(tokens: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    let (width, device) = ([tokens.dims()[2]], tokens.device());
    let neutral = [Tensor::ones(width, &device), Tensor::zeros(width, &device)];
    layer_norm(tokens, neutral, EPSILON) * (scale + 1.0) + shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::causal_mask;
    use crate::random;
    use armilla_core::random::stream;

    fn draw(name: &str, shape: [usize; 3]) -> Tensor<3> {
        random::normal(&mut stream(0, name, 0), shape, &Device::flex())
    }

    #[test]
    fn a_fresh_conditioned_block_is_the_identity() {
        let block = AdaLnBlockConfig::new(8, 2).init(&Device::flex());
        let tokens = draw("tokens", [2, 3, 8]);
        for condition in [draw("one", [2, 1, 8]), draw("each", [2, 3, 8])] {
            let output = block.forward(tokens.clone(), condition, None);
            output.into_data().assert_eq(&tokens.to_data(), true);
        }
    }

    #[test]
    fn every_parameter_of_a_conditioned_block_learns() {
        let device = Device::flex().autodiff();
        let block = AdaLnBlockConfig::new(8, 2).init(&device);
        let tokens = Tensor::from_inner(draw("tokens", [2, 3, 8]));
        let condition = Tensor::from_inner(draw("condition", [2, 1, 8]));
        let gradients = block
            .forward(tokens, condition, None)
            .powi_scalar(2)
            .sum()
            .backward();
        let gradient = block.modulation.weight.val().grad(&gradients).unwrap();
        // Gates learn at once; shifts and scales only once a gate is open.
        let sum = |start| {
            gradient
                .clone()
                .narrow(1, start, 8)
                .abs()
                .sum()
                .into_scalar::<f32>()
        };
        assert!(sum(16) > 0.0 && sum(40) > 0.0, "gates");
        assert!(sum(0) == 0.0 && sum(24) == 0.0, "shifts");
    }

    #[test]
    fn a_causal_block_does_not_see_the_future() {
        let device = Device::flex();
        let block = BlockConfig::new(8, 2).init(&device);
        let tokens = draw("tokens", [1, 4, 8]);
        let changed = tokens
            .clone()
            .slice_assign([0..1, 3..4, 0..8], draw("new", [1, 1, 8]));
        let forward = |tokens| block.forward(tokens, Some(causal_mask(4, &device)));
        let past = |output: Tensor<3>| output.narrow(1, 0, 3).into_data();
        assert_eq!(
            past(forward(tokens.clone())),
            past(forward(changed.clone()))
        );
        assert_ne!(forward(tokens).into_data(), forward(changed).into_data());
    }

    #[test]
    fn a_cross_block_reads_its_context() {
        let block = BlockConfig::new(8, 2)
            .with_cross(true)
            .with_ratio(2)
            .init(&Device::flex());
        let forward = |name| {
            let tokens = draw(name, [2, 5, 8]);
            let context = Context { tokens, mask: None };
            block.forward_with_context(draw("tokens", [2, 3, 8]), None, &context)
        };
        assert_eq!(forward("a").dims(), [2, 3, 8]);
        assert_ne!(forward("a").into_data(), forward("b").into_data());
    }
}
