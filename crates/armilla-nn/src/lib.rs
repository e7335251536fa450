//! Layers that several models share, their checkpoints, and devices.
//!
//! # Layout
//!
//! - [`layers`]: strided and upward convolutions over channels-last pictures and sequences, small networks, normalisation.
//! - [`attention`] and [`transformer`]: the one place of attention, and the blocks built on it.
//! - [`positions`]: sine positions of tokens, grids and times.
//! - [`flow`]: flow matching, from interpolation to integration.
//! - [`guidance`]: samples drawn towards what is known already.
//! - [`precision`]: f32, or products in bf16.
//! - [`fused`]: where the CPU's fused operations are taken.
//! - [`dropout`]: values dropped in training, by keyed streams.
//! - [`random`]: tensors drawn from keyed streams, and weights drawn from a seed.
//! - [`images`]: RGB8 pictures to tensors and back.
//! - [`lanes`]: parts of a batch side by side on the CPU's cores.
//! - [`reduction`]: means whose sums do not depend on the number of threads.
//! - [`checkpoint`]: weights as safetensors, keyed by parameter path.
//! - [`device`]: devices by name.
//!
//! Pictures are channels-last, `[batch, height, width, channel]`: on the CPU a convolution written as matmul trains faster than
//! burn's own, and no large tensor is permuted between layers.

pub mod activation;
pub mod attention;
pub mod checkpoint;
pub mod device;
pub mod dropout;
pub mod error;
pub mod flow;
pub mod fused;
pub mod guidance;
pub mod images;
pub mod lanes;
pub mod layers;
pub mod optimization;
pub mod positions;
pub mod precision;
pub mod random;
pub mod reduction;
pub mod resnet;
pub mod transformer;
pub mod vit;

pub use activation::Activation;
pub use error::{Error, Result};
pub use precision::Precision;
