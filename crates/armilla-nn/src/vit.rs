//! The vision transformer.
//!
//! As Hugging Face's `ViTModel` (and so LeWorldModel's encoder) has it: patches by a convolution with bias, a class token, learned
//! positions, pre-norm blocks with the exact GELU, and a last normalisation
//! ([Dosovitskiy et al.](https://arxiv.org/abs/2010.11929)).

use burn::config::Config;
use burn::module::{Initializer, Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};

use crate::Activation;
use crate::checkpoint::foreign::{Layout, Rule};
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
    /// Hidden features of the feed-forward networks; four times the width unless given.
    pub hidden: Option<usize>,
    /// First value of the blocks' factors of [`BlockConfig::layer_scale`]; 1 in DINOv2, none in ViT.
    pub layer_scale: Option<f64>,
}

impl VisionTransformerConfig {
    /// Tokens of a picture, the class token included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        (self.image_size / self.patch).pow(2) + usize::from(self.class_token)
    }

    /// Builds it with fresh weights: normal of deviation 0.02, biases of 0, as `ViTModel` has them.
    #[must_use]
    pub fn init(&self, device: &Device) -> VisionTransformer {
        let small = SMALL;
        let block = BlockConfig::new(self.width, self.heads)
            .with_activation(Activation::Gelu)
            .with_epsilon(self.epsilon)
            .with_hidden(self.hidden)
            .with_layer_scale(self.layer_scale);
        let built = VisionTransformer {
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
        };
        built.map(&mut Fresh::default())
    }
}

const SMALL: Initializer = Initializer::Normal {
    mean: 0.0,
    std: 0.02,
};

/// Begins linear layers anew; what else there is stays.
#[derive(Default)]
struct Fresh {
    path: Vec<String>,
}

impl ModuleMapper for Fresh {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let begin = match self.path.last().map(String::as_str) {
            Some("weight") => SMALL,
            Some("bias") => Initializer::Zeros,
            _ => return param,
        };
        // Nothing is drawn of weights that are loaded later.
        begin.init(param.lazy_shape().to_vec(), &param.lazy_device())
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

/// Where Hugging Face's `ViTModel` of transformers 4 has the same.
#[must_use]
pub fn vit_rules() -> Vec<Rule> {
    let block = |ours: &str, theirs: &str| {
        Rule::new(
            format!("blocks.*.{ours}"),
            format!("encoder.layer.*.{theirs}"),
        )
    };
    let mut rules = embedding_rules();
    rules.extend([
        block("attention_norm", "layernorm_before"),
        block("feed_forward_norm", "layernorm_after"),
        block("feed_forward.linears.0", "intermediate.dense"),
        block("feed_forward.linears.1", "output.dense"),
    ]);
    rules
}

/// Where Hugging Face's `Dinov2Model` has the same.
#[must_use]
pub fn dinov2_rules() -> Vec<Rule> {
    let block = |ours: &str, theirs: &str| {
        Rule::new(
            format!("blocks.*.{ours}"),
            format!("encoder.layer.*.{theirs}"),
        )
    };
    let mut rules = embedding_rules();
    rules.extend([
        block("attention_norm", "norm1"),
        block("attention_scale", "layer_scale1.lambda1"),
        block("feed_forward_norm", "norm2"),
        block("feed_forward.linears.0", "mlp.fc1"),
        block("feed_forward.linears.1", "mlp.fc2"),
        block("feed_forward_scale", "layer_scale2.lambda1"),
    ]);
    rules
}

/// What both have alike.
fn embedding_rules() -> Vec<Rule> {
    let attention = |ours: &str, theirs: &str| {
        Rule::new(
            format!("blocks.*.attention.{ours}"),
            format!("encoder.layer.*.attention.{theirs}"),
        )
    };
    let patches = Layout::Convolution { channels: CHANNELS };
    vec![
        Rule::new("patches.kernel", "embeddings.patch_embeddings.projection").with_layout(patches),
        Rule::new("class_token", "embeddings.cls_token"),
        Rule::new("positions", "embeddings.position_embeddings"),
        attention("query", "attention.query"),
        attention("key", "attention.key"),
        attention("value", "attention.value"),
        attention("output", "output.dense"),
        Rule::new("norm", "layernorm"),
    ]
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

    #[test]
    fn nothing_is_drawn_before_it_is_asked_for() {
        let vision = VisionTransformerConfig::new(8, 4, 64, 1, 4).init(&Device::flex());
        assert!(!vision.patches.kernel.weight.is_initialized());
    }

    #[test]
    fn fresh_weights_are_small_and_biases_nothing() {
        let config = VisionTransformerConfig::new(8, 4, 64, 1, 4);
        let vision = config.init(&Device::flex());
        let linear = &vision.patches.kernel;
        let weights = linear.weight.val().into_data();
        let squares = weights.iter::<f32>().map(|weight| weight * weight);
        let deviation = (squares.sum::<f32>() / weights.num_elements() as f32).sqrt();
        assert!((0.018..0.022).contains(&deviation), "{deviation}");
        let bias = linear.bias.as_ref().unwrap().val().into_data();
        assert!(bias.iter::<f32>().all(|value| value == 0.0));
        let gamma = vision.norm.gamma.val().into_data();
        assert!(gamma.iter::<f32>().all(|value| value == 1.0));
    }
}
