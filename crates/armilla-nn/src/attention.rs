//! Multi-head attention: the one place of it.
//!
//! On the CPU one fused operation; elsewhere matmul and softmax, because burn's fused attention has no backward pass.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

use crate::dropout::Dropout;
use crate::fused;
use crate::layers::{Linear, LinearConfig};
use crate::precision::{narrow, widen};

/// Stands for minus infinity: a row that may look nowhere becomes uniform, not NaN.
const MASKED: f32 = -1e9;

/// How to build an [`Attention`].
#[derive(Config, Debug)]
pub struct AttentionConfig {
    /// Features of a token.
    pub dim: usize,
    /// Heads, which share the inner features equally.
    pub heads: usize,
    /// Features of all heads together; those of a token unless given.
    pub inner: Option<usize>,
    /// Whether query, key and value have a bias.
    #[config(default = true)]
    pub bias: bool,
}

impl AttentionConfig {
    /// Weights uniform in `±1 / sqrt(dim)`.
    #[must_use]
    pub fn init(&self, device: &Device) -> Attention {
        let inner = self.inner.unwrap_or(self.dim);
        assert!(
            self.heads > 0 && inner.is_multiple_of(self.heads),
            "attention shares {inner} features among {} heads, which must divide them",
            self.heads
        );
        let linear = || {
            LinearConfig::new(self.dim, inner)
                .with_bias(self.bias)
                .init(device)
        };
        Attention {
            query: linear(),
            key: linear(),
            value: linear(),
            output: LinearConfig::new(inner, self.dim).init(device),
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
        self.forward_with(query, context, mask, &mut Dropout::Off)
    }

    /// [`Self::forward`] in training: drops weights between tokens.
    ///
    /// # Shapes
    ///
    /// - as [`Self::forward`]
    #[must_use]
    pub fn forward_with(
        &self,
        query: Tensor<3>,
        context: Tensor<3>,
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        self.forward_each([query, context.clone(), context], mask, dropout)
    }

    /// [`Self::forward_with`] where keys and values come from different tokens, such as those with and without their positions.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, query, dim]`, and the same out
    /// - key, value: `[batch, context, dim]`
    /// - mask: as of [`Self::forward`]
    #[must_use]
    pub fn forward_each(
        &self,
        [query, key, value]: [Tensor<3>; 3],
        mask: Option<Tensor<3, Bool>>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let tokens = [
            self.query.forward(query),
            self.key.forward(key),
            self.value.forward(value),
        ];
        self.output
            .forward(attend_with(tokens, mask, self.heads, dropout))
    }
}

/// Scaled dot-product attention, the heads side by side in each token.
///
/// # Shapes
///
/// - query: `[batch, query, heads * features]`, and the same out
/// - key, value: `[batch, context, heads * features]`
/// - mask: `[batch or 1, query, context]`, true where a query may *not* look
#[must_use]
pub fn attend(tokens: [Tensor<3>; 3], mask: Option<Tensor<3, Bool>>, heads: usize) -> Tensor<3> {
    attend_with(tokens, mask, heads, &mut Dropout::Off)
}

/// [`attend`], with weights dropped in training: the fused operation keeps no weights to drop.
fn attend_with(
    [query, key, value]: [Tensor<3>; 3],
    mask: Option<Tensor<3, Bool>>,
    heads: usize,
    dropout: &mut Dropout<'_>,
) -> Tensor<3> {
    if fused::multiplies_on(&query.device()) && dropout.is_off() {
        let mask = mask.map(|mask| mask.float() * MASKED);
        return armilla_kernels::attend([query, key, value], mask, heads);
    }
    let [batch, queries, dim] = query.dims();
    let [query, key, value] = [query, key, value].map(|tokens| {
        let [batch, count, dim] = tokens.dims();
        tokens
            .reshape([batch, count, heads, dim / heads])
            .swap_dims(1, 2) // [batch, head, tokens, features]
    });
    by_operations([query, key, value], mask, dropout)
        .swap_dims(1, 2)
        .reshape([batch, queries, dim])
}

/// Attention by burn's operations: its fused one has no backward pass.
///
/// # Shapes
///
/// - query: `[batch, head, query, features]`, and the same out
/// - key, value: `[batch, head, context, features]`
/// - mask: `[batch or 1, query, context]`, true where a query may *not* look
fn by_operations(
    [query, key, value]: [Tensor<4>; 3],
    mask: Option<Tensor<3, Bool>>,
    dropout: &mut Dropout<'_>,
) -> Tensor<4> {
    let [batch, heads, queries, features] = query.dims();
    let tokens = key.dims()[2];
    let scale = 1.0 / (features as f64).sqrt();
    let query = narrow(query.mul_scalar(scale));
    let mut scores = widen(query.matmul(narrow(key).swap_dims(2, 3))); // [batch, head, query, context]
    if let Some(mask) = mask {
        let mask = mask
            .unsqueeze_dim::<4>(1)
            .expand([batch, heads, queries, tokens]);
        scores = scores.mask_fill(mask, MASKED);
    }
    let weights = narrow(dropout.apply(activation::softmax(scores, 3)));
    widen(weights.matmul(narrow(value)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Precision, random};
    use armilla_core::random::stream;
    use burn::tensor::Tolerance;
    use burn::tensor::module::attention;
    use burn::tensor::ops::AttentionModuleOptions;

    #[test]
    fn both_ways_agree_with_burns() {
        let device = Device::flex();
        let draw = |name, shape| random::normal(&mut stream(0, name, 0), shape, &device);
        let tokens = [
            draw("query", [2, 5, 12]),
            draw("key", [2, 5, 12]),
            draw("value", [2, 5, 12]),
        ];
        let split = |tokens: Tensor<3>| tokens.reshape([2, 5, 3, 4]).swap_dims(1, 2);
        for masked in [false, true] {
            let mask = masked.then(|| causal_mask(5, &device));
            let wide = mask
                .clone()
                .map(|mask| mask.unsqueeze_dim::<4>(1).expand([2, 3, 5, 5]));
            let [query, key, value] = tokens.clone().map(split);
            let options = AttentionModuleOptions::default();
            let expected = attention(
                query.clone(),
                key.clone(),
                value.clone(),
                wide,
                None,
                options,
            );
            let expected = expected.into_data();
            let close = |found: Tensor<4>| {
                found
                    .into_data()
                    .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
            };
            let off = &mut Dropout::Off;
            close(by_operations([query, key, value], mask.clone(), off));
            close(split(attend(tokens.clone(), mask.clone(), 3)));
            let rounded = Precision::Bf16.scope(|| split(attend(tokens.clone(), mask, 3)));
            let near = Tolerance::rel_abs(0.02, 0.02);
            rounded.into_data().assert_approx_eq::<f32>(&expected, near);
        }
    }

    #[test]
    fn the_layer_runs_forwards_and_backwards() {
        let device = Device::flex().autodiff();
        let layer = AttentionConfig::new(8, 2).init(&device);
        let draw = |name, shape| random::normal::<3>(&mut stream(0, name, 0), shape, &device);
        let (query, context) = (draw("query", [2, 3, 8]), draw("context", [2, 5, 8]));
        let weights = draw("weights", [2, 3, 8]);
        let loss = |query: Tensor<3>| {
            let output = layer.forward(query, context.clone(), None);
            assert_eq!(output.dims(), [2, 3, 8]);
            (output * weights.clone()).sum()
        };
        let query = query.require_grad();
        let gradient = query.grad(&loss(query.clone()).backward()).unwrap();
        for index in [[0, 0, 0], [1, 2, 7], [0, 1, 4]] {
            let at = index.map(|i| i..i + 1);
            let moved = |by: f64| {
                let query = query.clone().detach();
                let there = query.clone().slice(at.clone()).add_scalar(by);
                loss(query.slice_assign(at.clone(), there)).into_scalar::<f32>()
            };
            let slope = (moved(0.05) - moved(-0.05)) / 0.1;
            let found = gradient.clone().slice(at).into_scalar::<f32>();
            assert!((slope - found).abs() < 1e-3, "{index:?}: {slope} {found}");
            assert!(
                found.abs() > 1e-5,
                "{index:?}: a slope of nothing tells nothing"
            );
        }
    }

    #[test]
    fn a_masked_token_changes_nothing_and_a_blind_one_is_finite() {
        let device = Device::flex();
        let layer = AttentionConfig::new(4, 2).init(&device);
        let context = |last: f64| {
            let last = Tensor::full([1, 1, 4], last, &device);
            Tensor::cat(vec![Tensor::ones([1, 2, 4], &device), last], 1)
        };
        let forward = |last, mask: [[bool; 3]; 2]| {
            let mask = Tensor::from_data([mask], &device);
            let query = Tensor::ones([1, 2, 4], &device);
            layer.forward(query, context(last), Some(mask)).into_data()
        };
        let hide_last = [[false, false, true]; 2];
        assert_eq!(forward(1.0, hide_last), forward(7.0, hide_last));
        assert!(
            forward(1.0, [[true; 3]; 2])
                .iter::<f32>()
                .all(f32::is_finite)
        );
    }
}
