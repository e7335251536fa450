//! The text encoder: token ids to contextual tokens.
//!
//! Embeddings, sine positions and pre-norm transformer blocks. What a word refers to ("to the blue square") depends on
//! its neighbours, which is all that one block has to find out.

use armilla_nn::positions::sine_1d;
use armilla_nn::transformer::{Block, BlockConfig};
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Bool, Device, Int, Tensor};
use serde::{Deserialize, Serialize};

/// Sizes of the text encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Transformer blocks.
    pub blocks: usize,
    /// Instructions are cut after so many tokens.
    pub max_tokens: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            blocks: 1,
            max_tokens: 24,
        }
    }
}

/// Token ids to contextual tokens.
#[derive(Module, Debug)]
pub struct TextEncoder {
    embedding: Embedding,
    blocks: Vec<Block>,
}

impl TextConfig {
    /// Builds the encoder for `vocabulary` ids, tokens of `width` values and `heads` heads.
    #[must_use]
    pub fn init(
        &self,
        vocabulary: usize,
        [width, heads]: [usize; 2],
        device: &Device,
    ) -> TextEncoder {
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: 0.5,
        };
        TextEncoder {
            embedding: EmbeddingConfig::new(vocabulary, width)
                .with_initializer(initializer)
                .init(device),
            blocks: (0..self.blocks)
                .map(|_| BlockConfig::new(width, heads).init(device))
                .collect(),
        }
    }
}

impl TextEncoder {
    /// Encodes instructions.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, tokens]`
    /// - is_pad: `[batch, tokens]`, true where there is no token
    /// - output: `[batch, tokens, width]`
    #[must_use]
    pub fn forward(&self, tokens: Tensor<2, Int>, is_pad: &Tensor<2, Bool>) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let embedded = self.embedding.forward(tokens);
        let [_, _, width] = embedded.dims();
        let positions = sine_1d(length, width, &embedded.device()).unsqueeze();
        let mask = is_pad
            .clone()
            .unsqueeze_dim::<3>(1)
            .expand([batch, length, length]);
        let mut encoded = embedded + positions;
        for block in &self.blocks {
            encoded = block.forward(encoded, Some(mask.clone()));
        }
        encoded
    }
}

/// Mean over the tokens that are there.
///
/// # Shapes
///
/// - encoded: `[batch, tokens, width]`
/// - is_pad: `[batch, tokens]`
/// - output: `[batch, width]`
#[must_use]
pub fn masked_mean(encoded: Tensor<3>, is_pad: &Tensor<2, Bool>) -> Tensor<2> {
    let present: Tensor<3> = is_pad.clone().bool_not().float().unsqueeze_dim(2);
    let count = present.clone().sum_dim(1).clamp_min(1.0);
    ((encoded * present).sum_dim(1) / count).squeeze_dim(1)
}
