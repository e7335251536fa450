//! Transformer blocks: pre-norm, with optional cross-attention; AdaLN-zero, conditioned by a vector; and DETR's.

mod ada_ln;
mod detr;

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Bool, Device, Tensor};

use crate::Activation;
use crate::attention::{Attention, AttentionConfig};
use crate::dropout::Dropout;
use crate::layers::{LayerNorm, LayerNormConfig, Mlp, MlpConfig};

pub use ada_ln::{AdaLnBlock, AdaLnBlockConfig};
pub use detr::{DetrBlock, DetrBlockConfig, Placed};

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
    /// How to build its attention, in place of `heads` that share the features of a token.
    pub attention: Option<AttentionConfig>,
    /// First value of the factors that scale what attention and feed-forward network add, a feature each, as in DINOv2; none without.
    pub layer_scale: Option<f64>,
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
        let attention = self.attention.clone();
        let attention = attention.unwrap_or_else(|| AttentionConfig::new(self.dim, self.heads));
        let attention = || attention.init(device);
        let scale = || {
            let start = |value| Initializer::Constant { value }.init([self.dim], device);
            self.layer_scale.map(start)
        };
        Block {
            attention_norm: norm(),
            attention: attention(),
            attention_scale: scale(),
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
            feed_forward_scale: scale(),
        }
    }
}

/// A pre-norm block: self-attention, by configuration cross-attention, feed-forward, each added to its input.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    attention_scale: Option<Param<Tensor<1>>>,
    cross: Option<Cross>,
    feed_forward_norm: LayerNorm,
    feed_forward: Mlp,
    feed_forward_scale: Option<Param<Tensor<1>>>,
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
        self.forward_with(tokens, mask, &mut Dropout::Off)
    }

    /// [`Self::forward`] in training: drops weights of attention, and what each layer of both halves puts out.
    ///
    /// # Shapes
    ///
    /// - as [`Self::forward`]
    #[must_use]
    pub fn forward_with(
        &self,
        tokens: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        assert!(
            self.cross.is_none(),
            "a block with cross-attention needs a context: forward_with_context"
        );
        let tokens = self.attend_to_self(tokens, mask, dropout);
        self.feed(tokens, dropout)
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
        let tokens = self.attend_to_self(tokens, mask, &mut Dropout::Off);
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
        self.feed(tokens, &mut Dropout::Off)
    }

    fn attend_to_self(
        &self,
        tokens: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let normed = self.attention_norm.forward(tokens.clone());
        let attention = &self.attention;
        let attended = attention.forward_with(normed.clone(), normed, mask, dropout);
        tokens + scaled(dropout.apply(attended), self.attention_scale.as_ref())
    }

    fn feed(&self, tokens: Tensor<3>, dropout: &mut Dropout<'_>) -> Tensor<3> {
        let normed = self.feed_forward_norm.forward(tokens.clone());
        let fed = self.feed_forward.forward_with(normed, dropout);
        tokens + scaled(fed, self.feed_forward_scale.as_ref())
    }
}

/// Scales each feature by its factor, where a block has any.
fn scaled(tokens: Tensor<3>, factors: Option<&Param<Tensor<1>>>) -> Tensor<3> {
    match factors {
        Some(factors) => tokens * factors.val().unsqueeze(),
        None => tokens,
    }
}

fn feed_forward(dim: usize, hidden: usize, activation: Activation) -> MlpConfig {
    MlpConfig::new(dim, hidden, dim).with_activation(activation)
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
