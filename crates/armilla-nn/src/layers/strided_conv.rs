//! Convolutions over channels-last pictures, by patches and a matmul: fused on the CPU, else by operations that every device has.

use armilla_kernels::{Function, Patch};
use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::grouped;
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

/// The convolution by operations that every device has: the picture in blocks of `stride` pixels a side, the blocks under the kernel side by
/// side, and a matmul. On a GPU a kernel's gradients by burn's own convolution take seconds to compile for each size, and are slow.
fn by_operations(input: Tensor<4>, kernel: Tensor<2>, patch: Patch) -> Tensor<4> {
    let [batch, height, width, channels] = input.dims();
    let outputs = kernel.dims()[1];
    let Patch {
        side,
        stride,
        padding,
    } = patch;
    let [rows, columns] = patch.grid(height, width);
    // Blocks that a kernel spans, the last of which it may not fill; and blocks that all kernels need.
    let span = side.div_ceil(stride);
    let blocks = [rows, columns].map(|places| places + span - 1);
    let after = |axis: usize, size: usize| (blocks[axis] * stride).saturating_sub(size + padding);
    let frame = [
        (padding, after(0, height)),
        (padding, after(1, width)),
        (0, 0),
    ];
    let framed = match frame.iter().all(|&(before, after)| before + after == 0) {
        true => narrow(input),
        false => narrow(input).pad(frame, 0.0),
    };
    let block = stride * stride * channels;
    let framed = framed
        .slice([
            0..batch,
            0..blocks[0] * stride,
            0..blocks[1] * stride,
            0..channels,
        ])
        .reshape([batch, blocks[0], stride, blocks[1], stride, channels])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch, blocks[0], blocks[1], block]);
    let shifts = (0..span * span).map(|shift| [shift / span, shift % span]);
    let under = shifts.map(|[row, column]| {
        framed.clone().slice([
            0..batch,
            row..row + rows,
            column..column + columns,
            0..block,
        ])
    });
    let under = match span {
        1 => framed,
        _ => Tensor::cat(under.collect(), 3),
    };
    let whole = span * stride;
    let kernel = narrow(kernel).reshape([side, side, channels, outputs]);
    let kernel = match whole - side {
        0 => kernel,
        missing => kernel.pad([(0, missing), (0, missing), (0, 0), (0, 0)], 0.0),
    };
    let kernel = kernel
        .reshape([span, stride, span, stride, channels, outputs])
        .permute([0, 2, 1, 3, 4, 5])
        .reshape([span * span * block, outputs]);
    let under = under.reshape([batch * rows * columns, span * span * block]);
    widen(grouped::product(under, kernel)).reshape([batch, rows, columns, outputs])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Precision, random};
    use armilla_core::random::stream;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Tolerance, module};

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
    fn operations_are_burns_convolution() {
        let device = Device::flex();
        for [side, stride, padding] in [
            [4, 2, 1],
            [3, 1, 1],
            [3, 2, 1],
            [7, 2, 3],
            [1, 2, 0],
            [4, 4, 0],
            [5, 3, 0],
        ] {
            let draw = |name, shape| random::normal(&mut stream(0, name, 0), shape, &device);
            let input: Tensor<4> = draw("input", [2, 12, 9, 3]);
            let kernel =
                random::normal::<2>(&mut stream(0, "kernel", 0), [side * side * 3, 5], &device);
            let patch = Patch {
                side,
                stride,
                padding,
            };
            let found = by_operations(input.clone(), kernel.clone(), patch);
            let kernel = kernel.reshape([side, side, 3, 5]).permute([3, 2, 0, 1]);
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
            let pictures = input.permute([0, 3, 1, 2]);
            let expected = module::conv2d(pictures, kernel, None, options);
            found.into_data().assert_approx_eq::<f32>(
                &expected.permute([0, 2, 3, 1]).into_data(),
                Tolerance::absolute(1e-4),
            );
        }
    }

    #[test]
    fn the_gradient_is_the_slope_both_ways() {
        for channels in [3, 8] {
            check_gradient(channels);
            fused::plain(|| check_gradient(channels));
        }
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
