//! Convolutions over sequences, by gathered steps and a matmul.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor, s};

use super::{Linear, LinearConfig};

/// How to build a [`SequenceConv`].
#[derive(Config, Debug)]
pub struct SequenceConvConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Steps that the kernel covers.
    #[config(default = 3)]
    pub taps: usize,
    /// Steps from one place of the kernel to the next.
    #[config(default = 1)]
    pub stride: usize,
    /// Steps of zeros before and after the sequence.
    #[config(default = 1)]
    pub padding: usize,
}

impl SequenceConvConfig {
    /// Weights and bias uniform in `±1 / sqrt(taps * channels_in)`, as PyTorch's convolution.
    #[must_use]
    pub fn init(&self, device: &Device) -> SequenceConv {
        SequenceConv {
            kernel: LinearConfig::new(self.taps * self.channels_in, self.channels_out).init(device),
            taps: self.taps,
            stride: self.stride,
            padding: self.padding,
        }
    }
}

/// A convolution over sequences; unless configured otherwise of three taps, as long as its input.
///
/// The kernel is one matrix `[taps * channels_in, channels_out]`, its rows in the order tap, channel.
#[derive(Module, Debug)]
pub struct SequenceConv {
    pub(crate) kernel: Linear,
    taps: usize,
    stride: usize,
    padding: usize,
}

impl SequenceConv {
    /// Convolves.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, time, channels_in]`
    /// - output: `[batch, steps, channels_out]`, with `(time + 2 * padding - taps) / stride + 1` steps, rounded down
    #[must_use]
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let padding = self.padding;
        let padded = input.pad([(padding, padding), (0, 0)], 0.0);
        let [_, time, _] = padded.dims();
        let reach = (time - self.taps) / self.stride * self.stride;
        let taps = (0..self.taps).map(|tap| {
            let steps = s![tap..=tap + reach; self.stride as isize];
            padded.clone().slice_dim(1, steps)
        });
        self.kernel.forward(Tensor::cat(taps.collect(), 2))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{expect, pattern};
    use super::*;
    use burn::module::Param;

    /// Output, and gradients of input and kernel.
    fn check(stride: usize, [output, input_gradient, kernel_gradient]: [&[f32]; 3]) {
        let device = Device::flex().autodiff();
        let config = SequenceConvConfig::new(2, 2).with_stride(stride);
        let mut layer = config.init(&device);
        layer.kernel.weight = Param::from_tensor(pattern([6, 2], (7, 4.0), &device));
        layer.kernel.bias = Some(Param::from_data([0.5, -1.0], &device));
        let input = pattern([1, 5, 2], (3, 2.0), &device).require_grad();
        let found = layer.forward(input.clone());
        let weights = pattern(found.dims(), (5, 1.0), &device);
        let gradients = (found.clone() * weights).sum().backward();
        expect(found, output);
        expect(input.grad(&gradients).unwrap(), input_gradient);
        let kernel = layer.kernel.weight.val().grad(&gradients);
        expect(kernel.unwrap(), kernel_gradient);
    }

    #[test]
    fn values_and_gradients_are_pytorchs() {
        let output = [
            -2.125, -1.25, 8.375, -4.75, -3.75, 0.875, 7.5, -4.5, -2.375, 3.75,
        ];
        let input = [-8.0, -8.75, 1.0, 1.75, -8.5, -1.25, -7.0, -1.5, -1.75, 5.0];
        let kernel = [
            -14.5, 3.5, 6.5, -11.5, 7.0, 6.5, 20.5, -8.5, -13.0, 4.5, -2.5, -4.5,
        ];
        check(1, [&output, &input, &kernel]);
    }

    #[test]
    fn a_stride_leaves_steps_out() {
        let output = [-2.125, -1.25, -3.75, 0.875, -2.375, 3.75];
        let input = [-1.25, -5.0, -1.75, -2.5, 2.0, 5.0, -11.75, -4.5, 2.5, 4.0];
        let kernel = [
            6.5, -2.5, 20.0, -7.0, -3.5, 5.0, 2.5, 0.5, 2.5, -1.0, 2.5, -2.5,
        ];
        check(2, [&output, &input, &kernel]);
    }
}
