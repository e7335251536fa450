//! The pixel decoder: what a latent looks like, for people to see. It trains the encoder only where a model is configured so.

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, UpConv, UpConvConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::jepa::config::JepaConfig;

/// Latent to picture: a linear layer to the smallest picture, then doublings.
#[derive(Module, Debug)]
pub struct Decoder {
    first: Linear,
    doublings: Vec<UpConv>,
    #[module(skip)]
    activation: Activation,
    side: usize,
}

impl Decoder {
    /// Builds it.
    #[must_use]
    pub fn new(config: &JepaConfig, device: &Device) -> Self {
        let side = config.smallest_side();
        let channels = &config.decoder_channels;
        let outputs = channels.iter().skip(1).copied().chain([3]);
        Self {
            first: LinearConfig::new(config.pictured(), side * side * channels[0]).init(device),
            doublings: channels
                .iter()
                .zip(outputs)
                .map(|(&input, output)| UpConvConfig::new(input, output).init(device))
                .collect(),
            activation: config.activation,
            side,
        }
    }

    /// Pictures, some values beyond the range a picture can have.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, pictured]`
    /// - output: `[batch, height, width, 3]`, about `[-0.5, 0.5]`
    #[must_use]
    pub fn forward(&self, latents: Tensor<2>) -> Tensor<4> {
        let batch = latents.dims()[0] as i64;
        let side = self.side as i64;
        let mut picture = self.first.forward(latents).reshape([batch, side, side, -1]);
        for doubling in &self.doublings {
            picture = doubling.forward(self.activation.forward(picture));
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_the_configured_size() {
        let device = Device::flex();
        let config = JepaConfig {
            image_size: 24,
            decoder_channels: vec![8, 4],
            ..JepaConfig::nano()
        };
        let picture = Decoder::new(&config, &device).forward(Tensor::zeros([2, 128], &device));
        assert_eq!(picture.dims(), [2, 24, 24, 3]);
    }
}
