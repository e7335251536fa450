//! Convolutions over channels-last pictures, by patches and a matmul.

use armilla_kernels::{Function, Patch};
use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, module};

use super::{Linear, LinearConfig};
use crate::Activation;

/// How to build a [`StridedConv`].
#[derive(Config, Debug)]
pub struct StridedConvConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Side of the kernel.
    #[config(default = 4)]
    pub side: usize,
    /// Pixels from one place of the kernel to the next.
    #[config(default = 2)]
    pub stride: usize,
    /// Pixels of zeros around the picture.
    #[config(default = 1)]
    pub padding: usize,
    /// Whether each channel has a bias.
    #[config(default = true)]
    pub bias: bool,
}

impl StridedConvConfig {
    /// Weights uniform in `±1 / sqrt(side * side * channels_in)`, as PyTorch's convolution.
    #[must_use]
    pub fn init(&self, device: &Device) -> StridedConv {
        let taps = self.side * self.side * self.channels_in;
        StridedConv {
            kernel: LinearConfig::new(taps, self.channels_out)
                .with_bias(self.bias)
                .init(device),
            side: self.side,
            stride: self.stride,
            padding: self.padding,
        }
    }
}

/// A convolution over channels-last pictures; unless configured otherwise of side 4, stride 2 and padding 1, halving a picture.
///
/// The kernel is one matrix `[side * side * channels_in, channels_out]`, its rows in the order row, column, channel.
#[derive(Module, Debug)]
pub struct StridedConv {
    pub(crate) kernel: Linear,
    side: usize,
    stride: usize,
    padding: usize,
}

impl StridedConv {
    /// Convolves.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels_in]`
    /// - output: `[batch, rows, columns, channels_out]`, with `(height + 2 * padding - side) / stride + 1` rows, rounded down
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.apply(input, None)
    }

    /// Convolves, then applies the activation; shapes as of [`Self::forward`].
    #[must_use]
    pub fn activated(&self, input: Tensor<4>, activation: Activation) -> Tensor<4> {
        self.apply(input, Some(activation))
    }

    /// Convolves, multiplies each channel by a factor, adds another, then applies the activation; shapes as of [`Self::forward`].
    /// The factors get no gradient.
    ///
    /// # Shapes
    ///
    /// - factors: `[channels_out]` each
    #[must_use]
    pub fn scaled(
        &self,
        input: Tensor<4>,
        [scale, shift]: [Tensor<1>; 2],
        activation: Option<Activation>,
    ) -> Tensor<4> {
        let shift = match &self.kernel.bias {
            Some(bias) => bias.val() * scale.clone() + shift,
            None => shift,
        };
        self.convolve(input, [Some(scale), Some(shift)], activation)
    }

    fn apply(&self, input: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        let bias = self.kernel.bias.as_ref().map(|bias| bias.val());
        self.convolve(input, [None, bias], activation)
    }

    fn convolve(
        &self,
        input: Tensor<4>,
        [scale, bias]: [Option<Tensor<1>>; 2],
        activation: Option<Activation>,
    ) -> Tensor<4> {
        let kernel = self.kernel.weight.val();
        let [batch, height, width, _] = input.dims();
        let patch = Patch {
            side: self.side,
            stride: self.stride,
            padding: self.padding,
        };
        let [rows, columns] = patch.grid(height, width);
        let output = if armilla_kernels::runs_on(&input.device()) {
            let function = activation.map_or(Function::Identity, Activation::fused);
            armilla_kernels::convolve(input, kernel, [scale, bias], patch, function)
        } else {
            let kernel = match scale {
                Some(scale) => kernel * scale.unsqueeze(),
                None => kernel,
            };
            let output = module::linear(gather(input, patch), kernel, bias);
            activation.map_or(output.clone(), |activation| activation.forward(output))
        };
        let channels = output.dims()[1];
        output.reshape([batch, rows, columns, channels])
    }
}

/// Every patch as a row, by burn's own operations.
fn gather(input: Tensor<4>, patch: Patch) -> Tensor<2> {
    let [batch, height, width, channels] = input.dims();
    let [rows, columns] = patch.grid(height, width);
    let around = (patch.padding, patch.padding);
    let padded = input.pad([(0, 0), around, around, (0, 0)], 0.0);
    let wide = width + 2 * patch.padding;
    let mut indices = Vec::with_capacity(rows * columns * patch.side * patch.side);
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        for line in 0..patch.side {
            let start = (row * patch.stride + line) * wide + column * patch.stride;
            indices.extend((start..start + patch.side).map(|pixel| pixel as i64));
        }
    }
    let count = indices.len();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &padded.device());
    padded
        .reshape([batch, (height + 2 * patch.padding) * wide, channels])
        .select(1, indices)
        .reshape([batch * rows * columns, patch.side * patch.side * channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;
    use armilla_core::random::stream;
    use burn::tensor::Tolerance;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;

    fn layer_and_input(channels: usize, device: &Device) -> (StridedConv, Tensor<4>) {
        let layer = random::seeded(device, 3, || {
            StridedConvConfig::new(channels, 5).init(device)
        });
        let input = random::normal(&mut stream(0, "input", 0), [2, 6, 8, channels], device);
        (layer, input)
    }

    #[test]
    fn it_is_a_convolution_both_ways() {
        check_convolution(3);
        check_convolution(8);
    }

    fn check_convolution(channels: usize) {
        let (layer, input) = layer_and_input(channels, &Device::flex());
        let weight = layer.kernel.weight.val().reshape([4, 4, channels, 5]);
        let expected = conv2d(
            input.clone().permute([0, 3, 1, 2]),
            weight.permute([3, 2, 0, 1]),
            layer.kernel.bias.as_ref().map(|bias| bias.val()),
            ConvOptions::new([2, 2], [1, 1], [1, 1], 1),
        );
        let output = layer.forward(input);
        assert_eq!(output.dims(), [2, 3, 4, 5]);
        output.into_data().assert_approx_eq::<f32>(
            &expected.permute([0, 2, 3, 1]).into_data(),
            Tolerance::absolute(1e-5),
        );
    }

    #[test]
    fn the_gradient_is_the_slope_both_ways() {
        check_gradient(3);
        check_gradient(8);
    }

    fn check_gradient(channels: usize) {
        let device = Device::flex().autodiff();
        let (layer, input) = layer_and_input(channels, &device);
        let input = input.require_grad();
        // A loss that weighs outputs differently, so that a gradient in the wrong place shows.
        let weights = random::normal(&mut stream(0, "weights", 0), [2, 3, 4, 5], &device);
        let loss = |input: Tensor<4>| (layer.forward(input) * weights.clone()).sum();
        let gradients = loss(input.clone()).backward();
        let gradient = input.grad(&gradients).unwrap();
        for index in [[0, 0, 0, 0], [0, 5, 7, 2], [1, 2, 3, 1], [1, 0, 4, 0]] {
            let at = index.map(|i| i..i + 1);
            let moved = |by: f64| {
                let bump = Tensor::full([1, 1, 1, 1], by, &device);
                let old = input.clone().slice(at.clone());
                let moved = input
                    .clone()
                    .detach()
                    .slice_assign(at.clone(), old.detach() + bump);
                loss(moved).into_scalar::<f32>()
            };
            let slope = (moved(0.05) - moved(-0.05)) / 0.1;
            let found = gradient.clone().slice(at.clone()).into_scalar::<f32>();
            assert!((slope - found).abs() < 1e-3, "{index:?}: {slope} {found}");
        }
    }

    #[test]
    fn factors_scale_and_shift_the_channels() {
        let device = Device::flex();
        let (layer, input) = layer_and_input(3, &device);
        let draw = |name| random::normal::<1>(&mut stream(0, name, 0), [5], &device);
        let [scale, shift] = [draw("scale"), draw("shift")];
        let wide = |values: &Tensor<1>| values.clone().reshape([1, 1, 1, 5]);
        let expected = layer.forward(input.clone()) * wide(&scale) + wide(&shift);
        let found = layer.scaled(input, [scale, shift], None).into_data();
        found.assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn patches_are_the_same_without_the_kernel() {
        for (side, stride, padding) in [(4, 2, 1), (4, 4, 0)] {
            let device = Device::flex();
            let patch = Patch {
                side,
                stride,
                padding,
            };
            let input = random::normal(&mut stream(0, "input", 0), [2, 8, 12, 3], &device);
            // Multiplied by one, the rows of a convolution are the patches.
            let taps = side * side * 3;
            let one = Tensor::eye(taps, &device);
            let found = armilla_kernels::convolve(
                input.clone(),
                one,
                [None, None],
                patch,
                Function::Identity,
            );
            found
                .into_data()
                .assert_eq(&gather(input, patch).into_data(), true);
        }
    }
}
