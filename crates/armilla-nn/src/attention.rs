//! Multi-head attention: the one place of it.
//!
//! Written as matmul and softmax, because burn's fused attention has no backward pass.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

/// Stands for minus infinity: a row that may look nowhere becomes uniform, not NaN.
const MASKED: f32 = -1e9;

/// How to build an [`Attention`].
#[derive(Config, Debug)]
pub struct AttentionConfig {
    /// Features of a token.
    pub dim: usize,
    /// Heads, which share the features equally.
    pub heads: usize,
}

impl AttentionConfig {
    /// Weights uniform in `±1 / sqrt(dim)`.
    #[must_use]
    pub fn init(&self, device: &Device) -> Attention {
        assert!(
            self.heads > 0 && self.dim % self.heads == 0,
            "attention shares {} features among {} heads, which must divide them",
            self.dim,
            self.heads
        );
        let linear = || LinearConfig::new(self.dim, self.dim).init(device);
        Attention {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            heads: self.heads,
        }
    }
}

/// Multi-head attention of query tokens to context tokens.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    /// Attends.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, query, dim]`
    /// - context: `[batch, context, dim]`
    /// - mask: `[batch or 1, query, context]`, true where a query may *not* look
    /// - output: `[batch, query, dim]`
    #[must_use]
    pub fn forward(
        &self,
        query: Tensor<3>,
        context: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
    ) -> Tensor<3> {
        let [batch, queries, dim] = query.dims();
        let query = self.split(self.query.forward(query));
        let key = self.split(self.key.forward(context.clone()));
        let value = self.split(self.value.forward(context));
        let attended = attend(query, key, value, mask); // [batch, head, query, dim / heads]
        let merged = attended.swap_dims(1, 2).reshape([batch, queries, dim]);
        self.output.forward(merged)
    }

    /// `[batch, tokens, dim]` to `[batch, head, tokens, dim / heads]`.
    fn split(&self, tokens: Tensor<3>) -> Tensor<4> {
        let [batch, count, dim] = tokens.dims();
        tokens
            .reshape([batch, count, self.heads, dim / self.heads])
            .swap_dims(1, 2)
    }
}

/// Scaled dot-product attention.
///
/// # Shapes
///
/// - query: `[batch, head, query, features]`
/// - key, value: `[batch, head, context, features]`
/// - mask: `[batch or 1, query, context]`, true where a query may *not* look
/// - output: `[batch, head, query, features]`
#[must_use]
pub fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<Tensor<3, Bool>>,
) -> Tensor<4> {
    let [batch, heads, queries, features] = query.dims();
    let tokens = key.dims()[2];
    let scale = 1.0 / (features as f64).sqrt();
    let mut scores = query.mul_scalar(scale).matmul(key.swap_dims(2, 3)); // [batch, head, query, context]
    if let Some(mask) = mask {
        let mask = mask
            .unsqueeze_dim::<4>(1)
            .expand([batch, heads, queries, tokens]);
        scores = scores.mask_fill(mask, MASKED);
    }
    activation::softmax(scores, 3).matmul(value)
}

/// The mask under which a token sees itself and what came before it.
///
/// # Shapes
///
/// - output: `[1, tokens, tokens]`
#[must_use]
pub fn causal_mask(tokens: usize, device: &Device) -> Tensor<3, Bool> {
    let hidden: Vec<bool> = (0..tokens * tokens)
        .map(|index| index % tokens > index / tokens)
        .collect();
    Tensor::from_data(TensorData::new(hidden, [1, tokens, tokens]), device)
}
