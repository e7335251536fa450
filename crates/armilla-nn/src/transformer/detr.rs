//! DETR's transformer layers, as ACT has them: positions are added to queries and keys of each layer, and not to values.
//!
//! [Carion et al.](https://arxiv.org/abs/2005.12872); normalised after each half as published, or before it.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};

use super::Cross;
use crate::Activation;
use crate::attention::{Attention, AttentionConfig};
use crate::dropout::Dropout;
use crate::layers::{LayerNorm, LayerNormConfig, Mlp, MlpConfig};

/// How to build a [`DetrBlock`].
#[derive(Config, Debug)]
pub struct DetrBlockConfig {
    /// Features of a token.
    pub dim: usize,
    /// Heads of attention, which share the features.
    pub heads: usize,
    /// Hidden features of the feed-forward network.
    pub hidden: usize,
    /// Whether the block also attends to a context: a layer of the decoder.
    #[config(default = false)]
    pub cross: bool,
    /// Whether normalisation stands before each half instead of after it.
    #[config(default = false)]
    pub norm_first: bool,
    /// The feed-forward network's non-linearity.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl DetrBlockConfig {
    /// Builds it with fresh weights.
    #[must_use]
    pub fn init(&self, device: &Device) -> DetrBlock {
        let norm = || LayerNormConfig::new(self.dim).init(device);
        let attention = || AttentionConfig::new(self.dim, self.heads).init(device);
        DetrBlock {
            attention: attention(),
            attention_norm: norm(),
            cross: self.cross.then(|| Cross {
                norm: norm(),
                attention: attention(),
            }),
            feed_forward: MlpConfig::new(self.dim, self.hidden, self.dim)
                .with_activation(self.activation)
                .init(device),
            feed_forward_norm: norm(),
            norm_first: self.norm_first,
        }
    }
}

/// Tokens and where they are.
#[derive(Clone, Debug)]
pub struct Placed {
    /// `[batch, tokens, dim]`.
    pub tokens: Tensor<3>,
    /// Embedded positions, `[1 or batch, tokens, dim]`.
    pub positions: Tensor<3>,
}

impl Placed {
    fn sum(&self) -> Tensor<3> {
        self.tokens.clone() + self.positions.clone()
    }
}

/// Self-attention, by configuration cross-attention, and a feed-forward network, each added to its input.
#[derive(Module, Debug)]
pub struct DetrBlock {
    attention: Attention,
    attention_norm: LayerNorm,
    cross: Option<Cross>,
    feed_forward: Mlp,
    feed_forward_norm: LayerNorm,
    #[module(skip)]
    norm_first: bool,
}

impl DetrBlock {
    /// Applies a layer of the encoder.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, tokens, dim]`, and the same out
    /// - mask: `[batch or 1, tokens, tokens]`, true where a token may *not* look
    #[must_use]
    pub fn forward(
        &self,
        input: Placed,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        assert!(self.cross.is_none(), "a decoder's layer needs a context");
        let tokens = self.attend_to_self(input, mask, dropout);
        self.feed(tokens, dropout)
    }

    /// Applies a layer of the decoder, built `with_cross(true)`.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, tokens, dim]`, and the same out
    /// - context: `[batch, context, dim]`
    #[must_use]
    pub fn forward_with_context(
        &self,
        input: Placed,
        context: &Placed,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let cross = self.cross.as_ref();
        let cross = cross.expect("a layer that attends to a context is built with_cross(true)");
        let positions = input.positions.clone();
        let tokens = self.attend_to_self(input, None, dropout);
        let tokens = self.half(tokens, &cross.norm, |normed| {
            let query = normed + positions;
            let each = [query, context.sum(), context.tokens.clone()];
            let attended = cross.attention.forward_each(each, None, dropout);
            dropout.apply(attended)
        });
        self.feed(tokens, dropout)
    }

    fn attend_to_self(
        &self,
        input: Placed,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let Placed { tokens, positions } = input;
        self.half(tokens, &self.attention_norm, |tokens| {
            let placed = Placed { tokens, positions };
            let sum = placed.sum();
            let each = [sum.clone(), sum, placed.tokens];
            let attended = self.attention.forward_each(each, mask, dropout);
            dropout.apply(attended)
        })
    }

    fn feed(&self, tokens: Tensor<3>, dropout: &mut Dropout<'_>) -> Tensor<3> {
        self.half(tokens, &self.feed_forward_norm, |tokens| {
            self.feed_forward.forward_with(tokens, dropout)
        })
    }

    /// Adds what a half makes of its tokens, normalised before or after.
    fn half(
        &self,
        tokens: Tensor<3>,
        norm: &LayerNorm,
        apply: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        if self.norm_first {
            return tokens.clone() + apply(norm.forward(tokens));
        }
        norm.forward(tokens.clone() + apply(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;
    use armilla_core::random::stream;

    fn placed(name: &str, tokens: usize) -> Placed {
        let draw = |name| random::normal(&mut stream(0, name, 0), [2, tokens, 8], &Device::flex());
        Placed {
            tokens: draw(name),
            positions: draw("positions"),
        }
    }

    #[test]
    fn positions_context_and_place_of_the_norm_count() {
        let config = DetrBlockConfig::new(8, 2, 12).with_cross(true);
        let [after, before] = [false, true].map(|first| {
            let build = || config.clone().with_norm_first(first).init(&Device::flex());
            random::seeded(&Device::flex(), 0, build)
        });
        let forward = |block: &DetrBlock, input: Placed, context: &str| {
            let context = placed(context, 5);
            let output = block.forward_with_context(input, &context, &mut Dropout::Off);
            assert_eq!(output.dims(), [2, 3, 8]);
            output.into_data()
        };
        let found = forward(&after, placed("tokens", 3), "context");
        assert_ne!(found, forward(&before, placed("tokens", 3), "context"));
        assert_ne!(found, forward(&after, placed("tokens", 3), "other"));
        let mut moved = placed("tokens", 3);
        moved.positions = moved.positions * 2.0;
        assert_ne!(found, forward(&after, moved, "context"));
    }
}
