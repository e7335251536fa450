//! The operations under autodiff: what each keeps for its backward pass, and the pass.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, NodeGuard, Ops, OpsKind, unary};

use crate::activation::Function;
use crate::adamw::AdamWStep;
use crate::patches::Patch;
use crate::{
    Attended, Fused, Kernels, Layer, LayerSettings, Normalization, NormalizationSettings,
    RowSettings,
};

#[derive(Debug)]
struct Activate;

impl<B: Kernels> Backward<B, 1> for Activate {
    type State = (FloatTensor<B>, Function);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (input, function) = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::activate_backward(input, gradient, function)
        });
    }
}

#[derive(Debug)]
struct Normalize;

/// What [`Normalize`] keeps.
#[derive(Clone, Debug)]
struct NormalizeState<B: Backend> {
    layer: Normalization<B>,
    settings: NormalizationSettings,
}

impl<B: Kernels> Backward<B, 3> for Normalize {
    type State = NormalizeState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let NormalizeState { layer, settings } = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let found = B::normalize_backward(layer, gradient, settings);
        let ids = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, 3>(gradients, ids, found.map(Some));
    }
}

/// Gradients of input, weight and, as a third parent, bias.
#[derive(Debug)]
struct ApplyLayer;

/// What [`ApplyLayer`] keeps.
#[derive(Clone, Debug)]
struct LayerState<B: Backend> {
    layer: Layer<B>,
    before: Option<FloatTensor<B>>,
    settings: LayerSettings,
}

impl<B: Kernels, const N: usize> Backward<B, N> for ApplyLayer {
    type State = LayerState<B>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let LayerState {
            layer,
            before,
            settings,
        } = ops.state;
        let wanted = std::array::from_fn(|parent| matches!(ops.parents.get(parent), Some(Some(_))));
        let found = B::layer_backward(layer, before, gradient, settings, wanted);
        let ids = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, N>(gradients, ids, found);
    }
}

fn apply_layer<B: Kernels, C: CheckpointStrategy, const N: usize>(
    layer: Layer<B>,
    settings: LayerSettings,
    guards: [NodeGuard; N],
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, N>::prepare::<C>(ApplyLayer, guards);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, before) = B::layer(layer.clone(), settings, true);
            let state = LayerState {
                layer,
                before,
                settings,
            };
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::layer(layer, settings, false).0),
    }
}

#[derive(Debug)]
struct MaxPool;

impl<B: Kernels> Backward<B, 1> for MaxPool {
    type State = (FloatTensor<B>, Patch);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (input, patch) = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::max_pool_backward(input, gradient, patch)
        });
    }
}

#[derive(Debug)]
struct NormalizeRows;

impl<B: Kernels> Backward<B, 3> for NormalizeRows {
    type State = ([FloatTensor<B>; 2], RowSettings);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, settings) = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let found = B::normalize_rows_backward(inputs, gradient, settings);
        let ids = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, 3>(gradients, ids, found.map(Some));
    }
}

#[derive(Debug)]
struct Attend;

impl<B: Kernels> Backward<B, 3> for Attend {
    type State = (Attended<B>, usize);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (attended, heads) = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let found = B::attend_backward(attended, gradient, heads);
        let ids = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B, 3>(gradients, ids, found.map(Some));
    }
}

fn register<B: Backend, const N: usize>(
    gradients: &mut Gradients,
    parents: [Option<NodeId>; N],
    found: [Option<FloatTensor<B>>; 3],
) {
    for (parent, gradient) in parents.into_iter().zip(found) {
        if let (Some(parent), Some(gradient)) = (parent, gradient) {
            gradients.register::<B>(parent, gradient);
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> Fused for Autodiff<B, C> {
    fn fused_activate(input: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        let (input, guard) = input.into_parts();
        let output = B::activate(input.clone(), function);
        match Activate.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((input, function), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn fused_moments(input: FloatTensor<Self>) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::moments(input.into_primitive()))
    }

    fn fused_normalize(
        layer: Normalization<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self> {
        let [(input, first), (scale, second), (shift, third)] =
            [layer.input, layer.scale, layer.shift].map(FloatTensor::<Self>::into_parts);
        let moments = layer.moments.into_primitive();
        let layer = Normalization {
            input,
            moments,
            scale,
            shift,
        };
        let output = B::normalize(layer.clone(), settings);
        let prepared = Normalize.prepare::<C>([first, second, third]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(NormalizeState { layer, settings }, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn fused_layer(layer: Layer<Self>, settings: LayerSettings) -> FloatTensor<Self> {
        let [(input, first), (weight, second)] =
            [layer.input, layer.weight].map(FloatTensor::<Self>::into_parts);
        let bias = layer
            .bias
            .into_option()
            .map(FloatTensor::<Self>::into_parts);
        let (bias, third) = bias.unzip();
        let scale = layer.scale.into_option();
        let layer = Layer {
            input,
            weight,
            scale: scale.map(FloatTensor::<Self>::into_primitive).into(),
            bias: bias.into(),
        };
        match third {
            Some(third) => apply_layer::<B, C, 3>(layer, settings, [first, second, third]),
            None => apply_layer::<B, C, 2>(layer, settings, [first, second]),
        }
    }

    fn fused_max_pool(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        let (input, guard) = input.into_parts();
        let output = B::max_pool(input.clone(), patch);
        match MaxPool.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((input, patch), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn fused_normalize_rows(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: RowSettings,
    ) -> FloatTensor<Self> {
        let [(input, first), (scale, second), (shift, third)] =
            [input, scale, shift].map(FloatTensor::<Self>::into_parts);
        let output = B::normalize_rows([input.clone(), scale.clone(), shift], settings);
        let prepared = NormalizeRows.prepare::<C>([first, second, third]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([input, scale], settings), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn fused_attend(attended: Attended<Self>, heads: usize) -> FloatTensor<Self> {
        let Attended {
            query,
            key,
            value,
            mask,
        } = attended;
        let [(query, first), (key, second), (value, third)] =
            [query, key, value].map(FloatTensor::<Self>::into_parts);
        let mask = mask.into_option().map(FloatTensor::<Self>::into_primitive);
        let attended = Attended {
            query,
            key,
            value,
            mask: mask.into(),
        };
        let output = B::attend(attended.clone(), heads);
        let prepared = Attend.prepare::<C>([first, second, third]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((attended, heads), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn fused_adamw(
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [value, first, second, gradient] =
            [value, first, second, gradient].map(FloatTensor::<Self>::into_primitive);
        let (value, first, second) = B::adamw([value, first, second], gradient, step);
        let [value, first, second] = [value, first, second].map(FloatTensor::<Self>::new);
        (value, first, second)
    }
}
