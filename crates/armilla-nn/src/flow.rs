//! Flow matching: a velocity field that carries noise to data.
//!
//! The convention is LeRobot's and openpi's, whose time runs opposite to the paper (<https://arxiv.org/abs/2210.02747>): noise
//! stands at `t = 1`, data at `t = 0`, and sampling goes down in equal Euler steps.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Times of training lie in `[0.001, 1]`, more of them near the noise.
const TIME_OFFSET: f32 = 0.001;
const TIME_SCALE: f32 = 0.999;

/// The point between data and noise at each sample's time: `t * noise + (1 - t) * data`.
///
/// # Shapes
///
/// - data, noise and output: `[batch, ...]`
/// - time: `[batch]`
#[must_use]
pub fn interpolate<const D: usize>(
    data: Tensor<D>,
    noise: Tensor<D>,
    time: Tensor<1>,
) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = time.dims()[0];
    let time = time.reshape(shape);
    data.clone() + (noise - data) * time
}

/// The velocity to learn: `noise - data`.
///
/// # Shapes
///
/// - data, noise and output: any, all equal
#[must_use]
pub fn velocity_target<const D: usize>(data: Tensor<D>, noise: Tensor<D>) -> Tensor<D> {
    noise - data
}

/// Times of training, `Beta(1.5, 1) * 0.999 + 0.001`.
///
/// # Shapes
///
/// - output: `[count]`
#[must_use]
pub fn sample_times(generator: &mut ChaCha8Rng, count: usize, device: &Device) -> Tensor<1> {
    // Beta(a, 1) has the distribution function x^a, so its inverse turns uniform values into it.
    let times: Vec<f32> = (0..count)
        .map(|_| generator.random::<f32>().powf(1.0 / 1.5) * TIME_SCALE + TIME_OFFSET)
        .collect();
    Tensor::from_data(TensorData::new(times, [count]), device)
}

/// Carries noise to data in `steps` equal Euler steps from `t = 1` to `t = 0`.
///
/// `velocity` gets the current point and each sample's time.
///
/// # Shapes
///
/// - noise and output: `[batch, ...]`
/// - velocity: `([batch, ...], [batch]) -> [batch, ...]`
#[must_use]
pub fn integrate<const D: usize>(
    noise: Tensor<D>,
    steps: usize,
    mut velocity: impl FnMut(Tensor<D>, Tensor<1>) -> Tensor<D>,
) -> Tensor<D> {
    let batch = noise.dims()[0];
    let device = noise.device();
    let mut point = noise;
    for step in 0..steps {
        let time = 1.0 - step as f64 / steps as f64;
        let times = Tensor::full([batch], time, &device);
        point = point.clone() - velocity(point, times) / steps as f64;
    }
    point
}
