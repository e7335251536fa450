//! Convolutions over channels-last pictures: on the CPU by patches and a matmul.

use armilla_kernels::{Function, Patch};
use burn::config::Config;
use burn::module::Module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module};

use super::linear::finish;
use super::{Linear, LinearConfig};
use crate::Activation;
use crate::fused;
use crate::precision::{narrow, widen};

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
        if !fused::multiplies_on(&input.device()) {
            let kernel = match scale {
                Some(scale) => kernel * scale.unsqueeze(),
                None => kernel,
            };
            let product = by_operations(input, kernel, patch);
            return finish(product, bias, activation);
        }
        let [rows, columns] = patch.grid(height, width);
        let function = activation.map_or(Function::Identity, Activation::fused);
        let output = armilla_kernels::convolve(input, kernel, [scale, bias], patch, function);
        let channels = output.dims()[1];
        output.reshape([batch, rows, columns, channels])
    }
}

/// The convolution by burn's operation, which wants channels before pixels: on a GPU both permutations are views, as its kernels read
/// and write channels-last.
fn by_operations(input: Tensor<4>, kernel: Tensor<2>, patch: Patch) -> Tensor<4> {
    let ([_, _, _, channels], [_, outputs]) = (input.dims(), kernel.dims());
    let kernel = narrow(kernel)
        .reshape([patch.side, patch.side, channels, outputs])
        .permute([3, 2, 0, 1]);
    let padding = [patch.padding; 2];
    let options = ConvOptions::new([patch.stride; 2], padding, [1; 2], 1);
    let pictures = narrow(input).permute([0, 3, 1, 2]);
    widen(module::conv2d(pictures, kernel, None, options)).permute([0, 2, 3, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Precision, random};
    use armilla_core::random::stream;
    use burn::tensor::Tolerance;

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
        let patch = Patch {
            side: 4,
            stride: 2,
            padding: 1,
        };
        let bias = layer.kernel.bias.as_ref().map(|bias| bias.val());
        let product = by_operations(input.clone(), layer.kernel.weight.val(), patch);
        let expected = finish(product, bias, None).into_data();
        let output = layer.forward(input.clone());
        assert_eq!(output.dims(), [2, 3, 4, 5]);
        output
            .into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        let rounded = Precision::Bf16.scope(|| layer.forward(input)).into_data();
        assert_ne!(rounded, expected);
        rounded.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(0.02, 0.02));
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
}
