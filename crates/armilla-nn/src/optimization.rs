//! The arithmetic of an optimiser's step.

pub use armilla_kernels::AdamWStep;
use burn::tensor::Tensor;

/// One step of AdamW (<https://arxiv.org/abs/1711.05101>) on a parameter, its mean gradient and its mean squared gradient. What
/// nobody else holds is updated in place.
///
/// # Shapes
///
/// - parameter and its moments, gradient, and the same three out: `[values]`
#[must_use]
pub fn adamw(parameter: [Tensor<1>; 3], gradient: Tensor<1>, step: AdamWStep) -> [Tensor<1>; 3] {
    if crate::fused::runs_on(&gradient.device()) {
        return armilla_kernels::adamw(parameter, gradient, step);
    }
    let [value, first, second] = parameter;
    let squared = gradient.clone() * gradient.clone();
    let first = first.mul_scalar(step.beta1) + gradient.mul_scalar(1.0 - step.beta1);
    let second = second.mul_scalar(step.beta2) + squared.mul_scalar(1.0 - step.beta2);
    let spread = second.clone().sqrt() / step.root_correction + step.epsilon;
    let change = first.clone() / spread;
    let value = value.mul_scalar(step.kept) - change.mul_scalar(step.rate);
    [value, first, second]
}
