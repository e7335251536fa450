//! Layers over channels-last pictures and over rows of features.

mod batch_norm;
mod conv_block;
mod frozen_batch_norm;
mod layer_norm;
mod linear;
mod max_pool;
mod mlp;
mod rms_norm;
mod strided_conv;
mod up_conv;

pub use batch_norm::batch_norm;
pub use burn::nn::{BatchNorm, BatchNormConfig};
pub use conv_block::{ConvBlock, ConvBlockConfig};
pub use frozen_batch_norm::{FrozenBatchNorm, FrozenBatchNormConfig};
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use linear::{Linear, LinearConfig};
pub use max_pool::max_pool;
pub use mlp::{Mlp, MlpConfig};
pub use rms_norm::{RmsNorm, RmsNormConfig};
pub use strided_conv::{StridedConv, StridedConvConfig};
pub use up_conv::{UpConv, UpConvConfig};
