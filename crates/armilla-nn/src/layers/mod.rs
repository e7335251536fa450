//! Layers over channels-last pictures and over rows of features.

mod batch_norm;
mod conv_block;
mod mlp;
mod strided_conv;
mod up_conv;

pub use batch_norm::batch_norm;
pub use burn::nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
pub use conv_block::{ConvBlock, ConvBlockConfig};
pub use mlp::{Mlp, MlpConfig};
pub use strided_conv::{StridedConv, StridedConvConfig};
pub use up_conv::{UpConv, UpConvConfig};
