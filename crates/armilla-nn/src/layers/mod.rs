//! Layers over channels-last pictures and over rows of features.

mod batch_norm;
mod conv_block;
mod layer_norm;
mod linear;
mod mlp;
mod strided_conv;
mod up_conv;

pub use batch_norm::batch_norm;
pub use burn::nn::{BatchNorm, BatchNormConfig};
pub use conv_block::{ConvBlock, ConvBlockConfig};
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use linear::{Linear, LinearConfig};
pub use mlp::{Mlp, MlpConfig};
pub use strided_conv::{StridedConv, StridedConvConfig};
pub use up_conv::{UpConv, UpConvConfig};
