//! The AdaLN-zero block: normalisation and residuals set by a condition.
//!
//! It follows DiT (<https://arxiv.org/abs/2212.09748>): shift, scale and gate of both halves come from one linear layer that starts
//! at zero, so a fresh block is the identity.

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::tensor::{Bool, Device, Tensor};

use super::feed_forward;
use crate::Activation;
use crate::attention::{Attention, AttentionConfig};
use crate::dropout::Dropout;
use crate::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, layer_norm};

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
    /// Whether attention and feed-forward network each begin with a layer normalisation of their own, as in LeWorldModel.
    #[config(default = false)]
    pub inner_norm: bool,
    /// Added to the variances of the normalisations that the condition sets.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The feed-forward network's non-linearity.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl AdaLnBlockConfig {
    /// Builds it with fresh weights, the modulation's all zero.
    #[must_use]
    pub fn init(&self, device: &Device) -> AdaLnBlock {
        let attention = self.attention.clone();
        let attention = attention.unwrap_or_else(|| AttentionConfig::new(self.dim, self.heads));
        let hidden = self.hidden.unwrap_or(self.ratio * self.dim);
        let inner = || LayerNormConfig::new(self.dim).init(device);
        AdaLnBlock {
            modulation: LinearConfig::new(self.dim, 6 * self.dim)
                .with_initializer(Some(Initializer::Zeros))
                .init(device),
            attention_norm: self.inner_norm.then(inner),
            attention: attention.init(device),
            feed_forward_norm: self.inner_norm.then(inner),
            feed_forward: feed_forward(self.dim, hidden, self.activation).init(device),
            epsilon: self.epsilon,
        }
    }
}

/// A block whose normalisation and residuals are set by a condition; the identity before training.
#[derive(Module, Debug)]
pub struct AdaLnBlock {
    modulation: Linear,
    attention_norm: Option<LayerNorm>,
    attention: Attention,
    feed_forward_norm: Option<LayerNorm>,
    feed_forward: Mlp,
    #[module(skip)]
    epsilon: f64,
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
        self.forward_with(tokens, condition, mask, &mut Dropout::Off)
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
        condition: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let [_, _, dim] = tokens.dims();
        let modulation = self.modulation.forward(Activation::Silu.forward(condition));
        let part = |index: usize| modulation.clone().narrow(2, index * dim, dim);
        let normed = self.modulate(tokens.clone(), part(0), part(1));
        let normed = inner(self.attention_norm.as_ref(), normed);
        let attention = &self.attention;
        let attended = attention.forward_with(normed.clone(), normed, mask, dropout);
        let tokens = tokens + dropout.apply(attended) * part(2);
        let normed = self.modulate(tokens.clone(), part(3), part(4));
        let normed = inner(self.feed_forward_norm.as_ref(), normed);
        tokens + self.feed_forward.forward_with(normed, dropout) * part(5)
    }

    /// Normalises each token, then scales by `1 + scale` and shifts.
    fn modulate(&self, tokens: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
        let (width, device) = ([tokens.dims()[2]], tokens.device());
        let neutral = [Tensor::ones(width, &device), Tensor::zeros(width, &device)];
        layer_norm(tokens, neutral, self.epsilon) * (scale + 1.0) + shift
    }
}

fn inner(norm: Option<&LayerNorm>, tokens: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.forward(tokens),
        None => tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn gates_learn_first() {
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
    fn behind_open_gates_every_parameter_learns() {
        let device = Device::flex().autodiff();
        let config = AdaLnBlockConfig::new(8, 2).with_inner_norm(true);
        let mut block = config.init(&device);
        block.modulation = random::seeded(&device, 3, || LinearConfig::new(8, 48).init(&device));
        let tokens = Tensor::from_inner(draw("tokens", [2, 3, 8]));
        let condition = Tensor::from_inner(draw("condition", [2, 1, 8]));
        let output = block.forward(tokens.clone(), condition, None);
        let gradients = (output * tokens).sum().backward();
        let slopes = crate::checkpoint::gradients(&block, &gradients);
        let still = crate::checkpoint::weights(&block)
            .into_keys()
            .filter(|path| {
                let slopes = slopes.get(path).map(|slopes| slopes.iter::<f32>());
                !slopes.is_some_and(|mut slopes| slopes.any(|slope| slope.abs() > 1e-5))
            });
        let still: Vec<_> = still.collect();
        // A softmax does not see what is added to all keys alike.
        assert_eq!(still, ["attention.key.bias"]);
    }
}
