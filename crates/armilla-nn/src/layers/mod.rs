//! Layers over channels-last pictures and over rows of features.

mod mlp;
mod strided_conv;
mod up_conv;

pub use burn::nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
pub use mlp::{Mlp, MlpConfig};
pub use strided_conv::{StridedConv, StridedConvConfig};
pub use up_conv::{UpConv, UpConvConfig};

use burn::tensor::Tensor;

/// Batch normalisation of channels-last pictures, over all but the channels.
///
/// As everywhere with burn's `BatchNorm`: on an autodiff device it normalises with the batch's own mean and variance and moves
/// the running ones by `momentum` (0.1); on a plain device, so in a model after `valid()`, it uses the running ones. The running
/// variance is the biased one, where PyTorch keeps the unbiased. A clone shares its running statistics with the original.
///
/// # Shapes
///
/// - input and output: `[batch, height, width, channel]`
#[must_use]
pub fn batch_norm_channels_last(norm: &BatchNorm, input: Tensor<4>) -> Tensor<4> {
    let [batch, height, width, channel] = input.dims();
    norm.forward(input.reshape([batch * height * width, channel]))
        .reshape([batch, height, width, channel])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module as _;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn batch_norm_trains_on_the_batch_and_then_uses_running_statistics() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(1).init(&device);
        let input = Tensor::<4>::from_floats([[[[1.0], [3.0]]]], &device);
        let expect = |output: Tensor<4>, values: [f32; 2]| {
            let expected = TensorData::from([[[[values[0]], [values[1]]]]]);
            output
                .into_data()
                .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
        };
        expect(batch_norm_channels_last(&norm, input.clone()), [-1.0, 1.0]);
        // One update of momentum 0.1: mean 0.9 * 0 + 0.1 * 2, variance 0.9 * 1 + 0.1 * 1.
        expect(
            batch_norm_channels_last(&norm.valid(), input.inner()),
            [0.8, 2.8],
        );
    }
}
