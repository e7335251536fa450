//! The operations under autodiff: what each keeps for its backward pass, and the pass.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use crate::activation::Function;
use crate::patches::Patch;
use crate::{Fused, Kernels, Normalization, NormalizationSettings, picture_shape};

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
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Unfold;

impl<B: Kernels> Backward<B, 1> for Unfold {
    type State = ([usize; 4], Patch);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (shape, patch) = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            B::fold(gradient, shape, patch)
        });
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
        input: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: NormalizationSettings,
    ) -> FloatTensor<Self> {
        let [(input, first), (scale, second), (shift, third)] =
            [input, scale, shift].map(FloatTensor::<Self>::into_parts);
        let moments = moments.into_primitive();
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

    fn fused_unfold(input: FloatTensor<Self>, patch: Patch) -> FloatTensor<Self> {
        let (input, guard) = input.into_parts();
        let shape = picture_shape::<B>(&input);
        let output = B::unfold(input, patch);
        match Unfold.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((shape, patch), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}
