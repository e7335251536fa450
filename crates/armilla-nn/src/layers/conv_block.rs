//! A convolution, batch normalisation and an activation.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};

use super::{StridedConv, StridedConvConfig, batch_norm};
use crate::Activation;

/// How to build a [`ConvBlock`].
#[derive(Config, Debug)]
pub struct ConvBlockConfig {
    /// The convolution; its bias is left out, as the normalisation has one.
    pub conv: StridedConvConfig,
    /// The non-linearity.
    pub activation: Activation,
}

impl ConvBlockConfig {
    /// Builds it.
    #[must_use]
    pub fn init(&self, device: &Device) -> ConvBlock {
        ConvBlock {
            conv: self.conv.clone().with_bias(false).init(device),
            norm: BatchNormConfig::new(self.conv.channels_out).init(device),
            activation: self.activation,
        }
    }
}

/// A strided convolution over channels-last pictures, normalised over the batch and activated.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: StridedConv,
    norm: BatchNorm,
    #[module(skip)]
    activation: Activation,
}

impl ConvBlock {
    /// Convolves, normalises, activates.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels_in]`
    /// - output: `[batch, rows, columns, channels_out]`, see [`StridedConv::forward`]
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.conv.forward(input);
        let [batch, rows, columns, channels] = output.dims();
        let flat = output.reshape([batch * rows * columns, channels]);
        batch_norm(&self.norm, flat, Some(self.activation))
            .reshape([batch, rows, columns, channels])
    }
}
