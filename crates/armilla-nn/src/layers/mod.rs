//! Layers over channels-last pictures, over sequences and over rows of features.

mod batch_norm;
mod conv_block;
mod frozen_batch_norm;
mod group_norm;
mod grouped;
mod layer_norm;
mod linear;
mod max_pool;
mod mlp;
mod rms_norm;
mod sequence_conv;
mod sequence_up_conv;
mod strided_conv;
#[cfg(test)]
mod test_support;
mod up_conv;

pub use batch_norm::batch_norm;
pub use burn::nn::{BatchNorm, BatchNormConfig};
pub use conv_block::{ConvBlock, ConvBlockConfig};
pub use frozen_batch_norm::{FrozenBatchNorm, FrozenBatchNormConfig};
pub use group_norm::{GroupNorm, GroupNormConfig};
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use linear::{Linear, LinearConfig};
pub use max_pool::max_pool;
pub use mlp::{Mlp, MlpConfig};
pub use rms_norm::{RmsNorm, RmsNormConfig};
pub use sequence_conv::{SequenceConv, SequenceConvConfig};
pub use sequence_up_conv::{SequenceUpConv, SequenceUpConvConfig};
pub use strided_conv::{StridedConv, StridedConvConfig};
pub use up_conv::{UpConv, UpConvConfig};
