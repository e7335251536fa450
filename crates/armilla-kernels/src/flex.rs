//! The operations on the CPU backend's tensors.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata as _};
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;

use crate::activation::Function;
use crate::normalization::{Columns, moments};
use crate::patches::{self, Patch};
use crate::{Fused, Kernels, Normalization, NormalizationSettings, activation, picture_shape};

/// A tensor whose values lie one after the other.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    assert_eq!(
        tensor.dtype(),
        DType::F32,
        "fused operations take f32 tensors"
    );
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a contiguous tensor.
fn values(tensor: &FlexTensor) -> &[f32] {
    let (start, end) = tensor
        .layout()
        .contiguous_offsets()
        .unwrap_or_else(|| unreachable!("made contiguous before"));
    &tensor.storage::<f32>()[start..end]
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

impl Kernels for Flex {
    fn activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        let input = contiguous(input);
        tensor(activation::forward(values(&input), function), input.shape())
    }

    fn activate_backward(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        function: Function,
    ) -> FloatTensor<Self> {
        let (input, gradient) = (contiguous(input), contiguous(gradient));
        let output = activation::backward(values(&input), values(&gradient), function);
        tensor(output, input.shape())
    }

    fn moments(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let input = contiguous(input);
        let channels = input.shape()[1];
        tensor(moments(values(&input), channels), [2, channels])
    }

    fn normalize(layer: Normalization<Self>, settings: NormalizationSettings) -> FloatTensor<Self> {
        let (input, columns) = opened(layer, settings);
        tensor(
            columns.forward(values(&input), settings.function),
            input.shape(),
        )
    }

    fn normalize_backward(
        layer: Normalization<Self>,
        gradient: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> [FloatTensor<Self>; 3] {
        let (input, columns) = opened(layer, settings);
        let gradient = contiguous(gradient);
        let channels = input.shape()[1];
        let [output, scale, shift] =
            columns.backward(values(&input), values(&gradient), settings.function);
        [
            tensor(output, input.shape()),
            tensor(scale, [channels]),
            tensor(shift, [channels]),
        ]
    }

    fn unfold(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        let input = contiguous(input);
        let shape = picture_shape::<Self>(&input);
        let output = patches::unfold(values(&input), shape, patch);
        let width = patch.side * patch.side * shape[3];
        let rows = output.len() / width;
        tensor(output, [rows, width])
    }

    fn fold(patches: FloatTensor<Self>, shape: [usize; 4], patch: Patch) -> FloatTensor<Self> {
        let patches = contiguous(patches);
        tensor(patches::fold(values(&patches), shape, patch), shape)
    }
}

/// The contiguous input, and what is done to its columns.
fn opened(layer: Normalization<Flex>, settings: NormalizationSettings) -> (FlexTensor, Columns) {
    let [moments, scale, shift] = [layer.moments, layer.scale, layer.shift].map(contiguous);
    let columns = Columns::new(
        values(&moments),
        values(&scale),
        values(&shift),
        settings.epsilon,
    );
    (contiguous(layer.input), columns)
}

impl Fused for Flex {
    fn fused_activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        Self::activate(input, function)
    }

    fn fused_moments(input: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::moments(input)
    }

    fn fused_normalize(
        input: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self> {
        let layer = Normalization {
            input,
            moments,
            scale,
            shift,
        };
        Self::normalize(layer, settings)
    }

    fn fused_unfold(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        Self::unfold(input, patch)
    }
}
