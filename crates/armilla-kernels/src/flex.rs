//! The operations on the CPU backend's tensors.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata as _};
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;

use crate::activation::{self, Function};
use crate::adamw::AdamWStep;
use crate::attention::Attention;
use crate::convolution::Convolution;
use crate::linear::{self, Finish};
use crate::normalization::{Columns, moments};
use crate::patches::Patch;
use crate::pooling::Pooling;
use crate::rows::RowNorm;
use crate::{
    Attended, Fused, Kernels, Layer, LayerSettings, Normalization, NormalizationSettings,
    RowSettings, picture_shape,
};

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

/// A contiguous tensor that nobody else holds: the same where it is so, or else a copy.
fn owned(tensor: FlexTensor) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    let shape = tensor.shape();
    let whole = tensor.layout().start_offset() == 0
        && tensor
            .try_storage_mut::<f32>()
            .is_some_and(|values| values.len() == shape.num_elements());
    if whole {
        return tensor;
    }
    self::tensor(values(&tensor).to_vec(), shape)
}

/// The gradient before the function.
fn through(gradient: FlexTensor, before: Option<FlexTensor>, function: Function) -> FlexTensor {
    match before {
        None => contiguous(gradient),
        Some(before) => {
            let mut gradient = owned(gradient);
            activation::backward(gradient.storage_mut(), values(&before), function);
            gradient
        }
    }
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
        through(gradient, Some(contiguous(input)), function)
    }

    fn layer(
        layer: Layer<Self>,
        settings: LayerSettings,
        keep: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let LayerSettings { patch, function } = settings;
        let [input, weight] = [layer.input, layer.weight].map(contiguous);
        let [scale, bias] =
            [layer.scale, layer.bias].map(|columns| columns.into_option().map(contiguous));
        let outputs = weight.shape()[1];
        let finish = Finish {
            scale: scale.as_ref().map(values),
            bias: bias.as_ref().map(values),
            function,
            keep,
        };
        let slices = [values(&input), values(&weight)];
        let found = match patch {
            None => linear::forward(slices, [weight.shape()[0], outputs], finish),
            Some(patch) => {
                let shape = picture_shape::<Self>(&input);
                Convolution::new(shape, outputs, patch).forward(slices, finish)
            }
        };
        let shape = [found.output.len() / outputs, outputs];
        let before = found.before.map(|before| tensor(before, shape));
        (tensor(found.output, shape), before)
    }

    fn layer_backward(
        layer: Layer<Self>,
        before: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        settings: LayerSettings,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let [input, weight] = [layer.input, layer.weight].map(contiguous);
        let [taps, outputs] = [weight.shape()[0], weight.shape()[1]];
        let mut gradient = through(gradient, before, settings.function);
        let of_bias = wanted[2].then(|| linear::sum_of_rows(values(&gradient), outputs));
        if let Some(scale) = layer.scale.into_option().map(contiguous) {
            gradient = owned(gradient);
            linear::scale_rows(gradient.storage_mut(), values(&scale));
        }
        let slices = [values(&input), values(&weight), values(&gradient)];
        let (of_input, of_weight) = match settings.patch {
            None => linear::backward(slices, [taps, outputs], [wanted[0], wanted[1]]),
            Some(patch) => {
                let shape = picture_shape::<Self>(&input);
                Convolution::new(shape, outputs, patch).backward(slices, wanted[0])
            }
        };
        [
            of_input.map(|found| tensor(found, input.shape())),
            of_weight.map(|found| tensor(found, [taps, outputs])),
            of_bias.map(|found| tensor(found, [outputs])),
        ]
    }

    fn max_pool(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        let input = contiguous(input);
        let shape = picture_shape::<Self>(&input);
        let [rows, columns] = patch.grid(shape[1], shape[2]);
        let found = Pooling::new(shape, patch).forward(values(&input));
        tensor(found, [shape[0], rows, columns, shape[3]])
    }

    fn max_pool_backward(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        patch: Patch,
    ) -> FloatTensor<Self> {
        let (input, gradient) = (contiguous(input), contiguous(gradient));
        let shape = picture_shape::<Self>(&input);
        let found = Pooling::new(shape, patch).backward(values(&input), values(&gradient));
        tensor(found, shape)
    }

    fn normalize_rows(
        [input, scale, shift]: [FloatTensor<Self>; 3],
        settings: RowSettings,
    ) -> FloatTensor<Self> {
        let [input, scale, shift] = [input, scale, shift].map(contiguous);
        let norm = RowNorm {
            scale: values(&scale),
            shift: values(&shift),
            settings,
        };
        tensor(norm.forward(values(&input)), input.shape())
    }

    fn normalize_rows_backward(
        [input, scale]: [FloatTensor<Self>; 2],
        gradient: FloatTensor<Self>,
        settings: RowSettings,
    ) -> [FloatTensor<Self>; 3] {
        let [input, scale, gradient] = [input, scale, gradient].map(contiguous);
        let norm = RowNorm {
            scale: values(&scale),
            shift: &[],
            settings,
        };
        let [found, scale_gradient, shift_gradient] =
            norm.backward(values(&input), values(&gradient));
        let width = scale.shape();
        [
            tensor(found, input.shape()),
            tensor(scale_gradient, width.clone()),
            tensor(shift_gradient, width),
        ]
    }

    fn attend(attended: Attended<Self>, heads: usize) -> FloatTensor<Self> {
        let tensors = Tokens::new(attended);
        let shape = tensors.query.shape();
        tensor(tensors.attention(heads).forward(), shape)
    }

    fn attend_backward(
        attended: Attended<Self>,
        gradient: FloatTensor<Self>,
        heads: usize,
    ) -> [FloatTensor<Self>; 3] {
        let tensors = Tokens::new(attended);
        let gradient = contiguous(gradient);
        let [query, key, value] = tensors.attention(heads).backward(values(&gradient));
        [
            tensor(query, tensors.query.shape()),
            tensor(key, tensors.key.shape()),
            tensor(value, tensors.value.shape()),
        ]
    }

    fn adamw(
        parameter: [FloatTensor<Self>; 3],
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let gradient = contiguous(gradient);
        let [mut value, mut first, mut second] = parameter.map(owned);
        let parameter = [&mut value, &mut first, &mut second].map(FlexTensor::storage_mut::<f32>);
        step.apply(parameter, values(&gradient));
        (value, first, second)
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
        let [output, scale, shift] = columns.backward(values(&input), values(&gradient), settings);
        [
            tensor(output, input.shape()),
            tensor(scale, [channels]),
            tensor(shift, [channels]),
        ]
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

/// The contiguous tensors of an attention.
struct Tokens {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    mask: Option<FlexTensor>,
}

impl Tokens {
    fn new(attended: Attended<Flex>) -> Self {
        Self {
            query: contiguous(attended.query),
            key: contiguous(attended.key),
            value: contiguous(attended.value),
            mask: attended.mask.into_option().map(contiguous),
        }
    }

    fn attention(&self, heads: usize) -> Attention<'_> {
        let shape = self.query.shape();
        Attention {
            query: values(&self.query),
            key: values(&self.key),
            value: values(&self.value),
            mask: self.mask.as_ref().map(values),
            batch: shape[0],
            heads,
            queries: shape[1],
            context: self.key.shape()[1],
            width: shape[2],
        }
    }
}

impl Fused for Flex {
    fn fused_activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        Self::activate(input, function)
    }

    fn fused_layer(layer: Layer<Self>, settings: LayerSettings) -> FloatTensor<Self> {
        Self::layer(layer, settings, false).0
    }

    fn fused_max_pool(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        Self::max_pool(input, patch)
    }

    fn fused_normalize_rows(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: RowSettings,
    ) -> FloatTensor<Self> {
        Self::normalize_rows([input, scale, shift], settings)
    }

    fn fused_attend(attended: Attended<Self>, heads: usize) -> FloatTensor<Self> {
        Self::attend(attended, heads)
    }

    fn fused_moments(input: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::moments(input)
    }

    fn fused_normalize(
        layer: Normalization<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self> {
        Self::normalize(layer, settings)
    }

    fn fused_adamw(
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        Self::adamw([value, first, second], gradient, step)
    }
}
