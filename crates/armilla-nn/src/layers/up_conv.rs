//! A linear layer and depth-to-space, doubling a picture.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Linear, LinearConfig};

/// How to build an [`UpConv`].
#[derive(Config, Debug)]
pub struct UpConvConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
}

impl UpConvConfig {
    /// Weights uniform in `±1 / sqrt(channels_in)`.
    #[must_use]
    pub fn init(&self, device: &Device) -> UpConv {
        UpConv {
            kernel: LinearConfig::new(self.channels_in, 4 * self.channels_out).init(device),
        }
    }
}

/// Doubles a channels-last picture: each pixel becomes 2x2 pixels by a linear layer of its own channels.
#[derive(Module, Debug)]
pub struct UpConv {
    kernel: Linear,
}

impl UpConv {
    /// Doubles height and width.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels_in]`
    /// - output: `[batch, 2 * height, 2 * width, channels_out]`
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = input.dims();
        let pixels = input.reshape([batch * height * width, channels]);
        let blocks = self.kernel.forward(pixels);
        let channels = blocks.dims()[1] / 4;
        // A block's two pixels of one row stay together, so whole pairs move.
        blocks
            .reshape([batch * height, width, 2, 2 * channels])
            .swap_dims(1, 2)
            .reshape([batch, 2 * height, 2 * width, channels])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::TensorData;

    #[test]
    fn a_pixel_becomes_a_block() {
        let device = Device::flex();
        let mut layer = UpConvConfig::new(1, 1).init(&device);
        layer.kernel.weight = Param::from_data([[1.0, 2.0, 3.0, 4.0]], &device);
        layer.kernel.bias = Some(Param::from_data([0.0, 0.0, 0.0, 0.5], &device));
        let input = Tensor::<4>::from_floats([[[[1.0], [10.0]], [[0.0], [-1.0]]]], &device);
        let expected = TensorData::from([[
            [[1.0f32], [2.0], [10.0], [20.0]],
            [[3.0], [4.5], [30.0], [40.5]],
            [[0.0], [0.0], [-1.0], [-2.0]],
            [[0.0], [0.5], [-3.0], [-3.5]],
        ]]);
        layer.forward(input).into_data().assert_eq(&expected, true);
    }
}
