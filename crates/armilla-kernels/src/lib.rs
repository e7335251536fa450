//! Fused operations for the CPU backend, forward and backward.
//!
//! burn's CPU backend multiplies matrices faster than most, and does everything around them value by value on one thread. Here
//! are the operations that this costs most: activations, batch normalisation with the activation that follows it, and the
//! patches of a convolution. Each runs on all threads, in the vector instructions that the processor has (chosen at run
//! time), and in an order that depends on neither, so that results are the same on any number of threads.
//!
//! They join burn by its extension mechanism. [`runs_on`] says where they can run; models reach them through
//! `armilla-nn`, which takes burn's own operations elsewhere.
//!
//! # Layout
//!
//! - [`Fused`]: what a model calls, on the CPU backend with or without autodiff.
//! - `activation`, `normalization`, `patches`: plain slices in, plain slices out.
//! - `math`: exponentials that compile to vector instructions.

mod activation;
mod autodiff;
mod flex;
mod math;
mod normalization;
mod patches;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::backend::{DispatchDevice, TensorMetadata as _};
use burn::tensor::{Device, Tensor};

pub use activation::Function;
pub use patches::Patch;

/// Operations of the CPU backend that burn lacks, and their derivatives.
pub trait Kernels: Backend {
    /// [`Fused::fused_activate`].
    fn activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self>;

    /// The gradient of the input from that of the output.
    fn activate_backward(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        function: Function,
    ) -> FloatTensor<Self>;

    /// [`Fused::fused_moments`].
    fn moments(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// [`Fused::fused_normalize`].
    fn normalize(layer: Normalization<Self>, settings: NormalizationSettings) -> FloatTensor<Self>;

    /// The gradients of input, scale and shift from that of the output, where the moments are those of the input.
    fn normalize_backward(
        layer: Normalization<Self>,
        gradient: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> [FloatTensor<Self>; 3];

    /// [`Fused::fused_unfold`].
    fn unfold(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self>;

    /// The sum of all patches at their places: the gradient of [`Self::unfold`].
    fn fold(patches: FloatTensor<Self>, shape: [usize; 4], patch: Patch) -> FloatTensor<Self>;
}

/// What a normalisation reads.
#[derive(Debug)]
pub struct Normalization<B: Backend> {
    /// `[rows, channel]`.
    pub input: FloatTensor<B>,
    /// Mean and variance, `[2, channel]`.
    pub moments: FloatTensor<B>,
    /// `[channel]`.
    pub scale: FloatTensor<B>,
    /// `[channel]`.
    pub shift: FloatTensor<B>,
}

impl<B: Backend> Clone for Normalization<B> {
    fn clone(&self) -> Self {
        Self {
            input: self.input.clone(),
            moments: self.moments.clone(),
            scale: self.scale.clone(),
            shift: self.shift.clone(),
        }
    }
}

/// What a normalisation does.
#[derive(Clone, Copy, Debug)]
pub struct NormalizationSettings {
    /// Added to the variance.
    pub epsilon: f32,
    /// What follows.
    pub function: Function,
}

/// The operations that a model calls.
#[backend_extension(Flex, Autodiff)]
pub trait Fused: Backend {
    /// An activation, value by value.
    fn fused_activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self>;

    /// Mean and biased variance of each column, `[rows, channel]` to `[2, channel]`; without a gradient.
    fn fused_moments(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `function(scale * (input - mean) / sqrt(variance + epsilon) + shift)` on `[rows, channel]`.
    ///
    /// Its gradient takes the moments for those of the input, as in training.
    fn fused_normalize(
        input: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self>;

    /// Every patch of channels-last pictures as a row: `[batch, height, width, channel]` to
    /// `[batch * rows * columns, side * side * channel]`, values in the order row, column, channel.
    fn fused_unfold(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self>;
}

/// Whether the operations run on a device.
#[must_use]
pub fn runs_on(device: &Device) -> bool {
    matches!(
        device.clone().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    )
}

/// An activation, on any shape.
#[must_use]
pub fn activate<const D: usize>(input: Tensor<D>, function: Function) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_activate(input.into_dispatch(), function))
}

/// Mean and biased variance of each column, without a gradient.
///
/// # Shapes
///
/// - input: `[rows, channel]`
/// - output: `[2, channel]`
#[must_use]
pub fn moments(input: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_moments(input.into_dispatch()))
}

/// Normalises columns and applies an activation. The gradient takes the moments for the input's own.
///
/// # Shapes
///
/// - input: `[rows, channel]`, and the same out
/// - moments: `[2, channel]`
/// - scale, shift: `[channel]`
#[must_use]
pub fn normalize(
    input: Tensor<2>,
    moments: Tensor<2>,
    [scale, shift]: [Tensor<1>; 2],
    settings: NormalizationSettings,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_normalize(
        input.into_dispatch(),
        moments.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        settings,
    ))
}

/// Every patch of channels-last pictures as a row.
///
/// # Shapes
///
/// - input: `[batch, height, width, channel]`
/// - output: `[batch * rows * columns, side * side * channel]`
#[must_use]
pub fn unfold(input: Tensor<4>, patch: Patch) -> Tensor<2> {
    let [_, height, width, _] = input.dims();
    patch.check(height, width);
    Tensor::from_dispatch(Dispatch::fused_unfold(input.into_dispatch(), patch))
}

/// The four sides of a picture batch.
fn picture_shape<B: Backend>(input: &FloatTensor<B>) -> [usize; 4] {
    let shape = input.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

#[cfg(test)]
mod tests;
