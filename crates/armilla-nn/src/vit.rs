//! The vision transformer.
//!
//! As Hugging Face's `ViTModel` (and so LeWorldModel's encoder) has it: patches by a convolution with bias, a class token, learned
//! positions, pre-norm blocks with the exact GELU, and a last normalisation
//! ([Dosovitskiy et al.](https://arxiv.org/abs/2010.11929)).

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::Activation;
use crate::images::CHANNELS;
use crate::layers::{LayerNorm, LayerNormConfig, StridedConv, StridedConvConfig};
use crate::transformer::{Block, BlockConfig};

/// How to build a [`VisionTransformer`].
#[derive(Config, Debug)]
pub struct VisionTransformerConfig {
    /// Side of the square picture, a multiple of the patch.
    pub image_size: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Features of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention, which share the width.
    pub heads: usize,
    /// Whether a token of its own stands before those of the patches.
    #[config(default = true)]
    pub class_token: bool,
    /// Added to the variances of the normalisations.
    #[config(default = 1e-12)]
    pub epsilon: f64,
}

impl VisionTransformerConfig {
    /// Tokens of a picture, the class token included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        (self.image_size / self.patch).pow(2) + usize::from(self.class_token)
    }

    /// Builds it with fresh weights.
    #[must_use]
    pub fn init(&self, device: &Device) -> VisionTransformer {
        let small = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let block = BlockConfig::new(self.width, self.heads)
            .with_activation(Activation::Gelu)
            .with_epsilon(self.epsilon);
        VisionTransformer {
            patches: StridedConvConfig::new(CHANNELS, self.width)
                .with_side(self.patch)
                .with_stride(self.patch)
                .with_padding(0)
                .init(device),
            class_token: self
                .class_token
                .then(|| small.init([1, self.width], device)),
            positions: small.init([self.tokens(), self.width], device),
            blocks: (0..self.layers).map(|_| block.init(device)).collect(),
            norm: LayerNormConfig::new(self.width)
                .with_epsilon(self.epsilon)
                .init(device),
        }
    }
}

/// Pictures to tokens.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    patches: StridedConv,
    class_token: Option<Param<Tensor<2>>>,
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl VisionTransformer {
    /// Encodes pictures.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`
    /// - output: `[batch, tokens, width]`, the class token first if there is one, then patches row by row
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let grid = self.patches.forward(images);
        let [batch, rows, columns, width] = grid.dims();
        let mut tokens = grid.reshape([batch, rows * columns, width]);
        if let Some(class) = &self.class_token {
            let class = class.val().unsqueeze::<3>().expand([batch, 1, width]);
            tokens = Tensor::cat(vec![class, tokens], 1);
        }
        tokens = tokens + self.positions.val().unsqueeze();
        for block in &self.blocks {
            tokens = block.forward(tokens, None);
        }
        self.norm.forward(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_patches_and_a_class() {
        let device = Device::flex();
        let config = VisionTransformerConfig::new(12, 4, 8, 2, 2);
        assert_eq!(config.tokens(), 10);
        let encode = |config: &VisionTransformerConfig| {
            let images = Tensor::ones([2, 12, 12, 3], &device);
            config.init(&device).forward(images).dims()
        };
        assert_eq!(encode(&config), [2, 10, 8]);
        assert_eq!(encode(&config.with_class_token(false)), [2, 9, 8]);
    }
}
