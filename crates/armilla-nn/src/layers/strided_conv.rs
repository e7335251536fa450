//! A 4x4 convolution of stride 2 and padding 1, halving a picture.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::module::linear;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Side of the kernel. Twice the stride, so that columns are gathered in whole pairs.
const KERNEL: usize = 4;
/// With fewer channels than this, patches are gathered.
const GATHER_BELOW: usize = 8;

/// How to build a [`StridedConv`].
#[derive(Config, Debug)]
pub struct StridedConvConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
}

impl StridedConvConfig {
    /// Weights uniform in `±1 / sqrt(16 * channels_in)`, as PyTorch's convolution.
    #[must_use]
    pub fn init(&self, device: &Device) -> StridedConv {
        let taps = KERNEL * KERNEL * self.channels_in;
        StridedConv {
            kernel: LinearConfig::new(taps, self.channels_out).init(device),
        }
    }
}

/// A 4x4 convolution of stride 2 and padding 1 over channels-last pictures, by matmul.
///
/// The kernel is one matrix `[16 * channels_in, channels_out]`, its rows in the order row, column, channel.
#[derive(Module, Debug)]
pub struct StridedConv {
    kernel: Linear,
}

impl StridedConv {
    /// Convolves.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels_in]`, height and width even
    /// - output: `[batch, height / 2, width / 2, channels_out]`
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [_, height, width, channels] = input.dims();
        assert!(
            height % 2 == 0 && width % 2 == 0,
            "a strided convolution halves its input, so height and width must be even, found {height} x {width}"
        );
        let padded = input.pad([(0, 0), (1, 1), (1, 1), (0, 0)], 0.0);
        match channels < GATHER_BELOW {
            true => self.gather(padded),
            false => self.shift(padded),
        }
    }

    /// Copies every patch into a row of one matrix and multiplies once.
    fn gather(&self, padded: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = padded.dims();
        let (rows, columns) = (height / 2 - 1, width / 2 - 1);
        let indices = pair_indices(rows, columns, &padded.device());
        let patches = padded
            .reshape([batch, height * width / 2, 2 * channels])
            .select(1, indices)
            .reshape([batch * rows * columns, KERNEL * KERNEL * channels]);
        let output = self.kernel.forward(patches);
        let channels = output.dims()[1];
        output.reshape([batch, rows, columns, channels])
    }

    /// Multiplies the picture's 2x2 blocks by each quarter of the kernel, and adds the products shifted by whole blocks. This
    /// moves a quarter of the memory, but its products are too narrow to pay with few channels.
    fn shift(&self, padded: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = padded.dims();
        let (rows, columns) = (height / 2, width / 2);
        let blocks = padded
            .reshape([batch * rows, 2, columns, 2 * channels])
            .swap_dims(1, 2)
            .reshape([batch * rows * columns, 4 * channels]);
        let kernel = self.kernel.weight.val();
        let outputs = kernel.dims()[1];
        let quarters = kernel
            .reshape([2, 2, 2, 2 * channels * outputs])
            .swap_dims(1, 2) // [block row, block column, row, column and channel and output]
            .reshape([4, 4 * channels, outputs]);
        // In blocks of one long row, the next row's lie `columns` further. What wraps around lands in the last row and column
        // of each picture, which are cut off.
        let tail = columns + 1;
        let count = batch * rows * columns - tail;
        let product = |quarter: usize, offset: usize| {
            let weight = quarters.clone().narrow(0, quarter, 1).squeeze_dim::<2>(0);
            let bias = self.kernel.bias.as_ref().filter(|_| quarter == 0);
            linear(blocks.clone(), weight, bias.map(|bias| bias.val())).narrow(0, offset, count)
        };
        let sum = product(0, 0) + product(1, 1) + product(2, columns) + product(3, tail);
        let filler = Tensor::zeros([tail, outputs], &sum.device());
        Tensor::cat(vec![sum, filler], 0)
            .reshape([batch, rows, columns, outputs])
            .slice([0..batch, 0..rows - 1, 0..columns - 1, 0..outputs])
    }
}

/// Where each patch's eight pairs of pixels lie in a padded picture of `columns + 1` pairs a row.
fn pair_indices(rows: usize, columns: usize, device: &Device) -> Tensor<1, Int> {
    let mut indices = Vec::with_capacity(rows * columns * KERNEL * 2);
    for row in 0..rows {
        for column in 0..columns {
            for kernel_row in 0..KERNEL {
                let start = (2 * row + kernel_row) * (columns + 1) + column;
                indices.extend([start as i64, start as i64 + 1]);
            }
        }
    }
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [count]), device)
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
        check_convolution(GATHER_BELOW);
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
        check_gradient(GATHER_BELOW);
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
    #[should_panic(expected = "must be even, found 5 x 4")]
    fn odd_pictures_are_refused() {
        let device = Device::flex();
        let layer = StridedConvConfig::new(1, 1).init(&device);
        drop(layer.forward(Tensor::zeros([1, 5, 4, 1], &device)));
    }
}
