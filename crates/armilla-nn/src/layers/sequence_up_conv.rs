//! Transposed convolutions, which double a sequence.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::{Linear, LinearConfig, grouped};

/// Steps that one step of the input reaches.
const TAPS: usize = 4;

/// How to build a [`SequenceUpConv`].
#[derive(Config, Debug)]
pub struct SequenceUpConvConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
}

impl SequenceUpConvConfig {
    /// Weights and bias uniform in `±1 / sqrt(4 * channels_out)`, as PyTorch's transposed convolution.
    #[must_use]
    pub fn init(&self, device: &Device) -> SequenceUpConv {
        let outputs = TAPS * self.channels_out;
        let max = 1.0 / (outputs as f64).sqrt();
        let start = Initializer::Uniform { min: -max, max };
        SequenceUpConv {
            bias: start.init([self.channels_out], device),
            kernel: LinearConfig::new(self.channels_in, outputs)
                .with_bias(false)
                .with_initializer(Some(start))
                .init(device),
        }
    }
}

/// A transposed convolution of four taps, stride 2 and padding 1.
///
/// The kernel is one matrix `[channels_in, 4 * channels_out]`, its columns in the order tap, channel.
#[derive(Module, Debug)]
pub struct SequenceUpConv {
    pub(crate) kernel: Linear,
    /// `[channels_out]`.
    pub(crate) bias: Param<Tensor<1>>,
}

impl SequenceUpConv {
    /// Doubles a sequence.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, time, channels_in]`
    /// - output: `[batch, 2 * time, channels_out]`
    #[must_use]
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let reached = self.kernel.forward(input);
        let [batch, time, outputs] = reached.dims();
        let channels = outputs / TAPS;
        let tap = |tap: usize| reached.clone().narrow(2, tap * channels, channels);
        let before = tap(3).pad([(1, 0), (0, 0)], 0.0).narrow(1, 0, time);
        let after = tap(0).pad([(0, 1), (0, 0)], 0.0).narrow(1, 1, time);
        // Of each two steps the first is reached from the step before too, the second from the step after.
        let pairs = Tensor::cat(vec![tap(1) + before, tap(2) + after], 2);
        let steps = pairs.reshape([batch, 2 * time, channels]);
        grouped::shift(steps, self.bias.val())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{expect, pattern};
    use super::*;

    #[test]
    fn values_and_gradients_are_pytorchs() {
        let device = Device::flex().autodiff();
        let mut layer = SequenceUpConvConfig::new(2, 2).init(&device);
        layer.kernel.weight = Param::from_tensor(pattern([2, 8], (7, 4.0), &device));
        layer.bias = Param::from_data([0.5, -1.0], &device);
        let input = pattern([1, 3, 2], (3, 2.0), &device).require_grad();
        let output = layer.forward(input.clone());
        let weights = pattern([1, 6, 2], (5, 1.0), &device);
        let gradients = (output.clone() * weights).sum().backward();
        expect(
            output,
            &[
                2.0, -2.875, -3.25, 3.125, -4.0, -3.125, 4.625, -3.75, 4.625, -2.375, -0.25, 0.75,
            ],
        );
        expect(
            input.grad(&gradients).unwrap(),
            &[8.5, 8.75, -6.25, 0.25, -7.25, 2.25],
        );
        let kernel = layer.kernel.weight.val().grad(&gradients);
        expect(
            kernel.unwrap(),
            &[
                -3.5, 5.5, 10.5, 7.0, -13.0, 11.0, -9.0, 3.0, 8.5, -0.5, 12.0, -2.0, 0.5, -2.5,
                0.0, -6.0,
            ],
        );
    }
}
