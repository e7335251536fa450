//! A 4x4 convolution of stride 2 and padding 1, halving a picture.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Side of the kernel. Twice the stride, so that columns are gathered in whole pairs.
const KERNEL: usize = 4;

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

/// A 4x4 convolution of stride 2 and padding 1 over channels-last pictures, as gather and matmul.
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
        let [batch, height, width, channels] = input.dims();
        assert!(
            height % 2 == 0 && width % 2 == 0,
            "a strided convolution halves its input, so height and width must be even, found {height} x {width}"
        );
        let (rows, columns) = (height / 2, width / 2);
        let taps = KERNEL * KERNEL * channels;
        let indices = pair_indices(rows, columns, &input.device());
        let patches = input
            .pad([(0, 0), (1, 1), (1, 1), (0, 0)], 0.0)
            .reshape([batch, (height + 2) * (columns + 1), 2 * channels])
            .select(1, indices)
            .reshape([batch * rows * columns, taps]);
        self.kernel
            .forward(patches)
            .reshape([batch as i64, rows as i64, columns as i64, -1])
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
