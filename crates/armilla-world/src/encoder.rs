//! Pictures to features or tokens: the first half of every model's `encode`.

use armilla_nn::Activation;
use armilla_nn::images::{CHANNELS, as_imagenet};
use armilla_nn::layers::{ConvBlock, ConvBlockConfig, StridedConvConfig};
use armilla_nn::vit::{VisionTransformer, VisionTransformerConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::limits::{LARGEST, MOST_DOUBLINGS, depth, sizes};

/// How pictures become features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EncoderConfig {
    /// Batch-normalised convolutions of stride 2: for a CPU.
    Convolutions(ConvolutionsConfig),
    /// A vision transformer, as in LeWorldModel, or DINOv2's.
    VisionTransformer(VitConfig),
}

/// Settings of [`EncoderConfig::Convolutions`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvolutionsConfig {
    /// Side of the patches that the first layer reads, as in a vision transformer. 1 makes that layer a convolution of
    /// stride 2 like the others, which sees across patches' borders and takes more than twice as long.
    pub patch: usize,
    /// Channels after each layer; all but a patch layer halve the side.
    pub channels: Vec<usize>,
}

/// Settings of [`EncoderConfig::VisionTransformer`]: ViT-tiny with patches of 14 px by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VitConfig {
    /// Side of a patch, which divides the picture's.
    pub patch: usize,
    /// Features of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention, which share the width.
    pub heads: usize,
    /// Features within the feed-forward networks.
    pub hidden: usize,
    /// Added to the variances of the normalisations.
    pub epsilon: f64,
    /// Whether factors scale what each half of a block adds, as in DINOv2.
    pub layer_scale: bool,
}

impl Default for ConvolutionsConfig {
    fn default() -> Self {
        Self {
            patch: 1,
            channels: vec![16, 32, 64, 64],
        }
    }
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            patch: 14,
            width: 192,
            layers: 12,
            heads: 3,
            hidden: 768,
            epsilon: 1e-12,
            layer_scale: false,
        }
    }
}

impl VitConfig {
    /// DINOv2's small one (arXiv 2304.07193).
    #[must_use]
    pub fn dinov2_small() -> Self {
        Self {
            patch: 14,
            width: 384,
            layers: 12,
            heads: 6,
            hidden: 1536,
            epsilon: 1e-6,
            layer_scale: true,
        }
    }
}

/// The encoder that an [`EncoderConfig`] names.
#[expect(
    clippy::large_enum_variant,
    reason = "a model holds one of them, in place"
)]
#[derive(Module, Debug)]
pub enum Encoder {
    /// See [`EncoderConfig::Convolutions`].
    Convolutions(Convolutions),
    /// See [`EncoderConfig::VisionTransformer`].
    VisionTransformer(VisionTransformer),
}

/// Batch-normalised convolutions, one after the other.
#[derive(Module, Debug)]
pub struct Convolutions {
    layers: Vec<ConvBlock>,
}

impl Encoder {
    /// Builds it for square pictures of `image_size`, with the activation of its convolutions.
    #[must_use]
    pub fn new(
        config: &EncoderConfig,
        image_size: usize,
        activation: Activation,
        device: &Device,
    ) -> Self {
        match config {
            EncoderConfig::Convolutions(config) => {
                Self::Convolutions(Convolutions::new(config, activation, device))
            }
            EncoderConfig::VisionTransformer(vit) => {
                let sizes = VisionTransformerConfig::new(
                    image_size, vit.patch, vit.width, vit.layers, vit.heads,
                );
                let sizes = sizes
                    .with_hidden(Some(vit.hidden))
                    .with_epsilon(vit.epsilon)
                    .with_layer_scale(vit.layer_scale.then_some(1.0));
                Self::VisionTransformer(sizes.init(device))
            }
        }
    }

    /// Pictures to features: all that convolutions make of them, or a vision transformer's class token.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    /// - output: `[batch, features]`, as many as [`EncoderConfig::features`] says
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Convolutions(_) => self.tokens(images).flatten(1, 2),
            Self::VisionTransformer(transformer) => {
                let tokens = transformer.forward(as_imagenet(images));
                let [batch, _, width] = tokens.dims();
                tokens.narrow(1, 0, 1).reshape([batch, width])
            }
        }
    }

    /// Pictures to tokens, row by row: places of the last convolution, or a vision transformer's patches.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    /// - output: `[batch, tokens, width]`, of [`EncoderConfig::grid`] squared and [`EncoderConfig::width`]
    #[must_use]
    pub fn tokens(&self, images: Tensor<4>) -> Tensor<3> {
        match self {
            Self::Convolutions(convolutions) => {
                let layers = convolutions.layers.iter();
                let features = layers.fold(images, |images, layer| layer.forward(images));
                features.flatten(1, 2)
            }
            Self::VisionTransformer(transformer) => {
                let tokens = transformer.forward(as_imagenet(images));
                let patches = tokens.dims()[1] - 1;
                tokens.narrow(1, 1, patches)
            }
        }
    }
}

impl Convolutions {
    fn new(config: &ConvolutionsConfig, activation: Activation, device: &Device) -> Self {
        let inputs = [CHANNELS]
            .into_iter()
            .chain(config.channels.iter().copied());
        let layers = inputs.zip(&config.channels).enumerate();
        let layers = layers.map(|(layer, (input, &output))| {
            let conv = StridedConvConfig::new(input, output);
            let conv = match layer == 0 && config.patch > 1 {
                true => conv
                    .with_side(config.patch)
                    .with_stride(config.patch)
                    .with_padding(0),
                false => conv,
            };
            ConvBlockConfig::new(conv, activation).init(device)
        });
        Self {
            layers: layers.collect(),
        }
    }
}

impl EncoderConfig {
    /// Checks every setting, for square pictures of `image_size`.
    pub(crate) fn validate(&self, image_size: usize) -> Result<()> {
        match self {
            Self::Convolutions(ConvolutionsConfig { patch, channels }) => {
                let known = channels.iter().all(|size| (1..=LARGEST).contains(size));
                let filled = (1..=MOST_DOUBLINGS).contains(&channels.len()) && known;
                let expected = format!("1 to {MOST_DOUBLINGS} numbers from 1 to {LARGEST}");
                let found = format!("{channels:?}");
                ensure(filled, "encoder.channels", expected, found)?;
                let fits = patch.is_power_of_two() && *patch <= LARGEST;
                ensure(fits, "encoder.patch", "a power of 2", patch)?;
                let divisor = patch << (channels.len() - usize::from(*patch > 1));
                let multiple = format!("a multiple of {divisor}, by patch and channels");
                let fits = image_size.is_multiple_of(divisor);
                ensure(fits, "image_size", multiple, image_size)
            }
            Self::VisionTransformer(config) => {
                sizes(&[
                    ("encoder.patch", config.patch),
                    ("encoder.width", config.width),
                    ("encoder.heads", config.heads),
                    ("encoder.hidden", config.hidden),
                ])?;
                depth("encoder.layers", config.layers)?;
                let multiple = format!("a multiple of encoder.patch, {}", config.patch);
                let fits = image_size.is_multiple_of(config.patch);
                ensure(fits, "image_size", multiple, image_size)?;
                let divisor = format!("a divisor of encoder.width, {}", config.width);
                let fits = config.width.is_multiple_of(config.heads);
                ensure(fits, "encoder.heads", divisor, config.heads)?;
                let (holds, epsilon) = (config.epsilon > 0.0, config.epsilon);
                ensure(holds, "encoder.epsilon", "above 0", epsilon)
            }
        }
    }

    /// Values that a valid encoder makes of a square picture.
    #[must_use]
    pub fn features(&self, image_size: usize) -> usize {
        match self {
            Self::Convolutions(_) => self.grid(image_size).pow(2) * self.width(),
            Self::VisionTransformer(vit) => vit.width,
        }
    }

    /// Tokens along a side of a square picture.
    #[must_use]
    pub fn grid(&self, image_size: usize) -> usize {
        match self {
            Self::Convolutions(ConvolutionsConfig { patch, channels }) => {
                let halvings = channels.len() - usize::from(*patch > 1);
                image_size / (patch << halvings)
            }
            Self::VisionTransformer(vit) => image_size / vit.patch,
        }
    }

    /// Values of a token.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Convolutions(config) => config.channels.last().copied().unwrap_or(0),
            Self::VisionTransformer(vit) => vit.width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::{normal, seeded};

    fn encoder(config: &EncoderConfig, image_size: usize) -> Encoder {
        let device = Device::flex();
        let build = || Encoder::new(config, image_size, Activation::Silu, &device);
        seeded(&device, 0, build)
    }

    fn images(side: usize) -> Tensor<4> {
        normal(
            &mut stream(0, "images", 0),
            [3, side, side, 3],
            &Device::flex(),
        )
    }

    #[test]
    fn features_follow_the_configuration() {
        let vit = VitConfig {
            patch: 7,
            width: 12,
            layers: 1,
            heads: 3,
            hidden: 20,
            ..VitConfig::default()
        };
        for (config, side) in [
            (EncoderConfig::VisionTransformer(vit), 14),
            (
                EncoderConfig::Convolutions(ConvolutionsConfig::default()),
                32,
            ),
            (
                EncoderConfig::Convolutions(ConvolutionsConfig {
                    patch: 1,
                    channels: vec![8, 4],
                }),
                16,
            ),
        ] {
            let features = encoder(&config, side).forward(images(side));
            assert_eq!(features.dims(), [3, config.features(side)], "{config:?}");
            let tokens = encoder(&config, side).tokens(images(side));
            let shape = [3, config.grid(side).pow(2), config.width()];
            assert_eq!(tokens.dims(), shape, "{config:?}");
        }
    }

    #[test]
    fn patches_are_squares_of_the_picture() {
        let config = EncoderConfig::Convolutions(ConvolutionsConfig {
            patch: 4,
            channels: vec![8],
        });
        // A patch layer sees no other patch: moving one leaves its other outputs alone.
        let encoder = encoder(&config, 16);
        let images = images(16);
        let other = images.clone().slice_fill([0..3, 8..12, 4..8, 0..3], 0.0);
        let apart = encoder.forward(images) - encoder.forward(other);
        let moved = apart.abs().reshape([3, 16, 8]).sum_dim(2).into_data();
        let moved: Vec<_> = moved.iter::<f32>().take(16).collect();
        let moved: Vec<_> = (0..16).filter(|&patch| moved[patch] > 0.0).collect();
        assert_eq!(moved, [9], "the second patch of the third row");
    }
}
