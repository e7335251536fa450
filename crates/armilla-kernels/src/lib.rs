//! Fused operations for the CPU backend, forward and backward.
//!
//! burn's CPU backend multiplies matrices faster than most, and does everything around them value by value on one thread. Here
//! are the operations that this costs most: linear layers and convolutions with what follows them, attention, normalisation,
//! pooling, activations and AdamW. Each runs on all threads, in the vector instructions that the processor has (chosen at run
//! time). Sums over rows run in an order that does not depend on threads; those within a matrix product follow the blocks that it
//! is divided into. So results are the same each time on one machine, and may differ in the last bits on one of other cores.
//!
//! They join burn by its extension mechanism. [`runs_on`] says where they can run; models reach them through
//! `armilla-nn`, which takes burn's own operations elsewhere.
//!
//! # Layout
//!
//! - [`Fused`]: what a model calls, on the CPU backend with or without autodiff.
//! - `inputs`: what the operations read, and their settings.
//! - `linear`, `convolution`, `attention` and the others: plain slices in, plain slices out.
//! - `math`: exponentials that compile to vector instructions.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over the lanes of a register; closures handed to iterators are not always inlined, and then lose their instructions"
)]

mod activation;
mod adamw;
mod attention;
mod autodiff;
mod convolution;
mod few_rows;
mod flex;
mod fresh;
mod inputs;
mod linear;
mod math;
mod matrix;
mod normalization;
mod patches;
mod pooling;
mod rows;
mod vector;
mod winograd;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::backend::{DispatchDevice, TensorMetadata as _};
use burn::tensor::{Device, Tensor};

pub use activation::Function;
pub use adamw::AdamWStep;
pub use inputs::{
    Attended, Layer, LayerSettings, Normalization, NormalizationSettings, Optional, RowSettings,
};
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

    /// [`Fused::fused_layer`]; to `keep` is to return the values before the function too, unless that is the identity.
    fn layer(
        layer: Layer<Self>,
        settings: LayerSettings,
        keep: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);

    /// The wanted gradients of input, weight and bias from the layer, the values before the function and the gradient of the output.
    fn layer_backward(
        layer: Layer<Self>,
        before: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        settings: LayerSettings,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// [`Fused::fused_max_pool`].
    fn max_pool(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self>;

    /// The gradient of the input from input and gradient of the output.
    fn max_pool_backward(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        patch: Patch,
    ) -> FloatTensor<Self>;

    /// [`Fused::fused_normalize_rows`] of input, scale and shift.
    fn normalize_rows(inputs: [FloatTensor<Self>; 3], settings: RowSettings) -> FloatTensor<Self>;

    /// The gradients of input, scale and shift from input, scale and the gradient of the output.
    fn normalize_rows_backward(
        inputs: [FloatTensor<Self>; 2],
        gradient: FloatTensor<Self>,
        settings: RowSettings,
    ) -> [FloatTensor<Self>; 3];

    /// [`Fused::fused_attend`].
    fn attend(attended: Attended<Self>, heads: usize) -> FloatTensor<Self>;

    /// The gradients of query, key and value from that of the output.
    fn attend_backward(
        attended: Attended<Self>,
        gradient: FloatTensor<Self>,
        heads: usize,
    ) -> [FloatTensor<Self>; 3];

    /// [`Fused::fused_adamw`].
    fn adamw(
        parameter: [FloatTensor<Self>; 3],
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// [`Fused::fused_moments`].
    fn moments(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// [`Fused::fused_normalize`].
    fn normalize(layer: Normalization<Self>, settings: NormalizationSettings) -> FloatTensor<Self>;

    /// The gradients of input, scale and shift from that of the output.
    fn normalize_backward(
        layer: Normalization<Self>,
        gradient: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> [FloatTensor<Self>; 3];
}

/// The operations that a model calls.
#[backend_extension(Flex, Autodiff)]
pub trait Fused: Backend {
    /// An activation, value by value.
    fn fused_activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self>;

    /// `function(rows * weight * scale + bias)`, `[rows, output]`. The rows are the input's, or for a convolution the patches of channels-last
    /// pictures `[batch, height, width, channel]`, each in the order row, column, channel.
    fn fused_layer(
        #[extension_type] layer: Layer<Self>,
        settings: LayerSettings,
    ) -> FloatTensor<Self>;

    /// The largest value of each square, `[batch, height, width, channel]` to `[batch, rows, columns, channel]`; padding counts as
    /// nothing.
    fn fused_max_pool(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self>;

    /// Rows by their own mean and variance, or their mean square alone, then scaled and shifted; `[rows, width]`.
    fn fused_normalize_rows(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: RowSettings,
    ) -> FloatTensor<Self>;

    /// Scaled dot-product attention, the heads side by side in each token; without a gradient of the mask.
    fn fused_attend(#[extension_type] attended: Attended<Self>, heads: usize) -> FloatTensor<Self>;

    /// Mean and biased variance of each column, `[rows, channel]` to `[2, channel]`; without a gradient.
    fn fused_moments(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `function(scale * (input - mean) / sqrt(variance + epsilon) + shift)` on `[rows, channel]`.
    ///
    /// Its gradient takes the moments for those of the input, as in training.
    fn fused_normalize(
        #[extension_type] layer: Normalization<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self>;

    /// One step of AdamW: a parameter, its mean gradient, its mean squared gradient; the gradient; without a gradient.
    fn fused_adamw(
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
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

/// Normalises columns and applies an activation. `settings` say whether the moments depend on the input; a tensor of moments has no
/// gradient of its own.
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
    let layer = Normalization {
        input: input.into_dispatch(),
        moments: moments.into_dispatch(),
        scale: scale.into_dispatch(),
        shift: shift.into_dispatch(),
    };
    Tensor::from_dispatch(Dispatch::fused_normalize(layer, settings))
}

/// A linear layer and an activation.
///
/// # Shapes
///
/// - input: `[rows, input]`
/// - weight: `[input, output]`
/// - bias: `[output]`
/// - output: `[rows, output]`
#[must_use]
pub fn linear(
    input: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    function: Function,
) -> Tensor<2> {
    let (inputs, expected) = (input.dims()[1], weight.dims()[0]);
    assert_eq!(inputs, expected, "a linear layer's input and weight");
    let settings = LayerSettings {
        patch: None,
        function,
    };
    layer(input, weight, [None, bias], settings)
}

/// A convolution of channels-last pictures and an activation.
///
/// # Shapes
///
/// - input: `[batch, height, width, channel]`
/// - kernel: `[side * side * channel, output]`, its rows in the order row, column, channel
/// - scale, bias: `[output]`: what the outputs are multiplied by, which gets no gradient, and what is then added
/// - output: `[batch * rows * columns, output]`
#[must_use]
pub fn convolve(
    input: Tensor<4>,
    kernel: Tensor<2>,
    columns: [Option<Tensor<1>>; 2],
    patch: Patch,
    function: Function,
) -> Tensor<2> {
    let ([_, height, width, channels], [taps, _]) = (input.dims(), kernel.dims());
    patch.check(height, width);
    let expected = patch.side * patch.side * channels;
    assert_eq!(taps, expected, "a kernel's rows and a patch's values");
    let settings = LayerSettings {
        patch: Some(patch),
        function,
    };
    layer(input, kernel, columns, settings)
}

fn layer<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    columns: [Option<Tensor<1>>; 2],
    settings: LayerSettings,
) -> Tensor<2> {
    for values in columns.iter().flatten() {
        assert_eq!(
            values.dims()[0],
            weight.dims()[1],
            "a layer's scale or bias and its outputs"
        );
    }
    let [scale, bias] = columns.map(|values| values.map(Tensor::into_dispatch).into());
    let layer = Layer {
        input: input.into_dispatch(),
        weight: weight.into_dispatch(),
        scale,
        bias,
    };
    Tensor::from_dispatch(Dispatch::fused_layer(layer, settings))
}

/// The largest value of each square of channels-last pictures; padding counts as nothing.
///
/// # Shapes
///
/// - input: `[batch, height, width, channel]`
/// - output: `[batch, rows, columns, channel]`
#[must_use]
pub fn max_pool(input: Tensor<4>, patch: Patch) -> Tensor<4> {
    let [_, height, width, _] = input.dims();
    patch.check(height, width);
    assert!(
        patch.padding < patch.side,
        "a square of padding alone has no largest value"
    );
    Tensor::from_dispatch(Dispatch::fused_max_pool(input.into_dispatch(), patch))
}

/// Rows by their own mean and variance, or by their mean square alone, then scaled and shifted.
///
/// # Shapes
///
/// - input and output: `[rows, width]`
/// - scale, shift: `[width]`
#[must_use]
pub fn normalize_rows(
    input: Tensor<2>,
    [scale, shift]: [Tensor<1>; 2],
    settings: RowSettings,
) -> Tensor<2> {
    let width = input.dims()[1];
    assert_eq!(
        [scale.dims(), shift.dims()],
        [[width]; 2],
        "a row's scale and shift"
    );
    Tensor::from_dispatch(Dispatch::fused_normalize_rows(
        input.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        settings,
    ))
}

/// Scaled dot-product attention with the heads side by side in each token.
///
/// # Shapes
///
/// - query: `[batch, query, heads * features]`, and the same out
/// - key, value: `[batch, context, heads * features]`
/// - mask: `[batch or 1, query, context]`, added to the scores; it gets no gradient
#[must_use]
pub fn attend(
    [query, key, value]: [Tensor<3>; 3],
    mask: Option<Tensor<3>>,
    heads: usize,
) -> Tensor<3> {
    let ([batch, queries, width], [_, context, _]) = (query.dims(), key.dims());
    assert!(
        heads > 0 && width.is_multiple_of(heads),
        "{heads} heads share {width} features"
    );
    let expected = [batch, context, width];
    assert_eq!([key.dims(), value.dims()], [expected; 2], "keys and values");
    if let Some(mask) = &mask {
        let [rows, of_queries, of_context] = mask.dims();
        assert!(
            (rows == 1 || rows == batch) && [of_queries, of_context] == [queries, context],
            "a mask of {:?} for {batch} rows of {queries} queries and {context} tokens",
            mask.dims()
        );
    }
    let attended = Attended {
        query: query.into_dispatch(),
        key: key.into_dispatch(),
        value: value.into_dispatch(),
        mask: mask.map(Tensor::into_dispatch).into(),
    };
    Tensor::from_dispatch(Dispatch::fused_attend(attended, heads))
}

/// One step of AdamW on a parameter, its mean gradient and its mean squared gradient, each `[values]`.
#[must_use]
pub fn adamw(
    [value, first, second]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    step: AdamWStep,
) -> [Tensor<1>; 3] {
    let sizes = [value.dims(), first.dims(), second.dims()];
    assert_eq!(sizes, [gradient.dims(); 3], "a parameter and its moments");
    let (value, first, second) = Dispatch::fused_adamw(
        value.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        gradient.into_dispatch(),
        step,
    );
    [value, first, second].map(Tensor::from_dispatch)
}

/// The four sides of a picture batch.
fn picture_shape<B: Backend>(input: &FloatTensor<B>) -> [usize; 4] {
    let shape = input.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

#[cfg(test)]
mod tests;
