//! What keeps latents from collapsing, beside SIGReg: the variance and covariance terms of VICReg and the time similarity of PLDM, as
//! EB-JEPA joins and scales them (arXiv 2105.04906, 2502.14819, 2602.03604; `eb_jepa/losses.py` at 966e61e, with `first_t_only` off as in
//! its action-conditioned example).

use armilla_nn::reduction::mean;
use burn::tensor::Tensor;

use crate::loss::masked;

/// Added to variances before the root, whose slope is unbounded at 0.
const EPSILON: f64 = 1e-4;

/// How far the standard deviation of each value over all frames of the batch falls short of 1, the mean over the values.
///
/// # Shapes
///
/// - latents: `[batch, time, latent]`, at least two windows
/// - output: `[1]`
#[must_use]
pub fn variance(latents: Tensor<3>) -> Tensor<1> {
    let centered = centered(latents);
    let frames = centered.dims()[0];
    let variance = centered.square().sum_dim(0) * freedom(frames);
    mean((-(variance + EPSILON).sqrt() + 1.0).clamp_min(0.0))
}

/// Squared covariances of different values over all frames of the batch, the mean over all pairs. VICReg sums them and divides by the
/// latent's width, which is its width less one times as much.
///
/// # Shapes
///
/// - latents: `[batch, time, latent]`, at least two windows
/// - output: `[1]`
#[must_use]
pub fn covariance(latents: Tensor<3>) -> Tensor<1> {
    let rows = centered(latents); // [frames, latent]
    let [frames, latent] = rows.dims();
    let covariance = rows.clone().transpose().matmul(rows) * freedom(frames); // [latent, latent]
    let own = Tensor::<2>::eye(latent, &covariance.device());
    let others = covariance * (-own + 1.0);
    // The mean counts the pairs of a value with itself, which are 0.
    mean(others.square()) * (latent as f64 / latent.saturating_sub(1).max(1) as f64)
}

/// Squared distance of latents a model step apart, the mean over their values.
///
/// # Shapes
///
/// - latents: `[batch, time, latent]`
/// - weight: `[batch, time - 1]`, 0 where a step lies past the episode's end
/// - output: `[1]`
#[must_use]
pub fn time_similarity(latents: Tensor<3>, weight: &Tensor<2>) -> Tensor<1> {
    let transitions = latents.dims()[1] - 1;
    let before = latents.clone().narrow(1, 0, transitions);
    let step = latents.narrow(1, 1, transitions) - before;
    masked(step.square().mean_dim(2), weight)
}

/// One over the degrees of freedom of a variance over so many rows.
fn freedom(rows: usize) -> f64 {
    1.0 / (rows.max(2) - 1) as f64
}

/// All frames, `[batch * time, latent]`, without their mean.
fn centered(latents: Tensor<3>) -> Tensor<2> {
    let frames = latents.flatten::<2>(0, 1);
    let mean = frames.clone().mean_dim(0);
    frames - mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn value(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    #[test]
    fn values_by_hand() {
        let device = Device::flex();
        // Two windows of two frames of three values, of variances 4 * 0.5^2 / 3, 4 * 2^2 / 3 and 4 * 1.5^2 / 3.
        let latents: [[[f32; 3]; 2]; 2] = [
            [[0.0, 0.0, 0.0], [0.0, 4.0, 0.0]],
            [[1.0, 4.0, 3.0], [1.0, 0.0, 3.0]],
        ];
        let latents = Tensor::<3>::from_floats(latents, &device);
        let short = 1.0 - (1.0_f32 / 3.0 + 1e-4).sqrt();
        assert!((value(variance(latents.clone())) - short / 3.0).abs() < 1e-6);
        // The first and the last have a covariance of 4 * 0.5 * 1.5 / 3 = 1, two of six pairs.
        assert!((value(covariance(latents.clone())) - 1.0 / 3.0).abs() < 1e-6);
        let whole = Tensor::ones([2, 1], &device);
        assert!((value(time_similarity(latents.clone(), &whole)) - 16.0 / 3.0).abs() < 1e-5);
        let none_of_the_second = Tensor::from_floats([[1.0], [0.0]], &device);
        assert!((value(time_similarity(latents, &none_of_the_second)) - 16.0 / 3.0).abs() < 1e-5);
    }

    #[test]
    fn collapse_costs_and_spread_does_not() {
        let device = Device::flex();
        let same = Tensor::<3>::ones([4, 2, 3], &device);
        assert!(value(variance(same.clone())) > 0.98);
        assert!(value(covariance(same)) == 0.0);
    }
}
